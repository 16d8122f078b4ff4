"""Recurrent sequence models in PyTorch Lightning and Hydra, and which of their tensors feeds what.

The names below are loaded when they are first used, so that `import seqmodels` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqmodels.batch import SequenceBatch
    from seqmodels.heads import Head
    from seqmodels.launch.notebook import compose
    from seqmodels.nn.cell import Cell
    from seqmodels.nn.encoder import RecurrentEncoder, RNNOutput
    from seqmodels.runs import load_run, train

    __version__: str

__all__ = [
    "Cell",
    "Head",
    "RNNOutput",
    "RecurrentEncoder",
    "SequenceBatch",
    "__version__",
    "compose",
    "load_run",
    "train",
]

_MODULES = {
    "Cell": "seqmodels.nn.cell",
    "Head": "seqmodels.heads",
    "RNNOutput": "seqmodels.nn.encoder",
    "RecurrentEncoder": "seqmodels.nn.encoder",
    "SequenceBatch": "seqmodels.batch",
    "compose": "seqmodels.launch.notebook",
    "load_run": "seqmodels.runs",
    "train": "seqmodels.runs",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from seqmodels.installation import version

        return version()
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
