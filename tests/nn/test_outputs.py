"""Logits, loss and decision against other libraries and their formulas."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, mean_absolute_error, mean_pinball_loss, mean_squared_error
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.errors import UserError
from seqmodels.nn.outputs import ClassOutput, Quantiles, ValueOptions, ValueOutput
from seqmodels.nn.vocabulary import TiedVocabulary, Vocabulary

B, T, S, C, K = 5, 7, 6, 4, 3
LEVELS = [0.05, 0.3, 0.5, 0.95]
MASK = torch.arange(T) < torch.tensor([7, 3, 5, 1, 6]).unsqueeze(1)


def features(*shape: int) -> Tensor:
    return torch.randn(*shape, S, generator=torch.Generator().manual_seed(0))


def close(loss: Tensor, expected: float) -> None:
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("shape", [(B,), (B, T)], ids=["sequences", "steps"])
def test_classes_cost_the_log_loss_where_there_is_one(shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    output, x, targets = ClassOutput(S, C), features(*shape), torch.randint(C, shape)
    targets[1] = -100
    known = targets >= 0
    probabilities = output(x).double().softmax(-1).detach()
    score = output.score(x, targets)
    decision = score.decision
    close(score.loss, log_loss(targets[known], probabilities[known], labels=range(C)))
    assert torch.equal(decision, probabilities.argmax(-1))
    assert torch.equal(output.decode(x), decision)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 5.0, 0.5]])
def test_weights_or_smoothing_of_classes_are_those_of_pytorch(
    weights: list[float] | None, smoothing: float
) -> None:
    targets, x = torch.tensor([3, 0, 1, 1, 2]), features(B)
    output = ClassOutput(S, C, weights=weights, label_smoothing=smoothing)
    for training in (True, False):
        of_class = torch.tensor(weights or [1.0] * C)
        smoothed = smoothing if training else 0.0
        costs = F.cross_entropy(output(x), targets, reduction="none", label_smoothing=smoothed)
        # beside smoothing, PyTorch weighs the other classes of a target, too
        expected = (costs * of_class[targets]).sum() / of_class[targets].sum()
        loss = output.train(training).score(x, targets).loss
        torch.testing.assert_close(loss, expected)
        if not (weights and smoothed):
            weight = weights and torch.tensor(weights)
            plain = F.cross_entropy(output(x), targets, weight, label_smoothing=smoothed)
            torch.testing.assert_close(loss, plain)
    assert {*output.state_dict()} == {"project.weight", "project.bias"}


def test_a_row_without_a_target_does_not_count_where_classes_have_weights() -> None:
    targets, x = torch.tensor([3, -100, 1, -1, 0]), features(B)
    output = ClassOutput(S, C, weights=[7.0, 2.0, 5.0, 0.5])
    is_known = targets >= 0
    expected = output.score(x[is_known], targets[is_known]).loss
    torch.testing.assert_close(output.score(x, targets).loss, expected)


def huber(targets: Tensor, predictions: Tensor) -> float:
    errors = (targets - predictions).abs().numpy()
    return float(np.where(errors < 1, errors**2 / 2, errors - 0.5).mean())


REFERENCES: dict[str, Callable[[Tensor, Tensor], float]] = {
    "mse": mean_squared_error,
    "mae": mean_absolute_error,
    "huber": huber,
    "the median": lambda targets, predictions: mean_absolute_error(targets, predictions) / 2,
}


@pytest.mark.parametrize("steps", [False, True], ids=["sequences", "steps"])
@pytest.mark.parametrize("shape", [(K,), (1,), ()], ids=["some values", "one", "one, flat"])
@pytest.mark.parametrize("error", REFERENCES)
def test_values_cost_their_error_where_there_are_some(
    error: str, shape: tuple[int, ...], steps: bool
) -> None:
    torch.manual_seed(0)
    count, mask = (*shape, 1)[0], MASK if steps else None
    size, x = ((B, T), features(B, T)) if steps else ((B,), features(B))
    median = error == "the median"
    output: Any = Quantiles(S, count, [0.5]) if median else ValueOutput(S, count, error=error)
    targets = 2 * torch.randn(*size, *shape)  # also at padding, where they must not count
    targets.view(B, -1)[2, 0] = targets.view(B, -1)[4, -1] = torch.nan
    known = ~targets.isnan() & (MASK.view(*size, *[1] * len(shape)) if steps else True)
    predictions = output(x).detach().view_as(targets)
    score = output.score(x, targets, mask)
    loss, decision = score.loss, score.decision
    close(loss, REFERENCES[error](targets[known], predictions[known]))
    if not steps:  # in which no row lacks all
        found = score.of_rows(B)
        for row in known.view(B, -1).any(1).nonzero().flatten().tolist():
            of_row = known[row]
            wanted = REFERENCES[error](targets[row][of_row], predictions[row][of_row])
            close(found[row], wanted)
    assert not decision.requires_grad and output.decode(x, mask).shape == (*size, count)
    loss.backward()
    assert all(p.grad.isfinite().all() for p in output.parameters())


@pytest.mark.parametrize("output", [ValueOutput(S, K), Quantiles(S, K)])
def test_a_batch_without_known_values_has_no_loss_and_no_gradient(output: ValueOutput) -> None:
    loss = output.score(features(B), torch.full((B, K), torch.nan)).loss
    loss.backward()
    assert float(loss.detach()) == 0
    assert all(not p.grad.any() for p in output.parameters())


def test_values_are_decided_in_their_own_units() -> None:
    mean, deviation = torch.tensor([[10.0, -2.0, 0.0], [3.0, 0.5, 1.0]]).double()
    scale = {"mean": mean.tolist(), "deviation": deviation.tolist()}
    output = ValueOutput(S, K, **scale)
    raw, x = mean + deviation * torch.randn(B, K), features(B)
    targets = ((raw - mean) / deviation).float()
    score = output.score(x, targets)
    loss, decision = score.loss, score.decision
    expected = ((decision - raw) / deviation).square().mean()
    torch.testing.assert_close(loss.detach(), expected.float())
    torch.testing.assert_close(output.decode(x), decision)
    torch.testing.assert_close(output.restore(targets), raw)
    assert {*output.state_dict()} == {"project.weight", "project.bias"}
    quantiles = Quantiles(S, K, LEVELS, **scale)
    for level, found in enumerate(quantiles.quantiles(quantiles(x)).unbind(-1)):
        standardised = quantiles(x).view(B, K, -1).sort(-1).values[..., level]
        torch.testing.assert_close(found, mean + deviation * standardised)


def test_the_loss_of_quantiles_is_that_of_another_library() -> None:
    torch.manual_seed(0)
    output, x, targets = Quantiles(S, K, LEVELS), features(B), torch.randn(B, K)
    targets[2, 1] = targets[4, 0] = torch.nan
    known = ~targets.isnan()
    made = output.quantiles(output(x)).detach()
    assert made.shape == (B, K, len(LEVELS)) and (made.diff(dim=-1) >= 0).all()
    assert (output(x).view(B, K, -1).diff(dim=-1) < 0).any(), "none would have crossed"
    losses = [
        mean_pinball_loss(targets[known], made[..., i][known], alpha=level)
        for i, level in enumerate(LEVELS)
    ]
    score = output.score(x, targets)
    loss, decision = score.loss, score.decision
    close(loss, math.fsum(losses) / len(LEVELS))
    assert torch.equal(decision, made) and torch.equal(output.decode(x), made[..., 2])


def test_options_choose_values_or_quantiles() -> None:
    scale = {"mean": [1.0], "deviation": [2.0]}
    for chosen, learned in ((None, "mse"), ("huber", "huber")):
        values = ValueOptions(error=chosen).build(S, 1, **scale)
        assert isinstance(values, ValueOutput) and values.error == learned
    quantiles = ValueOptions(quantiles=[0.25, 0.5]).build(S, 1, **scale)
    assert isinstance(quantiles, Quantiles) and quantiles(features(B)).shape == (B, 2)
    with pytest.raises(UserError, match="^model.output.error=mse has no use with .*quantiles"):
        ValueOptions(error="mse", quantiles=[0.5])
    for wrong in ([0.1, 0.9], [0.5, 0.5], [0.5, 1.0]):
        with pytest.raises(UserError, match="^model.output.quantiles is"):
            ValueOptions(quantiles=wrong).build(S, 1, **scale)


@pytest.mark.parametrize("size", [5, S])
@pytest.mark.parametrize("kind", [Vocabulary, TiedVocabulary])
def test_a_vocabulary_decodes_to_its_likeliest_token(kind: type, size: int) -> None:
    output, x = kind(S, 30, embedding=nn.Embedding(30, size)), features(B, T)
    targets = torch.randint(30, (B, T))
    loss, decision = output.score(x, targets).loss, output.decode(x)
    assert output(x).shape == (B, T, 30) and torch.equal(decision, output(x).argmax(-1))
    close(loss, float(F.cross_entropy(output(x).flatten(0, 1), targets.flatten()).detach()))
