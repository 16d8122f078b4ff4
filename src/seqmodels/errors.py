"""Errors the user can fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

MOST_NAMES = 50  # to list in an error


class UserError(ValueError):
    """One line: what is wrong, where, and what to do. Scripts print it and exit with status 2."""


def choices(wrong: str, names: Iterable[str]) -> str:
    """`choose one of a, b, c; did you mean b?`"""
    names = sorted(set(names))
    near = difflib.get_close_matches(str(wrong), names, n=1, cutoff=0.5)
    listed = ", ".join(map(shown, names[:MOST_NAMES])) + ", ..." * (len(names) > MOST_NAMES)
    return f"choose one of {listed}" + (f"; did you mean {shown(near[0])}?" if near else "")


def shown(text: str) -> str:
    """A text out of a file as part of an error: escaped, and cut at 80 characters."""
    line = text if text.isprintable() else repr(text)[1:-1]
    return line if len(line) <= 80 else f"{line[:77]}..."


def one_line(error: BaseException) -> str:
    """An exception's message on one line, cut at 300 characters; a UserError's is never cut."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 or isinstance(error, UserError) else text[:297] + "..."


@contextmanager
def unusable(what: str) -> Iterator[None]:
    """Says in one line that a file or folder of others cannot be used: it may hold anything.

    Raises:
        UserError: for an error of any other kind, after the words `what`.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{what} ({type(error).__name__}: {one_line(error)})") from error


def unknown_key(key: str, names: Iterable[str]) -> str:
    """`sed is not a key of the configuration: choose one of ...; did you mean seed?`"""
    return f"{shown(key)} is not a key of the configuration: {choices(key, names)}"


def missing_value(key: str) -> str:
    """`run must be given: add run=<value>`"""
    return f"{key} must be given: add {key}=<value>"
