"""Adversarial training moves embeddings where the loss grows fastest."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from seqmodels.data.loading import collate
from seqmodels.engine.training import worst_move
from seqmodels.tasks.classification import SequenceClassifier

SPECS = {
    "tokens": {"inputs": "tokens", "num_inputs": 40, "classes": ["a", "b", "c"]},
    "features": {"inputs": "features", "num_inputs": 4, "classes": ["a", "b", "c"]},
}


def task_and_batch(kind: str, **options: object) -> tuple:
    torch.manual_seed(0)
    task = SequenceClassifier(SPECS[kind], {"hidden_size": 7}, "max_pool", **options)
    rows = [
        torch.randn(length, 4) if kind == "features" else torch.randint(2, 40, (length,))
        for length in (3, 6, 1, 5)
    ]
    return task, collate(rows, targets=torch.tensor([0, 1, 2, 0]))


@pytest.mark.parametrize("kind", SPECS)
def test_the_move_has_its_norm_in_each_row_and_raises_the_loss_most(kind: str) -> None:
    task, batch = task_and_batch(kind)

    def losses(embedded: torch.Tensor) -> torch.Tensor:
        logits = task.head(task.read(embedded, batch.lengths))
        return F.cross_entropy(logits, batch.targets, reduction="none")

    embedded = task.embed(batch).detach().requires_grad_()
    move = worst_move(losses(embedded).mean(), embedded, 0.01)
    assert torch.allclose(move.flatten(1).norm(dim=1), torch.tensor(0.01))
    assert not move[~batch.mask].any()  # padding has no say
    raised = losses(embedded + move) - losses(embedded)
    for _ in range(100):
        other = torch.randn_like(move) * batch.mask.unsqueeze(-1)
        other = 0.01 * F.normalize(other.flatten(1)).view_as(move)
        assert bool((losses(embedded + other) - losses(embedded) < raised).all())


@pytest.mark.parametrize("kind", SPECS)
def test_the_loss_is_the_mean_of_both_and_learns_from_both(kind: str) -> None:
    task, batch = task_and_batch(kind, training={"adversarial": 0.5})
    plain, _ = task_and_batch(kind)
    found, decision = task.loss_and_decision(batch)
    embedded = plain.embed(batch).requires_grad_()
    logits = plain.head(plain.read(embedded, batch.lengths))
    clean = F.cross_entropy(logits, batch.targets)
    [gradient] = torch.autograd.grad(clean, embedded, retain_graph=True)
    norms = gradient.flatten(1).norm(dim=1)[:, None, None]
    moved = plain.head(plain.read(embedded + 0.5 * gradient / norms, batch.lengths))
    expected = (clean + F.cross_entropy(moved, batch.targets)) / 2
    assert torch.allclose(found, expected) and found > clean
    assert torch.equal(decision, logits.argmax(dim=-1))
    found.backward()
    expected.backward()
    for (name, one), other in zip(task.named_parameters(), plain.parameters()):
        assert torch.allclose(one.grad, other.grad, atol=1e-6), name


def test_only_training_is_adversarial() -> None:
    task, batch = task_and_batch("tokens", training={"adversarial": 0.5})
    task.eval()
    with torch.no_grad():
        loss, _ = task.loss_and_decision(batch)
        assert torch.equal(loss, F.cross_entropy(task(batch), batch.targets))
