"""What a run asks of a logger, besides what Lightning does."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import lightning.pytorch as pl
from lightning.pytorch.loggers.logger import Logger

from seqmodels.errors import UserError
from seqmodels.files import read_json, write_json

Status = Literal["completed", "failed", "interrupted"]


class RunLogger(Logger):
    """A logger that stays open for a whole run: Lightning alone closes it after each of `fit`,
    `validate` and `test`. Only the first process calls its methods, but for `starts`.
    """

    folder: Path  # of the run

    def starts(self, trainer: pl.Trainer) -> None:
        """A training starts, or is resumed, at `trainer.global_step`. Writes nothing yet, because
        the resume may still be refused."""

    def log_pictures(self, pictures: Iterable[Path], step: int) -> None:
        """Shows the pictures (PNG) of the run, each by its file's name."""

    def log_files(self, files: Iterable[Path]) -> None:
        """Keeps copies of the files."""

    def finalize(self, status: str = "success") -> None:
        self.save()

    def close(self, status: Status) -> None:
        """The run has ended."""


def require(package: str) -> None:
    """Raises UserError if a package for a logger is not installed."""
    if importlib.util.find_spec(package) is None:
        raise UserError(
            f"logger={package} needs a package that is not installed: pip install -e '.[{package}]'"
        )


def read_id(folder: Path, logger: str) -> str | None:
    """What a logger calls the run of this folder; None if it does not know it yet."""
    file = folder / "loggers.json"
    found = read_json(file).get(logger) if file.is_file() else None
    return None if found is None else str(found)


def write_id(folder: Path, logger: str, name: str) -> None:
    """Remembers what a logger calls the run, so that a resumed run goes there too."""
    file = folder / "loggers.json"
    write_json(file, {**(read_json(file) if file.is_file() else {}), logger: name})
