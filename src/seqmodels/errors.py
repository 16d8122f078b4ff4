"""Errors the user can fix, and which name was probably meant by a wrong one."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from difflib import get_close_matches
from itertools import accumulate
from typing import Any

MOST_NAMES = 50  # to list in an error
MOST_COMPARED = 50_000  # names, which takes a second or two
PLAIN_WORD = re.compile(r"(?!(null|true|false|nan|inf)$)[A-Za-z_][A-Za-z0-9_./-]*", re.IGNORECASE)
ALIKE = 0.7  # by difflib: `hiden` is like `hidden`, and `mine` is not like `baseline` or `minlstm`


class UserError(ValueError):
    """One line: what is wrong, where, and what to do. Scripts print it and exit with status 2."""


class SettingError(UserError):
    """A mistake that a key of the configuration cures before a training. Who uses a finished run
    cannot set that key, so `load_run`'s methods raise a `UserError` with `message_of_run` instead.

    Args:
        message: for who trains: what is wrong, and which key cures it.
        message_of_run: for who uses a finished run: the same, and what to change in the file.
    """

    def __init__(self, message: str, message_of_run: str) -> None:
        super().__init__(message)
        self.message_of_run = message_of_run


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
def refusing(what: str, *kinds: type[Exception]) -> Iterator[None]:
    """Says in one line what a library refuses. Raises UserError for an error of these kinds, after
    the words `what`. Without kinds: for any, and names it."""
    caught = kinds or (Exception,)
    try:
        yield
    except UserError:
        raise
    except caught as error:
        said = one_line(error)
        end = f": {said}" if kinds else f" ({type(error).__name__}: {said})"
        raise UserError(what + end) from error


def unusable(what: str) -> AbstractContextManager[None]:
    """Says in one line that something of others, which may hold anything, cannot be used."""
    return refusing(what)


@contextmanager
def within_memory(source: str) -> Iterator[None]:
    """Raises a `UserError` that names the source of what is read where memory is out."""
    try:
        yield
    except MemoryError as error:
        raise UserError(
            f"{source}: there is not enough memory to read it: give it in smaller pieces"
        ) from error


def unknown_key(key: str, names: Iterable[str], of: str = "a key of the configuration") -> str:
    """`sed is not a key of the configuration: did you mean seed?`; `names` are dotted, too."""
    names = [*names]
    group = f"{key.rpartition('.')[0]}."
    prefix = group if any(name.startswith(group) for name in names) else ""
    beside = {n.removeprefix(prefix).partition(".")[0] for n in names if n.startswith(prefix)}
    near = near_keys(key, names)
    end = f"choose one of {listed(beside)}" if beside else "it takes none"
    return f"{shown(key)} is not {of}: " + (f"did you mean {' or '.join(near)}?" if near else end)


def setting(key: str, value: Any) -> str:
    """What to write in a shell to set a key: `data.steps=t`, or `'data.separator=";"'` where Hydra
    and the shell need quotes."""
    return shlex.quote(f"{key}={_hydra_word(value)}")


def _hydra_word(value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = [f"{name}: {_hydra_word(content)}" for name, content in value.items()]
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_hydra_word, value)) + "]"
    if isinstance(value, str):
        return value if PLAIN_WORD.fullmatch(value) else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)


def missing_value(key: str) -> str:
    """`run must be given: add run=<value>`"""
    return f"{key} must be given: add {key}=<value>"


def closest(wrong: str, names: Iterable[str]) -> str | None:
    """Return the name that is most like a wrong one; None if none is alike, or of very many."""
    different_names = {*names}
    if len(different_names) > MOST_COMPARED:
        return None
    near = get_close_matches(wrong, sorted(different_names), n=1, cutoff=ALIKE)
    return near[0] if near else None


def near_keys(key: str, names: Iterable[str]) -> list[str]:
    """The dotted names, at most three, whose last part is most like that of a key: `lr` finds
    `model.optimizer.lr`. One in the same group comes first: `modle` finds `model`, not
    `callbacks.checkpoint.mode`. A key in a group finds one."""
    names = {part for name in names for part in accumulate(name.split("."), "{}.{}".format)}
    group, _, last = key.rpartition(".")
    ordered = sorted(names, key=lambda name: (name.rpartition(".")[0] != group, len(name), name))
    parts = [name.rpartition(".") for name in ordered]
    own = [part[2] for part in parts if part[0] == group]
    every = [part[2] for part in parts]
    exact = last if last in every and not group else None
    near = exact or closest(last, own) or closest(last, every)
    alike = [name for name, part in zip(ordered, parts, strict=True) if part[2] == near]
    return alike[: 1 if group else 3]
