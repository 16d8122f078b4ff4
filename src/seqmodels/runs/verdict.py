"""What a run says of itself beside simple baselines, and of its intervals and probabilities."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch

from seqmodels.metrics import find_metric, show_with_unit
from seqmodels.runs.report import scores_of_parts
from seqmodels.runs.result import Result
from seqmodels.target import Baselines

NEAR = 0.005  # how much of a number two models may differ by, and be level
OF_INTEREST = 0.02  # a difference of shares that is worth knowing of: two points
# The significance level of McNemar's test.
LEVEL = 0.05
# Of two models that differ on fewer rows, neither is better beyond chance: 2 / 2 ** 5 > LEVEL.
FEWEST_DIFFERENT = 6
# Probabilities are compared with shares in so many bins.
BINS = 15


class Evidence(NamedTuple):
    """What the test split tells of a difference between a run and a baseline.

    Args:
        class_counts: how many rows each class has; empty without classes.
        wrong_rows: those that the run predicts wrongly; None if that is not known.
        wrong_rows_of_baselines: the same of each baseline, by its name, where that is known.
        probabilities: of all classes, `(N, C)`, which the run gives each row; None if that is not
            known.
    """

    class_counts: Sequence[int] = ()
    wrong_rows: Set[int] | None = None
    wrong_rows_of_baselines: Mapping[str, Set[int]] = {}
    probabilities: np.ndarray | None = None


def evidence_of(
    folder: Path, baselines: Baselines, *, with_probabilities: bool = False
) -> Evidence:
    """What a test has left in this folder, beside what the baselines predict.

    Args:
        with_probabilities: whether they are needed, too. `predictions.csv` lacks them where the
            classes are many.
    """
    class_counts = [int(row["count"]) for row in scores_of_parts(folder) if "class" in row]
    predictions_file = folder / "predictions.csv"
    is_needed = bool(baselines.wrong_rows) or with_probabilities
    if not is_needed or not predictions_file.is_file():
        return Evidence(class_counts)
    with predictions_file.open(newline="", encoding="utf-8") as file:
        table = csv.DictReader(file)
        columns = table.fieldnames or ()
        if not {"target", "prediction"} <= {*columns}:
            return Evidence(class_counts)  # A task of your own may tell something else.
        class_columns: list[str] = []
        if with_probabilities:
            class_columns = [name for name in columns if name.startswith("probability.")]
        wrong_rows, probabilities = _read_predictions(table, class_columns)
    wrong_rows_of_baselines = {name: {*rows} for name, rows in baselines.wrong_rows.items()}
    return Evidence(
        class_counts,
        wrong_rows,
        wrong_rows_of_baselines,
        probabilities if class_columns else None,
    )


def _read_predictions(
    table: Iterable[Mapping[str, str]], class_columns: Sequence[str]
) -> tuple[set[int], np.ndarray]:
    """Which rows are predicted wrongly, and the numbers of these columns, `(N, C)`."""
    wrong_rows = set()
    probabilities: list[list[float]] = []
    for row, cells in enumerate(table):
        if cells["prediction"] != cells["target"]:
            wrong_rows.add(row)
        probabilities.append([float(cells[column]) for column in class_columns])
    return wrong_rows, np.array(probabilities)


def verdict(result: Result, evidence: Evidence) -> list[str]:
    """A sentence if the best baseline is not clearly worse on the test split, in the metric that
    the task is compared by, and one if it is clearly better in another metric; none for a run on a
    part of its splits, as with `debug`. A metric that `METRICS` lacks is skipped."""
    if not result.whole_splits:
        return []
    comparison = _compare(result, result.metric, evidence)
    sentences = []
    if comparison and comparison.outcome != "won":
        sentences.append(comparison.sentence)
    if comparison is None or comparison.outcome != "lost":
        sentences += islice(_other_losses(result, evidence), 1)
    return sentences


def _other_losses(result: Result, evidence: Evidence) -> Iterator[str]:
    """A sentence for each metric, but the one that the task is compared by, in which a baseline is
    clearly better on the test split."""
    for name in result.baselines:
        split, _, metric = name.partition("/")
        if split == "test" and metric != result.metric:
            comparison = _compare(result, metric, evidence)
            if comparison and comparison.outcome == "lost":
                yield comparison.sentence


class Comparison(NamedTuple):
    """How a run does beside the best baseline, and the sentence that says so."""

    outcome: Literal["won", "lost", "level", "unknown"]
    sentence: str


def _compare(result: Result, metric: str, evidence: Evidence) -> Comparison | None:
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
    num_rows = result.examples.get("test") or sum(evidence.class_counts)
    examples = _examples_of(metric, num_rows, evidence.class_counts)
    different_rows = _different_rows(evidence, best)
    if not examples:
        chance = 0.0
    elif different_rows is None:
        chance = _chance_of_two_samples((score, baseline_score), examples)
    else:
        # A mean of fewer examples varies by the square root more.
        chance = _chance_of_pairs(different_rows, num_rows) * math.sqrt(num_rows / examples)
    numbers = f"{name} {show_with_unit(name, score)} and {show_with_unit(name, baseline_score)}"
    if abs(lead) > max(NEAR * max(abs(score), abs(baseline_score)), chance):
        outcome: Literal["won", "lost"] = "won" if lead > 0 else "lost"
        return Comparison(outcome, f"{result.head} {outcome} to {best}: {numbers}.")
    if chance and abs(lead) + chance > OF_INTEREST:
        return Comparison(
            "unknown",
            f"{num_rows:,} test rows can't tell {result.head} and {best} apart: {numbers}.",
        )
    return Comparison("level", f"{result.head} is level with {best}: {numbers}.")


def _different_rows(evidence: Evidence, baseline: str) -> int | None:
    """How many rows only one of the run and a baseline predicts rightly; None if that is not
    known."""
    wrong_rows_of_baseline = evidence.wrong_rows_of_baselines.get(baseline)
    if evidence.wrong_rows is None or wrong_rows_of_baseline is None:
        return None
    return len(evidence.wrong_rows ^ wrong_rows_of_baseline)


def _examples_of(metric: str, num_rows: int, class_counts: Sequence[int]) -> float:
    """How many examples a share of a test split is a mean of; 0 for a metric that is none.

    A macro F1 is taken as the mean of the shares of each class, which varies as one share of fewer
    examples.
    """
    present_counts = [count for count in class_counts if count]
    if metric == "accuracy":
        return float(num_rows)
    if metric == "macro_f1" and present_counts:
        return len(present_counts) ** 2 / sum(1 / count for count in present_counts)
    return 0.0


def _chance_of_pairs(different: int, num_rows: int) -> float:
    """By how much two accuracies of the same rows may differ by chance, by McNemar's exact test.

    Args:
        different: how many rows only one of the two models predicts rightly. By chance, each is as
            often the one as the other.
    """
    from scipy.stats import binom  # slow to import

    # With fewer rows, no lead is beyond chance.
    different = max(different, FEWEST_DIFFERENT)
    significant_wins = int(binom.isf(LEVEL / 2, different, 0.5)) + 1
    significant_lead = significant_wins - (different - significant_wins)
    return (significant_lead - 1) / num_rows


def _chance_of_two_samples(shares: tuple[float, float], examples: float) -> float:
    """By how much two shares may differ by chance, if nobody knows which rows they share: 1.96
    standard deviations of their difference, as if of two samples."""
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


def probability_error(
    result: Result, temperature: float | None, evidence: Evidence
) -> Iterator[str]:
    """A sentence on the probabilities of a classifier: whether the validation split has chosen a
    temperature, and by how much they are off on the test split, and were before, if known."""
    if temperature is None:
        if result.whole_splits and result.config.get("model", {}).get("calibrate"):
            yield (
                "Probabilities stay as the network learned them: the validation split doesn't show "
                "that a temperature improves them."
            )
        return
    if evidence.probabilities is None or evidence.wrong_rows is None:
        yield f"Probabilities have the temperature {temperature:.2f}, which the validation chose."
        return
    num_rows = len(evidence.probabilities)
    is_right = np.array([row not in evidence.wrong_rows for row in range(num_rows)])
    before = evidence.probabilities**temperature
    before /= before.sum(axis=1, keepdims=True)
    errors = [
        expected_calibration_error(probabilities, is_right)
        for probabilities in (evidence.probabilities, before)
    ]
    error, error_before = (show_with_unit("accuracy", error) for error in errors)
    yield (
        f"On the test split, probabilities are off by {error} (expected calibration error), and "
        f"would be by {error_before} without the temperature {temperature:.2f} that the validation "
        "split chose."
    )


def expected_calibration_error(probabilities: np.ndarray, is_right: np.ndarray) -> float:
    """By how much the highest probability of a row differs from the share of rows that are right,
    on average over `BINS` bins of that probability (Guo et al. 2017,
    https://arxiv.org/abs/1706.04599).

    Args:
        probabilities: `(N, C)`.
        is_right: whether the class with the highest one is right, `(N,)`.
    """
    from torchmetrics.functional.classification import binary_calibration_error  # slow to import

    # A number above 1 would be taken for a logit.
    highest = torch.from_numpy(probabilities.max(axis=1).clip(max=1))
    return float(binary_calibration_error(highest, torch.from_numpy(is_right).int(), n_bins=BINS))
