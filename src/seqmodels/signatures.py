"""Make JSON schemas of the arguments of classes, from their signatures, and check values by them.

`instantiate` checks what a configuration gives, and `checked` what code gives, in the same words.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pkgutil import resolve_name
from types import SimpleNamespace
from typing import Any, TypeVar

from pydantic import ConfigDict, create_model
from pydantic.json_schema import GenerateJsonSchema

from seqmodels.arguments import RANGES, BySubclass, Passed
from seqmodels.checking import Checker, Problem, Schema, without
from seqmodels.errors import UserError

OPEN = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
BARE = (Any, int, float, str, bool, list, dict, dict[str, Any])


def arguments(target: Any, method: str = "__init__") -> Schema | None:
    """The JSON schema of the arguments of a class, without `self`, or of a function.

    A class that takes `**options` passes them on to its base, whose arguments are its own then. One
    that takes `**kwargs`, or another name, takes any others too. None if nothing says them.

    Args:
        method: of the class.
    """
    return _read(target, method)


@functools.cache
def _read(target: Any, method: str) -> Schema | None:
    hints: dict[str, Any] = {}
    needs: list[str] = []
    passed: set[str] = set()
    more = False
    for number, (owner, function) in enumerate(_functions(target, method)):
        try:
            parameters = inspect.signature(function).parameters
        except (TypeError, ValueError):  # of a class that is not written in Python
            return None
        own = [*parameters.values()][1 if owner else 0 :]
        for each in own:
            if each.kind in OPEN or each.name in passed:
                continue
            if each.default is each.empty and not number:  # a base may get it from the class
                needs.append(each.name)
            if hints.get(each.name, Any) in BARE:  # the base may say more about it
                hints[each.name] = _hint(each, function, owner)
        options = next((each for each in own if each.kind is each.VAR_KEYWORD), None)
        hint = None if options is None else _hint(options, function, owner)
        extras = getattr(hint, "__metadata__", ())  # of an `Annotated`
        more = options is not None and BySubclass() not in extras
        if not more or options is None or options.name != "options":
            break
        passed.update(name for each in extras if isinstance(each, Passed) for name in each.names)
    properties = dict(zip(hints, _parts([*hints.values()]), strict=True))
    made = {"type": "object", "properties": properties, "needs": needs}
    return {**made, "additionalProperties": more}


def named_arguments(target: Any) -> Mapping[str, Schema]:
    """The schema of each argument of a class, by name; none if nothing says them."""
    takes = arguments(target)
    return takes["properties"] if takes else {}


Init = TypeVar("Init", bound=Callable[..., None])


def checked(key: str = "") -> Callable[[Init], Init]:
    """Have an `__init__`, or a function, check the plain values that it gets, whoever calls it.

    Args:
        key: what errors name before the argument: `model`.
    """
    prefix = f"{key}." if key else ""
    checker = Checker(in_code=True)  # `instantiate` may import a class, this may not

    def decorate(init: Init) -> Init:
        signature = inspect.signature(init)

        @functools.wraps(init)
        def wrapper(*args: Any, **kwargs: Any) -> None:
            values = signature.bind(*args, **kwargs).arguments
            takes = arguments(init)
            for name, value in values.items():
                if takes is not None and name in takes["properties"]:
                    part = takes["properties"][name]
                    raise_first(checker.problems(value, part, f"{prefix}{name}"))
            init(*args, **kwargs)

        return wrapper  # type: ignore[return-value]

    return decorate


def check_own_init(cls: type[Any], key: str) -> None:
    """Have the `__init__` that a class defines check its values; call it for each subclass."""
    if "__init__" in vars(cls):
        cls.__init__ = checked(key)(cls.__init__)


def raise_first(problems: Sequence[Problem], where: str = "") -> None:
    """Raise a UserError for the first problem, if there is one; its words follow `where`."""
    if problems:
        raise UserError(where + problems[0].text)


def _functions(target: Any, method: str) -> Iterator[tuple[type | None, Any]]:
    """The methods of a class and its bases, with their owners; or the function itself."""
    is_class = inspect.isclass(target)
    if not is_class or (target.__init__ is object.__init__ and "__new__" in vars(target)):
        yield None, target
    else:
        for owner in target.__mro__[:-1]:  # without `object`
            if method in vars(owner):
                yield owner, vars(owner)[method]


def _hint(parameter: inspect.Parameter, function: Any, owner: type | None) -> Any:
    """The annotation of a parameter, `Any` where there is none that can be read."""
    for prefix, table in RANGES.items():
        if owner and f"{owner.__module__}.".startswith(prefix) and parameter.name in table:
            return table[parameter.name]
    if parameter.annotation is parameter.empty:
        return Any
    names = getattr(inspect.unwrap(function), "__globals__", {})
    holder = SimpleNamespace(__annotations__={"it": parameter.annotation})
    try:
        return typing.get_type_hints(holder, names, include_extras=True)["it"]
    except Exception:  # noqa: BLE001 (an annotation may be any expression)
        return Any


class _Plain(GenerateJsonSchema):
    """An object of any class: a configuration gives it by `_target_`."""

    def handle_invalid_for_json_schema(self, *_: Any) -> Schema:
        return {"type": "object", "built": []}


def _parts(hints: list[Any]) -> list[Schema]:
    """The schema of each type, empty for a type that pydantic does not know."""
    fields: Any = {f"v{number}": (hint, ...) for number, hint in enumerate(hints)}
    try:
        config = ConfigDict(arbitrary_types_allowed=True)
        model = create_model("Arguments", __config__=config, **fields)
        made = model.model_json_schema(schema_generator=_Plain)
    except Exception:  # noqa: BLE001 (pydantic raises many kinds)
        half = len(hints) // 2
        return [*_parts(hints[:half]), *_parts(hints[half:])] if half else [{}]
    return [_tidy(part, made.get("$defs", {})) for part in made.get("properties", {}).values()]


def _tidy(part: Any, definitions: Schema) -> Any:
    """Without what only names and explains, and with what a part refers to in its place."""
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        return _tidy(definitions[part["$ref"].rpartition("/")[2]], definitions)
    if part.get("format", "path") != "path":  # written as a text, but no text to a class
        return {}
    if "arguments_of" in part:
        return _arguments_of(part)
    kept = {key: value for key, value in part.items() if key not in ("title", "default", "format")}
    for key in ("items", "additionalProperties"):
        if key in kept:
            kept[key] = _tidy(kept[key], definitions)
    if "const" in kept:
        kept["enum"] = [kept.pop("const")]
    if "prefixItems" in kept:
        kept["items"] = [_tidy(each, definitions) for each in kept.pop("prefixItems")]
    if "anyOf" in kept:
        kept = either([_tidy(each, definitions) for each in kept["anyOf"]])
    if "properties" in kept:  # of a dataclass
        inner = {name: _tidy(each, definitions) for name, each in kept["properties"].items()}
        needs = kept.pop("required", [])
        kept |= {"properties": inner, "needs": needs, "additionalProperties": False}
    return kept


def _arguments_of(part: Schema) -> Schema:
    takes = arguments(resolve_name(part["arguments_of"]))
    assert takes is not None
    for name, others in part["others"].items():
        with_others = either([takes["properties"][name], *others])
        takes = {**takes, "properties": {**takes["properties"], name: with_others}}
    return without(takes, part["given"])


def either(parts: list[Schema]) -> Schema:
    """Any of these; null joins the types of another one."""
    distinct: list[Schema] = []
    for each in parts:
        distinct += [s for s in each.get("anyOf", [each]) if s not in distinct]
    if {} in distinct:
        return {}
    null = {"type": "null"}
    if null in distinct and len(distinct) == 2:
        [other] = [each for each in distinct if each != null]
        if isinstance(other.get("type"), str) and "built" not in other:
            enum = {"enum": [*other["enum"], None]} if "enum" in other else {}
            return {**other, "type": [other["type"], "null"], **enum}
    return distinct[0] if len(distinct) == 1 else {"anyOf": distinct}
