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
from seqmodels.engine.optimization import Shape
from seqmodels.engine.own_metrics import check_metric_class
from seqmodels.errors import UserError
from seqmodels.instantiate import allowed_class
from seqmodels.runs.folder import RunFolder

# what a run folder may name, and no more; all other values are plain
CLASSES: dict[str, Any] = {
    "model": Task,
    "data": DataModule,
    "model.optimizer": Optimizer,
    "model.scheduler": LRScheduler | Shape,
}
METRIC = re.compile(r"model\.metrics\.\w+")
# where the callbacks are defined that a run folder may name, and no others
CALLBACKS = (
    "seqmodels.callbacks.",
    "seqmodels.tasks.",
    "seqmodels.dataflow.",
    "lightning.pytorch.callbacks.lr_monitor.",
    "lightning.pytorch.callbacks.rich_model_summary.",
)
# of their arguments, those that may be texts; `dirpath` is replaced
TEXTS = ("monitor", "mode", "logging_interval", "dirpath")


def trusted_config(
    folder: RunFolder,
    allowed_targets: Iterable[str] = (),
    *,
    trains: bool = True,
    stretches: int | None = None,
) -> dict[str, Any]:
    """The configuration of a run folder, checked, and without what would write outside of it.

    Args:
        allowed_targets: classes that you trust besides; never the folder's own.
        trains: whether the optimizer and the scheduler are needed; else they are left out.
        stretches: as `RunFolder.read_config` takes it.
    """
    config, allowed = folder.read_config(stretches=stretches), tuple(allowed_targets)
    for name in ("model", "data", "trainer", "callbacks"):
        if not isinstance(config.setdefault(name, {}), dict):
            raise UserError(f"{folder.config_file}: {name} is not a mapping")
    if not trains:  # one of your own would ask for its module
        for name in ("optimizer", "scheduler"):
            config["model"].pop(name, None)
    for name in CLASSES.keys() & config.keys():
        _check_names(config[name], name, allowed)
    # The class of the trainer is the command line's.
    _check_names(_arguments(config["trainer"]), "trainer", allowed)
    return config


def is_trusted_callback(name: str, entry: Any) -> bool:
    """Whether a run folder may name this callback: one of ours, which writes to the folder only.
    What counts is the class that its name leads to: modules of ours know others, too. Raises
    UserError for one of ours with a value that no run writes."""
    packages = ("seqmodels.", "lightning.pytorch.callbacks.")
    if not isinstance(entry, Mapping) or not str(entry.get("_target_")).startswith(packages):
        return False
    callback_class = allowed_class(entry, key=f"callbacks.{name}", kind=Callback)
    if not f"{callback_class.__module__}.".startswith(CALLBACKS):
        return False
    arguments = _arguments(entry)
    _check_names(arguments, f"callbacks.{name}", ())
    return all(key in TEXTS or not isinstance(value, str) for key, value in arguments.items())


def _arguments(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != "_target_"}


def _check_names(value: Any, where: str, allowed: tuple[str, ...]) -> None:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key == "_target_" and where in CLASSES:
                allowed_class(value, allowed, where, CLASSES[where])
            elif key == "_target_" and METRIC.fullmatch(where):
                check_metric_class(value, where, allowed)
            elif str(key).startswith("_") and (key, where) != ("_recursive_", "model"):
                raise UserError(f"{where}.{key} of a run folder is not allowed: {inner!r:.60}")
            _check_names(inner, f"{where}.{key}", allowed)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            _check_names(inner, f"{where}.{number}", allowed)
