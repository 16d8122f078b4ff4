"""Import user modules named on the command line."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from seqmodels.errors import UserError, one_line
from seqmodels.plain import run_around


def import_module(name: str, key: str) -> ModuleType:
    """Imports a module by its name; it may be in the current directory, unless that lies in a run.

    This runs the module's code: import only what you trust, and never what a checkpoint or a run
    folder names.

    Args:
        key: the configuration key to name in an error.

    Raises:
        UserError: if the import fails.
    """
    if "" not in sys.path and not run_around(Path.cwd()):
        sys.path.insert(0, "")
    try:
        return importlib.import_module(name)
    except Exception as error:  # the module's own code may raise anything
        raise UserError(f"{key}: {type(error).__name__}: {one_line(error)}") from error


def import_modules(names: str | Iterable[str]) -> None:
    """Imports the modules listed under `imports`, one or several, so that you can choose their
    heads by name."""
    for name in [names] if isinstance(names, str) else names:
        import_module(name, f"imports={name}")


def trusted(config: Any) -> tuple[str, ...]:
    """The classes that a command line trusts: `allowed_targets`, and all in the modules of
    `imports`.

    Args:
        config: has these two keys; never take it from a checkpoint or a run folder.
    """
    names = [config.imports] if isinstance(config.imports, str) else config.imports
    return (*config.allowed_targets, *(f"{name}." for name in names))
