"""A configuration is checked here, once, before any data is read: first its keys, then all that it
builds, which a `Plan` keeps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig

from seqmodels.arguments import Name, Seed, arguments, validated
from seqmodels.engine import Task
from seqmodels.engine.contract import Contract
from seqmodels.engine.own_metrics import build_metrics
from seqmodels.errors import UserError, missing_value
from seqmodels.heads import find_head
from seqmodels.instantiate import Blueprint, allowed_class, check
from seqmodels.plain_values import resolved
from seqmodels.plugins import import_modules, trusted_classes

Object = dict[str, Any]
# Arguments that the code passes, and no configuration does.
GIVEN = {"model": ("data",), "trainer": ("callbacks", "logger", "default_root_dir")}
GROUPS = ("callbacks", "logger")  # Each has several objects, by their names.


@dataclass
class Sweep:
    metric: Name | None


@dataclass
class Paths:
    runs: Name
    cache: Name | None


@dataclass
class Keys:
    folder: Name
    task_name: Name | None
    tags: list[Name]
    resume: Name | None
    seed: Seed
    baseline: bool
    imports: list[Name] | Name
    allowed_targets: list[Name]
    paths: Paths
    sweep: Sweep
    model: Object
    data: Object
    trainer: Object
    callbacks: dict[str, Object | None] | None
    logger: dict[str, Object | None] | None


def check_keys(config: DictConfig) -> dict[str, Any]:
    """The configuration as plain values. Raises UserError for an unknown key, a value of another
    type, or one that is missing."""
    plain: dict[str, Any] = resolved(config)
    validated(arguments(Keys), plain)
    return plain


@dataclass(frozen=True)
class Plan:
    """What a configuration builds, checked; nothing of it is built yet, and no data is read.

    Args:
        task_class: the class of the model.
        contract: what it learns with the head that it has.
        allowed_targets: the classes that the command line trusts besides.
        blueprints: by key, such as `model`, `data`, `trainer`, or `callbacks.progress`.
    """

    task_class: type[Task]
    contract: Contract
    allowed_targets: tuple[str, ...]
    blueprints: Mapping[str, Blueprint]

    def build(self, key: str, /, **given: Any) -> Any:
        """What the configuration has under this key, with what the code gives it."""
        return self.blueprints[key].build(**given)

    def build_group(self, group: str) -> list[Any]:
        """All `callbacks`, or all of `logger`."""
        keys = [key for key in self.blueprints if key.startswith(f"{group}.")]
        return [self.build(key) for key in keys]


def plan_of(config: Mapping[str, Any]) -> Plan:
    """The plan of a command line's configuration, as plain values: this imports the modules that it
    names, whose code runs, and trusts their classes. Raises what `make_plan` does."""
    import_modules(config["imports"])
    return make_plan(config, trusted_classes(config["imports"], config["allowed_targets"]))


def make_plan(config: Mapping[str, Any], allowed_targets: Iterable[str] = ()) -> Plan:
    """The plan of a configuration that may name these classes, besides the built-in ones.

    Args:
        config: plain values; has a `model`, and may have `data`, a `trainer`, `callbacks` and a
            `logger`.

    Raises:
        UserError: if the head doesn't fit the task, a target is not allowed, or an argument is
            unknown, missing, or has a wrong value.
    """
    model, allowed = config["model"], tuple(allowed_targets)
    task_class: type[Task] = allowed_class(model, allowed, "model", Task)
    if "head" not in model:
        raise UserError(missing_value("model.head"))
    head = str(model["head"])
    contract = task_class.contract_for(head)
    find_head(head, per=contract.per, target=contract.target)
    metrics = _mapping(model.get("metrics"), "model.metrics")
    build_metrics(metrics, allowed)  # Callbacks may monitor them.
    entries = {key: config[key] for key in ("model", "data", "trainer") if key in config}
    for group in GROUPS:
        for name, entry in (config.get(group) or {}).items():
            key = f"{group}.{name}"
            options = _mapping(entry, key)
            if options is not None:
                entries[key] = options
    blueprints = {
        key: check(entry, GIVEN.get(key, ()), key, allowed_targets=allowed)
        for key, entry in entries.items()
    }
    return Plan(task_class, contract, allowed, blueprints)


def _mapping(value: Any, key: str) -> Mapping[str, Any] | None:
    """The value of a key that holds others, or None."""
    if value is None or isinstance(value, Mapping):
        return value
    raise UserError(f"{key}={value}: input should be a valid dictionary")
