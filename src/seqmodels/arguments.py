"""Which values an argument may have, and the check of a class's arguments, by pydantic.

An argument is declared once, as a type in a signature. Annotate your own classes with the types
below, or with any other type that pydantic knows.
"""

from __future__ import annotations

import functools
import inspect
import json
import sys
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from pkgutil import resolve_name
from types import SimpleNamespace, UnionType
from typing import Annotated, Any, Literal, NotRequired, TypeVar, Union, cast, get_args, get_origin

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict  # Pydantic asks for it until Python 3.12.

from seqmodels.errors import UserError, missing_value, shown, unknown_key


def _number(value: Any) -> Any:
    if isinstance(value, bool):  # Python counts them as 0 and 1.
        raise PydanticCustomError("number", "input should be a number, not true or false")
    return value


Number = BeforeValidator(_number)
Count = Annotated[int, Number, Field(ge=1)]
Natural = Annotated[int, Number, Field(ge=0)]
Folds = Annotated[int, Number, Field(ge=2)]
Seed = Annotated[int, Number, Field(ge=0, le=4_294_967_295)]  # NumPy takes no larger one.
NonNegativeFraction = Annotated[float, Number, Field(ge=0, lt=1)]
PositiveFraction = Annotated[float, Number, Field(gt=0, lt=1)]
NonNegative = Annotated[float, Number, Field(ge=0)]
# A loss is computed in float32, which must hold products of two weights, and their sums.
LARGEST_WEIGHT = 1e15
Weight = Annotated[float, Number, Field(ge=0, le=LARGEST_WEIGHT)]
Name = Annotated[str, Field(min_length=1)]

# arguments of Lightning and PyTorch that take more in silence, or divide by it
OTHERS = ("lightning.pytorch.", "torch.optim.")
SILENT: dict[str, Any] = {
    "gradient_clip_val": NonNegative | None,
    "accumulate_grad_batches": Count,
    "check_val_every_n_epoch": Count | None,
    "log_every_n_steps": Natural | None,
    "patience": Natural,
    "min_delta": NonNegative,
    "lr": NonNegative,
    "step_size": Count,
    "T_max": Count,
}


class ArgumentsOf:
    """A mapping whose keys are the arguments of this class.

    Args:
        target: the full name of the class; or the name of an attribute of the class that takes the
            mapping, such as `Options`.
        given: arguments that the code passes by itself.
        also: by argument, what else it may be, which the code replaces.
    """

    def __init__(self, target: str, *given: str, **also: Any) -> None:
        self.target, self.given, self.also = target, given, also


def OfEncoder() -> ArgumentsOf:  # noqa: N802 (an annotation)
    """The arguments of a task's encoder."""
    open_direction = Literal["if_possible"] | None
    encoder = "seqmodels.nn.encoder.RecurrentEncoder"
    return ArgumentsOf(encoder, "input_size", bidirectional=open_direction)


PLAIN_DICTS = (dict[str, Any], dict[str, Any] | None)
CONFIG = ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False, coerce_numbers_to_str=True)


@dataclass(frozen=True, eq=False)
class Signature:
    """The arguments of a class or function.

    Args:
        kinds: by name, in their order, each one's type and whether it is needed.
        more: whether it takes other names, too.
    """

    title: str
    kinds: Mapping[str, tuple[Any, bool]]
    more: bool = False

    def mapping_type(self, absent: Iterable[str] = ()) -> Any:
        """A type for pydantic: a mapping of these arguments, but those that are absent."""
        fields = {}
        for name, (value_type, is_needed) in self.kinds.items():
            if name not in absent:
                fields[name] = value_type if is_needed else NotRequired[value_type]
        mapping = cast(Any, TypedDict)(self.title.rpartition(".")[2], fields)
        mapping.__pydantic_config__ = ConfigDict(**CONFIG, extra="allow" if self.more else "forbid")
        return Annotated[mapping, self]

    @functools.cache  # noqa: B019 (a signature lives as long as the process)
    def reader(self, absent: frozenset[str]) -> Any:
        """The `TypeAdapter` of the arguments but these."""
        return TypeAdapter(self.mapping_type(absent))

    def names(self, prefix: str = "") -> Iterator[str]:
        """The dotted names of all arguments, those of mappings of arguments too."""
        for name, (value_type, _) in self.kinds.items():
            yield f"{prefix}{name}"
            for alternative in (value_type, *get_args(value_type)):
                for mark in getattr(alternative, "__metadata__", ()):
                    if isinstance(mark, Signature):
                        yield from mark.names(f"{prefix}{name}.")


@functools.cache
def arguments(target: Any, method: str = "__init__", owner: Any = None) -> Signature:
    """The arguments of a function; or of a class, without `self`, as `merged_parameters` says. If
    nothing says them, as of a class that is not written in Python, any are taken.

    Args:
        method: of the class, whose arguments these are.
        owner: the class, if `target` is a method of it.
    """
    title = target.__qualname__.removesuffix(".__init__")
    try:
        hints, takes_more = merged_parameters(target, method)
    except (TypeError, ValueError):  # `inspect` doesn't know its parameters
        return Signature(title, {}, more=True)
    kinds = {
        name: (_value_type(hint, owner or target), needed) for name, (hint, needed) in hints.items()
    }
    return Signature(title, kinds, takes_more)


Hints = dict[str, tuple[Any, bool]]
"""By the name of an argument, its annotation, and whether it is needed."""


def merged_parameters(target: Any, method: str = "__init__") -> tuple[Hints, bool]:
    """The parameters of a function, or of a class and those of its bases that it passes on; and
    whether it takes others, too.

    A class that is built on another rarely repeats the parameters of its base. The name behind the
    `**` of its `__init__` says who takes all other arguments:

    - `**options`: its base, whose parameters belong to the class, too.
    - `**own`: a subclass, which names them. No others are taken.
    - `**kwargs`, or any other name: nobody knows, so any name is taken.

    Of a name that both have, the class decides, but its base may say which keys a dict has.
    """
    hints: Hints = {}
    takes_more = False
    for depth, (owner, function) in enumerate(_functions(target, method)):
        parameters = [*inspect.signature(function).parameters.values()]
        if owner is not None:
            parameters = parameters[1:]  # The first one is `self`.
        for parameter in parameters:
            if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                # A class may give its base what the base needs.
                is_needed = parameter.default is parameter.empty and depth == 0
                _merge(hints, parameter.name, _hint(parameter, function, owner), is_needed)
        names_behind_stars = [p.name for p in parameters if p.kind is p.VAR_KEYWORD]
        takes_more = bool(names_behind_stars) and names_behind_stars != ["own"]
        if names_behind_stars != ["options"]:
            break
    return hints, takes_more


def _functions(target: Any, method: str) -> list[tuple[type | None, Any]]:
    """The function; or the method of a class, and those of its bases, each with its class."""
    if not inspect.isclass(target):
        return [(None, target)]
    owners = [owner for owner in target.__mro__[:-1] if method in vars(owner)]
    return [(owner, vars(owner)[method]) for owner in owners] or [(None, target)]


def _merge(hints: Hints, name: str, hint: Any, is_needed: bool) -> None:
    """Adds a parameter of a base to those of a class."""
    if name not in hints:
        hints[name] = (hint, is_needed)
        return
    hint_of_class, is_needed_by_class = hints[name]
    if hint_of_class in (Any, *PLAIN_DICTS):
        hints[name] = (hint, is_needed_by_class)


def _hint(parameter: inspect.Parameter, function: Any, owner: type | None) -> Any:
    if owner and owner.__module__.startswith(OTHERS) and parameter.name in SILENT:
        return SILENT[parameter.name]
    if parameter.annotation is parameter.empty:
        return Any
    names = dict(getattr(inspect.unwrap(function), "__globals__", {}))
    if is_dataclass(owner):  # Its `__init__` has fields of its bases, too.
        for base in owner.__mro__[1:]:
            names = {**vars(sys.modules[base.__module__]), **names}
    holder = SimpleNamespace(__annotations__={"it": parameter.annotation})
    try:
        return typing.get_type_hints(holder, names, include_extras=True)["it"]
    except Exception:  # noqa: BLE001 (an annotation may be any expression)
        return Any


def _value_type(hint: Any, owner: Any) -> Any:
    """The type that pydantic is to check: any, if it doesn't know the annotation."""
    if get_origin(hint) in (Union, UnionType):
        alternatives = tuple(_value_type(alternative, owner) for alternative in get_args(hint))
        return Union[alternatives]  # noqa: UP007
    for mark in getattr(hint, "__metadata__", ()):
        if isinstance(mark, ArgumentsOf):
            return _mapping_of_arguments(mark, owner)
    try:
        Signature("", {"it": (hint, True)}).reader(frozenset())
    except Exception:  # noqa: BLE001 (pydantic raises many kinds)
        return Any
    return hint


def _mapping_of_arguments(mark: ArgumentsOf, owner: Any) -> Any:
    is_full_name = "." in mark.target
    target = resolve_name(mark.target) if is_full_name else getattr(owner, mark.target)
    kinds = dict(arguments(target).kinds)
    for name, replaced_type in mark.also.items():
        kinds[name] = (kinds[name][0] | replaced_type, False)
    for name in mark.given:
        kinds.pop(name, None)
    return Signature(mark.target, kinds).mapping_type()


def validated(
    takes: Signature, values: Mapping[str, Any], key: str = "", code_names: Iterable[str] = ()
) -> dict[str, Any]:
    """The values as the arguments take them, such as a number as a text.

    Args:
        takes: as `arguments` gives it.
        key: what to name before an argument in an error: `model`.
        code_names: arguments that the code passes by itself.

    Raises:
        UserError: for the first that is unknown, missing or wrong.
    """
    absent_names = {*code_names}
    # Their classes check the arguments of objects.
    objects = {name: value for name, value in values.items() if _names_class(value)}
    plain = {name: value for name, value in values.items() if name not in objects}
    try:
        checked_values = takes.reader(frozenset({*absent_names, *objects})).validate_python(plain)
    except ValidationError as error:
        names = [_dotted(key, name) for name in takes.names() if name not in absent_names]
        raise UserError(_in_words(error.errors(), values, key, takes.title, names)) from None
    return {**checked_values, **objects}


def _in_words(
    errors: Sequence[Any], values: Mapping[str, Any], key: str, title: str, names: Sequence[str]
) -> str:
    """`model.window=0: input should be greater than or equal to 1`"""
    places = [_place(error, values) for error in errors]
    # Of alternatives, such as a name or a list, the one that fits best finds its fault deepest.
    alternatives = [place for place in places if place[: len(places[0])] == places[0]]
    place = max(alternatives, key=len)
    errors_there = [error for error, other in zip(errors, places, strict=True) if other == place]
    error, where = errors_there[0], _dotted(key, *place)
    if error["type"] == "missing":
        return missing_value(where)
    if error["type"] == "extra_forbidden" and not key:
        return unknown_key(where, names)
    if error["type"] == "extra_forbidden":
        text = unknown_key(where, names, f"an argument of {title}").removesuffix("?")
        unknown_names = [
            _dotted(key, *other)
            for other_error, other in zip(errors, places, strict=True)
            if other_error["type"] == "extra_forbidden"
        ]
        without = " ".join(f"~{name}" for name in unknown_names)
        return f"{text}, or leave it out with {without}"
    return f"{where}={_wrong_value(errors_there)}"


def _wrong_value(errors: Sequence[Any]) -> str:
    """The value that these errors are of, and what each of them says."""
    value = errors[0]["input"]
    text = shown(json.dumps(value, default=str).strip('"'))
    may_be_list = any(error["type"] in LIST_TYPES for error in errors)
    if may_be_list and isinstance(value, SINGLE):
        return f"{text}: this is a list, so write [{text}]"
    messages = dict.fromkeys(error["msg"][:1].lower() + error["msg"][1:] for error in errors)
    return f"{text}: {', or '.join(messages)}"


def _place(error: Any, values: Any) -> tuple[str, ...]:
    """Where it is, without the names that pydantic gives alternatives."""
    names = list[str]()
    for name in error["loc"]:
        is_key = isinstance(values, Mapping) and name in values
        if is_key or (isinstance(values, list | tuple) and isinstance(name, int)):
            names.append(str(name))
            values = values[name]
    if error["type"] == "missing":
        names.append(str(error["loc"][-1]))
    return tuple(names)


def _dotted(*names: str) -> str:
    return ".".join(filter(None, names))


def _names_class(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_names_class, value))
    return isinstance(value, Mapping) and (
        "_target_" in value or any(map(_names_class, value.values()))
    )


Init = TypeVar("Init", bound=Callable[..., Any])
SINGLE = (bool, int, float, str)
PLAIN = (*SINGLE, list, tuple, Mapping)
# The types of pydantic's errors for what should be a list.
LIST_TYPES = ("list_type", "tuple_type", "sequence_str")
CHECKED_ARGUMENTS = "_checked_arguments"  # an attribute of an object while `call_checked` makes it


def checked(key: str = "") -> Callable[[Init], Init]:
    """Have an `__init__`, or a function, check the plain values that it gets. It is for notebooks:
    what `call_checked` gives it has been checked.

    Args:
        key: what errors name before the argument: `model`.
    """

    def decorate(init: Init) -> Init:
        signature = inspect.signature(init)

        @functools.wraps(init)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            values = signature.bind(*args, **kwargs).arguments
            instance: Any = args[0] if args else None
            owner: Any = type(instance) if args else None
            takes = arguments(init, owner=owner)
            # The first `__init__` that names an argument is the one by which it was checked.
            checked_values = getattr(instance, "__dict__", {}).get(CHECKED_ARGUMENTS, {})
            unchecked_values = {}
            for name, value in values.items():
                is_plain = name in takes.kinds and isinstance(value, PLAIN)
                if is_plain and checked_values.pop(name, None) is not value:
                    unchecked_values[name] = value
            if unchecked_values:
                validated(takes, unchecked_values, key, takes.kinds.keys() - unchecked_values)
            return init(*args, **kwargs)

        wrapper.checks_arguments = True  # type: ignore[attr-defined]
        return wrapper  # type: ignore[return-value]

    return decorate


def check_own_init(cls: type[Any], key: str) -> None:
    """Have the `__init__` that a class defines check its values; call it for each subclass."""
    if "__init__" in vars(cls):
        cls.__init__ = checked(key)(cls.__init__)


def call_checked(target: Any, checked_arguments: Mapping[str, Any], /, **others: Any) -> Any:
    """An object of a class, whose `__init__` doesn't check these arguments again; or what a
    function gives.

    The object itself holds what was checked, until it is made. So what a subclass gives its base
    instead is checked, and what another object gets that is made meanwhile.
    """
    values = {**checked_arguments, **others}
    if not hasattr(target.__init__, "checks_arguments"):
        return target(**values)
    instance = target.__new__(target, **values)
    vars(instance)[CHECKED_ARGUMENTS] = {**checked_arguments}
    try:
        instance.__init__(**values)
    finally:
        del vars(instance)[CHECKED_ARGUMENTS]
    return instance
