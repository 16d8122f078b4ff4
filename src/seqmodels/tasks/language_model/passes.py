"""Dropout that follows how often a training reads its text."""

from __future__ import annotations

import math

import lightning.pytorch as pl

from seqmodels.engine.budget import find_budget, seconds_used

MEASURED = 50  # the part of the budget, one in so many, that shows a training's speed


def expected_passes(trainer: pl.Trainer) -> float | None:
    """How often a training reads its text by the end of its budget; `inf` if that never ends; None
    as long as time may end it and too little of it has passed to know the speed."""
    budget, done = find_budget(trainer, trainer.datamodule), trainer.global_step  # type: ignore[attr-defined]
    if budget is None:
        return math.inf
    steps = [] if budget.steps is None else [budget.steps]
    if budget.seconds is not None:
        used = seconds_used(trainer)
        if budget.place(done, used) < max(budget.places // MEASURED, 1):
            return None
        steps.append(round(done * budget.seconds / used))
    return min(steps) * trainer.accumulate_grad_batches / trainer.num_training_batches


def dropout_for(passes: float) -> float:
    """0.1 at one pass over the text, which can't learn it by heart, and 0.3 more at ten times as
    many; from 0 to 0.5. Perplexity at one: 4 % below that of 0.3; at ten: 3 % below that of 0.1."""
    return round(min(max(0.1 + 0.3 * math.log10(max(passes, 0.01)), 0.0), 0.5), 2)
