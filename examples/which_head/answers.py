"""The tables and pictures of the study, from the folders of its runs."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np

from seqmodels.compare.comparison import Comparison, compare
from seqmodels.compare.runs import Record, find_runs
from seqmodels.compare.statistics import over_sets
from seqmodels.compare.tables import as_csv, as_markdown
from seqmodels.compare.writing import critical_differences, scores_by_set
from seqmodels.files import write_figure, write_text
from seqmodels.plain_values import read_json

QUARTERS = 4  # of a series, hidden one at a time
# the right head of each wrong one
WRONG = {"padded_last_step_of_both": "bidirectional_concat", "padded_mean": "mean_pool"}
Scores = dict[str, dict[str, float]]  # by set and head


def scores_of(runs: Iterable[Record]) -> Scores:
    """Mean test accuracy over seeds; the set is the folder around that of the run."""
    found: dict[str, dict[str, list[float]]] = {}
    for run in runs:
        if run.completed:
            of_set = found.setdefault(run.folder.parent.name, {})
            of_set.setdefault(run.head, []).append(run.score("test/accuracy"))
    return {name: {head: fmean(v) for head, v in of.items()} for name, of in found.items()}


def ranks_of(scores: Scores, sets: Iterable[str]) -> dict[str, float]:
    """The mean rank of each head over some sets."""
    some = [scores[name] for name in sets if name in scores]
    heads = sorted({*chain(*some)})
    if not some or len(heads) < 2:
        return {}
    table = np.array([[each.get(head, np.nan) for head in heads] for each in some])
    return {heads[row.setting]: row.mean_rank for row in over_sets(table, higher_is_better=True)}


def table(title: str, columns: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """In Markdown: a row for each head, or set; a column for each mapping."""
    names = dict.fromkeys(chain(*columns.values()))
    lines = [f"| {' | '.join((title, *columns))} |", f"|---|{'---:|' * len(columns)}"]
    for name in names:
        cells = (column.get(name, "") for column in columns.values())
        shown = (each if isinstance(each, str) else f"{each:.2f}" for each in cells)
        lines.append(f"| {' | '.join((name, *shown))} |")
    return [*lines, ""]


def named(comparison: Comparison) -> Comparison:
    """Its data sets by the names of the study, instead of those of files."""
    names = [section.settings[0].records[0].folder.parent.name for section in comparison.sections]
    pairs = zip(comparison.sections, names, strict=True)
    sections = [replace(section, data=name) for section, name in pairs]
    across = comparison.across and replace(comparison.across, sets=names)
    return replace(comparison, sections=sections, across=across)


def read_probes(folder: Path) -> dict[Path, Any]:
    return {file.parent: read_json(file) for file in sorted(folder.glob("*/*/probe.json"))}


def kinds(scores: Scores, runs: Iterable[Record], probes: Mapping[Path, Any]) -> list[str]:
    """Mean ranks on series and on texts, and on the halves of the sets by length and size."""
    of_kind: dict[str, set[str]] = {}
    for run in runs:
        kind = "texts" if "data.tokenizer" in run.config else "series"
        of_kind.setdefault(kind, set()).add(run.folder.parent.name)
    lengths = {run.parent.name: found["length"] for run, found in probes.items()}
    sizes = {run.folder.parent.name: run.examples.get("train", 0) for run in runs}
    short, long = halves(lengths)
    small, large = halves(sizes)
    of = {**of_kind, "short": short, "long": long, "small": small, "large": large}
    columns = {f"{kind} ({len(sets)})": ranks_of(scores, sets) for kind, sets in of.items()}
    return [
        "Mean ranks on some of the sets (how many). Short: the network reads a median test series "
        f"in {median(lengths.values()):g} steps or fewer, some of which are several of the series' "
        f"own side by side. Small: {median(sizes.values()):g} training examples or fewer.",
        "",
        *table("head", columns),
    ]


def halves(of_set: Mapping[str, float]) -> tuple[list[str], list[str]]:
    """The sets with the median or less, and the others."""
    middle = median(of_set.values())
    few = [name for name, number in of_set.items() if number <= middle]
    return few, [name for name in of_set if name not in few]


def size_matters(scores: Scores, fifth: Scores) -> list[str]:
    both, lost = [name for name in scores if name in fifth], dict[str, list[float]]()
    for name in both:
        for head in scores[name].keys() & fifth[name].keys():
            lost.setdefault(head, []).append(100 * (fifth[name][head] - scores[name][head]))
    columns = {
        "mean rank": ranks_of(scores, both),
        "with a fifth": ranks_of(fifth, both),
        "median change, points": {head: median(each) for head, each in sorted(lost.items())},
    }
    return [f"{len(both)} sets, trained on all and on a fifth.", "", *table("head", columns)]


def evidence(scores: Scores, runs: Iterable[Record], probes: Mapping[Path, Any]) -> list[str]:
    """What a head loses when a quarter is hidden, and who is best where that quarter is."""
    lost: dict[tuple[str, str], list[list[float]]] = {}
    for run in runs:
        if run.folder in probes:
            hidden = probes[run.folder]["hidden"]
            each = [100 * (run.score("test/accuracy") - accuracy) for accuracy in hidden]
            lost.setdefault((run.folder.parent.name, run.head), []).append(each)
    means = {key: np.mean(each, 0) for key, each in lost.items()}
    heads = dict.fromkeys(head for _, head in means)
    by_head = {head: np.mean([v for (_, h), v in means.items() if h == head], 0) for head in heads}
    where: dict[int, list[str]] = {}
    for name in dict.fromkeys(name for name, _ in means):
        quarter = int(np.mean([v for (n, _), v in means.items() if n == name], 0).argmax())
        where.setdefault(quarter, []).append(name)
    columns = {f"quarter {n + 1}": {h: v[n] for h, v in by_head.items()} for n in range(QUARTERS)}
    ranks = {
        f"most in quarter {n + 1} ({len(names)})": ranks_of(scores, names)
        for n, names in sorted(where.items())
    }
    lines = [
        "Points of accuracy that a head loses if a quarter is hidden from the test, on average.",
        "",
    ]
    lines += table("head", columns)
    lines += ["Mean ranks, by the quarter whose loss costs all heads most (sets).", ""]
    return lines + table("head", ranks)


def price(
    scores: Scores, wrong: Scores, probes: Mapping[Path, Any], by_run: Mapping[Path, str]
) -> list[str]:
    """Points that each wrong head loses against the right one, in several batches."""
    lines: list[str] = []
    for head, right in WRONG.items():
        trained = {
            n: wrong[n][head] for n in wrong if head in wrong[n] and right in scores.get(n, {})
        }
        columns = {"in its own batches": trained}
        for size in ("one by one", "all in one"):
            found: dict[str, list[float]] = {}
            for run, values in probes.items():
                if by_run.get(run) == head and size in values:
                    found.setdefault(run.parent.name, []).append(values[size])
            columns[size] = {n: fmean(v) for n, v in found.items() if n in trained}
        lost = {
            size: {n: 100 * (each - scores[n][right]) for n, each in column.items()}
            for size, column in columns.items()
        }
        for column in lost.values():
            if column:
                each = [*column.values()]
                column |= {"*median*": median(each), "*worst*": min(each)}
        lines += [
            f"Points of `{head}` above `{right}`, tested in batches:",
            "",
            *table("set", lost),
        ]
    return lines


def report(output: Path) -> list[str]:
    """Tables in Markdown of all that is completed; pictures into the folder."""
    comparison = named(compare([str(output / "heads")], "test/accuracy"))
    runs, _ = find_runs([str(output / "heads")])
    scores, probes = scores_of(runs), read_probes(output / "heads")
    lines = ["# Which head is best?", "", as_markdown(comparison)]
    write_text(output / "comparison.csv", as_csv(comparison))
    if comparison.across:
        write_figure(output / "ranks.png", critical_differences(comparison.across), dpi=160)
        write_figure(output / "sets.png", scores_by_set(comparison, comparison.across), dpi=160)
        lines += ["![Mean ranks](ranks.png)", "", "![Every set](sets.png)", ""]
    if probes:
        lines += ["# On which data?", "", *kinds(scores, runs, probes)]
        lines += ["# Where is the evidence?", "", *evidence(scores, runs, probes)]
    if [*(output / "fifth").glob("*/*/result.json")]:
        runs_on_a_fifth, _ = find_runs([str(output / "fifth")])
        fifth = scores_of(runs_on_a_fifth)
        lines += ["# Does the size of training matter?", "", *size_matters(scores, fifth)]
    if [*(output / "wrong").glob("*/*/result.json")]:
        found, _ = find_runs([str(output / "wrong")])
        tested = read_probes(output / "wrong")
        by_run = {run.folder: run.head for run in found}
        lines += [
            "# The price of the mistake",
            "",
            *price(scores, scores_of(found), tested, by_run),
        ]
    return lines
