"""Steps, epochs and time all shape the learning rate's schedule, before and after a resume."""

from __future__ import annotations

import signal
from datetime import timedelta
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import Callback, Timer
from torch.nn import Parameter
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from seqmodels.batch import SequenceBatch
from seqmodels.engine.budget import BY_TIME, Budget
from seqmodels.engine.optimization import build_optimizer
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
ONE_CYCLE = {
    "_target_": "torch.optim.lr_scheduler.OneCycleLR",
    "max_lr": 0.1,
    "total_steps": "total_steps",
}
LINEAR = {  # each value follows from the one before it
    "_target_": "torch.optim.lr_scheduler.LinearLR",
    "start_factor": 1.0,
    "end_factor": 0.0,
    "total_iters": "total_steps",
}


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


def expected(scheduler: dict, steps: int) -> list[float]:
    optimizer = torch.optim.AdamW([Parameter(torch.zeros(1))], lr=0.1)
    options = {k: steps if v == "total_steps" else v for k, v in scheduler.items()}
    name = options.pop("_target_").rpartition(".")[2]
    planned, found = getattr(torch.optim.lr_scheduler, name)(optimizer, **options), []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        planned.step()
    return found


@pytest.mark.parametrize("scheduler", [ONE_CYCLE, LINEAR], ids=["one_cycle", "linear"])
@pytest.mark.parametrize(
    ("ends", "steps"),
    [
        ({"max_epochs": 3}, 30),
        ({"max_epochs": -1, "max_steps": 14}, 14),
        ({"max_epochs": 3, "max_steps": 14}, 14),
        ({"max_epochs": 2, "max_steps": 99}, 20),
    ],
)
def test_the_schedule_ends_with_the_training(
    ends: dict, steps: int, scheduler: dict, tmp_path: Path
) -> None:
    assert rates(tmp_path, scheduler, **ends) == pytest.approx(expected(scheduler, steps))


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


@pytest.mark.parametrize("scheduler", [ONE_CYCLE, LINEAR], ids=["one_cycle", "linear"])
@pytest.mark.parametrize(
    ("ends", "places"),
    [({"max_epochs": -1}, BY_TIME), ({"max_epochs": 5}, 50), ({"max_steps": 999}, 999)],
)
def test_a_schedule_by_time_ends_with_the_time(
    ends: dict, places: int, scheduler: dict, tmp_path: Path, clock: None
) -> None:
    """24 steps, of which the other limits know nothing."""
    found = rates(tmp_path, scheduler, max_time=timedelta(seconds=72), **ends)
    plan = expected(scheduler, places)
    assert found == pytest.approx([plan[places * step // 24] for step in range(24)])


@pytest.mark.parametrize("scheduler", [ONE_CYCLE, LINEAR], ids=["one_cycle", "linear"])
def test_a_long_plan_that_time_ends_takes_no_step_for_each_place_it_skips(
    scheduler: dict, tmp_path: Path, clock: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """10 million places in 24 steps, all of them followed as `BY_TIME` ones."""
    taken, step = [], LRScheduler.step
    monkeypatch.setattr(LRScheduler, "step", lambda own, *a: taken.append(own) or step(own, *a))
    found = rates(tmp_path, scheduler, max_time=timedelta(seconds=72), max_epochs=1_000_000)
    assert len(taken) <= BY_TIME + 24 + 2  # two are built
    plan = expected(scheduler, BY_TIME)
    assert found == pytest.approx([plan[BY_TIME * step // 24] for step in range(24)])


def test_a_long_plan_follows_the_steps_while_time_is_behind() -> None:
    """Each step of 3000, until the clock has gone further than they; also after a resume."""
    now = [0.0]

    def build() -> tuple:
        parameters = {"a": Parameter(torch.zeros(2))}
        built = build_optimizer(
            parameters, ADAM, LINEAR, Budget(3000, 100.0), seconds=lambda: now[0]
        )
        return built["optimizer"], built["lr_scheduler"]["scheduler"]

    def follow(optimizer: torch.optim.Optimizer, schedule: object, steps: range) -> list[float]:
        found = []
        for step in steps:
            now[0] = 0.0 if step < 7 or step > 12 else 50.0 + step
            schedule.step()  # type: ignore[attr-defined]
            found.append(optimizer.param_groups[0]["lr"])
        return found

    whole = follow(*build(), range(1, 21))
    by_steps, by_time = expected(LINEAR, 3000), expected(LINEAR, BY_TIME)
    plan = [by_time[10 * (50 + s)] if 7 <= s <= 12 else by_steps[s] for s in range(1, 21)]
    assert whole == pytest.approx(plan)
    for cut in (5, 10, 15):
        optimizer, schedule = build()
        follow(optimizer, schedule, range(1, cut + 1))
        saved = schedule.state_dict()
        optimizer, schedule = build()
        schedule.load_state_dict(saved)
        assert follow(optimizer, schedule, range(cut + 1, 21)) == whole[cut:]


def test_whichever_limit_is_nearer_counts(tmp_path: Path, clock: None) -> None:
    found = rates(tmp_path, LINEAR, max_epochs=1, max_time=timedelta(seconds=3000))
    assert found == pytest.approx(expected(LINEAR, 10))


def test_a_training_without_an_end_has_no_schedule(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="set trainer.max_epochs, trainer.max_steps or trainer.max"):
        rates(tmp_path, LINEAR, max_epochs=-1)


def test_a_place_is_the_furthest_of_steps_and_time() -> None:
    assert Budget(200, 50.0).place(30, 5.0) == 30
    assert Budget(200, 50.0).place(10, 25.0) == 100
    assert Budget(None, 50.0).place(10_000, 25.0) == BY_TIME // 2
    assert Budget(200, 50.0).place(10, 99.0) == 200


def test_groups_have_rates_in_proportion() -> None:
    names = ("embedding.weight", "encoder.rnn.weight_l0", "encoder.rnn.weight_l1", "head.weight")
    parameters = {name: Parameter(torch.zeros(2)) for name in names}
    own = {"encoder": 0.05, "encoder.rnn.weight_l0": 0.02}
    built = build_optimizer(parameters, ADAM, LINEAR, Budget(8), rates=own)
    optimizer, schedule = built["optimizer"], built["lr_scheduler"]["scheduler"]
    members = [group["params"] for group in optimizer.param_groups]
    embedding, first, second, head = parameters.values()
    assert members == [[embedding, head], [first], [second]]
    for step in range(8):
        plain, lower, other = (group["lr"] for group in optimizer.param_groups)
        assert plain == pytest.approx(0.1 * (1 - step / 8))
        assert other == pytest.approx(plain / 2)
        assert lower == pytest.approx(plain / 5)
        optimizer.step()
        schedule.step()


def test_a_schedule_continues_from_its_state_and_can_be_planned_anew() -> None:
    def build(steps: int) -> tuple:
        built = build_optimizer(
            {"a": Parameter(torch.zeros(2))}, ADAM, LINEAR, Budget(steps), rates={}
        )
        return built["optimizer"], built["lr_scheduler"]["scheduler"]

    def follow(optimizer: torch.optim.Optimizer, schedule: object, steps: int) -> list[float]:
        found = []
        for _ in range(steps):
            optimizer.step()
            schedule.step()  # type: ignore[attr-defined]
            found.append(optimizer.param_groups[0]["lr"])
        return found

    whole = follow(*build(12), 12)
    optimizer, schedule = build(12)
    follow(optimizer, schedule, 5)
    saved, groups = schedule.state_dict(), optimizer.state_dict()
    optimizer, schedule = build(12)
    optimizer.load_state_dict(groups)
    schedule.load_state_dict(saved)
    assert follow(optimizer, schedule, 7) == whole[5:]
    optimizer, schedule = build(24)
    schedule.load_state_dict({"steps": 5})
    assert follow(optimizer, schedule, 19) == pytest.approx(follow(*build(24), 24)[5:])


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
