"""Draws which classes are mistaken for which others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import lightning.pytorch as pl
import numpy as np
from lightning.pytorch.callbacks import Callback
from matplotlib.figure import Figure
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix

from seqmodels.batch import PADDING_TARGET, UNSEEN_NAME, with_unseen_as
from seqmodels.engine import Task
from seqmodels.screen import figure_text


class ConfusionMatrix(Callback):
    """Draws `figures/confusion_matrix.png` of the test split into the run folder.

    `counts`: `(C, C)` int64 after a test: how often each true class (row) was taken for each class;
    one row and column more if training never saw some of the true classes.
    """

    counts: Tensor

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        steps = cast(Task, pl_module).steps["test"]
        classes = [*pl_module.hparams["data"]["classes"], UNSEEN_NAME]
        size = len(classes)
        if not steps:
            return
        matrix = MulticlassConfusionMatrix(size, ignore_index=PADDING_TARGET, validate_args=False)
        matrix = matrix.to(pl_module.device)
        for step in steps:
            assert step.predictions is not None and step.targets is not None
            matrix.update(step.predictions, with_unseen_as(size - 1, step.targets))
        self.counts = matrix.compute().cpu()  # of all processes
        if not self.counts[-1].any():
            self.counts, classes = self.counts[:-1, :-1], classes[:-1]
        if trainer.is_global_zero:
            figures = Path(trainer.default_root_dir) / "figures"
            figures.mkdir(exist_ok=True)
            confusion_matrix(self.counts.numpy(), classes, figures / "confusion_matrix.png")


def confusion_matrix(counts: np.ndarray, classes: Sequence[str], picture: Path) -> None:
    """How often each true class (row) was taken for each class (column).

    Args:
        counts: `(C, C)` integers.
    """
    side = min(max(4.0, 0.45 * len(classes) + 2), 20)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    ticks = np.arange(len(classes))
    names = [figure_text(name, most=40) for name in classes]
    axes.set_xticks(ticks, names, rotation=90 if max(map(len, names)) > 3 else 0)
    axes.set_yticks(ticks, names)
    axes.set(xlabel="predicted", ylabel="true", title="Confusion matrix, test split")
    if len(classes) <= 30:
        for row, column in np.argwhere(counts > 0):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, counts[row, column], ha="center", va="center", color=colour)
    figure.savefig(picture, dpi=120)
