"""Logits, loss and decision against their formulas."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import (
    log_loss,
    mean_absolute_error,
    mean_pinball_loss,
    mean_squared_error,
)
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.errors import UserError
from seqmodels.nn.outputs import ClassOutput
from seqmodels.nn.values import Quantiles, ValueOptions, ValueOutput
from seqmodels.nn.vocabulary import TiedVocabulary, Vocabulary

B, T, S, C, K = 5, 7, 6, 4, 3


def features(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, S, generator=torch.Generator().manual_seed(seed))


def test_classes_of_sequences_equal_another_library() -> None:
    output, x, targets = ClassOutput(S, C), features(B), torch.tensor([3, 0, 1, 1, 2])
    probabilities = output(x).double().softmax(1).detach()
    expected = log_loss(targets, probabilities, labels=range(C))
    assert float(output.loss(x, targets).detach()) == pytest.approx(expected, rel=1e-5)
    assert torch.equal(output.decode(x), probabilities.argmax(1))


def test_classes_of_steps_leave_out_what_has_no_target() -> None:
    output, x = ClassOutput(S, C), features(B, T)
    targets = torch.randint(C, (B, T), generator=torch.Generator().manual_seed(1))
    targets[1, 3:] = targets[4, 0] = -100
    nats = [
        -float(output(x)[b, t].log_softmax(0)[targets[b, t]].detach())
        for b in range(B)
        for t in range(T)
        if targets[b, t] >= 0
    ]
    loss, decision = output.loss_and_decision(x, targets)
    assert float(loss.detach()) == pytest.approx(math.fsum(nats) / len(nats), rel=1e-5)
    assert decision.shape == (B, T) and torch.equal(decision, output.decode(x))


def test_weights_and_smoothing_of_classes_are_those_of_pytorch() -> None:
    weights = [1.0, 2.0, 5.0, 0.5]
    output, x = ClassOutput(S, C, weights=weights, label_smoothing=0.2), features(B)
    targets = torch.tensor([3, 0, 1, 1, 2])
    for training, smoothing in ((True, 0.2), (False, 0.0)):
        expected = F.cross_entropy(
            output(x), targets, weight=torch.tensor(weights), label_smoothing=smoothing
        )
        assert torch.equal(output.train(training).loss(x, targets), expected)
    assert set(output.state_dict()) == {"project.weight", "project.bias"}


@pytest.mark.parametrize(
    ("error", "reference"),
    [("mse", mean_squared_error), ("mae", mean_absolute_error)],
)
def test_values_leave_out_what_is_nan(error: str, reference: object) -> None:
    output, x, targets = ValueOutput(S, K, error=error), features(B), torch.randn(B, K)
    targets[2, 1] = targets[4, 0] = torch.nan
    known = ~targets.isnan()
    loss, decision = output.loss_and_decision(x, targets)
    expected = reference(targets[known], output(x)[known].detach())  # type: ignore[operator]
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    assert torch.equal(decision, output(x)) and not decision.requires_grad
    loss.backward()
    assert all(p.grad.isfinite().all() for p in output.parameters())


def test_one_value_a_sequence_may_be_flat() -> None:
    output, x, targets = ValueOutput(S, 1), features(B), torch.randn(B)
    expected = mean_squared_error(targets, output(x).squeeze(1).detach())
    assert float(output.loss(x, targets).detach()) == pytest.approx(expected, rel=1e-5)


def test_values_are_decided_in_their_own_units() -> None:
    mean, deviation = [10.0, -2.0, 0.0], [3.0, 0.5, 1.0]
    output, x = ValueOutput(S, K, mean=mean, deviation=deviation), features(B)
    raw = torch.tensor(mean) + torch.tensor(deviation) * torch.randn(B, K)
    targets = (raw - torch.tensor(mean)) / torch.tensor(deviation)
    loss, decision = output.loss_and_decision(x, targets)
    off = (decision - raw) / torch.tensor(deviation)
    torch.testing.assert_close(loss.detach(), off.square().mean())
    torch.testing.assert_close(output.restore(targets), raw)
    assert set(output.state_dict()) == {"project.weight", "project.bias"}


def test_huber_is_quadratic_near_and_linear_far() -> None:
    output, x = ValueOutput(S, 1, error="huber"), features(2)
    target = output(x).detach() + torch.tensor([[0.5], [3.0]])
    assert float(output.loss(x, target).detach()) == pytest.approx((0.125 + 2.5) / 2, rel=1e-5)
    with pytest.raises(UserError, match="model.output.error=hubr: input should be"):
        ValueOutput(S, 1, error="hubr")


def test_values_of_steps_leave_out_padding_and_what_is_nan() -> None:
    mask = torch.arange(T) < torch.tensor([7, 3, 5, 1, 6]).unsqueeze(1)
    for count, flat in ((K, False), (1, False), (1, True)):
        targets = torch.randn(B, T, count)  # also at padding, where it must not count
        targets[0, 2, 0] = torch.nan
        known = mask.unsqueeze(-1) & ~targets.isnan()
        for output in (ValueOutput(S, count, error="mae"), Quantiles(S, count, [0.5])):
            x = features(B, T)
            predictions = output(x).detach()
            reference = mean_absolute_error(targets[known], predictions[known])
            expected = reference if isinstance(output, ValueOutput) else reference / 2
            loss = output.loss(x, targets.squeeze(-1) if flat else targets, mask)
            assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
            assert output.decode(x, mask).shape == (B, T, count)


@pytest.mark.parametrize("output", [ValueOutput(S, K), Quantiles(S, K)])
def test_a_batch_without_known_values_has_no_loss_and_no_gradient(output: ValueOutput) -> None:
    loss = output.loss(features(B), torch.full((B, K), torch.nan))
    loss.backward()
    assert float(loss.detach()) == 0
    assert all(not p.grad.any() for p in output.parameters())


LEVELS = [0.05, 0.3, 0.5, 0.95]


def test_the_loss_of_quantiles_is_that_of_another_library() -> None:
    output, x, targets = Quantiles(S, K, LEVELS), features(B), torch.randn(B, K)
    targets[2, 1] = targets[4, 0] = torch.nan
    known = ~targets.isnan()
    made = output.quantiles(output(x)).detach()
    assert made.shape == (B, K, len(LEVELS))
    assert (made.diff(dim=-1) >= 0).all()
    assert (output(x).view(B, K, -1).diff(dim=-1) < 0).any(), "none would have crossed"
    losses = [
        mean_pinball_loss(targets[known], made[..., i][known], alpha=level)
        for i, level in enumerate(LEVELS)
    ]
    loss, decision = output.loss_and_decision(x, targets)
    assert float(loss.detach()) == pytest.approx(math.fsum(losses) / len(LEVELS), rel=1e-5)
    assert torch.equal(decision, made) and not decision.requires_grad
    assert torch.equal(output.decode(x), made[..., 2])
    loss.backward()
    assert all(p.grad.isfinite().all() for p in output.parameters())


def test_quantiles_are_those_of_the_targets_in_their_own_units() -> None:
    mean, deviation = [10.0, -200.0], [3.0, 50.0]
    output, x = Quantiles(S, 2, mean=mean, deviation=deviation), torch.zeros(1001, S)
    generator = torch.Generator().manual_seed(0)
    targets = torch.rand(1001, 2, generator=generator)
    raw = output.restore(targets)
    optimizer = torch.optim.LBFGS(output.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = output.loss(x, targets)
        value.backward()
        return value

    for _ in range(5):
        optimizer.step(loss)
    levels = torch.tensor([0.1, 0.5, 0.9])
    found = output.quantiles(output(x))[0].detach()
    expected = raw.quantile(levels, dim=0).T  # (K, Q)
    torch.testing.assert_close(found / expected, torch.ones(2, 3), atol=0.01, rtol=0)


@pytest.mark.parametrize("wrong", [[0.1, 0.9], [0.5, 0.1], [0.0, 0.5], [0.5, 0.5], [0.5, 1.0], []])
def test_other_quantiles_are_an_error(wrong: list[float]) -> None:
    with pytest.raises(UserError, match=r"^model.output.quantiles is \[.*with the median among"):
        Quantiles(S, K, wrong)


def test_options_choose_values_or_quantiles() -> None:
    scale = {"mean": [1.0], "deviation": [2.0]}
    values = ValueOptions(error="huber").build(S, 1, **scale)
    assert isinstance(values, ValueOutput) and values.error == "huber"
    quantiles = ValueOptions(quantiles=[0.25, 0.5]).build(S, 1, **scale)
    assert isinstance(quantiles, Quantiles) and quantiles(features(B)).shape == (B, 2)
    assert float(values.restore(torch.tensor([3.0]))) == 7
    with pytest.raises(UserError, match="error=mae has no use with model.output.quantiles"):
        ValueOptions("mae", [0.5])


@pytest.mark.parametrize("kind", [Vocabulary, TiedVocabulary])
def test_a_vocabulary_decodes_to_its_likeliest_token(kind: type) -> None:
    output, x = kind(S, 30, embedding=nn.Embedding(30, 5)), features(B, T)
    assert output(x).shape == (B, T, 30)
    assert torch.equal(output.decode(x), output(x).argmax(-1))


def test_loss_and_decision_of_any_output_are_its_loss_and_its_decision() -> None:
    output, x = Vocabulary(S, 30), features(B, T)
    targets = torch.randint(30, (B, T))
    loss, decision = output.loss_and_decision(x, targets)
    assert torch.equal(loss, output.loss(x, targets))
    assert torch.equal(decision, output.decode(x))
