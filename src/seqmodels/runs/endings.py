"""How a training begins to leave traces, and how it ends."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException

from seqmodels.callbacks.last_checkpoint import Interrupted
from seqmodels.errors import UserError, one_line
from seqmodels.runs.folder import RunFolder
from seqmodels.screen import Screen
from seqmodels.tasks import Task


@contextmanager
def trainer_mistakes() -> Iterator[None]:
    """Turns Lightning's complaints about `trainer.*` into a UserError."""
    try:
        yield
    except MisconfigurationException as error:  # Lightning's word for a mistake in trainer.*
        raise UserError(f"trainer: {one_line(error)}") from error


@contextmanager
def restoring(checkpoint: Path | None, task: Task) -> Iterator[None]:
    """Says in one line that a checkpoint does not fit, if something fails before it is restored."""
    try:
        yield
    except Exception as error:
        if checkpoint is None or task.restored or isinstance(error, UserError):
            raise
        raise UserError(
            f"{checkpoint} cannot be resumed ({type(error).__name__}: {one_line(error)})"
        ) from error


@contextmanager
def interruptions(folder: RunFolder, trainer: pl.Trainer, console: Screen) -> Iterator[None]:
    """Ends with the exit status that a shell gives to a signal: 130 for Ctrl-C, 143 for SIGTERM."""
    try:
        yield
    except (Interrupted, SystemExit) as interruption:
        if isinstance(interruption, SystemExit) and not trainer.interrupted:
            raise
        # outside of `fit`, Lightning has an exception of its own for SIGTERM, and 1 for Ctrl-C
        sigterm = isinstance(interruption, SIGTERMException)
        usual = signal.SIGTERM if sigterm else signal.SIGINT
        signum = getattr(interruption, "signum", usual)
        console.print(
            f"\ninterrupted by {signal.Signals(signum).name}; resume with "
            f"python scripts/train.py resume={folder.path}",
            soft_wrap=True,
        )
        raise SystemExit(128 + signum) from interruption


class Restored(Callback):
    """Writes the first result of a resumed run, once weights and optimiser are restored."""

    def __init__(self, folder: RunFolder, result: dict[str, Any]) -> None:
        self.folder, self.result, self.done = folder, result, False

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if not self.done:
            self.done = True
            if trainer.is_global_zero:
                self.folder.write_result(self.result)
