"""Tasks, a folder each: `model=<name>` chooses one of them.

A folder holds all that its task alone needs. Nothing outside imports from it: what it exports is
found here by name, such as `seqmodels.tasks.SequenceClassifier`. So you delete a task by deleting
its folder.
"""

import importlib
import pkgutil
from typing import Any

from seqmodels.engine import Contract, Step, Task

FOLDERS = [importlib.import_module(m.name) for m in pkgutil.iter_modules(__path__, f"{__name__}.")]

__all__ = ["FOLDERS", "Contract", "Step", "Task"]


def __getattr__(name: str) -> Any:
    for folder in FOLDERS:
        if name in folder.__all__:
            return getattr(folder, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
