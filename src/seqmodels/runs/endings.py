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
        self.folder = folder
        self.result = result
        self.resume = resume
        self.overrides = overrides
        self.begun = False
        # The result of the run before, if it had finished.
        self._finished: Result | None = None
        if resume:
            result_before = folder.result_if_any()
            environments = []
            if result_before:
                environments = result_before.resumed
                if result_before.completed:
                    self._finished = result_before
            result.resumed = [*environments, environment(result.device)]

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
            with suppress(UserError):  # It must not hide the first error.
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
            resume = self.resume
            is_training = trainer.state.fn == "fit"
            if is_training and resume and resume.checkpoint:
                has_just_begun = trainer.global_step <= resume.step + 1
                if has_just_begun:
                    with unusable(f"{resume.checkpoint} cannot be resumed"):
                        raise
            if self.folder.checkpoint_file("last").is_file():
                self._say("failed", trainer, console)
            raise

    def _say(self, ending: str, trainer: Any, console: Screen) -> None:
        """Prints how the training ended, what is saved, and the command that resumes it."""
        message = f"\n{ending}; "
        steps = [
            callback.step for callback in trainer.callbacks if isinstance(callback, LastCheckpoint)
        ]
        if any(steps):
            message += f"saved after step {steps[0]}; "
        # No folder gives these words.
        prefixes = ("imports=", "allowed_targets=")
        words = [word for word in self.overrides if word.startswith(prefixes)]
        message += self.folder.how_to_resume(words)
        console.print(message, soft_wrap=True)


@contextmanager
def new_folder(folder: RunFolder, recording: Recording) -> Iterator[None]:
    """Within: nobody else trains in the folder. If the training is refused before its first batch,
    a folder that it made goes again."""
    is_new = not folder.path.exists()
    is_refused = False
    try:
        with locked(folder.lock):  # If another process has it, the folder is that one's.
            folder.check_free()
            try:
                yield
            except UserError:
                is_refused = is_new and not recording.begun
                if is_refused:
                    shutil.rmtree(folder.path, ignore_errors=True)
                raise
    finally:
        if is_refused:
            # Windows removes no lock that is held, and so has left it and the folder. Where the
            # folder is gone, or another process has made it again, this is an OSError.
            with suppress(OSError):
                folder.path.rmdir()
