"""Comparing runs: the statistics against independent ones, and what is written."""

from __future__ import annotations

import csv
import json
import math
import re
import subprocess
from collections.abc import Sequence
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from scipy import stats

from seqmodels.compare.comparison import compare
from seqmodels.compare.figures import compared_curves, compared_runs
from seqmodels.compare.records import Record
from seqmodels.compare.settings import setting_name, short_keys, varied_columns, varied_keys
from seqmodels.compare.statistics import against_best, seeds_needed, smallest_step, summarize
from seqmodels.compare.tables import as_csv, as_markdown, overview, table
from seqmodels.compare.writing import write_comparison
from seqmodels.engine.metrics import METRICS, Metric, metric_named, show
from seqmodels.errors import UserError
from seqmodels.plain_values import flattened
from seqmodels.runs.environment import environment
from seqmodels.runs.report import metrics_table
from tests.compare.conftest import Runs, printed
from tests.conftest import Refused, Script, result_of

# ---------------------------------------------------------------- metrics


@pytest.mark.parametrize(
    ("name", "higher_is_better", "shown"),
    [
        ("test/accuracy", True, "25.00"),
        ("validation/macro_f1", True, "25.00"),
        ("test/r2", True, "0.2500"),
        ("test/loss", False, "0.2500"),
        ("test/rmse", False, "0.2500"),
    ],
)
def test_a_metric_has_a_direction_and_a_unit(name: str, higher_is_better: bool, shown: str) -> None:
    assert metric_named(name).higher_is_better == higher_is_better
    assert show(name, 0.25) == shown


def test_an_unknown_metric_is_asked_for_and_not_guessed() -> None:
    with pytest.raises(UserError) as error:
        metric_named("test/top_5_accuracy")  # a name that ends like a known one
    assert str(error.value) == (
        "unknown metric test/top_5_accuracy: did you mean accuracy? if not, add "
        'METRICS["top_5_accuracy"] = Metric(higher_is_better=...), with True or False, to the file '
        "of your task (from seqmodels.engine.metrics import METRICS, Metric)"
    )
    with pytest.raises(UserError, match=r"unknown metric zzz: to use it"):
        metric_named("zzz")


def test_a_task_adds_its_own_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METRICS, "lag", Metric(higher_is_better=False, unit="ms"))
    assert metric_named("test/lag") == Metric(False, "ms") and show("test/lag", 2.5) == "2.5000"


def test_the_table_of_a_run_shows_units_and_survives_unknown_metrics() -> None:
    metrics = {"validation/accuracy": 0.75, "test/accuracy": 0.25, "test/loss": 0.25}
    metrics["test/mine"] = 0.25
    baselines = {"validation/accuracy": {"majority": 0.5}, "test/accuracy": {"majority": 0.4}}
    console = Console(width=100)
    with console.capture() as capture:
        console.print(metrics_table(metrics, "a title", baselines))
    rows = re.findall(r"│ +(\S+) +│ *(\S.*?|) +│ +(\S.*?) +│", capture.get())
    assert rows == [
        ("accuracy", "75.00 %", "25.00 %"),
        ("majority", "50.00 %", "40.00 %"),
        ("loss", "", "0.2500"),
        ("mine", "", "0.2500"),
    ]


# ---------------------------------------------------------------- statistics


def test_a_summary_is_that_of_a_textbook() -> None:
    # Student 1908, the sleep data: extra hours with the second drug
    hours = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    summary = summarize(dict(enumerate(hours)))
    assert summary.mean == pytest.approx(2.33)
    assert summary.deviation == pytest.approx(2.002249, abs=1e-6)
    low, high = stats.t.interval(0.95, 9, loc=np.mean(hours), scale=stats.sem(hours))
    assert summary.interval == pytest.approx((high - low) / 2)
    single = summarize({3: 0.5})
    assert single.mean == 0.5
    assert math.isnan(single.deviation) and math.isnan(single.interval)
    two = summarize({0: 0.5, 1: 0.7})
    assert two.deviation == pytest.approx(0.141421, abs=1e-6) and math.isnan(two.interval)


def test_an_interval_is_not_narrower_than_rounding_makes_it() -> None:
    rows = 48
    same = summarize(dict.fromkeys(range(3), 0.75), step=1 / rows)
    assert same.deviation == 0
    exact = np.random.default_rng(0).uniform(-0.5, 0.5, 100_000) / rows  # what is rounded away
    assert same.interval == pytest.approx(stats.t.ppf(0.975, 2) * exact.std() / 3**0.5, rel=0.01)


def test_two_settings_are_compared_as_in_a_textbook() -> None:
    # the same data, both drugs: t = 4.0621, p = 0.002833
    first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    settings = [dict(enumerate(first)), dict(enumerate(second))]
    assert against_best(settings, higher_is_better=False)[0] is None
    found = against_best(settings, higher_is_better=True)
    assert found[1] is None and found[0] is not None
    assert found[0].mean == pytest.approx(-1.58) and found[0].shared == 10
    assert found[0].p == pytest.approx(0.002833, abs=1e-6) and found[0].significant
    assert found[0].seeds_needed is None


def holm(p_values: list[float], pairs: int) -> list[float]:
    """By hand: sorted, multiplied by what is left, made monotone."""
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, number in enumerate(np.argsort(p_values)):
        largest = max(largest, min(1.0, p_values[number] * (pairs - rank)))
        corrected[number] = largest
    return corrected


def test_p_values_equal_scipy_and_a_correction_by_hand() -> None:
    random = np.random.default_rng(0)
    means = [0.80, 0.82, 0.90, 0.70]
    scores = [mean + 0.05 * random.standard_normal(7) for mean in means]
    settings = [dict(enumerate(values)) for values in scores]
    best = 2
    others = [n for n in range(4) if n != best]
    raw = [float(stats.ttest_rel(scores[n], scores[best]).pvalue) for n in others]
    found = against_best(settings, higher_is_better=True)
    ours = [difference.p for n in others if (difference := found[n]) is not None]
    assert ours == pytest.approx(holm(raw, pairs=6))


def test_only_shared_seeds_are_paired() -> None:
    scores = {1: 1.5, 2: 3.0, 3: 0.5, 7: -5.0}
    settings = [{0: 1.0, 1: 2.0, 2: 4.0, 3: 1.0}, scores, {9: 0.1}]
    found = against_best(settings, higher_is_better=True)
    assert found[1] is not None and found[2] is not None
    assert found[1].shared == 3 and found[1].mean == pytest.approx(-2 / 3)
    raw = float(stats.ttest_1samp([-0.5, -1.0, -0.5], 0.0).pvalue)
    assert found[1].p == pytest.approx(3 * raw)
    assert found[2].shared == 0 and math.isnan(found[2].p)
    assert found[2].mean == pytest.approx(0.1 - 2)


@pytest.mark.parametrize(
    ("scores", "best", "p"),
    [
        ({0: 0.1, 1: 0.11, 3: 0.1}, {0: 0.9, 1: 0.91, 2: 0.9}, math.nan),  # two shared seeds
        (dict.fromkeys(range(4), 0.5), dict.fromkeys(range(4), 0.5), 1.0),
        (dict.fromkeys(range(4), 0.5), dict.fromkeys(range(4), 0.6), 0.0),
    ],
    ids=["two shared seeds", "all the same", "differences all the same"],
)
def test_no_seeds_are_said_to_help(
    scores: dict[int, float], best: dict[int, float], p: float
) -> None:
    _, found = against_best([best, scores], higher_is_better=True)
    assert found is not None and found.shared == len(scores.keys() & best.keys())
    assert found.p == pytest.approx(p, abs=0, nan_ok=True) and found.seeds_needed is None


@pytest.mark.parametrize(
    ("scores", "step"),
    [
        ([0.5, 0.5, 0.75], 0.25),
        ([0.7500001, 0.75, 0.5], 0.25),  # 32-bit numbers of one share
        ([0.5], 0.0),
        ([0.5, 0.5], 0.0),
        ([0.0, 0.0], 0.0),
        ([], 0.0),
    ],
)
def test_the_smallest_step(scores: list[float], step: float) -> None:
    assert smallest_step(scores) == pytest.approx(step, abs=1e-6)


@pytest.mark.parametrize("pairs", [1, 10, 28])
@pytest.mark.parametrize("effect", [0.2, 0.5, 1.0, 2.5])
def test_the_seeds_needed_have_the_power_that_is_promised(effect: float, pairs: int) -> None:
    deltas = np.array([effect - math.sqrt(0.5), effect + math.sqrt(0.5)])  # of deviation 1
    needed = seeds_needed(deltas, pairs)
    assert needed is not None

    def power(count: int) -> float:
        critical = stats.t.ppf(1 - 0.05 / pairs / 2, count - 1)
        return float(stats.nct.sf(critical, count - 1, effect * math.sqrt(count)))

    exact = next(count for count in range(3, 2000) if power(count) >= 0.8)
    assert abs(needed - exact) <= 1


def test_no_number_of_seeds_finds_nothing() -> None:
    assert seeds_needed(np.array([0.1, -0.1]), 1) is None
    assert seeds_needed(np.array([1e-9 + 1, 1e-9 - 1]), 1) is None


# ---------------------------------------------------------------- runs


def records(*configs: dict[str, Any]) -> list[Record]:
    return [
        Record.model_construct(seed=config.get("seed", 0), config=flattened(config))
        for config in configs
    ]


def test_what_varied_is_found() -> None:
    def varied(*configs: dict[str, Any]) -> list[str]:
        return varied_keys(varied_columns(records(*configs)))

    base = {"model": {"head": "a", "optimizer": {"lr": 0.1}}, "data": {"seed": 0}, "seed": 0}
    assert varied(base, base) == []
    other_seed = {**base, "seed": 1, "data": {"seed": 1}}
    assert varied(base, other_seed) == []
    other_head = {**base, "model": {"head": "b", "optimizer": {"lr": 0.1}}}
    assert varied(base, other_seed, other_head) == ["model.head"]
    both = {**base, "model": {"head": "b", "optimizer": {"lr": 0.2}}}
    assert varied(base, both) == ["model.head"]  # the rate follows from the head
    assert varied(base, other_head, both) == ["model.head", "model.optimizer.lr"]
    paths = [{**base, "folder": "a", "x": {"dirpath": "a/checkpoints"}}, {**base, "folder": "b"}]
    assert varied(*paths) == []
    options = [{**base, "options": {}}, {**base, "options": {"score": "dot"}}]
    assert varied(*options) == ["options.score"]
    assert varied({**base, "rate": 0.0}, {**base, "rate": 0}, {**base, "rate": 0.5}) == ["rate"]
    assert varied({**base, "rate": 0.0}, {**base, "rate": 0}) == []
    assert varied({**base, "a": 1}, {**base, "a": "1"}, {**base, "a": True}) == ["a"]
    lists = [{**base, "sizes": [1, 2]}, {**base, "sizes": [1, 3]}]
    assert varied(*lists) == ["sizes"]


VARY_TOO = "caution: these vary too: "


def test_keys_that_vary_together_are_all_named(runs: Runs) -> None:
    def add(lr: float, size: int) -> None:
        for seed in range(3):
            data, found = {"batch_size": size}, {"validation/accuracy": lr + seed / 100}
            rates = {"lr": lr, "max_lr": lr}
            runs.add("max_pool", seed, 0.9, optimizer=rates, data=data, metrics=found)

    add(0.01, 16)
    add(0.1, 32)
    comparison = runs.compare()
    assert comparison.ranking() == (
        "Ranked by the validation split: choose batch_size, lr and max_lr by it, then report the "
        "test split."
    )
    for text in runs.texts(comparison):
        assert f"{VARY_TOO}lr and max_lr\n" in text
    add(0.01, 32)  # the other half of the square tells them apart
    add(0.1, 16)
    comparison = runs.compare()
    assert comparison.keys == ["data.batch_size", "optimizer.lr"]
    for text in runs.texts(comparison):
        assert f"{VARY_TOO}max_lr\n" in text


def test_a_head_with_a_learning_rate_of_its_own_is_ranked_by_validation(runs: Runs) -> None:
    for head, lr in (("max_pool", 0.1), ("mean_pool", 0.2)):
        runs.add(head, optimizer={"lr": lr}, metrics={"validation/accuracy": 0.5})
    comparison = runs.compare()
    assert comparison.metric == "validation/accuracy"
    assert VARY_TOO + "lr\n" in as_markdown(comparison)


def test_what_varies_with_the_data_is_no_caution(runs: Runs) -> None:
    for data, size in (("x", 1), ("y", 2)):
        for head in ("max_pool", "mean_pool"):
            inside = {"file": data, "size": size}
            runs.add(head, fingerprint=data, data=inside, epochs=size)
    comparison = runs.compare(different_data=True)
    assert comparison.metric == "test/accuracy" and comparison.grouping.also == []
    assert VARY_TOO not in as_markdown(comparison)


def test_very_many_keys_that_vary_together_are_counted(runs: Runs) -> None:
    for head, number in (("max_pool", 1), ("mean_pool", 2)):
        runs.add(head, **{f"key{n}": number for n in range(20)})
    [line] = [line for line in as_markdown(runs.compare()).splitlines() if VARY_TOO in line]
    assert line == f"- {VARY_TOO}key0, key1, key2, key3, key4, key5 and 14 more"


CANNOT_TELL = "These runs cannot tell max_pool, which has the best mean, from "
SHARE = "run every setting with the same seeds, 3 or more, such as seed=0,1,2."
ONE_MORE = "last_hidden. About 1 more seed might separate max_pool from last_hidden."
LOW, HIGH = [0.50, 0.51, 0.52] * 2, [0.90, 0.91] * 3


@pytest.mark.parametrize(
    ("scores", "rows", "verdict"),
    [
        pytest.param(
            {"max_pool": [0.5]},
            None,
            "There is only one setting, all runs: nothing to compare it with.",
            id="a single setting",
        ),
        pytest.param(
            {"max_pool": HIGH, "last_hidden": LOW},
            None,
            "max_pool is better than all others (p < ...",
            id="a clear winner",
        ),
        pytest.param(
            {"max_pool": [0.70, 0.71] * 2 + [0.95] * 8, "mean_pool": [0.80, 0.81, 0.82, 0.80]},
            None,
            f"{CANNOT_TELL}mean_pool. On the seeds that both have, mean_pool did better: {SHARE}",
            id="seeds of its own do not make a setting better",
        ),
        pytest.param(
            {"max_pool": HIGH, "last_hidden": LOW, "mean_pool": [math.nan] * 10 + [0.8] * 6},
            None,
            f"{CANNOT_TELL}mean_pool. Fewer than 3 seeds are shared with mean_pool: {SHARE}",
            id="no shared seeds",
        ),
        pytest.param(
            {"max_pool": [47 / 48] * 3, "last_hidden": [46 / 48] * 3},
            48,
            CANNOT_TELL + ONE_MORE,
            id="one row at every seed is no difference",
        ),
        pytest.param(
            {"max_pool": [1.0] * 3, "last_hidden": [0.5] * 3},
            48,
            "max_pool is better than all others (p < ...",
            id="many rows at every seed are a difference",
        ),
    ],
)
def test_the_verdict(
    runs: Runs, scores: dict[str, list[float]], rows: int | None, verdict: str
) -> None:
    sizes = {"examples": {"test": rows}} if rows else {}
    for head, accuracies in scores.items():
        for seed, accuracy in enumerate(accuracies):
            if not math.isnan(accuracy):
                runs.add(head, seed, accuracy, result=sizes)
    said = runs.section().verdict()
    assert said == verdict or (
        verdict.endswith("...") and said.startswith(verdict.removesuffix("..."))
    )


def test_a_setting_that_lacks_a_data_set_is_not_the_best_overall(runs: Runs) -> None:
    for data, accuracy in (("easy", 0.9), ("hard", 0.5)):
        named: Any = {"fingerprint": data, "data": {"file": data}}
        runs.add("max_pool", 0, accuracy, **named)
        if data == "easy":
            runs.add("mean_pool", 0, accuracy - 0.1, **named)
    comparison = runs.compare(different_data=True)
    assert overview(comparison)[0][1:] == ["max_pool", "mean_pool"]


def test_settings_are_compared(sweep: Runs) -> None:
    comparison = sweep.compare()
    assert comparison.metric == "test/accuracy" and comparison.keys == ["model.head"]
    [section] = comparison.sections
    assert [setting.values for setting in section.settings] == [
        ("max_pool",),
        ("mean_pool",),
        ("last_hidden",),
    ]
    best, near, far = section.settings
    assert best.difference is None
    assert near.difference is not None and not near.difference.significant
    assert far.difference is not None and far.difference.significant
    assert far.difference.mean == pytest.approx(-0.21, abs=0.02)
    verdict = section.verdict()
    assert verdict.startswith(
        "These runs cannot tell max_pool, which has the best mean, from mean_pool. About "
    )
    assert verdict.endswith(" more seeds might separate max_pool from mean_pool.")
    assert near.difference.seeds_needed is not None
    assert f"About {near.difference.seeds_needed - 5} more seeds" in verdict
    assert "last_hidden" not in verdict
    assert as_csv(comparison).splitlines()[1].endswith(",1234,1000.0,2.5")


@pytest.mark.parametrize(
    ("metric", "said", "best", "shown"),
    [
        ("test/loss", {}, "c", "0.1000"),
        ("test/f1", {}, "a", "90.00"),
        # what a run says of a known metric is ignored
        ("test/accuracy", {"accuracy": False}, "a", "90.00"),
        ("test/mine", {"mine": True}, "a", "0.9000"),
        ("test/mine", {"mine": False}, "c", "0.1000"),
    ],
)
def test_the_direction_of_a_metric_is_ours_or_that_of_its_runs(
    runs: Runs, metric: str, said: dict[str, bool], best: str, shown: str
) -> None:
    for head, value in (("b", 0.5), ("a", 0.9), ("c", 0.1)):
        runs.add(head, metrics={metric: value}, result={"higher_is_better": said})
    comparison = runs.compare(metric)
    [section] = comparison.sections
    names = [str(setting.values[0]) for setting in section.settings]
    assert names == sorted("abc", reverse=best == "c")
    assert f"| {best} | 1 | {shown} |" in as_markdown(comparison)


def test_a_metric_without_a_direction_is_refused(runs: Runs) -> None:
    runs.add("max_pool", 0, metrics={"test/mine": 1.0})
    with pytest.raises(UserError, match=r'unknown metric test/mine.*METRICS\["mine"\]'):
        runs.compare("test/mine")
    for seed, higher_is_better in enumerate((True, False)):
        runs.add("max_pool", seed, result={"higher_is_better": {"mine": higher_is_better}})
    with pytest.raises(UserError, match="metric=test/mine: some of these runs say that higher is"):
        runs.compare("test/mine")


def test_the_pair_that_needs_the_fewest_seeds_is_named(runs: Runs) -> None:
    noise = [0.0, 0.02, -0.02, 0.03, -0.03]
    for head, mean in (("best", 0.9), ("close", 0.895), ("nearly_worse", 0.87)):
        for seed, luck in enumerate(noise):
            runs.add(head, seed, mean + (luck if head == "best" else -luck))
    section = runs.section()
    needed = {s.name: s.difference.seeds_needed for s in section.settings[1:] if s.difference}
    assert needed["nearly_worse"] < needed["close"]  # fewer seeds for a larger difference
    assert section.verdict() == (
        "These runs cannot tell best, which has the best mean, from close, nearly_worse. About "
        f"{needed['nearly_worse'] - 5} more seeds might separate best from nearly_worse."
    )


def test_one_seed_allows_no_test(runs: Runs) -> None:
    runs.add("max_pool", 0, 0.9)
    runs.add("last_hidden", 0, 0.5)
    comparison = runs.compare()
    assert comparison.sections[0].verdict() == (
        "max_pool has the best mean, but fewer than 3 shared seeds allow no verdict: run every "
        "setting with the same seeds, 3 or more, such as seed=0,1,2."
    )
    assert "| last_hidden | 1 | 50.00 | - | - | -40.00 | - |" in as_markdown(comparison)


def test_two_seeds_allow_no_verdict_anywhere(runs: Runs) -> None:
    for seed in (0, 1):
        runs.add("max_pool", seed, 0.9 + seed / 10)
        runs.add("last_hidden", seed, 0.5)
    comparison = runs.compare()
    for text in runs.texts(comparison):
        assert "fewer than 3 shared seeds allow no verdict: run every setting" in text
        assert "better than all" not in text
    rows = table(comparison, comparison.sections[0])
    assert rows[1][:7] == ["max_pool", "2", "95.00", "7.07", "-", "", ""]
    assert rows[2][:7] == ["last_hidden", "2", "50.00", "0.00", "-", "-45.00", "-"]


# ---------------------------------------------------------------- which split ranks


VALIDATED = {"metrics": {"validation/accuracy": 0.5}}


@pytest.mark.parametrize(
    "configs",
    [
        [{"head": "max_pool", **VALIDATED}, {"head": "mean_pool", **VALIDATED}],
        [  # data sets are not tuned
            {"head": head, "fingerprint": data, "data": {"file": data}, **VALIDATED}
            for head in ("max_pool", "mean_pool")
            for data in ("x", "y")
        ],
        [{"head": "max_pool", "optimizer": {"lr": lr}} for lr in (0.01, 0.1)],
    ],
    ids=["only the head varies", "the data vary", "there is no validation"],
)
def test_where_nothing_is_tuned_the_test_split_ranks(
    runs: Runs, configs: list[dict[str, Any]]
) -> None:
    for config in configs:
        runs.add(**config)
    comparison = runs.compare(different_data=True)
    assert comparison.metric == "test/accuracy" and comparison.beside is None
    assert comparison.ranking() == "Ranked by the test split."


def test_what_is_tuned_is_ranked_by_validation_with_test_beside_it(runs: Runs) -> None:
    for seed in range(3):
        for lr, validation in ((0.01, 0.7), (0.1, 0.9)):
            found = {"validation/accuracy": validation + seed / 100}
            runs.add("max_pool", seed, 0.95 - lr, optimizer={"lr": lr}, metrics=found)
    comparison = runs.compare()
    [section] = comparison.sections
    assert comparison.metric == "validation/accuracy" and comparison.beside == "test/accuracy"
    assert [s.name for s in section.settings] == ["lr=0.1", "lr=0.01"]
    sentence = "Ranked by the validation split: choose lr by it, then report the test split."
    header, best, _ = table(comparison, section)
    shown = dict(zip(header, best, strict=True))
    assert shown["validation/accuracy, %"] == "91.00" and shown["test/accuracy, %"] == "85.00"
    for text in runs.texts(comparison):
        assert sentence in text
    [row, _] = csv.DictReader(as_csv(comparison).splitlines())
    assert float(row["mean"]) == pytest.approx(0.91) and float(row["test/accuracy"]) == 0.85

    by_test = runs.compare("test/accuracy")
    assert by_test.ranking() == (
        "Ranked by the test split. To choose lr, use metric=validation/accuracy."
    )
    assert [s.name for s in by_test.sections[0].settings] == ["lr=0.01", "lr=0.1"]


def test_several_folders_and_globs_and_failed_runs(runs: Runs) -> None:
    for seed in range(3):
        runs.add("max_pool", seed, 0.8, folder="one")
        runs.add("mean_pool", seed, 0.7, folder="two")
    runs.add("mean_pool", 3, status="failed", folder="two")
    runs.add("mean_pool", 4, status="interrupted", folder="two")
    by_glob = compare([str(runs.folder / "*")])
    by_name = compare([str(runs.folder / name) for name in ("one", "two", "two")])
    assert as_csv(by_glob) == as_csv(by_name)
    assert [record.status for record in by_glob.failed] == ["failed", "interrupted"]
    assert "- failed: " in as_markdown(by_glob) and "ValueError: no luck" in as_markdown(by_glob)


def test_a_run_without_the_metric_is_left_out_and_said(runs: Runs) -> None:
    for seed in range(3):
        runs.add("max_pool", seed, 0.8, metrics={"test/f1": 0.7})
        runs.add("mean_pool", seed, 0.7)
    runs.add("max_pool", 3, metrics={"test/f1": math.nan})
    comparison = runs.compare("test/f1")
    [setting] = comparison.sections[0].settings
    assert [*setting.scores.values()] == [0.7] * 3 and len(comparison.left_out) == 4
    [line] = [line for line in as_markdown(comparison).splitlines() if "left out" in line]
    assert line.startswith("- left out, because test/f1 is missing or not finite: ")
    assert "1_mean_pool_seed0, " in line and line.endswith("6_max_pool_seed3")


def test_the_same_run_twice_counts_once(runs: Runs) -> None:
    for seed in (0, 1, 1):
        runs.add("max_pool", seed, 0.8 + 0.1 * seed)
    section = runs.section()
    assert [*section.settings[0].scores.values()] == [0.8, pytest.approx(0.9)]


def test_different_data_are_refused_unless_told(runs: Runs) -> None:
    for seed in range(3):
        for length in (50, 100):
            for head, accuracy in (("max_pool", 0.9), ("mean_pool", 0.8)):
                runs.add(
                    head,
                    seed,
                    accuracy - length / 1000,
                    fingerprint=f"{length}-{seed}",
                    data={"length": length, "seed": seed},
                )
    with pytest.raises(UserError, match="saw different data .* different_data=true"):
        runs.compare()
    comparison = runs.compare(different_data=True)
    assert list(comparison.keys) == ["model.head"]
    assert list(comparison.grouping.data_keys) == ["data.length"]
    assert [section.data for section in comparison.sections] == [
        "Vowels, length=50",
        "Vowels, length=100",
    ]
    for section in comparison.sections:  # each with those that saw the same
        assert [setting.values[0] for setting in section.settings] == ["max_pool", "mean_pool"]
        assert [setting.difference is None for setting in section.settings] == [True, False]
    # and all of them at a glance
    rows = [
        ["test/accuracy, %", "max_pool", "mean_pool"],
        ["Vowels, length=50", "85.00", "75.00"],
        ["Vowels, length=100", "80.00", "70.00"],
    ]
    assert overview(comparison) == rows
    assert "| Vowels, length=50 | 85.00 | 75.00 |" in as_markdown(comparison)
    table = list(csv.DictReader(as_csv(comparison).splitlines()))
    assert [(r["data.length"], r["model.head"]) for r in table[::2]] == [
        ("50", "max_pool"),
        ("100", "max_pool"),
    ]


def test_what_else_differs_is_said(runs: Runs) -> None:
    for seed, threads in enumerate((2, 1, 1)):
        folder = runs.add("max_pool", seed)
        surroundings = {"threads": threads, "device": "cpu", "git": None}
        (folder / "environment.json").write_text(json.dumps(surroundings))
    comparison = runs.compare()
    assert list(comparison.others) == ["threads (1, 2)"]
    assert "- caution: the runs also differ in threads (1, 2)\n" in as_markdown(comparison)


def test_runs_of_other_commits_are_told(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run([*git, "init"], check=True)
    commits = []
    for seed in range(2):
        subprocess.run([*git, "commit", "--allow-empty", "-m", str(seed)], check=True)
        found = environment("cpu")  # as a run records it
        commits.append(found["git"]["project"]["commit"][:8])
        (runs.add("max_pool", seed) / "environment.json").write_text(json.dumps(found))
    [line] = runs.compare().others
    assert line == f"commits of your project ({', '.join(sorted(commits))})"


def test_the_same_data_in_other_batches_are_the_same(runs: Runs) -> None:
    for seed in range(3):
        for size in (8, 16):
            runs.add("max_pool", seed, 0.8 + size / 100, data={"batch_size": size, "seed": seed})
    comparison = runs.compare()
    [section] = comparison.sections
    assert list(comparison.keys) == ["data.batch_size"] and overview(comparison) == []
    assert [setting.values for setting in section.settings] == [(16,), (8,)]


def test_settings_of_other_seeds_join_those_of_the_same_data(runs: Runs) -> None:
    for seed, head, data in ((0, "a", "x"), (0, "b", "y"), (1, "c", "x"), (2, "d", "z")):
        runs.add(head, seed, fingerprint=data)
    comparison = runs.compare(different_data=True)
    found = [[s.values[0] for s in section.settings] for section in comparison.sections]
    assert found == [["a", "c"], ["b"], ["d"]]
    assert [s.data for s in comparison.sections] == ["Vowels, x", "Vowels, y", "Vowels, z"]


@pytest.mark.parametrize("names", [*permutations("xyz")], ids="".join)
def test_settings_belong_together_in_any_order_of_folders(
    runs: Runs, tmp_path: Path, names: Sequence[str]
) -> None:
    # b shares no seed with a, and so no data, but each shares one with c
    for folder, head, seeds in zip(names, "abc", ((0, 1), (2, 3), (0, 2))):
        for seed in seeds:
            runs.add(head, seed, folder=folder, fingerprint=f"split {seed}")  # all as good
        runs.add(head, 4, folder=folder, status="failed")
    files = []
    for order in permutations(runs.folder / name for name in names):
        comparison = compare([str(folder) for folder in order])
        [section] = comparison.sections
        assert {setting.values[0] for setting in section.settings} == {*"abc"}
        paths = write_comparison(comparison, tmp_path / "written")
        files.append([path.read_bytes() for path in paths])
    assert all(each == files[0] for each in files)


def test_runs_on_other_data_make_no_pair(runs: Runs) -> None:
    # by way of b's seeds, all are one section; a and c share seeds, but no data
    for head, data in (("a", "x x x"), ("b", "x x y"), ("c", "y y y")):
        for seed, fingerprint in enumerate(data.split()):
            runs.add(head, seed, 0.5 + seed / 10 + ord(head) / 1000, fingerprint=fingerprint)
    [section] = runs.compare(different_data=True).sections
    shared = {s.name: s.difference and s.difference.shared for s in section.settings}
    assert shared == {"c": None, "b": 1, "a": 0}


@pytest.mark.parametrize(
    ("made", "metric", "message"),
    [
        (None, None, "no run there"),
        ({}, "test/acuracy", "did you mean test/accuracy"),
        ({"status": "failed", "metrics": {}}, None, "none .* completed"),
        (
            {"metrics": {"test/accuracy": math.inf}},
            None,
            "metric=test/accuracy is not a finite number in any of these runs",
        ),
    ],
)
def test_mistakes_are_one_line(
    runs: Runs, made: dict[str, Any] | None, metric: str | None, message: str
) -> None:
    if made is not None:
        runs.add("max_pool", **made)
    with pytest.raises(UserError, match=message):
        runs.compare(metric)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "is not the result of a run"),
        ("{", "is not JSON"),
    ],
)
def test_a_broken_result_is_named(runs: Runs, text: str, message: str) -> None:
    (runs.folder / "result.json").write_text(text)
    with pytest.raises(UserError, match=f"result.json {message}"):
        runs.compare()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"status": None}, "of a run$"),
        ({"seed": "one"}, "of a run$"),
        ({"config": []}, "of a run$"),
        ({"fingerprint": None}, "of this version: fingerprint is None"),
        ({"parameters": "many"}, "of this version: parameters is 'many'"),
        ({"seconds": {"fit": "long"}}, "of this version: seconds.fit is 'long'"),
        ({"seconds": 1.5}, "of this version: seconds is 1.5"),
        ({"tokens_per_second": "fast"}, "of this version: tokens_per_second is 'fast'"),
        ({"metrics": {"test/loss": "low"}}, "of this version: metrics.test/loss is 'low'"),
        ({"higher_is_better": {"mine": "false"}}, "version: higher_is_better.mine is 'false'"),
        ({"examples": {"test": 1.5}}, "version: examples.test is 1.5"),
    ],
    ids=lambda value: str(next(iter(value))) if isinstance(value, dict) else None,
)
def test_a_result_of_another_kind_is_named(
    runs: Runs, change: dict[str, Any], message: str
) -> None:
    file = runs.add("max_pool", 0) / "result.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(UserError, match=f"result.json is not the result .*{message}"):
        runs.compare()


def test_a_run_that_failed_before_it_began_is_listed(runs: Runs) -> None:
    runs.add("max_pool", 0)
    folder = runs.add("mean_pool", 1, status="failed")
    result = result_of(folder)
    kept = {name: result[name] for name in ("status", "error", "head", "seed", "config")}
    (folder / "result.json").write_text(json.dumps({**kept, "metrics": {}}))
    comparison = runs.compare()
    assert f"- failed: {folder} (ValueError: no luck)" in as_markdown(comparison)


# ---------------------------------------------------------------- what is written


def test_all_tables_say_the_same(sweep: Runs) -> None:
    comparison = sweep.compare()
    assert as_csv(comparison).splitlines()[0] == (
        "data,model.head,runs,metric,mean,deviation,interval,difference_to_best,shared_seeds,p,"
        "seeds_needed,parameters,per_second,seconds"
    )
    assert as_markdown(comparison).splitlines()[4] == (
        "| head | runs | test/accuracy, % | sd | ± 95 % | to best | p | parameters | examples/s | "
        "time, s |"
    )
    rows = list(csv.DictReader(as_csv(comparison).splitlines()))
    for row in rows:
        mean = f"{100 * float(row['mean']):.2f}"
        for text in (as_markdown(comparison), printed(comparison)):
            lines = [line for line in text.splitlines() if "cannot" not in line]
            [line] = [each for each in lines if re.search(rf"\b{row['model.head']} .*\d", each)]
            assert mean in line and "1,234" in line
    assert rows[0]["p"] == "" and float(rows[2]["p"]) < 0.05
    assert all(
        line.count("|") == 11 for line in as_markdown(comparison).splitlines() if "|" in line
    )


def test_the_table_fits_an_ordinary_terminal(runs: Runs) -> None:
    for seed in range(3):
        sizes = {"examples": {"test": 10_000}}
        runs.add("bidirectional_concat", seed, 0.9 + seed / 100, result=sizes)
        runs.add("max_attention_pool", seed, 0.1, result=sizes)
    lines = printed(runs.compare(), width=80).splitlines()
    assert any(re.search(r"bidirectional_concat +3 +91.00 1.00 2.48 ", line) for line in lines)
    assert any(
        re.search(r"max_attention_pool .* -81.00 +<0.001 +1,234 +1,000 +2.5", li) for li in lines
    )
    assert not any("…" in line for line in lines)


def test_a_narrow_terminal_drops_the_costs_before_it_breaks_names(runs: Runs) -> None:
    for seed in range(3):
        for head, lr in product(("max_attention_pool", "mean_pool"), (0.01, 0.1)):
            found = {"validation/accuracy": 0.8 + seed / 100 + lr}
            runs.add(head, seed, 0.9 - lr, optimizer={"lr": lr}, metrics=found)
    shown = {width: printed(runs.compare(), width) for width in (80, 120)}
    for width in shown:
        assert re.search(r"max_attention_pool +0.1 +3 +91.00 .* 80.00", shown[width])
    assert "1,234" in shown[120] and "1,234" not in shown[80]


def test_a_setting_is_named_by_keys_and_values() -> None:
    keys = ["model.head", "model.encoder.hidden_size", "model.optimizer.lr"]
    assert setting_name(keys, ["max_pool", 64, 0.01]) == "max_pool, hidden_size=64, lr=0.01"
    assert setting_name(["model.scheduler"], [None]) == "scheduler=null"
    assert setting_name([], []) == "all runs"
    alike = ["model.dropout", "model.encoder.dropout", "data.dropout", "seeds"]
    assert short_keys(alike) == ["model.dropout", "encoder.dropout", "data.dropout", "seeds"]
    assert short_keys(["a.b", "c.a.b"]) == ["a.b", "c.a.b"]


def test_tables_name_what_varied(runs: Runs) -> None:
    for seed in range(3):
        for lr in (0.01, 0.1):
            accuracy = 0.9 - lr + seed / 1000
            runs.add("max_pool", seed, accuracy, optimizer={"lr": lr, "decay": None})
    section = runs.section()
    assert [setting.name for setting in section.settings] == ["lr=0.01", "lr=0.1"]
    assert section.verdict().startswith("lr=0.01 is better than all others")


def test_what_people_call_runs_makes_no_setting(runs: Runs) -> None:
    for seed in range(2):
        runs.add("max_pool", seed, 0.9, tags=["wide", f"try{seed}"], paths={"runs": f"disk{seed}"})
        runs.add("mean_pool", seed, 0.8, task_name="mine" if seed else None, logger={})
    runs.add("max_pool", 2, 0.9, logger={"wandb": {"project": "x"}})
    comparison = runs.compare()
    assert comparison.keys == ["model.head"] and len(comparison.settings) == 2
    assert VARY_TOO not in as_markdown(comparison)


def test_a_whole_number_is_the_same_setting_as_its_float(runs: Runs) -> None:
    for seed, (dropout, accuracy) in enumerate(((0.0, 0.7), (0, 0.8), (0.5, 0.9))):
        runs.add("max_pool", seed, accuracy, more={"dropout": dropout})
    section = runs.section()
    assert [len(setting.records) for setting in section.settings] == [1, 2]


def test_names_with_commas_are_told_apart(runs: Runs) -> None:
    for head in ("max_pool", "mean_pool"):
        for size in (8, 16):
            for seed in range(3):
                runs.add(head, seed, 0.5 + seed * size % 3 / 10, more={"size": size})
    section = runs.section()
    names = [setting.name for setting in section.settings]
    assert sorted(names) == [f"{h}, size={n}" for h in ("max_pool", "mean_pool") for n in (16, 8)]
    assert f"from {'; '.join(names[1:])}." in section.verdict()


# ---------------------------------------------------------------- figures


def points(axes: Axes) -> np.ndarray:
    """Everything that is drawn by a horizontal place: dots, means, caps."""
    return np.concatenate([np.atleast_1d(line.get_xdata()) for line in axes.lines])


@pytest.mark.parametrize("metric", ["test/accuracy", "test/loss"])
def test_intervals_end_inside_the_axes_with_caps(runs: Runs, metric: str) -> None:
    for seed, (high, low) in enumerate([(0.99, 0.1), (0.9, 0.02), (1.0, 0.0)]):
        runs.add("max_pool", seed, high)
        runs.add("mean_pool", seed, low)
    figure = compared_runs(runs.compare(metric))
    [axes] = figure.axes
    left, right = axes.get_xlim()
    drawn = points(axes)
    assert left < drawn.min() and drawn.max() < right
    caps = [line for line in axes.lines if line.get_marker() == 2 or line.get_marker() == "|"]
    assert len(caps) >= 4  # two for each setting
    if metric == "test/accuracy":  # no accuracy is below 0 or above 100 %
        assert drawn.min() >= 0 and drawn.max() <= 100


def drawn(figure: Figure) -> list[list[tuple[str, str]]]:
    """The colour and the line of everything in each of the axes."""
    lines = [axes.lines for axes in figure.axes]
    return [[(str(li.get_color()), str(li.get_linestyle())) for li in each] for each in lines]


def test_a_setting_has_one_colour_in_both_figures_and_on_any_data(runs: Runs) -> None:
    places = {"max_pool": (0, 1, 2), "mean_pool": (1, 2, 0), "last_hidden": (2, 0, 1)}
    for head, best in places.items():
        for data, place in zip("xyz", best):
            runs.add(head, 0, 0.9 - place / 10, fingerprint=data, data={"file": data})
    for metric in ("test/accuracy", "test/loss"):
        comparison = runs.compare(metric, different_data=True)
        dots, curves = drawn(compared_runs(comparison)), drawn(compared_curves(comparison))
        wanted = [
            [f"C{sorted(places).index(s.name)}" for s in each.settings]
            for each in comparison.sections
        ]
        assert len({*map(tuple, wanted)}) == 3
        assert [[colour for colour, _ in axes] for axes in curves] == wanted
        assert [list(dict.fromkeys(colour for colour, _ in axes)) for axes in dots] == wanted


def test_curves_of_many_settings_are_told_apart(runs: Runs) -> None:
    for size in range(14):  # more than there are colours
        runs.add("max_pool", 0, 0.9 - size / 100, more={"size": size})
    [lines] = drawn(compared_curves(runs.compare()))
    assert len({*lines}) == len(lines) == 12


def test_epochs_are_whole_and_count_as_in_metrics_csv(runs: Runs) -> None:
    folder = runs.add("max_pool", 0)
    [axes] = compared_curves(compare([str(folder)])).axes
    assert axes.get_xlabel() == "epoch" and points(axes).tolist() == [0, 1, 2, 3]
    for epochs in (1, 2, 4):
        lines = "".join(f"{e},{e},0.5\n" for e in range(epochs))
        (folder / "metrics.csv").write_text(f"epoch,step,validation/loss\n{lines}")
        [axes] = compared_curves(compare([str(folder)])).axes
        ticks = axes.get_xticks()
        assert len(ticks) and all(tick == round(tick) for tick in ticks)


def test_several_validations_in_an_epoch_are_drawn_by_step(runs: Runs) -> None:
    folder = runs.add("max_pool", 0)
    (folder / "metrics.csv").write_text("epoch,step,validation/loss\n0,50,2.0\n0,100,1.0\n")
    [axes] = compared_curves(compare([str(folder)])).axes
    assert axes.get_xlabel() == "step" and points(axes).tolist() == [50, 100]


@pytest.mark.pictures
def test_a_name_of_a_head_is_no_formula(runs: Runs) -> None:
    for head in ("a$b$", "$\\frac{$", "x" * 120):
        runs.add(head, 0)
    comparison = runs.compare()
    for figure in (compared_runs(comparison), compared_curves(comparison)):
        figure.savefig(runs.folder / "figure.png")


# ---------------------------------------------------------------- the files


FILES = ("csv", "md", "png", "curves.png")


def test_another_metric_leaves_the_files_of_the_sweep(sweep: Runs) -> None:
    folder = sweep.folder
    write_comparison(sweep.compare(), folder)
    own = {path.name: path.read_bytes() for path in folder.glob("comparison.*")}
    assert set(own) == {f"comparison.{kind}" for kind in FILES}
    paths = write_comparison(sweep.compare("test/loss"), folder)
    assert {path.name: path.read_bytes() for path in folder.glob("comparison.*")} == own
    assert [path.name for path in paths] == [f"comparison_test_loss.{kind}" for kind in FILES]
    assert "test/loss" in paths[0].read_text()
    again = write_comparison(sweep.compare(), folder)  # the same metric replaces them
    assert {path.name for path in again} == set(own)


@pytest.mark.parametrize("content", ["mine\n", "", "a" * 200_000 + "\n1\n", "\xff,\n\x80"])
def test_a_table_of_yours_is_not_replaced(sweep: Runs, content: str) -> None:
    yours = sweep.folder / "comparison.csv"
    yours.write_text(content, encoding="latin-1")
    assert yours not in write_comparison(sweep.compare(), sweep.folder)
    assert yours.read_text(encoding="latin-1") == content


@pytest.mark.pictures
@pytest.mark.parametrize("metric", ["test/accuracy", "test/loss"])
def test_the_markdown_shows_the_pictures_beside_it(sweep: Runs, metric: str) -> None:
    write_comparison(sweep.compare(), sweep.folder)
    _, markdown, *pictures = write_comparison(sweep.compare(metric), sweep.folder)
    shown = re.findall(r"^!\[[^]]+\]\((.+)\)$", markdown.read_text(), flags=re.MULTILINE)
    assert [sweep.folder / name for name in shown] == pictures
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)


def test_a_resumed_run_does_not_look_cheap(runs: Runs) -> None:
    # its seconds are those since it was resumed
    runs.add("max_pool", 0, 0.7, result={"seconds": {"fit": 0.1}, "resumed": [{}]})
    runs.add("mean_pool", 0, 0.9, result={"seconds": {"fit": 9.0}})
    comparison = runs.compare()
    _, other, resumed = table(comparison, comparison.sections[0])
    assert other[-1] == "9.0" and resumed[0] == "max_pool" and resumed[-1] == "-"


@pytest.mark.parametrize(
    ("tokens", "header"),
    [((5.0, 7.0), "tokens/s"), ((5.0, None), "/s"), ((None, None), "examples/s")],
)
def test_the_speed_says_what_it_counts(
    runs: Runs, tokens: tuple[float | None, float | None], header: str
) -> None:
    for head, speed in zip(("max_pool", "mean_pool"), tokens):
        result = {"tokens_per_second": speed, "examples_per_second": None} if speed else {}
        runs.add(head, 0, result=result)
    comparison = runs.compare()
    headers, *rows = table(comparison, comparison.sections[0])
    assert headers[-2] == header
    assert [row[-2] for row in rows] == [f"{each or 1000:,.0f}" for each in tokens]


@pytest.mark.slow
def test_a_sweep_of_real_runs_is_compared(script: Script, refused: Refused, tmp_path: Path) -> None:
    script(
        "train.py",
        "-m",
        "model.head=last_hidden,max_pool",
        "seed=0,1",
        "model.encoder.hidden_size=8",
        "trainer=cpu",
        "trainer.max_epochs=1",
        "baseline=false",
    )
    [sweep] = (tmp_path / "runs").iterdir()
    compared = script("compare.py", str(sweep))
    assert re.search(r"head +runs +% ", compared.stdout)
    assert re.search(r"max_pool +2 +\d", compared.stdout)
    assert (sweep / "comparison.curves.png").is_file()
    elsewhere = script("compare.py", str(sweep), "metric=test/macro_f1", "output=here")
    assert "macro_" in elsewhere.stdout and (tmp_path / "here" / "comparison.md").is_file()
    assert "name the folders to compare" in refused("compare.py")
