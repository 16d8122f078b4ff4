"""Types and shapes are checked in tests; shapes, which takes long, only where there are any."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import isfunction
from typing import Any, get_type_hints

import jaxtyping
from beartype import BeartypeConf, beartype

# as jaxtyping's own errors are, and Python's where nothing checks
alone = beartype(conf=BeartypeConf(violation_type=TypeError))
with_shapes = jaxtyping.jaxtyped


def jaxtyped(made: Any = None, *, typechecker: Callable[[Any], Any]) -> Any:
    """`jaxtyping.jaxtyped`, but for functions whose signature names no shape the checker alone.

    What jaxtyping wraps around a function doubles the time of all tests.
    """
    if made is None:
        return partial(jaxtyped, typechecker=typechecker)
    if isfunction(made) and not _names_shapes(made):
        return alone(made)
    return with_shapes(made, typechecker=typechecker)


def _names_shapes(function: Callable[..., Any]) -> bool:
    try:
        return "jaxtyping" in str(get_type_hints(function))
    except NameError:  # defined below, or imported for mypy alone: only jaxtyping skips it
        return True


jaxtyping.jaxtyped = jaxtyped  # what its import hook puts before every function
