"""Check what a run folder names before anything of it is built: it may be a stranger's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from lightning.pytorch.callbacks import Callback
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from seqmodels.data import DataModule
from seqmodels.engine import Task
from seqmodels.engine.own_metrics import check_metric_class
from seqmodels.errors import UserError
from seqmodels.instantiate import allowed_class
from seqmodels.runs.folder import RunFolder

KINDS: dict[str, type] = {"model": Task, "data": DataModule}
# built from the configuration of a model, later and by the task
NESTED: dict[str, type] = {"model.optimizer": Optimizer, "model.scheduler": LRScheduler}
METRIC, MOST = re.compile(r"model\.metrics\.\w+"), 10_000
# callbacks that a run folder may name, and no others
OURS = (
    "seqmodels.callbacks.",
    "seqmodels.tasks.",
    "seqmodels.dataflow.",
    "lightning.pytorch.callbacks.LearningRateMonitor",
    "lightning.pytorch.callbacks.RichModelSummary",
)

# with fields for metrics, such as {epoch} and {validation/loss:.2f}
FILE_NAME = re.compile(r"([\w.=-]|\{\w+(/\w+)?(:[\w.]*)?\})+(?<=[\w}])")


def trusted_config(folder: RunFolder, allowed_targets: Iterable[str] = ()) -> dict[str, Any]:
    """The configuration of a run folder, checked, and without what would write outside of it.

    Args:
        allowed_targets: classes that you trust besides; never the folder's own.

    Raises:
        UserError: if the file is broken, or names anything that is not trusted.
    """
    config, allowed = folder.read_config(), tuple(allowed_targets)
    check_trusted(config, allowed)
    data: type[DataModule] = allowed_class(config["data"], allowed)
    return {**config, "data": data.from_stranger(config["data"])}


def check_trusted(config: Mapping[str, Any], allowed: Iterable[str] = ()) -> None:
    """Lets a run folder name a task, a data module, an optimiser and a scheduler, and no more.

    All other values are plain, and none of their keys is one that `instantiate` reads.

    Args:
        config: of the folder.
        allowed: classes that you trust besides.

    Raises:
        UserError: if the configuration names anything else.
    """
    for name, kind in KINDS.items():
        entry = config.get(name)
        if not isinstance(entry, Mapping) or not isinstance(entry.get("_target_"), str):
            raise UserError(f"the run folder's config.yaml names no class for {name}")
        _check_class(entry, name, kind, allowed)
        _check_values(_arguments(entry), name, allowed)
    for name in ("trainer", "callbacks"):
        if not isinstance(config.get(name, {}), Mapping):
            raise UserError(f"{name} in the run folder's config.yaml is not a mapping")
    _check_values(_arguments(config.get("trainer", {})), "trainer", allowed)
    title, tags = config.get("task_name"), config.get("tags", [])
    if not isinstance(title, str | None):
        raise UserError(f"task_name in the run folder's config.yaml is not a text: {title!r:.60}")
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise UserError(
            f"tags in the run folder's config.yaml is not a list of texts: {tags!r:.60}"
        )


def is_trusted_callback(name: str, entry: Any) -> bool:
    """Whether a run folder may name this callback: one of ours, which writes to the folder only.

    Raises:
        UserError: for one of ours with a value that no run writes.
    """
    if not isinstance(entry, Mapping) or not str(entry.get("_target_")).startswith(OURS):
        return False
    where, filename = f"callbacks.{name}", entry.get("filename", "best")
    _check_class(entry, where, Callback, ())
    _check_values(_arguments(entry), where, ())
    if not FILE_NAME.fullmatch(str(filename)):
        raise UserError(f"{where}.filename of a run folder is not a file name: {filename!r:.60}")
    return True


def _arguments(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in ("_target_", "_recursive_")}


def _check_class(entry: Mapping[str, Any], where: str, kind: type, allowed: Iterable[str]) -> None:
    found = allowed_class(entry, allowed)
    if not isinstance(found, type) or not issubclass(found, kind):
        raise UserError(f"{where}._target_={entry['_target_']} is not a {kind.__name__}")


def _check_values(value: Any, where: str, allowed: Iterable[str]) -> None:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if METRIC.fullmatch(where) and key == "_target_":
                check_metric_class(value, where, allowed)
            elif where in NESTED and key == "_target_":
                _check_class(value, where, NESTED[where], allowed)
            elif key.startswith("_"):
                raise UserError(f"{where}.{key} of a run folder is not allowed: {inner!r:.60}")
            _check_values(inner, f"{where}.{key}", allowed)
    elif where.startswith("model.metrics.") and isinstance(value, int) and value > MOST:
        raise UserError(f"{where} of a run folder is {value}: at most {MOST}")  # it takes memory
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            _check_values(inner, f"{where}.{number}", allowed)
