"""The scopes of names in Python source, and the tokens of the nodes in its syntax tree."""

from __future__ import annotations

import ast
import builtins
import keyword
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from seqmodels.data.python_tokens import Position, Token

CONSTANTS = ("None", "True", "False")
BUILTINS = frozenset(dir(builtins))


@dataclass(eq=False)
class Scope:
    """Where names are bound, and to what: `import` or `variable`.

    Args:
        kind: `module`, `class`, `function`, or `comprehension` where an assignment expression binds
            in the scope around it.
    """

    kind: str
    parent: Scope | None = None
    bound: dict[str, str] = field(default_factory=dict)
    elsewhere: set[str] = field(default_factory=set)  # declared global or nonlocal
    module: set[str] = field(default_factory=set)  # declared global

    def bind(self, name: str, to: str = "variable") -> None:
        scope = self.around(name)
        if scope.bound.get(name) != "import":
            scope.bound[name] = to

    def around(self, name: str) -> Scope:
        """The scope that an assignment to the name binds it in."""
        if name in self.module:
            return self.root
        scope = self
        while name in scope.elsewhere and scope.parent is not None:
            scope = scope.parent
        return scope

    @property
    def root(self) -> Scope:
        return self if self.parent is None else self.parent.root

    def role(self, name: str) -> str:
        """What a name is that is used here."""
        scope: Scope | None = self.root if name in self.module else self
        while scope is not None:
            if name in scope.bound and (scope.kind != "class" or scope is self):
                if scope.bound[name] != "variable":
                    return scope.bound[name]
                return {"module": "global", "class": "attribute"}.get(scope.kind, "local")
            scope = scope.parent
        return "builtin" if name in BUILTINS else "global"


class ScopedVisitor(ast.NodeVisitor):
    """Notes the role of a token, or that it is a name and in which scope. A subclass says which.

    Args:
        source, tokens: the tree that it visits is of this source, which has these tokens.
    """

    def __init__(self, source: str, tokens: Sequence[Token]) -> None:
        self.lines, self.tokens = source.split("\n"), tokens
        self.starts = [token.start for token in tokens]
        self.known: dict[Position, str] = {}
        self.names: dict[Position, tuple[str, Scope]] = {}
        self.called: set[Position] = set()
        self.scope = Scope("module")
        self.forced: str | None = None  # the role of all names in this part

    def found(self) -> list[str]:
        """The role of each token, once the tree is visited."""
        return [self._role(token) for token in self.tokens]

    def _role(self, token: Token) -> str:
        if token.kind != "name":
            return token.kind
        if token.start in self.known:
            return self.known[token.start]
        if token.start in self.names:
            name, scope = self.names[token.start]
            role = scope.role(name)
            return "call" if token.start in self.called and role != "builtin" else role
        if token.text in CONSTANTS:
            return "constant"
        if keyword.iskeyword(token.text) or keyword.issoftkeyword(token.text):
            return "keyword"
        raise ValueError(f"line {token.start[0]}: {token.text!r} has no role")

    # places

    def place(self, line: int, offset: int) -> Position:
        text = self.lines[line - 1]  # the tree counts bytes, and tokens count characters
        return line, offset if text.isascii() else len(text.encode()[:offset].decode())

    def index(self, node: Any) -> int:
        """The index of the first token of a node."""
        return bisect_left(self.starts, self.place(node.lineno, node.col_offset))

    def end(self, node: Any) -> int:
        """The index of the token after a node."""
        return bisect_left(self.starts, self.place(node.end_lineno, node.end_col_offset))

    def mark(self, index: int, role: str) -> None:
        """The token has this role."""
        self.known[self.starts[index]] = role

    def name(self, index: int, name: str, scope: Scope | None = None) -> None:
        """The token is this name, and has the role of it in this scope; None: the one here."""
        self.names[self.starts[index]] = name, scope or self.scope

    # scopes

    @contextmanager
    def within(self, kind: str) -> Iterator[None]:
        """Within: names are bound in a new scope."""
        outer, self.scope = self.scope, Scope(kind, self.scope)
        yield
        self.scope = outer

    @contextmanager
    def forcing(self, role: str | None) -> Iterator[None]:
        """Within: `self.forced`, the role of all names, is this one."""
        before, self.forced = self.forced, role
        yield
        self.forced = before

    def visit_all(self, nodes: Iterable[ast.AST | None]) -> None:
        for node in nodes:
            if node is not None:
                self.visit(node)
