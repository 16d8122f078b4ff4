"""What each token of Python source is, by the syntax tree and the scopes of names."""

from __future__ import annotations

import ast
import builtins
import keyword
import warnings
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from seqmodels.data.python_tokens import Position, Token

CONSTANTS = ("None", "True", "False")
BUILTINS = frozenset(dir(builtins))
ROLES = {
    "argument": "the name of a keyword argument, in a call",
    "attribute": "after a dot, and what a class defines in its body",
    "builtin": "a name of Python's own",
    "call": "a name that is called, unless it is Python's own",
    "class": "the name of a class, where it is defined",
    "constant": "None, True, False",
    "decorator": "the name of a decorator",
    "function": "the name of a function or method, where it is defined",
    "global": "a name of the module",
    "import": "in an import statement, and a name that comes from one",
    "keyword": "also match, case and type where they are keywords",
    "local": "a name of a function, its parameters included",
    "method": "a called attribute",
    "number": "",
    "operator": "and any punctuation",
    "parameter": "of a function, where it is defined",
    "string": "of any kind",
    "type": "in an annotation",
}


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


def roles(source: str, tokens: Sequence[Token]) -> list[str]:
    """One of `ROLES` for each token of the source.

    Raises:
        SyntaxError, ValueError, RecursionError: for what Python cannot compile.
    """
    with warnings.catch_warnings(action="ignore"):  # of what the source does, such as "\d"
        tree = ast.parse(source)
    reader = _Reader(source, tokens)
    reader.visit(tree)
    return reader.found()


class _Reader(ast.NodeVisitor):
    """Notes the roles that follow from the syntax, and the scope of every other name."""

    def __init__(self, source: str, tokens: Sequence[Token]) -> None:
        self.lines, self.tokens = source.split("\n"), tokens
        self.starts = [token.start for token in tokens]
        self.known: dict[Position, str] = {}
        self.names: dict[Position, tuple[str, Scope]] = {}
        self.called: set[Position] = set()
        self.scope = Scope("module")
        self.forced: str | None = None  # the role of all names in this part

    def found(self) -> list[str]:
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

    def _place(self, line: int, offset: int) -> Position:
        text = self.lines[line - 1]  # the tree counts bytes, and tokens count characters
        return line, offset if text.isascii() else len(text.encode()[:offset].decode())

    def _index(self, node: Any) -> int:
        return bisect_left(self.starts, self._place(node.lineno, node.col_offset))

    def _end(self, node: Any) -> int:
        """The index of the token after the node."""
        return bisect_left(self.starts, self._place(node.end_lineno, node.end_col_offset))

    def _mark(self, index: int, role: str) -> None:
        self.known[self.starts[index]] = role

    def _name(self, index: int, name: str, scope: Scope | None = None) -> None:
        self.names[self.starts[index]] = name, scope or self.scope

    # scopes

    @contextmanager
    def _within(self, kind: str) -> Iterator[None]:
        outer, self.scope = self.scope, Scope(kind, self.scope)
        yield
        self.scope = outer

    @contextmanager
    def _forcing(self, role: str | None) -> Iterator[None]:
        before, self.forced = self.forced, role
        yield
        self.forced = before

    def _visit_all(self, nodes: Iterable[ast.AST | None]) -> None:
        for node in nodes:
            if node is not None:
                self.visit(node)

    # expressions

    def visit_Name(self, node: ast.Name) -> None:
        if not isinstance(node.ctx, ast.Load):
            self.scope.bind(node.id)
        if self.forced:
            self._mark(self._index(node), self.forced)
        else:
            self._name(self._index(node), node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self._mark(self._end(node) - 1, self.forced or "attribute")
        self.visit(node.value)

    def visit_Call(self, node: ast.Call) -> None:
        self.visit(node.func)
        if isinstance(node.func, ast.Name):
            self.called.add(self.starts[self._index(node.func)])
        elif isinstance(node.func, ast.Attribute) and not self.forced:
            self._mark(self._end(node.func) - 1, "method")
        self._visit_all([*node.args, *node.keywords])

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg is not None:
            self._mark(self._index(node), "argument")
        self.visit(node.value)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        scope = self.scope
        while scope.kind == "comprehension" and scope.parent is not None:
            scope = scope.parent
        scope.bind(node.target.id)
        self._name(self._index(node.target), node.target.id, scope)
        self.visit(node.value)

    def visit_JoinedStr(self, node: ast.AST) -> None:
        # one token: of what is in it, only assignments matter
        for part in ast.walk(node):
            if isinstance(part, ast.NamedExpr):
                self.scope.bind(part.target.id)

    visit_TemplateStr = visit_JoinedStr  # noqa: N815

    def _comprehension(self, node: Any) -> None:
        first = node.generators[0]
        self.visit(first.iter)
        with self._within("comprehension"):
            for generator in node.generators:
                self.visit(generator.target)
                self._visit_all([None if generator is first else generator.iter, *generator.ifs])
            names = ("key", "value", "elt")
            self._visit_all(getattr(node, name, None) for name in names)

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension  # noqa: N815

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._visit_all([*node.args.defaults, *node.args.kw_defaults])
        with self._within("function"):
            self._parameters(node.args)
            self.visit(node.body)

    # definitions

    def _decorators(self, node: Any) -> None:
        for decorator in node.decorator_list:
            call = decorator if isinstance(decorator, ast.Call) else None
            with self._forcing("decorator"):
                self.visit(call.func if call else decorator)
            if call:
                self._visit_all([*call.args, *call.keywords])

    @contextmanager
    def _type_parameters(self, node: Any) -> Iterator[None]:
        given = getattr(node, "type_params", [])  # from Python 3.12 on
        if not given:
            yield
            return
        with self._within("function"):
            for parameter in given:
                self.scope.bind(parameter.name, "type")
                index = self._index(parameter)
                self._mark(index + (self.tokens[index].kind == "operator"), "type")
                with self._forcing("type"):
                    self.generic_visit(parameter)
            yield

    def visit_FunctionDef(self, node: Any) -> None:
        self.scope.bind(node.name)
        index = self._index(node)
        self._mark(index + 1 + (self.tokens[index].text == "async"), "function")
        self._decorators(node)
        self._visit_all([*node.args.defaults, *node.args.kw_defaults])
        with self._type_parameters(node):
            with self._forcing("type"):
                self._visit_all([*(each.annotation for each in _all(node.args)), node.returns])
            with self._within("function"):
                self._parameters(node.args)
                self._visit_all(node.body)

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def _parameters(self, arguments: ast.arguments) -> None:
        for each in _all(arguments):
            self.scope.bind(each.arg)
            self._mark(self._index(each), "parameter")

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.scope.bind(node.name)
        self._mark(self._index(node) + 1, "class")
        self._decorators(node)
        with self._type_parameters(node):
            self._visit_all([*node.bases, *node.keywords])
            with self._within("class"):
                self._visit_all(node.body)

    # statements

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        with self._forcing("type"):
            self.visit(node.annotation)
        self._visit_all([node.target, node.value])

    def visit_TypeAlias(self, node: Any) -> None:
        self.scope.bind(node.name.id)
        with self._forcing("type"):
            self.visit(node.name)
            with self._type_parameters(node):
                self.visit(node.value)

    def visit_Import(self, node: Any) -> None:
        for alias in node.names:
            self.scope.bind(alias.asname or alias.name.partition(".")[0], "import")
        for index in range(self._index(node), self._end(node)):
            token = self.tokens[index]
            if token.kind == "name" and not keyword.iskeyword(token.text):
                self._mark(index, "import")

    visit_ImportFrom = visit_Import  # noqa: N815

    def visit_Global(self, node: ast.Global | ast.Nonlocal) -> None:
        module = isinstance(node, ast.Global)
        (self.scope.module if module else self.scope.elsewhere).update(node.names)
        for index in range(self._index(node) + 1, self._end(node)):
            if self.tokens[index].kind == "name":
                self._mark(index, "global" if module else "local")

    visit_Nonlocal = visit_Global  # noqa: N815

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name is not None and node.type is not None:
            index = self._end(node.type)
            while self.tokens[index].text != "as":  # after a closing parenthesis
                index += 1
            self._bound_at(index + 1, node.name)
        self.generic_visit(node)

    # patterns

    def _bound_at(self, index: int, name: str) -> None:
        self.scope.bind(name)
        self._name(index, name)

    def visit_MatchAs(self, node: ast.MatchAs | ast.MatchStar) -> None:
        if node.name is not None:
            self._bound_at(self._end(node) - 1, node.name)
        self.generic_visit(node)

    visit_MatchStar = visit_MatchAs  # noqa: N815

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        if node.rest is not None:
            index = self._end(node) - 1
            while self.tokens[index].text != "**":
                index -= 1
            self._bound_at(index + 1, node.rest)
        self.generic_visit(node)

    def visit_MatchClass(self, node: ast.MatchClass) -> None:
        for pattern in node.kwd_patterns:
            index = self._index(pattern)
            while self.tokens[index].text != "=":  # before an opening parenthesis
                index -= 1
            self._mark(index - 1, "attribute")
        self.generic_visit(node)


def _all(arguments: ast.arguments) -> list[ast.arg]:
    one = (arguments.vararg, arguments.kwarg)
    several = (arguments.posonlyargs, arguments.args, arguments.kwonlyargs)
    return [*chain(*several), *(each for each in one if each is not None)]
