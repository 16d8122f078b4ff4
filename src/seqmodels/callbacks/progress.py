"""A progress bar on one line, or lines where there is no terminal; no device synchronisation."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import lightning.pytorch as pl
import rich
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.callbacks.progress.rich_progress import CustomBarColumn
from rich.cells import cell_len
from rich.progress import ProgressColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from seqmodels.arguments import NonNegative
from seqmodels.engine.budget import find_budget, seconds_left
from seqmodels.screen import Screen, duration

SHORTEST_BAR = 8  # characters
SECONDS = 20.0  # from one line to the next, without a terminal


class LiveProgressBar(RichProgressBar):
    """Lightning's Rich bar, plus the loss, updated a few times per second. Epochs count from 0, as
    everywhere in Lightning.

    Lightning's own bar reads every metric at every step, and each read waits for the device. On 80
    columns it takes three lines.

    Without a terminal, such as in a log file, it prints a line every 20 seconds
    instead: `epoch 3, step 1,200 of 20,000, 410 steps/s, about 12 min left`; `at most 12 min left`
    where early stopping may end the training before.

    Args:
        seconds: the shortest time between two updates.
    """

    def __init__(self, seconds: NonNegative = 0.2) -> None:
        super().__init__(refresh_rate=10)
        self.seconds = seconds
        self._updated_at = 0.0
        self._loss: dict[str, float] = {}
        self._lines: _Lines | None = None  # where there is no terminal
        self._batches = 0  # of a validation or a test

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        console = rich.get_console()
        if self.is_enabled and not (console.is_terminal or console.is_jupyter):
            self._lines = _Lines()
            self.disable()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        if self._lines is not None:
            budget = find_budget(trainer, trainer.datamodule)  # type: ignore[attr-defined]
            self._lines.begin("steps", trainer.global_step, budget.steps)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if self._lines is not None:
            step = f"epoch {trainer.current_epoch}, step"
            about = "at most" if trainer.early_stopping_callbacks else "about"
            self._lines.say(step, "steps", trainer.global_step, seconds_left(trainer), about)
        waits = time.monotonic() - self._updated_at < self.seconds and not trainer.is_last_batch
        if self.is_disabled or waits:
            return
        self._loss = {"loss": float(outputs["loss"])}
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self._updated_at = time.monotonic()

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begin_batches(trainer.num_val_batches)

    def on_validation_batch_end(self, *given: Any, **named: Any) -> None:
        super().on_validation_batch_end(*given, **named)
        self._say_batch("validation")

    def on_test_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begin_batches(trainer.num_test_batches)

    def on_test_batch_end(self, *given: Any, **named: Any) -> None:
        super().on_test_batch_end(*given, **named)
        self._say_batch("test")

    def _begin_batches(self, batches: Sequence[int | float]) -> None:
        self._batches = 0
        if self._lines is not None:
            self._lines.begin("batches", 0, sum(batches))

    def _say_batch(self, split: str) -> None:
        self._batches += 1
        if self._lines is not None:
            self._lines.say(f"{split}, batch", "batches", self._batches)

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        # to a column that shortens their names; none to Lightning's own, which wraps
        metrics = {**self._loss, **trainer.progress_bar_metrics}
        texts = {name: f"{value:.3f}" for name, value in metrics.items()}
        self._numbers.metrics = {self.train_progress_bar_id: texts}
        return {}

    def configure_columns(self, trainer: pl.Trainer) -> list[ProgressColumn]:
        bar = CustomBarColumn(
            bar_width=None, complete_style="cyan", finished_style="cyan", pulse_style="cyan"
        )
        self._numbers = _Numbers(Column(no_wrap=True))
        return [TextColumn("{task.description}"), bar, self._numbers]

    def _get_train_description(self, current_epoch: int) -> str:
        if self.trainer.max_epochs == -1:  # no limit, which Lightning shows as `Epoch 0/-2`
            return f"{f'Epoch {current_epoch}':{len(self.validation_description)}}"
        return super()._get_train_description(current_epoch)


class _Lines:
    """Prints a line every `SECONDS` seconds. Speeds are averages since the beginning, validations
    included, as the time that is left is."""

    def __init__(self) -> None:
        self._said_at = time.monotonic()
        self._begun: dict[str, tuple[float, int, int | float | None]] = {}

    def begin(self, units: str, done: int, total: int | float | None) -> None:
        self._begun[units] = time.monotonic(), done, total

    def say(
        self,
        what: str,
        units: str,
        done: int,
        most: int | float | None = None,
        about: str = "about",
    ) -> None:
        """Prints the line if it is time for it.

        Args:
            most: seconds after which the work ends anyway.
            about: the words before the time that is left.
        """
        now = time.monotonic()
        if now - self._said_at < SECONDS:
            return
        self._said_at = now
        began, first, total = self._begun[units]
        speed = (done - first) / max(now - began, 1e-9)
        ends = [] if most is None else [most]
        of = ""
        if total is not None and math.isfinite(total):
            of = f" of {total:,.0f}"
            ends += [(total - done) / speed] if speed else []
        left = f", {about} {duration(min(ends))} left" if ends else ""
        Screen().print(f"{what} {done:,}{of}, {_rounded(speed)} {units}/s{left}", soft_wrap=True)


def _rounded(speed: float) -> str:
    return f"{speed:,.0f}" if speed >= 10 else f"{speed:.2g}"


class _Numbers(ProgressColumn):
    """`14/60 0:12<0:40 71.3it/s loss: 0.412`: batches, time taken and left, speed, and the metrics,
    with their names as short as the line needs."""

    metrics: Mapping[TaskID | None, Mapping[str, str]] = {}  # of the training

    def render(self, task: Task) -> Text:
        total = int(task.total) if task.total is not None and math.isfinite(task.total) else "--"
        taken, speed = task.finished_time or task.elapsed, task.finished_speed or task.speed or 0.0
        digits = 2 if speed < 10 else 1 if speed < 100 else 0
        text = Text.assemble(
            f"{int(task.completed)}/{total} ",
            (f"{_clock(taken)}<{_clock(task.time_remaining)} {speed:.{digits}f}it/s", "dim"),
        )
        used = SHORTEST_BAR + cell_len(task.description) + text.cell_len + 4  # and spaces between
        metrics = fitted(self.metrics.get(task.id, {}), rich.get_console().width - used)
        return Text(" ").join([text, *(Text(metric, "italic") for metric in metrics)])


def _clock(seconds: int | float | None) -> str:
    if seconds is None:
        return "-:--"
    return str(timedelta(seconds=int(seconds))).removeprefix("0:").removeprefix("0")


def fitted(metrics: Mapping[Any, str], room: int) -> list[str]:
    """`name: value` for each metric, in `room` characters with a space between them if they can be.

    Where they are too long, leaves out the split (`validation/`), then cuts the longest names. All
    of a value is kept.
    """
    full = [str(name) for name in metrics]
    last = [name.rpartition("/")[2] for name in full]
    names = last if len(set(last)) == len(last) else full
    longest = max(map(len, names), default=0)
    tries = [full, *([_cut(name, most) for name in names] for most in range(longest, 0, -1))]
    for names in tries:
        texts = [f"{name}: {value}" for name, value in zip(names, metrics.values(), strict=True)]
        if len(" ".join(texts)) <= room:
            break
    return texts if metrics else []


def _cut(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
