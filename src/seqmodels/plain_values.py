"""Plain values: read YAML and JSON that may come from a stranger; set and list by dotted key."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import yaml

from seqmodels.errors import UserError, refusing

BYTES = 16_000_000  # in a file
NODES = 100_000  # keys and values
DEPTH = 32  # values within values
NOT_TEXT = re.compile("[\0\ud800-\udfff]")  # no path and no UTF-8 file can hold these


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Reads `1e-3` as a number, as OmegaConf does, and dates as text."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (PyYAML's own way)
        first: [entry for entry in entries if not entry[0].endswith(("timestamp", "float"))]
        for first, entries in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\d[\d_]*(\.\d*)?([eE][-+]?\d+)?|\.\d+([eE][-+]?\d+)?)$|[-+]?\.inf$|\.nan$"),
    list("-+0123456789."),
)


def read_yaml(path: Path) -> Any:
    """The value in a YAML file. Aliases and tags are refused; nothing is resolved.

    Raises:
        UserError: if the file cannot be read, or holds what `check_plain` refuses.
    """
    text = _text(path)
    with refusing(f"{path} is not YAML", yaml.YAMLError, ValueError):
        _check_events(yaml.parse(text, Loader=_Loader), path)
        value = yaml.load(text, Loader=_Loader)
    check_plain(value, str(path))
    return value


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        UserError: if the file cannot be read, is not JSON, or holds what `check_plain` refuses.
    """
    with refusing(f"{path} is not JSON", ValueError, RecursionError):
        value = json.loads(_text(path))
    check_plain(value, str(path))
    return value


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A regular file, open to be read. A FIFO or a device would wait, or never end.

    Raises:
        UserError: if it is something else, or cannot be read.
    """
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:  # noqa: PTH123
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UserError(f"{path} is not a regular file")
            yield file
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error


def run_around(folder: Path) -> Path | None:
    """The run or the sweep that a folder is or lies in, if there is one. All that it holds is data,
    perhaps a stranger's: no configuration, and no module to import."""
    for place in (folder, *folder.parents):
        if (place / "sweep.json").exists() or _is_run(place):
            return place
    return None


def _is_run(folder: Path) -> bool:
    """Whether `config.yaml` is one that a run can be loaded from."""
    try:
        config = read_yaml(folder / "config.yaml")
    except UserError:
        return False
    parts = [config.get(name) for name in ("model", "data")] if isinstance(config, dict) else []
    return bool(parts) and all(isinstance(part, dict) and "_target_" in part for part in parts)


def check_plain(value: Any, where: str) -> None:
    """Lets through text, numbers of 64 bits, truth values, None, and lists and mappings of those.

    A value that refers to itself, or to the same one many times, counts as often as it would be
    read: what is checked here can be walked through.

    Raises:
        UserError: for anything else, or too much.
    """
    waiting: list[tuple[tuple[Any, ...], Any]] = [((where,), value)]
    count = 0
    while waiting:
        place, inner = waiting.pop()
        wrong = _what_is_wrong(inner)
        if len(place) > DEPTH + 1:
            wrong = f"is nested more than {DEPTH} deep"
        if isinstance(inner, Mapping):
            waiting += [((*place, key), v) for key, v in islice(inner.items(), NODES)]
            wrong = next(filter(None, map(_wrong_key, islice(inner, NODES))), wrong)
        elif isinstance(inner, list | tuple):
            waiting += [((*place, number), v) for number, v in enumerate(islice(inner, NODES))]
        count += 1
        if count + len(waiting) > NODES:
            wrong = f"holds more than {NODES:,} values"
            place = place[:1]
        if wrong:
            raise UserError(f"{'.'.join(map(str, place)):.200} {wrong}")


def _what_is_wrong(value: Any) -> str | None:
    if isinstance(value, str):
        return "is not text: it holds a NUL or half a character" if NOT_TEXT.search(value) else None
    if isinstance(value, int):
        return "is a number of more than 64 bits" if abs(value) >= 2**63 else None
    if value is None or isinstance(value, float | Mapping | list | tuple):
        return None
    return f"is not a plain value but {type(value).__name__}"


def _wrong_key(key: Any) -> str | None:
    return (
        _what_is_wrong(key) if isinstance(key, str) else f"has a key that is not text: {key!r:.40}"
    )


def _check_events(events: Iterator[Any], path: Path) -> None:
    depth = 0
    for count, event in enumerate(events):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise UserError(f"{path} holds an anchor or an alias, which no run writes")
        if getattr(event, "tag", None):
            raise UserError(f"{path} holds a tag ({event.tag!r:.40}), which no run writes")
        opens = isinstance(event, yaml.CollectionStartEvent)
        depth += opens - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEPTH or count > 2 * NODES:
            raise UserError(f"{path} is nested more than {DEPTH} deep, or holds too many values")


def _text(path: Path) -> str:
    with refusing(str(path), ValueError), opened(path) as file:  # for a NUL in the path
        size = os.fstat(file.fileno()).st_size
        if size > BYTES:
            raise UserError(f"{path} has {size:,} bytes, and no run writes so many")
        content = file.read(BYTES)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not utf-8 text ({error.reason})") from error


def change(config: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Sets values by dotted key, such as `{"model.head": "max_pool"}`; `~model.head` removes it."""
    for key, value in changes.items():
        *groups, name = key.removeprefix("~").split(".")
        inner = config
        for group in groups:
            if not isinstance(inner.get(group), dict):
                inner[group] = {}
            inner = inner[group]
        if key.startswith("~"):
            inner.pop(name, None)
        else:
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
