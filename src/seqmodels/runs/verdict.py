"""What a run says of itself beside simple baselines, and of the interval that it predicts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

from seqmodels.metrics import find_metric, show_with_unit
from seqmodels.runs.report import scores_of_parts
from seqmodels.runs.result import Result

NEAR = 0.005  # how much of a number two models may differ by, and be level
OF_INTEREST = 0.02  # a difference of shares that is worth knowing of: two points


def verdict(result: Result, folder: Path) -> list[str]:
    """A sentence if the best baseline is not clearly worse on the test split, in the metric that
    the task is compared by, and one if it is clearly better in another metric; none for a run on a
    part of its splits, as with `debug`. A metric that `METRICS` lacks is skipped.

    Args:
        folder: where the test has left `scores.csv`, which counts each class.
    """
    if not result.whole_splits:
        return []
    class_counts = [int(row["count"]) for row in scores_of_parts(folder) if "class" in row]
    comparison = _compare(result, result.metric, class_counts)
    sentences = []
    if comparison and comparison.outcome != "won":
        sentences.append(comparison.sentence)
    if comparison is None or comparison.outcome != "lost":
        sentences += islice(_other_losses(result, class_counts), 1)
    return sentences


def _other_losses(result: Result, class_counts: Sequence[int]) -> Iterator[str]:
    """A sentence for each metric, but the one that the task is compared by, in which a baseline is
    clearly better on the test split."""
    for name in result.baselines:
        split, _, metric = name.partition("/")
        if split == "test" and metric != result.metric:
            comparison = _compare(result, metric, class_counts)
            if comparison and comparison.outcome == "lost":
                yield comparison.sentence


class Comparison(NamedTuple):
    """How a run does beside the best baseline, and the sentence that says so."""

    outcome: Literal["won", "lost", "level", "unknown"]
    sentence: str


def _compare(result: Result, metric: str, class_counts: Sequence[int]) -> Comparison | None:
    """Compare a run with the best baseline in a metric; None where that is not known.

    The one or the other is better if they differ by more than half a percent, and by more than
    chance may explain. If it isn't, they are level where chance cannot hide more than two points,
    or where it is not known what chance may do; else the test split is too small to tell.
    """
    name = f"test/{metric}"
    known_metric, score = find_metric(name), result.metrics.get(name)
    baselines = {
        baseline: value
        for baseline, value in result.baselines.get(name, {}).items()
        if math.isfinite(value)
    }
    if score is None or not baselines or known_metric is None:
        return None
    if known_metric.higher_is_better is None:
        return None
    sign = 1 if known_metric.higher_is_better else -1
    best = max(baselines, key=lambda baseline: sign * baselines[baseline])
    baseline_score = baselines[best]
    lead = sign * (score - baseline_score)
    chance = _chance(result, metric, (score, baseline_score), class_counts)
    numbers = f"{name} {show_with_unit(name, score)} and {show_with_unit(name, baseline_score)}"
    if abs(lead) > max(NEAR * max(abs(score), abs(baseline_score)), chance):
        outcome: Literal["won", "lost"] = "won" if lead > 0 else "lost"
        return Comparison(outcome, f"{result.head} {outcome} to {best}: {numbers}.")
    if chance and abs(lead) + chance > OF_INTEREST:
        rows = result.examples.get("test") or sum(class_counts)
        return Comparison(
            "unknown", f"{rows:,} test rows can't tell {result.head} and {best} apart: {numbers}."
        )
    return Comparison("level", f"{result.head} is level with {best}: {numbers}.")


def _chance(
    result: Result, metric: str, shares: tuple[float, float], class_counts: Sequence[int]
) -> float:
    """By how much two shares of a test split may differ by chance: 1.96 standard deviations of
    their difference, as if of two samples; 0 for a metric of which that is not known.

    An accuracy is a binomial share of the examples. A macro F1 is taken as the mean of such shares,
    one of each class, which varies as one of fewer examples.
    """
    examples: float | None = None
    present_counts = [count for count in class_counts if count]
    if metric == "accuracy":
        examples = result.examples.get("test")
    elif metric == "macro_f1" and present_counts:
        examples = len(present_counts) ** 2 / sum(1 / count for count in present_counts)
    if not examples:
        return 0.0
    variance = 0.0
    for share in shares:
        # As if there were one more that is right and one that is wrong (Agresti and Caffo 2000):
        # 12 of 12 don't prove that none is ever wrong.
        likely_share = (share * examples + 1) / (examples + 2)
        variance += likely_share * (1 - likely_share) / examples
    return 1.96 * math.sqrt(variance)


def interval_coverage(result: Result) -> Iterator[str]:
    """A sentence if the run predicts an interval: the share of the test split that it covers, and
    what its quantiles promise."""
    levels = (result.config.get("model", {}).get("output") or {}).get("quantiles")
    covered = result.metrics.get("test/coverage")
    if not levels or len(levels) < 2 or covered is None:
        return
    promised = show_with_unit("coverage", levels[-1] - levels[0])
    sentence = (
        f"The interval from {levels[0]:g} to {levels[-1]:g} promises {promised}, and covers "
        f"{show_with_unit('coverage', covered)} of the test split"
    )
    if result.calibration and any(map(any, result.calibration)):
        before = show_with_unit("coverage", result.metrics.get("validation/coverage", math.nan))
        sentence += f", widened by what it lacked in the validation split (there, {before})"
    yield f"{sentence}."
