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

# Each series is hidden in so many pieces, one at a time.
QUARTERS = 4
# The right head of each wrong one.
WRONG = {"padded_last_step_of_both": "bidirectional_concat", "padded_mean": "mean_pool"}

Scores = dict[str, dict[str, float]]
"""The accuracy of each head on each data set: `{set: {head: accuracy}}`."""


def set_of(run: Record) -> str:
    """The data set of a run: the folder around its own."""
    return run.folder.parent.name


def scores_of(runs: Iterable[Record]) -> Scores:
    """The mean test accuracy over seeds."""
    accuracies: dict[str, dict[str, list[float]]] = {}
    for run in runs:
        if run.completed:
            accuracies_of_set = accuracies.setdefault(set_of(run), {})
            accuracies_of_set.setdefault(run.head, []).append(run.score("test/accuracy"))
    scores: Scores = {}
    for name, accuracies_of_set in accuracies.items():
        scores[name] = {head: fmean(values) for head, values in accuracies_of_set.items()}
    return scores


def ranks_of(scores: Scores, sets: Iterable[str]) -> dict[str, float]:
    """The mean rank of each head over some sets."""
    scored_sets = [scores[name] for name in sets if name in scores]
    heads = sorted(set(chain.from_iterable(scored_sets)))
    if not scored_sets or len(heads) < 2:
        return {}
    accuracies = np.full((len(scored_sets), len(heads)), np.nan)
    for row, accuracy_by_head in enumerate(scored_sets):
        for column, head in enumerate(heads):
            accuracies[row, column] = accuracy_by_head.get(head, np.nan)
    ranks = over_sets(accuracies, higher_is_better=True)
    return {heads[rank.setting]: rank.mean_rank for rank in ranks}


def table(title: str, columns: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A table in Markdown: a row for each head, or set; a column for each mapping."""
    lines = [f"| {' | '.join((title, *columns))} |", f"|---|{'---:|' * len(columns)}"]
    for name in dict.fromkeys(chain(*columns.values())):
        cells = [name]
        for column in columns.values():
            value = column.get(name, "")
            cells.append(value if isinstance(value, str) else f"{value:.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def with_names_of_sets(comparison: Comparison) -> Comparison:
    """The comparison with the names of the study for its data sets, instead of those of files."""
    names = []
    sections = []
    for section in comparison.sections:
        first_run = section.settings[0].records[0]
        names.append(set_of(first_run))
        sections.append(replace(section, data=set_of(first_run)))
    across = comparison.across
    if across:
        across = replace(across, sets=names)
    return replace(comparison, sections=sections, across=across)


def read_probes(folder: Path) -> dict[Path, Any]:
    """What the study has probed of its runs, by the run's folder."""
    return {file.parent: read_json(file) for file in sorted(folder.glob("*/*/probe.json"))}


def kinds(scores: Scores, runs: Iterable[Record], probes: Mapping[Path, Any]) -> list[str]:
    """Mean ranks on series and on texts, and on the halves of the sets by length and size."""
    sets_by_kind: dict[str, list[str]] = {}
    sizes = {}
    for run in runs:
        sizes[set_of(run)] = run.examples.get("train", 0)
        kind = "texts" if "data.tokenizer" in run.config else "series"
        sets_of_kind = sets_by_kind.setdefault(kind, [])
        if set_of(run) not in sets_of_kind:
            sets_of_kind.append(set_of(run))
    lengths = {folder.parent.name: probe["length"] for folder, probe in probes.items()}
    sets_by_kind["short"], sets_by_kind["long"] = halves(lengths)
    sets_by_kind["small"], sets_by_kind["large"] = halves(sizes)
    columns = {}
    for kind, sets in sets_by_kind.items():
        columns[f"{kind} ({len(sets)})"] = ranks_of(scores, sets)
    return [
        "Mean ranks on some of the sets (how many). Short: the network reads a median test series "
        f"in {median(lengths.values()):g} steps or fewer, some of which are several of the series' "
        f"own side by side. Small: {median(sizes.values()):g} training examples or fewer.",
        "",
        *table("head", columns),
    ]


def halves(numbers: Mapping[str, float]) -> tuple[list[str], list[str]]:
    """The sets with the median number or less, and those with more."""
    middle = median(numbers.values())
    lower_half = [name for name, number in numbers.items() if number <= middle]
    upper_half = [name for name, number in numbers.items() if number > middle]
    return lower_half, upper_half


def size_matters(scores: Scores, fifth: Scores) -> list[str]:
    """Ranks with all of the training and with a fifth, and what a head loses by that."""
    sets = [name for name in scores if name in fifth]
    changes: dict[str, list[float]] = {}
    for name in sets:
        for head in scores[name].keys() & fifth[name].keys():
            change = 100 * (fifth[name][head] - scores[name][head])
            changes.setdefault(head, []).append(change)
    columns = {
        "mean rank": ranks_of(scores, sets),
        "with a fifth": ranks_of(fifth, sets),
        "median change, points": {head: median(changes[head]) for head in sorted(changes)},
    }
    return [f"{len(sets)} sets, trained on all and on a fifth.", "", *table("head", columns)]


def evidence(scores: Scores, runs: Iterable[Record], probes: Mapping[Path, Any]) -> list[str]:
    """What a head loses when a quarter is hidden, and who is best where that quarter is."""
    # By set and head, for each seed: what the run loses without each quarter.
    losses: dict[tuple[str, str], list[list[float]]] = {}
    for run in runs:
        if run.folder in probes:
            accuracy = run.score("test/accuracy")
            accuracies_without = probes[run.folder]["hidden"]
            losses_of_run = [100 * (accuracy - without) for without in accuracies_without]
            losses.setdefault((set_of(run), run.head), []).append(losses_of_run)

    losses_by_head: dict[str, list[np.ndarray]] = {}
    losses_by_set: dict[str, list[np.ndarray]] = {}
    for (name, head), losses_of_seeds in losses.items():
        mean_losses = np.mean(losses_of_seeds, axis=0)  # (QUARTERS,)
        losses_by_head.setdefault(head, []).append(mean_losses)
        losses_by_set.setdefault(name, []).append(mean_losses)

    mean_losses_by_head = {
        head: np.mean(losses_of_sets, axis=0) for head, losses_of_sets in losses_by_head.items()
    }
    columns: dict[str, dict[str, float]] = {}
    for quarter in range(QUARTERS):
        columns[f"quarter {quarter + 1}"] = {
            head: mean_losses[quarter] for head, mean_losses in mean_losses_by_head.items()
        }

    sets_by_quarter: dict[int, list[str]] = {}
    for name, losses_of_heads in losses_by_set.items():
        costliest_quarter = int(np.mean(losses_of_heads, axis=0).argmax())
        sets_by_quarter.setdefault(costliest_quarter, []).append(name)
    ranks = {}
    for quarter, names in sorted(sets_by_quarter.items()):
        ranks[f"most in quarter {quarter + 1} ({len(names)})"] = ranks_of(scores, names)
    return [
        "Points of accuracy that a head loses if a quarter is hidden from the test, on average.",
        "",
        *table("head", columns),
        "Mean ranks, by the quarter whose loss costs all heads most (sets).",
        "",
        *table("head", ranks),
    ]


def price(
    scores: Scores,
    wrong_scores: Scores,
    probes: Mapping[Path, Any],
    heads: Mapping[Path, str],
) -> list[str]:
    """Points that each wrong head loses against the right one, in several batches.

    Args:
        heads: the head of each run, by the run's folder.
    """
    lines: list[str] = []
    for wrong_head, right_head in WRONG.items():
        trained = {}
        for name, accuracy_by_head in wrong_scores.items():
            if wrong_head in accuracy_by_head and right_head in scores.get(name, {}):
                trained[name] = accuracy_by_head[wrong_head]
        accuracies_by_batches = {"in its own batches": trained}
        for batches in ("one by one", "all in one"):
            probed = probed_accuracies(batches, wrong_head, probes, heads)
            accuracies_by_batches[batches] = {
                name: accuracy for name, accuracy in probed.items() if name in trained
            }
        columns = {}
        for batches, accuracies in accuracies_by_batches.items():
            points = {
                name: 100 * (accuracy - scores[name][right_head])
                for name, accuracy in accuracies.items()
            }
            if points:
                points |= {"*median*": median(points.values()), "*worst*": min(points.values())}
            columns[batches] = points
        lines += [
            f"Points of `{wrong_head}` above `{right_head}`, tested in batches:",
            "",
            *table("set", columns),
        ]
    return lines


def probed_accuracies(
    batches: str, head: str, probes: Mapping[Path, Any], heads: Mapping[Path, str]
) -> dict[str, float]:
    """The mean accuracy of a head on each set, tested in such batches."""
    accuracies: dict[str, list[float]] = {}
    for folder, probe in probes.items():
        if heads.get(folder) == head and batches in probe:
            accuracies.setdefault(folder.parent.name, []).append(probe[batches])
    return {name: fmean(values) for name, values in accuracies.items()}


def report(output: Path) -> list[str]:
    """Tables in Markdown of all that is completed; pictures go into the folder."""
    comparison = with_names_of_sets(compare([str(output / "heads")], "test/accuracy"))
    runs, _ = find_runs([str(output / "heads")])
    scores = scores_of(runs)
    probes = read_probes(output / "heads")
    lines = ["# Which head is best?", "", as_markdown(comparison)]
    write_text(output / "comparison.csv", as_csv(comparison))
    if comparison.across:
        write_figure(output / "ranks.png", critical_differences(comparison.across), dpi=160)
        picture = scores_by_set(comparison.across, "test/accuracy", higher_is_better=True)
        write_figure(output / "sets.png", picture, dpi=160)
        lines += ["![Mean ranks](ranks.png)", "", "![Every set](sets.png)", ""]
    if probes:
        lines += ["# On which data?", "", *kinds(scores, runs, probes)]
        lines += ["# Where is the evidence?", "", *evidence(scores, runs, probes)]
    if [*(output / "fifth").glob("*/*/result.json")]:
        fifth_runs, _ = find_runs([str(output / "fifth")])
        fifth_scores = scores_of(fifth_runs)
        lines += ["# Does the size of training matter?", "", *size_matters(scores, fifth_scores)]
    if [*(output / "wrong").glob("*/*/result.json")]:
        wrong_runs, _ = find_runs([str(output / "wrong")])
        wrong_probes = read_probes(output / "wrong")
        heads = {run.folder: run.head for run in wrong_runs}
        lines += ["# The price of the mistake", ""]
        lines += price(scores, scores_of(wrong_runs), wrong_probes, heads)
    return lines
