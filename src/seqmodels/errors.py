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

# How many names an error lists.
MOST_NAMES = 50
# Among how many names a similar one is looked for, which takes a second or two.
MOST_COMPARED = 50_000
PLAIN_WORD = re.compile(r"(?!(null|true|false|nan|inf)$)[A-Za-z_][A-Za-z0-9_./-]*", re.IGNORECASE)
# How similar names are by difflib: `hiden` is like `hidden`, and `mine` is not like `baseline` or
# `minlstm`.
ALIKE = 0.7


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
    different_names = set(names)
    similar_name = closest(str(wrong), different_names)
    if similar_name is None:
        return f"choose one of {listed(different_names)}"
    return f"choose one of {listed(different_names)}; did you mean {shown(similar_name)}?"


def listed(names: Iterable[str]) -> str:
    """`a, b, c`; of very many names, the first."""
    ordered_names = sorted(set(names))
    text = ", ".join(map(shown, ordered_names[:MOST_NAMES]))
    if len(ordered_names) > MOST_NAMES:
        text += ", ..."
    return text


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
    refused_types = kinds or (Exception,)
    try:
        yield
    except UserError:
        raise
    except refused_types as error:
        message = one_line(error)
        if kinds:
            raise UserError(f"{what}: {message}") from error
        raise UserError(f"{what} ({type(error).__name__}: {message})") from error


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
    all_names = [*names]
    problem = f"{shown(key)} is not {of}"
    similar_keys = near_keys(key, all_names)
    if similar_keys:
        return f"{problem}: did you mean {' or '.join(similar_keys)}?"
    group = f"{key.rpartition('.')[0]}."
    is_group = any(name.startswith(group) for name in all_names)
    prefix = group if is_group else ""
    names_in_group = {
        name.removeprefix(prefix).partition(".")[0] for name in all_names if name.startswith(prefix)
    }
    if names_in_group:
        return f"{problem}: choose one of {listed(names_in_group)}"
    return f"{problem}: it takes none"


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
    matches = get_close_matches(wrong, sorted(different_names), n=1, cutoff=ALIKE)
    return matches[0] if matches else None


def near_keys(key: str, names: Iterable[str]) -> list[str]:
    """The dotted names, at most three, whose last part is most like that of a key: `lr` finds
    `model.optimizer.lr`. One in the same group comes first: `modle` finds `model`, not
    `callbacks.checkpoint.mode`. A key in a group finds one."""
    group, _, wrong_name = key.rpartition(".")
    dotted_names: set[str] = set()  # with those of the groups that lead to a name
    for name in names:
        dotted_names.update(accumulate(name.split("."), "{}.{}".format))

    def order(name: str) -> tuple[bool, int, str]:
        is_elsewhere = name.rpartition(".")[0] != group
        return is_elsewhere, len(name), name

    ordered_names = sorted(dotted_names, key=order)
    last_parts = [name.rpartition(".")[2] for name in ordered_names]
    last_parts_in_group = [
        name.rpartition(".")[2] for name in ordered_names if name.rpartition(".")[0] == group
    ]
    if not group and wrong_name in last_parts:
        similar_part: str | None = wrong_name
    else:
        similar_part = closest(wrong_name, last_parts_in_group) or closest(wrong_name, last_parts)
    similar_keys = [
        name
        for name, last_part in zip(ordered_names, last_parts, strict=True)
        if last_part == similar_part
    ]
    most_keys = 1 if group else 3
    return similar_keys[:most_keys]
