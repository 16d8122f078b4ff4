"""Say in one line why no configuration can be composed, and what was probably meant."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException, MissingConfigException
from omegaconf import OmegaConf

from seqmodels.errors import closest, listed, nearest, one_line, shown, unknown_key
from seqmodels.launch.composing import Loader
from seqmodels.launch.config_files import SHIPPED, config_folders, keys_of, shipped_checker

SEVERAL = re.compile(r"(?:Ambiguous value for argument|Sweep parameters) '(.+?)'(?:\n| requires)")
EXISTS = re.compile(r"An item is already at '.+'\.\s+Either remove \+ prefix: '(.+)'\n")
UNKNOWN = re.compile(
    r"Could not override '.+'\.\s+(?:No match in the defaults list\.\s+)?To append to your "
    r"(?:config|default list) use \+(.+)"
)
NO_FILE = "Config group override must be a string or a list. Got NoneType"
GONE = re.compile(r"Could not delete from config\. '(.+)' does not exist")


class Suggestions:
    """What the keys of a configuration are, and which values they may have.

    Args:
        config: as it was composed, as plain data.
        keys: the file that it was composed from, such as `train`.
        folders: with a folder for each group of files to choose from.
    """

    def __init__(self, config: Mapping[str, Any], keys: str, folders: Iterable[Path] = ()) -> None:
        self.config = config
        self.checker = shipped_checker()
        self.parts = self.checker.known_keys(config, keys_of(keys))
        self.groups = _groups(folders)

    def for_key(self, key: str, value: str) -> str:
        """Say that there is no such key, and what was meant by `key=value`."""
        of_hydra = key.startswith("hydra")
        inside = f"{key}."
        nodes = (n for n in _nodes(self.config) if n != key and not n.startswith(inside))
        names = {n for n in nodes if n.startswith("hydra") == of_hydra}
        others = self.parts.keys() - names
        if key in others:
            return (
                f"{shown(key)} is an argument that the configuration does not list: add it as "
                f"+{key}={shown(value)}"
            )
        near = nearest(key, sorted({*names, *self.groups} - {key}), sorted(others))
        group = key.rpartition(".")[0]
        if self._is_open(group) and not any(name.rpartition(".")[0] == group for name in near):
            return f"{shown(key)} is not in the configuration: add it as +{key}={shown(value)}"
        meant = [f"+{name}" if name in others else name for name in near]
        values = self._values(near[0]) if len(near) == 1 else []
        if alike := closest(value, values):
            meant = [f"{near[0]}={alike}"]
        return unknown_key(key, names, meant)

    def for_file(self, group: str, name: str, options: Sequence[str], plus: str = "") -> str:
        """Say that a group has no such file, and what was meant by `group=name`.

        Args:
            plus: `+` if it was written before it.
        """
        meant: dict[str, str] = {}
        for key in self.parts:
            if key.startswith(f"{group}."):
                meant |= {value: f"{key}={value}" for value in self._values(key)}
        meant |= {option: f"{plus}{group}={option}" for option in options}
        near = closest(name, meant)
        end = f"; did you mean {meant[near]}?" if near else ""
        return f"{shown(f'{plus}{group}={name}')}: choose one of {listed(options)}{end}"

    def _values(self, key: str) -> list[str]:
        return self.groups.get(key) or self.checker.names_in(self.parts.get(key, {}))

    def _is_open(self, group: str) -> bool:
        """Whether keys of any name may be added to a group."""
        value: Any = self.config
        for name in group.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if not isinstance(value, dict) or group not in self.parts:
            return False
        takes = self.checker.takes(value, self.parts[group])
        if "_target_" in value:
            return takes is None
        return takes is not None and takes["additionalProperties"] is not False


def composing_mistake(error: Exception, words: Sequence[str], keys: str) -> str | None:
    """Explain an error of Hydra's; None if it is of another kind.

    Args:
        words: of the command line.
        keys: the file that it is composed from, such as `train`.
    """
    text = str(error)
    if NO_FILE in text:  # a ValueError of Hydra's
        return _no_file(words)
    if not isinstance(error, ConfigCompositionException):
        return None
    if several := SEVERAL.search(text):
        key, _, value = several[1].partition("=")
        return (
            f"{shown(several[1])} lists several values: add -m to run with each of them, or "
            rf"write one text as {key}=\'{shown(value)}\'"
        )
    if exists := EXISTS.search(text):
        return f"+{shown(exists[1])}: the configuration has this key: write {shown(exists[1])}"
    if (unknown := UNKNOWN.search(text) or GONE.search(text)) and "@" not in unknown[1]:
        key, _, value = unknown[1].partition("=")
        return _suggestions(keys).for_key(key, value)
    if isinstance(error, MissingConfigException):
        group, _, file = (error.missing_cfg_file or "").rpartition("/")
        suggestions = _suggestions(keys)
        if options := error.options or suggestions.groups.get(group):
            plus = "+" if any(word.startswith(f"+{group}=") for word in words) else ""
            return suggestions.for_file(group, file, options, plus)
    return None


def cannot_compose(error: Exception, words: Sequence[str]) -> str:
    """Say of any other error which words it came from."""
    return f"cannot compose a configuration from {' '.join(words)}: {one_line(error)}"


def _no_file(words: Sequence[str]) -> str | None:
    groups = _groups(config_folders())
    named = [word.removesuffix("=null") for word in words if word.endswith("=null")]
    given = next((name for name in named if name in groups), None)
    return given and f"{given}=null: choose one of {listed(groups[given])}"


def _suggestions(keys: str) -> Suggestions:
    if Loader.composed is None:  # a file that was chosen is missing
        with initialize_config_dir(str(SHIPPED), version_base="1.3"):
            compose(keys)
    plain: Any = OmegaConf.to_container(Loader.composed, resolve=False)
    return Suggestions(plain, keys, config_folders())


def _groups(folders: Iterable[Path]) -> dict[str, list[str]]:
    """The files of each group; a folder inside of one holds what its files share."""
    groups: dict[str, set[str]] = defaultdict(set)
    for folder in folders:
        for path in (*folder.glob("*/"), *folder.glob("hydra/*/")):
            groups[str(path.relative_to(folder))] |= {file.stem for file in path.glob("*.yaml")}
    return {group: sorted(names) for group, names in groups.items()}


def _nodes(config: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in config.items():
        yield f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from _nodes(value, f"{prefix}{name}.")
