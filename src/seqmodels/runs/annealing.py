"""Whether a training whose learning rate comes down was longer than it needed to be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from seqmodels.engine.optimization import Shape
from seqmodels.instantiate import allowed_class
from seqmodels.metrics import find_metric, show_with_unit

# With fewer validations, the best one is in some half by chance.
FEWEST_VALIDATIONS = 4
# A validation of fewer rows is the best one by chance.
FEWEST_ROWS = 30


def shorter_training(
    task: Any,
    trainer: Any,
    scheduler: Mapping[str, Any] | None,
    history: Sequence[Mapping[str, float]],
    num_rows: int | None = None,
) -> str:
    """A sentence if the best validation of a training lies in its first half, before the learning
    rate came down, with the key that shortens it; else, it is empty.

    Args:
        task, trainer: a `Task` and its `Trainer`, after the training.
        scheduler: as the configuration has it. Only a `Shape` follows the end of the training.
        history: the rows of `metrics.csv`.
        num_rows: how many the validation split has, if that is known.
    """
    if num_rows is not None and num_rows < FEWEST_ROWS:
        return ""
    if not scheduler or not issubclass(allowed_class(scheduler, task.allowed_targets), Shape):
        return ""
    callback = trainer.checkpoint_callback
    metric = getattr(callback, "monitor", None)
    if metric:
        higher_is_better = callback.mode == "max"
    else:  # The last weights are tested, whatever a validation says.
        metric = f"validation/{task.contract.kind.metric}"
        known_metric = find_metric(metric)
        if known_metric is None or known_metric.higher_is_better is None:
            return ""
        higher_is_better = known_metric.higher_is_better
    validations = [row for row in history if math.isfinite(row.get(metric, math.nan))]
    if len(validations) < FEWEST_VALIDATIONS:
        return ""
    sign = 1 if higher_is_better else -1
    # Of equal ones, the last one counts.
    best = max(validations, key=lambda row: (sign * row[metric], row["step"]))
    best_step = 1 + int(best["step"])
    num_steps = 1 + int(validations[-1]["step"])
    if 2 * best_step >= num_steps:
        return ""
    score = show_with_unit(metric, best[metric])
    return (
        f"The best validation ({metric} {score}) was after step {best_step:,} of {num_steps:,}, "
        "before the learning rate came down; a training of twice these steps takes less time, and "
        f"may be better: {_key(trainer, best_step, num_steps)}."
    )


def _key(trainer: Any, best_step: int, num_steps: int) -> str:
    """The word that ends the training after twice the steps of its best validation."""
    if trainer.max_steps == num_steps:
        return f"trainer.max_steps={2 * best_step}"
    if trainer.max_epochs and trainer.max_epochs > 0:
        steps_per_epoch = num_steps / trainer.max_epochs
        num_epochs = math.ceil(2 * best_step / steps_per_epoch)
        if num_epochs < trainer.max_epochs:
            return f"trainer.max_epochs={num_epochs}"
    return f"trainer.max_steps={2 * best_step}"
