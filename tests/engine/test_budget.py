"""Steps, epochs and time all shape the learning rate's schedule, before and after a resume."""

from __future__ import annotations

import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import Callback, Timer
from torch.nn import Parameter
from torch.utils.data import DataLoader

from seqmodels.batch import SequenceBatch
from seqmodels.engine.budget import Budget
from seqmodels.engine.optimization import OneCycle, half_cosine
from seqmodels.errors import UserError
from seqmodels.runs.metrics_file import read_metrics
from seqmodels.runs.trainer import Trainer
from seqmodels.tasks.classification import SequenceClassifier
from tests.conftest import Script
from tests.runs.resumed import stopped_by

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec"),
]

ADAM = {"_target_": "torch.optim.AdamW", "lr": 0.1}
OURS = "seqmodels.engine.optimization."
ONE_CYCLE = {"_target_": OURS + "OneCycle"}
LINEAR = {  # of PyTorch: each value follows from the one before it
    "_target_": "torch.optim.lr_scheduler.LinearLR",
    "start_factor": 1.0,
    "end_factor": 0.0,
    "total_iters": "total_steps",
}


LINEAR_WORDS = (
    "scheduler=none",
    "+model.scheduler={_target_: torch.optim.lr_scheduler.LinearLR, total_iters: total_steps}",
)


class Rates(Callback):
    """Records the learning rate of each step."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


class Data(pl.LightningDataModule):
    """10 batches."""

    def train_dataloader(self) -> DataLoader:
        generator = torch.Generator().manual_seed(0)
        inputs = torch.randn(10, 4, 3, 5, generator=generator)
        lengths, targets = torch.full((4,), 3), torch.tensor([0, 1, 0, 1])
        batches = [SequenceBatch(each, lengths, targets) for each in inputs]
        return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]

    val_dataloader = train_dataloader


def rates(folder: Path, scheduler: dict, **options: object) -> list[float]:
    data = {"inputs": "features", "num_inputs": 5, "classes": ["a", "b"]}
    task = SequenceClassifier(data, {"hidden_size": 3}, optimizer=ADAM, scheduler=scheduler)
    recorded = Rates()
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        limit_val_batches=0,
        log_every_n_steps=0,
        default_root_dir=folder,
        callbacks=[recorded],
        **options,
    )
    trainer.fit(task, Data())
    return recorded.rates


def expected(name: str, steps: int, **options: Any) -> list[float]:
    """The rates of one of PyTorch's own."""
    optimizer = torch.optim.AdamW([Parameter(torch.zeros(1))], lr=0.1)
    scheduler, found = getattr(torch.optim.lr_scheduler, name)(optimizer, **options), []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


ENDS = [
    ({"max_epochs": 3}, 30),
    ({"max_epochs": -1, "max_steps": 14}, 14),
    ({"max_epochs": 3, "max_steps": 14}, 14),
    ({"max_epochs": 2, "max_steps": 99}, 20),
]


@pytest.mark.parametrize(("ends", "steps"), ENDS)
def test_a_scheduler_of_pytorch_ends_with_the_training(
    ends: dict, steps: int, tmp_path: Path
) -> None:
    plan = expected("LinearLR", steps, start_factor=1.0, end_factor=0.0, total_iters=steps)
    assert rates(tmp_path, LINEAR, **ends) == pytest.approx(plan)


@pytest.mark.parametrize(("ends", "steps"), ENDS)
def test_a_rate_follows_the_progress_of_the_training(
    ends: dict, steps: int, tmp_path: Path
) -> None:
    found = rates(tmp_path, {"_target_": OURS + "LinearWarmup", "warmup": 0.5}, **ends)
    assert found == pytest.approx([0.2 * min(n, steps - n) / steps for n in range(steps)])


def test_one_cycle_and_cosine_are_those_of_pytorch() -> None:
    """But for its convention that the last of N steps is at N - 1, where ours is at N."""
    theirs = expected("OneCycleLR", 200, max_lr=0.1, total_steps=200)
    off = [abs(0.1 * OneCycle().at(n / 200) - rate) for n, rate in enumerate(theirs)]
    assert max(off) < 0.015 * 0.1
    theirs = expected("CosineAnnealingLR", 200, T_max=200)
    assert [0.1 * half_cosine(n / 200) for n in range(200)] == pytest.approx(theirs)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """3 seconds for each step, as the timer counts them."""

    def elapsed(timer: Timer, *_: object) -> float:
        return timer._offset + 3.0 * timer.__dict__.get("steps", 0)

    def count(timer: Timer, trainer: pl.Trainer, *args: object) -> None:
        timer._check_time_remaining(trainer)

    def begin(timer: Timer, *_: object) -> None:
        timer.steps = timer.__dict__.get("steps", 0) + 1

    monkeypatch.setattr(Timer, "time_elapsed", elapsed)
    monkeypatch.setattr(Timer, "on_train_batch_start", begin)
    monkeypatch.setattr(Timer, "on_train_batch_end", count)


@pytest.mark.parametrize(
    "ends", [{"max_epochs": -1}, {"max_epochs": 1_000_000}, {"max_steps": 999}]
)
def test_a_rate_follows_the_time_where_that_ends_the_training(
    ends: dict, tmp_path: Path, clock: None
) -> None:
    """24 steps, of which the other limits know nothing."""
    found = rates(tmp_path, ONE_CYCLE, max_time=timedelta(seconds=72), **ends)
    assert found == pytest.approx([0.1 * OneCycle().at(step / 24) for step in range(24)])


def test_whichever_limit_is_nearer_counts(tmp_path: Path, clock: None) -> None:
    found = rates(tmp_path, ONE_CYCLE, max_epochs=1, max_time=timedelta(seconds=3000))
    assert found == pytest.approx([0.1 * OneCycle().at(step / 10) for step in range(10)])
    assert Budget(200, 50.0).progress(30, 5.0) == 0.15
    assert Budget(200, 50.0).progress(10, 25.0) == 0.5
    assert Budget(200, 50.0).progress(10, 99.0) == 1


def test_a_training_without_an_end_has_no_schedule(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="set trainer.max_epochs or trainer.max_steps"):
        rates(tmp_path, ONE_CYCLE, max_epochs=-1)
    with pytest.raises(UserError, match="needs the end of the training: set trainer.max_epochs"):
        rates(tmp_path, LINEAR, max_epochs=-1, max_time=timedelta(seconds=72))


def learning_rates(run: Path) -> list[float]:
    """After each epoch."""
    rows = read_metrics(run / "metrics.csv")
    return [row["learning_rate"] for row in rows if "learning_rate" in row]


@pytest.mark.parametrize("words", [(), ("model.scheduler.end=0.5",), LINEAR_WORDS], ids=str)
def test_a_later_end_is_planned_as_if_it_had_been_known(
    words: tuple[str, ...], script: Script, tmp_path: Path
) -> None:
    own = ("trainer=cpu", "baseline=false", "callbacks.dataflow=null", *words)
    script("train.py", *own, "trainer.max_epochs=2", "folder=run")
    script("train.py", "resume=run", "trainer.max_epochs=4")
    script("train.py", *own, "trainer.max_epochs=4", "folder=whole")
    resumed, whole = (
        [
            row["learning_rate"]
            for row in read_metrics(tmp_path / name / "metrics.csv")
            if "learning_rate" in row
        ]
        for name in ("run", "whole")
    )
    assert resumed[2:] == pytest.approx(whole[2:]) and resumed[1] != pytest.approx(whole[1])


def test_a_rate_that_a_plateau_has_lowered_stays_so_with_a_later_end(
    script: Script, tmp_path: Path
) -> None:
    own = ("trainer=cpu", "baseline=false", "callbacks.dataflow=null", "scheduler=plateau")
    own += ("model.scheduler.patience=0", "+model.scheduler.threshold=100", "folder=run")
    script("train.py", *own, "trainer.max_epochs=2", "model.optimizer.lr=0.01")
    script("train.py", "resume=run", "trainer.max_epochs=3")
    assert learning_rates(tmp_path / "run") == pytest.approx([0.005, 0.0025, 0.00125])


def test_a_run_by_time_is_resumed_with_the_time_that_it_used(
    script: Script, tmp_path: Path, clock: None
) -> None:
    """Bit for bit, as far as the clock is: here it goes by steps."""
    own = ("trainer=cpu", "trainer.max_epochs=-1", "trainer.max_time=00:00:02:06", "baseline=false")
    own += ("model.encoder.hidden_size=6", "callbacks.dataflow=null")
    script("train.py", *own, "folder=whole")
    stop = stopped_by(signal.SIGTERM, step=20)
    script("train.py", *own, *stop, "folder=cut", status=143)
    script("train.py", "resume=cut")
    paths = [tmp_path / name / "checkpoints" / "last.ckpt" for name in ("whole", "cut")]
    whole, cut = (torch.load(path, weights_only=True) for path in paths)
    assert whole["global_step"] == cut["global_step"] == 126 // 3
    for name, weight in whole["state_dict"].items():
        assert torch.equal(weight, cut["state_dict"][name]), name


def test_a_new_learning_rate_is_taken_when_a_run_is_resumed(script: Script, tmp_path: Path) -> None:
    own = ("trainer=cpu", "trainer.max_epochs=2", "baseline=false", "callbacks.dataflow=null")
    stop = stopped_by(signal.SIGTERM, step=20)
    script("train.py", *own, *stop, "scheduler=none", "folder=run", status=143)
    changes = ("model.optimizer.lr=0.0001", "model.optimizer.weight_decay=0.5")
    script("train.py", "resume=run", *changes)
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    [group] = saved["optimizer_states"][0]["param_groups"]
    assert (group["lr"], group["weight_decay"]) == (0.0001, 0.5)


@pytest.mark.parametrize(
    ("ends", "validated"),
    [
        (("trainer.max_epochs=2",), [27]),  # 14 batches each
        (("trainer.max_epochs=16",), [99, 199, 223]),
        (("trainer.max_epochs=-1", "trainer.max_steps=110"), [99, 109]),
    ],
)
def test_validations_go_by_size_and_the_last_one_is_at_the_end(
    ends: tuple[str, ...], validated: list[int], script: Script, tmp_path: Path
) -> None:
    own = ("trainer=cpu", "baseline=false", "callbacks.dataflow=null", "folder=run")
    own += ("trainer.val_check_interval=auto", "model.encoder.hidden_size=6")
    script("train.py", *own, *ends)
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    assert [row["step"] for row in rows if "validation/loss" in row] == validated


def test_a_large_validation_split_is_read_less_often(script: Script, tmp_path: Path) -> None:
    """54 series in batches of 1, so every 108 steps."""
    own = ("trainer=cpu", "baseline=false", "callbacks.dataflow=null", "folder=run")
    own += ("trainer.val_check_interval=auto", "model.encoder.hidden_size=6", "data.batch_size=1")
    script("train.py", *own, "trainer.max_epochs=1")
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    assert [row["step"] for row in rows if "validation/loss" in row] == [107, 215]
