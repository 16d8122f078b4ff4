"""Types and shapes are checked in tests; shapes, which takes long, only where there are any."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, update_wrapper, wraps
from inspect import isfunction, isgeneratorfunction
from types import CodeType, FunctionType
from typing import Any, get_type_hints

import jaxtyping
from beartype import BeartypeConf, beartype

# as jaxtyping's own errors are, and Python's where nothing checks
alone = beartype(conf=BeartypeConf(violation_type=TypeError))
with_shapes = jaxtyping.jaxtyped
one_call = with_shapes("context")

# By the code of a function that stands in another: what beartype made of it, less the function.
checks_of_inner: dict[CodeType, FunctionType] = {}
CHECKED = "__beartype_func"  # where a check of beartype's has the function


def jaxtyped(made: Any = None, *, typechecker: Callable[[Any], Any]) -> Any:
    """`jaxtyping.jaxtyped`, but each argument is checked once, and a function whose signature names
    no shape has the checker alone.

    What jaxtyping wraps around a function, which checks all arguments again when it checks the
    result, doubles the time of all tests.
    """
    if made is None:
        return partial(jaxtyped, typechecker=typechecker)
    if not isfunction(made) or isgeneratorfunction(made):
        return with_shapes(made, typechecker=typechecker)
    if made.__code__ in checks_of_inner:
        return _checked_as_before(made)
    hints = _hints(made)
    if hints is None or "{" in hints:  # an axis that has the size of an argument
        return with_shapes(made, typechecker=typechecker)
    checked = alone(made)
    if "jaxtyping" in hints:
        return _with_one_meaning_of_each_axis(checked)
    if "<locals>" in made.__qualname__ and CHECKED in (checked.__kwdefaults__ or {}):
        checks_of_inner[made.__code__] = _copied(checked, None)
    return checked


def _with_one_meaning_of_each_axis(check: FunctionType) -> Callable[..., Any]:
    """From the arguments of a call to its result."""

    @wraps(check)
    def call(*arguments: Any, **options: Any) -> Any:
        with one_call:
            return check(*arguments, **options)

    return call


def _checked_as_before(inner: FunctionType) -> FunctionType:
    """A function that stands in another is made again at each call of that one. Its checks are the
    same each time, and making them takes longer than all that they check."""
    return update_wrapper(_copied(checks_of_inner[inner.__code__], inner), inner)


def _copied(check: FunctionType, function: FunctionType | None) -> FunctionType:
    """The same check of another function."""
    copy = FunctionType(check.__code__, check.__globals__, check.__name__, check.__defaults__)
    copy.__kwdefaults__ = {**check.__kwdefaults__, CHECKED: function}
    return copy


def _hints(function: Callable[..., Any]) -> str | None:
    """What a signature names; None where only jaxtyping can skip a name: it is defined below, or
    imported for mypy alone."""
    try:
        return str([*get_type_hints(function).values()])
    except NameError:
        return None


jaxtyping.jaxtyped = jaxtyped  # what its import hook puts before every function
