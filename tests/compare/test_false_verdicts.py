"""How often a comparison is wrong, and how often it finds a difference, on simulated sweeps.

An accuracy is a multiple of one over the rows of its split, which is where a t-test alone fails.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
from scipy import stats

from seqmodels.compare.statistics import LEVEL, Difference, against_best

POINTS = 0.006  # the deviation over seeds of a head on JapaneseVowels is 0.5 to 0.8 points
ROWS, SEEDS, HEADS = (48, 370, 2000), (3, 5, 10), (2, 5, 8)


def compared(
    count: int, rows: int, seeds: int, heads: int, deviation: float, lead: float = 0.0
) -> Iterator[list[Difference | None]]:
    """Sweeps of `heads` that are all equal but for the first, which is better by `lead`."""
    random = np.random.default_rng((rows, seeds, heads))
    for _ in range(count):
        means = np.full((heads, 1), random.uniform(0.9, 1.0))
        means[1:] -= lead
        runs = means + deviation * random.standard_normal((heads, seeds))
        shares = np.round(rows * runs.clip(0, 1)) / rows
        scores = [dict(enumerate(row)) for row in shares.tolist()]
        yield against_best(scores, higher_is_better=True, step=1 / rows)


def false_verdicts(count: int, rows: int, seeds: int, heads: int, deviation: float) -> int:
    """In how many of so many sweeps of equal heads any two are called different."""
    sweeps = compared(count, rows, seeds, heads, deviation)
    return sum(any(d and d.significant for d in found) for found in sweeps)


def share_found(count: int, rows: int, seeds: int, heads: int, deviation: float) -> float:
    """The share of the differences of one deviation, to the head that is better, that is found."""
    sweeps = compared(count, rows, seeds, heads, deviation, lead=deviation)
    right = [found[1:] for found in sweeps if found[0] is None]  # the best one has the best mean
    significant = sum(bool(d and d.significant) for found in right for d in found)
    return significant / (count * (heads - 1))


def most(count: int) -> float:
    """5 % of so many sweeps, and three standard errors of counting them."""
    return count * LEVEL + 3 * math.sqrt(count * LEVEL * (1 - LEVEL))


@pytest.mark.parametrize(
    ("rows", "seeds", "heads", "deviation"),
    [
        (48, 3, 2, POINTS),
        (48, 3, 8, POINTS),
        (48, 5, 5, 0.5 / 48),  # half a row
        (370, 3, 8, 0.5 / 370),
        (370, 10, 2, POINTS),
        (2000, 5, 8, POINTS),
    ],
)
def test_equal_heads_are_called_different_in_5_percent_at_most(
    rows: int, seeds: int, heads: int, deviation: float
) -> None:
    assert false_verdicts(300, rows, seeds, heads, deviation) <= most(300)


def test_a_difference_of_one_deviation_is_found_by_ten_seeds_as_often_as_in_theory() -> None:
    # the difference of two runs has a deviation of sqrt(2)
    critical = stats.t.ppf(1 - LEVEL / 2, 9)
    theory = stats.nct.sf(critical, 9, math.sqrt(10 / 2))
    assert share_found(1000, 100_000, 10, 2, POINTS) == pytest.approx(theory, abs=0.05)


@pytest.mark.long
def test_2000_simulated_sweeps_of_every_size() -> None:
    """`pytest -m long -n 0 -s` prints the figures, which docs/sweeps.md quotes."""
    for rows, seeds, heads in itertools.product(ROWS, SEEDS, HEADS):
        size = (2000, rows, seeds, heads)
        wrong = [false_verdicts(*size, deviation) for deviation in (POINTS, 0.5 / rows)]
        found = [f"{share_found(*size, deviation):.1%}" for deviation in (POINTS, 2 * POINTS)]
        print(  # noqa: T201
            f"{rows} rows, {seeds} seeds, {heads} heads: {wrong[0]} false verdicts in 2,000 (runs "
            f"deviate by half a row: {wrong[1]}); found of differences of one deviation, of 0.6 "
            f"points: {found[0]}, of 1.2 points: {found[1]}"
        )
        assert max(wrong) <= most(2000)
