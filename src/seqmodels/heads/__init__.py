"""Heads by name. Every file in this folder is read, so a new head is one new file."""

import importlib
import pkgutil

from seqmodels.heads.base import HEADS, Head, build_head, find_head

for _module in pkgutil.iter_modules(__path__, prefix=f"{__name__}."):
    importlib.import_module(_module.name)

__all__ = ["HEADS", "Head", "build_head", "find_head"]
