"""Scores of numbers against those of another library."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import (
    mean_absolute_error,
    mean_pinball_loss,
    r2_score,
    root_mean_squared_error,
)
from torch import Tensor

from seqmodels.engine.metrics import METRICS, Metric, more_is_better, show
from seqmodels.engine.value_scores import value_scores, value_sums
from seqmodels.errors import UserError

N, K = 41, 3
LEVELS = [0.05, 0.5, 0.75]


def numbers(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Predictions `(N, K, Q)`, ascending, and targets `(N, K)` of which some are missing."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randn(N, K, generator=generator) * torch.tensor([1.0, 20.0, 5.0])
    targets[::4, 1] = targets[5, :] = torch.nan
    noise = torch.randn(N, K, len(LEVELS), generator=generator).sort(-1).values
    return targets.nan_to_num().unsqueeze(-1) + 2 * noise, targets


def in_parts(predicted: Tensor, targets: Tensor, levels: list[float] | None) -> dict[str, float]:
    parts = [
        value_sums(predicted[rows], targets[rows], levels) for rows in torch.arange(N).split(7)
    ]
    return {name: float(value) for name, value in value_scores(sum(parts)).items()}


def test_scores_of_values_are_those_of_another_library() -> None:
    predicted, targets = numbers()
    medians, known = predicted[..., 1], ~targets.isnan()
    for levels, made in ((None, medians), (LEVELS, predicted)):
        found = in_parts(made, targets, levels)
        flat = targets[known], medians[known]
        assert found["rmse"] == pytest.approx(root_mean_squared_error(*flat), rel=1e-5)
        assert found["mae"] == pytest.approx(mean_absolute_error(*flat), rel=1e-5)
        each = [r2_score(t[k], p[k]) for t, p, k in zip(targets.T, medians.T, known.T)]
        assert found["r2"] == pytest.approx(math.fsum(each) / K, rel=1e-5)


def test_scores_of_quantiles_are_their_pinball_loss_and_how_many_targets_lie_between() -> None:
    predicted, targets = numbers()
    known = ~targets.isnan()
    found = in_parts(predicted, targets, LEVELS)
    each = [
        mean_pinball_loss(targets[known], predicted[..., q][known], alpha=level)
        for q, level in enumerate(LEVELS)
    ]
    assert found["pinball"] == pytest.approx(math.fsum(each) / len(LEVELS), rel=1e-5)
    inside = [
        low <= target <= high
        for target, low, high in zip(
            targets[known].tolist(), predicted[..., 0][known], predicted[..., -1][known]
        )
    ]
    assert 0.1 < found["coverage"] < 0.95
    assert found["coverage"] == pytest.approx(sum(inside) / len(inside))


@pytest.mark.parametrize(("shift", "score"), [(0.0, 1.0), (0.5, 0.0)])
def test_a_constant_value_is_scored_as_elsewhere(shift: float, score: float) -> None:
    sums = value_sums(torch.full((4, 1), 2.1 + shift), torch.full((4, 1), 2.1))
    assert float(value_scores(sums)["r2"]) == r2_score([2.1] * 4, [2.1 + shift] * 4) == score


def test_the_variance_of_numbers_far_from_0_keeps_its_digits() -> None:
    targets = torch.tensor([[1e6], [1e6 + 1], [1e6 + 3]])
    sums = value_sums(targets + 0.5, targets, center=torch.tensor([1e6]))
    expected = r2_score(targets.double(), targets.double() + 0.5)
    assert float(value_scores(sums)["r2"]) == pytest.approx(expected, rel=1e-6)


def test_a_value_that_is_known_once_has_no_r2_and_the_others_have() -> None:
    predicted, targets = numbers()
    targets[1:, 0] = torch.nan
    found = in_parts(predicted[..., 1], targets, None)["r2"]
    alone = in_parts(predicted[:, 1:, 1], targets[:, 1:], None)["r2"]
    assert found == alone and math.isfinite(found)


def test_coverage_is_shown_and_nothing_is_chosen_by_it() -> None:
    assert show("test/coverage", 0.8125) == "81.25"
    assert more_is_better("validation/r2") and not more_is_better("validation/pinball")
    with pytest.raises(UserError, match="^neither more nor less validation/coverage is better"):
        more_is_better("validation/coverage")
    assert METRICS["coverage"] == Metric(higher_is_better=None, unit="%")


def test_small_numbers_are_shown_too() -> None:
    assert [show("rmse", x) for x in (0.0447, 0.0, 0.00012345, -3.5e-6)] == [
        "0.0447",
        "0.0000",
        "1.23e-04",
        "-3.50e-06",
    ]
