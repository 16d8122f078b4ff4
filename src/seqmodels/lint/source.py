"""A file as it is written: its names, what each of them is set to, and what it says of padding."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

LENGTHS = re.compile(r"(x_|seq_?|text_?|input_?|src_?|sequence_?|sent_?)?(lens|lengths)")
# The names by which a file says that its rows are padded.
PADS = re.compile(
    r"pad_sequence|pad_packed_sequence|pack_padded_sequence|pad_sequences|padding_idx|padding_value"
    rf"|{LENGTHS.pattern}|pad_(idx|id|index|value|token|token_id)|PAD(_\w+)?"
)
FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef
EXPRESSION_WITH_NAMES = ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
READS = ast.Subscript | ast.Call | ast.Return
# Calls that return what they are a method of, as far as its shape goes.
SAME = {"clone", "contiguous", "cpu", "cuda", "detach", "double", "eval", "float", "half", "to"}
SAME |= {"index_select", "train"}


class Scope:
    """A file, class, function or expression with names of its own: what each is set to, None for
    what is no expression. `self.rnn` is of the class, or of the one it inherits from."""

    def __init__(self, node: ast.AST, outer: Scope | None = None, base: Scope | None = None):
        self.outer, self.base, self.name = outer, base, getattr(node, "name", "")
        self.is_class = isinstance(node, ast.ClassDef)
        self.values: dict[str, list[ast.expr | None]] = {}

    def set(self, name: str, value: ast.expr | None) -> None:
        scope: Scope | None = self
        while "." in name and scope and not scope.is_class:
            scope = scope.outer
        unwrapped = without_same(value)
        if unwrapped is not value and ast.unparse(unwrapped) == name:
            return  # x = x.to(device)
        (scope or self).values.setdefault(name, []).append(value)

    def find(self, name: str) -> Scope:
        """The one that sets it, or the file. A method doesn't see the names of its class."""
        if name in self.values and ("." in name or not self.is_class):
            return self
        outer = self.base if self.base and "." in name else self.outer
        return outer.find(name) if outer else self


class Source:
    """One file: its syntax tree, and what its names stand for."""

    def __init__(self, text: str) -> None:
        self.text, self.tree = text, ast.parse(text)
        self.nodes = [*ast.walk(self.tree)]
        self.parents = {child: node for node in self.nodes for child in ast.iter_child_nodes(node)}
        self.names_of_torch = self._names_of_torch()
        for node in self.nodes:
            if isinstance(node, ast.Name):
                node.id = self.names_of_torch.get(node.id, node.id)
        self._look_for_padding()
        self.scopes: dict[ast.AST, Scope] = {}
        # An `if` on these names decides what is read: an option that they hold has several values.
        self.deciding_names: set[str] = set()
        self._scan()

    def _names_of_torch(self) -> dict[str, str]:
        """PyTorch's name of each name that an import gives it here."""
        names = {"nn": "nn"}  # a snippet may not import it
        for node in self.nodes:
            if not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            for imported in node.names:
                name = imported.asname or imported.name
                module = getattr(node, "module", "") or imported.name
                names.pop(name, None)
                if f"{'.' * getattr(node, 'level', 0)}{module}.".startswith("torch."):
                    names[name] = imported.name
        return names

    def _look_for_padding(self) -> None:
        names = {
            getattr(node, attribute, None)
            for node in self.nodes
            for attribute in ("id", "arg", "attr")
        }
        has_token = re.search(r"[\"'][<\[]pad[>\]][\"']", self.text, re.IGNORECASE) is not None
        self.pads = has_token or any(PADS.fullmatch(name) for name in names if name)
        # Rows that are padded on the left end in their last token; Keras' pad_sequences pads there.
        says_left = re.search(r"padding(_side)?\s*=\s*[\"'](pre|left)", self.text) is not None
        by_keras = "pad_sequences" in names and not re.search("[\"']post", self.text)
        self.pads_left = says_left or by_keras

    def _scan(self) -> None:
        """Finds the scope of each node, what it sets, and the names that decide what is read."""
        values: dict[ast.AST, ast.expr | None] = {}
        classes: dict[str, Scope] = {}
        ahead: list[tuple[Any, Scope]] = [(self.tree, Scope(self.tree))]
        for node, scope in ahead:
            values |= _values_set_by(node)
            self._set_name(node, scope, values)
            self._note_deciding_names(node, scope)
            inner = scope
            if isinstance(node, ast.ClassDef | FUNCTION | EXPRESSION_WITH_NAMES):
                bases = [classes.get(last_name(base)) for base in getattr(node, "bases", ())]
                inner = Scope(node, scope, next(filter(None, bases), None))
                if inner.is_class:
                    classes[inner.name] = inner
            self.scopes[node] = inner
            ahead += [(child, inner) for child in ast.iter_child_nodes(node)]
        # A number of directions may be made of a condition: so are the names that it is made of.
        for _ in range(2):
            for target, value in values.items():
                is_deciding = last_name(target) in self.deciding_names
                if is_deciding and value and not isinstance(value, ast.Call):
                    self.deciding_names |= {*names_in(value)}

    def _set_name(
        self, node: ast.AST, scope: Scope, values: dict[ast.AST, ast.expr | None]
    ) -> None:
        name = getattr(node, "asname", None) or getattr(node, "name", None)
        if isinstance(node, ast.arg):
            scope.set(node.arg, values.get(node))
        elif isinstance(getattr(node, "ctx", None), ast.Store | ast.Del):
            scope.set(ast.unparse(node), values.get(node))
        elif isinstance(name, str):  # An import, a function, a class or an exception has one.
            scope.set(name, None)

    def _note_deciding_names(self, node: ast.AST, scope: Scope) -> None:
        if isinstance(node, ast.If | ast.IfExp) and scope.name != "__init__":
            branches = [child for child in ast.iter_child_nodes(node) if child is not node.test]
            nodes = [inner for branch in branches for inner in ast.walk(branch)]
            if any(isinstance(inner, READS) for inner in nodes):
                self.deciding_names |= {*names_in(node.test)}
        elif (
            isinstance(node, ast.Call) and last_name(node.func) == "__init__"
        ):  # super().__init__()
            self.deciding_names |= {str(keyword.arg) for keyword in node.keywords}

    def constant(self, node: ast.AST, depth: int = 3) -> Any:
        """The value of a constant, or of a name that is set to one alone; else None."""
        with suppress(ValueError):
            if isinstance(node, ast.Constant | ast.UnaryOp):
                return ast.literal_eval(node)
        scope = self.scopes.get(node)
        if scope is None or not depth or last_name(node) in {"", *self.deciding_names}:
            return None
        name = ast.unparse(node)
        constants = [
            value and self.constant(value, depth - 1)
            for value in scope.find(name).values.get(name, [])
        ]
        if constants and constants.count(constants[0]) == len(constants):
            return constants[0]
        return None


def _values_set_by(node: Any) -> dict[ast.AST, ast.expr | None]:
    """What an assignment, a keyword or a default sets, by what it sets."""
    if isinstance(node, ast.Assign):
        return dict.fromkeys(node.targets, node.value)
    if isinstance(node, ast.AnnAssign | ast.NamedExpr):
        return {node.target: node.value}
    if isinstance(node, ast.keyword):
        return {node: node.value}
    if isinstance(node, ast.arguments):
        placed = [*node.posonlyargs, *node.args]
        by_place = zip(placed[::-1], node.defaults[::-1], strict=False)
        return dict([*by_place, *zip(node.kwonlyargs, node.kw_defaults, strict=True)])
    return {}


def last_name(node: ast.AST) -> str:
    """The last part of a dotted name."""
    names = (getattr(node, attribute, None) for attribute in ("attr", "id", "arg"))
    return next(filter(None, names), "")


def names_in(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name | ast.Attribute):
            yield last_name(inner)


def without_same(node: Any) -> Any:
    """Without `.to(device)` and other calls that give what they are of."""
    while isinstance(node, ast.Call) and getattr(node.func, "attr", "") in SAME:
        node = node.func.value  # type: ignore[attr-defined]
    return node
