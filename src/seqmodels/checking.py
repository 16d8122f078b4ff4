"""Check plain values against JSON schemas, and say in words what a value must be.

The schemas are made from annotations by `seqmodels.arguments`. Those of the shipped classes are
also committed, so that a command line is checked before anything slow is imported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from seqmodels.errors import choices, missing_value, shown, unknown_key

Schema = dict[str, Any]

OF_HYDRA: dict[str, Schema] = {
    "_target_": {"type": "string"},
    "_recursive_": {"type": "boolean"},
    "_convert_": {"type": "string", "enum": ["none", "partial", "object", "all"]},
}
KINDS: dict[str, tuple[tuple[type, ...], str]] = {  # what a value is, and what to call it
    "integer": ((int,), "a whole number"),
    "number": ((int, float), "a number"),
    "boolean": ((bool,), "true or false"),
    "string": ((str,), "a text"),
    "null": ((type(None),), "null"),
    "array": ((list, tuple), "a list"),
    "object": ((Mapping,), "a group of keys"),
}
TYPED = {"type", "enum", "const", "properties"}  # what says which plain values fit
ENDS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "minimum": ("at least", lambda value, end: value >= end),
    "exclusiveMinimum": ("more than", lambda value, end: value > end),
    "maximum": ("at most", lambda value, end: value <= end),
    "exclusiveMaximum": ("less than", lambda value, end: value < end),
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


@dataclass(frozen=True)
class Checker:
    """Checks values against parts of a JSON schema.

    In such a part, `built` marks a mapping that names its class as `_target_`, and lists the
    arguments that the code passes by itself; `stand_in` is a text that the code replaces with the
    value, for an argument of any type; `needs` are the required keys; `rows` marks the path of a
    file, instead of which code may give the rows of a table.

    Args:
        classes: gives the schema of a class's arguments by its full name; None if it is unknown.
        definitions: the parts that `$ref` names.
        own_names: whether other names than the `examples` of a part may be registered.
        in_code: whether code gives the values, which may then also be `rows` of a table.
    """

    classes: Callable[[str], Schema | None] = lambda target: None
    definitions: Mapping[str, Schema] = field(default_factory=dict)
    own_names: bool = True
    in_code: bool = False

    def problems(self, value: Any, part: Schema, key: str) -> list[Problem]:
        """What is wrong with a value of plain data, and with the values inside it.

        Other objects fit everywhere: only code passes them.
        """
        part = self.resolved(part)
        if not isinstance(value, PLAIN):
            return []
        if self.in_code and "rows" in part and isinstance(value, list | tuple | Mapping):
            return []
        if "anyOf" in part:
            return self._of_any(value, part, key)
        if "built" in part or (_names_class(value) and not TYPED & part.keys()):
            return self._of_built(value, part, key)
        if not _fits(value, part):
            return [self._wrong(value, part, key)]
        if isinstance(value, Mapping):
            takes = self.takes(value, part)
            return [] if takes is None else self.of_arguments(value, takes, key)
        if isinstance(value, list | tuple) and "items" in part:
            items = part["items"]
            each = items if isinstance(items, list) else [items] * len(value)
            pairs = enumerate(zip(value, each, strict=True))
            return [p for n, (v, inner) in pairs for p in self.problems(v, inner, f"{key}.{n}")]
        return []

    def of_arguments(self, values: Mapping[str, Any], takes: Schema, key: str) -> list[Problem]:
        """What is wrong with the keys of a mapping, and with their values."""
        prefix, properties = f"{key}." if key else "", takes["properties"]
        found = [
            Problem(prefix + name, missing_value(prefix + name))
            for name in sorted({*takes.get("needs", [])} - values.keys())
        ]
        more = takes.get("additionalProperties", True)
        for name, value in values.items():
            where = f"{prefix}{name}"
            inner = properties.get(name, more)
            if inner is False:
                names = [f"{prefix}{known}" for known, part in properties.items() if part != False]  # noqa: E712 (a schema)
                found.append(Problem(where, unknown_key(where, names), is_unknown=True))
            else:
                found += self.problems(value, {} if inner is True else inner, where)
        return found

    def takes(self, value: Mapping[str, Any], part: Schema) -> Schema | None:
        """The keys that this mapping may have by the part; None if it doesn't say."""
        for each in self._alternatives(part):
            found = None
            if "built" in each or (_names_class(value) and "properties" not in each):
                found = self._of_class(value, each)
            elif "properties" in each or isinstance(each.get("additionalProperties"), dict):
                found = {"properties": {}, **each}
            if found is not None:
                return found
        return None

    def known_keys(self, value: Any, part: Schema, prefix: str = "") -> dict[str, Schema]:
        """Each dotted key that a configuration has or may have, at any depth, with its part."""
        takes = self.takes(value, part) if isinstance(value, Mapping) else None
        keys: dict[str, Schema] = {}
        if takes is None:
            return keys
        more = takes.get("additionalProperties")
        others = dict.fromkeys(value, more) if isinstance(more, dict) else {}
        used = {n: p for n, p in takes["properties"].items() if n in value or more in (True, False)}
        for name, inner in {**others, **used}.items():
            keys[f"{prefix}{name}"] = inner
            keys |= self.known_keys(value.get(name), inner, f"{prefix}{name}.")
        return keys

    def allows(self, part: Schema, kind: str) -> bool:
        """Whether a value of that type, such as `string`, would do."""
        return any(kind in _kinds(each) for each in self._alternatives(part))

    def names_in(self, part: Schema) -> list[str]:
        """The names to choose from, if the part is a choice of names."""
        names = (name for each in self._alternatives(part) for name in each.get("enum", []))
        return [str(name) for name in names if name is not None]

    def resolved(self, part: Schema) -> Schema:
        """The part that a `$ref` names, without the alternative of a `${...}`; the examples are
        the choice, if there are no others."""
        if "$ref" in part:
            return self.resolved(self.definitions[part["$ref"].removeprefix("#/definitions/")])
        if "anyOf" in part:
            kept = [each for each in part["anyOf"] if each != INTERPOLATION]
            return {"anyOf": kept} if len(kept) > 1 else self.resolved(kept[0])
        if "examples" in part and not self.own_names:
            null = [None] if "null" in _kinds(part) else []
            return {"type": part["type"], "enum": [*part["examples"], *null]}
        return part

    def _alternatives(self, part: Schema) -> list[Schema]:
        part = self.resolved(part)
        return [each for p in part.get("anyOf", []) for each in self._alternatives(p)] or [part]

    def _of_class(self, value: Mapping[str, Any], part: Schema) -> Schema | None:
        target = value.get("_target_")
        takes = self.classes(target) if isinstance(target, str) else None
        if takes is None:  # building it will tell
            return None
        takes = without(takes, part.get("built", ()))
        stand_in = part.get("stand_in")
        free: Schema = {n: {} for n in takes["properties"] if stand_in and value.get(n) == stand_in}
        return {**takes, "properties": {**takes["properties"], **free, **OF_HYDRA}}

    def _of_built(self, value: Any, part: Schema, key: str) -> list[Problem]:
        if not isinstance(value, Mapping):
            text = f"{key}={value_text(value)}: it must name a class, as {key}._target_"
            return [Problem(key, text)]
        if not isinstance(value.get("_target_"), str) or not value["_target_"]:
            return [Problem(key, missing_value(f"{key}._target_"))]
        takes = self._of_class(value, part)
        return [] if takes is None else self.of_arguments(value, takes, key)

    def _of_any(self, value: Any, part: Schema, key: str) -> list[Problem]:
        found = [self.problems(value, each, key) for each in part["anyOf"]]
        if not all(found):
            return []
        inside = [problems for problems in found if problems[0].key != key]
        if inside:  # the alternative that fits but for a value in it
            return inside[0]
        return found[0] if _names_class(value) else [self._wrong(value, part, key)]

    def _wrong(self, value: Any, part: Schema, key: str) -> Problem:
        """`seed=x: set it to a whole number from 0 to 4294967295`"""
        names, others = self.names_in(part), self._words(part)
        text = f"{key}={value_text(value)}: "
        if isinstance(value, int) and not _is_usual(value):
            text += "this number is too large"
        elif names:
            first, *end = choices(str(value), names).split("; ", 1)
            text += "; ".join([", or ".join([first, *others]), *end])
        else:
            text += f"set it to {', or '.join(others) or 'a plain value'}"
        is_scalar = isinstance(value, bool | int | float)
        return Problem(key, text, may_be_text=is_scalar and self.allows(part, "string"))

    def _words(self, part: Schema) -> list[str]:
        """What a part allows besides names, in words."""
        words = [
            _word(kind, each)
            for each in self._alternatives(part)
            for kind in _kinds(each)
            if "enum" not in each or kind == "null"
        ]
        return sorted(dict.fromkeys(words), key=lambda word: word == "null")


INTERPOLATION = {"$ref": "#/definitions/interpolation"}
PLAIN = (bool, int, float, str, type(None), list, tuple, Mapping)


def without(takes: Schema, names: Iterable[str]) -> Schema:
    """The same arguments without these names, which something else gives."""
    given = {*names}
    kept = {name: part for name, part in takes["properties"].items() if name not in given}
    if takes["additionalProperties"]:
        kept |= dict.fromkeys(given, False)
    needs = [name for name in takes.get("needs", []) if name not in given]
    return {**takes, "properties": kept, "needs": needs}


def option_problems(
    checker: Checker, head: str, options: Mapping[str, Any], takes: Schema
) -> list[Problem]:
    """What is wrong with `model.head_options`.

    Args:
        takes: the arguments of the head's `build`.
    """
    known = [name for name in takes["properties"] if name != "encoder"]
    for option in options:
        if option not in known and not takes["additionalProperties"]:
            key = f"model.head_options.{option}"
            offers = f"it takes {', '.join(known)}" if known else "it takes none"
            return [Problem(key, f"{key}: head {head!r} has no such option; {offers}")]
    return checker.of_arguments(options, without(takes, ["encoder"]), "model.head_options")


def value_text(value: Any) -> str:
    """A value as you write it on a command line, on one line and not too long."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{k}:{value_text(v)}" for k, v in value.items())[:60] + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(value_text, value))[:60] + "]"
    text = str(value) if not isinstance(value, int) or value.bit_length() < 999 else "a huge number"
    return shown(text)


def _word(kind: str, part: Schema) -> str:
    _, word = KINDS[kind]
    if kind in ("integer", "number"):
        ends = [f"{words} {part[end]}" for end, (words, _) in ENDS.items() if end in part]
        if {"minimum", "maximum"} <= part.keys():
            word += f" from {part['minimum']} to {part['maximum']}"
        elif ends:
            word += f" of {' and '.join(ends)}"
    if kind == "array" and "maxItems" in part:
        word += f" of {part['maxItems']}"
    elif (kind == "array" and "minItems" in part) or (kind == "string" and "minLength" in part):
        word += " that is not empty"
    return word


def _kinds(part: Schema) -> Sequence[str]:
    kinds = part.get("type", ())
    return [kinds] if isinstance(kinds, str) else kinds


def _names_class(value: Any) -> bool:
    return isinstance(value, Mapping) and "_target_" in value


def _fits(value: Any, part: Schema) -> bool:
    if not _is_usual(value) and ("type" in part or isinstance(value, int)):
        return False
    if (kinds := _kinds(part)) and not any(_is_a(value, kind) for kind in kinds):
        return False
    if "const" in part and value != part["const"]:
        return False
    if "enum" in part:
        return any(value == each and type(value) is type(each) for each in part["enum"])
    if isinstance(value, str):
        return len(value) >= part.get("minLength", 0)
    if isinstance(value, list | tuple):
        return part.get("minItems", 0) <= len(value) <= part.get("maxItems", math.inf)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return all(fits(value, part[end]) for end, (_, fits) in ENDS.items() if end in part)
    return True


def _is_a(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, KINDS[kind][0])


def _is_usual(value: Any) -> bool:
    """Whether a number is finite, and a whole one not beyond all sizes and seeds."""
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or abs(value) < 2**32
