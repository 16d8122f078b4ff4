"""What registers by name: our tasks, installed projects that build on this package, and modules
under `imports`.

An installed project announces itself by an entry point in the group `seqmodels`, which names the
module that defines its heads and cells.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from collections.abc import Iterable
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from seqmodels.errors import unusable


@functools.cache
def project_modules() -> tuple[str, ...]:
    """What the installed projects name, without importing it."""
    return tuple(point.module for point in entry_points(group="seqmodels"))


def project_packages() -> list[str]:
    """The packages of installed projects, whose classes you trust: you have installed them."""
    return [*dict.fromkeys(module.partition(".")[0] for module in project_modules())]


def import_plugins() -> None:
    """Imports our tasks, a folder each, and what the installed projects name: they register heads,
    cells, targets and metrics. Raises UserError if importing a project fails."""
    for module in ("seqmodels.tasks", *project_modules()):
        name = module.partition(".")[0]
        with unusable(f"correct or uninstall the installed project {name}, which fails"):
            importlib.import_module(module)


def project_configs() -> list[Path]:
    """`configs/` in the package of each installed project, first of the one that you are in."""
    folders = []
    for package in project_packages():
        spec = importlib.util.find_spec(package)
        if spec is None:
            continue
        for place in spec.submodule_search_locations or ():
            folder = Path(place) / "configs"
            if folder.is_dir():
                folders.append(folder)
    return sorted(folders, key=lambda folder: not folder.is_relative_to(Path.cwd()))


def import_module(name: str, key: str) -> ModuleType:
    """Imports a module by its name; it may be in the current directory.

    This runs the module's code: import only what you trust, and never what a checkpoint or a run
    folder names.

    Args:
        key: the configuration key to name in an error.

    Raises:
        UserError: if the import fails.
    """
    if "" not in sys.path:
        sys.path.insert(0, "")
    with unusable(f"{key} cannot be imported"):
        return importlib.import_module(name)


def import_modules(names: str | Iterable[str]) -> None:
    """Imports the modules listed under `imports`, one or several, so that you can choose their
    heads by name."""
    for name in [names] if isinstance(names, str) else names:
        import_module(name, f"imports={name}")


def trusted_classes(
    imports: str | Iterable[str], allowed_targets: Iterable[str]
) -> tuple[str, ...]:
    """The classes that a command line trusts: `allowed_targets`, and all in the modules of
    `imports`. Never take these from a checkpoint or a run folder."""
    modules = [imports] if isinstance(imports, str) else imports
    return (*allowed_targets, *(f"{module}." for module in modules))
