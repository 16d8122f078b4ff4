"""Errors the user can fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """One line: what is wrong, where, and what to do. Scripts print it and exit with status 2."""


def choices(wrong: str, names: Iterable[str]) -> str:
    """`choose one of a, b, c; did you mean b?`"""
    names = sorted(names)
    near = difflib.get_close_matches(str(wrong), names, n=1, cutoff=0.5)
    return f"choose one of {', '.join(names)}" + (f"; did you mean {near[0]}?" if near else "")


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
