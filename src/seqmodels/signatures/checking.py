"""Check configuration values against the signatures they will be passed to."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Annotated, Any, Literal

from seqmodels.errors import choices, missing_value, shown, unknown_key
from seqmodels.signatures.ranges import ArgumentsOf, Built, Length, NotEmpty, OneOf, Range
from seqmodels.signatures.reading import OBJECT, Signature, resolved, signature

OF_HYDRA = {
    "_target_": str,
    "_recursive_": bool,
    "_convert_": Annotated[str, OneOf("none", "partial", "object", "all")],
}


@dataclass(frozen=True)
class Problem:
    """What is wrong with one value.

    Args:
        key: its dotted key.
        text: one line that names the key, the value and what is allowed.
        may_be_text: whether it is a number or a truth value where a text would do.
    """

    key: str
    text: str
    may_be_text: bool = False


def find_problems(value: Any, hint: Any, key: str) -> list[Problem]:
    """What is wrong with a value of plain data, and with the values inside it.

    Args:
        hint: the type it must have, with the annotations of `ranges`; what is unknown fits all.
    """
    hint = resolved(hint)
    extras: tuple[Any, ...] = ()
    if typing.get_origin(hint) is Annotated:
        extras = hint.__metadata__
        hint = resolved(hint.__origin__)
    for extra in extras:
        if isinstance(extra, Built):
            return _of_built(value, key, extra)
        if isinstance(extra, ArgumentsOf):
            return _of_options(value, key, extra)
    if isinstance(value, Mapping) and "_target_" in value and _takes_objects(hint):
        return _of_built(value, key, Built())
    if hint is Any or hint is object:
        return [] if _is_plain(value) else [_wrong(value, hint, extras, key)]
    if is_dataclass(hint):
        return _of_keys(value, hint, key)
    if _is_union(hint):
        return _of_union(value, hint, key)
    origin = typing.get_origin(hint) or hint
    if not _is_a(value, origin, hint):
        return [_wrong(value, hint, extras, key)]
    if any(not _is_within(value, extra) for extra in extras):
        return [_wrong(value, hint, extras, key)]
    return _of_parts(value, origin, typing.get_args(hint), key)


def _of_built(value: Any, key: str, built: Built) -> list[Problem]:
    """Of a mapping that names its class."""
    if not isinstance(value, Mapping):
        return [Problem(key, f"{key}={_written(value)}: it must name a class, as {key}._target_")]
    if not isinstance(value.get("_target_"), str) or not value["_target_"]:
        return [Problem(key, missing_value(f"{key}._target_"))]
    takes = signature(value["_target_"])
    if takes is None:  # not in the source: building it will tell
        return []
    own = {k: v for k, v in value.items() if k not in OF_HYDRA}
    if built.stand_in is not None:
        own = {k: v for k, v in own.items() if v != built.stand_in}
        stands_in = value.keys() - own.keys() - OF_HYDRA.keys()
        takes = Signature(takes.hints, takes.required - stands_in, takes.more)
    of_hydra = {k: v for k, v in value.items() if k in OF_HYDRA}
    return [
        *_of_arguments(of_hydra, Signature(OF_HYDRA), key),
        *_of_arguments(own, takes.without(built.given), key, refused=built.given),
    ]


def _of_options(value: Any, key: str, options: ArgumentsOf) -> list[Problem]:
    """Of a mapping whose keys are the arguments of a class."""
    if not isinstance(value, Mapping):
        return [_wrong(value, dict, (), key)]
    takes = signature(options.target)
    if takes is None:
        return []
    hints = {k: h | None if k in options.optional else h for k, h in takes.hints.items()}
    takes = Signature(hints, takes.required, takes.more).without(options.given)
    return _of_arguments(value, takes, key, refused=options.given)


def _of_keys(value: Any, keys: Any, key: str) -> list[Problem]:
    """Of a mapping whose keys are the fields of a dataclass."""
    if not isinstance(value, Mapping):
        return [_wrong(value, dict, (), key)]
    hints = typing.get_type_hints(keys, include_extras=True)
    required = {f.name for f in fields(keys) if f.default is MISSING}
    return _of_arguments(value, Signature(hints, frozenset(required)), key)


def _of_arguments(
    values: Mapping[str, Any], takes: Signature, key: str, refused: Iterable[str] = ()
) -> list[Problem]:
    prefix = f"{key}." if key else ""
    found = [
        Problem(prefix + name, missing_value(prefix + name))
        for name in sorted(takes.required - values.keys())
    ]
    for name, value in values.items():
        where = f"{prefix}{name}"
        if name in takes.hints:
            found += find_problems(value, takes.hints[name], where)
        elif not takes.more or name in refused:
            names = [f"{prefix}{known}" for known in takes.hints]
            found.append(Problem(where, unknown_key(where, names)))
    return found


def _of_union(value: Any, hint: Any, key: str) -> list[Problem]:
    found = []
    for each in typing.get_args(hint):
        problems = find_problems(value, each, key)
        if not problems:
            return []
        found.append(problems)
    inside = [problems for problems in found if problems[0].key != key]
    if inside:  # the alternative that fits but for a value in it
        return inside[0]
    of_class = [p for p in found if isinstance(value, Mapping) and "_target_" in value]
    return of_class[0] if of_class else [_wrong(value, hint, (), key)]


def _of_parts(value: Any, origin: Any, arguments: tuple[Any, ...], key: str) -> list[Problem]:
    if origin is dict and arguments:
        return [p for k, v in value.items() for p in find_problems(v, arguments[1], f"{key}.{k}")]
    if origin is list and arguments:
        each = [arguments[0]] * len(value)
    elif origin is tuple and arguments and arguments[-1] is not ...:
        each = list(arguments)
    else:
        return []
    return [
        problem
        for number, (part, inner) in enumerate(zip(value, each, strict=True))
        for problem in find_problems(part, inner, f"{key}.{number}")
    ]


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def _takes_objects(hint: Any) -> bool:
    if _is_union(hint):
        return any(_takes_objects(resolved(each)) for each in typing.get_args(hint))
    return hint in (Any, OBJECT, object, dict) or typing.get_origin(hint) is dict


def _is_a(value: Any, origin: Any, hint: Any) -> bool:
    if hint is None or hint is type(None):
        return value is None
    if origin is Literal:
        return any(value == each and type(value) is type(each) for each in typing.get_args(hint))
    if isinstance(value, bool):
        return origin is bool
    if origin is int:
        return isinstance(value, int) and _is_plain(value)
    if origin is float:
        return isinstance(value, int | float) and _is_plain(value)
    if origin is str:
        return isinstance(value, str)
    if origin is dict:
        return isinstance(value, Mapping)
    if origin is tuple:
        sizes = typing.get_args(hint)
        return isinstance(value, list) and (... in sizes or not sizes or len(value) == len(sizes))
    if origin in (list, set):
        return isinstance(value, list)
    return False


def _is_plain(value: Any) -> bool:
    """Whether a number is finite, and a whole one not beyond all sizes and seeds."""
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or abs(value) < 2**32


def _is_within(value: Any, extra: Any) -> bool:
    if isinstance(extra, Range):
        return value in extra
    if isinstance(extra, OneOf):
        return value in extra.names
    if isinstance(extra, Length):
        return len(value) == extra.size
    return not isinstance(extra, NotEmpty) or bool(value)


def _wrong(value: Any, hint: Any, extras: tuple[Any, ...], key: str) -> Problem:
    names = _names(hint, extras)
    others = [word for word in _words(hint, extras) if word]
    text = f"{key}={_written(value)}: "
    if isinstance(value, int) and not _is_plain(value):
        text += "this number is too large"
    elif names:
        text += choices(str(value), names)
        if others:
            text = f"{text.partition('; ')[0]}, or {', or '.join(others)}" + "".join(
                text.partition("; ")[1:]
            )
    else:
        text += f"set it to {', or '.join(others) or 'a plain value'}"
    is_scalar = isinstance(value, bool | int | float)
    return Problem(key, text, may_be_text=is_scalar and takes_text(hint))


def takes_text(hint: Any) -> bool:
    """Whether a text would do."""
    hint = resolved(hint)
    if typing.get_origin(hint) is Annotated:
        return takes_text(hint.__origin__)
    if _is_union(hint):
        return any(map(takes_text, typing.get_args(hint)))
    if typing.get_origin(hint) is Literal:
        return any(isinstance(each, str) for each in typing.get_args(hint))
    return hint is str


def _names(hint: Any, extras: tuple[Any, ...]) -> list[str]:
    """The names to choose from, if the hint is a choice of names."""
    hint = resolved(hint)
    if typing.get_origin(hint) is Annotated:
        return _names(hint.__origin__, hint.__metadata__)
    if _is_union(hint):
        return [name for each in typing.get_args(hint) for name in _names(each, ())]
    if typing.get_origin(hint) is Literal:
        return [str(each) for each in typing.get_args(hint)]
    return [name for extra in extras if isinstance(extra, OneOf) for name in extra.names]


def _words(hint: Any, extras: tuple[Any, ...]) -> list[str]:
    """What the hint allows besides names, in words."""
    hint = resolved(hint)
    if typing.get_origin(hint) is Annotated:
        return _words(hint.__origin__, hint.__metadata__)
    if _is_union(hint):
        words = [word for each in typing.get_args(hint) for word in _words(each, ())]
        return sorted(dict.fromkeys(words), key=lambda word: word == "null")
    if _names(hint, extras):
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


def _written(value: Any) -> str:
    """A value as you write it on a command line, on one line and not too long."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{k}:{_written(v)}" for k, v in value.items())[:60] + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_written, value))[:60] + "]"
    text = str(value) if not isinstance(value, int) or value.bit_length() < 999 else "a huge number"
    return shown(text)
