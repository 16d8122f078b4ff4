"""Did a finished run lose to a baseline?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from seqmodels.engine.metrics import find_metric, show, show_with_unit, without_split
from seqmodels.plain_values import flattened
from seqmodels.runs.folder import on_whole_splits


def verdict(result: Mapping[str, Any]) -> list[str]:
    """A sentence if a baseline is better on the test split; none for a run on a part of its splits,
    as with `debug`.

    The difference of two accuracies is within chance if it is below 1.96 standard deviations, each
    accuracy taken as a binomial share of the test split's examples.

    Args:
        result: the content of `result.json`; a metric that `METRICS` lacks is skipped.
    """
    if not on_whole_splits(flattened(result["config"])):
        return []
    for name, rows in result["baselines"].items():
        metric, value = find_metric(name), result["metrics"].get(name)
        known = {n: v for n, v in rows.items() if v is not None and math.isfinite(v)}
        if not (name.startswith("test/") and metric and known) or value is None:
            continue
        if metric.higher_is_better is None:
            continue
        best = (max if metric.higher_is_better else min)(known, key=known.__getitem__)
        gain = known[best] - value if metric.higher_is_better else value - known[best]
        if gain > 0 and show(name, known[best]) != show(name, value):  # not by rounding alone
            size = result["examples"].get("test")
            close = without_split(name) == "accuracy" and size and _chance(value, known[best], size)
            chance = f", within chance on {size:,} examples (95 %)" if close else ""
            numbers = f"{show_with_unit(name, known[best])}, not {show_with_unit(name, value)}"
            return [f"The model lost to {best}: {name} {numbers}{chance}."]
    return []


def _chance(one: float, other: float, size: int) -> bool:
    deviation = math.sqrt((one * (1 - one) + other * (1 - other)) / size)
    return abs(one - other) < 1.96 * deviation
