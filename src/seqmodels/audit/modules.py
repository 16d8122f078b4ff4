"""Find the modules that a model computes with, wherever a function or an object keeps them."""

from __future__ import annotations

import functools
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from types import CodeType, FunctionType, MemberDescriptorType, MethodType, ModuleType, NoneType
from typing import Any
from weakref import ReferenceType

from torch import Tensor, nn

# A model may refer to anything, such as all rows of a data set. These limits keep a search below
# some hundredths of a second; what is near the model comes first. A step leads from an object to
# one that it holds.
MOST_OBJECTS = 10_000
MOST_STEPS = 8

WITHOUT_CONTENTS = (Tensor, str, bytes, int, float, complex, ModuleType, NoneType)
# Objects of these libraries keep no network of yours, and some of them hold a whole training.
LIBRARIES = {"lightning", "numpy", "pandas", "pytorch_lightning", "torch"}
# Functions of these packages name no network of yours.
PACKAGES_OF_OTHERS = LIBRARIES | sys.stdlib_module_names | {"seqmodels"}
TENSORS_OF_MODULES = {"_buffers", "_parameters"}


def find_modules(model: Any) -> nn.ModuleList:
    """The modules that a model, a function or an object refers to; none for a black box.

    Looks into closures, defaults and the globals that a function names; into lists, dicts and the
    attributes of objects and of their classes; and into the functions among them. A module that is
    part of another one comes with that.
    """
    modules: list[nn.Module] = []
    ids_of_parts: set[int] = set()  # These modules', and those of all in them.
    # An id belongs to an object only as long as that is kept.
    reached = {id(model): model}
    ahead = deque([(model, 0)])
    while ahead:
        value, steps = ahead.popleft()
        if issubclass(type(value), nn.Module) and id(value) not in ids_of_parts:
            modules.append(value)
            ids_of_parts.update(map(id, value.modules()))
        if steps == MOST_STEPS:
            continue
        for content in islice(_contents(value), MOST_OBJECTS):
            if len(reached) == MOST_OBJECTS:
                break
            if id(content) not in reached and not issubclass(type(content), WITHOUT_CONTENTS):
                reached[id(content)] = content
                ahead.append((content, steps + 1))
    return nn.ModuleList(modules)


def _contents(value: Any) -> Iterable[Any]:
    """What a value holds. Runs no code of its class, such as a property or an iterator."""
    for known_type, contents in CONTENTS.items():
        if issubclass(type(value), known_type):
            return contents(value)
    return _contents_of_object(value)


def _contents_of_function(function: FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # The name is not set yet.
            yield cell.cell_contents
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    yield from vars(function).values()  # A decorator keeps there what it wraps.
    namespace = function.__globals__
    if _is_of_others(namespace.get("__name__")):
        return
    names = list(dict.fromkeys(_names_in(function.__code__)))
    for name in names:
        if name not in namespace:
            continue
        value = namespace[name]
        yield value
        if isinstance(value, ModuleType) and not _is_of_others(value.__name__):
            # The function may read an attribute of it, as in `my_models.network(inputs)`.
            attributes = vars(value)
            for attribute in names:
                if attribute in attributes:
                    yield attributes[attribute]


def _names_in(code: CodeType) -> Iterator[str]:
    """The globals and attributes that a function and the functions in it name."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_in(constant)


def _contents_of_class(owner: type) -> Iterator[Any]:
    for parent in owner.__mro__:
        if not _is_of_others(parent.__module__):
            yield from vars(parent).values()


def _contents_of_object(value: Any) -> Iterator[Any]:
    owner = type(value)
    is_module = issubclass(owner, nn.Module)
    if _package(owner.__module__) in LIBRARIES and not is_module:
        return
    for name, attribute in _attributes(value).items():
        if not (is_module and name in TENSORS_OF_MODULES):
            yield attribute
    for parent in owner.__mro__:
        for slot in vars(parent).values():
            if isinstance(slot, MemberDescriptorType):
                with suppress(AttributeError):  # It is not set yet.
                    yield slot.__get__(value)
    yield owner


def _attributes(value: Any) -> Mapping[str, Any]:
    """The attributes of an object, without those that it keeps in slots."""
    # `vars` would ask a `__getattr__` of its own where there are none.
    with suppress(AttributeError):
        return object.__getattribute__(value, "__dict__")
    return {}


def _is_of_others(module_name: Any) -> bool:
    return _package(module_name) in PACKAGES_OF_OTHERS


def _package(module_name: Any) -> str:
    return str(module_name).partition(".")[0]


# What a value of each type holds; of any other type, its attributes.
CONTENTS: dict[type, Callable[[Any], Iterable[Any]]] = {
    dict: lambda mapping: [*dict.values(mapping), *dict.keys(mapping)],
    list: list.__iter__,
    tuple: tuple.__iter__,
    set: set.__iter__,
    frozenset: frozenset.__iter__,
    deque: deque.__iter__,
    FunctionType: _contents_of_function,
    MethodType: lambda method: [method.__self__, method.__func__],
    functools.partial: lambda call: [call.func, call.args, call.keywords, vars(call)],
    staticmethod: lambda method: [method.__func__],
    classmethod: lambda method: [method.__func__],
    property: lambda attribute: [attribute.fget],
    ReferenceType: lambda reference: [reference()],
    type: _contents_of_class,
}
