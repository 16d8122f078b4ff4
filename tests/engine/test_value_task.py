"""Scores of numbers against those of another library; and quantiles that validation has found too
narrow are widened, and cover what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import (
    mean_absolute_error,
    mean_pinball_loss,
    r2_score,
    root_mean_squared_error,
)
from torch import Tensor

from seqmodels.engine.value_task import quantile_shifts, value_scores, value_sums
from seqmodels.errors import UserError
from seqmodels.metrics import more_is_better

N, K = 41, 3
LEVELS = [0.05, 0.5, 0.75]


def numbers(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Predictions `(N, K, Q)`, ascending, and targets `(N, K)` of which some are missing."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randn(N, K, generator=generator) * torch.tensor([1.0, 20.0, 5.0])
    targets[::4, 1] = targets[5, :] = torch.nan
    noise = torch.randn(N, K, len(LEVELS), generator=generator).sort(-1).values
    predicted = targets.nan_to_num().unsqueeze(-1) + 2 * noise
    predicted[1, :, 0], predicted[2, :, 2] = targets[1], targets[2]  # an end of the interval
    return predicted.sort(-1).values, targets


def in_parts(predicted: Tensor, targets: Tensor, levels: list[float] | None) -> dict[str, float]:
    parts = [
        value_sums(predicted[rows], targets[rows], levels) for rows in torch.arange(N).split(7)
    ]
    return {name: float(value) for name, value in value_scores(sum(parts)).items()}


def test_scores_of_values_are_those_of_another_library() -> None:
    predicted, targets = numbers()
    medians, known = predicted[..., 1], ~targets.isnan()
    flat = targets[known], medians[known]
    each = [r2_score(t[k], p[k]) for t, p, k in zip(targets.T, medians.T, known.T)]
    expected = {"rmse": root_mean_squared_error(*flat), "mae": mean_absolute_error(*flat)}
    expected["r2"] = math.fsum(each) / K
    assert in_parts(medians, targets, None) == pytest.approx(expected, rel=1e-5)
    costs = [
        mean_pinball_loss(targets[known], predicted[..., q][known], alpha=level)
        for q, level in enumerate(LEVELS)
    ]
    inside = (predicted[..., 0] <= targets) & (targets <= predicted[..., -1])
    expected |= {"pinball": math.fsum(costs) / len(LEVELS)}
    expected |= {"coverage": float(inside[known].float().mean())}
    assert 0.1 < expected["coverage"] < 0.95
    assert in_parts(predicted, targets, LEVELS) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("shift", "score"), [(0.0, 1.0), (0.5, 0.0)])
def test_a_constant_value_is_scored_as_elsewhere(shift: float, score: float) -> None:
    targets = torch.full((23, 1), 2.1)  # whose variance is 0 but for rounding
    sums = value_sums(targets + shift, targets)
    expected = r2_score(targets.double(), targets.double() + shift)
    assert float(value_scores(sums)["r2"]) == expected == score


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


def test_nothing_is_chosen_by_coverage() -> None:
    assert more_is_better("validation/r2") and not more_is_better("validation/pinball")
    with pytest.raises(UserError, match="^neither more nor less validation/coverage is better"):
        more_is_better("validation/coverage")


# ---------------------------------------------------------------- intervals


WIDENED_LEVELS = [0.05, 0.1, 0.5, 0.8, 0.9]


def shifts_of(quantiles: list[float], targets: np.ndarray) -> torch.Tensor:
    """Of one value, whose quantiles are the same for all rows."""
    return quantile_shifts(
        torch.tensor(quantiles).expand(len(targets), 1, -1),
        torch.tensor(targets)[:, None],
        WIDENED_LEVELS,
    )


@pytest.mark.parametrize("rows", [9, 10, 99, 400])
def test_each_quantile_moves_to_the_rank_that_conformal_prediction_asks_for(rows: int) -> None:
    targets = np.random.default_rng(rows).standard_t(3, rows)
    moved = shifts_of([0.0] * 5, targets)[0].numpy()
    for shift, level in zip(moved, WIDENED_LEVELS, strict=True):
        outwards = np.sign(level - 0.5)
        share = min(max(level, 1 - level) * (rows + 1) / rows, 1)
        wanted = np.quantile(outwards * targets, share, method="inverted_cdf")
        assert shift == pytest.approx(outwards * max(wanted, 0))
    assert moved[2] == 0  # the median


def test_on_average_new_rows_of_the_same_kind_are_covered_as_promised() -> None:
    random, covered = np.random.default_rng(0), []
    for _ in range(400):
        seen, new = random.standard_t(3, (2, 60))
        low, *_, high = shifts_of([-0.1, -0.1, 0.0, 0.1, 0.1], seen)[0].tolist()
        covered.append(np.mean((new >= low - 0.1) & (new <= high + 0.1)))
    # 0.85 and at most two of 61 more; the deviation of this mean is 0.3 points
    assert 0.84 < np.mean(covered) < 0.85 + 2 / 61 + 0.01


def test_what_is_wide_enough_stays_and_what_is_not_known_moves_nothing() -> None:
    targets = np.random.default_rng(0).normal(size=50)
    assert not shifts_of([-9.0, -9.0, 0.0, 9.0, 9.0], targets).any()
    assert not shifts_of([0.0] * 5, np.full(50, np.nan)).any()
    some = np.where(np.arange(50) < 25, targets, np.nan)
    assert shifts_of([0.0] * 5, some).equal(shifts_of([0.0] * 5, some[:25]))
    assert shifts_of([0.0] * 5, np.full(50, 2.0))[0].tolist() == [0, 0, 0, 2, 2]  # a constant
    assert shifts_of([0.0] * 5, np.array([1.0, -1.0]))[0].tolist() == [-1, -1, 0, 1, 1]  # too few
