"""Draws which classes are mistaken for which others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
from jaxtyping import Int
from lightning.pytorch.callbacks import Callback
from matplotlib.figure import Figure
from torch import Tensor

from seqmodels.batch import UNSEEN_NAME
from seqmodels.screen import figure_text


class ConfusionMatrix(Callback):
    """Draws `figures/confusion_matrix.png` of the test split into the run folder: how often each
    true class (row) was taken for each class (column), from the sums `confusion` of the task, which
    has none of more than 200 classes."""

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        counts = pl_module.sums["test"].of_all(pl_module.device).get("confusion")  # (C + 1, C + 1)
        if counts is None or not trainer.is_global_zero:
            return
        classes = [*pl_module.classes, UNSEEN_NAME]
        if not counts[-1].any():  # training saw all of them
            counts, classes = counts[:-1, :-1], classes[:-1]
        figures = Path(trainer.default_root_dir) / "figures"
        figures.mkdir(exist_ok=True)
        draw(counts, classes).savefig(figures / "confusion_matrix.png", dpi=120)


def draw(counts: Int[Tensor, "classes classes"], classes: Sequence[str]) -> Figure:
    """How often each true class (row) was taken for each class (column)."""
    numbers = counts.cpu().numpy()
    side = min(max(4.0, 0.45 * len(classes) + 2), 20)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    shares = numbers / np.maximum(numbers.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    names = [figure_text(name, most=40) for name in classes]
    ticks = np.arange(len(names))
    axes.set_xticks(ticks, names, rotation=90 if max(map(len, names)) > 3 else 0)
    axes.set_yticks(ticks, names)
    axes.set(xlabel="predicted", ylabel="true", title="Confusion matrix, test split")
    if len(names) <= 30:
        for row, column in np.argwhere(numbers > 0):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, numbers[row, column], ha="center", va="center", color=colour)
    return figure
