"""Recurrent sequence models in PyTorch Lightning and Hydra, and which of their tensors feeds what.

The names below are loaded when they are first used, so that `import seqmodels` costs nothing.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqmodels.batch import SequenceBatch as SequenceBatch
    from seqmodels.heads import Head as Head
    from seqmodels.launch.composed import compose as compose
    from seqmodels.network import Network as Network
    from seqmodels.nn.cell import Cell as Cell
    from seqmodels.nn.encoder import RecurrentEncoder as RecurrentEncoder
    from seqmodels.nn.encoder import RNNOutput as RNNOutput
    from seqmodels.runs import load_run as load_run
    from seqmodels.runs import train as train

    __version__: str

_MODULES = {
    "Cell": "seqmodels.nn.cell",
    "Head": "seqmodels.heads",
    "Network": "seqmodels.network",
    "RNNOutput": "seqmodels.nn.encoder",
    "RecurrentEncoder": "seqmodels.nn.encoder",
    "SequenceBatch": "seqmodels.batch",
    "compose": "seqmodels.launch.composed",
    "load_run": "seqmodels.runs",
    "train": "seqmodels.runs",
}
__all__ = [*_MODULES, "__version__"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from seqmodels.installation import version

        return version()
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


class _Signal(ModuleType):
    """`scipy.signal`, which is loaded when something of it is used.

    Lightning imports torchmetrics, whose metrics of audio import it, for a fifth of the time of
    every start, and ask only for `hamming`, which SciPy no longer has.
    """

    def __getattr__(self, name: str) -> Any:
        asking_module = sys._getframe(1).f_globals.get("__name__", "")
        if name == "hamming" and asking_module.startswith("torchmetrics"):
            return None
        if name == "__file__":  # `inspect` asks every module for it.
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


_signal = _Signal("scipy.signal")
_signal.__spec__ = ModuleSpec("scipy.signal", None, is_package=True)  # `find_spec` asks for it.
sys.modules.setdefault("scipy.signal", _signal)
