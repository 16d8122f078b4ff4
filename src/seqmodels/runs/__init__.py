"""One run: train it, load it, evaluate it, predict with it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqmodels.runs.finished import Run, load_run
    from seqmodels.runs.trainer import Trainer
    from seqmodels.runs.training import fit, prepare, train

__all__ = ["Run", "Trainer", "fit", "load_run", "prepare", "train"]

_MODULES = {"Run": "finished", "load_run": "finished", "Trainer": "trainer"}


def __getattr__(name: str) -> Any:  # so that importing the run folder alone doesn't import torch
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_MODULES.get(name, 'training')}")
    return getattr(module, name)
