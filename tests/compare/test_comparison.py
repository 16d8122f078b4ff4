"""Comparing runs: which are compared with which, and what is said and written of it."""

from __future__ import annotations

import csv
import json
import math
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from rich.console import Console
from scipy import stats
from sklearn.model_selection import StratifiedKFold

from seqmodels.compare.comparison import Comparison, compare
from seqmodels.compare.runs import Record, varied_columns, varied_keys
from seqmodels.compare.statistics import over_sets, smallest_step, summarize
from seqmodels.compare.tables import (
    OVER_SETS,
    as_csv,
    as_markdown,
    comparison_table,
    table,
)
from seqmodels.compare.writing import critical_differences, scores_by_set, write_comparison
from seqmodels.errors import UserError
from seqmodels.plain_values import change as change_keys
from seqmodels.plain_values import flattened
from seqmodels.runs.report import metrics_table
from tests.conftest import Refused, Script, result_of

RESULT_KEYS = [
    *("status", "data", "fingerprint", "head", "seed", "metric", "metrics", "parameters", "error"),
    *("metrics.test/accuracy", "seconds", "seconds.fit", "examples", "examples.train", "device"),
    *("config", "config.data", "config.data.folds", "config.data.fold", "config.model.head"),
    *("config.folder", "higher_is_better", "resumed", "examples_per_second", "baselines"),
]


class Runs:
    """Folders of made-up runs, and what `compare` makes of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(
        self,
        head: str = "max_pool",
        seed: int = 0,
        accuracy: float = 0.5,
        *,
        folder: str = "sweep",
        metrics: dict[str, float] | None = None,
        config: dict[str, Any] | None = None,
        **result: Any,
    ) -> Path:
        """The folder of a run; `metrics`, `config` and `result` come on top of the usual ones."""
        number = len(list(self.folder.rglob("result.json")))
        path = self.folder / folder / f"{number}_{head}_seed{seed}"
        path.mkdir(parents=True)
        usual = {
            "seed": seed,
            "folder": str(path),
            "model": {"head": head, "encoder": {"cell": "lstm", "hidden_size": 8}},
            "data": {"seed": seed},
            "callbacks": {"checkpoint": {"dirpath": f"{path}/checkpoints"}},
        }
        content = {
            **{"status": "completed", "data": "Vowels", "fingerprint": "abc", "head": head},
            **{"seed": seed, "config": usual | (config or {}), "metric": "accuracy"},
            "metrics": {"test/accuracy": accuracy, "test/loss": 1 - accuracy, **(metrics or {})},
            **{"parameters": 1234, "seconds": {"fit": 2.5}, "examples_per_second": 1000.0},
            **result,
        }
        (path / "result.json").write_text(json.dumps(content))
        (path / "metrics.csv").write_text("epoch,step,validation/loss\n0,0,1\n1,1,0.5\n")
        return path

    def add_seeds(self, head: str, accuracies: Iterable[float], **more: Any) -> None:
        """A run for each accuracy that is a number, of the seeds 0, 1, ..."""
        for seed, accuracy in enumerate(accuracies):
            if not math.isnan(accuracy):
                self.add(head, seed, accuracy, **more)

    def compare(self, metric: str | None = None, **options: Any) -> Comparison:
        return compare([str(self.folder)], metric, **options)


def chose(folder: Path, *words: str) -> None:
    """Writes that a run was begun with these words."""
    stretch = {"step": 0, "overrides": [*words], "changes": {}}
    (folder / "overrides.yaml").write_text(json.dumps([stretch]))


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    """`runs.add("max_pool", seed=1, accuracy=0.9)` makes one; `runs.compare()` compares all."""
    return Runs(tmp_path)


def printed(shown: Any) -> str:
    """What a terminal of 140 columns shows of it."""
    console = Console(width=140)
    shown = comparison_table(shown, console) if isinstance(shown, Comparison) else shown
    with console.capture() as capture:
        console.print(shown)
    return capture.get()


def names_of(comparison: Comparison) -> list[str]:
    return [setting.name for setting in comparison.settings]


# ---------------------------------------------------------------- what varies


BASE = {"model.head": "a", "lr": 0.1, "data.seed": 0, "seed": 0}
OTHER_SEED = {"seed": 1, "data.seed": 1}  # the data's seed repeats that of the run


@pytest.mark.parametrize(
    ("changes", "keys"),
    [
        ([{}, OTHER_SEED], []),
        ([{}, OTHER_SEED, {"model.head": "b"}], ["model.head"]),
        # the rate follows from the head, or does not
        ([{}, {"model.head": "b", "lr": 0.2}], ["model.head"]),
        ([{}, {"model.head": "b"}, {"model.head": "b", "lr": 0.2}], ["model.head", "lr"]),
        ([{"a": n // 2, "b": n} for n in range(4)], ["b"]),  # which says what `a` says, and more
        # beside `lr`, either of two keys tells the runs apart: the head is named, as it comes first
        (
            [
                {"lr": 1},
                {"lr": 2},
                {"model.encoder.cell": "gru", "lr": 3},
                {"model.head": "b", "lr": 3},
            ],
            ["model.head", "lr"],
        ),
        ([{"folder": "a", "x": "a/checkpoints"}, {"folder": "b", "x": None}], []),  # a path
        ([{"options": {}, "rate": 0.0}, {"options.score": "dot", "rate": 0}], ["options.score"]),
        # a value that equals the seed is none, unless it is called so
        ([{"seed": 1, "layers": 1}, {"seed": 2, "layers": 2}], ["layers"]),
        ([{"trainer.log_every_n_steps": 1}, {"trainer.enable_progress_bar": False}], []),
        ([{"tags": ["x"], "logger": {}}, {"task_name": "mine", "logger.wandb.project": "y"}], []),
    ],
)
def test_what_varied_is_found(changes: list[dict[str, Any]], keys: list[str]) -> None:
    configs = [flattened({**BASE, **change}) for change in changes]
    records = [Record.model_construct(seed=c["seed"], config=c) for c in configs]
    assert varied_keys(varied_columns(records)) == keys


# ---------------------------------------------------------------- by which metric


def add_rates(runs: Runs, *rates: tuple[float, float], size: int = 16) -> None:
    """A run of each rate, with this metric on the validation split."""
    for seed in range(3):
        for lr, validation in rates:
            found = {"validation/accuracy": validation + seed / 100}
            own = {"optimizer": {"lr": lr}, "data": {"batch_size": size}}
            runs.add("max_pool", seed, 0.95 - lr, metrics=found, config=own)


def test_keys_that_vary_together_are_all_named(runs: Runs) -> None:
    add_rates(runs, (0.01, 0.7), size=16)
    add_rates(runs, (0.1, 0.9), size=32)
    comparison = runs.compare()
    assert comparison.keys == ["data.batch_size"]
    for text in (printed(comparison), as_markdown(comparison)):
        assert "caution: these vary too: lr\n" in text
    add_rates(runs, (0.01, 0.7), size=32)
    assert runs.compare().keys == ["data.batch_size", "optimizer.lr"]


def test_what_is_tuned_is_ranked_by_validation_with_test_beside_it(runs: Runs) -> None:
    add_rates(runs, (0.01, 0.7), (0.1, 0.9))
    comparison = runs.compare()
    shown = {col.header: col.cells[0] for col in table(comparison, comparison.sections[0])}
    assert names_of(comparison) == ["lr=0.1", "lr=0.01"]
    assert shown["validation/accuracy, %"] == "91.00" and shown["test/accuracy, %"] == "85.00"
    assert "choose lr by it" in comparison.ranking()
    by_test = runs.compare("test/accuracy")
    assert names_of(by_test) == ["lr=0.01", "lr=0.1"]
    assert "use metric=validation/accuracy" in by_test.ranking() and by_test.beside is None


@pytest.mark.parametrize(
    ("vary", "validated", "metric"),
    [
        ("head", True, "test/accuracy"),
        ("data", True, "test/accuracy"),  # data sets are not tuned
        ("head lr", True, "validation/accuracy"),  # a head with a rate of its own
        ("lr", False, "test/accuracy"),
    ],
)
def test_which_split_ranks(runs: Runs, vary: str, validated: bool, metric: str) -> None:
    found = {"validation/accuracy": 0.5} if validated else {}
    for n in "01":
        head, data, lr = (f"{key} {n if key in vary else ''}" for key in ("head", "data", "lr"))
        config = {"optimizer": {"lr": lr}, "data": {"file": data}}
        runs.add(head, metrics=found, config=config, fingerprint=data)
    assert runs.compare().metric == metric


@pytest.mark.parametrize(
    ("metric", "said", "best", "shown"),
    [
        ("test/loss", {}, "c", "0.1000"),
        ("test/accuracy", {"accuracy": False}, "a", "90.00"),  # of a known one, a run is not asked
        ("test/mine", {"mine": True}, "a", "0.9000"),
        ("test/mine", {"mine": False}, "c", "0.1000"),
    ],
)
def test_the_direction_of_a_metric_is_ours_or_that_of_its_runs(
    runs: Runs, metric: str, said: dict[str, bool], best: str, shown: str
) -> None:
    for head, value in (("b", 0.5), ("a", 0.9), ("c", 0.1)):
        runs.add(head, metrics={metric: value}, higher_is_better=said)
    comparison = runs.compare(metric)
    assert names_of(comparison) == sorted("abc", reverse=best == "c")
    assert f"| {best} | 1 | {shown} |" in as_markdown(comparison)


# ---------------------------------------------------------------- the verdict


LOW, HIGH = [0.50, 0.51, 0.52] * 2, [0.90, 0.91] * 3
TELLS, CANNOT = "a is better than all others", "cannot tell a, .* from "


@pytest.mark.parametrize(
    ("scores", "rows", "verdict"),
    [
        ({"a": [0.5]}, {}, "only one setting"),
        ({"a": [0.9, 0.91], "b": [0.5, 0.6]}, {}, "fewer than 3 shared seeds"),
        ({"a": HIGH, "b": LOW}, {}, TELLS),
        (  # seeds of its own do not make a setting better
            {"a": [0.70, 0.71] * 2 + [0.95] * 8, "b": [0.80, 0.81, 0.82, 0.80]},
            {},
            f"{CANNOT}b. On the seeds that both have, b did better",
        ),
        (
            {"a": HIGH, "b": LOW, "c": [math.nan] * 10 + [0.8] * 6},
            {},
            f"{CANNOT}c. Fewer than 3 seeds are shared with c",
        ),
        # one row at every seed is no difference, and many rows are
        ({"a": [47 / 48] * 3, "b": [46 / 48] * 3}, {"test": 48}, f"{CANNOT}b. About 1 more seed "),
        ({"a": [1.0] * 3, "b": [0.5] * 3}, {"test": 48}, TELLS),
    ],
)
def test_the_verdict(
    runs: Runs, scores: dict[str, list[float]], rows: dict[str, int], verdict: str
) -> None:
    for head, accuracies in scores.items():
        runs.add_seeds(head, accuracies, examples=rows)
    assert re.search(verdict, runs.compare().sections[0].verdict())


@pytest.mark.parametrize(
    ("metric", "result", "step"),
    [
        ("accuracy", {}, 1 / 48),
        ("exact_match", {"tokens_per_second": 9.0}, 1 / 48),
        ("accuracy", {"tokens_per_second": 9.0}, 0.001),  # of a tagger, a share of its tokens
        ("bleu", {"tokens_per_second": 9.0}, 0.001),
        ("symbol_error_rate", {"tokens_per_second": 9.0}, 0.001),
        ("macro_f1", {}, 0.001),
        ("loss", {}, 0.001),
    ],
)
def test_one_example_is_the_step_of_a_share_of_examples_alone(
    runs: Runs, metric: str, result: dict[str, Any], step: float
) -> None:
    """The same score at every seed hides a difference of as much as a step."""
    for head, score in (("a", 0.9), ("b", 0.901)):
        for seed in range(3):
            found, rows = {f"test/{metric}": score}, {"test": 60 if seed else 48}
            runs.add(head, seed, metrics=found, examples=rows, **result)
    settings = runs.compare(f"test/{metric}").settings
    expected = [summarize(dict.fromkeys(range(3), 0.9), step).interval] * 2
    assert [setting.summary.interval for setting in settings] == pytest.approx(expected, rel=1e-4)


# ---------------------------------------------------------------- which runs are compared


def test_several_folders_and_globs_and_failed_runs(runs: Runs) -> None:
    for seed in range(3):
        runs.add("a", seed, 0.8, folder="one")
        runs.add("b", seed, 0.7, folder="two")
    early = runs.add("b", 4, status="interrupted", error="no luck", folder="two")
    result = json.loads((early / "result.json").read_text())  # before it knew more
    kept = {name: result[name] for name in ("status", "error", "head", "seed", "config")}
    (early / "result.json").write_text(json.dumps({**kept, "metrics": {}}))
    for number in (9, 10):
        runs.add("b", number, status="failed", folder=f"job{number}")
    by_glob = compare([str(runs.folder / "*")])
    by_name = compare([str(runs.folder / name) for name in ("one", "two", "two", "job*")])
    assert as_csv(by_glob) == as_csv(by_name)
    assert [len(setting.records) for setting in by_name.settings] == [3, 3]
    # folders of jobs in the order of their numbers
    assert [record.seed for record in by_glob.failed] == [9, 10, 4]
    assert f"- interrupted: {early} (no luck)" in as_markdown(by_glob)


def test_a_run_without_the_metric_is_left_out_and_a_seed_that_was_run_twice_counts_once(
    runs: Runs,
) -> None:
    for seed, f1 in ((0, 0.7), (1, 0.9), (1, 0.5)):
        runs.add("a", seed, 0.8, metrics={"test/f1": f1})
        runs.add("b", seed, 0.7)
    runs.add("a", 3, metrics={"test/f1": math.nan})
    comparison = runs.compare("test/f1")
    [setting] = comparison.settings
    assert [*setting.scores.values()] == pytest.approx([0.7, 0.7]) and len(setting.records) == 3
    assert re.search("- left out, .*1_b_seed0, .*6_a_seed3", as_markdown(comparison))


def test_settings_are_compared_on_each_data_set(runs: Runs) -> None:
    for seed in range(3):
        for length in (50, 100):
            data: Any = {"fingerprint": f"{length}{seed}", "config": {"data": {"length": length}}}
            for head, accuracy in (("a", 0.9), ("b", 0.8)):
                runs.add(head, seed, accuracy - length / 1000, **data)
    runs.add("c", 0, 0.99, **data)  # it lacks a data set, so it is not the best overall
    comparison = runs.compare()
    assert comparison.keys == ["model.head"] and comparison.grouping.data_keys == ["data.length"]
    tables = [table(comparison, section) for section in comparison.sections]
    assert [[column.cells[0] for column in columns[:3]] for columns in tables] == [
        ["a", "3", "85.00"],
        ["c", "1", "99.00"],
    ]
    rows = [*csv.DictReader(as_csv(comparison).splitlines())]
    assert [r["data.length"] for r in rows] == ["50"] * 2 + ["100"] * 3 + [""] * 3


def test_a_key_that_varies_on_some_data_sets_alone_makes_settings_there(runs: Runs) -> None:
    for name, lr, seed in product("xy", (0.1, 0.2), range(3)):
        if name == "y":
            lr = 0.1
        config = {"data": {"name": name}, "optimizer": {"lr": lr}}
        runs.add("a", seed, 0.5 + lr, data=name, fingerprint=name, config=config)
    comparison = runs.compare("test/accuracy")
    assert comparison.keys == ["optimizer.lr"]
    assert [len(section.settings) for section in comparison.sections] == [2, 1]


def add_sets(runs: Runs, count: int, lead: float = 0.05, lacks: int = 0) -> None:
    """Runs on so many data sets with recipes of their own: on each, `a` is ahead of `b` and `c`."""
    for n in range(count):
        recipe = {"model": {"dropout": n / 10}, "data": {"name": f"set {n}"}}
        for head, behind in (("a", 0.0), ("b", lead), ("c", lead + n / 100)):
            if head == "c" and n < lacks:
                continue
            config = {"model": {"head": head, **recipe["model"]}, "data": recipe["data"]}
            told: Any = {"data": f"set {n}", "fingerprint": f"{n}", "config": config}
            runs.add_seeds(head, (0.9 - behind, 0.92 - behind), **told)


def test_several_data_sets_end_in_a_table_over_them(runs: Runs) -> None:
    add_sets(runs, 8)
    comparison = runs.compare()
    across = comparison.across
    assert across and comparison.keys == ["model.head"] and across.names == ["a", "b", "c"]
    assert [(row.sets, row.best_on) for row in across.ranked] == [(8, 8), (8, 0), (8, 0)]
    told = "Over 8 data sets, a is better than all others (p < 0.05, corrected). In the median, 0 "
    for text in (printed(comparison), as_markdown(comparison)):
        shown = " ".join(re.sub(r"[|\\]", " ", text).split())
        assert (
            told in shown and "a 8 1.00 91.00 8 b 8 2.06 86.00 0 -5.00 -5.00 -5.00 0.023" in shown
        )
    rows = [r for r in csv.DictReader(as_csv(comparison).splitlines()) if r["data"] == OVER_SETS]
    scores = np.array([[0.91, 0.86, 0.86 - n / 100] for n in range(8)])
    for row, expected in zip(rows, over_sets(scores, higher_is_better=True), strict=True):
        assert row["model.head"] == "abc"[expected.setting] and row["metric"] == "test/accuracy"
        for name, value in vars(expected).items():
            if name not in ("setting", "pairs", "worse"):
                assert float(row[name]) == pytest.approx(value, nan_ok=True)
        assert float(row["p: c"]) == pytest.approx(expected.pairs[2], nan_ok=True)


@pytest.mark.parametrize(
    ("sets", "lead", "verdict"),
    [
        (1, 0.1, None),
        (5, 0.1, "a has the best mean rank, but 5 data sets allow no p: even a setting that is"),
        (6, 0.1, "6 data sets cannot tell a, .* from b, c: to tell any of so many .* takes 7 or"),
        (7, 0.005, "Over 7 data sets, a is better than .* In the median, 1 of 2 others are within"),
        (
            9,
            0.0,
            r"9 data sets cannot tell a, which has the best mean rank, from b\. In the median",
        ),
    ],
)
def test_the_verdict_over_data_sets(
    runs: Runs, sets: int, lead: float, verdict: str | None
) -> None:
    add_sets(runs, sets, lead)
    across = runs.compare().across
    assert bool(across) == bool(verdict)
    if across and verdict:
        assert re.search(verdict, across.verdict())
        assert math.isnan(across.ranked[1].p) == (sets < 6)


def test_a_set_that_lacks_a_setting_counts_for_the_others(runs: Runs) -> None:
    add_sets(runs, 9, lacks=1)
    runs.add("c", status="failed", error="no luck")
    comparison = runs.compare()
    assert comparison.across and [row.sets for row in comparison.across.ranked] == [9, 9, 8]
    told = "missing: c on set 0: a data set counts only for the pairs of settings that it has"
    assert told in printed(comparison) and told in as_markdown(comparison)


def test_the_order_of_folders_and_runs_changes_no_number(tmp_path: Path) -> None:
    """Jobs have other numbers, and other sweeps: the tables say the same."""

    def table_of(order: np.ndarray, sweeps: int, place: Path) -> list[str]:
        runs, random = Runs(place), np.random.default_rng(0)
        drawn = np.round(random.random((7, 3, 3)), 1)  # some are equal
        for n in order:
            data, head, seed = np.unravel_index(n, drawn.shape)
            name = {"data": {"name": f"set {data}"}}
            told: Any = {"data": f"set {data}", "fingerprint": f"{data}", "config": name}
            told["config"] = {"model": {"head": "abc"[head]}, **name}
            runs.add(
                "abc"[head], int(seed), drawn[data, head, seed], **told, folder=f"{n % sweeps}"
            )
        places = [str(place / f"{n}") for n in range(sweeps)]
        return sorted(as_csv(compare(places[:: 1 if sweeps % 2 else -1])).splitlines())

    first = table_of(np.arange(63), 1, tmp_path / "first")
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(63)
        assert table_of(order, 1 + seed, tmp_path / f"{seed}") == first


@pytest.mark.parametrize("key", ["fold", "split_seed"])
@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize("split", ["test", "validation"])
def test_splits_of_one_data_set_are_one_setting(
    runs: Runs, key: str, sized: bool, split: str
) -> None:
    scores = {"a": [0.90, 0.93, 0.89, 0.95, 0.91], "b": [0.86, 0.90, 0.88, 0.90, 0.89]}
    more = {"folds": 5} if key == "fold" else {"test_fraction": 0.2}
    examples = {"train": 160, "test": 70, "validation": 70} | {split: 40}
    sizes = {"examples": examples} if sized else {"tokens_per_second": 9.0}
    for head, accuracies in scores.items():
        for number, accuracy in enumerate(accuracies):
            for seed in (0, 1):  # two of each split, which are no more splits
                data: Any = {"fingerprint": f"{number}", "config": {"data": {key: number, **more}}}
                data["config"]["model"] = {"head": head}
                found = {f"{split}/mine": accuracy + (seed - 0.5) / 100}
                runs.add(
                    head, seed, metrics=found, higher_is_better={"mine": True}, **data, **sizes
                )
    comparison = runs.compare(f"{split}/mine")
    [section] = comparison.sections
    assert comparison.keys == ["model.head"] and not comparison.grouping.data_keys
    assert comparison.across is None and section.pairs == "splits"
    best, other = section.settings
    difference = other.difference
    assert difference and difference.shared == 5 and difference.seeds_needed is None
    deltas = np.subtract(scores["b"], scores["a"])
    every = (*best.records, *other.records)
    step = smallest_step(record.score(f"{split}/mine") for record in every)
    variance = deltas.var(ddof=1) + step**2 / 6
    t = deltas.mean() / math.sqrt(variance * (1 / 5 + 1 / 4))  # Nadeau and Bengio 2003
    assert difference.p == pytest.approx(2 * stats.t.sf(abs(t), 4))
    assert "cannot tell a" in section.verdict()


@pytest.mark.parametrize(
    ("told", "overlap"),
    [
        ("nothing", 1029 / 60),
        ("fingerprints of each split", 0.0),
        ("fingerprints of test splits that differ", 1029 / 60),
        ("one fingerprint of all", 0.0),
        ("a file", 0.0),
        ("folds", 1029 / 60),
    ],
)
def test_splits_overlap_only_where_what_is_scored_differs(
    runs: Runs, told: str, overlap: float
) -> None:
    for head, seed in product("ab", range(5)):
        data: dict[str, Any] = {"split_seed": seed}
        result: dict[str, Any] = {"fingerprint": f"{seed}"}
        if told.startswith("fingerprints"):
            differs = seed if told.endswith("differ") else 0
            result["fingerprints"] = {"train": f"{seed}", "test": f"test {differs}"}
        elif told == "one fingerprint of all":
            result["fingerprint"] = "same"
        elif told == "a file":
            data["test"] = "test.csv"
        elif told == "folds":
            data |= {"folds": 5, "fold": seed, "test": "test.csv"}
        # 65.8 and 61.0 % on a test split of its own, with deviations of 0.8 and 0.7 points
        accuracy = {"a": [65.0, 66.8, 65.1, 66.4, 65.7], "b": [61.9, 60.3, 61.5, 60.4, 60.9]}
        examples = {"train": 60, "test": 1029}
        config = {"data": data, "model": {"head": head}}
        score = accuracy[head][seed] / 100
        runs.add(head, seed, score, config=config, examples=examples, **result)
    [section] = runs.compare().sections
    best, other = section.settings
    assert section.pairs == "splits" and other.difference
    expected = summarize(best.scores, step=1 / 1029, overlap=overlap)
    assert best.summary == expected
    assert other.difference.significant == (overlap == 0)


def test_more_splits_are_counted_as_splits(runs: Runs) -> None:
    for head, seed in product("ab", range(4)):
        config = {"data": {"split_seed": seed}, "model": {"head": head}}
        score = 0.5 + (head == "a") / 100 + (7 * seed + 3 * ord(head)) % 11 / 200
        runs.add(head, seed, score, config=config, fingerprint="same")
    assert re.search("About [0-9]+ more splits might", runs.compare().sections[0].verdict())


def test_fewer_than_three_splits_allow_no_verdict(runs: Runs) -> None:
    for head, fold in product("ab", range(2)):
        config = {"model": {"head": head}, "data": {"fold": fold, "folds": 2}}
        runs.add(head, 0, 0.5 + ord(head) / 1000, fingerprint=f"{fold}", config=config)
    told = (
        "fewer than 3 shared splits allow no verdict: .* such as data.folds=5 data.fold=0,1,2,3,4"
    )
    assert re.search(told, runs.compare().sections[0].verdict())


def test_settings_that_saw_the_same_data_belong_together_and_other_data_make_no_pair(
    runs: Runs,
) -> None:
    # what each seed saw: by way of b's seeds, all are one section; a and c share seeds, but no data
    for head, data in {"a": "xxx", "b": "xxy", "c": "yyy"}.items():
        for seed, seen in enumerate(data):
            runs.add(head, seed, 0.5 + ord(head) / 1000, fingerprint=seen)
    [section] = runs.compare().sections
    shared = {s.name: s.difference.shared for s in section.settings if s.difference}
    assert shared == {"b": 1, "a": 0}


def test_what_else_differs_is_said(runs: Runs) -> None:
    for seed in range(2):
        where = {"git": {"project": {"commit": f"{seed}abcdef0123"}}, "threads": 1 + seed}
        (runs.add("max_pool", seed) / "environment.json").write_text(json.dumps(where))
    told = "differ in commits of your project (0abcdef0, 1abcdef0), threads (1, 2)\n"
    assert told in as_markdown(runs.compare())


@pytest.mark.parametrize(
    ("change", "metric", "key"),
    [
        ("{", None, "is not JSON"),
        (
            {"parameters": "many"},
            None,
            "version .*parameters Input should be a valid integer",
        ),
        ({"status": "failed", "metrics": {}}, None, "none of these runs is completed"),
        ({"metrics": {"test/accuracy": math.inf}}, None, "^metric=test/accuracy is not a finite"),
        ({"metrics": {"test/accuracy": 1e308}}, None, r"is not a finite number within ±1e\+100"),
        ({}, "test/acuracy", "^metric=test/acuracy: .*did you mean test/accuracy"),
        ({"metrics": {"test/mine": 1.0}}, "test/mine", r'unknown metric .*METRICS\["mine"\]'),
        ({"metrics": {f"m{n}": 1.0 for n in range(60_000)}}, None, r"one of m0, .*, \.\.\.$"),
    ],
)
def test_what_cannot_be_compared_is_named(
    runs: Runs, change: Any, metric: str | None, key: str
) -> None:
    with pytest.raises(UserError, match="no run there"):
        runs.compare()
    file = runs.add() / "result.json"
    text = change if isinstance(change, str) else json.dumps(json.loads(file.read_text()) | change)
    file.write_text(text)
    with pytest.raises(UserError, match=key):
        runs.compare(metric)


HUGE: Any = 10**400  # beyond float64


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("{", "is not JSON"),
        ({"examples": {"train": -1}}, "examples.train Input should be greater than or equal to 0"),
        ({"parameters": HUGE}, "parameters"),
        ({"seconds": {"fit": 1e308}}, "seconds.fit Input should be less than or equal to"),
        ({"examples_per_second": -1.0}, "examples_per_second Input should be greater than"),
        ({"seed": HUGE}, "seed Input should be"),
        ({"metrics": {"test/accuracy": HUGE}}, "metrics.test/accuracy"),
        ({"metrics": {"test/accuracy": 1e308}}, "is missing, not finite or beyond ±1e+100"),
        ({"config": []}, "config Input should be a valid dictionary"),
    ],
)
def test_a_run_that_cannot_be_read_hides_no_other(runs: Runs, change: Any, said: str) -> None:
    for head, accuracy in (("a", 0.9), ("b", 0.8)):
        runs.add_seeds(head, [accuracy, accuracy - 0.01, accuracy + 0.01])
    file = runs.add("c", 0, 0.99) / "result.json"
    text = change if isinstance(change, str) else json.dumps(json.loads(file.read_text()) | change)
    file.write_text(text)
    comparison = runs.compare()
    assert names_of(comparison) == ["a", "b"]
    [line] = [line for line in as_markdown(comparison).splitlines() if "left out" in line]
    assert said in line and file.parent.name in line
    assert said in "".join(printed(comparison).split("\n")) or "left out" in printed(comparison)


@pytest.mark.parametrize("folds", [1, 1.0, True, "x", [1], -1])
@pytest.mark.parametrize("scale", [0.0, 1e97])
def test_odd_numbers_of_a_configuration_or_a_metric_are_compared(
    runs: Runs, folds: Any, scale: float
) -> None:
    for head, fold in product("abc", range(3)):
        config = {"data": {"folds": folds, "fold": [fold]}, "model": {"head": head}}
        metrics = {"test/loss": scale * (ord(head) + fold % 2)}
        runs.add(head, 0, metrics=metrics, config=config, fingerprint=f"{fold}", examples={})
    comparison = runs.compare("test/loss")
    assert len(comparison.settings) == 3 and len(write_comparison(comparison, runs.folder)) == 3


UGLY: list[Any] = [
    *(None, True, -1, 0, 1, 1.0, 1e308, -1e308, math.nan, math.inf, HUGE, -HUGE, 2**63),
    *("", "x", "\x1b[31m", "\n", "$x$", "a" * 3000, [], [1], {}, {"": {"a": [None]}}),
]


@pytest.mark.parametrize("varied", ["seed", "fold", "split_seed", "name"])
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_a_result_holds_is_compared_or_one_line(
    tmp_path: Path, varied: str, data: st.DataObject
) -> None:
    runs = Runs(Path(tempfile.mkdtemp(dir=tmp_path)))
    files = []
    for head, number in product("ab", range(3)):
        config = {"data": {varied: number}, "model": {"head": head}}
        more: Any = {"examples": {"train": 9, "test": 9}, "config": config}
        folder = runs.add(head, 0, 0.5 + number / 10, fingerprint=f"{number}", **more)
        files.append(folder / "result.json")
    changed = files if data.draw(st.booleans()) else files[:1]
    keys = data.draw(st.lists(st.sampled_from(RESULT_KEYS), min_size=1, max_size=2))
    for key, value in [(key, data.draw(st.sampled_from(UGLY))) for key in keys]:
        for file in changed:
            content = json.loads(file.read_text())
            change_keys(content, {key: value})
            file.write_text(json.dumps(content))
    try:
        comparison = runs.compare()
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert printed(comparison) and as_markdown(comparison) and as_csv(comparison)


def test_very_many_keys_and_very_long_values_end(runs: Runs) -> None:
    for head in "ab":
        many = {f"key{n}": head for n in range(5_000)}
        runs.add(head, 0, config={"model": {"head": head * 10**5, **many}})
    comparison = runs.compare()
    assert max(map(len, as_markdown(comparison).splitlines())) < 2000
    assert "these vary too" in as_markdown(comparison)


# ---------------------------------------------------------------- tables and files


def test_all_tables_say_the_same(runs: Runs) -> None:
    for head, mean in (("max_pool", 0.9), ("mean_pool", 0.89), ("last_hidden", 0.7)):
        runs.add_seeds(head, [mean, mean + 0.01, mean - 0.01])
    comparison = runs.compare()
    rows = [*csv.DictReader(as_csv(comparison).splitlines())]
    header = "head runs test/accuracy, % sd ± 95 % to best p parameters examples/s time, s"
    assert header in as_markdown(comparison).replace(" | ", " ")
    for row in rows:
        for text in (as_markdown(comparison), printed(comparison)):
            found = [line.split() for line in text.replace("|", " ").splitlines()]
            [cells] = [each for each in found if row["model.head"] in each and "1,234" in each]
            assert cells[1:4] == ["3", f"{100 * float(row['mean']):.2f}", "1.00"]
            assert cells[-3:] == ["1,234", "1,000", "2.5"]
    assert rows[0]["p"] == "" and float(rows[2]["p"]) < 0.05
    assert float(rows[2]["difference_to_best"]) == pytest.approx(-0.2)


def test_a_resumed_run_does_not_say_how_long_its_training_took(runs: Runs) -> None:
    runs.add("a", 0, seconds={"fit": 7.5})
    runs.add("b", 0, seconds={"fit": 1.5}, resumed=[{"device": "cpu"}])  # its last stretch
    shown = as_markdown(runs.compare())
    assert "| 7.5 |" in shown and "1.5" not in shown


def test_text_of_a_run_is_shown_as_it_is(runs: Runs) -> None:
    runs.add("a|b*c\x1b[2J")
    runs.add(status="failed", error="\x1b[31mred")
    comparison = runs.compare()
    assert "\x1b" not in as_markdown(comparison) + as_csv(comparison) + printed(comparison)
    runs.add("a|b*c", 1)
    assert r"| a\|b\*c |" in as_markdown(runs.compare())


def test_the_table_of_a_run_shows_units_and_survives_unknown_metrics() -> None:
    metrics = {"validation/accuracy": 0.75, "test/accuracy": 0.25, "test/mine": 0.25}
    baselines = {"validation/accuracy": {"majority": 0.5}, "test/accuracy": {"majority": 0.4}}
    shown = printed(metrics_table(metrics, "a title", baselines))
    assert re.findall(r"│ +(\S+) +│ *(\S.*?|) +│ +(\S.*?) +│", shown) == [
        ("accuracy", "75.00 %", "25.00 %"),
        ("majority", "50.00 %", "40.00 %"),
        ("mine", "", "0.2500"),
    ]


@pytest.mark.pictures
def test_another_metric_leaves_the_files_of_the_sweep_and_any_leaves_yours(runs: Runs) -> None:
    folder, kinds = runs.folder, ("csv", "md", "png")
    for head in ("a$b$", "$\\frac{$"):  # a name is no formula
        runs.add(head)
    for content in ("mine\n", "", "\xff,\n\x80"):
        (folder / "comparison.csv").write_text(content, encoding="latin-1")
        assert folder / "comparison.csv" not in write_comparison(runs.compare(), folder)
    (folder / "comparison.csv").unlink()
    write_comparison(runs.compare(), folder)
    own = {f"comparison.{kind}": (folder / f"comparison.{kind}").read_bytes() for kind in kinds}
    assert all(own[name].startswith(b"\x89PNG") for name in own if name.endswith("png"))
    paths = write_comparison(runs.compare("test/loss"), folder)
    assert own == {name: (folder / name).read_bytes() for name in own}
    assert [path.name for path in paths] == [f"comparison_test_loss.{kind}" for kind in kinds]
    again = write_comparison(runs.compare(), folder)  # the same metric replaces them
    assert {path.name for path in again} == own.keys()


@pytest.mark.pictures
@pytest.mark.parametrize("settings", [2, 10])
def test_pictures_over_data_sets_are_legible(runs: Runs, settings: int) -> None:
    names = [f"{'max_attention_' * (n % 2)}pool, $size$={n}, rate=0.1" for n in range(settings)]
    for n, name in product(range(6), names):
        accuracy = 0.5 + 0.04 * len(name) * n / 100 + (31 * n + 7 * len(name)) % 11 / 100
        config = {"data": {"name": f"set {n}"}}
        runs.add(name, 0, accuracy, data=f"set {n}", fingerprint=f"{n}", config=config)
    comparison = runs.compare()
    paths = write_comparison(comparison, runs.folder)
    assert [path.name for path in paths[2:]] == [
        *("comparison.png", "comparison_ranks.png", "comparison_sets.png")
    ]
    assert all(f"]({path.name})" in paths[1].read_text() for path in paths[2:])
    assert comparison.across
    for figure in (
        critical_differences(comparison.across),
        scores_by_set(comparison.across, "test/accuracy", higher_is_better=True),
    ):
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        page, [axes] = figure.bbox, figure.axes
        # labels at 40 degrees may share a corner of their boxes, and cells fill their squares
        boxes = [text.get_window_extent(canvas.get_renderer()) for text in axes.texts]
        labels = [*axes.get_xticklabels(), *axes.get_yticklabels(), axes.xaxis.label]
        labels = [text.get_window_extent(canvas.get_renderer()) for text in labels]
        assert len(axes.texts) in (settings, 6 * settings)
        for box in (*boxes, *labels):
            assert page.x0 <= box.x0 and box.x1 <= page.x1
            assert page.y0 <= box.y0 and box.y1 <= page.y1
        assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


@pytest.mark.parametrize("metric", ["test/accuracy", "test/loss"])
def test_a_cell_is_the_redder_the_further_behind_the_best_on_its_own_set(
    runs: Runs, metric: str
) -> None:
    accuracies = np.array([[0.9, 0.8, 0.6], [0.5, 0.1, 0.3], [0.2, 0.3, 0.4]])
    for n, k in np.ndindex(3, 3):
        config = {"data": {"name": f"set {n}"}, "model": {"head": "abc"[k]}}
        more: Any = {"data": f"set {n}", "fingerprint": f"{n}", "config": config}
        runs.add("abc"[k], 0, accuracies[n, k], **more)
    comparison = runs.compare(metric)
    assert comparison.across
    higher_is_better = metric == "test/accuracy"
    figure = scores_by_set(comparison.across, metric, higher_is_better=higher_is_better)
    [axes] = figure.axes
    order = ["abc".index(label.get_text()) for label in axes.get_xticklabels()]
    behind = accuracies.max(axis=1, keepdims=True) - accuracies  # the loss is 1 - accuracy
    assert np.asarray(axes.images[0].get_array()) == pytest.approx(behind[:, order])


def test_a_comparison_waits_for_neither_pytorch_nor_lightning(runs: Runs) -> None:
    for head in ("last_hidden", "mean_pool"):
        runs.add_seeds(head, (0.8, 0.9, 0.85), metrics={"test/macro_f1": 0.8})
    code = """
import sys
from seqmodels.launch.commands.compare import main
sys.argv[1:] = ["sweep"]
main()
assert not {"lightning", "torch"} & {*sys.modules}
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=runs.folder)


@pytest.mark.slow
def test_a_sweep_of_real_runs_is_compared(script: Script, refused: Refused, tmp_path: Path) -> None:
    quick = ("trainer=cpu", "trainer.max_epochs=1", "model.encoder.hidden_size=8", "baseline=false")
    script("train.py", "-m", "model.head=last_hidden,max_pool", "seed=0,1", *quick)
    [sweep] = (tmp_path / "runs").iterdir()
    compared = script("compare.py", str(sweep))
    assert re.search(r"max_pool +2 +\d", compared.stdout)
    assert (sweep / "comparison.png").is_file()
    elsewhere = script("compare.py", str(sweep), "metric=test/macro_f1", "output=here")
    assert "macro_" in elsewhere.stdout and (tmp_path / "here" / "comparison.md").is_file()
    assert "name the folders to compare" in refused("compare.py")


@pytest.mark.long
def test_a_sweep_over_folds_is_a_loop_by_hand(script: Script, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    labels = random.integers(2, size=90)
    # a letter tells little, and not all texts can be told
    texts = [" ".join("ab"[int(n < 0.35 + 0.3 * y)] for n in random.random(9)) for y in labels]

    def write(name: str, rows: Iterable[int]) -> str:
        lines = [f"{texts[n]},{labels[n]}" for n in rows]
        (tmp_path / name).write_text("\n".join(["text,label", *lines]))
        return name

    usual = ("data=text", "trainer=cpu", "trainer.max_epochs=8", "model.encoder.hidden_size=8")
    usual = (*usual, "baseline=false", "data.min_count=1", "data.batch_size=8")
    usual = (*usual, "model.optimizer.lr=0.02")
    swept = ("data.folds=3", "data.fold=0,1,2", "model.head=last_hidden,mean_pool")
    whole = f"data.train={write('all.csv', range(90))}"
    script("train.py", "-m", *usual, whole, *swept, "hydra.sweep.dir=sweep")
    by_hand: dict[str, list[float]] = {"last_hidden": [], "mean_pool": []}
    folds = StratifiedKFold(3, shuffle=True, random_state=0).split(texts, labels)
    for (train, test), head in product(folds, by_hand):
        files = f"data.train={write('train.csv', train)}", f"data.test={write('test.csv', test)}"
        folder = f"{head}_{len(by_hand[head])}"
        script("train.py", *usual, *files, f"model.head={head}", f"folder={folder}")
        by_hand[head].append(result_of(tmp_path / folder)["metrics"]["test/accuracy"])
    comparison = compare([str(tmp_path / "sweep")])
    [section] = comparison.sections
    for setting in section.settings:
        assert [*setting.scores.values()] == by_hand[setting.name]  # in the order of the folds
    best, other = section.settings
    assert other.difference and other.difference.shared == 3
    deltas = np.subtract(by_hand[other.name], by_hand[best.name])
    variance = deltas.var(ddof=1) + (1 / 30) ** 2 / 6
    t = deltas.mean() / math.sqrt(variance * (1 / 3 + 30 / 54))  # a tenth is for validation
    assert deltas.any() and other.difference.p == pytest.approx(2 * stats.t.sf(abs(t), 2))


def test_sets_and_settings_are_named_as_the_words_were(runs: Runs) -> None:
    """`+set=Plane` chooses a file of one's own group, which sets several keys of the data."""
    for number, name in enumerate(("Plane", "Beef")):
        for head in ("max_pool", "last_hidden"):
            files = {"train": f"/far/{name}_train.parquet", "test": f"/far/{name}_test.parquet"}
            options = {"fingerprint": name, "config": {"data": {"seed": 0, **files}}}
            path = runs.add(head, accuracy=0.5 + 0.1 * number, data="a_train", **options)
            chose(path, f"+set={name}", f"model.head={head}", "++trainer.min_steps=1")
    comparison = runs.compare()
    assert [section.data for section in comparison.sections] == ["set=Plane", "set=Beef"]
    assert [*comparison.keys] == ["model.head"]
    assert "set=Plane" in as_markdown(comparison) and "parquet" not in as_markdown(comparison)
    rows = csv.DictReader(as_csv(comparison).splitlines())
    assert [row["set"] for row in rows][:4] == ["Plane"] * 2 + ["Beef"] * 2


def test_a_setting_is_named_as_its_word_was(runs: Runs) -> None:
    for recipe, size in (("small", 8), ("large", 64)):
        model = {"head": "max_pool", "encoder": {"hidden_size": size}, "dropout": 1 / size}
        for seed in range(3):
            path = runs.add(seed=seed, accuracy=0.5 + size / 1000, config={"model": model})
            chose(path, f"+recipe={recipe}", f"seed={seed}")
    [section] = runs.compare().sections
    assert {setting.name for setting in section.settings} == {"recipe=small", "recipe=large"}
