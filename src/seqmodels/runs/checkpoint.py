"""Checkpoint files: written whole or not at all, and read without running code from them."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO

from seqmodels.errors import UserError, listed, one_line


class CheckpointFiles(TorchCheckpointIO):
    """Writes a checkpoint beside its target, verifies it, and only then puts it in its place; the
    `last.ckpt` before stays as `previous.ckpt`."""

    def load_checkpoint(self, path: str | Path, *_: Any, **__: Any) -> dict[str, Any]:
        return read_checkpoint(Path(path))

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, *_: Any, **__: Any) -> None:
        """Raises UserError if the file cannot be written; the one before is untouched then."""
        path = Path(path)
        # If a killed process has left such a file, it is replaced.
        partial = path.with_name(f".{path.name}")
        try:
            # If somebody has removed the run folder itself, it isn't made again.
            path.parent.mkdir(exist_ok=True)
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            check_whole(partial)
            if path.name == "last.ckpt" and path.is_file():
                path.replace(path.with_name("previous.ckpt"))
            partial.replace(path)
        # torch reports a full disk as a RuntimeError.
        except (OSError, RuntimeError, zipfile.BadZipFile) as error:
            raise UserError(
                f"{path} cannot be written ({one_line(error)}): free some space or choose another "
                "folder, then resume the run"
            ) from error
        finally:
            partial.unlink(missing_ok=True)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Removes a file; Lightning's own would remove a folder with all that is in it."""
        Path(path).unlink(missing_ok=True)


def check_whole(path: Path) -> None:
    """Raises BadZipFile for a flipped bit in a checkpoint, which `torch.load` would not notice."""
    with zipfile.ZipFile(path) as archive:
        damaged_name = archive.testzip()
        if damaged_name:
            raise zipfile.BadZipFile(f"{damaged_name} is damaged")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's content, on the CPU, loaded without running code from it. Raises UserError if
    it is absent, broken, or holds more than tensors and plain values."""
    names_beside = [file.name for file in path.parent.glob("[a-z]*.ckpt") if file != path]
    advice = ""
    if names_beside:
        advice = f"; take another one beside it: {listed(names_beside)}"
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint{advice}")
    try:
        check_whole(path)
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if not {"state_dict", "hyper_parameters"} <= content.keys():
            raise ValueError("it holds no state_dict and hyper_parameters")
    except pickle.UnpicklingError as error:  # Its own message tells how to load the file anyway.
        raise UserError(
            f"{path} is not a usable checkpoint (it holds more than tensors and plain values)"
            f"{advice}"
        ) from error
    except Exception as error:  # torch raises many types for a broken file.
        raise UserError(f"{path} is not a usable checkpoint ({one_line(error)}){advice}") from error
    return content
