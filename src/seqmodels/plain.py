"""Read YAML and JSON that may come from a stranger: plain values, and no more than a run writes."""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from seqmodels.errors import UserError, one_line

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
    try:
        _check_events(yaml.parse(text, Loader=_Loader), path)
        value = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is not YAML: {one_line(error)}") from error
    check_plain(value, str(path))
    return value


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        UserError: if the file cannot be read, is not JSON, or holds what `check_plain` refuses.
    """
    try:
        value = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is not JSON: {one_line(error)}") from error
    check_plain(value, str(path))
    return value


def read_bytes(path: Path, most: int = BYTES) -> bytes:
    """The content of a regular file. A FIFO or a device would wait, or never end.

    Raises:
        UserError: if it is something else, cannot be read, or has more than `most` bytes.
    """
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:  # noqa: PTH123
            kind = os.fstat(file.fileno())
            if not stat.S_ISREG(kind.st_mode):
                raise UserError(f"{path} is not a regular file")
            if kind.st_size > most:
                raise UserError(f"{path} has {kind.st_size:,} bytes, and no run writes so many")
            return file.read(most)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: {getattr(error, 'strerror', None) or error}") from error


def check_plain(value: Any, where: str) -> None:
    """Lets through text, numbers of 64 bits, truth values, None, and lists and mappings of those.

    A value that refers to itself, or to the same one many times, counts as often as it would be
    read: what is checked here can be walked through.

    Raises:
        UserError: naming the place.
    """
    for count, (place, depth, inner) in enumerate(_walk(value, where)):
        if count > NODES:
            raise UserError(f"{where} holds more than {NODES:,} values")
        if depth > DEPTH:
            raise UserError(f"{where} is nested more than {DEPTH} deep")
        if isinstance(inner, str):
            if NOT_TEXT.search(inner):
                raise UserError(f"{place} is not text: it holds a NUL or half a character")
        elif isinstance(inner, int):
            if abs(inner) >= 2**63:
                raise UserError(f"{place} is a number of more than 64 bits")
        elif not (inner is None or isinstance(inner, float | Mapping | list | tuple)):
            raise UserError(f"{place} is not a plain value but {type(inner).__name__}")


def _walk(value: Any, place: str, depth: int = 0) -> Iterator[tuple[str, int, Any]]:
    """Each value with its place and depth; the caller stops where it gets too many or too deep."""
    yield place, depth, value
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise UserError(f"{place} has a key that is not text: {key!r:.40}")
            yield place, depth, key
            yield from _walk(inner, f"{place}.{key}", depth + 1)
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _walk(inner, f"{place}.{number}", depth + 1)


def is_finite(value: Any) -> bool:
    """Whether this is a number, and neither nan nor infinite; True and False are no numbers."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


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
    try:
        return read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not utf-8 text ({error.reason})") from error
