"""What a run asks of a logger, besides what Lightning does."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
from lightning.pytorch.loggers.logger import Logger

from seqmodels.errors import UserError
from seqmodels.files import write_json
from seqmodels.plain import read_json
from seqmodels.program import how_to_install

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
            f"logger={package} needs a package that is not installed: {how_to_install(package)}"
        )


def read_id(folder: Path, logger: str) -> str | None:
    """What a logger calls the run of this folder; None if it does not know it yet."""
    name = _ids(folder).get(logger)
    return None if name is None else str(name)


def write_id(folder: Path, logger: str, name: str) -> None:
    """Remembers what a logger calls the run, so that a resumed run goes there too."""
    write_json(folder / "loggers.json", {**_ids(folder), logger: name})


def _ids(folder: Path) -> dict[str, Any]:
    file = folder / "loggers.json"
    ids = read_json(file) if file.is_file() else {}
    if not isinstance(ids, dict):
        raise UserError(f"{file} does not name the loggers' runs: remove it")
    return ids
