"""Say in words what a value must be."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from seqmodels.errors import choices, shown
from seqmodels.signatures.ranges import Length, NotEmpty, OneOf, Range
from seqmodels.signatures.reading import resolved


def wrong_value(value: Any, hint: Any, extras: tuple[Any, ...], key: str) -> str:
    """`seed=x: set it to a whole number from 0 to 4294967295`

    Args:
        hint: the type that it must have.
        extras: its annotations of `ranges`.
    """
    names = names_in(hint, extras)
    others = [word for word in _words(hint, extras) if word]
    text = f"{key}={written(value)}: "
    if isinstance(value, int) and not is_plain(value):
        text += "this number is too large"
    elif names:
        text += choices(str(value), names)
        if others:
            text = f"{text.partition('; ')[0]}, or {', or '.join(others)}" + "".join(
                text.partition("; ")[1:]
            )
    else:
        text += f"set it to {', or '.join(others) or 'a plain value'}"
    return text


def takes_text(hint: Any) -> bool:
    """Whether a text would do."""
    hint = resolved(hint)
    if typing.get_origin(hint) is Annotated:
        return takes_text(hint.__origin__)
    if is_union(hint):
        return any(map(takes_text, typing.get_args(hint)))
    if typing.get_origin(hint) is Literal:
        return any(isinstance(each, str) for each in typing.get_args(hint))
    return hint is str


def names_in(hint: Any, extras: tuple[Any, ...] = ()) -> list[str]:
    """The names to choose from, if the hint is a choice of names."""
    hint = resolved(hint)
    if typing.get_origin(hint) is Annotated:
        return names_in(hint.__origin__, hint.__metadata__)
    if is_union(hint):
        return [name for each in typing.get_args(hint) for name in names_in(each)]
    if typing.get_origin(hint) is Literal:
        return [str(each) for each in typing.get_args(hint)]
    return [name for extra in extras if isinstance(extra, OneOf) for name in extra.names]


def _words(hint: Any, extras: tuple[Any, ...]) -> list[str]:
    """What the hint allows besides names, in words."""
    hint = resolved(hint)
    if typing.get_origin(hint) is Annotated:
        return _words(hint.__origin__, hint.__metadata__)
    if is_union(hint):
        words = [word for each in typing.get_args(hint) for word in _words(each, ())]
        return sorted(dict.fromkeys(words), key=lambda word: word == "null")
    if names_in(hint, extras):
        return []
    kinds = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "a text",
        list: "a list",
        tuple: "a list",
        dict: "a group of keys",
        type(None): "null",
        None: "null",
    }
    kind = kinds.get(typing.get_origin(hint) or hint, "")
    if typing.get_origin(hint) is tuple and ... not in typing.get_args(hint):
        kind = f"a list of {len(typing.get_args(hint))}"
    within = [str(extra) for extra in extras if isinstance(extra, Range)]
    if within:
        kind += f" {within[0]}" if within[0].startswith("from") else f" of {within[0]}"
    kind += "".join(f" of {extra.size}" for extra in extras if isinstance(extra, Length))
    if any(isinstance(extra, NotEmpty) for extra in extras):
        kind += " that is not empty"
    return [kind]


def written(value: Any) -> str:
    """A value as you write it on a command line, on one line and not too long."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{k}:{written(v)}" for k, v in value.items())[:60] + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(written, value))[:60] + "]"
    text = str(value) if not isinstance(value, int) or value.bit_length() < 999 else "a huge number"
    return shown(text)


def is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def is_plain(value: Any) -> bool:
    """Whether a number is finite, and a whole one not beyond all sizes and seeds."""
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or abs(value) < 2**32
