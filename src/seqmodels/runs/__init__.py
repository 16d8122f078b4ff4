"""One run: train it, load it, evaluate it, predict with it."""

from __future__ import annotations

import atexit
import gc
import importlib
import sys
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
    module = f"{__name__}.{_MODULES.get(name, 'training')}"
    if "torch" in sys.modules:
        return getattr(importlib.import_module(module), name)
    gc.disable()  # it would look through all modules again and again, for a third of the time
    try:
        return getattr(importlib.import_module(module), name)
    finally:
        gc.freeze()  # the modules, which stay
        atexit.register(gc.unfreeze)  # otherwise torch's Triton says at the end that objects leak
        gc.enable()
