"""The statistics over seeds: against SciPy, against a correction by hand, on simulated sweeps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import fmean, variance

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from seqmodels.compare.statistics import (
    LEVEL,
    Difference,
    Scores,
    against_best,
    seeds_needed,
    smallest_step,
    summarize,
)

# Student 1908, the sleep data: extra hours with either drug
FIRST = dict(enumerate([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]))
SECOND = dict(enumerate([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]))


def test_a_summary_and_a_difference_are_those_of_a_textbook() -> None:
    summary, hours = summarize(SECOND), [*SECOND.values()]
    assert summary.mean == pytest.approx(2.33)
    assert summary.deviation == pytest.approx(2.002249, abs=1e-6)
    low, high = stats.t.interval(0.95, 9, loc=np.mean(hours), scale=stats.sem(hours))
    assert summary.interval == pytest.approx((high - low) / 2)
    best, other = against_best([SECOND, FIRST], higher_is_better=True)
    assert best is None and other is not None and other.shared == 10
    assert other.mean == pytest.approx(-1.58) and other.p == pytest.approx(0.002833, abs=1e-6)
    assert other.significant and other.seeds_needed is None
    assert against_best([SECOND, FIRST], higher_is_better=False)[1] is None


def test_few_seeds_have_no_interval() -> None:
    assert math.isnan(summarize({3: 0.5}).deviation)
    assert math.isnan(summarize({0: 0.5, 1: 0.7}).interval)


def test_an_interval_is_not_narrower_than_rounding_makes_it() -> None:
    same = summarize(dict.fromkeys(range(3), 0.75), step=1 / 48)
    assert same.deviation == 0
    exact = np.random.default_rng(0).uniform(-0.5, 0.5, 100_000) / 48  # what is rounded away
    assert same.interval == pytest.approx(stats.t.ppf(0.975, 2) * exact.std() / 3**0.5, rel=0.01)


def raw_p(deltas: Sequence[float], step: float) -> float:
    """Two-sided, of a paired t-test; each score hides a rounding error that is uniform over a
    step, so a difference hides two of them."""
    hidden = variance(deltas) + 2 * step**2 / 12
    if not hidden:
        return float(not fmean(deltas))
    t = fmean(deltas) / math.sqrt(hidden / len(deltas))
    return float(2 * stats.t.sf(abs(t), len(deltas) - 1))


def holm(p_values: Sequence[float], pairs: int) -> list[float]:
    """Sorted, multiplied by what is left, made monotone."""
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, number in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, p_values[number] * (pairs - rank)))
        corrected[number] = largest
    return corrected


# exact in binary, so that equal means are equal
scores = st.dictionaries(st.integers(0, 8), st.integers(0, 40).map(lambda n: n / 64), min_size=1)


@given(
    settings=st.lists(scores, min_size=2, max_size=5),
    higher=st.booleans(),
    step=st.sampled_from([0.0, 1 / 64]),
)
def test_each_setting_is_tested_against_the_best_on_the_seeds_that_both_have(
    settings: list[Scores], higher: bool, step: float
) -> None:
    sign = 1 if higher else -1
    means = [fmean(each.values()) for each in settings]
    best = max(range(len(settings)), key=lambda n: sign * means[n])
    found = against_best(settings, higher_is_better=higher, step=step)
    assert [n for n, each in enumerate(found) if each is None] == [best]
    deltas = [
        [each[seed] - settings[best][seed] for seed in each.keys() & settings[best].keys()]
        for each in settings
    ]
    tested = [n for n in range(len(settings)) if n != best and len(deltas[n]) >= 3]
    pairs = len(settings) * (len(settings) - 1) // 2
    wanted = dict(zip(tested, holm([raw_p(deltas[n], step) for n in tested], pairs)))
    for n, difference in enumerate(found):
        if difference is None:
            continue
        mean = fmean(deltas[n]) if deltas[n] else means[n] - means[best]
        ahead = bool(deltas[n]) and sign * mean > 0
        assert difference.shared == len(deltas[n]) and difference.ahead == ahead
        assert difference.mean == pytest.approx(mean, abs=1e-12)
        p = wanted.get(n, math.nan)
        assert difference.p == pytest.approx(p, rel=1e-9, abs=1e-15, nan_ok=True)
        assert difference.significant == (difference.p < LEVEL and not ahead)
        needed = seeds_needed(np.array(deltas[n]), pairs, step) if p >= LEVEL else None
        assert difference.seeds_needed == needed


def test_the_smallest_step() -> None:
    assert smallest_step([0.7500001, 0.75, 0.5]) == pytest.approx(0.25, abs=1e-6)  # 32-bit numbers
    assert smallest_step([0.5]) == 0


@pytest.mark.parametrize("pairs", [1, 10, 28])
@pytest.mark.parametrize("effect", [0.2, 0.5, 1.0, 2.5])
def test_the_seeds_needed_have_the_power_that_is_promised(effect: float, pairs: int) -> None:
    deltas = np.array([effect - math.sqrt(0.5), effect + math.sqrt(0.5)])  # of deviation 1
    needed = seeds_needed(deltas, pairs)
    assert needed is not None

    def power(count: int) -> float:
        critical = stats.t.ppf(1 - LEVEL / pairs / 2, count - 1)
        return float(stats.nct.sf(critical, count - 1, effect * math.sqrt(count)))

    exact = next(count for count in range(3, 2000) if power(count) >= 0.8)
    assert abs(needed - exact) <= 1


def test_no_number_of_seeds_finds_nothing() -> None:
    for deltas in ([0.1, -0.1], [0.1, 0.1]):
        assert seeds_needed(np.array(deltas), 1) is None


# ---------------------------------------------------------------- how often it is wrong

POINTS = 0.006  # the deviation over seeds of a head on JapaneseVowels is 0.5 to 0.8 points


def compared(
    count: int, rows: int, seeds: int, heads: int, deviation: float, lead: float = 0.0
) -> Iterator[list[Difference | None]]:
    """Sweeps of `heads` that are all equal but for the first, which is better by `lead`.

    An accuracy is a multiple of one over the rows of its split: there, a t-test alone fails.
    """
    random = np.random.default_rng((rows, seeds, heads))
    for _ in range(count):
        means = np.full((heads, 1), random.uniform(0.9, 1.0))
        means[1:] -= lead
        runs = means + deviation * random.standard_normal((heads, seeds))
        shares = np.round(rows * runs.clip(0, 1)) / rows
        scores = [dict(enumerate(row)) for row in shares.tolist()]
        yield against_best(scores, higher_is_better=True, step=1 / rows)


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
    sweeps = compared(300, rows, seeds, heads, deviation)
    wrong = sum(any(d and d.significant for d in found) for found in sweeps)
    assert wrong <= 300 * LEVEL + 3 * math.sqrt(300 * LEVEL * (1 - LEVEL))  # three standard errors


@pytest.mark.parametrize(("seeds", "heads", "wanted"), [(3, 2, 0.12), (10, 2, 0.5), (10, 8, 0.08)])
def test_a_difference_of_one_deviation_is_found_as_often_as_the_page_says(
    seeds: int, heads: int, wanted: float
) -> None:
    if heads == 2:  # in theory; the difference of two runs has a deviation of sqrt(2)
        critical = stats.t.ppf(1 - LEVEL / 2, seeds - 1)
        theory = stats.nct.sf(critical, seeds - 1, math.sqrt(seeds / 2))
        assert theory == pytest.approx(wanted, abs=0.02)
    sweeps = compared(500, 100_000, seeds, heads, POINTS, lead=POINTS)
    right = [found[1:] for found in sweeps if found[0] is None]  # the best one has the best mean
    share = sum(bool(d and d.significant) for found in right for d in found) / (500 * (heads - 1))
    assert share == pytest.approx(wanted, abs=0.05)
