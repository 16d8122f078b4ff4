"""Mistakes that the person at the keyboard can mend."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from hydra.errors import OverrideParseException
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException


class UserError(ValueError):
    """What is wrong, where, and what to do, in one line. Scripts print it and exit with 2."""


def choices(wrong: str, names: Iterable[str]) -> str:
    """`choose one of a, b, c; did you mean b?`"""
    names = sorted(names)
    near = difflib.get_close_matches(str(wrong), names, n=1, cutoff=0.5)
    return f"choose one of {', '.join(names)}" + (f"; did you mean {near[0]}?" if near else "")


def one_line(error: BaseException) -> str:
    """An exception's message without line breaks; that of a library is cut at 300 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 or isinstance(error, UserError) else text[:297] + "..."


def explain(error: BaseException) -> str:
    """One line that says what is wrong, where, and what to do."""
    cause = error.__cause__
    resolving = re.search(r"^UserError raised while resolving interpolation: (.*)", str(error))
    if resolving:
        return resolving[1]
    unknown = re.match(r"Could not override '([^']+)'", str(error))
    if unknown and isinstance(cause, OmegaConfBaseException) and cause.parent_node is not None:
        key = unknown[1].split("@")[0]
        group = ".".join(str(cause.full_key).split(".")[:-1])
        names = [f"{group}.{name}" if group else str(name) for name in cause.parent_node]
        return f"{key} is not a key of the configuration: {choices(key, names)}"
    if isinstance(error, OverrideParseException):
        return f"cannot read {error.override}: {one_line(error)}"
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} must be given: add {error.full_key}=<value>"
    return one_line(error)
