"""Quantiles that validation has found too narrow are widened, and cover what they promise."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seqmodels.engine.value_task import quantile_shifts

LEVELS = [0.05, 0.1, 0.5, 0.8, 0.9]


def shifts_of(quantiles: list[float], targets: np.ndarray) -> torch.Tensor:
    """Of one value, whose quantiles are the same for all rows."""
    return quantile_shifts(
        torch.tensor(quantiles).expand(len(targets), 1, -1), torch.tensor(targets)[:, None], LEVELS
    )


@pytest.mark.parametrize("rows", [9, 10, 99, 400])
def test_each_quantile_moves_to_the_rank_that_conformal_prediction_asks_for(rows: int) -> None:
    targets = np.random.default_rng(rows).standard_t(3, rows)
    moved = shifts_of([0.0] * 5, targets)[0].numpy()
    for shift, level in zip(moved, LEVELS, strict=True):
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
