"""The statistics over seeds against SciPy and against a correction by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, variance

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from seqmodels.compare.statistics import (
    LEVEL,
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
    one, two = summarize({3: 0.5}), summarize({0: 0.5, 1: 0.7})
    assert one.mean == 0.5 and math.isnan(one.deviation) and math.isnan(one.interval)
    assert two.deviation == pytest.approx(0.141421, abs=1e-6) and math.isnan(two.interval)


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


@pytest.mark.parametrize(
    ("values", "step"),
    [
        ([0.5, 0.5, 0.75], 0.25),
        ([0.7500001, 0.75, 0.5], 0.25),  # 32-bit numbers of one share
        ([0.5], 0.0),
        ([0.0, 0.0], 0.0),
        ([], 0.0),
    ],
)
def test_the_smallest_step(values: list[float], step: float) -> None:
    assert smallest_step(values) == pytest.approx(step, abs=1e-6)


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


@pytest.mark.parametrize("deltas", [[0.1, -0.1], [0.1, 0.1], [1e-9 + 1, 1e-9 - 1]])
def test_no_number_of_seeds_finds_nothing(deltas: list[float]) -> None:
    assert seeds_needed(np.array(deltas), 1) is None
