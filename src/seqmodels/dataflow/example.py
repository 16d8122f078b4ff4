"""Small untrained models and made-up batches to explain with."""

from __future__ import annotations

from typing import Any

import torch

from seqmodels.batch import Per, SequenceBatch
from seqmodels.errors import UserError
from seqmodels.heads import find_head
from seqmodels.tasks import Contract, LanguageModel, SequenceClassifier, Task

TIME, HIDDEN_SIZE, FEATURES, VOCABULARY = 5, 32, 3, 100

USUAL: dict[Per, type[Task]] = {"sequence": SequenceClassifier, "step": LanguageModel}


def example_task(
    cell: str, layers: int, bidirectional: bool, head: str, task: type[Task] | None = None
) -> Task:
    """A small task, with the same weights every time.

    Args:
        task: used if the head fits it; otherwise a classifier or a language model.

    Raises:
        UserError: if head, encoder and task do not fit together.
    """
    if task is None or not fits(head, task):
        task = USUAL[find_head(head).per]
    encoder = {
        "cell": cell,
        "hidden_size": HIDDEN_SIZE,
        "num_layers": layers,
        "bidirectional": bidirectional,
    }
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return task(example_spec(task.contract), encoder, head=head)


def fits(head: str, task: type[Task]) -> bool:
    """Whether a task of this kind can have that head."""
    try:
        find_head(head, per=task.contract.per, target=task.contract.target)
    except UserError:
        return False
    return True


def example_spec(contract: Contract) -> dict[str, Any]:
    """What a data module of made-up data would decide."""
    if contract.target in ("class", "value"):
        inputs: dict[str, Any] = {"inputs": "features", "num_inputs": FEATURES}
    else:
        inputs = {"inputs": "tokens", "num_inputs": VOCABULARY}
    if contract.target == "value":
        return {**inputs, "values": ["a"], "mean": [0.0], "deviation": [1.0]}
    return {**inputs, "classes": ["a", "b", "c"]}


def example_batch(task: Task, length: int, time: int = TIME) -> SequenceBatch:
    """Two rows: one of `time` steps, and one of `length` steps."""
    generator = torch.Generator().manual_seed(0)
    lengths, data = torch.tensor([time, length]), task.hparams["data"]
    if data.get("inputs") == "features":
        features = torch.randn(2, time, data["num_inputs"], generator=generator)
        return SequenceBatch(features, lengths)
    tokens = torch.randint(data["num_inputs"], (2, time), generator=generator)
    return SequenceBatch(tokens, lengths)
