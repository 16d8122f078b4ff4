"""Small untrained models and made-up batches to explain with."""

from __future__ import annotations

from typing import Any

import torch

from seqmodels.audit.isolation import seed_random_numbers
from seqmodels.batch import AnyBatch, PairBatch, SequenceBatch
from seqmodels.engine import Contract, Task
from seqmodels.errors import UserError
from seqmodels.heads import find_head
from seqmodels.tasks.classification import SequenceClassifier
from seqmodels.tasks.forecasting import Forecaster
from seqmodels.tasks.language_model import LanguageModel
from seqmodels.tasks.regression import Regressor
from seqmodels.tasks.seq2seq import Seq2Seq
from seqmodels.tasks.tagging import Tagger

TIME, TARGET_STEPS, HIDDEN_SIZE, FEATURES, VOCABULARY, HORIZON = 5, 4, 32, 3, 100, 2
TASKS: tuple[type[Task], ...] = (
    SequenceClassifier,
    Tagger,
    Regressor,
    Forecaster,
    LanguageModel,
    Seq2Seq,
)
"""Of those that a head fits, it is made for the first."""


def example_task(
    cell: str,
    layers: int,
    bidirectional: bool | None,
    head: str,
    task: type[Task] | None = None,
    hidden_size: int = HIDDEN_SIZE,
) -> Task:
    """Builds a small task, with the same weights every time.

    Args:
        bidirectional: None lets the head decide.
        task: used if the head fits it; otherwise the task that such heads are made for.

    Raises:
        UserError: if head, encoder and task do not fit together.
    """
    find_head(head)
    wanted = TASKS if task is None else (task, *TASKS)
    task = next((task for task in wanted if fits(head, task)), wanted[0])
    encoder = {"cell": cell, "num_layers": layers, "bidirectional": bidirectional}
    with torch.random.fork_rng([]):
        seed_random_numbers(0)
        return task(
            example_spec(task.contract_for(head)), {"hidden_size": hidden_size, **encoder}, head
        )


def fits(head: str, task: type[Task]) -> bool:
    """Whether this task can predict from what the head of this name reads."""
    contract = task.contract_for(head)
    try:
        find_head(head, per=contract.per, target=contract.target)
    except UserError:
        return False
    return True


def example_spec(contract: Contract) -> dict[str, Any]:
    """What a data module would tell this task about made-up data."""
    inputs: dict[str, Any] = {"inputs": "tokens", "num_inputs": VOCABULARY}
    if contract.target in ("class", "value", "forecast"):
        inputs = {"inputs": "features", "num_inputs": FEATURES}
    if contract.target == "value":
        return {**inputs, "values": ["a"], "mean": [0.0], "deviation": [1.0]}
    if contract.target == "forecast":
        count = 1 if contract.per == "step" else FEATURES  # all are forecast, or the first
        sizes = {"num_inputs": count, "horizon": HORIZON, "window": TIME, "period": 1}
        scales = {"mean": [[0.0] * count], "deviation": [[1.0] * count], "naive_error": [[1.0]]}
        return {**inputs, "values": ["a"], **sizes, "series": [""], **scales}
    if contract.target == "text":
        sizes = {"num_targets": VOCABULARY, "start": 0, "end": 0}
        return {**inputs, **sizes, "shared": False}
    return {**inputs, "classes": ["a", "b", "c"]}


def example_batch(task: Task, *lengths: int) -> AnyBatch:
    """A row of `TIME` steps, and one row of each length, which begin with the same inputs; for a
    decoder, with a target of `TARGET_STEPS` steps each."""
    generator = torch.Generator().manual_seed(0)
    data, rows = task.hparams["data"], [0] + [1] * len(lengths)
    if data.get("inputs") == "features":
        inputs = torch.randn(2, TIME, data["num_inputs"], generator=generator)
    else:
        inputs = torch.randint(data["num_inputs"], (2, TIME), generator=generator)
    source = (inputs[rows], torch.tensor([TIME, *lengths]))
    if task.contract.target == "text":
        return _with_target(SequenceBatch(*source), data["start"], generator)
    return SequenceBatch(*source)


def _with_target(batch: SequenceBatch, start: int, generator: torch.Generator) -> PairBatch:
    target = torch.randint(1, VOCABULARY, (1, TARGET_STEPS), generator=generator)
    target[:, 0] = start
    target = target.expand(len(batch), -1)
    return PairBatch(batch, SequenceBatch(target, torch.full((len(batch),), TARGET_STEPS)))
