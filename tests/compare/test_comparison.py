"""Comparing runs: which are compared with which, and what is said and written of it."""

from __future__ import annotations

import csv
import json
import math
import re
import subprocess
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console

from seqmodels.compare.comparison import compare, enumerated
from seqmodels.compare.figures import compared_curves, compared_runs
from seqmodels.compare.records import Record
from seqmodels.compare.settings import setting_name, short_keys, varied_columns, varied_keys
from seqmodels.compare.tables import as_csv, as_markdown, overview, table
from seqmodels.compare.writing import write_comparison
from seqmodels.engine.metrics import METRICS, Metric, metric_named, show
from seqmodels.errors import UserError
from seqmodels.plain_values import flattened
from seqmodels.runs.environment import environment
from seqmodels.runs.report import metrics_table
from tests.compare.conftest import Runs, printed
from tests.conftest import Refused, Script

# ---------------------------------------------------------------- metrics


@pytest.mark.parametrize(
    ("name", "higher_is_better", "shown"),
    [
        ("test/accuracy", True, "25.00"),
        ("validation/macro_f1", True, "25.00"),
        ("test/r2", True, "0.2500"),
        ("test/loss", False, "0.2500"),
        ("test/lag", False, "0.2500"),
    ],
)
def test_a_metric_has_a_direction_and_a_unit(
    name: str, higher_is_better: bool, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METRICS, "lag", Metric(higher_is_better=False, unit="ms"))  # a task's own
    assert metric_named(name).higher_is_better == higher_is_better
    assert show(name, 0.25) == shown


def test_an_unknown_metric_is_asked_for_and_not_guessed() -> None:
    with pytest.raises(UserError, match=r'METRICS\["top_5_accuracy"\] = ') as error:
        metric_named("test/top_5_accuracy")  # a name that ends like a known one
    assert "did you mean accuracy?" in str(error.value)


def test_the_table_of_a_run_shows_units_and_survives_unknown_metrics() -> None:
    metrics = {"validation/accuracy": 0.75, "test/accuracy": 0.25, "test/loss": 0.25}
    metrics["test/mine"] = 0.25
    baselines = {"validation/accuracy": {"majority": 0.5}, "test/accuracy": {"majority": 0.4}}
    console = Console(width=100)
    with console.capture() as capture:
        console.print(metrics_table(metrics, "a title", baselines))
    assert re.findall(r"│ +(\S+) +│ *(\S.*?|) +│ +(\S.*?) +│", capture.get()) == [
        ("accuracy", "75.00 %", "25.00 %"),
        ("majority", "50.00 %", "40.00 %"),
        ("loss", "", "0.2500"),
        ("mine", "", "0.2500"),
    ]


# ---------------------------------------------------------------- what varies

BASE = {"model.head": "a", "model.optimizer.lr": 0.1, "data.seed": 0, "seed": 0}


@pytest.mark.parametrize(
    ("changes", "keys"),
    [
        ([{}, {}], []),
        ([{}, {"seed": 1, "data.seed": 1}], []),  # the data's seed repeats that of the run
        ([{}, {"seed": 1, "data.seed": 1}, {"model.head": "b"}], ["model.head"]),
        # the rate follows from the head, or does not
        ([{}, {"model.head": "b", "model.optimizer.lr": 0.2}], ["model.head"]),
        (
            [{}, {"model.head": "b"}, {"model.head": "b", "model.optimizer.lr": 0.2}],
            ["model.head", "model.optimizer.lr"],
        ),
        ([{"a": n // 2, "b": n} for n in range(4)], ["b"]),  # which says what `a` says, and more
        ([{"folder": "a", "x": "a/checkpoints"}, {"folder": "b", "x": None}], []),  # a path
        ([{"options": {}}, {"options.score": "dot"}], ["options.score"]),
        ([{"rate": 0.0}, {"rate": 0}], []),
        ([{"rate": 0.0}, {"rate": 0}, {"rate": 0.5}], ["rate"]),
        ([{"a": 1}, {"a": "1"}, {"a": True}], ["a"]),
        ([{"sizes": [1, 2]}, {"sizes": [1, 3]}], ["sizes"]),
        ([{"tags": ["x"], "logger": {}}, {"task_name": "mine", "logger.wandb.project": "y"}], []),
    ],
)
def test_what_varied_is_found(changes: list[dict[str, Any]], keys: list[str]) -> None:
    configs = [flattened({**BASE, **change}) for change in changes]
    records = [Record.model_construct(seed=c["seed"], config=c) for c in configs]
    assert varied_keys(varied_columns(records)) == keys


def test_settings_and_keys_have_short_names() -> None:
    keys = ["model.head", "model.encoder.hidden_size", "model.optimizer.lr"]
    assert setting_name(keys, ["max_pool", 64, 0.01]) == "max_pool, hidden_size=64, lr=0.01"
    assert setting_name(["model.scheduler"], [None]) == "scheduler=null"
    assert setting_name([], []) == "all runs"
    alike = ["model.dropout", "model.encoder.dropout", "data.dropout", "seeds"]
    assert short_keys(alike) == ["model.dropout", "encoder.dropout", "data.dropout", "seeds"]
    assert short_keys(["a.b", "c.a.b"]) == ["a.b", "c.a.b"]
    assert enumerated("ab") == "a and b"
    assert enumerated([*map(str, range(20))]) == "0, 1, 2, 3, 4, 5 and 14 more"


def add_rates(runs: Runs, *rates: tuple[float, float], **more: Any) -> None:
    """A run of each rate, with this metric on the validation split."""
    for seed in range(3):
        for lr, validation in rates:
            found = {"validation/accuracy": validation + seed / 100}
            runs.add("max_pool", seed, 0.95 - lr, optimizer={"lr": lr}, metrics=found, **more)


def test_keys_that_vary_together_are_all_named(runs: Runs) -> None:
    add_rates(runs, (0.01, 0.7), data={"batch_size": 16}, schedule={"max_lr": 0.01})
    add_rates(runs, (0.1, 0.9), data={"batch_size": 32}, schedule={"max_lr": 0.1})
    comparison = runs.compare()
    assert comparison.keys == ["data.batch_size"]
    assert comparison.grouping.tuned == ["data.batch_size", "optimizer.lr", "schedule.max_lr"]
    for text in (printed(comparison), as_markdown(comparison)):
        assert "caution: these vary too: lr and max_lr\n" in text
    add_rates(runs, (0.01, 0.7), data={"batch_size": 32}, schedule={"max_lr": 0.01})
    assert runs.compare().keys == ["data.batch_size", "optimizer.lr"]


def test_what_varies_with_the_data_is_no_caution(runs: Runs) -> None:
    for data, size in (("x", 1), ("y", 2)):
        for head in ("max_pool", "mean_pool"):
            inside = {"file": data, "size": size}
            runs.add(head, fingerprint=data, data=inside, epochs=size)
    comparison = runs.compare(different_data=True)
    assert comparison.metric == "test/accuracy" and comparison.grouping.also == []


# ---------------------------------------------------------------- by which metric


def test_what_is_tuned_is_ranked_by_validation_with_test_beside_it(runs: Runs) -> None:
    add_rates(runs, (0.01, 0.7), (0.1, 0.9))
    comparison = runs.compare()
    [section] = comparison.sections
    assert comparison.metric == "validation/accuracy" and comparison.beside == "test/accuracy"
    assert [s.name for s in section.settings] == ["lr=0.1", "lr=0.01"]
    header, best, _ = table(comparison, section)
    shown = dict(zip(header, best, strict=True))
    assert shown["validation/accuracy, %"] == "91.00" and shown["test/accuracy, %"] == "85.00"
    assert "choose lr by it, then report the test split" in comparison.ranking()
    assert comparison.ranking() in printed(comparison).replace("\n", " ")
    [row, _] = csv.DictReader(as_csv(comparison).splitlines())
    assert float(row["mean"]) == pytest.approx(0.91) and float(row["test/accuracy"]) == 0.85
    by_test = runs.compare("test/accuracy")
    assert "use metric=validation/accuracy" in by_test.ranking() and by_test.beside is None
    assert [s.name for s in by_test.settings] == ["lr=0.01", "lr=0.1"]


VALIDATED = {"metrics": {"validation/accuracy": 0.5}}


@pytest.mark.parametrize(
    ("configs", "metric"),
    [
        ([{"head": head, **VALIDATED} for head in "ab"], "test/accuracy"),
        ([{"head": "a", "optimizer": {"lr": lr}} for lr in (0.01, 0.1)], "test/accuracy"),
        (  # data sets are not tuned
            [
                {"head": head, "fingerprint": x, "data": {"file": x}, **VALIDATED}
                for head in "ab"
                for x in "xy"
            ],
            "test/accuracy",
        ),
        (  # a head with a rate of its own
            [{"head": h, "optimizer": {"lr": ord(h)}, **VALIDATED} for h in "ab"],
            "validation/accuracy",
        ),
    ],
    ids=["only the head varies", "there is no validation", "the data vary", "the rate varies"],
)
def test_which_split_ranks(runs: Runs, configs: list[dict[str, Any]], metric: str) -> None:
    for config in configs:
        runs.add(**config)
    assert runs.compare(different_data=True).metric == metric


@pytest.mark.parametrize(
    ("metric", "said", "best", "shown"),
    [
        ("test/loss", {}, "c", "0.1000"),
        ("test/f1", {}, "a", "90.00"),
        ("test/accuracy", {"accuracy": False}, "a", "90.00"),  # of a known one, a run is not asked
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
    assert [s.name for s in comparison.settings] == sorted("abc", reverse=best == "c")
    assert f"| {best} | 1 | {shown} |" in as_markdown(comparison)


def test_a_metric_without_a_direction_is_refused(runs: Runs) -> None:
    runs.add("max_pool", 0, metrics={"test/mine": 1.0})
    with pytest.raises(UserError, match=r'unknown metric test/mine.*METRICS\["mine"\]'):
        runs.compare("test/mine")
    for seed, higher_is_better in enumerate((True, False)):
        runs.add("max_pool", seed, result={"higher_is_better": {"mine": higher_is_better}})
    with pytest.raises(UserError, match="^metric=test/mine: some of these runs say"):
        runs.compare("test/mine")


# ---------------------------------------------------------------- the verdict


LOW, HIGH = [0.50, 0.51, 0.52] * 2, [0.90, 0.91] * 3
TELLS, CANNOT = "max_pool is better than all others", "cannot tell max_pool, .* from "


@pytest.mark.parametrize(
    ("scores", "rows", "verdict"),
    [
        ({"max_pool": [0.5]}, None, "only one setting"),
        ({"max_pool": [0.9, 0.91], "mean_pool": [0.5, 0.6]}, None, "fewer than 3 shared seeds"),
        ({"max_pool": HIGH, "last_hidden": LOW}, None, TELLS),
        (  # seeds of its own do not make a setting better
            {"max_pool": [0.70, 0.71] * 2 + [0.95] * 8, "mean_pool": [0.80, 0.81, 0.82, 0.80]},
            None,
            f"{CANNOT}mean_pool. On the seeds that both have, mean_pool did better",
        ),
        (
            {"max_pool": HIGH, "last_hidden": LOW, "mean_pool": [math.nan] * 10 + [0.8] * 6},
            None,
            f"{CANNOT}mean_pool. Fewer than 3 seeds are shared with mean_pool",
        ),
        # one row at every seed is no difference, and many rows are
        ({"max_pool": [47 / 48] * 3, "a": [46 / 48] * 3}, 48, f"{CANNOT}a. About 1 more seed "),
        ({"max_pool": [1.0] * 3, "last_hidden": [0.5] * 3}, 48, TELLS),
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
    assert re.search(verdict, runs.compare().sections[0].verdict())


def test_the_verdict_names_the_pair_that_needs_the_fewest_seeds(runs: Runs) -> None:
    noise = [0.0, 0.02, -0.02, 0.03, -0.03]
    for head, mean, sign in (("best", 0.9, 1), ("close", 0.895, -1), ("nearly_worse", 0.87, -1)):
        runs.add_seeds(head, [mean + sign * luck for luck in noise])
    [section] = runs.compare().sections
    needed = {s.name: s.difference.seeds_needed for s in section.settings[1:] if s.difference}
    assert needed["nearly_worse"] < needed["close"]  # fewer seeds for a larger difference
    assert section.verdict().endswith(
        f"About {needed['nearly_worse'] - 5} more seeds might separate best from nearly_worse."
    )


# ---------------------------------------------------------------- which runs are compared


def test_several_folders_and_globs_and_failed_runs(runs: Runs) -> None:
    for seed in range(3):
        runs.add("max_pool", seed, 0.8, folder="one")
        runs.add("mean_pool", seed, 0.7, folder="two")
    runs.add("mean_pool", 3, status="failed", folder="two")
    early = runs.add("mean_pool", 4, status="interrupted", folder="two")
    result = json.loads((early / "result.json").read_text())  # before it knew more
    kept = {name: result[name] for name in ("status", "error", "head", "seed", "config")}
    (early / "result.json").write_text(json.dumps({**kept, "metrics": {}}))
    by_glob = compare([str(runs.folder / "*")])
    by_name = compare([str(runs.folder / name) for name in ("one", "two", "two")])
    assert as_csv(by_glob) == as_csv(by_name)
    assert [len(setting.records) for setting in by_name.settings] == [3, 3]
    assert [record.status for record in by_glob.failed] == ["failed", "interrupted"]
    assert f"- interrupted: {early} (ValueError: no luck)" in as_markdown(by_glob)


def test_folders_of_jobs_are_in_the_order_of_their_numbers(runs: Runs) -> None:
    for number in range(11):
        runs.add(
            "max_pool", number, folder=f"job{number}", status="failed" if number else "completed"
        )
    assert [record.seed for record in runs.compare().failed] == [*range(1, 11)]


def test_a_run_without_the_metric_is_left_out_and_said(runs: Runs) -> None:
    for seed in range(3):
        runs.add("max_pool", seed, 0.8, metrics={"test/f1": 0.7})
        runs.add("mean_pool", seed, 0.7)
    runs.add("max_pool", 3, metrics={"test/f1": math.nan})
    comparison = runs.compare("test/f1")
    [setting] = comparison.settings
    assert [*setting.scores.values()] == [0.7] * 3 and len(comparison.left_out) == 4
    assert re.search("- left out, .*1_mean_pool_seed0, .*6_max_pool_seed3", as_markdown(comparison))


def test_a_seed_that_was_run_twice_counts_once(runs: Runs) -> None:
    for seed, accuracy in ((0, 0.8), (1, 0.9), (1, 0.7)):
        runs.add("max_pool", seed, accuracy)
    [setting] = runs.compare().settings
    assert [*setting.scores.values()] == [0.8, pytest.approx(0.8)] and len(setting.records) == 3


def test_different_data_are_refused_unless_told(runs: Runs) -> None:
    for seed in range(3):
        for length in (50, 100):
            data = {"length": length, "seed": seed}
            for head, accuracy in (("max_pool", 0.9), ("mean_pool", 0.8)):
                shown = accuracy - length / 1000
                runs.add(head, seed, shown, fingerprint=f"{length}-{seed}", data=data)
    with pytest.raises(UserError, match="saw different data .* different_data=true"):
        runs.compare()
    comparison = runs.compare(different_data=True)
    assert comparison.keys == ["model.head"] and comparison.grouping.data_keys == ["data.length"]
    for section in comparison.sections:  # each with those that saw the same
        assert [setting.name for setting in section.settings] == ["max_pool", "mean_pool"]
        assert [setting.difference is None for setting in section.settings] == [True, False]
    assert overview(comparison) == [  # all of them at a glance
        ["test/accuracy, %", "max_pool", "mean_pool"],
        ["Vowels, length=50", "85.00", "75.00"],
        ["Vowels, length=100", "80.00", "70.00"],
    ]
    rows = [*csv.DictReader(as_csv(comparison).splitlines())]
    assert [(r["data.length"], r["model.head"]) for r in rows[::2]] == [
        ("50", "max_pool"),
        ("100", "max_pool"),
    ]


def test_a_setting_that_lacks_a_data_set_is_not_the_best_overall(runs: Runs) -> None:
    for data, accuracy in (("easy", 0.9), ("hard", 0.5)):
        named: Any = {"fingerprint": data, "data": {"file": data}}
        runs.add("max_pool", 0, accuracy, **named)
        if data == "easy":
            runs.add("mean_pool", 0, accuracy - 0.1, **named)
    assert overview(runs.compare(different_data=True))[0][1:] == ["max_pool", "mean_pool"]


def test_settings_of_other_seeds_join_those_of_the_same_data(runs: Runs) -> None:
    for seed, head, data in ((0, "a", "x"), (0, "b", "y"), (1, "c", "x"), (2, "d", "z")):
        runs.add(head, seed, fingerprint=data)
    comparison = runs.compare(different_data=True)
    found = {section.data: [s.name for s in section.settings] for section in comparison.sections}
    assert found == {"Vowels, x": ["a", "c"], "Vowels, y": ["b"], "Vowels, z": ["d"]}


@pytest.mark.parametrize("names", [*permutations("xyz")], ids="".join)
def test_settings_belong_together_in_any_order_of_folders(
    runs: Runs, tmp_path: Path, names: tuple[str, ...]
) -> None:
    # b shares no seed with a, and so no data, but each shares one with c
    for folder, head, seeds in zip(names, "abc", ((0, 1), (2, 3), (0, 2))):
        for seed in seeds:
            runs.add(head, seed, folder=folder, fingerprint=f"split {seed}")  # all as good
    files = []
    for order in (names, names[::-1]):
        comparison = compare([str(runs.folder / name) for name in order])
        [section] = comparison.sections
        assert {setting.name for setting in section.settings} == {*"abc"}
        files.append([as_csv(comparison), as_markdown(comparison)])
    assert files[0] == files[1]


def test_runs_on_other_data_make_no_pair(runs: Runs) -> None:
    # by way of b's seeds, all are one section; a and c share seeds, but no data
    for head, data in (("a", "x x x"), ("b", "x x y"), ("c", "y y y")):
        for seed, fingerprint in enumerate(data.split()):
            runs.add(head, seed, 0.5 + seed / 10 + ord(head) / 1000, fingerprint=fingerprint)
    [section] = runs.compare(different_data=True).sections
    shared = {s.name: s.difference and s.difference.shared for s in section.settings}
    assert shared == {"c": None, "b": 1, "a": 0}


def test_the_step_of_a_share_is_a_row_and_that_of_a_loss_is_not(runs: Runs) -> None:
    for seed in range(3):
        for head, score in (("max_pool", 0.5), ("mean_pool", 0.25)):
            sizes = {"examples": {"test": 4 if seed else 8}}
            runs.add(head, seed, score, result=sizes)
    by_share, by_loss = (runs.compare(f"test/{name}").settings[1] for name in ("accuracy", "loss"))
    assert by_share.difference and by_loss.difference
    # of the smallest split, a step is 1/4, and so is the smallest difference of two losses
    assert by_share.difference.p == pytest.approx(by_loss.difference.p)


def test_what_else_differs_is_said(
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
        file = runs.add("max_pool", seed) / "environment.json"
        file.write_text(json.dumps({**found, "threads": 1 + seed}))
    comparison = runs.compare()
    told = [f"commits of your project ({', '.join(sorted(commits))})", "threads (1, 2)"]
    assert comparison.others == told
    assert f"- caution: the runs also differ in {', '.join(told)}\n" in as_markdown(comparison)


# ---------------------------------------------------------------- mistakes


def changed(**values: Any) -> Callable[[str], str]:
    return lambda text: json.dumps(json.loads(text) | values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "[]", "result of a run"),
        (lambda text: "{", "is not JSON"),
        (changed(status=None), "of a run$"),
        (changed(fingerprint=None), "of this version: fingerprint is None"),
        (changed(parameters="many"), "of this version: parameters is 'many'"),
        (changed(seconds={"fit": "long"}), "of this version: seconds.fit is 'long'"),
        (changed(higher_is_better={"mine": "false"}), "higher_is_better.mine is 'false'"),
        (changed(status="failed"), "none of these runs is completed"),
        (changed(metrics={"test/accuracy": math.inf}), "^metric=test/accuracy is not a finite num"),
    ],
)
def test_what_cannot_be_compared_is_named(
    runs: Runs, change: Callable[[str], str], message: str
) -> None:
    file = runs.add("max_pool") / "result.json"
    file.write_text(change(file.read_text()))
    if "failed" in file.read_text():
        file.write_text(changed(metrics={})(file.read_text()))
    with pytest.raises(UserError, match=message):
        runs.compare()


def test_a_folder_or_a_metric_that_is_not_there_is_named(runs: Runs) -> None:
    with pytest.raises(UserError, match="no run there"):
        runs.compare()
    runs.add("max_pool")
    with pytest.raises(UserError, match="^metric=test/acuracy: .*did you mean test/accuracy"):
        runs.compare("test/acuracy")


# ---------------------------------------------------------------- tables


def test_all_tables_say_the_same(sweep: Runs) -> None:
    comparison = sweep.compare()
    assert comparison.metric == "test/accuracy" and comparison.keys == ["model.head"]
    lines = as_csv(comparison).splitlines()
    assert lines[0] == (
        "data,model.head,runs,metric,mean,deviation,interval,difference_to_best,shared_seeds,p,"
        "seeds_needed,parameters,per_second,seconds"
    )
    assert lines[1].endswith(",1234,1000.0,2.5")
    assert (
        "| head | runs | test/accuracy, % | sd | ± 95 % | to best | p | parameters | examples/s | "
        "time, s |"
    ) in as_markdown(comparison)
    rows = [*csv.DictReader(lines)]
    for row in rows:
        for text in (as_markdown(comparison), printed(comparison)):
            found = [line.split() for line in text.replace("|", " ").splitlines()]
            [cells] = [
                each for each in found if each[:1] == [row["model.head"]] and "1,234" in each
            ]
            assert cells[1:3] == ["5", f"{100 * float(row['mean']):.2f}"]
    assert rows[0]["p"] == "" and float(rows[2]["p"]) < 0.05
    assert float(rows[2]["difference_to_best"]) == pytest.approx(-0.21)


def test_no_table_breaks_a_name_of_a_head(runs: Runs) -> None:
    add_rates(runs, (0.01, 0.7), (0.1, 0.9))
    for head in ("bidirectional_concat", "max_attention_pool"):
        for seed in range(3):
            runs.add(head, seed, 0.9 + seed / 100, metrics={"validation/accuracy": 0.1})
    shown = {width: printed(runs.compare(), width) for width in (80, 120)}
    for text in shown.values():
        assert re.search("^ *max_attention_pool ", text, re.MULTILINE) and "…" not in text
    assert "1,234" in shown[120] and "1,234" not in shown[80]  # the costs go first


def test_few_seeds_and_names_with_commas(runs: Runs) -> None:
    for seed in (0, 1):
        runs.add("max_pool", seed, 0.9 + seed / 10, more={"size": 8})
        runs.add("max_pool", seed, 0.5, more={"size": 16})
        runs.add("last_hidden", seed, 0.4, more={"size": 8})
    comparison = runs.compare()
    _, best, second, _ = table(comparison, comparison.sections[0])
    assert best[:8] == ["max_pool", "8", "2", "95.00", "7.07", "-", "", ""]
    assert second[:8] == ["max_pool", "16", "2", "50.00", "0.00", "-", "-45.00", "-"]
    for seed in (2, 3):
        for head, size in (("max_pool", 8), ("max_pool", 16), ("last_hidden", 8)):
            runs.add(head, seed, 0.9, more={"size": size})
    names = "max_pool, size=16; last_hidden, size=8"
    assert f"from {names}." in runs.compare().sections[0].verdict()


def test_text_of_a_run_is_shown_as_it_is(runs: Runs) -> None:
    runs.add("a|b*c\x1b[2J", status="completed")
    runs.add("max_pool", status="failed", result={"error": "\x1b[31mred"})
    comparison = runs.compare()
    assert "\x1b" not in as_markdown(comparison) + as_csv(comparison) + printed(comparison)
    runs.add("a|b*c", 1)
    assert r"| a\|b\*c |" in as_markdown(runs.compare())


@pytest.mark.parametrize(
    ("tokens", "header"),
    [((5.0, 7.0), "tokens/s"), ((5.0, None), "/s"), ((None, None), "examples/s")],
)
def test_costs_are_means_and_say_what_they_count(
    runs: Runs, tokens: tuple[float | None, float | None], header: str
) -> None:
    for head, speed in zip(("max_pool", "mean_pool"), tokens):
        result = {"tokens_per_second": speed, "examples_per_second": None} if speed else {}
        runs.add(head, 0, 0.9, result={**result, "seconds": {"fit": 2.0}})
        runs.add(head, 1, 0.9, result={**result, "seconds": {"fit": 9.0}})
    # its seconds are those since it was resumed
    runs.add("last_hidden", 0, 0.7, result={"seconds": {"fit": 0.1}, "resumed": [{}]})
    comparison = runs.compare()
    headers, *rows, resumed = table(comparison, comparison.sections[0])
    if header != "tokens/s":
        assert headers[-2] == header
    assert [row[-2] for row in rows] == [f"{each or 1000:,.0f}" for each in tokens]
    assert [row[-1] for row in rows] == ["5.5", "5.5"] and resumed[-1] == "-"


# ---------------------------------------------------------------- figures and files


def points(axes: Axes) -> np.ndarray:
    """Everything that is drawn by a horizontal place: dots, means, caps."""
    return np.concatenate([np.atleast_1d(line.get_xdata()) for line in axes.lines])


@pytest.mark.parametrize("metric", ["test/accuracy", "test/loss"])
def test_intervals_end_inside_the_axes_and_where_the_metric_does(runs: Runs, metric: str) -> None:
    runs.add_seeds("max_pool", [0.99, 0.9, 1.0])
    runs.add_seeds("mean_pool", [0.1, 0.02, 0.0])
    [axes] = compared_runs(runs.compare(metric)).axes
    left, right = axes.get_xlim()
    drawn = points(axes)
    assert left < drawn.min() and drawn.max() < right
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
    comparison = runs.compare("test/loss", different_data=True)
    dots, curves = drawn(compared_runs(comparison)), drawn(compared_curves(comparison))
    wanted = [
        [f"C{sorted(places).index(s.name)}" for s in each.settings] for each in comparison.sections
    ]
    assert len({*map(tuple, wanted)}) == 3
    assert [[colour for colour, _ in axes] for axes in curves] == wanted
    assert [list(dict.fromkeys(colour for colour, _ in axes)) for axes in dots] == wanted


def test_curves_of_many_settings_are_told_apart(runs: Runs) -> None:
    for size in range(14):  # more than there are colours
        runs.add("max_pool", 0, 0.9 - size / 100, more={"size": size})
    [lines] = drawn(compared_curves(runs.compare()))
    assert len({*lines}) == len(lines) == 12


@pytest.mark.parametrize(
    ("rows", "by", "places"),
    [("0,0,1\n1,50,2\n2,99,1\n", "epoch", [0, 1, 2]), ("0,50,2\n0,99,1\n", "step", [50, 99])],
)
def test_curves_are_by_epoch_or_by_step(runs: Runs, rows: str, by: str, places: list[int]) -> None:
    (runs.add("max_pool") / "metrics.csv").write_text(f"epoch,step,validation/loss\n{rows}")
    [axes] = compared_curves(runs.compare()).axes
    assert axes.get_xlabel() == by and points(axes).tolist() == places


@pytest.mark.pictures
def test_a_name_of_a_head_is_no_formula(runs: Runs) -> None:
    for head in ("a$b$", "$\\frac{$", "x" * 120):
        runs.add(head, 0)
    *_, runs_file, curves_file = write_comparison(runs.compare(), runs.folder)
    assert runs_file.read_bytes()[:4] == curves_file.read_bytes()[:4] == b"\x89PNG"


FILES = ("csv", "md", "png", "curves.png")


def test_another_metric_leaves_the_files_of_the_sweep(sweep: Runs) -> None:
    folder = sweep.folder
    write_comparison(sweep.compare(), folder)
    own = {path.name: path.read_bytes() for path in folder.glob("comparison.*")}
    assert own.keys() == {f"comparison.{kind}" for kind in FILES}
    paths = write_comparison(sweep.compare("test/loss"), folder)
    assert {path.name: path.read_bytes() for path in folder.glob("comparison.*")} == own
    assert [path.name for path in paths] == [f"comparison_test_loss.{kind}" for kind in FILES]
    shown = re.findall(r"^!\[[^]]+\]\((.+)\)$", paths[1].read_text(), flags=re.MULTILINE)
    assert [folder / name for name in shown] == paths[2:]
    again = write_comparison(sweep.compare(), folder)  # the same metric replaces them
    assert {path.name for path in again} == own.keys()


@pytest.mark.parametrize("content", ["mine\n", "", "a" * 200_000 + "\n1\n", "\xff,\n\x80"])
def test_a_table_of_yours_is_not_replaced(sweep: Runs, content: str) -> None:
    yours = sweep.folder / "comparison.csv"
    yours.write_text(content, encoding="latin-1")
    assert yours not in write_comparison(sweep.compare(), sweep.folder)
    assert yours.read_text(encoding="latin-1") == content


@pytest.mark.slow
def test_a_sweep_of_real_runs_is_compared(script: Script, refused: Refused, tmp_path: Path) -> None:
    quick = ("trainer=cpu", "trainer.max_epochs=1", "model.encoder.hidden_size=8", "baseline=false")
    script("train.py", "-m", "model.head=last_hidden,max_pool", "seed=0,1", *quick)
    [sweep] = (tmp_path / "runs").iterdir()
    compared = script("compare.py", str(sweep))
    assert re.search(r"max_pool +2 +\d", compared.stdout)
    assert (sweep / "comparison.curves.png").is_file()
    elsewhere = script("compare.py", str(sweep), "metric=test/macro_f1", "output=here")
    assert "macro_" in elsewhere.stdout and (tmp_path / "here" / "comparison.md").is_file()
    assert "name the folders to compare" in refused("compare.py")
