"""Installed projects that build on this package: an entry point of each, in the group `seqmodels`,
names the module that defines its heads and cells."""

from __future__ import annotations

import functools
import importlib
import importlib.util
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from seqmodels.errors import UserError, one_line
from seqmodels.plain import run_around


@functools.cache
def modules() -> tuple[str, ...]:
    """What the installed projects name, without importing it."""
    return tuple(point.module for point in entry_points(group="seqmodels") if _is_yours(point))


def packages() -> list[str]:
    """The packages of installed projects, whose classes you trust: you have installed them."""
    return [*dict.fromkeys(module.partition(".")[0] for module in modules())]


def import_projects() -> None:
    """Imports what the installed projects name, so that you can choose their heads by name.

    Raises:
        UserError: if importing a project fails.
    """
    for module in modules():
        try:
            importlib.import_module(module)
        except Exception as error:  # the module's own code may raise anything
            raise UserError(
                f"the installed project {module.partition('.')[0]}: {type(error).__name__}: "
                f"{one_line(error)}; correct it, or uninstall it"
            ) from error


def project_configs() -> list[Path]:
    """`configs/` in the package of each installed project, first of the one that you are in."""
    specs = (importlib.util.find_spec(package) for package in packages())
    roots = (Path(p) for s in specs if s for p in s.submodule_search_locations or ())
    folders = [root / "configs" for root in roots if (root / "configs").is_dir()]
    return sorted(folders, key=lambda folder: not folder.is_relative_to(Path.cwd()))


def _is_yours(point: Any) -> bool:  # an EntryPoint of Python, or of a backport
    """Whether it was installed: a run folder, in which you may stand, holds nothing but data."""
    return point.dist is None or not run_around(Path(str(point.dist.locate_file(""))).resolve())
