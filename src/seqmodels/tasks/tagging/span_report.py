"""Writes how well spans of each type are found."""

from __future__ import annotations

import csv
import logging
from pathlib import Path
from textwrap import shorten
from typing import cast

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from seqmodels.engine.contract import gather
from seqmodels.engine.metrics import show
from seqmodels.tasks.tagging import Tagger
from seqmodels.tasks.tagging.span_score import SpanCounts, scores

log = logging.getLogger(__name__)


class SpanReport(Callback):
    """Writes `spans.csv` of the test split into the run folder: precision, recall, f1 and number of
    the spans of each type, the most frequent type first. Of tags without spans it writes nothing.
    """

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        task = cast(Tagger, pl_module)
        steps = gather(task.steps["test"], task.contract.per)
        if not steps or task.scheme is None:
            return
        metric = SpanCounts(task.classes).to(task.device)
        metric.update(steps["preds"], steps["target"])
        counts = metric.compute().cpu()  # of all processes
        if not trainer.is_global_zero:
            return
        found = scores(counts.double()).items()
        columns = {name: [round(value, 6) for value in values.tolist()] for name, values in found}
        rows = list(zip(metric.types, *columns.values(), counts[2].tolist(), strict=False))
        rows.sort(key=lambda row: -row[-1])
        file = Path(trainer.default_root_dir) / "spans.csv"
        with file.open("w", newline="", encoding="utf-8") as table:
            csv.writer(table).writerows([("type", *columns, "spans"), *rows])
        names = ", ".join(f"{row[0]} {show('f1', row[3])}" for row in rows)
        log.info(f"f1 of spans, in %: {shorten(names, 70)} (all in {file})")
