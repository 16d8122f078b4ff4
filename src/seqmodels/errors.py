"""Errors the user can fix."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from seqmodels.nearest import closest, nearest

MOST_NAMES = 50  # to list in an error


class UserError(ValueError):
    """One line: what is wrong, where, and what to do. Scripts print it and exit with status 2."""


def choices(wrong: str, names: Iterable[str]) -> str:
    """`choose one of a, b, c; did you mean b?`"""
    names = set(names)
    near = closest(str(wrong), names)
    end = f"; did you mean {shown(near)}?" if near else ""
    return f"choose one of {listed(names)}{end}"


def listed(names: Iterable[str]) -> str:
    """`a, b, c`; of very many names, the first."""
    ordered = sorted(set(names))
    return ", ".join(map(shown, ordered[:MOST_NAMES])) + ", ..." * (len(ordered) > MOST_NAMES)


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


def unknown_key(key: str, names: Iterable[str], meant: Sequence[str] | None = None) -> str:
    """`sed is not a key of the configuration: did you mean seed?`

    Args:
        names: the dotted keys that there are.
        meant: what to ask for; None: those of the names that are most like the key.
    """
    names = set(names)
    near = nearest(key, sorted(names)) if meant is None else meant
    if near:
        return f"{shown(key)} is not a key of the configuration: did you mean {' or '.join(near)}?"
    group = key
    while group and not any(name.startswith(f"{group}.") for name in names):
        group = group.rpartition(".")[0]
    prefix = f"{group}." if group else ""
    inside = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
    level = {prefix + name.partition(".")[0] for name in inside if not name.startswith("_")}
    return f"{shown(key)} is not a key of the configuration: choose one of {listed(level)}"


def missing_value(key: str) -> str:
    """`run must be given: add run=<value>`"""
    return f"{key} must be given: add {key}=<value>"
