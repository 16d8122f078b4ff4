"""The schema of what the package ships, read without importing it: `configs/schema.json`."""

from __future__ import annotations

import functools
import json
from typing import Any

from seqmodels.checking import Checker, Schema
from seqmodels.errors import UserError
from seqmodels.launch.config_files import PACKAGE, SHIPPED

OF_FILES = ("defaults", "hydra")  # keys of a file that are none of the configuration


@functools.cache
def _read() -> Schema:
    file = SHIPPED / "schema.json"
    if not file.is_file():  # of a project that was made without PyTorch
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


def shipped_heads() -> list[str]:
    names: list[str] = _read()["definitions"]["model.head"]["anyOf"][0]["enum"]
    return names


def options_of(head: str) -> Any:
    """The schema of the options of a shipped head."""
    return _read()["definitions"].get(f"model.head_options.{head}")
