"""Does a temperature help? The table of the shipped recipes, from the results.

python examples/studies/calibration.py
python examples/studies/calibration.py mine.jsonl
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median

import numpy as np
from tables import (
    NOT_YET,
    Result,
    Scores,
    columns_of_numbers,
    mean_over_seeds,
    median_with_interval,
    print_answer,
    sentence_of_p,
)

from seqmodels.compare.statistics import signed_rank_p
from seqmodels.tasks.classification.task import FEWEST_ROWS

# The heads of the shipped recipes.
HEAD_OF_RECIPE = {"series": "concat_pool", "texts": "max_pool"}
NUMBERS = {
    "error_as_it_is": "error, %",
    "error_divided": "with a temperature",
    "loss_as_it_is": "loss x 100",
    "loss_divided": "with it",
}


def answer(results: Sequence[Result], pictures: Path | None = None) -> list[str]:
    of_recipes = [result for result in results if result["arm"] == HEAD_OF_RECIPE[result["kind"]]]
    if not of_recipes:
        return NOT_YET
    columns: dict[str, dict[str, float]] = {}
    for key, title in NUMBERS.items():
        scores = mean_over_seeds(of_recipes, None, lambda result, key=key: 100 * result[key])
        columns[title] = only_arm(scores)
    temperatures = mean_over_seeds(of_recipes, None, lambda result: result["temperature"])
    lines = columns_of_numbers(
        "set",
        {**columns, "temperature": only_arm(temperatures)},
    )
    enough = {
        result["set"] for result in of_recipes if result["examples"]["validation"] >= FEWEST_ROWS
    }
    lines += changes(columns, columns["error, %"])
    if enough:
        lines += ["", f"Explored: with at least {FEWEST_ROWS} rows of validation,"]
        lines += changes(columns, enough)
    return lines


def changes(columns: Mapping[str, Mapping[str, float]], names: Iterable[str]) -> list[str]:
    """What a temperature changes on these sets."""
    titles = [*NUMBERS.values()]
    lines = []
    for before, after in (titles[:2], titles[2:]):
        names = [*names]
        differences = [columns[after][name] - columns[before][name] for name in names]
        medians = [median(columns[title][name] for name in names) for title in (before, after)]
        middle, low, high = median_with_interval(differences)
        fallen = sum(difference < 0 for difference in differences)
        p = sentence_of_p(signed_rank_p(np.array(differences)))
        lines.append(
            f"{before}: falls on {fallen} of {len(differences)} sets, by {-middle:z.2f} in the "
            f"median (95 %: {-high:z.2f} to {-low:z.2f}), {p}; its median, from {medians[0]:.2f} "
            f"to {medians[1]:.2f}."
        )
    return lines


def only_arm(scores: Scores) -> dict[str, float]:
    """The number of the one arm that each set has here."""
    return {name: next(iter(of_set.values())) for name, of_set in scores.items()}


if __name__ == "__main__":
    print_answer(answer)
