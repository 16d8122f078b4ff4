"""Checkpoint files: written whole or not at all, and read without running code from them."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO

from seqmodels.errors import UserError, one_line


class CheckpointFiles(TorchCheckpointIO):
    """Writes a checkpoint beside its target, verifies it, and only then puts it in its place.

    `last.ckpt` is kept as `previous.ckpt` when a newer one takes its place.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Raises UserError if the file cannot be written; the one before is untouched then."""
        path = Path(path)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(exist_ok=True)  # not the run folder, if somebody has removed it
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            if broken := broken_part(partial):
                raise OSError(f"what was written reads back otherwise, in {broken}")
            if path.name == "last.ckpt" and path.is_file():
                path.replace(path.with_name("previous.ckpt"))
            partial.replace(path)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            raise UserError(
                f"{path} cannot be written ({one_line(error)}): free some space or choose another "
                "folder, then resume the run"
            ) from error
        finally:
            partial.unlink(missing_ok=True)


def broken_part(path: Path) -> str | None:
    """The first part of a checkpoint that is not what was written, by its CRC; None if all are."""
    try:
        with zipfile.ZipFile(path) as parts:
            return parts.testzip()
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        return one_line(error)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's content, on the CPU, loaded without running code from it.

    Raises:
        UserError: if it is absent, broken, or holds more than plain values.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint")
    try:
        if broken := broken_part(path):
            raise ValueError(f"{broken} is damaged")
        content = torch.load(path, map_location="cpu", weights_only=True)
        if "state_dict" not in content or "hyper_parameters" not in content:
            raise ValueError("it holds no state_dict and hyper_parameters")
    except Exception as error:  # torch raises many kinds on a broken file
        raise UserError(
            f"{path} is not a usable checkpoint ({one_line(error)}); "
            "it may be cut off: take another one, such as last.ckpt beside best.ckpt"
        ) from error
    return content
