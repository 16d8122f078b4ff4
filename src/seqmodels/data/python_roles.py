"""What each token of Python source is, by the syntax tree and the scopes of names."""
# ruff: noqa: N802, N815 (`ast` calls methods by the names of its nodes)

from __future__ import annotations

import ast
import keyword
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

from seqmodels.data.python_scopes import ScopedVisitor
from seqmodels.data.python_tokens import Token

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


class _Reader(ScopedVisitor):
    """Visits what gives tokens a role."""

    # expressions

    def visit_Name(self, node: ast.Name) -> None:
        if not isinstance(node.ctx, ast.Load):
            self.scope.bind(node.id)
        if self.forced:
            self.mark(self.index(node), self.forced)
        else:
            self.name(self.index(node), node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.mark(self.end(node) - 1, self.forced or "attribute")
        self.visit(node.value)

    def visit_Call(self, node: ast.Call) -> None:
        self.visit(node.func)
        if isinstance(node.func, ast.Name):
            self.called.add(self.starts[self.index(node.func)])
        elif isinstance(node.func, ast.Attribute) and not self.forced:
            self.mark(self.end(node.func) - 1, "method")
        self.visit_all([*node.args, *node.keywords])

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg is not None:
            self.mark(self.index(node), "argument")
        self.visit(node.value)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        scope = self.scope
        while scope.kind == "comprehension" and scope.parent is not None:
            scope = scope.parent
        scope.bind(node.target.id)
        self.name(self.index(node.target), node.target.id, scope)
        self.visit(node.value)

    def visit_JoinedStr(self, node: ast.AST) -> None:
        # one token: of what is in it, only assignments matter
        for part in ast.walk(node):
            if isinstance(part, ast.NamedExpr):
                self.scope.bind(part.target.id)

    visit_TemplateStr = visit_JoinedStr

    def _comprehension(self, node: Any) -> None:
        first = node.generators[0]
        self.visit(first.iter)
        with self.within("comprehension"):
            for generator in node.generators:
                self.visit(generator.target)
                self.visit_all([None if generator is first else generator.iter, *generator.ifs])
            names = ("key", "value", "elt")
            self.visit_all(getattr(node, name, None) for name in names)

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.visit_all([*node.args.defaults, *node.args.kw_defaults])
        with self.within("function"):
            self._parameters(node.args)
            self.visit(node.body)

    # definitions

    def _decorators(self, node: Any) -> None:
        for decorator in node.decorator_list:
            call = decorator if isinstance(decorator, ast.Call) else None
            with self.forcing("decorator"):
                self.visit(call.func if call else decorator)
            if call:
                self.visit_all([*call.args, *call.keywords])

    @contextmanager
    def _type_parameters(self, node: Any) -> Iterator[None]:
        given = getattr(node, "type_params", [])  # from Python 3.12 on
        if not given:
            yield
            return
        with self.within("function"):
            for parameter in given:
                self.scope.bind(parameter.name, "type")
                index = self.index(parameter)
                self.mark(index + (self.tokens[index].kind == "operator"), "type")
                with self.forcing("type"):
                    self.generic_visit(parameter)
            yield

    def visit_FunctionDef(self, node: Any) -> None:
        self.scope.bind(node.name)
        index = self.index(node)
        self.mark(index + 1 + (self.tokens[index].text == "async"), "function")
        self._decorators(node)
        self.visit_all([*node.args.defaults, *node.args.kw_defaults])
        with self._type_parameters(node):
            with self.forcing("type"):
                self.visit_all([*(each.annotation for each in _all(node.args)), node.returns])
            with self.within("function"):
                self._parameters(node.args)
                self.visit_all(node.body)

    visit_AsyncFunctionDef = visit_FunctionDef

    def _parameters(self, arguments: ast.arguments) -> None:
        for each in _all(arguments):
            self.scope.bind(each.arg)
            self.mark(self.index(each), "parameter")

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.scope.bind(node.name)
        self.mark(self.index(node) + 1, "class")
        self._decorators(node)
        with self._type_parameters(node):
            self.visit_all([*node.bases, *node.keywords])
            with self.within("class"):
                self.visit_all(node.body)

    # statements

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        with self.forcing("type"):
            self.visit(node.annotation)
        self.visit_all([node.target, node.value])

    def visit_TypeAlias(self, node: Any) -> None:
        self.scope.bind(node.name.id)
        with self.forcing("type"):
            self.visit(node.name)
            with self._type_parameters(node):
                self.visit(node.value)

    def visit_Import(self, node: Any) -> None:
        for alias in node.names:
            self.scope.bind(alias.asname or alias.name.partition(".")[0], "import")
        for index in range(self.index(node), self.end(node)):
            token = self.tokens[index]
            if token.kind == "name" and not keyword.iskeyword(token.text):
                self.mark(index, "import")

    visit_ImportFrom = visit_Import

    def visit_Global(self, node: ast.Global | ast.Nonlocal) -> None:
        module = isinstance(node, ast.Global)
        (self.scope.module if module else self.scope.elsewhere).update(node.names)
        for index in range(self.index(node) + 1, self.end(node)):
            if self.tokens[index].kind == "name":
                self.mark(index, "global" if module else "local")

    visit_Nonlocal = visit_Global

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name is not None and node.type is not None:
            index = self.end(node.type)
            while self.tokens[index].text != "as":  # after a closing parenthesis
                index += 1
            self._bound_at(index + 1, node.name)
        self.generic_visit(node)

    # patterns

    def _bound_at(self, index: int, name: str) -> None:
        self.scope.bind(name)
        self.name(index, name)

    def visit_MatchAs(self, node: ast.MatchAs | ast.MatchStar) -> None:
        if node.name is not None:
            self._bound_at(self.end(node) - 1, node.name)
        self.generic_visit(node)

    visit_MatchStar = visit_MatchAs

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        if node.rest is not None:
            index = self.end(node) - 1
            while self.tokens[index].text != "**":
                index -= 1
            self._bound_at(index + 1, node.rest)
        self.generic_visit(node)

    def visit_MatchClass(self, node: ast.MatchClass) -> None:
        for pattern in node.kwd_patterns:
            index = self.index(pattern)
            while self.tokens[index].text != "=":  # before an opening parenthesis
                index -= 1
            self.mark(index - 1, "attribute")
        self.generic_visit(node)


def _all(arguments: ast.arguments) -> list[ast.arg]:
    one = (arguments.vararg, arguments.kwarg)
    several = (arguments.posonlyargs, arguments.args, arguments.kwonlyargs)
    return [*chain(*several), *(each for each in one if each is not None)]
