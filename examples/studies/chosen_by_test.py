"""What does choosing by the test split bring? The tables and the picture of docs/chosen_by_test.md.

python examples/studies/chosen_by_test.py
python examples/studies/chosen_by_test.py mine.jsonl pictures/
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
from arms import Arm, arms_of_cells, arms_of_heads, arms_of_sizes
from matplotlib.figure import Figure
from published import ACCURACIES, SETS
from tables import (
    NOT_YET,
    Result,
    columns_of_numbers,
    markdown,
    median_with_interval,
    print_answer,
)

from seqmodels.files import write_figure

RECIPE = "concat_pool"
# So many settings are tried, of which one is chosen; fewer than all are drawn so often.
TRIED = 5
DRAWS = 200
EPOCHS_TOO = "all and their epochs by the {}"


def answer(results: Sequence[Result], pictures: Path | None = None) -> list[str]:
    epochs = epochs_by_set(results)
    settings = settings_by_set(results)
    if pictures and epochs:
        write_figure(pictures / "chosen_by_test.png", drawn(epochs), dpi=160)
    return [
        "## The epoch",
        "",
        *(columns_of_numbers("set", transposed(epochs)) if epochs else NOT_YET),
        *gains(epochs, "by the test", ("last", "by the validation")),
        *validation_and_last(epochs),
        "",
        "## The setting",
        "",
        *(columns_of_numbers("set", transposed(settings)) if settings else NOT_YET),
        *gains(settings, "5 by the test", ("5 by the validation", "the recipe")),
        *gains(settings, "all by the test", ("all by the validation", "the recipe")),
        *gains(
            settings, EPOCHS_TOO.format("test"), (EPOCHS_TOO.format("validation"), "the recipe")
        ),
        "",
        "## An LSTM in the published table",
        "",
        *published_with_lstm(epochs, settings),
    ]


# ---------------------------------------------------------------- the epoch


def epochs_of(result: Result) -> dict[str, float]:
    """The test accuracy, %, of one training at its last look, and at the best ones."""
    test = result["test_accuracy"]
    by_validation = max(range(len(test)), key=lambda look: validation_of(result, look))
    return {
        "last": 100 * test[-1],
        "by the validation": 100 * test[by_validation],
        "by the test": 100 * max(test),
    }


def validation_of(result: Result, look: int) -> tuple[float, float]:
    """What a look is chosen by: the accuracy, and of equal ones the lower loss."""
    return result["validation_accuracy"][look], -result["validation_loss"][look]


def epochs_by_set(results: Iterable[Result]) -> dict[str, dict[str, float]]:
    """The same for each set, the mean over the seeds of the recipe."""
    numbers: dict[str, list[dict[str, float]]] = {}
    for result in results:
        if result["arm"] == RECIPE:
            numbers.setdefault(result["set"], []).append(epochs_of(result))
    return {name: means(numbers_of_seeds) for name, numbers_of_seeds in numbers.items()}


def means(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: fmean(row[name] for row in rows) for name in rows[0]}


# ---------------------------------------------------------------- the setting


def settings_by_set(results: Iterable[Result]) -> dict[str, dict[str, float]]:
    """The test accuracy, %, of the setting that is chosen on each set, the mean over seeds."""
    arms: dict[str, Arm] = {}
    for arms_of in (arms_of_heads, arms_of_cells, arms_of_sizes):
        arms |= {arm.name: arm for arm in arms_of("series")}
    runs: dict[tuple[str, int], dict[str, Result]] = {}
    for result in results:
        if result["arm"] in arms:
            runs.setdefault((result["set"], result["seed"]), {})[result["arm"]] = result

    chosen: dict[str, list[dict[str, float]]] = {}
    for (name, _), runs_of_seed in runs.items():
        if len(runs_of_seed) == len(arms):
            chosen.setdefault(name, []).append(choices_of([*runs_of_seed.values()]))
    return {name: means(choices_of_seeds) for name, choices_of_seeds in chosen.items()}


def choices_of(results: Sequence[Result]) -> dict[str, float]:
    """The test accuracy, %, of the best of all settings, of five of them, and of the best look at
    any of them."""
    test = 100 * np.array([result["test"] for result in results])
    validation = [validation_of(result, result["taken"]) for result in results]
    looks = [(result, look) for result in results for look in range(len(result["test_accuracy"]))]
    chosen, chosen_look = max(looks, key=lambda place: validation_of(*place))
    order = sorted(range(len(results)), key=lambda place: validation[place])
    rank = np.argsort(order)  # (N,), the highest for the best validation
    random = np.random.default_rng(0)
    drawn_by_test = []
    drawn_by_validation = []
    for _ in range(DRAWS):
        few = random.choice(len(results), size=TRIED, replace=False)
        drawn_by_test.append(test[few].max())
        drawn_by_validation.append(test[few[rank[few].argmax()]])
    [recipe] = [result for result in results if result["arm"] == RECIPE]
    return {
        "the recipe": 100 * recipe["test"],
        "5 by the validation": float(np.mean(drawn_by_validation)),
        "5 by the test": float(np.mean(drawn_by_test)),
        "all by the validation": float(test[rank.argmax()]),
        "all by the test": float(test.max()),
        EPOCHS_TOO.format("validation"): 100 * chosen["test_accuracy"][chosen_look],
        EPOCHS_TOO.format("test"): 100 * max(max(result["test_accuracy"]) for result in results),
    }


# ---------------------------------------------------------------- what is gained


def transposed(rows: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """A mapping for each column, of the sets and of their mean."""
    columns: dict[str, dict[str, float]] = {}
    for name, row in rows.items():
        for column, number in row.items():
            columns.setdefault(column, {})[name] = number
    for numbers in columns.values():
        numbers["*mean*"] = fmean(numbers.values())
    return columns


def gains(rows: dict[str, dict[str, float]], by_test: str, others: Sequence[str]) -> list[str]:
    """By how many points the test's own choice is above others, in the median over sets."""
    lines = []
    for other in others:
        points = [row[by_test] - row[other] for row in rows.values()]
        if points:
            middle, low, high = median_with_interval(points)
            lines.append(
                f"{by_test} above {other}: {middle:z.2f} points in the median of {len(points)} "
                f"sets (95 %: {low:z.2f} to {high:z.2f}), {fmean(points):z.2f} in the mean, "
                f"at most {max(points):z.2f}."
            )
    return lines


def validation_and_last(epochs: dict[str, dict[str, float]]) -> list[str]:
    """On how many sets the epoch that the validation chooses is worse or better than the last."""
    points = [row["by the validation"] - row["last"] for row in epochs.values()]
    below = sum(number < 0 for number in points)
    above = sum(number > 0 for number in points)
    if not points:
        return []
    return [f"by the validation: below last on {below} of {len(points)} sets, above on {above}."]


def published_with_lstm(
    epochs: dict[str, dict[str, float]], settings: dict[str, dict[str, float]]
) -> list[str]:
    """The accuracies, %, of published classifiers on two sets, and in bold those of the LSTM. The
    best on the last set comes first."""
    of_lstm = {
        "the recipe, the last epoch": [epochs.get(name, {}).get("last") for name in SETS],
        "setting and epoch by the test": [
            settings.get(name, {}).get(EPOCHS_TOO.format("test")) for name in SETS
        ],
    }
    rows = [(name, *accuracies) for name, accuracies in ACCURACIES.items()]
    for chosen, accuracies in of_lstm.items():
        if None not in accuracies:
            rows.append((f"**LSTM: {chosen}**", *accuracies))
    rows.sort(key=lambda row: -row[-1])
    cells = [(name, *(f"{accuracy:.2f}" for accuracy in numbers)) for name, *numbers in rows]
    return markdown(["classifier", *SETS], cells)


def drawn(epochs: dict[str, dict[str, float]]) -> Figure:
    """Points above the last look, of the look that validation or test chooses, by set."""
    gained = {name: row["by the test"] - row["last"] for name, row in epochs.items()}
    names = sorted(gained, key=gained.__getitem__)
    figure = Figure(figsize=(5.2, 1.2 + 0.22 * len(names)), layout="constrained")
    axes = figure.subplots()
    for marker, choice, colour in (("o", "by the validation", "0.55"), ("s", "by the test", "0.1")):
        points = [epochs[name][choice] - epochs[name]["last"] for name in names]
        axes.plot(points, range(len(names)), marker, color=colour, label=f"best epoch {choice}")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set_xlabel("points of test accuracy above the last epoch")
    axes.grid(axis="x", linewidth=0.3)
    figure.legend(loc="outside upper right", fontsize=9)
    return figure


if __name__ == "__main__":
    print_answer(answer)
