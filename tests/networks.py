"""Small untrained networks for tests."""

from __future__ import annotations

import torch

from seqmodels.audit.isolation import seed_random_numbers
from seqmodels.engine import Task
from seqmodels.errors import UserError
from seqmodels.heads import find_head
from seqmodels.tasks import TASKS


def example_task(
    cell: str,
    layers: int,
    bidirectional: bool | None,
    head: str,
    task: type[Task] | None = None,
    hidden_size: int = 32,
) -> Task:
    """Builds a small task, with the same weights every time.

    Args:
        bidirectional: None lets the head decide.
        task: None for the first that the head fits and that predicts for each sequence or step as
            the head reads, rather one that may look ahead.

    Raises:
        UserError: if head, encoder and task do not fit together.
    """
    if task is None:
        per, fitting = find_head(head).per, (task for task in TASKS if fits(head, task))
        task = min(fitting, key=lambda t: (t.contract_for(head).causal, t.contract.per != per))
    encoder = {"cell": cell, "num_layers": layers, "bidirectional": bidirectional}
    with torch.random.fork_rng([]):
        seed_random_numbers(0)
        spec = dict(task.contract.kind.example)
        return task(spec, {"hidden_size": hidden_size, **encoder}, head)


def fits(head: str, task: type[Task]) -> bool:
    """Whether this task can predict from what the head of this name reads."""
    contract = task.contract_for(head)
    try:
        find_head(head, per=contract.per, target=contract.target)
    except UserError:
        return False
    return True
