"""Tables of the studies, from the lines of their results: means over seeds, ranks over sets."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from seqmodels.compare.comparison import Across
from seqmodels.compare.statistics import LEVEL, RESAMPLES, over_sets

RESULTS = Path(__file__).parent / "results.jsonl"

NOT_YET = ["No set has all of this yet.", ""]

Result = Mapping[str, Any]
"""A line of the results."""

Scores = dict[str, dict[str, float]]
"""A number of each arm on each set, the mean over seeds: `{set: {arm: number}}`."""


def read_results(file: Path = RESULTS) -> list[Result]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def print_answer(answer: Callable[[Sequence[Result], Path | None], list[str]]) -> None:
    """Prints what a study answers, for a script: the first word is the file of the results, and the
    second the folder of the pictures."""
    words = [*map(Path, sys.argv[1:]), None, None]
    file = words[0] or RESULTS
    if not file.is_file():
        print(f"error: {file}: no such file", file=sys.stderr)
        sys.exit(2)
    pictures = words[1]
    if pictures:
        pictures.mkdir(parents=True, exist_ok=True)
    print("\n".join(answer(read_results(file), pictures)))


def mean_over_seeds(
    results: Iterable[Result],
    arms: Sequence[str] | None = None,
    number_of: Callable[[Result], float] = lambda result: result["test"],
) -> Scores:
    """The number of each arm on each set, by default the test accuracy: the mean over the seeds
    that all arms of the set have. In a study that is half done, a mean over three seeds beside
    single ones would be best, or worst, too seldom."""
    numbers: dict[str, dict[str, dict[int, float]]] = {}
    for result in results:
        if arms is None or result["arm"] in arms:
            numbers_of_set = numbers.setdefault(result["set"], {})
            numbers_of_set.setdefault(result["arm"], {})[result["seed"]] = number_of(result)
    scores: Scores = {}
    for name, numbers_of_set in numbers.items():
        seeds = set.intersection(*map(set, numbers_of_set.values()))
        if seeds:
            scores[name] = {
                arm: fmean(number_of_seed[seed] for seed in seeds)
                for arm, number_of_seed in numbers_of_set.items()
            }
    return scores


def compared(scores: Scores, arms: Sequence[str], sets: Iterable[str] | None = None) -> Across:
    """Some arms over some sets, of those that have all of these arms."""
    names = complete_sets(scores, arms, sets)
    numbers = np.array([[scores[name][arm] for arm in arms] for name in names])
    ranked = over_sets(numbers.reshape(len(names), len(arms)), higher_is_better=True)
    values = [(arm,) for arm in arms]
    return Across(names, [*arms], values, numbers, ranked, points=True)


def complete_sets(
    scores: Scores, arms: Sequence[str], sets: Iterable[str] | None = None
) -> list[str]:
    """The sets that have all of these arms."""
    names = scores if sets is None else sets
    return [name for name in names if {*arms} <= scores.get(name, {}).keys()]


def table_over_sets(across: Across) -> list[str]:
    """Ranks, means, and the difference of each arm to the one with the best mean rank."""
    header = ["arm", "sets", "mean rank", "accuracy, %", "best on"]
    header += ["median to best", "95 % from", "to", "p"]
    rows = []
    for place, arm in enumerate(across.ranked):
        cells = [
            f"`{across.names[arm.setting]}`",
            str(arm.sets),
            f"{arm.mean_rank:.2f}",
            f"{100 * arm.mean:.2f}",
            str(arm.best_on),
        ]
        if place:
            points = [arm.median_difference, arm.low, arm.high]
            cells += [f"{100 * number:z.2f}" for number in points]
            cells.append(written_p(arm.p))
        else:
            cells += [""] * 4
        rows.append(cells)
    return markdown(header, rows)


def p_of(across: Across, first: str, second: str) -> float:
    """The p of two arms, corrected for all pairs."""
    numbers = {arm.setting: arm for arm in across.ranked}
    return numbers[across.names.index(first)].pairs[across.names.index(second)]


def median_difference(across: Across, first: str, second: str) -> float:
    """By how many points the first arm is above the second, in the median over sets."""
    columns = [across.names.index(arm) for arm in (first, second)]
    above = across.scores[:, columns[0]] - across.scores[:, columns[1]]
    return 100 * float(np.median(above))


def pair(across: Across, first: str, second: str) -> str:
    """A sentence on two arms."""
    points = median_difference(across, first, second)
    p = p_of(across, first, second)
    return f"`{first}` above `{second}`: {points:z.2f} points in the median, {sentence_of_p(p)}."


def mean_ranks(scores: Scores, arms: Sequence[str], sets: Iterable[str]) -> dict[str, float]:
    if not complete_sets(scores, arms, sets):
        return {}
    across = compared(scores, arms, sets)
    return {across.names[arm.setting]: arm.mean_rank for arm in across.ranked}


def median_with_interval(numbers: Sequence[float]) -> tuple[float, float, float]:
    """The median over sets, and the ends of its 95 % interval by drawing the sets again."""
    values = np.sort(numbers)
    draws = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    medians = np.median(values[draws], axis=1)
    low, high = np.quantile(medians, [LEVEL / 2, 1 - LEVEL / 2])
    return float(np.median(values)), float(low), float(high)


def written_p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def sentence_of_p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def columns_of_numbers(
    title: str, columns: Mapping[str, Mapping[str, float]], digits: int = 2
) -> list[str]:
    """A table with a row for each arm, as code, or for each set, and a column for each mapping."""
    names: dict[str, None] = {}
    for column in columns.values():
        names.update(dict.fromkeys(column))
    rows = []
    for name in names:
        cells = [
            f"{column[name]:z.{digits}f}" if name in column else "-" for column in columns.values()
        ]
        rows.append([name if title == "set" else f"`{name}`", *cells])
    return markdown([title, *columns], rows)


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table in Markdown, whose first column holds names."""
    lines = [f"| {' | '.join(header)} |", f"|---|{'---:|' * (len(header) - 1)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return [*lines, ""]
