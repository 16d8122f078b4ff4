"""Small untrained networks for tests."""

from __future__ import annotations

from typing import Any

import torch

from seqmodels import tasks
from seqmodels.audit.isolation import seed_random_numbers
from seqmodels.engine import Task
from seqmodels.errors import UserError
from seqmodels.heads import HEADS, find_head
from seqmodels.tasks import TASKS
from tests.shipped import DECODER_HEADS, TAGGER_HEADS, exported

FEATURES, TOKENS, TARGETS = 5, 23, 19


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


def noisy_task(head: str, **encoder: Any) -> Task:
    """Builds the task that the head is made for, with dropout, and noise on features; on `FEATURES`
    or `TOKENS`, for `TARGETS`. Its weights come from the global random numbers.
    """
    options = {"hidden_size": 16, "bidirectional": None, **encoder}
    named = ["a", "b", "c", "d"]
    if head in DECODER_HEADS:
        pairs = {"num_inputs": TOKENS, "num_targets": TARGETS, "start": 0, "end": 0}
        return tasks.Seq2Seq(pairs, options, head, dropout=0.3)
    if head in TAGGER_HEADS:
        tags = {"num_inputs": TOKENS, "classes": named}
        return exported("Tagger")(tags, options, head, dropout=0.3)
    if HEADS[head].per == "step":
        return tasks.LanguageModel({"num_inputs": TOKENS}, options, head, dropout=0.3)
    series = {"inputs": "features", "num_inputs": FEATURES, "classes": named}
    return tasks.SequenceClassifier(series, options, head, dropout=0.3, embedding={"noise": 0.3})
