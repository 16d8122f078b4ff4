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
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    NotRequired,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
)

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

# Lightning and PyTorch take more for these arguments, in silence, or divide by it.
FRAMEWORKS = ("lightning.pytorch.", "torch.optim.")
TYPES_IN_FRAMEWORKS: dict[str, Any] = {
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
        names_of_code: arguments that the code passes by itself.
        replaced_types: by argument, what else it may be, which the code replaces.
    """

    def __init__(self, target: str, *names_of_code: str, **replaced_types: Any) -> None:
        self.target = target
        self.names_of_code = names_of_code
        self.replaced_types = replaced_types


def OfEncoder() -> ArgumentsOf:  # noqa: N802 (an annotation)
    """The arguments of a task's encoder."""
    open_direction = Literal["if_possible"] | None
    encoder = "seqmodels.nn.encoder.RecurrentEncoder"
    return ArgumentsOf(encoder, "input_size", bidirectional=open_direction)


PLAIN_DICTS = (dict[str, Any], dict[str, Any] | None)
CONFIG = ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False, coerce_numbers_to_str=True)


class Argument(NamedTuple):
    """What a signature says of one of its arguments."""

    annotation: Any
    is_needed: bool


@dataclass(frozen=True, eq=False)
class Signature:
    """The arguments of a class or function, by their names and in their order.

    Args:
        takes_more: whether it takes other names, too.
    """

    title: str
    arguments: Mapping[str, Argument]
    takes_more: bool = False

    def mapping_type(self, absent: Iterable[str] = ()) -> Any:
        """A type for pydantic: a mapping of these arguments, but those that are absent."""
        fields = {}
        for name, (value_type, is_needed) in self.arguments.items():
            if name not in absent:
                fields[name] = value_type if is_needed else NotRequired[value_type]
        class_name = self.title.rpartition(".")[2]
        mapping = cast(Any, TypedDict)(class_name, fields)
        extra: Literal["allow", "forbid"] = "allow" if self.takes_more else "forbid"
        mapping.__pydantic_config__ = ConfigDict(**CONFIG, extra=extra)
        return Annotated[mapping, self]

    @functools.cache  # noqa: B019 (a signature lives as long as the process)
    def reader(self, absent: frozenset[str]) -> Any:
        """The `TypeAdapter` of the arguments but these."""
        return TypeAdapter(self.mapping_type(absent))

    def names(self, prefix: str = "") -> Iterator[str]:
        """The dotted names of all arguments, and of those in mappings of arguments."""
        for name, argument in self.arguments.items():
            yield f"{prefix}{name}"
            for alternative in (argument.annotation, *get_args(argument.annotation)):
                for mark in getattr(alternative, "__metadata__", ()):
                    if isinstance(mark, Signature):
                        yield from mark.names(f"{prefix}{name}.")


@functools.cache
def arguments(target: Any, method: str = "__init__", owner: Any = None) -> Signature:
    """The arguments of a function, or of a class, as `merged_parameters` gives them.

    If nothing says them, as of a class that is not written in Python, any are taken.

    Args:
        method: of the class, whose arguments these are.
        owner: the class, if `target` is a method of it.
    """
    title = target.__qualname__.removesuffix(".__init__")
    try:
        parameters, takes_more = merged_parameters(target, method)
    except (TypeError, ValueError):  # `inspect` doesn't know its parameters.
        return Signature(title, {}, takes_more=True)
    arguments_by_name = {}
    for name, (annotation, is_needed) in parameters.items():
        value_type = _value_type(annotation, owner or target)
        arguments_by_name[name] = Argument(value_type, is_needed)
    return Signature(title, arguments_by_name, takes_more)


def merged_parameters(target: Any, method: str = "__init__") -> tuple[dict[str, Argument], bool]:
    """The parameters of a function or class without `self`, and whether it takes others, too.

    A class that is built on another rarely repeats the parameters of its base. The name behind the
    `**` of its `__init__` says who takes all other arguments:

    - `**options`: its base, whose parameters belong to the class, too.
    - `**own`: a subclass, which names them. No others are taken.
    - `**kwargs`, or any other name: nobody knows, so any name is taken.

    Of a name that both have, the class decides, but its base may say which keys a dict has.
    """
    merged: dict[str, Argument] = {}
    takes_more = False
    for depth, (owner, function) in enumerate(_functions(target, method)):
        parameters = list(inspect.signature(function).parameters.values())
        if owner is not None:
            parameters = parameters[1:]  # The first one is `self`.
        names_behind_stars = []
        for parameter in parameters:
            if parameter.kind is parameter.VAR_KEYWORD:
                names_behind_stars.append(parameter.name)
            elif parameter.kind is not parameter.VAR_POSITIONAL:
                # A class may give its base what the base needs.
                is_needed = parameter.default is parameter.empty and depth == 0
                annotation = _annotation(parameter, function, owner)
                _merge(merged, parameter.name, Argument(annotation, is_needed))
        takes_more = bool(names_behind_stars) and names_behind_stars != ["own"]
        if names_behind_stars != ["options"]:
            break
    return merged, takes_more


def _functions(target: Any, method: str) -> list[tuple[type | None, Any]]:
    """The function; or the method of a class, and those of its bases, each with its class."""
    if not inspect.isclass(target):
        return [(None, target)]
    owners = [owner for owner in target.__mro__[:-1] if method in vars(owner)]
    if not owners:
        return [(None, target)]
    return [(owner, vars(owner)[method]) for owner in owners]


def _merge(merged: dict[str, Argument], name: str, argument: Argument) -> None:
    """Adds a parameter of a base to those of a class."""
    if name not in merged:
        merged[name] = argument
    elif merged[name].annotation in (Any, *PLAIN_DICTS):
        # The base may say more of it, but the class decides whether it is needed.
        merged[name] = Argument(argument.annotation, merged[name].is_needed)


def _annotation(parameter: inspect.Parameter, function: Any, owner: type | None) -> Any:
    """The annotation of a parameter, read where it is a text; Any if there is none, or no type."""
    is_of_framework = owner is not None and owner.__module__.startswith(FRAMEWORKS)
    if is_of_framework and parameter.name in TYPES_IN_FRAMEWORKS:
        return TYPES_IN_FRAMEWORKS[parameter.name]
    if parameter.annotation is parameter.empty:
        return Any
    names = dict(getattr(inspect.unwrap(function), "__globals__", {}))
    if is_dataclass(owner):  # Its `__init__` has fields of its bases, too.
        for base in owner.__mro__[1:]:
            names = {**vars(sys.modules[base.__module__]), **names}
    holder = SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    try:
        return typing.get_type_hints(holder, names, include_extras=True)[parameter.name]
    except Exception:  # noqa: BLE001 (an annotation may be any expression)
        return Any


def _value_type(annotation: Any, owner: Any) -> Any:
    """The type that pydantic is to check: any, if it doesn't know the annotation."""
    if get_origin(annotation) in (Union, UnionType):
        alternatives = tuple(_value_type(type_, owner) for type_ in get_args(annotation))
        return Union[alternatives]  # noqa: UP007
    for mark in getattr(annotation, "__metadata__", ()):
        if isinstance(mark, ArgumentsOf):
            return _mapping_of_arguments(mark, owner)
    signature = Signature("", {"value": Argument(annotation, is_needed=True)})
    try:
        signature.reader(frozenset())
    except Exception:  # noqa: BLE001 (pydantic raises many kinds)
        return Any
    return annotation


def _mapping_of_arguments(mark: ArgumentsOf, owner: Any) -> Any:
    """The type of a mapping whose keys are the arguments of another class."""
    is_full_name = "." in mark.target
    target = resolve_name(mark.target) if is_full_name else getattr(owner, mark.target)
    keys = dict(arguments(target).arguments)
    for name, replaced_type in mark.replaced_types.items():
        keys[name] = Argument(keys[name].annotation | replaced_type, is_needed=False)
    for name in mark.names_of_code:
        keys.pop(name, None)
    return Signature(mark.target, keys).mapping_type()


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
    names_of_code = frozenset(code_names)
    objects = {}  # The class of an object checks its arguments when it is built.
    plain_values = {}
    for name, value in values.items():
        if _names_class(value):
            objects[name] = value
        else:
            plain_values[name] = value
    reader = takes.reader(frozenset([*names_of_code, *objects]))
    try:
        checked_values = reader.validate_python(plain_values)
    except ValidationError as error:
        names = [_dotted(key, name) for name in takes.names() if name not in names_of_code]
        raise UserError(_in_words(error.errors(), values, key, takes.title, names)) from None
    return {**checked_values, **objects}


def _in_words(
    errors: Sequence[Any], values: Mapping[str, Any], key: str, title: str, names: Sequence[str]
) -> str:
    """`model.window=0: input should be greater than or equal to 1`"""
    errors_by_place: dict[tuple[str, ...], list[Any]] = {}
    for error in errors:
        place = _place(error, values)
        errors_by_place.setdefault(place, []).append(error)

    # Of alternatives, such as a name or a list, the one that fits best finds its fault deepest.
    first_place = next(iter(errors_by_place))
    depth = len(first_place)
    alternatives = [place for place in errors_by_place if place[:depth] == first_place]
    deepest_place = max(alternatives, key=len)
    deepest_errors = errors_by_place[deepest_place]
    argument = _dotted(key, *deepest_place)

    error_type = deepest_errors[0]["type"]
    if error_type == "missing":
        return missing_value(argument)
    if error_type != "extra_forbidden":
        return f"{argument}={_wrong_value(deepest_errors)}"
    if not key:
        return unknown_key(argument, names)
    removals = []
    for error in errors:
        if error["type"] == "extra_forbidden":
            unknown_name = _dotted(key, *_place(error, values))
            removals.append(f"~{unknown_name}")
    text = unknown_key(argument, names, f"an argument of {title}").removesuffix("?")
    return f"{text}, or leave it out with {' '.join(removals)}"


def _wrong_value(errors: Sequence[Any]) -> str:
    """The value that these errors are of, and what each of them says."""
    value = errors[0]["input"]
    text = shown(json.dumps(value, default=str).strip('"'))
    may_be_list = any(error["type"] in LIST_TYPES for error in errors)
    if may_be_list and isinstance(value, SINGLE):
        return f"{text}: this is a list, so write [{text}]"
    messages = []
    for error in errors:
        message = error["msg"][:1].lower() + error["msg"][1:]
        if message not in messages:
            messages.append(message)
    return f"{text}: {', or '.join(messages)}"


def _place(error: Any, values: Any) -> tuple[str, ...]:
    """The keys that lead to the value of an error, without pydantic's names of alternatives."""
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
    """Whether a value says how to build an object, or one in it does."""
    if isinstance(value, Mapping):
        return "_target_" in value or any(_names_class(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(_names_class(item) for item in value)
    return False


Init = TypeVar("Init", bound=Callable[..., Any])
SINGLE = (bool, int, float, str)
PLAIN = (*SINGLE, list, tuple, Mapping)
# The types of pydantic's errors for what should be a list.
LIST_TYPES = ("list_type", "tuple_type", "sequence_str")
# While `call_checked` makes an object, this attribute of it holds what was checked.
CHECKED_ARGUMENTS = "_checked_arguments"


def checked(key: str = "") -> Callable[[Init], Init]:
    """Decorate an `__init__`, or a function, so that it checks the plain values that it gets.

    It is for notebooks: what `call_checked` gives it has been checked.

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
            unchecked_values = _unchecked_values(values, takes, instance)
            if unchecked_values:
                absent_names = takes.arguments.keys() - unchecked_values
                validated(takes, unchecked_values, key, absent_names)
            return init(*args, **kwargs)

        wrapper.checks_arguments = True  # type: ignore[attr-defined]
        return wrapper  # type: ignore[return-value]

    return decorate


def _unchecked_values(values: Mapping[str, Any], takes: Signature, instance: Any) -> dict[str, Any]:
    """The plain values but those that `call_checked` has checked for this object."""
    checked_values = getattr(instance, "__dict__", {}).get(CHECKED_ARGUMENTS, {})
    unchecked_values = {}
    for name, value in values.items():
        if name in takes.arguments and isinstance(value, PLAIN):
            # The first `__init__` that names an argument is the one by which it was checked.
            checked_value = checked_values.pop(name, None)
            if checked_value is not value:
                unchecked_values[name] = value
    return unchecked_values


def check_own_init(cls: type[Any], key: str) -> None:
    """Have the `__init__` that a class defines check its values; call it for each subclass."""
    if "__init__" in vars(cls):
        cls.__init__ = checked(key)(cls.__init__)


def call_checked(target: Any, checked_arguments: Mapping[str, Any], /, **others: Any) -> Any:
    """Calls a class, whose `__init__` doesn't check these arguments again, or a function.

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
