"""What every task shares: the loops around a network, its contract, metrics, optimisation.

Loaded when it is used: a comparison needs the table of metrics alone, and no PyTorch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqmodels.engine.contract import Contract, Step
    from seqmodels.engine.task import Task

__all__ = ["Contract", "Step", "Task"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "task" if name == "Task" else "contract"
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)
