"""Check configuration values against the signatures they will be passed to."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Annotated, Any, Literal

from seqmodels.errors import missing_value, unknown_key
from seqmodels.signatures.ranges import ArgumentsOf, Built, Length, NotEmpty, OneOf, Range
from seqmodels.signatures.reading import OBJECT, Signature, kind_of, resolved, signature
from seqmodels.signatures.wording import is_plain, is_union, takes_text, written, wrong_value

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
        is_unknown: whether there is no such key.
    """

    key: str
    text: str
    may_be_text: bool = False
    is_unknown: bool = False


def find_problems(value: Any, hint: Any, key: str) -> list[Problem]:
    """What is wrong with a value of plain data, and with the values inside it.

    Args:
        hint: the type it must have, with the annotations of `ranges`; what is unknown fits all.
    """
    kind, extras = kind_of(hint)
    if built := _built(value, kind, extras):
        return _of_built(value, built, key)
    if is_dataclass(kind) or any(isinstance(extra, ArgumentsOf) for extra in extras):
        if not isinstance(value, Mapping):
            return [_wrong(value, dict, (), key)]
        takes = arguments(value, hint)
        return [] if takes is None else _of_arguments(value, takes, key)
    if kind is Any or kind is object:
        return [] if is_plain(value) else [_wrong(value, kind, extras, key)]
    if is_union(kind):
        return _of_union(value, kind, key)
    origin = typing.get_origin(kind) or kind
    if not _is_a(value, origin, kind):
        return [_wrong(value, kind, extras, key)]
    if any(not _is_within(value, extra) for extra in extras):
        return [_wrong(value, kind, extras, key)]
    return _of_parts(value, origin, typing.get_args(kind), key)


def known_keys(value: Any, hint: Any, prefix: str = "") -> dict[str, Any]:
    """Each dotted key that a configuration has or may have, at any depth, with its hint."""
    takes = arguments(value, hint) if isinstance(value, Mapping) else None
    keys: dict[str, Any] = {}
    for name, inner in takes.hints.items() if takes else ():
        keys[f"{prefix}{name}"] = inner
        keys |= known_keys(value.get(name), inner, f"{prefix}{name}.")
    return keys


def arguments(value: Mapping[str, Any], hint: Any) -> Signature | None:
    """The keys that this mapping may have where the hint is meant; None if nothing says them."""
    kind, extras = kind_of(hint)
    if built := _built(value, kind, extras):
        return _arguments_of_built(value, built)
    if options := next((extra for extra in extras if isinstance(extra, ArgumentsOf)), None):
        takes = signature(options.target)
        if takes is None:
            return None
        hints = {k: h | None if k in options.optional else h for k, h in takes.hints.items()}
        hints |= {k: hints[k] | Literal[word] for k, word in options.words}
        return Signature(hints, takes.required, takes.more).without(options.given)
    if is_dataclass(kind):
        required = {f.name for f in fields(kind) if f.default is MISSING}
        hints = typing.get_type_hints(kind, include_extras=True)
        return Signature(hints, frozenset(required))
    if is_union(kind):
        found = (arguments(value, each) for each in typing.get_args(kind))
        return next((each for each in found if each is not None), None)
    if typing.get_origin(kind) is dict:
        return Signature(dict.fromkeys(value, typing.get_args(kind)[1]), more=True)
    return None


def _built(value: Any, kind: Any, extras: tuple[Any, ...]) -> Built | None:
    """How the value is built, if it is a mapping that names its class, or must be."""
    if isinstance(value, Mapping) and "_target_" in value and _takes_objects(kind):
        return next((extra for extra in extras if isinstance(extra, Built)), Built())
    return next((extra for extra in extras if isinstance(extra, Built)), None)


def _arguments_of_built(value: Mapping[str, Any], built: Built) -> Signature | None:
    target = value.get("_target_")
    takes = signature(target) if isinstance(target, str) else None
    if takes is None:  # not in the source: building it will tell
        return None
    takes = takes.without(built.given)
    stand_ins = [k for k, v in value.items() if built.stand_in is not None and v == built.stand_in]
    any_value = {name: Any for name in stand_ins if name in takes.hints}
    return Signature(
        {**takes.hints, **any_value, **OF_HYDRA}, takes.required, takes.more, takes.refused
    )


def _of_built(value: Any, built: Built, key: str) -> list[Problem]:
    """Of a mapping that names its class."""
    if not isinstance(value, Mapping):
        return [Problem(key, f"{key}={written(value)}: it must name a class, as {key}._target_")]
    if not isinstance(value.get("_target_"), str) or not value["_target_"]:
        return [Problem(key, missing_value(f"{key}._target_"))]
    takes = _arguments_of_built(value, built)
    return [] if takes is None else _of_arguments(value, takes, key)


def _of_arguments(values: Mapping[str, Any], takes: Signature, key: str) -> list[Problem]:
    prefix = f"{key}." if key else ""
    found = [
        Problem(prefix + name, missing_value(prefix + name))
        for name in sorted(takes.required - values.keys())
    ]
    for name, value in values.items():
        where = f"{prefix}{name}"
        if name in takes.hints:
            found += find_problems(value, takes.hints[name], where)
        elif not takes.more or name in takes.refused:
            names = [f"{prefix}{known}" for known in takes.hints]
            found.append(Problem(where, unknown_key(where, names), is_unknown=True))
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


def _takes_objects(hint: Any) -> bool:
    if is_union(hint):
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
        return isinstance(value, int) and is_plain(value)
    if origin is float:
        return isinstance(value, int | float) and is_plain(value)
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


def _is_within(value: Any, extra: Any) -> bool:
    if isinstance(extra, Range):
        return value in extra
    if isinstance(extra, OneOf):
        return value in extra.names
    if isinstance(extra, Length):
        return len(value) == extra.size
    return not isinstance(extra, NotEmpty) or bool(value)


def _wrong(value: Any, hint: Any, extras: tuple[Any, ...], key: str) -> Problem:
    is_scalar = isinstance(value, bool | int | float)
    text = wrong_value(value, hint, extras, key)
    return Problem(key, text, may_be_text=is_scalar and takes_text(hint))
