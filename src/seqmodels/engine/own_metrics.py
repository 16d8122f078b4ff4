"""Metrics that you add to those of a task in its configuration: `model.metrics`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, cast

import torchmetrics
from torch import Tensor, nn

from seqmodels.errors import UserError, refusing
from seqmodels.instantiate import allowed_class, instantiate
from seqmodels.metrics import METRICS, Metric, find_metric


def build_metrics(
    configured: Mapping[str, Any] | None,
    allowed_targets: Iterable[str] = (),
    taken: Collection[str] = (),
) -> nn.ModuleDict:
    """Builds the metrics of `model.metrics`, by their names, and puts their directions into
    `METRICS`.

    Args:
        taken: the names of what the task measures already.
    """
    metrics = nn.ModuleDict()
    for name, entry in (configured or {}).items():
        key = f"model.metrics.{name}"
        if name in taken:
            raise UserError(f"{key}: this model measures {name} already: choose another name")
        if not name.isidentifier():
            raise UserError(f"{key}: write its name with letters, digits and _ only")
        check_metric_class(entry, key, allowed_targets)
        arguments = dict(entry)
        arguments.pop("higher_is_better", None)
        metric = instantiate(arguments, key=key, allowed_targets=allowed_targets)
        higher_is_better = entry.get("higher_is_better", metric.higher_is_better)
        registered_metric = find_metric(name) or Metric(higher_is_better)
        if registered_metric.higher_is_better is None:
            raise UserError(
                f"{key}: its class does not say whether more of it is better: add "
                f"{key}.higher_is_better=true, or false"
            )
        if higher_is_better not in (None, registered_metric.higher_is_better):
            raise UserError(f"{key}: {name} has another direction elsewhere: choose another name")
        METRICS[name] = registered_metric
        metrics[name] = metric
    return metrics


def check_metric_class(entry: Any, key: str, allowed_targets: Iterable[str] = ()) -> None:
    """Raises UserError for an entry of `model.metrics` that names no class to measure with."""
    allowed_class(entry, allowed_targets, key, torchmetrics.Metric)


def update(metrics: nn.ModuleDict, scored: tuple[Any, Any] | None) -> None:
    """Adds a batch to all metrics: its predictions and its targets."""
    if scored is None:
        raise UserError("model.metrics: this model predicts nothing that they measure")
    for name, metric in cast(Any, metrics).items():
        with refusing(f"model.metrics.{name}", Exception):
            metric.update(*scored)


def compute(metrics: nn.ModuleDict) -> dict[str, Tensor]:
    """Returns what was measured of all batches, of all processes, and starts anew."""
    measured = {}
    for name, metric in cast(Any, metrics).items():
        with refusing(f"model.metrics.{name}", Exception):
            value = metric.compute()
            if not isinstance(value, Tensor) or value.numel() != 1:
                raise ValueError("gives several numbers: set its average, or choose another")
        measured[name] = value.reshape(())
        metric.reset()
    return measured
