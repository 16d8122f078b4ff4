"""The tokens of Python source, without comments and white space, in logical lines."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from typing import NamedTuple

Position = tuple[int, int]
"""A line, from 1, and a character in it, from 0."""

KINDS = {
    tokenize.NAME: "name",
    tokenize.NUMBER: "number",
    tokenize.STRING: "string",
    tokenize.OP: "operator",
}
# from Python 3.12 on, an f-string is many tokens, and from 3.14 on a template string
OPENS, CLOSES = (
    {getattr(tokenize, f"{letter}STRING_{end}", None) for letter in "FT"} - {None}
    for end in ("START", "END")
)


class Token(NamedTuple):
    """A token.

    Args:
        text: as it stands there; of a string only its prefix and quotes, `f"..."`; of any number
            `0`.
        kind: `name`, `number`, `string` or `operator`.
        start, end: where it begins and ends.
    """

    text: str
    kind: str
    start: Position
    end: Position


def logical_lines(source: str) -> Iterator[list[Token]]:
    """The tokens of each logical line: a statement, or the header of a compound one. An f-string is
    one token.

    Raises:
        SyntaxError, tokenize.TokenError: for what is not Python.
    """
    line, opened = list[Token](), list[tokenize.TokenInfo]()
    for found in tokenize.generate_tokens(io.StringIO(source).readline):
        if found.type in OPENS:
            opened.append(found)
        elif found.type in CLOSES:
            first = opened.pop()
            if not opened:
                line.append(Token(_quoted(first.string), "string", first.start, found.end))
        elif opened:
            continue
        elif found.type == tokenize.NEWLINE:
            yield line
            line = []
        elif _is_stray(found):
            where = ("", *found.start, found.line)
            raise SyntaxError(f"{found.string!r} is no token", where)
        elif kind := KINDS.get(found.type):
            text = {"string": _quoted(found.string), "number": "0"}.get(kind, found.string)
            line.append(Token(text, kind, found.start, found.end))


def _is_stray(token: tokenize.TokenInfo) -> bool:
    """Whether it is a character such as `$`, which is an operator from Python 3.12 on."""
    if token.type == tokenize.OP:
        return token.string not in tokenize.EXACT_TOKEN_TYPES
    return token.type == tokenize.ERRORTOKEN and not token.string.isspace()


def _quoted(text: str) -> str:
    match = re.match(r"""([a-z]*)('''|\"""|'|")""", text, re.IGNORECASE)
    prefix, quotes = match.groups() if match else ("", "'")
    return f"{prefix.lower()}{quotes}...{quotes}"
