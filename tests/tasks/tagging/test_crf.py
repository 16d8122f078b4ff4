"""The CRF against a sum and a maximum over all tag paths, one by one."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from seqmodels.tasks.tagging.crf import CRF

B, T, S, C = 5, 6, 7, 4
LENGTHS = [6, 1, 4, 2, 6]


def crf(size: float = 1.0) -> CRF:
    torch.manual_seed(0)
    output = CRF(S, C).double()
    torch.nn.init.normal_(output.transitions, std=size)
    return output


def data(seed: int = 1, size: float = 1.0, unknown: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = size * torch.randn(B, T, S, generator=generator, dtype=torch.float64)
    mask = torch.arange(T) < torch.tensor(LENGTHS)[:, None]
    targets = torch.randint(C, (B, T), generator=generator).masked_fill(~mask, -100)
    if unknown:
        targets[0, 2:4] = targets[2, 0] = targets[3] = -100  # row 3 has none
    return features, targets, mask


def all_paths(length: int) -> Tensor:
    return torch.tensor(list(product(range(C), repeat=length)))


def scores_of(output: CRF, logits: Tensor, paths: Tensor) -> Tensor:
    """By the definition, path by path: `(paths, steps) -> (paths,)`."""
    steps = logits[torch.arange(len(logits)), paths].sum(dim=1)
    pairs = output.transitions[paths[:, :-1], paths[:, 1:]].sum(dim=1)
    return (
        output.transitions[-1, paths[:, 0]] + steps + pairs + output.transitions[paths[:, -1], -1]
    )


def brute_loss(output: CRF, features: Tensor, targets: Tensor) -> Tensor:
    nats, known = torch.zeros((), dtype=torch.float64), 0
    for row, length in enumerate(LENGTHS):
        paths, wanted = all_paths(length), targets[row, :length]
        scores = scores_of(output, output(features[row, :length]), paths)
        right = ((wanted == paths) | (wanted == -100)).all(dim=1)
        nats = nats + scores.logsumexp(0) - scores[right].logsumexp(0)
        known += int((wanted >= 0).sum())
    return nats / known


def brute_tags(output: CRF, logits: Tensor, paths: Tensor) -> list[int]:
    return paths[scores_of(output, logits, paths).argmax()].tolist()


@pytest.mark.parametrize(("path", "size"), [(1.0, 1.0), (10.0, 10.0), (20.0, 1e3), (20.0, 1e5)])
@pytest.mark.parametrize("unknown", [False, True])
def test_loss_and_gradients_are_those_of_a_sum_over_all_paths(
    unknown: bool, path: float, size: float
) -> None:
    output, (features, targets, mask) = crf(path), data(size=size, unknown=unknown)
    features = features.masked_fill(~mask.unsqueeze(-1), 1e3).requires_grad_()
    wanted = [features, *output.parameters()]
    score, expected = output.score(features, targets, mask), brute_loss(output, features, targets)
    loss = score.loss
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-10)
    gradients = torch.autograd.grad(loss, wanted)
    for found, right in zip(gradients, torch.autograd.grad(expected, wanted), strict=True):
        torch.testing.assert_close(found, right, rtol=1e-9, atol=1e-9)
    # each row by itself, without its padding
    for row, n in enumerate(LENGTHS):
        alone = output.score(features[row : row + 1, :n], targets[row : row + 1, :n]).loss
        torch.testing.assert_close(score.costs[row], alone, rtol=1e-10, atol=1e-10)


def test_the_best_tags_are_the_maximum_over_all_paths() -> None:
    output, (features, targets, mask) = crf(2.0), data()
    tags = output.decode(features, mask)
    for row, length in enumerate(LENGTHS):
        best = brute_tags(output, output(features[row, :length]), all_paths(length))
        assert tags[row].tolist() == best + [0] * (T - length)
    score = output.score(features, targets, mask)
    assert torch.equal(score.decision, tags)


def test_long_rows_keep_their_digits() -> None:
    torch.manual_seed(0)
    output = CRF(S, C)
    torch.nn.init.normal_(output.transitions)
    features, targets = 5 * torch.randn(2, 1000, S), torch.randint(C, (2, 1000))
    targets[1, 700:], mask = -100, torch.arange(1000) < torch.tensor([[1000], [700]])
    logits, path = output(features).double(), output.transitions.double()
    nats = torch.zeros((), dtype=torch.float64)
    for row, length in enumerate((1000, 700)):
        steps, tags = logits[row, :length], targets[row, :length]
        total = path[-1, :-1] + steps[0]
        for step in steps[1:]:
            total = (total.unsqueeze(1) + path[:-1, :-1]).logsumexp(0) + step
        nats += (total + path[:-1, -1]).logsumexp(0)
        nats -= scores_of(output.double(), steps, tags[None]).squeeze(0)
    loss = output.float().score(features, targets, mask).loss
    torch.testing.assert_close(loss.double(), nats / 1700, rtol=2e-7, atol=0)
    features = 5 * torch.randn(1, 8000, S)
    tags = output.decode(features)
    assert torch.equal(output.double().decode(features.double()), tags)


def test_half_precision_and_autocast_give_about_the_same() -> None:
    output, (features, targets, mask) = crf().float(), data()
    exact = output.score(features.float(), targets, mask).loss
    with torch.autocast("cpu", torch.bfloat16):
        score = output.score(features.float(), targets, mask)
    assert score.loss.dtype == torch.float32 and score.decision.shape == (B, T)
    torch.testing.assert_close(score.loss, exact, rtol=0.02, atol=0.02)
