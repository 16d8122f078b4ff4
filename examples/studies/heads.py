"""Which head? The tables and pictures of docs/which_head.md, from the results.

python examples/studies/heads.py
python examples/studies/heads.py mine.jsonl pictures/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
from arms import END_OF_BOTH, HEADS, ONE_DIRECTION, WRONG
from looks import QUARTERS
from tables import (
    NOT_YET,
    Result,
    Scores,
    columns_of_numbers,
    compared,
    complete_sets,
    markdown,
    mean_over_seeds,
    mean_ranks,
    p_of,
    pair,
    print_answer,
    sentence_of_p,
    table_over_sets,
)

from seqmodels.compare.comparison import Across
from seqmodels.compare.statistics import LEVEL, signed_rank_p
from seqmodels.compare.writing import critical_differences, scores_by_set
from seqmodels.files import write_figure

FINAL_STATES = ("bidirectional_concat", "last_hidden")
# The recipe of series was chosen on parts of these.
SETS_OF_RECIPE = ("ArrowHead", "JapaneseVowels", "OSULeaf", "PLAID")
FEW_SERIES = 40


def answer(results: Sequence[Result], pictures: Path | None = None) -> list[str]:
    """All tables, under a title for each; pictures go into the folder."""
    scores = mean_over_seeds(results, [*HEADS, END_OF_BOTH.name, ONE_DIRECTION.name])
    if not complete_sets(scores, HEADS):
        return NOT_YET
    across = compared(scores, HEADS)
    if pictures:
        write_figure(pictures / "which_head_ranks.png", critical_differences(across), dpi=160)
        picture = scores_by_set(across, "test/accuracy", higher_is_better=True)
        write_figure(pictures / "which_head_sets.png", picture, dpi=160)
    others = [name for name in across.sets if name not in SETS_OF_RECIPE]
    return [
        "## Seven heads",
        "",
        *table_over_sets(across),
        across.verdict(),
        pair(across, "concat_pool", "attention_pool"),
        pair(across, "concat_pool", "bidirectional_concat"),
        pair(across, "max_pool", "bidirectional_concat"),
        *pairs_that_hang_on_a_set(across),
        "",
        "## Without the four sets on which the recipe was chosen",
        "",
        *without_sets_of_recipe(scores, others),
        "## The end, or one direction?",
        "",
        *ends_and_directions(scores),
        "## Explored: kinds of sets",
        "",
        *kinds(results, scores),
        "## Explored: size",
        "",
        *by_size(results, scores),
        "## Where does a head read?",
        "",
        *evidence(results, scores),
        "## A fifth of the training",
        "",
        *with_a_fifth(results, scores),
        "## The wrong tensor",
        "",
        *price(results, scores),
    ]


def without_sets_of_recipe(scores: Scores, names: Sequence[str]) -> list[str]:
    if not names:
        return NOT_YET
    across = compared(scores, HEADS, names)
    return [
        *table_over_sets(across),
        pair(across, "concat_pool", "bidirectional_concat"),
        pair(across, "max_pool", "bidirectional_concat"),
        *pairs_that_hang_on_a_set(across),
        "",
    ]


def pairs_that_hang_on_a_set(across: Across) -> list[str]:
    """A sentence on each significant difference that isn't significant any more without some set,
    with the number of sets that have this effect."""
    scores_by_set: Scores = {}
    for name, row in zip(across.sets, across.scores.tolist(), strict=True):
        scores_by_set[name] = dict(zip(across.names, row, strict=True))
    significant_pairs = [
        names for names in combinations(across.names, 2) if p_of(across, *names) < LEVEL
    ]
    sets_by_pair = dict.fromkeys(significant_pairs, 0)
    for left_out in across.sets:
        remaining_sets = [name for name in across.sets if name != left_out]
        across_remaining = compared(scores_by_set, across.names, remaining_sets)
        for names in significant_pairs:
            # With too few sets, p is nan.
            if not p_of(across_remaining, *names) < LEVEL:
                sets_by_pair[names] += 1
    return [
        f"`{first}` and `{second}`: {sentence_of_p(p_of(across, first, second))}, but not below "
        f"{LEVEL:.2f} without any one of {count} of the {len(across.sets)} sets."
        for (first, second), count in sets_by_pair.items()
        if count
    ]


def ends_and_directions(scores: Scores) -> list[str]:
    """What reads the end alone, or all steps, with one direction and with two."""
    arms = ["last_hidden", END_OF_BOTH.name, ONE_DIRECTION.name, "max_pool"]
    if not complete_sets(scores, arms):
        return NOT_YET
    across = compared(scores, arms)
    return [
        *table_over_sets(across),
        pair(across, "max_pool", END_OF_BOTH.name),
        pair(across, ONE_DIRECTION.name, "last_hidden"),
        pair(across, END_OF_BOTH.name, "last_hidden"),
        pair(across, "max_pool", ONE_DIRECTION.name),
        "",
    ]


# ---------------------------------------------------------------- groups of sets


def value_of_sets(results: Iterable[Result], key: str) -> dict[str, Any]:
    """What each set has at this key, from one of its lines; of `examples`, those of training."""
    values = {}
    for result in results:
        if result["arm"] in HEADS:
            value = result[key]
            values[result["set"]] = value["train"] if key == "examples" else value
    return values


def kinds(results: Sequence[Result], scores: Scores) -> list[str]:
    """Mean ranks on series and on texts, and on the halves of the sets by length and size."""
    sets_by_kind: dict[str, list[str]] = {}
    for name, kind in value_of_sets(results, "kind").items():
        sets_by_kind.setdefault(kind, []).append(name)
    lengths = value_of_sets(results, "length")
    sizes = value_of_sets(results, "examples")
    sets_by_kind["short"], sets_by_kind["long"] = halves(lengths)
    sets_by_kind["small"], sets_by_kind["large"] = halves(sizes)
    columns = {}
    for kind, sets in sets_by_kind.items():
        columns[f"{kind} ({len(sets)})"] = mean_ranks(scores, HEADS, sets)
    series = compared(scores, HEADS, sets_by_kind["series"])
    ranges = []
    for name in complete_sets(scores, HEADS, sets_by_kind.get("texts", [])):
        accuracies = [100 * scores[name][head] for head in HEADS]
        ranges.append(max(accuracies) - min(accuracies))
    return [
        f"Short: {median(lengths.values()):g} steps or fewer. "
        f"Small: {median(sizes.values()):g} training examples or fewer.",
        "",
        *columns_of_numbers("head", columns),
        f"On the {len(series.sets)} sets of series:",
        pair(series, "concat_pool", "bidirectional_concat"),
        pair(series, "max_pool", "bidirectional_concat"),
        *(
            [f"On a set of texts, heads differ by {min(ranges):.1f} to {max(ranges):.1f} points."]
            if ranges
            else []
        ),
        "",
    ]


def halves(numbers: Mapping[str, float]) -> tuple[list[str], list[str]]:
    """The sets with the median number or less, and those with more."""
    middle = median(numbers.values())
    lower_half = [name for name, number in numbers.items() if number <= middle]
    upper_half = [name for name, number in numbers.items() if number > middle]
    return lower_half, upper_half


def by_size(results: Sequence[Result], scores: Scores) -> list[str]:
    """What pooling gains over the final states, by the number of training series."""
    sizes = value_of_sets(results, "examples")
    kind_of_set = value_of_sets(results, "kind")
    groups: dict[str, list[str]] = {"up to 95 series": [], "more series": [], "texts": []}
    for name, size in sizes.items():
        if kind_of_set[name] == "texts":
            groups["texts"].append(name)
        elif size <= 95:
            groups["up to 95 series"].append(name)
        else:
            groups["more series"].append(name)
    rows = []
    for group, names in groups.items():
        cells = [f"{group} ({len(names)})"]
        for head in ("max_pool", "bidirectional_concat", "last_hidden"):
            points = [
                100 * (scores[name][head] - scores[name]["concat_pool"])
                for name in names
                if {head, "concat_pool"} <= scores[name].keys()
            ]
            cells.append(f"{median(points):z.1f}" if points else "-")
        rows.append(cells)
    header = ["sets", "`max_pool`", "`bidirectional_concat`", "`last_hidden`"]
    return ["Points above `concat_pool`, in the median:", "", *markdown(header, rows)]


# ---------------------------------------------------------------- where, how much, at what price


def evidence(results: Iterable[Result], scores: Scores) -> list[str]:
    """What a head loses when a quarter is hidden, and who is best where that quarter is."""
    # By set and head, for each seed: what the run loses without each quarter.
    losses: dict[tuple[str, str], list[np.ndarray]] = {}
    for result in results:
        if result["arm"] in HEADS and "hidden" in result:
            losses_of_run = 100 * (result["test"] - np.array(result["hidden"]))  # (QUARTERS,)
            losses.setdefault((result["set"], result["arm"]), []).append(losses_of_run)
    losses_by_head: dict[str, list[np.ndarray]] = {}
    losses_by_set: dict[str, list[np.ndarray]] = {}
    for (name, head), losses_of_seeds in losses.items():
        mean_losses = np.mean(losses_of_seeds, axis=0)
        losses_by_head.setdefault(head, []).append(mean_losses)
        losses_by_set.setdefault(name, []).append(mean_losses)

    columns: dict[str, dict[str, float]] = {}
    for quarter in range(QUARTERS):
        columns[f"quarter {quarter + 1}"] = {
            head: float(np.mean(losses_by_head[head], axis=0)[quarter])
            for head in HEADS
            if head in losses_by_head
        }
    sets_by_quarter: dict[int, list[str]] = {}
    for name, losses_of_heads in losses_by_set.items():
        costliest_quarter = int(np.mean(losses_of_heads, axis=0).argmax())
        sets_by_quarter.setdefault(costliest_quarter, []).append(name)
    ranks = {}
    for quarter, names in sorted(sets_by_quarter.items()):
        ranks[f"most in quarter {quarter + 1} ({len(names)})"] = mean_ranks(scores, HEADS, names)
    return [
        "Points of accuracy that a head loses if a quarter of each test row is hidden, on average:",
        "",
        *columns_of_numbers("head", columns),
        "Mean ranks, by the quarter whose loss costs all heads most (sets):",
        "",
        *columns_of_numbers("head", ranks),
    ]


def with_a_fifth(results: Sequence[Result], scores: Scores) -> list[str]:
    """The heads with a fifth of the training, and what each loses by that."""
    arms = [f"{head}, a fifth" for head in HEADS]
    scores_of_fifth = {
        name: {arm.partition(",")[0]: score for arm, score in scores_of_set.items()}
        for name, scores_of_set in mean_over_seeds(results, arms).items()
    }
    if not complete_sets(scores_of_fifth, HEADS):
        return NOT_YET
    across = compared(scores_of_fifth, HEADS)
    # By how many points each head changes on each set of the whole study.
    changes = {}
    for head in HEADS:
        changes[head] = np.array(
            [
                100 * (scores_of_fifth[name][head] - scores[name][head])
                for name in across.sets
                if {*HEADS} <= scores.get(name, {}).keys()
            ]
        )
    return [
        *table_over_sets(across),
        pair(across, "max_pool", "concat_pool"),
        pair(across, "concat_pool", "bidirectional_concat"),
        pair(across, "max_pool", "bidirectional_concat"),
        *pairs_that_hang_on_a_set(across),
        "",
        *changes_by_a_fifth(changes),
        *with_few_series(results, scores_of_fifth),
    ]


def changes_by_a_fifth(changes: Mapping[str, np.ndarray]) -> list[str]:
    """The mean change of each head, and whether final states change more than poolings do.

    Args:
        changes: the points of each head, `(sets,)`.
    """
    if not len(changes["max_pool"]):
        return NOT_YET
    means = {head: float(points.mean()) for head, points in changes.items()}
    final_states = np.mean([changes[head] for head in FINAL_STATES], axis=0)
    poolings = np.mean([changes[head] for head in HEADS if head not in FINAL_STATES], axis=0)
    # Equal changes may differ in their last digit.
    differences = np.round(final_states - poolings, 9)
    return [
        *columns_of_numbers("head", {"mean change, points": means}),
        f"Final states alone beside poolings: {np.median(differences):z.2f} points in the median, "
        f"{sentence_of_p(signed_rank_p(differences))}.",
        "",
    ]


def with_few_series(results: Iterable[Result], scores_of_fifth: Scores) -> list[str]:
    """`max_pool` beside `concat_pool` on the sets of series whose fifth is small."""
    sizes = {}
    for result in results:
        if result["arm"] == "concat_pool, a fifth" and result["kind"] == "series":
            sizes[result["set"]] = result["examples"]["train"]
    names = [name for name, size in sizes.items() if size <= FEW_SERIES]
    names = complete_sets(scores_of_fifth, ["max_pool", "concat_pool"], names)
    if not names:
        return []
    points = []
    for name in names:
        scores = scores_of_fifth[name]
        points.append(100 * (scores["max_pool"] - scores["concat_pool"]))
    above = sum(number > 0 for number in points)
    below = sum(number < 0 for number in points)
    return [
        f"Explored: on {len(names)} sets with at most {FEW_SERIES} series in the fifth, `max_pool` "
        f"is above `concat_pool` on {above} and below on {below}, {median(points):z.2f} points in "
        "the median.",
        "",
    ]


def price(results: Sequence[Result], scores: Scores) -> list[str]:
    """Points of each wrong head above the right one, in batches of three sizes."""
    columns: dict[str, dict[str, float]] = {}
    for wrong_head, right_head in WRONG.items():
        for batches in ("test", "one by one", "all in one"):
            points: dict[str, float] = {}
            accuracies: dict[str, list[float]] = {}
            for result in results:
                if result["arm"] == wrong_head:
                    accuracies.setdefault(result["set"], []).append(result[batches])
            for name in sorted(accuracies):
                if right_head in scores.get(name, {}):
                    points[name] = 100 * (fmean(accuracies[name]) - scores[name][right_head])
            if points:
                points |= {"*median*": median(points.values()), "*worst*": min(points.values())}
            in_batches = "in its own batches" if batches == "test" else batches
            columns[f"`{wrong_head}`, {in_batches}"] = points
    if not any(columns.values()):
        return NOT_YET
    return columns_of_numbers("set", columns, digits=1)


if __name__ == "__main__":
    print_answer(answer)
