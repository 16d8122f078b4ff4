"""Find where a name is defined, in the source of modules that are not imported."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

FAR = 20  # names that refer to names; more is a circle


@dataclass(frozen=True, eq=False)
class Source:
    """A module's syntax tree.

    Args:
        name: its full name.
        package: the one that relative imports in it start from.
    """

    name: str
    package: str
    tree: ast.Module

    def definition(self, name: str, depth: int = 0) -> Place | None:
        """Where `name` of this module is defined, here or in another module; None if unknown."""
        if depth > FAR:
            return None
        for node in self.statements:
            match node:
                case ast.ClassDef() | ast.FunctionDef() if node.name == name:
                    return Place(self, node)
                case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
                    return self._assigned(value, depth)
                case ast.AnnAssign(target=ast.Name(id=target), value=ast.expr() as value):
                    if target == name:
                        return self._assigned(value, depth)
                case ast.ImportFrom(names=aliases):
                    for alias in aliases:
                        if name == (alias.asname or alias.name):
                            return find(f"{self._absolute(node)}.{alias.name}", depth + 1)
                case ast.Import(names=aliases):
                    for alias in aliases:
                        if name == (alias.asname or alias.name.partition(".")[0]):
                            return _module(alias.name if alias.asname else name)
        for node in self.statements:
            if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
                found = find(f"{self._absolute(node)}.{name}", depth + 1)
                if found is not None:
                    return found
        return None

    @cached_property
    def statements(self) -> list[ast.stmt]:
        """Those of the module, also inside of `if`, `try` and `with`."""
        return [*_statements(self.tree.body)]

    @cached_property
    def imported(self) -> dict[str, str]:
        """The full name of each name that is imported here."""
        found: dict[str, str] = {}
        for node in self.statements:
            if isinstance(node, ast.ImportFrom | ast.Import):
                of = f"{self._absolute(node)}." if isinstance(node, ast.ImportFrom) else ""
                for alias in node.names:
                    found.setdefault(alias.asname or alias.name, of + alias.name)
        return found

    def find(self, expression: ast.expr) -> Place | None:
        """Where what a name or a dotted name in this module stands for is defined."""
        if isinstance(expression, ast.Name):
            return self.definition(expression.id)
        if isinstance(expression, ast.Attribute):
            owner = self.find(expression.value)
            if owner is not None and owner.node is owner.source.tree:
                return owner.source.definition(expression.attr) or find(
                    f"{owner.source.name}.{expression.attr}"
                )
        return None

    def _assigned(self, value: ast.expr, depth: int) -> Place | None:
        if isinstance(value, ast.Name):  # another name for the same thing
            return self.definition(value.id, depth + 1) or Place(self, value)
        return Place(self, value)

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        package = self.package.split(".")
        base = package[: len(package) - node.level + 1]
        return ".".join([*base, *([node.module] if node.module else [])])


@dataclass(frozen=True)
class Place:
    """A definition, and the module that it is in; of a module, its whole tree."""

    source: Source
    node: ast.AST


def find(path: str, depth: int = 0) -> Place | None:
    """Where the class, the alias or the module of this full name is defined; None if unknown."""
    if module := _module(path):
        return module
    owner, _, name = path.rpartition(".")
    if not owner or depth > FAR:
        return None
    if module := _module(owner):
        return module.source.definition(name, depth + 1)
    return None


def sources_in(package: str) -> Iterator[Source]:
    """The modules of a package; or the one module, if it is none."""
    spec = _spec(package)
    if spec is None:
        return
    if (own := read(package)) is not None:
        yield own
    for folder in spec.submodule_search_locations or ():
        for file in sorted(Path(folder).glob("*.py")):
            if file.stem != "__init__" and (source := read(f"{package}.{file.stem}")):
                yield source


def _module(name: str) -> Place | None:
    source = read(name)
    return None if source is None else Place(source, source.tree)


def read(name: str) -> Source | None:
    """The module of this name; None if there is none, or none written in Python."""
    spec = _spec(name)
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return None
    file = Path(spec.origin)
    try:
        return _parsed(name, file, file.stat().st_mtime_ns, bool(spec.submodule_search_locations))
    except (OSError, SyntaxError, ValueError):  # the import says what is wrong with it
        return None


@cache
def _parsed(name: str, file: Path, changed: int, is_package: bool) -> Source:
    package = name if is_package else name.rpartition(".")[0]
    return Source(name, package, ast.parse(file.read_bytes()))


def _spec(name: str) -> ModuleSpec | None:
    """As `importlib.util.find_spec`, which would import the packages that the module is in."""
    top, *rest = name.split(".")
    if not top.isidentifier():
        return None
    try:
        if "" in sys.path:
            spec = importlib.util.find_spec(top)
        else:  # a module in the current directory, as `import_module` finds it
            spec = PathFinder.find_spec(top, [""]) or importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    path = top
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        path = f"{path}.{part}"
        spec = PathFinder.find_spec(path, list(spec.submodule_search_locations))
    return spec


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Also those inside of `if`, `try` and `with`."""
    for node in body:
        yield node
        for field in ("body", "orelse", "finalbody"):
            if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield from _statements(getattr(node, field, []))
        for handler in getattr(node, "handlers", []):
            yield from _statements(handler.body)
