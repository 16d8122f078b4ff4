"""Does a temperature help? The table of the shipped recipes, from the results.

python examples/studies/calibration.py
python examples/studies/calibration.py mine.jsonl
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

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
    titles = [*NUMBERS.values()]
    for before, after in (titles[:2], titles[2:]):
        changes = [columns[after][name] - columns[before][name] for name in columns[before]]
        middle, low, high = median_with_interval(changes)
        fallen = sum(change < 0 for change in changes)
        p = sentence_of_p(signed_rank_p(np.array(changes)))
        lines.append(
            f"{before}: falls on {fallen} of {len(changes)} sets, by {-middle:.2f} in the median "
            f"(95 %: {-high:.2f} to {-low:.2f}), {p}."
        )
    return lines


def only_arm(scores: Scores) -> dict[str, float]:
    """The number of the one arm that each set has here."""
    return {name: next(iter(of_set.values())) for name, of_set in scores.items()}


if __name__ == "__main__":
    print_answer(answer)
