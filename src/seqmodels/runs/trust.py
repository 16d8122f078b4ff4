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

# What the classes that a run folder names must be, by key. All its other values are plain.
CLASSES: dict[str, Any] = {
    "model": Task,
    "data": DataModule,
    "model.optimizer": Optimizer,
    "model.scheduler": LRScheduler | Shape,
}
METRIC = re.compile(r"model\.metrics\.\w+")
# A run folder may name callbacks that are defined in these modules, and no others.
CALLBACKS = (
    "seqmodels.callbacks.",
    "seqmodels.tasks.",
    "seqmodels.dataflow.",
    "lightning.pytorch.callbacks.lr_monitor.",
    "lightning.pytorch.callbacks.rich_model_summary.",
)
# Arguments of callbacks that may be texts. Of these, `dirpath` is replaced.
TEXTS = ("monitor", "mode", "logging_interval", "dirpath")
# Keys that no folder gives: the command line decides them.
YOURS = ("resume", "imports", "allowed_targets", "logger", "paths", "sweep", "local")


def trusted_config(
    folder: RunFolder,
    allowed_targets: Iterable[str] = (),
    *,
    trains: bool = True,
    stretches: int | None = None,
) -> dict[str, Any]:
    """The configuration of a run folder, without what would write outside of it: `folder` is where
    it lies now, callbacks are ours and save there, and what the command line decides is left out.

    Args:
        allowed_targets: classes that you trust besides; never the folder's own.
        trains: whether callbacks, optimizer and scheduler are needed; else they are left out.
        stretches: as `RunFolder.read_config` takes it.

    Raises:
        UserError: if it names a class that it may not.
    """
    config = folder.read_config(stretches=stretches)
    allowed = tuple(allowed_targets)
    for name in ("model", "data", "trainer", "callbacks"):
        entry = config.setdefault(name, {})
        if not isinstance(entry, dict):
            raise UserError(f"{folder.config_file}: {name} is not a mapping")
    for name in YOURS:
        config.pop(name, None)
    config["folder"] = str(folder.path)
    if not trains:
        config["callbacks"] = {}
        # An optimizer of your own would need its module to be imported.
        config["model"].pop("optimizer", None)
        config["model"].pop("scheduler", None)
    config["callbacks"] = _trusted_callbacks(config["callbacks"], folder)
    for name in CLASSES.keys() & config.keys():
        _check_names(config[name], name, allowed)
    # The class of the trainer is the command line's.
    _check_names(_arguments(config["trainer"]), "trainer", allowed)
    return config


def _trusted_callbacks(entries: Mapping[str, Any], folder: RunFolder) -> dict[str, Any]:
    """The callbacks that a run folder may name, and None for those that it turns off."""
    trusted_entries: dict[str, Any] = {}
    for name, entry in entries.items():
        if entry is None:
            trusted_entries[name] = None
        elif is_trusted_callback(name, entry):
            trusted_entries[name] = {**entry}
            if "dirpath" in entry:
                trusted_entries[name]["dirpath"] = str(folder.path / "checkpoints")
    return trusted_entries


def is_trusted_callback(name: str, entry: Any) -> bool:
    """Whether a run folder may name this callback: one of ours, which writes to the folder only.
    What counts is the class that its name leads to: modules of ours know others, too. Raises
    UserError for one of ours with a value that no run writes."""
    if not isinstance(entry, Mapping):
        return False
    target = str(entry.get("_target_"))
    if not target.startswith(("seqmodels.", "lightning.pytorch.callbacks.")):
        return False
    callback_class = allowed_class(entry, key=f"callbacks.{name}", kind=Callback)
    module = f"{callback_class.__module__}."
    if not module.startswith(CALLBACKS):
        return False
    arguments = _arguments(entry)
    _check_names(arguments, f"callbacks.{name}", ())
    return all(key in TEXTS or not isinstance(value, str) for key, value in arguments.items())


def _arguments(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What an object is built with: its entry without the class."""
    return {key: value for key, value in entry.items() if key != "_target_"}


def _check_names(entry: Any, entry_key: str, allowed: tuple[str, ...]) -> None:
    """Raises UserError if an entry of a run folder, or anything in it, names what it may not.

    Args:
        entry_key: the dotted key of the entry, such as `model.optimizer`.
        allowed: the classes that you trust besides.
    """
    if isinstance(entry, Mapping):
        for name, value in entry.items():
            key = f"{entry_key}.{name}"
            if name == "_target_" and entry_key in CLASSES:
                allowed_class(entry, allowed, entry_key, CLASSES[entry_key])
            elif name == "_target_" and METRIC.fullmatch(entry_key):
                check_metric_class(entry, entry_key, allowed)
            elif str(name).startswith("_") and key != "model._recursive_":
                raise UserError(f"{key} of a run folder is not allowed: {value!r:.60}")
            _check_names(value, key, allowed)
    elif isinstance(entry, list):
        for number, element in enumerate(entry):
            _check_names(element, f"{entry_key}.{number}", allowed)
