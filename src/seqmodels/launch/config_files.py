"""What is in `configs/`: in the package, in installed projects, and in your own folder."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Iterable
from pathlib import Path

from omegaconf import OmegaConf

from seqmodels.checking import Checker, Schema
from seqmodels.errors import UserError, unusable
from seqmodels.plugins import project_configs

log = logging.getLogger(__name__)

PACKAGE = Path(__file__).resolve().parents[1]
# a wheel has it in the package, a checkout at the root
SHIPPED = next(p for p in (PACKAGE / "configs", PACKAGE.parents[1] / "configs") if p.is_dir())
OF_FILES = ("defaults", "hydra")  # keys of a file that are not keys of the configuration


def config_folders() -> list[Path]:
    """All folders `configs/`: first your own, then of installed projects, then the shipped one."""
    return [*own_configs(), *project_configs(), SHIPPED]


def own_configs() -> list[Path]:
    """`configs/` in the current directory, if there is one that is yours."""
    own = Path.cwd() / "configs"
    yours = own.is_dir() and own.resolve() != SHIPPED
    return [own] if yours else []


def local_cache(folders: Iterable[Path]) -> str | None:
    """Return `paths.cache` of the first `local/default.yaml` in these folders, if there is one.

    Raises:
        UserError: if the file is broken, or it is not a path.
    """
    for file in (folder / "local" / "default.yaml" for folder in folders):
        if file.is_file():
            with unusable(f"{file} cannot be read"):
                cache = OmegaConf.select(OmegaConf.load(file), "paths.cache")
            if cache is not None and not isinstance(cache, str):
                raise UserError(f"{file}: paths.cache={cache}: set it to a folder, or null")
            return cache
    return None


@functools.cache
def _read() -> Schema:
    file = SHIPPED / "schema.json"
    if not file.is_file():
        raise UserError(f"{file} is missing: python -m seqmodels.launch.schema writes it")
    made: Schema = json.loads(file.read_text())
    return made


@functools.cache
def shipped_checker(*, own_names: bool = False) -> Checker:
    """Checks values by the shipped classes; it does not know others.

    Args:
        own_names: whether modules of your own may define cells.
    """
    definitions = _read()["definitions"]
    return Checker(definitions.get, definitions, own_names)


def is_older() -> bool:
    """Whether a source was changed after the schema was written, by more than a checkout takes."""
    written = (SHIPPED / "schema.json").stat().st_mtime
    return any(file.stat().st_mtime > written + 60 for file in PACKAGE.rglob("*.py"))


def keys_of(name: str) -> Schema:
    """The keys of a file that a script starts from, such as `train`."""
    whole = _read()
    part = whole if name == "train" else whole["definitions"][name]
    kept = {key: value for key, value in part["properties"].items() if key not in OF_FILES}
    return {**part, "properties": kept}
