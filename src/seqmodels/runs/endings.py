"""How a training begins and ends, and what its folder keeps of that."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from seqmodels.callbacks.checkpoints import LastCheckpoint
from seqmodels.errors import UserError, unusable
from seqmodels.interruption import Interrupted, handling_signals, interrupt
from seqmodels.loggers import log_hyperparameters
from seqmodels.runs.environment import environment
from seqmodels.runs.folder import RunFolder
from seqmodels.runs.lock import locked
from seqmodels.runs.result import Result
from seqmodels.runs.resume import Resume
from seqmodels.screen import Screen


class Recording(Callback):
    """Keeps `result.json`, and is alone in saying a run's status.

    A new run is interrupted from the start, as a killed process leaves it, until it ends. A resume
    leaves its first traces at its first batch: until then it may be refused. If the run had
    finished before, its result stays until there is a newer one, and with it the weights that it
    is of.
    """

    def __init__(
        self, folder: RunFolder, result: Result, resume: Resume | None, overrides: Sequence[str]
    ) -> None:
        self.folder, self.result, self.resume, self.overrides = folder, result, resume, overrides
        self.begun = False
        before = folder.result_if_any() if resume else None
        self._finished = before if before is not None and before.completed else None
        if resume:
            result.resumed = [*(before.resumed if before else []), environment(result.device)]

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if self.begun:
            return
        self.begun = True
        if self.resume and trainer.is_global_zero:
            if self._finished:
                self._finished = self.folder.keep_finished(self._finished)
            if self.resume.changes:
                self.folder.add_stretch(self.resume.step, self.overrides, self.resume.changes)
            if not self._finished:
                self.folder.write_result(self.result)
        log_hyperparameters(trainer, self.result.model_dump())

    def __enter__(self) -> None:
        if self.resume is None:
            self.folder.write_result(self.result)

    def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> None:
        if error is None:
            self.result.status = "completed"
            self.folder.write_result(self.result)
            if self._finished:
                self.folder.remove_kept(self._finished)
            return
        if isinstance(error, Exception):
            self.result.fail(error)
        has_begun = self.resume is None or self.begun
        if has_begun and not self._finished:
            with suppress(UserError):  # it must not hide the other error
                self.folder.write_result(self.result)

    @contextmanager
    def interruptions(self, trainer: pl.Trainer, console: Screen) -> Iterator[None]:
        """Says what is saved if the training does not reach its end, and how to resume it.

        A signal ends it with the exit status of a shell: 130 for Ctrl-C, 143 for SIGTERM. What
        fails before the second step of the optimizer after that of a checkpoint is a UserError: the
        first one and its metrics use the last of the checkpoint's state, so that one does not fit.
        """
        try:
            with handling_signals(interrupt):
                yield
        except Interrupted as end:
            self._say(f"interrupted by {end.signum.name}", trainer, console)
            raise SystemExit(128 + end.signum) from end
        except Exception:
            fits, resume = trainer.state.fn == "fit", self.resume
            if fits and resume and resume.checkpoint and trainer.global_step <= resume.step + 1:
                with unusable(f"{resume.checkpoint} cannot be resumed"):
                    raise
            if self.folder.checkpoint_file("last").is_file():
                self._say("failed", trainer, console)
            raise

    def _say(self, how: str, trainer: Any, console: Screen) -> None:
        steps = [each.step for each in trainer.callbacks if isinstance(each, LastCheckpoint)]
        saved = f"saved after step {steps[0]}; " if any(steps) else ""
        words = [w for w in self.overrides if w.startswith(("imports=", "allowed_targets="))]
        console.print(f"\n{how}; {saved}{self.folder.how_to_resume(words)}", soft_wrap=True)


@contextmanager
def new_folder(folder: RunFolder, recording: Recording) -> Iterator[None]:
    """Within: nobody else trains in the folder. If the training is refused before its first batch,
    a folder that it made goes again."""
    made = not folder.path.exists()
    is_refused = False
    try:
        with locked(folder.lock):  # if another process has it, the folder is that one's
            folder.check_free()
            try:
                yield
            except UserError:
                is_refused = made and not recording.begun
                if is_refused:
                    shutil.rmtree(folder.path, ignore_errors=True)
                raise
    finally:
        if is_refused:  # Windows removes no lock that is held, and so left it and the folder
            with suppress(OSError):  # it is gone, or another process has made it again
                folder.path.rmdir()
