"""How a training ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import lightning.pytorch as pl

from seqmodels.callbacks.last_checkpoint import LastCheckpoint
from seqmodels.errors import UserError, one_line
from seqmodels.interruption import Interrupted, handling_signals, interrupt
from seqmodels.runs.folder import RunFolder
from seqmodels.screen import Screen


@contextmanager
def restoring(checkpoint: Path | None, step: int, trainer: pl.Trainer) -> Iterator[None]:
    """Says in one line that a checkpoint does not fit, if something fails before the second step of
    the optimizer after its own: the first one and its metrics use the last of its state."""
    try:
        yield
    except Exception as error:
        if checkpoint is None or trainer.global_step > step + 1 or isinstance(error, UserError):
            raise
        raise UserError(
            f"{checkpoint} cannot be resumed ({type(error).__name__}: {one_line(error)})"
        ) from error


@contextmanager
def interruptions(
    folder: RunFolder, trainer: pl.Trainer, console: Screen, words: Sequence[str]
) -> Iterator[None]:
    """Says what is saved if the training does not reach its end, and how to resume it.

    A signal ends it with the exit status of a shell: 130 for Ctrl-C, 143 for SIGTERM.

    Args:
        words: what a resume needs on its command line besides the folder.
    """
    try:
        with handling_signals(interrupt):
            yield
    except (Interrupted, Exception) as end:
        said = f"interrupted by {end.name}" if isinstance(end, Interrupted) else "failed"
        if isinstance(end, Interrupted) or folder.checkpoint_file("last").is_file():
            last = [c.step for c in trainer.callbacks if isinstance(c, LastCheckpoint) and c.step]  # type: ignore[attr-defined]
            saved = f"saved after step {last[0]}; " if last else ""
            console.print(f"\n{said}; {saved}{folder.how_to_resume(words)}", soft_wrap=True)
        if isinstance(end, Interrupted):
            raise SystemExit(128 + end.signum) from end
        raise
