"""The statistics over seeds: against SciPy, against a correction by hand, on simulated sweeps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from operator import attrgetter
from statistics import fmean, variance
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from seqmodels.compare.statistics import (
    LEVEL,
    Difference,
    OverSets,
    Scores,
    against_best,
    fewest_sets,
    over_sets,
    seeds_needed,
    smallest_step,
    summarize,
)
from seqmodels.compare.statistics import (
    _deviation as deviation_of_pairs,
)
from seqmodels.compare.writing import bars_of

SETTING = attrgetter("setting")
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


def test_the_difference_of_two_rounded_scores_has_the_rounding_of_both() -> None:
    rounding = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 100_000)) / 48
    deviation = (rounding[0] - rounding[1]).std()
    same = np.full(3, 0.25)
    assert deviation_of_pairs(same, 1 / 48) == pytest.approx(deviation, rel=0.01)


def raw_p(deltas: Sequence[float], step: float, overlap: float = 0.0) -> float:
    """Two-sided, of a paired t-test; each score hides a rounding error that is uniform over a
    step, so a difference hides two of them. Nadeau and Bengio's, of splits that overlap."""
    hidden = variance(deltas) + 2 * step**2 / 12
    if not hidden:
        return float(not fmean(deltas))
    t = fmean(deltas) / math.sqrt(hidden * (1 / len(deltas) + overlap))
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
    overlap=st.sampled_from([0.0, 0.25]),
)
def test_each_setting_is_tested_against_the_best_on_the_seeds_that_both_have(
    settings: list[Scores], higher: bool, step: float, overlap: float
) -> None:
    sign = 1 if higher else -1
    means = [fmean(each.values()) for each in settings]
    best = max(range(len(settings)), key=lambda n: sign * means[n])
    found = against_best(settings, higher_is_better=higher, step=step, overlap=overlap)
    assert [n for n, each in enumerate(found) if each is None] == [best]
    deltas = [
        [each[seed] - settings[best][seed] for seed in each.keys() & settings[best].keys()]
        for each in settings
    ]
    tested = [n for n in range(len(settings)) if n != best and len(deltas[n]) >= 3]
    pairs = len(settings) * (len(settings) - 1) // 2
    wanted = dict(zip(tested, holm([raw_p(deltas[n], step, overlap) for n in tested], pairs)))
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
        more = p >= LEVEL and not overlap
        needed = seeds_needed(np.array(deltas[n]), pairs, step) if more else None
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


def test_the_interval_of_splits_that_overlap_is_wider() -> None:
    seeds, splits = (summarize(SECOND, overlap=overlap).interval for overlap in (0.0, 1 / 9))
    assert splits / seeds == pytest.approx(math.sqrt((1 / 10 + 1 / 9) / (1 / 10)))


# ---------------------------------------------------------------- over data sets

tables = st.integers(2, 5).flatmap(
    lambda settings: st.lists(
        st.lists(
            st.one_of(st.integers(0, 9), st.just(math.nan)), min_size=settings, max_size=settings
        ),
        min_size=2,
        max_size=13,  # beyond, SciPy is not exact
    )
)


def wilcoxon(deltas: np.ndarray, alternative: str = "two-sided") -> float:
    """Zeros count half for either (Demšar 2006)."""
    return float(stats.wilcoxon(deltas, zero_method="zsplit", alternative=alternative).pvalue)


@given(table=tables, higher=st.booleans(), seed=st.integers(0, 99))
def test_settings_are_compared_over_data_sets_as_scipy_does(
    table: list[list[float]], higher: bool, seed: int
) -> None:
    scores = np.array(table) / 16
    scores = scores[~np.isnan(scores).all(1)][:, ~np.isnan(scores).all(0)]
    count = scores.shape[1] if scores.size else 0
    if count < 2:
        return
    rows, sign = over_sets(scores, higher_is_better=higher), 1 if higher else -1
    found, best = {row.setting: row for row in rows}, rows[0].setting
    complete = scores[~np.isnan(scores).any(1)]
    friedman = math.nan
    if count > 2 and len(complete) >= 6:
        with np.errstate(invalid="ignore"):
            friedman = stats.friedmanchisquare(*complete.T).pvalue
    raw, present = {}, ~np.isnan(scores)
    for one, other in combinations(range(count), 2):
        deltas = (scores[:, one] - scores[:, other])[present[:, one] & present[:, other]]
        if len(deltas) >= 6:  # a set counts only for pairs that it has
            raw[one, other] = wilcoxon(deltas)
    expected = np.full((count, count), math.nan)
    for pair, p in zip(raw, holm([*raw.values()], count * (count - 1) // 2)):
        expected[pair] = expected[pair[::-1]] = np.nanmax([p, friedman])
    for n, row in found.items():
        deltas = (scores[:, n] - scores[:, best])[present[:, n] & present[:, best]]
        median = np.median(deltas) if len(deltas) else math.nan
        numbers = [row.friedman_p, row.p, row.median_difference, *row.pairs]
        wanted = [friedman, expected[n, best], median, *expected[n]]
        assert numbers == pytest.approx(wanted, nan_ok=True)
        assert math.isnan(row.low) == math.isnan(row.high) == (len(deltas) < 6)
        told = expected[n, best] < LEVEL
        assert row.worse == (told and wilcoxon(sign * deltas, alternative="less") < LEVEL)
        assert row.sets == present[:, n].sum()
    if present.all():
        ranks = stats.rankdata(-sign * scores, axis=1)
        assert [found[n].mean_rank for n in range(count)] == pytest.approx(ranks.mean(0))
        assert rows == sorted(rows, key=lambda row: row.mean_rank)
        wins = (sign * scores == (sign * scores).max(1)[:, None]).sum(0)
        assert [found[n].best_on for n in range(count)] == [*wins]
    # the order of sets and of settings doesn't matter
    random = np.random.default_rng(seed)
    sets, columns = random.permutation(len(scores)), random.permutation(count)
    again = over_sets(scores[sets][:, columns], higher_is_better=higher)
    assert [row.mean_rank for row in again] == pytest.approx([row.mean_rank for row in rows])
    if columns[again[0].setting] == best:
        for row in again:
            other = found[columns[row.setting]]
            numbers = [[each.p, each.low, each.high, each.mean] for each in (row, other)]
            assert numbers[0] == pytest.approx(numbers[1], nan_ok=True)


def test_the_interval_of_a_median_is_that_of_scipys_bootstrap() -> None:
    random = np.random.default_rng(0)
    scores = np.stack([random.normal(0.9, 0.02, 90), random.normal(0.8, 0.02, 90)], 1)
    _, found = over_sets(scores, higher_is_better=True)
    deltas = scores[:, 1] - scores[:, 0]
    options: Any = {"method": "percentile", "n_resamples": 20_000, "random_state": random}
    drawn = stats.bootstrap((deltas,), np.median, **options)
    low, high = drawn.confidence_interval
    assert [found.low, found.high] == pytest.approx([low, high], abs=0.0005)
    assert low < found.median_difference < high < 0 and found.worse
    for _ in range(9):  # whatever the order of the sets
        again = over_sets(random.permutation(scores), higher_is_better=True)[1]
        assert (again.low, again.high) == (found.low, found.high)


def test_no_pair_is_told_apart_where_friedman_finds_no_difference() -> None:
    scores = np.random.default_rng(0).random((12, 5))
    scores[:, 4] = scores[:, 0] - 1e-4  # worse on each set, by a rank at most
    [row] = [each for each in over_sets(scores, higher_is_better=True) if each.setting == 4]
    friedman = stats.friedmanchisquare(*scores.T).pvalue
    assert wilcoxon(scores[:, 0] - scores[:, 4]) * 10 < LEVEL <= friedman == row.pairs[0]


def test_equal_scores_share_a_rank_whatever_their_last_digits() -> None:
    first, second = 0.1 + 0.2, 0.3
    assert first != second
    found = over_sets(np.array([[first, second], [first, second]]), higher_is_better=True)
    assert [(row.mean_rank, row.best_on) for row in found] == [(1.5, 2)] * 2
    assert over_sets(np.zeros((7, 3)), higher_is_better=False)[0].pairs[1] == 1
    shares = (np.arange(371, dtype=np.float32) / 370).astype(float)
    same = [shares[100:300], (shares[99:299] + shares[101:301]) / 2]  # the mean over two seeds
    found = over_sets(np.stack([*same, shares[170:370]], 1), higher_is_better=True)
    assert [(row.setting, row.mean_rank) for row in found] == [(2, 1), (0, 2.5), (1, 2.5)]
    assert found[1].pairs[1] == 1


def test_equal_differences_share_a_rank_whatever_their_last_digits() -> None:
    signs = np.array([1, 1, -1, 1, 1, 1, 1, -1, 1])
    level = np.arange(1, 10) / 10
    scores = np.stack([level + 0.05 * signs, level], 1)
    assert len({*np.abs(scores[:, 0] - scores[:, 1])}) > 1
    for row in over_sets(scores, higher_is_better=True)[1:]:
        assert row.p == pytest.approx(wilcoxon(signs))


def test_a_setting_that_wins_on_most_sets_by_little_is_not_better_beyond_chance() -> None:
    deltas = np.array([*range(1, 56), *range(-100, -55)]) / 1000  # 45 sets where it loses by much
    best, other = over_sets(np.stack([0.5 + deltas, 0 * deltas + 0.5], 1), higher_is_better=True)
    assert (best.setting, best.mean_rank) == (0, 1.45) and other.median_difference < 0
    assert other.p < LEVEL and not other.worse  # signed ranks speak for the other one


def test_a_setting_that_half_of_the_sets_lack_is_not_the_best() -> None:
    scores = np.array([[0.5, 0.6, 0.9]] * 2 + [[0.5, 0.6, math.nan]] * 2)
    assert [row.setting for row in over_sets(scores, higher_is_better=True)] == [1, 0, 2]
    found = over_sets(scores[:3], higher_is_better=True)
    assert [row.setting for row in found] == [2, 1, 0] and found[0].mean_rank == 1


@pytest.mark.parametrize("higher", [True, False])
def test_a_setting_that_is_alone_on_a_set_is_best_on_none(higher: bool) -> None:
    scores = np.array([[0.5, 0.6], [math.nan, 0.9], [0.9, math.nan], [0.4, 0.2]])
    rows = over_sets(scores, higher_is_better=higher)
    assert {row.setting: row.best_on for row in rows} == {0: 1, 1: 1}


@pytest.mark.parametrize("higher", [True, False])
def test_pairs_over_sets_are_those_of_scikit_posthocs(higher: bool) -> None:
    from scikit_posthocs import posthoc_wilcoxon  # slow to import

    scores = np.random.default_rng(4).normal([0.0, 0.5, 0.6, 2.0], 1.0, (12, 4))
    rows = over_sets(scores, higher_is_better=higher)
    long_table = pd.DataFrame(scores, columns=[*"abcd"]).melt()
    options: Any = {"p_adjust": "holm", "zero_method": "zsplit"}
    p = posthoc_wilcoxon(long_table, "value", "variable", **options).to_numpy()
    friedman = stats.friedmanchisquare(*scores.T).pvalue
    for row in rows:
        others = [setting for setting in range(4) if setting != row.setting]
        expected = np.maximum(p[row.setting], friedman)[others]
        assert np.array(row.pairs)[others] == pytest.approx(expected)


def test_bars_are_the_cliques_of_scikit_posthocs() -> None:
    from scikit_posthocs._plotting import _find_maximal_cliques

    random = np.random.default_rng(0)
    for _ in range(30):
        scores = random.normal(random.normal(0, 1, 6), 1.0, (10, 6))
        rows = over_sets(scores, higher_is_better=True)
        p = pd.DataFrame(np.nan_to_num([row.pairs for row in sorted(rows, key=SETTING)], nan=1.0))
        cliques = _find_maximal_cliques((p >= LEVEL).astype(int))
        wanted = {frozenset(clique) for clique in cliques if len(clique) > 1}
        assert {frozenset(rows[n].setting for n in bar) for bar in bars_of(rows)} == wanted


@pytest.mark.parametrize("settings", [2, 3, 8])
def test_so_many_sets_are_the_fewest_that_can_tell_settings_apart(settings: int) -> None:
    pairs = settings * (settings - 1) // 2
    least = fewest_sets(pairs)
    for sets, told in ((least - 1, False), (least, True)):
        p = wilcoxon(np.arange(1.0, sets + 1))  # better on each
        assert (p * pairs < LEVEL) == told
    assert fewest_sets(1) == 6


def test_bars_join_what_cannot_be_told_apart() -> None:
    # of a to e, by hand: a-b, b-c-d, and a-d although a and c can be told apart; e from all
    p = np.zeros((5, 5))
    for one, other in ("ab", "bc", "bd", "cd", "ad"):
        row, column = "abcde".index(one), "abcde".index(other)
        p[row, column] = p[column, row] = 0.5
    rows = over_sets(np.random.default_rng(0).random((9, 5)), higher_is_better=True)
    rows = sorted(rows, key=lambda row: row.setting)
    groups = bars_of([replace(row, pairs=p[row.setting].tolist()) for row in rows])
    assert ["".join("abcde"[n] for n in group) for group in groups] == ["abd", "bcd"]
    # Their places are those in the ranking, whatever the numbers of the settings.
    shuffled = [replace(row, pairs=p[row.setting].tolist()) for row in rows]
    order = [3, 0, 4, 2, 1]
    groups = bars_of([shuffled[setting] for setting in order])
    names = ["".join(sorted("abcde"[order[place]] for place in group)) for group in groups]
    assert sorted(names) == ["abd", "bcd"]
    few = np.array([[0.9, 0.8, 0.7]] * 5)  # too few sets to tell any apart
    assert bars_of(over_sets(few, higher_is_better=True)) == [[0, 1, 2]]


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
        pytest.param(48, 3, 8, POINTS, marks=pytest.mark.long),
        (48, 5, 5, 0.5 / 48),  # half a row
        pytest.param(370, 3, 8, 0.5 / 370, marks=pytest.mark.long),
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


def random_sets(count: int, missing: float) -> Iterator[list[OverSets]]:
    """Sweeps of settings that are all equal, over sets of different difficulty and size."""
    random = np.random.default_rng(0)
    for _ in range(count):
        sets, settings = int(random.integers(6, 26)), int(random.integers(2, 9))
        level, noise = random.uniform(0.5, 1, (sets, 1)), random.uniform(0.001, 0.1, (sets, 1))
        rows = random.integers(20, 1000, (sets, 1))
        scores = (level + noise * random.standard_normal((sets, settings))).clip(0, 1)
        scores = np.round(rows * scores) / rows
        scores[random.random(scores.shape) < missing] = math.nan
        scores = scores[~np.isnan(scores).all(1)]
        yield over_sets(scores, higher_is_better=True)


@pytest.mark.parametrize("missing", [0.0, 0.1])
@pytest.mark.parametrize("count", [40, pytest.param(2000, marks=pytest.mark.long)])
def test_equal_settings_are_called_different_over_data_sets_in_5_percent_at_most(
    count: int, missing: float
) -> None:
    wrong = sum(
        any(p < LEVEL for row in found for p in row.pairs) for found in random_sets(count, missing)
    )
    assert wrong <= count * LEVEL + 3 * math.sqrt(count * LEVEL * (1 - LEVEL))
    assert wrong or count < 2000  # the test can fail
