"""The keys of `configs/train.yaml`, and the check of a configuration before any data is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig

from seqmodels.arguments import Name, Seed, arguments, validated
from seqmodels.engine import Task
from seqmodels.engine.own_metrics import build_metrics
from seqmodels.heads import find_head
from seqmodels.instantiate import allowed_class, check
from seqmodels.plain_values import resolved
from seqmodels.plugins import import_modules, trusted_classes

Object = dict[str, Any]
GIVEN = ("callbacks", "logger", "default_root_dir")  # of the trainer, by the code


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


def check_keys(config: DictConfig) -> None:
    """Raises UserError for an unknown key, a value of another type, or one that is missing."""
    validated(arguments(Keys), resolved(config))


def check_config(config: DictConfig) -> type[Task]:
    """Checks keys and values of model, data and trainer before any data is read, and whether the
    head fits the task; returns the task's class."""
    check_keys(config)
    import_modules(config.imports)
    allowed = trusted_classes(config)
    kind: type[Task] = allowed_class(config.model, allowed, "model", Task)
    head = str(config.model.head)
    contract = kind.contract_for(head)
    find_head(head, per=contract.per, target=contract.target)
    build_metrics(config.model.get("metrics"), allowed)  # which others may monitor
    check(config.model, ("data",), "model", allowed_targets=allowed)
    check(config.data, (), "data", allowed_targets=allowed)
    check(config.trainer, GIVEN, "trainer", allowed_targets=allowed)
    return kind
