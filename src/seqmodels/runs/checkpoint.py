"""Checkpoint files: written whole or not at all, and read without running code from them."""

from __future__ import annotations

import math
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO

from seqmodels.errors import UserError, one_line
from seqmodels.plain_values import check_plain

SEAL = b"crc32 "  # before the checksum at the end of a checkpoint file


class CheckpointFiles(TorchCheckpointIO):
    """Writes a checkpoint beside its target, verifies it, and only then puts it in its place.

    `last.ckpt` is kept as `previous.ckpt` when a newer one takes its place.
    """

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[Path, dict[str, Any]] = {}  # read already, to be loaded once

    def load_checkpoint(self, path: str | Path, *_: Any, **__: Any) -> dict[str, Any]:
        """The content of `path`; `UserError` if it is absent or broken."""
        return self.known.pop(Path(path), None) or read_checkpoint(Path(path))

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Raises UserError if the file cannot be written; the one before is untouched then."""
        path = Path(path)
        partial = path.with_name(f".{path.name}")  # what a killed process left is replaced
        try:
            path.parent.mkdir(exist_ok=True)  # not the run folder, if somebody has removed it
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
            _seal(partial)
            if damaged := damage(partial):
                raise OSError(f"what was written reads back otherwise: {damaged}")
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

    def remove_checkpoint(self, path: str | Path) -> None:
        """Removes a file; Lightning's own would remove a folder with all that is in it."""
        Path(path).unlink(missing_ok=True)


def _seal(path: Path) -> None:
    """Appends the checksum of the whole file, as the comment that a zip file may end with."""
    with path.open("r+b") as file:
        file.seek(-2, os.SEEK_END)  # the length of the comment, which torch.save leaves empty
        file.write(struct.pack("<H", len(SEAL) + 8))
        file.seek(0)
        file.write(SEAL + b"%08x" % _checksum(file))
        file.flush()
        os.fsync(file.fileno())


def _checksum(file: IO[bytes], size: int | None = None) -> int:
    """CRC-32 of what follows in a file, or of `size` bytes of it."""
    crc, left = 0, math.inf if size is None else size
    while left and (chunk := file.read(int(min(left, 1 << 20)))):
        crc, left = zlib.crc32(chunk, crc), left - len(chunk)
    return crc


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint file; None if it is as it was written, and unpacks to no more
    than its own size: a small file could fill the memory."""
    try:
        with zipfile.ZipFile(path) as parts:
            comment, entries = parts.comment, parts.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                return "it is compressed, which no run does"
            if sum(entry.file_size for entry in entries) > path.stat().st_size:
                return "its parts overlap"
            if not comment:  # an older one has a checksum only for each of its parts
                broken = parts.testzip()
                return f"{broken} is damaged" if broken else None
        with path.open("rb") as file:
            crc = _checksum(file, path.stat().st_size - len(comment))
        return None if comment == SEAL + b"%08x" % crc else "its checksum differs"
    except Exception as error:  # noqa: BLE001 (the reader of zip files raises many kinds)
        return one_line(error)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's content, on the CPU, loaded without running code from it.

    Raises:
        UserError: if it is absent, broken, or holds more than plain values.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint")
    try:
        if damaged := damage(path):
            raise ValueError(damaged)
        content = torch.load(path, map_location="cpu", weights_only=True)
        _check_content(content, path.stat().st_size)
    except Exception as error:  # torch raises many kinds on a broken file
        what = one_line(error)
        if isinstance(error, pickle.UnpicklingError):  # whose message tells how to load it anyway
            what = "it holds more than tensors and plain values"
        raise UserError(
            f"{path} is not a usable checkpoint ({what}); "
            "it may be cut off: take another one, such as last.ckpt beside best.ckpt"
        ) from error
    return content


def _check_content(content: Any, size: int) -> None:
    """Makes sure that it holds weights and hyper-parameters, and tensors of this size at most."""
    if not isinstance(content, dict):
        raise TypeError("it holds no state_dict and hyper_parameters")
    weights, parameters = content.get("state_dict"), content.get("hyper_parameters")
    if not isinstance(weights, dict) or not isinstance(parameters, dict):
        raise TypeError("it holds no state_dict and hyper_parameters")
    for name, tensor in weights.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise TypeError(f"state_dict holds more than tensors: {name!r:.60}")
    check_plain(parameters, "hyper_parameters")
    storages: dict[int, int] = {}
    for tensor in _tensors(content):
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            raise ValueError("it holds a tensor of a kind that no run saves")
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        if tensor.numel() * tensor.element_size() > storage.nbytes():
            raise ValueError("it holds a tensor that is larger than its values")
    if sum(storages.values()) > size:
        raise ValueError("its tensors are larger than the file")


def _tensors(content: Any) -> Iterator[torch.Tensor]:
    """All tensors in mappings and sequences, each value once, however often others refer to it."""
    waiting, seen = [content], set[int]()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list | tuple | set):
            waiting.extend(value)
