"""Trainings that end early, and the runs that resume them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from seqmodels.runs.checkpoint import CheckpointFiles, read_checkpoint
from tests.conftest import Completed, Script, command, result_of

# nothing of it is a default
OWN = (
    *("model.head=max_pool", "seed=3", "model.encoder.hidden_size=12", "trainer=cpu"),
    *("trainer.max_epochs=4", "trainer.log_every_n_steps=5", "baseline=false"),
    "trainer.limit_test_batches=3",  # The whole test takes as long as such a training.
)
QUICK = (*OWN, "callbacks.dataflow=null")  # Auditing and drawing take longer than such a training.


class Signal(Callback):
    """Sends signals to this process: in a step, or in the validation after it."""

    def __init__(self, numbers: list[int], step: int = 33, validating: bool = False) -> None:
        self.numbers, self.step, self.validating = numbers, step, validating

    def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        if not self.validating:
            self.send(trainer)

    def on_validation_start(self, trainer: pl.Trainer, *_: object) -> None:
        if self.validating:
            self.send(trainer)

    def send(self, trainer: pl.Trainer) -> None:
        for number in self.numbers if trainer.global_step == self.step else ():
            os.kill(os.getpid(), number)


class Copy(Callback):
    """Copies the run folder after a step, as if the training had been killed after it."""

    def __init__(self, to: str, step: int) -> None:
        self.to, self.step = to, step

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        if trainer.global_step == self.step:
            for logger in trainer.loggers:
                logger.save()
            folder = Path(trainer.default_root_dir)
            trainer.save_checkpoint(folder / "checkpoints" / "last.ckpt")
            shutil.copytree(folder, self.to)


class Fail(Callback):
    """Fails in a step, as it begins, or between two by the data."""

    def __init__(self, place: str) -> None:
        self.place = place

    def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        if trainer.global_step == 33 and self.place == "as it begins":  # before others know of it
            raise MemoryError("out of memory")

    def on_before_backward(self, trainer: pl.Trainer, *_: object) -> None:
        if trainer.global_step == 33 and self.place == "in a step":
            raise MemoryError("out of memory")

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        if trainer.global_step == 33 and self.place == "between two":
            trainer.train_dataloader.dataset.sequences = Broken()  # type: ignore[union-attr]


class Broken:
    """Sequences that cannot be read."""

    def __getitem__(self, number: int) -> torch.Tensor:
        torch.rand(3)
        raise OSError("the disk is gone")


def callback(kind: type[Callback], **arguments: object) -> tuple[str, str]:
    """The words that add a callback of a test."""
    target = f"{kind.__module__}.{kind.__name__}"
    entry = ",".join([f"_target_:{target}", *(f"{key}:{v}" for key, v in arguments.items())])
    return f"+callbacks.{kind.__name__.lower()}={{{entry}}}", "allowed_targets=[tests.]"


def stopped_by(*numbers: int, step: int = 33, validating: bool = False) -> tuple[str, str]:
    return callback(Signal, numbers=[*map(int, numbers)], step=step, validating=validating)


@contextmanager
def running(folder: Path, files: str, count: int, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A training in a process of its own, which has written so many of these files in `folder`."""
    process = subprocess.Popen(
        command("train.py", *words),
        cwd=folder.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 200
        while len([*folder.glob(files)]) < count:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.01)
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # also processes that it has started
        process.communicate()


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
    """To the bit: weights, metrics of every epoch, predictions, result."""
    same_weights(whole, resumed)
    for name in ("predictions.csv", "scores.csv"):
        assert (whole / name).is_file() == (resumed / name).is_file(), name
        if (whole / name).is_file():  # a task without parts has no scores of them
            assert (whole / name).read_bytes() == (resumed / name).read_bytes(), name
    assert (whole / "metrics.csv").read_bytes() == (resumed / "metrics.csv").read_bytes()
    assert result_of(whole)["metrics"] == result_of(resumed)["metrics"]
    assert result_of(resumed)["status"] == "completed"


def killed_at_each_checkpoint(
    monkeypatch: pytest.MonkeyPatch, place: Path, name: str = "last"
) -> list[Path]:
    """From now on, each checkpoint of this name that a training saves leaves a copy of its folder,
    as if the training had been killed right after it. The list names the copies."""
    copies, save = list[Path](), CheckpointFiles.save_checkpoint

    def save_and_copy(
        self: CheckpointFiles, checkpoint: dict[str, Any], path: Any, *_: Any, **__: Any
    ) -> None:
        save(self, checkpoint, path)
        if Path(path).stem == name:
            copy = place / f"killed_{len(copies)}"
            copies.append(Path(shutil.copytree(Path(path).parents[1], copy)))

    monkeypatch.setattr(CheckpointFiles, "save_checkpoint", save_and_copy)
    return copies


def as_if_killed_in_its_test(run: Path) -> None:
    """A finished run whose result was never written."""
    result = {**result_of(run), "status": "interrupted", "metrics": {}}
    (run / "result.json").write_text(json.dumps(result))


def resumes(
    script: Script, folder: Path, *words: str, step: int = 33, again: tuple[str, ...] = ()
) -> Completed:
    """A training that is resumed from what it was after a step is the uninterrupted one.

    Args:
        step: counted from 0, and not the last one before a validation.
        again: words of the resume: what no folder gives.

    Returns what the resumed training said. `whole` and `cut` lie in the folder.
    """
    cut = folder / "cut"
    script("train.py", *words, *callback(Copy, to=cut, step=step + 1), f"folder={folder / 'whole'}")
    done = script("train.py", f"resume={cut}", *again)
    same_run(folder / "whole", cut)
    return done
