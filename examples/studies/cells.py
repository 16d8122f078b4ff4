"""Which cell, and which size? The tables of docs/which_cell.md, from the results.

python examples/studies/cells.py
python examples/studies/cells.py mine.jsonl pictures/
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

from arms import CELLS, SIZES
from heads import halves, value_of_sets
from tables import (
    NOT_YET,
    Result,
    Scores,
    columns_of_numbers,
    compared,
    complete_sets,
    mean_over_seeds,
    mean_ranks,
    pair,
    print_answer,
    table_over_sets,
)

from seqmodels.compare.comparison import Across
from seqmodels.compare.writing import critical_differences, scores_by_set
from seqmodels.files import write_figure

# The arm `concat_pool` is an LSTM with one layer of 128 units.
LSTM = "concat_pool"
ARMS_OF_CELLS = ("lstm", *CELLS)
ARMS_OF_SIZES = ("128 x 1", *(f"{units} x {layers}" for units, layers in SIZES))
# Its trainings ran on one machine, two side by side, so that their times can be compared.
TIMED_SEED = 0


def answer(results: Sequence[Result], pictures: Path | None = None) -> list[str]:
    lines = []
    for title, arms in (("cell", ARMS_OF_CELLS), ("size", ARMS_OF_SIZES)):
        named = [*renamed(results, arms)]
        scores = mean_over_seeds(named)
        lines += [f"## Which {title}?", ""]
        if not complete_sets(scores, arms):
            lines += NOT_YET
            continue
        across = compared(scores, arms)
        if pictures:
            draw(across, pictures, title)
        lines += [*table_over_sets(across), across.verdict()]
        lines += [pair(across, arm, arms[0]) for arm in arms[1:]]
        lines.append("")
        lines += costs(named, arms)
        lines += groups(results, scores, arms)
    return lines


def renamed(results: Iterable[Result], arms: Sequence[str]) -> Iterable[Result]:
    """The lines of some arms; the network that both questions change is called as they do."""
    for result in results:
        arm = arms[0] if result["arm"] == LSTM else result["arm"]
        if arm in arms:
            yield {**result, "arm": arm}


def draw(across: Across, folder: Path, title: str) -> None:
    write_figure(folder / f"which_{title}_ranks.png", critical_differences(across), dpi=160)
    picture = scores_by_set(across, "test/accuracy", higher_is_better=True)
    write_figure(folder / f"which_{title}_sets.png", picture, dpi=160)


def costs(results: Sequence[Result], arms: Sequence[str]) -> list[str]:
    """Parameters, and the time of a training as a multiple of the first arm's, in the median."""
    columns: dict[str, dict[str, float]] = {"parameters, thousands": {}, "time": {}}
    timed = [result for result in results if result["seed"] == TIMED_SEED]
    seconds = mean_over_seeds(timed, arms, lambda result: result["seconds"])
    parameters = mean_over_seeds(results, arms, lambda result: result["parameters"])
    for arm in arms:
        names = [name for name, of_set in seconds.items() if {arm, arms[0]} <= of_set.keys()]
        if names:
            thousands = [parameters[name][arm] / 1000 for name in names]
            columns["parameters, thousands"][arm] = median(thousands)
            ratios = [seconds[name][arm] / seconds[name][arms[0]] for name in names]
            columns["time"][arm] = median(ratios)
    return columns_of_numbers("arm", columns)


def groups(results: Sequence[Result], scores: Scores, arms: Sequence[str]) -> list[str]:
    """Mean ranks on halves of the sets: explored, not decided before."""
    kind_of_set = value_of_sets(results, "kind")
    sets: dict[str, list[str]] = {"series": [], "texts": []}
    for name, kind in kind_of_set.items():
        sets[kind].append(name)
    sets["short"], sets["long"] = halves(value_of_sets(results, "length"))
    sets["few examples"], sets["many examples"] = halves(value_of_sets(results, "examples"))
    columns = {}
    for title, names_of_group in sets.items():
        names = complete_sets(scores, arms, names_of_group)
        ranks = mean_ranks(scores, arms, names)
        if ranks:
            columns[f"{title} ({len(names)})"] = ranks
    return ["Explored: mean ranks on some of the sets.", "", *columns_of_numbers("arm", columns)]


if __name__ == "__main__":
    print_answer(answer)
