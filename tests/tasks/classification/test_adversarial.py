"""Adversarial training moves embeddings to where the loss rises most."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.batch import SequenceBatch
from seqmodels.data.loading import collate
from seqmodels.tasks.classification import SequenceClassifier

SPECS = {
    "tokens": {"inputs": "tokens", "num_inputs": 40, "classes": ["a", "b", "c"]},
    "features": {"inputs": "features", "num_inputs": 4, "classes": ["a", "b", "c"]},
}


def task_and_batch(kind: str, **options: Any) -> tuple[SequenceClassifier, SequenceBatch]:
    torch.manual_seed(0)
    task = SequenceClassifier(SPECS[kind], {"hidden_size": 7}, "max_pool", **options)
    rows = [
        torch.randn(length, 4) if kind == "features" else torch.randint(2, 40, (length,))
        for length in (3, 6, 1, 5)
    ]
    return task, collate(rows, targets=torch.tensor([0, 1, 2, 0]))


def losses(task: SequenceClassifier, embedded: Tensor, batch: SequenceBatch) -> Tensor:
    logits = task.network.head(task.network.read(embedded, batch.lengths))
    return F.cross_entropy(logits, batch.targets, reduction="none")


@pytest.mark.parametrize("kind", SPECS)
def test_the_loss_is_the_mean_of_both_and_learns_from_both(kind: str) -> None:
    task, batch = task_and_batch(kind, adversarial=0.5)
    plain, _ = task_and_batch(kind)
    score = task.score(batch)
    assert not batch.inputs.requires_grad  # it is the batch of callbacks, too
    embedded = plain.network.embed(batch).requires_grad_()
    clean = losses(plain, embedded, batch)
    [slopes] = torch.autograd.grad(clean.mean(), embedded, retain_graph=True)
    move = 0.5 * slopes / slopes.flatten(1).norm(dim=1)[:, None, None]
    expected = (clean + losses(plain, embedded + move, batch)) / 2
    assert torch.allclose(score.costs, expected) and (score.costs > clean).all()
    score.loss.backward()
    expected.mean().backward()
    for (name, one), other in zip(task.named_parameters(), plain.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, atol=1e-6), name


@pytest.mark.parametrize("kind", SPECS)
def test_no_other_move_of_that_norm_raises_the_loss_more(kind: str) -> None:
    task, batch = task_and_batch(kind, adversarial=0.01)
    embedded = task.network.embed(batch).detach()
    before = losses(task, embedded, batch)
    raised = 2 * (task.score(batch).costs - before)
    for _ in range(100):
        move = torch.randn_like(embedded) * batch.mask.unsqueeze(-1)
        move = 0.01 * F.normalize(move.flatten(1)).view_as(move)
        assert bool((losses(task, embedded + move, batch) - before < raised).all())


def test_only_training_is_adversarial() -> None:
    task, batch = task_and_batch("tokens", adversarial=0.5)
    task.eval()
    with torch.no_grad():
        loss = task.score(batch).loss
        assert torch.allclose(loss, F.cross_entropy(task(batch), batch.targets))
