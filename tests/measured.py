"""What a task measures of some batches."""

from __future__ import annotations

from typing import Any

from seqmodels.engine import Task
from seqmodels.engine.contract import Sums


def measured_of(task: Task, *batches: Any) -> dict[str, float]:
    """The loss and the scores of a test of these batches."""
    task.split, sums = "test", Sums()
    for batch in batches:
        sums.add(task.step(batch))
    return {name: value.item() for name, value in task.measured(sums).items()}
