"""The keys of `configs/train.yaml`, and the check of a configuration before any data is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig

from seqmodels.arguments import Name, Seed, arguments, validated
from seqmodels.engine import Task
from seqmodels.engine.own_metrics import build_metrics
from seqmodels.errors import UserError
from seqmodels.heads import find_head
from seqmodels.instantiate import allowed_class, check
from seqmodels.machine import find_device
from seqmodels.metrics import more_is_better
from seqmodels.plain_values import resolved
from seqmodels.plugins import import_modules, trusted_classes

Object = dict[str, Any]


@dataclass
class Sweep:
    metric: Name | None
    different_data: bool


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
    """Checks each value, but not whether head, encoder and task fit together.

    Returns:
        The class of the task.

    Raises:
        UserError: naming the key, and what is wrong with its value.
    """
    check_keys(config)
    import_modules(config.imports)
    allowed = trusted_classes(config)
    find_device(str(config.trainer.accelerator))
    kind: type[Task] = allowed_class(config.model, allowed, "model", Task)
    find_head(str(config.model.head))
    check(config.model, ["data"], "model", allowed_targets=allowed)
    build_metrics(config.model.get("metrics"), allowed)
    if config.sweep.metric is not None:
        metric = str(config.sweep.metric)
        if not metric.startswith(("validation/", "test/")):
            raise UserError(f"sweep.metric={metric}: write test/ or validation/ before its name")
        more_is_better(metric)
    given = ["callbacks", "logger", "default_root_dir"]
    check(config.trainer, given, "trainer", allowed_targets=allowed)
    check(config.data, key="data", allowed_targets=allowed)
    for group in ("callbacks", "logger"):
        for name, entry in (config[group] or {}).items():
            if entry is not None:  # a logger writes when it is built
                check(entry, key=f"{group}.{name}", allowed_targets=allowed)
    return kind
