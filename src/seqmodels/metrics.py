"""Metrics by name: which direction is better, and in which unit to show them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from seqmodels.errors import UserError, closest
from seqmodels.plugins import import_plugins


@dataclass(frozen=True)
class Metric:
    """How to read the numbers of a metric.

    Args:
        higher_is_better: True for an accuracy, False for a loss, None for a number to look at that
            no model can be chosen by, such as the coverage of an interval.
        unit: what to show after the number. `%` means that the metric is stored as a share (0.93)
            and shown times 100 (93.00).
        share_of: what it counts, if it is a share: `examples`, or `targets`, of which an example
            may have one or many. One more or less is its smallest step.
    """

    higher_is_better: bool | None
    unit: str = ""
    share_of: Literal["examples", "targets"] | None = None


SHARES = ("precision", "recall", "f1", "macro_f1", "bleu")
ERRORS = (
    *("loss", "perplexity", "bits_per_byte", "mse", "rmse", "mae", "pinball", "mase"),
    *("standardised_mse", "standardised_mae"),
)
METRICS: dict[str, Metric] = {
    "accuracy": Metric(higher_is_better=True, unit="%", share_of="targets"),
    "exact_match": Metric(higher_is_better=True, unit="%", share_of="examples"),
    **dict.fromkeys(SHARES, Metric(higher_is_better=True, unit="%")),
    **dict.fromkeys(("r2", "pearson", "spearman"), Metric(higher_is_better=True)),
    **dict.fromkeys(ERRORS, Metric(higher_is_better=False)),
    "symbol_error_rate": Metric(higher_is_better=False, unit="%"),
    "coverage": Metric(higher_is_better=None, unit="%"),
}
"""By the name without its split: `accuracy` for `test/accuracy`. Your own task adds its own."""


def without_split(name: str) -> str:
    """`test/accuracy` -> `accuracy`."""
    return name.rpartition("/")[2]


def find_metric(name: str) -> Metric | None:
    """What `METRICS` has of a metric, with or without its split; None if it lacks it."""
    short = without_split(name)
    if short not in METRICS:
        import_plugins()  # One of them may have it.
    return METRICS.get(short)


def metric_named(name: str) -> Metric:
    """What `METRICS` has of a metric, with or without its split. Raises UserError if it lacks it.
    Nothing is guessed: a wrong guess keeps the worst checkpoint as the best one."""
    metric = find_metric(name)
    if metric is not None:
        return metric
    short = without_split(name)
    similar_name = closest(short, METRICS)
    advice = "to use it, "
    if similar_name is not None:
        advice = f"did you mean {similar_name}? if not, "
    raise UserError(
        f'unknown metric {name}: {advice}add METRICS["{short}"] = Metric(higher_is_better=...), '
        "with True or False, to the file of your task "
        "(from seqmodels.metrics import METRICS, Metric)"
    )


def more_is_better(name: str) -> bool:
    """Whether more of a metric is better. Raises UserError if `METRICS` lacks it, or says that
    neither more nor less of it is better."""
    higher_is_better = metric_named(name).higher_is_better
    if higher_is_better is None:
        raise UserError(f"neither more nor less {name} is better: choose another metric")
    return higher_is_better


def unit(name: str) -> str:
    """The unit of a metric, such as `%`; empty where it has none or the metric is unknown."""
    metric = find_metric(name)
    return metric.unit if metric else ""


def show(name: str, value: float) -> str:
    """A metric's value in its unit, without the unit: `93.00` for a share of 0.93, else `0.6931`.

    A metric that `METRICS` lacks is shown as a plain number, so that a table at the end of a
    training can't fail.
    """
    if unit(name) == "%":
        return f"{100 * value:.2f}"
    return f"{value:.4f}" if abs(value) >= 0.001 or value == 0 else f"{value:.2e}"


def show_with_unit(name: str, value: float) -> str:
    """`93.00 %`, or `0.6931` for a metric without a unit."""
    return f"{show(name, value)} {unit(name)}".rstrip()
