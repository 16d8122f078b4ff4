"""Python files as units that can be left out: an import, a function, a class, a method."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

Function = (ast.FunctionDef, ast.AsyncFunctionDef)
Display = (ast.List, ast.Tuple, ast.Set, ast.Dict)


@dataclass(frozen=True, eq=False)
class Fact:
    """Something that a unit mentions.

    Args:
        kind: `name` (a full one, such as `package.module.Class`), `attribute`, `parameter` or
            `text` (a string).
        part: what to cut if only this mention has to go: an element of a list, or an `if` that
            ends in `return`; None: the whole unit.
    """

    kind: str
    value: str
    part: ast.AST | None


@dataclass(eq=False)
class Unit:
    """The smallest piece of a file that goes or stays as a whole."""

    file: str
    module: str
    node: ast.stmt
    names: tuple[str, ...]  # the full names that it defines
    facts: list[Fact]
    alias: ast.alias | None = None
    owner: Unit | None = None  # a method's class
    gone: bool = False
    cut: set[ast.AST] = field(default_factory=set)

    @property
    def in_tests(self) -> bool:
        return self.file.startswith("tests/")

    def mentions(self) -> Iterator[Fact]:
        """The facts that are left."""
        return (fact for fact in self.facts if fact.part not in self.cut)


def module_name(file: str) -> str:
    """`src/package/heads/__init__.py` -> `package.heads`."""
    parts = PurePosixPath(file).with_suffix("").parts
    return ".".join(part for part in parts[parts[0] == "src" :] if part != "__init__")


def read_units(file: str, source: str) -> list[Unit]:
    """The units of a file, in order."""
    body = ast.parse(source).body
    return _Reader(file, body).units


class _Reader:
    def __init__(self, file: str, body: list[ast.stmt]) -> None:
        self.file, self.module = file, module_name(file)
        self.units: list[Unit] = []
        self.modules: dict[str, str] = {}  # the name of an import -> its full name
        self.bound = set(_bound(body))
        for statement in body:
            self._read(statement)

    def _read(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                full = f"{node.module}.{alias.name}" if hasattr(node, "module") else alias.name
                name = alias.asname or alias.name
                self.modules[name] = full
                facts = [Fact("name", full, None)]
                self.units.append(
                    Unit(self.file, self.module, node, (self._full(name),), facts, alias)
                )
        elif isinstance(node, ast.If) and all(_is_import(inner) for inner in node.body):
            for inner in node.body:
                self._read(inner)
        elif isinstance(node, ast.ClassDef):
            methods = [inner for inner in node.body if isinstance(inner, Function)]
            rest = [inner for inner in ast.iter_child_nodes(node) if inner not in methods]
            owner = Unit(self.file, self.module, node, (self._full(node.name),), self._facts(*rest))
            self.units.append(owner)
            for inner in methods:
                name = self._full(f"{node.name}.{inner.name}")
                self.units.append(
                    Unit(self.file, self.module, inner, (name,), self._facts(inner), owner=owner)
                )
        elif not _is_docstring(node):
            names = tuple(map(self._full, _bound([node])))
            self.units.append(Unit(self.file, self.module, node, names, list(self._top(node))))

    def _top(self, node: ast.stmt) -> Iterator[Fact]:
        """The facts of a statement; what a name is set to may lose elements."""
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        if value is None:
            yield from self._visit(node, None)
            return
        yield from self._all([n for n in ast.iter_child_nodes(node) if n is not value], None)
        yield from self._elements(value, None)

    def _full(self, name: str) -> str:
        return f"{self.module}.{name}"

    def _facts(self, *nodes: ast.AST) -> list[Fact]:
        return list(self._all(nodes, None))

    def _visit(self, node: ast.AST, part: ast.AST | None) -> Iterator[Fact]:
        if isinstance(node, Function):
            for decorator in node.decorator_list:
                yield from self._elements(decorator, part)
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            yield from (Fact("parameter", argument.arg, part) for argument in arguments)
            yield from self._all([node.args, *filter(None, [node.returns]), *node.body], part)
            return
        if isinstance(node, ast.If) and part is None and _is_guard(node):
            part = node
        if isinstance(node, ast.Name) and node.id in self.bound:
            yield Fact("name", self._full(node.id), part)
        elif isinstance(node, ast.Attribute):
            yield Fact("attribute", node.attr, part)
            if isinstance(node.value, ast.Name) and node.value.id in self.modules:
                yield Fact("name", f"{self.modules[node.value.id]}.{node.attr}", part)
        elif isinstance(node, ast.ImportFrom):
            yield from (Fact("name", f"{node.module}.{a.name}", part) for a in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield Fact("text", node.value, part)
        yield from self._all(ast.iter_child_nodes(node), part)

    def _all(self, nodes: object, part: ast.AST | None) -> Iterator[Fact]:
        for node in nodes:  # type: ignore[attr-defined]
            if not _is_docstring(node):
                yield from self._visit(node, part)

    def _elements(self, node: ast.AST, part: ast.AST | None) -> Iterator[Fact]:
        """The facts of a decorator or a value, with the outermost elements as parts."""
        if not isinstance(node, Display) or part is not None or _is_command_line(node):
            if isinstance(node, ast.Call):
                yield from self._visit(node.func, part)
                for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
                    yield from self._elements(argument, part)
            else:
                yield from self._visit(node, part)
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                yield from self._all(filter(None, (key, value)), value)
        else:
            for element in node.elts:
                yield from self._visit(element, element)


def _bound(body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.If):
            yield from _bound(node.body)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                yield from (n.id for n in ast.walk(target) if isinstance(n, ast.Name))


def _is_import(node: ast.stmt) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_guard(node: ast.If) -> bool:
    return not node.orelse and isinstance(node.body[-1], ast.Return | ast.Raise | ast.Continue)


def _is_command_line(node: ast.AST) -> bool:
    """`("model=mlp", "trainer=cpu")` means something only as a whole."""
    elements = getattr(node, "elts", None) or [None]
    return any(
        isinstance(element, ast.Constant) and re.match(r"[\w./]+=\S", str(element.value))
        for element in elements
    )
