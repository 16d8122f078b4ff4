"""Modules of the person's own, by the name that the command line gives."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from types import ModuleType

from seqmodels.errors import UserError, one_line


def import_module(name: str, key: str) -> ModuleType:
    """The module of that name, which may lie where the script is called.

    Runs its code: name only what you trust, and never what a checkpoint or a run folder names.

    Args:
        key: of the configuration, for the error.

    Raises:
        UserError: if it cannot be imported.
    """
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        return importlib.import_module(name)
    except Exception as error:  # the import may fail in any way
        raise UserError(f"{key}: {type(error).__name__}: {one_line(error)}") from error


def import_modules(names: str | Iterable[str]) -> None:
    """Imports what `imports` of the configuration names, one or several, whose heads are then known
    by their names."""
    for name in [names] if isinstance(names, str) else names:
        import_module(name, f"imports={name}")
