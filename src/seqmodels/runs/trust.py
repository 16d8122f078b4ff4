"""Check what a run folder names before anything of it is built: it may be a stranger's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from seqmodels.data import DataModule
from seqmodels.errors import UserError
from seqmodels.instantiate import allowed_class
from seqmodels.tasks import Task

KINDS: dict[str, type] = {"model": Task, "data": DataModule}
# built from the configuration of a model, later and by the task
NESTED = ("model.optimizer", "model.scheduler")
OF_TORCH = "torch.optim."


def check_trusted(config: Mapping[str, Any], allowed_targets: Iterable[str] = ()) -> None:
    """Lets a run folder name a task, a data module, an optimiser and a scheduler, and no more.

    Args:
        config: of the folder.
        allowed_targets: classes that you trust besides; never the folder's own.

    Raises:
        UserError: naming the key.
    """
    allowed = tuple(allowed_targets)
    for name, kind in KINDS.items():
        entry = config.get(name)
        if not isinstance(entry, Mapping) or not isinstance(entry.get("_target_"), str):
            raise UserError(f"the run folder's config.yaml names no class for {name}")
        if not issubclass(allowed_class(entry, allowed), kind):
            raise UserError(f"{name}._target_={entry['_target_']} is not a {kind.__name__}")
        own = {k: v for k, v in entry.items() if k not in ("_target_", "_recursive_")}
        _check_plain(own, name)


def _check_plain(value: Any, where: str) -> None:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            of_torch = where in NESTED and key == "_target_" and str(inner).startswith(OF_TORCH)
            if str(key).startswith("_") and not of_torch:
                raise UserError(f"{where}.{key} of a run folder is not allowed: {inner!r:.60}")
            _check_plain(inner, f"{where}.{key}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            _check_plain(inner, f"{where}.{number}")
