"""Suggest a learning rate before the training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import lightning.pytorch as pl
import numpy as np
from lightning.pytorch.callbacks import LearningRateFinder as LightningLearningRateFinder
from matplotlib.figure import Figure

from seqmodels.arguments import Count, Passed, Positive
from seqmodels.engine import Task
from seqmodels.screen import Screen

SKIPPED = 10  # rates at the beginning, where the smoothed loss has hardly begun


class LearningRateFinder(LightningLearningRateFinder):
    """Lightning's range test (https://arxiv.org/abs/1506.01186): trains some steps with growing
    learning rates, goes back, draws the losses in `figures/learning_rates.png`, and prints the rate
    at which they fall fastest.

    The training itself keeps the rate of the configuration and is bit for bit the same: a rate that
    the configuration doesn't name could not be seen in `config.yaml`. A resumed run is not tested.

    Args:
        steps: how many rates to try.
        min_lr: the first of them.
        options: more arguments of `lightning.pytorch.callbacks.LearningRateFinder`.
    """

    def __init__(
        self,
        steps: Count = 100,
        min_lr: Positive = 1e-5,
        **options: Annotated[Any, Passed("num_training_steps", "update_attr")],
    ) -> None:
        super().__init__(min_lr, num_training_steps=steps, update_attr=False, **options)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.ckpt_path is not None or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        task = cast(Task, pl_module)
        seen = task.seen
        super().on_fit_start(trainer, pl_module)
        task.seen = seen
        if not trainer.is_global_zero or self.optimal_lr is None:
            return
        rates, losses = (np.array(self.optimal_lr.results[name]) for name in ("lr", "loss"))
        found = steepest(rates, losses)
        _draw(rates, losses, found, Path(trainer.default_root_dir) / "figures")
        used = task.hparams["optimizer"]["lr"]
        Screen().print(
            f"lr_finder suggests model.optimizer.lr={found:.2g}; this training uses {used:g}",
            soft_wrap=True,
        )


def steepest(rates: np.ndarray, losses: np.ndarray) -> float:
    """The rate at which the loss falls fastest, by its logarithm: by the rate itself, as Lightning
    has it, the noise at the smallest rates counts most."""
    counted = slice(SKIPPED, max(len(rates) - 1, SKIPPED + 2))  # it diverges at the last one
    slopes = np.gradient(losses[counted], np.log(rates[counted]))
    return float(rates[counted][np.nanargmin(slopes)])


def _draw(rates: np.ndarray, losses: np.ndarray, found: float, figures: Path) -> None:
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.semilogx(rates, losses)
    axes.axvline(found, color="grey", linestyle="--", label=f"{found:.2g}")
    axes.legend(title="falls fastest at")
    axes.set(xlabel="learning rate", ylabel="training loss, smoothed")
    axes.grid(alpha=0.3)
    figures.mkdir(exist_ok=True)
    figure.savefig(figures / "learning_rates.png", dpi=120)
