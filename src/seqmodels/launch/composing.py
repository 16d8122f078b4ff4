"""Compose the configuration as Hydra does, without arguments that are left from another class."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

# Hydra's loader and list of defaults have no public names, and no hook says which file gives a key
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.defaults_list import create_defaults_list
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from seqmodels.checking import Schema
from seqmodels.errors import UserError, not_a_task
from seqmodels.launch.config_files import SHIPPED, shipped_checker
from seqmodels.plain_values import flattened

WHOLE = ("optimizer/", "scheduler/")  # groups whose file is merged where it is chosen


@dataclass(frozen=True)
class Layer:
    """What a file of the configuration gives, or the command line.

    Args:
        keys: dotted, of its values and of the mappings around them.
        chosen: the number of the layer that chose this file; its own number, if none did.
    """

    keys: frozenset[str]
    chosen: int


class Loader(ConfigLoaderImpl):
    """In the place of Hydra's, which merges key by key: arguments of one class would stay where
    another is named."""

    composed: ClassVar[DictConfig | None] = None  # until the error, to find what was meant

    def load_configuration(  # type: ignore[override]
        self, config_name: Any, overrides: Any, run_mode: Any, **options: Any
    ) -> DictConfig:
        self._layers: list[Layer] = []
        Loader.composed = None
        words = OverridesParser.create().parse_overrides(overrides)
        self._asked = (config_name, words, True, run_mode == RunMode.MULTIRUN)
        config = super().load_configuration(config_name, overrides, run_mode, **options)
        given = {w.key_or_group: w.value() for w in words if not w.is_sweep_override()}
        self._layers.append(Layer(_keys(given), len(self._layers)))
        leave_out(config, self._layers)
        return config

    def _compose_config_from_defaults_list(self, defaults: Any, repo: Any) -> Any:
        chosen = _chosen(create_defaults_list(repo, *self._asked).overrides)
        _move(defaults, chosen)
        files = [entry.config_path for entry in defaults]
        for place, entry in enumerate(defaults):
            content: Any = self._load_single_config(entry, repo).config
            keys = _keys(OmegaConf.to_container(content, resolve=False))
            ours = SHIPPED / f"{entry.config_path}.yaml"
            if ours.parent.name == "debug" and ours.is_file():  # it goes with classes of any kind
                keys = frozenset()
            by = chosen.get(entry.config_path)
            self._layers.append(Layer(keys, place if by is None else _place(by, files)))
        Loader.composed = super()._compose_config_from_defaults_list(defaults, repo)
        return Loader.composed


def leave_out(config: DictConfig, layers: Sequence[Layer]) -> None:
    """Take the arguments, and the options in groups such as `model.output`, out of `config` that a
    class does not take, if only layers give them that come before the one that names or chooses
    this class. The checks refuse all others.

    Raises:
        UserError: for a model that takes no head.
    """
    for key in sorted({k for layer in layers for k in layer.keys if k.endswith("._target_")}):
        where = key.removesuffix("._target_")
        node: Any = OmegaConf.select(config, where, throw_on_resolution_failure=False)
        if where.startswith("hydra.") or not isinstance(node, DictConfig):
            continue
        [*_, naming] = [layer for layer in layers if key in layer.keys]
        since = [naming, *layers[naming.chosen :]]
        plain: Any = OmegaConf.to_container(node, resolve=False)
        names = [*plain, *(n for n in flattened(plain) if n.count(".") == 1)]
        left = [n for n in names if not any(f"{where}.{n}" in layer.keys for layer in since)]
        if not left:  # as mostly: importing a class of your own takes a moment
            continue
        asked = [*left, "head"] if where == "model" else left  # whichever layer gives the head
        not_taken = _not_taken(config, plain.get("_target_"), asked)
        if where == "model" and "head" in not_taken:
            raise not_a_task(plain["_target_"])
        with open_dict(node):
            for name in not_taken:
                group, _, option = name.rpartition(".")
                holder = node.get(group) if group else node
                if holder is not None:  # else the whole group is gone
                    del holder[option]


def _not_taken(config: DictConfig, target: Any, names: list[Any]) -> list[Any]:
    """The names that are not arguments of this class; none if it is unknown."""
    takes = shipped_checker().classes(target)
    if takes is None:
        from seqmodels.instantiate import allowed_class
        from seqmodels.plugins import import_modules, trusted_classes
        from seqmodels.signatures import arguments

        try:
            import_modules(config.imports)
            takes = arguments(allowed_class({"_target_": target}, trusted_classes(config)))
        except (UserError, OmegaConfBaseException):  # building it will tell
            return []
    return [name for name in names if takes and not _takes(takes, name)]


def _takes(takes: Schema, name: str) -> bool:
    """Whether a class has this argument, or this option in a group of them."""
    group, _, option = name.partition(".")
    if group not in takes.get("properties", {}):
        return group.startswith("_") or takes.get("additionalProperties", True) is not False
    return not option or _takes(shipped_checker().resolved(takes["properties"][group]), option)


def _chosen(overrides: Any) -> dict[str, Any]:
    """What chose each file that is chosen instead of a default."""
    found = {}
    for key, by in overrides.override_metadata.items():
        names = overrides.override_choices[key]
        for name in names if isinstance(names, list) else [names]:
            found[f"{key.partition('@')[0]}/{name}"] = by
    return found


def _move(defaults: list[Any], chosen: Mapping[str, Any]) -> None:
    """Moves a file of `WHOLE` before the file that chose it, or to the end, if the command line
    did."""
    for entry in [e for e in defaults if e.config_path in chosen]:
        if entry.config_path.startswith(WHOLE):
            defaults.remove(entry)
            place = _place(chosen[entry.config_path], [each.config_path for each in defaults])
            defaults.insert(place, entry)


def _place(by: Any, files: list[str]) -> int:
    return len(files) if by.external_override else files.index(by.containing_config_path)


def _keys(values: Any) -> frozenset[str]:
    parts = (key.split(".") for key in flattened(values))
    return frozenset(k for part in parts for k in itertools.accumulate(part, "{}.{}".format))
