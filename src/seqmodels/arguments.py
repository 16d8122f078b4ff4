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
from collections.abc import Callable, Iterable, Iterator, KeysView, Mapping, Sequence
from dataclasses import is_dataclass
from pkgutil import resolve_name
from types import SimpleNamespace, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model
from pydantic_core import PydanticCustomError

from seqmodels.errors import UserError, listed, missing_value, near_keys, shown


def _number(value: Any) -> Any:
    if isinstance(value, bool):  # which Python counts as 0 and 1
        raise PydanticCustomError("number", "input should be a number, not true or false")
    return value


Number = BeforeValidator(_number)
Count = Annotated[int, Number, Field(ge=1)]
Natural = Annotated[int, Number, Field(ge=0)]
Seed = Annotated[int, Number, Field(ge=0, le=4_294_967_295)]  # what NumPy takes
NonNegativeFraction = Annotated[float, Number, Field(ge=0, lt=1)]
PositiveFraction = Annotated[float, Number, Field(gt=0, lt=1)]
NonNegative = Annotated[float, Number, Field(ge=0)]
Name = Annotated[str, Field(min_length=1)]

# what Lightning and PyTorch take in silence, or divide by: by the beginning of the module's name,
# then by argument
SILENT: dict[str, dict[str, Any]] = {
    "lightning.pytorch.": {
        "gradient_clip_val": NonNegative | None,
        "accumulate_grad_batches": Count,
        "check_val_every_n_epoch": Count | None,
        "log_every_n_steps": Natural | None,
        "patience": Natural,
        "min_delta": NonNegative,
    },
    "torch.optim.": {
        "lr": NonNegative,
        "step_size": Count,
        "T_max": Count,
    },
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
    either = Literal["if_possible"] | None
    return ArgumentsOf("seqmodels.nn.encoder.RecurrentEncoder", "input_size", bidirectional=either)


class Passed:
    """For `**options`: the class passes these arguments to its base by itself."""

    def __init__(self, *names: str) -> None:
        self.names = names


PLAIN_DICTS = (dict[str, Any], dict[str, Any] | None)
CONFIG = ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False, coerce_numbers_to_str=True)
Arguments = type[BaseModel]


@functools.cache
def arguments(target: Any, method: str = "__init__", of: Any = None) -> Arguments | None:
    """A model of the arguments of a class, without `self`, or of a function; None if nothing says
    them. If a function is the method of a class, `of` is that.

    A class that takes `**options` passes them on to its base, whose arguments are its own then;
    `**own` are those of its subclasses; one that takes `**kwargs`, or another name, takes any.
    """
    is_class, fields, passed, more = inspect.isclass(target), dict[str, Any](), set[str](), False
    owners = target.__mro__[:-1] if is_class else ()
    functions = [(owner, vars(owner)[method]) for owner in owners if method in vars(owner)]
    for depth, (owner, function) in enumerate(functions or [(None, target)]):
        try:
            parameters = [*inspect.signature(function).parameters.values()]
        except (TypeError, ValueError):  # of a class that is not written in Python
            return None
        rest = None
        for each in parameters[owner is not None :]:
            if each.kind is each.VAR_KEYWORD:
                rest = each
            elif each.kind is not each.VAR_POSITIONAL and each.name not in passed:
                known, hint = fields.get(each.name), _hint(each, function, owner)
                if known is None:  # a class may give it to its base, which needs it
                    needed = each.default is each.empty and not depth
                    fields[each.name] = (hint, ... if needed else None)
                elif known[0] in (Any, *PLAIN_DICTS):  # the base may say more about it
                    fields[each.name] = (hint, known[1])
        more = rest is not None and rest.name != "own"
        if rest is None or rest.name != "options":
            break
        marks = getattr(_hint(rest, function, owner), "__metadata__", ())
        passed.update(name for mark in marks if isinstance(mark, Passed) for name in mark.names)
    kinds = {name: (_kind(hint, of or target), default) for name, (hint, default) in fields.items()}
    return _model(target.__qualname__.removesuffix(".__init__"), kinds, more)


def _model(title: str, kinds: Mapping[str, tuple[Any, Any]], more: bool = False) -> Arguments:
    # not by their own names, of which BaseModel has some, too
    fields: Any = {f"a_{n}": (kind, Field(given, alias=n)) for n, (kind, given) in kinds.items()}
    config = ConfigDict(**CONFIG, extra="allow" if more else "forbid")
    return create_model(title.rpartition(".")[2], __config__=config, **fields)


def _hint(parameter: inspect.Parameter, function: Any, owner: type | None) -> Any:
    for module, rows in SILENT.items():
        if owner and owner.__module__.startswith(module) and parameter.name in rows:
            return rows[parameter.name]
    if parameter.annotation is parameter.empty:
        return Any
    names = dict(getattr(inspect.unwrap(function), "__globals__", {}))
    for base in owner.__mro__[1:] if is_dataclass(owner) else ():  # which has fields of its own
        names = {**vars(sys.modules[base.__module__]), **names}
    holder = SimpleNamespace(__annotations__={"it": parameter.annotation})
    try:
        return typing.get_type_hints(holder, names, include_extras=True)["it"]
    except Exception:  # noqa: BLE001 (an annotation may be any expression)
        return Any


@functools.cache
def _can_check(hint: Any) -> bool:
    try:
        create_model("One", __config__=CONFIG, value=(hint, ...))
    except Exception:  # noqa: BLE001 (pydantic raises many kinds)
        return False
    return True


def _kind(hint: Any, of: Any) -> Any:
    """What pydantic is to check: any value, if it doesn't know the annotation."""
    if get_origin(hint) in (Union, UnionType):
        return Union[tuple(_kind(each, of) for each in get_args(hint))]  # noqa: UP007
    marks = (m for m in getattr(hint, "__metadata__", ()) if isinstance(m, ArgumentsOf))
    for mark in marks:
        named = resolve_name(mark.target) if "." in mark.target else getattr(of, mark.target)
        takes = arguments(named)
        assert takes is not None
        kinds = fields_of(takes)
        kinds |= {name: (kinds[name][0] | other, None) for name, other in mark.also.items()}
        return _model(takes.__name__, {n: kind for n, kind in kinds.items() if n not in mark.given})
    try:
        return hint if _can_check(hint) else Any
    except TypeError:  # it has no hash
        return Any


def validated(
    takes: Arguments | None, values: Mapping[str, Any], key: str = "", given: Iterable[str] = ()
) -> dict[str, Any]:
    """The values as the arguments take them, such as a number as a text.

    Args:
        takes: as `arguments` gives it.
        key: what to name before an argument in an error: `model`.
        given: arguments that the code passes by itself.

    Raises:
        UserError: for the first that is unknown, missing or wrong.
    """
    if takes is None:
        return dict(values)
    built = {k: v for k, v in values.items() if _names_class(v)}  # each checked by its own class
    takes = _without(takes, frozenset(given))
    plain = {name: value for name, value in values.items() if name not in built}
    try:
        made = _without(takes, frozenset(built)).model_validate(plain)
    except ValidationError as error:
        raise UserError(_in_words(error.errors(), values, key, takes)) from None
    return {**_plain(made), **built}


@functools.cache
def _without(takes: Arguments, names: frozenset[str]) -> Arguments:
    if not names:
        return takes
    kinds = {n: kind for n, kind in fields_of(takes).items() if n not in names}
    return _model(takes.__name__, kinds, takes.model_config["extra"] == "allow")


def fields_of(takes: Arguments | None) -> dict[str, tuple[Any, Any]]:
    """By argument, in their order, its type and its default; `...` if it has none."""
    fields = takes.model_fields.values() if takes else ()
    return {
        f.alias or "": (f.rebuild_annotation(), ... if f.is_required() else None) for f in fields
    }


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(map(_plain, value))
    if not isinstance(value, BaseModel):
        return value
    fields = type(value).model_fields
    own = {
        fields[name].alias: _plain(getattr(value, name))
        for name in value.model_fields_set & fields.keys()
    }
    return {**own, **(value.model_extra or {})}


def _in_words(errors: Sequence[Any], values: Mapping[str, Any], key: str, takes: Arguments) -> str:
    """`model.window=0: input should be greater than or equal to 1`"""
    places = [(error, _place(error, values)) for error in errors]
    deepest = dict[Any, tuple[str, ...]]()  # the alternative that fits but for a value in it
    for error, place in places:
        argument = error["loc"][0]
        deepest[argument] = max(deepest.get(argument, ()), place, key=len)
    found = min(deepest.values(), key=len)
    here = [error for error, place in places if place == found]
    kind, where = here[0]["type"], _dotted(key, *found)
    if kind == "missing":
        return missing_value(where)
    if kind == "extra_forbidden":
        left = [_dotted(key, *place) for error, place in places if error["type"] == kind]
        return _unknown_argument(where, left, takes, key)
    text = json.dumps(here[0]["input"], default=str).strip('"')
    says = [e["msg"] for e in here if e["type"] not in ("is_instance_of", "none_required")]
    lower = dict.fromkeys(each[:1].lower() + each[1:] for each in says or [here[0]["msg"]])
    return f"{where}={shown(text)}: {', or '.join(lower)}"


def _place(error: Any, values: Any) -> tuple[str, ...]:
    """Where it is, without the names that pydantic gives alternatives."""
    parts = list[str]()
    for part in error["loc"]:
        inside = isinstance(values, Mapping) and part in values
        if inside or (isinstance(values, list | tuple) and isinstance(part, int)):
            parts.append(str(part))
            values = values[part]
    if error["type"] == "missing":
        parts.append(str(error["loc"][-1]))
    return tuple(parts)


def _dotted(*names: str) -> str:
    return ".".join(filter(None, names))


def _unknown_argument(where: str, left: Sequence[str], takes: Arguments, key: str) -> str:
    """`model.optimizer.momentum is not an argument of Adam: ...`"""
    names = [_dotted(key, name) for name in known(takes)]
    inside = [name for name in names if name.rpartition(".")[0] == where.rpartition(".")[0]]
    if near := near_keys(where, names):
        end = f"did you mean {' or '.join(near)}"
    else:
        takes_these = listed(name.rpartition(".")[2] for name in inside)
        end = f"choose one of {takes_these}" if inside else "it takes none"
    if not key:
        return f"{where} is not a key of the configuration: {end}"
    without = " ".join(f"~{name}" for name in left)
    return f"{where} is not an argument of {takes.__name__}: {end}, or leave it out with {without}"


def known(takes: Arguments, prefix: str = "") -> Iterator[str]:
    """The dotted names of all arguments, those of mappings of arguments too."""
    for each in takes.model_fields.values():
        yield f"{prefix}{each.alias}"
        for kind in (each.annotation, *get_args(each.annotation)):
            if inspect.isclass(kind) and issubclass(kind, BaseModel):
                yield from known(kind, f"{prefix}{each.alias}.")


def argument_names(target: Any) -> KeysView[str]:
    """The names of the arguments of a class, in their order; none if nothing says them."""
    return fields_of(arguments(target)).keys()


def _names_class(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_names_class, value))
    return isinstance(value, Mapping) and (
        "_target_" in value or any(map(_names_class, value.values()))
    )


Init = TypeVar("Init", bound=Callable[..., Any])


def checked(key: str = "") -> Callable[[Init], Init]:
    """Have an `__init__`, or a function, check the plain values that it gets, whoever calls it.

    Args:
        key: what errors name before the argument: `model`.
    """

    def decorate(init: Init) -> Init:
        signature = inspect.signature(init)

        @functools.wraps(init)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            values = signature.bind(*args, **kwargs).arguments
            of: Any = type(args[0]) if args else None
            if takes := arguments(init, of=of):
                names = fields_of(takes).keys()
                plain = {k: v for k, v in values.items() if k in names and isinstance(v, PLAIN)}
                validated(takes, plain, key, names - plain.keys())
            return init(*args, **kwargs)

        return wrapper  # type: ignore[return-value]

    return decorate


def check_own_init(cls: type[Any], key: str) -> None:
    """Have the `__init__` that a class defines check its values; call it for each subclass."""
    if "__init__" in vars(cls):
        cls.__init__ = checked(key)(cls.__init__)


PLAIN = (bool, int, float, str, list, tuple, Mapping)
