"""The tokens of Python source, and what each of them is there."""
# ruff: noqa: N815 (`ast` calls methods by the names of its nodes)

from __future__ import annotations

import ast
import io
import keyword
import re
import tokenize
import warnings
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from tokenize import NAME, NUMBER, OP, STRING, TokenInfo
from typing import Any

ROLES = {
    "argument": "the name of a keyword argument, in a call",
    "assigned": "a name that is bound: by `=`, `for`, `with`, `as`, `import`, `def`, `class`",
    "attribute": "a name after a dot",
    "call": "a name or an attribute that is called",
    "name": "any other name",
    "other": "keywords, punctuation, strings and numbers",
    "parameter": "of a function, where it is defined",
}
# from Python 3.12 on, an f-string is many tokens, and from 3.14 on a template string
OPENS, CLOSES = (
    {getattr(tokenize, f"{letter}STRING_{end}", None) for letter in "FT"} - {None}
    for end in ("START", "END")
)


# ---------------------------------------------------------------- tokens


def logical_lines(source: str) -> Iterator[list[TokenInfo]]:
    """The tokens of each logical line: a statement, or the header of a compound one. Comments are
    left out; a number is `0`, and a string has only its prefix and quotes, `f"..."`.

    Raises:
        SyntaxError, tokenize.TokenError: for what is not Python.
    """
    line, opened = list[TokenInfo](), list[TokenInfo]()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in OPENS:
            opened.append(token)
        elif token.type in CLOSES:
            first = opened.pop()
            if not opened:
                line.append(_without_content(first._replace(type=STRING, end=token.end)))
        elif opened:
            continue
        elif token.type == tokenize.NEWLINE:
            yield line
            line = []
        elif _is_stray(token):
            raise SyntaxError(f"{token.string!r} is no token", ("", *token.start, token.line))
        elif token.type in (NAME, NUMBER, OP, STRING):
            line.append(_without_content(token))


def _is_stray(token: TokenInfo) -> bool:
    """Whether it is a character such as `$`, which is an operator from Python 3.12 on."""
    if token.type == OP:
        return token.string not in tokenize.EXACT_TOKEN_TYPES
    return token.type == tokenize.ERRORTOKEN and not token.string.isspace()


def _without_content(token: TokenInfo) -> TokenInfo:
    if token.type == NUMBER:
        return token._replace(string="0")
    if token.type == STRING:
        match = re.match(r"""([a-z]*)('''|\"""|'|")""", token.string, re.IGNORECASE)
        prefix, quotes = match.groups() if match else ("", "'")
        return token._replace(string=f"{prefix.lower()}{quotes}...{quotes}")
    return token


# ---------------------------------------------------------------- roles


def roles(source: str, tokens: Sequence[TokenInfo]) -> list[str]:
    """One of `ROLES` for each token of the source.

    Raises:
        SyntaxError, ValueError, RecursionError: for what Python cannot compile.
    """
    with warnings.catch_warnings(action="ignore"):  # of what the source does, such as "\d"
        reader = _Reader(source, tokens)
        reader.visit(ast.parse(source))
    return [reader.found.get(index, _by_neighbours(tokens, index)) for index in range(len(tokens))]


def _by_neighbours(tokens: Sequence[TokenInfo], index: int) -> str:
    """The role of a token that is neither an expression nor a parameter."""
    token = tokens[index]
    if token.type != NAME or keyword.iskeyword(token.string):
        return "other"
    before = tokens[index - 1].string if index else ""
    after = tokens[index + 1].string if index + 1 < len(tokens) else ""
    if before in ("def", "class", "as", "*", "**"):  # the last two in a pattern
        return "assigned"
    if after == "=":
        return "argument"
    if before == ".":
        return "attribute"
    return "other" if keyword.issoftkeyword(token.string) else "name"


class _Reader(ast.NodeVisitor):
    """Finds the role of what is an expression or a parameter.

    Args:
        source, tokens: the tree to visit is of this source, which has these tokens.
    """

    def __init__(self, source: str, tokens: Sequence[TokenInfo]) -> None:
        self.found: dict[int, str] = {}  # the role of the token with this index
        self.lines, self.starts = source.split("\n"), [token.start for token in tokens]

    def first(self, node: Any) -> int:
        """The index of the first token of a node."""
        return self._at(node.lineno, node.col_offset)

    def after(self, node: Any) -> int:
        """The index of the token after a node."""
        return self._at(node.end_lineno, node.end_col_offset)

    def _at(self, line: int, offset: int) -> int:
        text = self.lines[line - 1]  # the tree counts bytes, and tokens count characters
        column = offset if text.isascii() else len(text.encode()[:offset].decode())
        return bisect_left(self.starts, (line, column))

    def visit_Name(self, node: ast.Name) -> None:
        bound = isinstance(node.ctx, ast.Store)
        self.found[self.first(node)] = "assigned" if bound else "name"

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.visit(node.value)
        self.found[self.after(node) - 1] = "attribute"

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name | ast.Attribute):
            self.found[self.after(node.func) - 1] = "call"

    def visit_arg(self, node: ast.arg) -> None:
        self.found[self.first(node)] = "parameter"
        self.generic_visit(node)

    def visit_JoinedStr(self, node: ast.AST) -> None:
        """The names in an f-string are not tokens."""

    visit_TemplateStr = visit_JoinedStr

    def visit_MatchAs(self, node: ast.MatchAs) -> None:
        if node.name is not None and node.pattern is None:
            self.found[self.first(node)] = "assigned"
        self.generic_visit(node)

    def visit_alias(self, node: ast.alias) -> None:
        if node.name != "*":
            self.found[self.first(node)] = "name" if node.asname else "assigned"

    def visit_TypeVar(self, node: Any) -> None:
        starred = type(node).__name__ != "TypeVar"
        self.found[self.first(node) + starred] = "parameter"
        self.generic_visit(node)

    visit_TypeVarTuple = visit_ParamSpec = visit_TypeVar
