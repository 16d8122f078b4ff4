"""A progress bar on one line, without device synchronisation."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.callbacks.progress.rich_progress import CustomBarColumn, MetricsTextColumn
from rich.cells import cell_len
from rich.progress import ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from seqmodels.signatures.ranges import NonNegative

SHORTEST_BAR = 8  # characters


class LiveProgressBar(RichProgressBar):
    """Lightning's Rich bar, plus the loss, updated a few times per second. Epochs count from 0, as
    everywhere in Lightning.

    Lightning's own bar reads every metric at every step, and each read waits for the device. On 80
    columns it takes three lines.

    Args:
        seconds: the shortest time between two updates.
    """

    def __init__(self, seconds: NonNegative = 0.2) -> None:
        super().__init__(refresh_rate=10)
        self.seconds = seconds
        self._updated_at = 0.0
        self._loss: float | None = None

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if time.monotonic() - self._updated_at < self.seconds and not trainer.is_last_batch:
            return
        self._loss = float(outputs["loss"])
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self._updated_at = time.monotonic()

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics if self._loss is None else {"loss": self._loss, **metrics}

    def configure_columns(self, trainer: pl.Trainer) -> list[ProgressColumn]:
        assert self._console is not None
        description, counts = TextColumn("{task.description}"), _Counts(Column(no_wrap=True))
        # Lightning takes this for its last column; its own wraps
        self._metric_component = _Metrics(
            trainer, self.theme, self._console.width - SHORTEST_BAR, [description, counts]
        )
        bar = CustomBarColumn(
            bar_width=None, complete_style="cyan", finished_style="cyan", pulse_style="cyan"
        )
        return [description, bar, counts]

    def _get_train_description(self, current_epoch: int) -> str:
        if self.trainer.max_epochs == -1:  # no limit, which Lightning shows as `Epoch 0/-2`
            return f"{f'Epoch {current_epoch}':{len(self.validation_description)}}"
        return super()._get_train_description(current_epoch)


class _Counts(ProgressColumn):
    """`14/60 0:12<0:40 71.3it/s`: batches, time taken and left, speed."""

    def render(self, task: Task) -> Text:
        total = int(task.total) if task.total is not None and math.isfinite(task.total) else "--"
        taken, speed = task.finished_time or task.elapsed, task.finished_speed or task.speed or 0.0
        digits = 2 if speed < 10 else 1 if speed < 100 else 0
        return Text.assemble(
            f"{int(task.completed)}/{total} ",
            (f"{_clock(taken)}<{_clock(task.time_remaining)} {speed:.{digits}f}it/s", "dim"),
        )


def _clock(seconds: int | float | None) -> str:
    if seconds is None:
        return "-:--"
    return str(timedelta(seconds=int(seconds))).removeprefix("0:").removeprefix("0")


class _Metrics(MetricsTextColumn):
    """Lightning's column of metrics, with their names as short as the line needs."""

    def __init__(
        self, trainer: pl.Trainer, theme: Any, width: int, others: list[ProgressColumn]
    ) -> None:
        super().__init__(trainer, theme.metrics, theme.metrics_text_delimiter, theme.metrics_format)
        self._width, self._others, self._room = width, others, 0

    def get_table_column(self) -> Column:
        return Column(no_wrap=True)

    def render(self, task: Task) -> Text:
        used = sum(cell_len(str(column(task))) + 1 for column in self._others)
        self._room = self._width - used - 1
        return super().render(task)

    def _generate_metrics_texts(self) -> Iterator[str]:  # type: ignore[override]
        texts = {n: v if isinstance(v, str) else f"{v:.3f}" for n, v in self._metrics.items()}
        yield from fitted(texts, self._room)


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
