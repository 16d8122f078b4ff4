"""Trainings that a signal cuts off, and that are resumed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback

from seqmodels.runs.checkpoint import read_checkpoint
from tests.conftest import Completed, Script, result_of

# nothing of it is a default
OWN = (
    "model.head=max_pool",
    "seed=3",
    "model.encoder.hidden_size=12",
    "trainer=cpu",
    "trainer.max_epochs=4",
    "trainer.log_every_n_steps=5",
    "baseline=false",
)


class Signal(Callback):
    """Sends a signal to this process: in a step, in the validation after it, or (-1) before all."""

    def __init__(self, number: int, step: int = 33, validating: bool = False) -> None:
        self.number, self.step, self.validating = number, step, validating

    def on_train_start(self, *_: object) -> None:
        if self.step < 0:
            os.kill(os.getpid(), self.number)

    def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        if trainer.global_step == self.step and not self.validating:
            os.kill(os.getpid(), self.number)

    def on_validation_start(self, trainer: pl.Trainer, *_: object) -> None:
        if trainer.global_step == self.step and self.validating:
            os.kill(os.getpid(), self.number)


class Stop(Callback):
    """Ends the process of training as a crash would, after a number of steps."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer, *args: object) -> None:
        if trainer.global_step == self.step:
            raise RuntimeError("the power went out")


def stopped_by(number: int, step: int = 33, validating: bool = False) -> tuple[str, str]:
    name = f"{Signal.__module__}.Signal"
    entry = f"{{_target_:{name},number:{int(number)},step:{step},validating:{validating}}}"
    return f"+callbacks.signal={entry}", f"allowed_targets=[{name}]"


def content(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".log"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def weights(run: Path, name: str = "last") -> dict[str, torch.Tensor]:
    return read_checkpoint(run / "checkpoints" / f"{name}.ckpt")["state_dict"]


def same_weights(one: Path, other: Path, names: tuple[str, ...] = ("last", "best")) -> None:
    """To the bit."""
    for name in names:
        for key, value in weights(one, name).items():
            assert torch.equal(value, weights(other, name)[key]), (name, key)


def same_run(whole: Path, resumed: Path) -> None:
    """To the bit: weights, metrics of every epoch, result."""
    same_weights(whole, resumed)
    assert (whole / "metrics.csv").read_bytes() == (resumed / "metrics.csv").read_bytes()
    assert result_of(whole)["metrics"] == result_of(resumed)["metrics"]
    assert result_of(resumed)["status"] == "completed"


def resumes(
    script: Script, folder: Path, *words: str, step: int = 33, validating: bool = False
) -> Completed:
    """A training that SIGTERM cuts off at a step and its folder resumes is the uninterrupted one.

    Returns what the resumed training said. `whole` and `cut` lie in the folder.
    """
    script("train.py", *words, f"folder={folder / 'whole'}")
    stop = stopped_by(signal.SIGTERM, step, validating)
    script("train.py", *words, *stop, f"folder={folder / 'cut'}", status=143)
    done = script("train.py", f"resume={folder / 'cut'}")
    same_run(folder / "whole", folder / "cut")
    return done
