"""Plain values: read YAML and JSON without resolving anything; set and list by dotted key."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from seqmodels.errors import UserError, missing_value, one_line, unusable

# These keys change nothing of what is trained: where it lies, what it is called, how it is shown.
NO_SETTING = (
    *("task_name", "tags", "baseline", "logger", "folder", "resume", "paths.", "sweep.", "imports"),
    *("callbacks.progress", "trainer.enable_progress_bar", "trainer.enable_model_summary"),
    *("trainer.log_every_n_steps", "trainer.profiler"),
)


def read_yaml(path: Path) -> Any:
    """The value in a YAML file. Nothing is resolved, and a tag runs no code. Raises UserError if
    the file cannot be read."""
    with unusable(f"{path} is not YAML"):
        return OmegaConf.to_container(OmegaConf.load(path), resolve=False)


def read_json(path: Path) -> Any:
    """The value in a JSON file. Raises UserError if the file cannot be read."""
    with unusable(f"{path} is not JSON"):
        return json.loads(path.read_text(encoding="utf-8"))


def resolved(config: DictConfig) -> Any:
    """A configuration as plain values. Raises UserError if a value is missing, or one cannot be
    resolved."""
    try:
        return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise UserError(missing_value(str(error.full_key))) from error
    except OmegaConfBaseException as error:
        cause = error.__cause__  # A function of ours, which `${...}` calls, may have raised it.
        raise UserError(one_line(cause if isinstance(cause, UserError) else error)) from error


def change(config: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Sets values by dotted key, such as `{"model.head": "max_pool"}`."""
    for key, value in changes.items():
        *groups, name = key.split(".")
        inner = config
        for group in groups:
            if not isinstance(inner.get(group), dict):
                inner[group] = {}
            inner = inner[group]
        inner[name] = value


def flattened(config: Any, prefix: str = "") -> dict[str, Any]:
    """`{"model": {"head": "max_pool"}}` as `{"model.head": "max_pool"}`; lists stay as they are."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= flattened(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
