"""Steps, epochs and time all shape the learning rate's schedule, before and after a resume; and
optimisers and schedulers by name. tests/runs/test_resumed_runs.py has what a resume continues,
tests/test_examples.py those of your own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import Callback, Timer
from torch import Tensor
from torch.nn import Parameter
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import DataLoader

from seqmodels.batch import SequenceBatch
from seqmodels.engine.optimization import Budget, OneCycle
from seqmodels.engine.resume import replan
from seqmodels.errors import UserError
from seqmodels.runs.folder import read_metrics
from seqmodels.runs.plan import check_keys, plan_of
from seqmodels.runs.trainer import Trainer
from seqmodels.tasks.classification import SequenceClassifier
from tests.conftest import Config, Refused, Script
from tests.make import batch_for, build_task
from tests.runs.resumed import Copy, callback, same_weights

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec"),
]

ADAM = {"_target_": "torch.optim.AdamW", "lr": 0.1}
ONE_CYCLE = {"_target_": "seqmodels.engine.optimization.OneCycle"}
LINEAR = {  # of PyTorch: each value follows from the one before it
    "_target_": "torch.optim.lr_scheduler.LinearLR",
    "start_factor": 1.0,
    "end_factor": 0.0,
    "total_iters": "total_steps",
}


class Rates(Callback):
    """Records the learning rate of each step of the optimizer."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def on_before_optimizer_step(self, trainer: Any, task: Any, optimizer: Any) -> None:
        self.rates.append(optimizer.param_groups[0]["lr"])


class Data(pl.LightningDataModule):
    """10 batches."""

    def train_dataloader(self) -> DataLoader:
        inputs = torch.randn(10, 4, 3, 5, generator=torch.Generator().manual_seed(0))
        lengths, targets = torch.full((4,), 3), torch.tensor([0, 1, 0, 1])
        batches = [SequenceBatch(each, lengths, targets) for each in inputs]
        return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]

    val_dataloader = train_dataloader


def rates(folder: Path, scheduler: dict[str, Any], **ends: Any) -> list[float]:
    data = {"inputs": "features", "num_inputs": 5, "classes": ["a", "b"]}
    task = SequenceClassifier(data, {"hidden_size": 3}, optimizer=ADAM, scheduler=scheduler)
    off = ("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing")
    options: dict[str, Any] = {**dict.fromkeys(off, False), "limit_val_batches": 0}
    options |= {"log_every_n_steps": 0, "default_root_dir": folder, "callbacks": [Rates()]}
    trainer = Trainer(accelerator="cpu", **options, **ends)
    trainer.fit(task, Data())
    return next(c.rates for c in trainer.callbacks if isinstance(c, Rates))  # type: ignore[attr-defined]


def of_pytorch(name: str, steps: int, **options: Any) -> list[float]:
    """The rates of one of PyTorch's own."""
    optimizer = torch.optim.AdamW([Parameter(torch.zeros(1))], lr=0.1)
    scheduler, found = getattr(torch.optim.lr_scheduler, name)(optimizer, **options), []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize(
    ("ends", "steps"),
    [
        ({"max_epochs": -1, "max_steps": 14}, 14),
        ({"max_epochs": 2, "max_steps": 99}, 20),
        ({"max_epochs": 2, "accumulate_grad_batches": 3}, 8),  # the last of an epoch is of one
        ({"max_epochs": 3, "limit_train_batches": 0.5}, 15),
    ],
)
def test_a_rate_ends_with_the_training(ends: dict[str, Any], steps: int, tmp_path: Path) -> None:
    plan = of_pytorch("LinearLR", steps, start_factor=1.0, end_factor=0.0, total_iters=steps)
    assert rates(tmp_path, LINEAR, **ends) == pytest.approx(plan)


def test_one_cycle_and_cosine_are_those_of_pytorch() -> None:
    """But for its convention that the last of N steps is at N - 1, where ours is at N."""
    theirs = of_pytorch("OneCycleLR", 200, max_lr=0.1, total_steps=200)
    off = [abs(0.1 * OneCycle().at(n / 200) - rate) for n, rate in enumerate(theirs)]
    assert max(off) < 0.015 * 0.1
    theirs = of_pytorch("CosineAnnealingLR", 200, T_max=200)
    cosine = OneCycle(rise=0.0, end=0.0)
    assert [0.1 * cosine.at(n / 200) for n in range(200)] == pytest.approx(theirs)


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
    ("ends", "seconds", "steps"),
    [
        ({"max_epochs": -1}, 72, 24),
        ({"max_steps": 999}, 72, 24),
        ({"max_epochs": 1}, 3000, 10),
    ],
)
def test_a_rate_follows_the_time_where_that_ends_the_training(
    ends: dict[str, Any], seconds: int, steps: int, tmp_path: Path, clock: None
) -> None:
    found = rates(tmp_path, ONE_CYCLE, max_time=timedelta(seconds=seconds), **ends)
    assert found == pytest.approx([0.1 * OneCycle().at(step / steps) for step in range(steps)])


def test_whichever_limit_is_nearer_counts() -> None:
    shares = [Budget(200, 50.0).progress(*used) for used in ((30, 5.0), (10, 25.0), (10, 99.0))]
    assert shares == [0.15, 0.5, 1.0]


def test_a_training_without_an_end_has_no_schedule(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="set trainer.max_epochs or trainer.max_steps"):
        rates(tmp_path, ONE_CYCLE, max_epochs=-1)
    with pytest.raises(UserError, match="needs the end of the training: set trainer.max_epochs"):
        rates(tmp_path, LINEAR, max_epochs=-1, max_time=timedelta(seconds=72))


# ---------------------------------------------------------------- runs

OWN = ("trainer=cpu", "baseline=false", "callbacks.dataflow=null", "model.encoder.hidden_size=6")
LINEAR_WORDS = (
    "scheduler=none",
    "+model.scheduler={_target_: torch.optim.lr_scheduler.LinearLR, total_iters: total_steps}",
)


def at_epoch_ends(folder: Path, name: str) -> list[float]:
    return [row[name] for row in read_metrics(folder / "metrics.csv") if name in row]


@pytest.mark.parametrize("words", [("model.scheduler.end=0.5",), LINEAR_WORDS], ids=str)
def test_a_later_end_is_planned_as_if_it_had_been_known(
    words: tuple[str, ...], script: Script, tmp_path: Path
) -> None:
    script("train.py", *OWN, *words, "trainer.max_epochs=2", "folder=run")
    script("train.py", "resume=run", "trainer.max_epochs=4")
    script("train.py", *OWN, *words, "trainer.max_epochs=4", "folder=whole")
    found = [at_epoch_ends(tmp_path / name, "learning_rate") for name in ("run", "whole")]
    resumed, whole = found
    assert resumed[2:] == pytest.approx(whole[2:]) and resumed[1] != pytest.approx(whole[1])


def test_a_run_by_time_is_resumed_with_the_time_that_it_used(
    script: Script, tmp_path: Path, clock: None
) -> None:
    """Bit for bit, as far as the clock is: here it goes by steps."""
    own = (*OWN, "trainer.max_epochs=-1", "trainer.max_time=00:00:02:06", "folder=whole")
    script("train.py", *own, *callback(Copy, to=tmp_path / "cut", step=21))
    script("train.py", "resume=cut")
    same_weights(tmp_path / "whole", tmp_path / "cut")
    last = torch.load(tmp_path / "cut" / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 126 // 3


def test_a_new_learning_rate_is_taken_when_a_run_is_resumed(script: Script, tmp_path: Path) -> None:
    own = (*OWN, "trainer.max_epochs=2", "scheduler=none", "folder=whole")
    script("train.py", *own, *callback(Copy, to=tmp_path / "cut", step=21))
    script("train.py", "resume=cut", "model.optimizer.lr=0.0001", "model.optimizer.weight_decay=5")
    saved = torch.load(tmp_path / "cut" / "checkpoints" / "last.ckpt", weights_only=True)
    [group] = saved["optimizer_states"][0]["param_groups"]
    assert (group["lr"], group["weight_decay"]) == (0.0001, 5)


@pytest.mark.parametrize(
    ("changed", "rate"), [("model.optimizer.weight_decay", 0.05), ("model.optimizer.lr", 0.2)]
)
def test_a_rate_that_a_plateau_has_lowered_stays_unless_another_is_given(
    changed: str, rate: float
) -> None:
    resumed = torch.optim.SGD([Parameter(torch.zeros(1))], lr=0.05)
    new = torch.optim.SGD([Parameter(torch.zeros(1))], lr=0.2, weight_decay=5)
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.optimizers = [resumed]
    configured = {"optimizer": new, "lr_scheduler": {"scheduler": ReduceLROnPlateau(new)}}
    replan(trainer, configured, {changed})
    [group] = resumed.param_groups
    assert (group["lr"], group["weight_decay"]) == (rate, 5)


@pytest.mark.parametrize(
    ("ends", "validated"),
    [
        (("trainer.max_epochs=2",), [27]),  # 14 batches each
        (("trainer.max_epochs=-1", "trainer.max_steps=110"), [99, 109]),
    ],
)
def test_validations_go_by_size_and_the_last_one_is_at_the_end(
    ends: tuple[str, ...], validated: list[int], script: Script, tmp_path: Path
) -> None:
    script("train.py", *OWN, "trainer.val_check_interval=auto", *ends, "folder=run")
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    assert [row["step"] for row in rows if "validation/loss" in row] == validated


# ---------------------------------------------------------------- by name


QUICK = (
    *("trainer=cpu", "baseline=false", "callbacks.dataflow=null", "model.encoder.hidden_size=4"),
    *("trainer.max_epochs=2", "trainer.limit_train_batches=5", "trainer.limit_val_batches=2"),
    *("trainer.limit_test_batches=1", "callbacks.pictures=null", "folder=run"),
)
TORCH = "model.optimizer._target_=torch.optim"


def test_an_argument_that_another_class_left_is_refused_with_the_key_that_leaves_it_out(
    config: Config,
) -> None:
    words = f"{TORCH}.RMSprop"
    with pytest.raises(UserError, match="^model.optimizer.fused is not an argument .* with ~"):
        plan_of(check_keys(config(words)))
    plan_of(check_keys(config(words, "~model.optimizer.fused")))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("optimizer=sgd model.optimizer.momentum=-1", "Invalid momentum value: -1"),
        (f"{TORCH}.Lyon", "torch.optim.Lyon cannot be found"),
        ("scheduler=plateau model.scheduler.factor=2", "Factor should be < 1.0"),
    ],
)
def test_each_mistake_is_one_line_and_leaves_no_folder(
    words: str, message: str, refused: Refused, tmp_path: Path
) -> None:
    assert message in refused("train.py", *QUICK, *words.split())
    assert not (tmp_path / "run").exists()


def test_a_plateau_lowers_the_rate_by_the_loss_of_each_validation(
    script: Script, tmp_path: Path
) -> None:
    """As PyTorch's own would, from the values that the run has logged."""
    words = ("optimizer=sgd", "scheduler=plateau", "model.scheduler.patience=0")
    words += ("model.optimizer.lr=0.5", "trainer.max_epochs=6")
    script("train.py", *QUICK, *words)
    optimizer = torch.optim.SGD([Parameter(torch.zeros(2))], lr=0.5)
    expected = ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
    for row in (rows := read_metrics(tmp_path / "run" / "metrics.csv")):
        expected.step(row["validation/loss"])
        assert row["learning_rate"] == optimizer.param_groups[0]["lr"]
    assert rows[-1]["learning_rate"] < 0.5


def test_a_gradient_that_fades_in_a_long_row_ends_at_zero() -> None:
    """A CPU computes many times slower with numbers between 1e-45 and 1e-38."""
    data = {"inputs": "features", "num_inputs": 3, "classes": ["a", "b"]}
    task = build_task(SequenceClassifier, data, "last_hidden").train()
    batch = batch_for(task, [600])
    inputs = batch.inputs.requires_grad_()

    def faded(take: Callable[[Tensor], None]) -> bool:
        inputs.grad = None
        take(task.training_step(batch))
        sizes = inputs.grad.abs()
        return bool(((sizes > 0) & (sizes < torch.finfo(sizes.dtype).tiny)).any())

    assert faded(Tensor.backward)
    assert not faded(task.backward)
    assert faded(Tensor.backward)  # the setting is what it was
