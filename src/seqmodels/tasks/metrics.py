"""Metrics by name: which direction is better, and in which unit to show them."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from seqmodels.errors import UserError


@dataclass(frozen=True)
class Metric:
    """How to read the numbers of a metric.

    Args:
        higher_is_better: True for an accuracy, False for a loss.
        unit: what to show after the number. `%` means that the metric is stored as a share (0.93)
            and shown times 100 (93.00).
    """

    higher_is_better: bool
    unit: str = ""


_SHARE = Metric(higher_is_better=True, unit="%")
_ERROR_RATE = Metric(higher_is_better=False, unit="%")
_SCORE = Metric(higher_is_better=True)
_ERROR = Metric(higher_is_better=False)

METRICS: dict[str, Metric] = {
    # classes and tags
    "accuracy": _SHARE,
    "balanced_accuracy": _SHARE,
    "precision": _SHARE,
    "recall": _SHARE,
    "f1": _SHARE,
    "macro_f1": _SHARE,
    "micro_f1": _SHARE,
    "auroc": _SHARE,
    "matthews_correlation": _SCORE,
    "calibration_error": _ERROR_RATE,
    # text, as torchmetrics stores it: BLEU and chrF from 0 to 1
    "exact_match": _SHARE,
    "bleu": _SHARE,
    "chrf": _SHARE,
    "rouge_l": _SHARE,
    "word_error_rate": _ERROR_RATE,
    "character_error_rate": _ERROR_RATE,
    "symbol_error_rate": _ERROR_RATE,
    "edit_distance": _ERROR,
    # language models
    "loss": _ERROR,
    "perplexity": _ERROR,
    "bits_per_byte": _ERROR,
    "bits_per_character": _ERROR,
    # values
    "r2": _SCORE,
    "pearson": _SCORE,
    "spearman": _SCORE,
    "mse": _ERROR,
    "rmse": _ERROR,
    "mae": _ERROR,
    "mase": _ERROR,
    "mape": _ERROR_RATE,
    "smape": _ERROR_RATE,
}
"""By the name without its split: `accuracy` for `test/accuracy`. A task adds its own."""


def without_split(name: str) -> str:
    """`test/accuracy` -> `accuracy`."""
    return name.rpartition("/")[2]


def metric_named(name: str) -> Metric:
    """Looks a metric up in `METRICS`.

    Args:
        name: with or without its split: `test/accuracy` or `accuracy`.

    Raises:
        UserError: if the table lacks it. Nothing is guessed: a wrong guess keeps the worst
            checkpoint as the best one.
    """
    short = without_split(name)
    if short in METRICS:
        return METRICS[short]
    near = difflib.get_close_matches(short, METRICS, n=1, cutoff=0.5)
    raise UserError(
        f"unknown metric {name}" + (f" (did you mean {near[0]}?)" if near else "") + ": to use it, "
        f'add METRICS["{short}"] = Metric(higher_is_better=...), with True or False, to the file '
        "of your task (from seqmodels.tasks.metrics import METRICS, Metric)"
    )


def unit(name: str) -> str:
    """The unit of a metric, such as `%`; empty where it has none or the metric is unknown."""
    metric = METRICS.get(without_split(name))
    return metric.unit if metric else ""


def show(name: str, value: float) -> str:
    """A metric's value in its unit, without the unit: `93.00` for a share of 0.93, else `0.6931`.

    A metric that `METRICS` lacks is shown as a plain number, so that a table at the end of a
    training can't fail.
    """
    return f"{100 * value:.2f}" if unit(name) == "%" else f"{value:.4f}"
