"""Small untrained models and made-up batches to explain with."""

from __future__ import annotations

import torch

from seqmodels.audit.isolation import seed_random_numbers
from seqmodels.batch import AnyBatch, PairBatch, SequenceBatch
from seqmodels.engine import Task
from seqmodels.errors import UserError
from seqmodels.heads import find_head
from seqmodels.tasks import TASKS

TIME, TARGET_STEPS, HIDDEN_SIZE = 5, 4, 32


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
        task: used if the head fits it; otherwise the first that predicts for each sequence or step
            as the head reads, rather one that may look ahead.

    Raises:
        UserError: if head, encoder and task do not fit together.
    """
    per = find_head(head).per
    made_for = sorted(TASKS, key=lambda t: (t.contract.per != per, t.contract.causal))
    wanted = made_for if task is None else [task, *made_for]
    task = next((task for task in wanted if fits(head, task)), wanted[0])
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
    if not task.contract.kind.decoder:
        return SequenceBatch(*source)
    target = torch.randint(1, data["num_targets"], (1, TARGET_STEPS), generator=generator)
    target[:, 0] = data["start"]
    written = target.expand(len(rows), -1), torch.full((len(rows),), TARGET_STEPS)
    return PairBatch.of(SequenceBatch(*source), SequenceBatch(*written))
