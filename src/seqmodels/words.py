"""The words `key=value` of a command line: read, and written."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import NamedTuple


class Word(NamedTuple):
    """A word of a command line, such as `+model.head=max_pool`, in its parts.

    Args:
        sign: `+` or `++` before a key that is added, `~` before one that is left out, or nothing.
        value: as it was typed; None if there is no `=`.
    """

    sign: str
    key: str
    value: str | None


def read_word(text: str) -> Word:
    """The parts of a word `key=value`, or of another word, which is all key."""
    unsigned = text.lstrip("+~")
    key, equals, value = unsigned.partition("=")
    return Word(text.removesuffix(unsigned), key, value if equals else None)


def as_override(key: str, path: PurePath) -> str:
    """The word that sets a key to a path: `resume=runs/mine`, or `resume="my runs/a,b"` where Hydra
    needs quotes."""
    from hydra.core.override_parser.types import Quote, QuotedString  # most scripts start without

    text = path.as_posix()  # Windows reads it, too, and shells don't change it.
    if not re.fullmatch(r"([A-Za-z]:)?[\w./+-]+", text, re.ASCII):  # Hydra reads it as it is.
        text = QuotedString(text, Quote.double).with_quotes()
    return f"{key}={text}"
