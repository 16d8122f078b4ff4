"""A file as it is written: its names, what each of them is set to, and what it says of padding."""

from __future__ import annotations

import ast
import re
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

# Names of the lengths of rows.
LENGTHS = re.compile(r"(x_|seq_?|text_?|input_?|src_?|sequence_?|sent_?)?(lens|lengths)")
# The names by which a file says that its rows are padded.
PADDING_NAMES = re.compile(
    r"pad_sequence|pad_packed_sequence|pack_padded_sequence|pad_sequences|padding_idx|padding_value"
    rf"|{LENGTHS.pattern}|pad_(idx|id|index|value|token|token_id)|PAD(_\w+)?"
)
FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef
LOOP = ast.For | ast.AsyncFor | ast.While
# The attributes of a statement that hold other statements.
BLOCKS = ("body", "handlers", "orelse", "finalbody", "cases")
EXPRESSION_WITH_NAMES = ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
# A branch with one of these may read another tensor than the other branch.
READS = ast.Subscript | ast.Call | ast.Return
# Methods that return their tensor or module with the axes and columns that it had.
UNCHANGING_METHODS = {"clone", "contiguous", "cpu", "cuda", "detach", "double", "eval", "float"}
UNCHANGING_METHODS |= {"half", "index_select", "to", "train"}

# The value that each target of a file is set to; None for what is no expression.
ValuesByTarget = dict[ast.AST, ast.expr | None]


class Scope:
    """The names of a file, class, function or expression, each with all values that it is set to.

    A value is None where a name is set to what is no expression, as by an import. An attribute such
    as `self.rnn` is a name of its class, or of the class that this one inherits from.
    """

    def __init__(self, node: ast.AST, outer: Scope | None = None, base: Scope | None = None):
        self.name: str = getattr(node, "name", "")
        self.is_class = isinstance(node, ast.ClassDef)
        self.outer = outer
        self.base = base
        self.values_by_name: dict[str, list[ast.expr | None]] = {}

    def add(self, name: str, value: ast.expr | None) -> None:
        """Notes one more value of a name."""
        unwrapped_value = without_unchanging_calls(value)
        if unwrapped_value is not value and ast.unparse(unwrapped_value) == name:
            return  # It stays what it was, as in `x = x.to(device)`.
        scope = self
        if "." in name:
            scope = self._class_around() or self
        scope.values_by_name.setdefault(name, []).append(value)

    def _class_around(self) -> Scope | None:
        scope: Scope | None = self
        while scope is not None and not scope.is_class:
            scope = scope.outer
        return scope

    def scope_of(self, name: str) -> Scope:
        """The scope that sets a name, or the file's. A method doesn't see names of its class."""
        is_attribute = "." in name
        if name in self.values_by_name and (is_attribute or not self.is_class):
            return self
        next_scope = self.outer
        if is_attribute and self.base is not None:
            next_scope = self.base
        if next_scope is None:
            return self
        return next_scope.scope_of(name)

    def values_of(self, name: str) -> list[ast.expr | None]:
        """All values that a name is set to, where it is seen from this scope."""
        return self.scope_of(name).values_by_name.get(name, [])


class Source:
    """One file: its syntax tree, and what its names stand for."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tree = ast.parse(text)
        self.nodes = list(ast.walk(self.tree))
        self.parents: dict[ast.AST, ast.AST] = {}
        for node in self.nodes:
            for child in ast.iter_child_nodes(node):
                self.parents[child] = node

        # The rules know PyTorch's names alone: `import torch.nn as tnn` makes `tnn` one of them.
        self.names_of_torch = self._names_of_torch()
        for node in self.nodes:
            if isinstance(node, ast.Name):
                node.id = self.names_of_torch.get(node.id, node.id)

        names = _names_of(self.nodes)
        self.may_be_padded = _says_padding(names, text)
        self.is_padded_on_left = _says_padding_on_left(names, text)

        self.scopes: dict[ast.AST, Scope] = {}
        # An `if` on these names decides what is read: an option that they hold has several values.
        self.deciding_names: set[str] = set()
        self._scan()

    def _names_of_torch(self) -> dict[str, str]:
        """PyTorch's name of each name that an import gives it here."""
        torch_names = {"nn": "nn"}  # A snippet may not import it.
        for node in self.nodes:
            if not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            for alias in node.names:
                name = alias.asname or alias.name
                torch_names.pop(name, None)
                if _is_of_torch(node, alias):
                    torch_names[name] = alias.name
        return torch_names

    def _scan(self) -> None:
        """Finds the scope of each node, the values of each name, and the names that decide."""
        values_by_target: ValuesByTarget = {}
        classes_by_name: dict[str, Scope] = {}
        # Outer nodes come first: an assignment is seen before its targets.
        queue: deque[tuple[ast.AST, Scope]] = deque([(self.tree, Scope(self.tree))])
        while queue:
            node, scope = queue.popleft()
            values_by_target |= _values_set_by(node)
            _add_name(node, scope, values_by_target)
            self.deciding_names |= _deciding_names(node, scope)

            inner_scope = scope
            if isinstance(node, ast.ClassDef):
                inner_scope = Scope(node, scope, _first_base(node, classes_by_name))
                classes_by_name[node.name] = inner_scope
            elif isinstance(node, FUNCTION | EXPRESSION_WITH_NAMES):
                inner_scope = Scope(node, scope)
            self.scopes[node] = inner_scope
            for child in ast.iter_child_nodes(node):
                queue.append((child, inner_scope))
        self._add_names_behind_deciding_names(values_by_target)

    def _add_names_behind_deciding_names(self, values_by_target: ValuesByTarget) -> None:
        """A number of directions may be made of a condition: the names in it decide, too."""
        for _ in range(2):
            for target, value in values_by_target.items():
                if value is None or isinstance(value, ast.Call):
                    continue
                if last_name(target) in self.deciding_names:
                    self.deciding_names.update(names_in(value))

    def constant(self, node: ast.AST, depth: int = 3) -> Any:
        """The value of a constant, or of a name that is set to one constant alone; else None.

        Args:
            depth: how many names may stand between a name and its constant.
        """
        if isinstance(node, ast.Constant | ast.UnaryOp):
            with suppress(ValueError):
                return ast.literal_eval(node)
        scope = self.scopes.get(node)
        name = last_name(node)
        if scope is None or depth == 0 or name == "" or name in self.deciding_names:
            return None
        constants = []
        for value in scope.values_of(ast.unparse(node)):
            if value is None:
                return None
            constants.append(self.constant(value, depth - 1))
        if constants and all(constant == constants[0] for constant in constants):
            return constants[0]
        return None


def _is_of_torch(node: ast.Import | ast.ImportFrom, alias: ast.alias) -> bool:
    """Whether an import takes a name from `torch`, or a module of it."""
    if isinstance(node, ast.Import):
        return alias.name == "torch" or alias.name.startswith("torch.")
    if node.level > 0 or not node.module:
        return False
    return node.module == "torch" or node.module.startswith("torch.")


def _names_of(nodes: list[ast.AST]) -> set[str]:
    """All names of variables, arguments and attributes."""
    names: set[str] = set()
    for node in nodes:
        for attribute in ("id", "arg", "attr"):
            name = getattr(node, attribute, None)
            if name:
                names.add(name)
    return names


def _says_padding(names: set[str], text: str) -> bool:
    """Whether a file says that its rows are padded: by a name, or by a token such as `"<pad>"`."""
    if any(PADDING_NAMES.fullmatch(name) for name in names):
        return True
    return re.search(r"[\"'][<\[]pad[>\]][\"']", text, re.IGNORECASE) is not None


def _says_padding_on_left(names: set[str], text: str) -> bool:
    """Whether a file says that its rows are padded on the left: they end in their last token."""
    if re.search(r"padding(_side)?\s*=\s*[\"'](pre|left)", text):
        return True
    # Keras pads there unless it is told otherwise.
    return "pad_sequences" in names and not re.search("[\"']post", text)


def _values_set_by(node: Any) -> ValuesByTarget:
    """What an assignment, a keyword or the defaults of a function set, by their targets."""
    if isinstance(node, ast.Assign):
        return dict.fromkeys(node.targets, node.value)
    if isinstance(node, ast.AnnAssign | ast.NamedExpr):
        return {node.target: node.value}
    if isinstance(node, ast.keyword):
        return {node: node.value}
    if isinstance(node, ast.arguments):
        # Defaults belong to the last of the arguments that are given by their position.
        arguments = reversed([*node.posonlyargs, *node.args])
        values_by_target: ValuesByTarget = {}
        values_by_target.update(zip(arguments, reversed(node.defaults), strict=False))
        values_by_target.update(zip(node.kwonlyargs, node.kw_defaults, strict=True))
        return values_by_target
    return {}


def _add_name(node: ast.AST, scope: Scope, values_by_target: ValuesByTarget) -> None:
    """Adds the name that a node sets, if it sets one, to its scope."""
    if isinstance(node, ast.arg):
        scope.add(node.arg, values_by_target.get(node))
        return
    if isinstance(getattr(node, "ctx", None), ast.Store | ast.Del):
        scope.add(ast.unparse(node), values_by_target.get(node))
        return
    # An import, a function, a class or an exception has a name.
    name = getattr(node, "asname", None) or getattr(node, "name", None)
    if isinstance(name, str):
        scope.add(name, None)


def _deciding_names(node: ast.AST, scope: Scope) -> set[str]:
    """The names in the condition of an `if` that reads something, and those of what a class passes
    to its base, which may decide there."""
    if isinstance(node, ast.If | ast.IfExp) and scope.name != "__init__":
        for branch in ast.iter_child_nodes(node):
            if branch is not node.test and any(isinstance(n, READS) for n in ast.walk(branch)):
                return set(names_in(node.test))
    # super().__init__(bidirectional=True)
    if isinstance(node, ast.Call) and last_name(node.func) == "__init__":
        return {str(keyword.arg) for keyword in node.keywords}
    return set()


def _first_base(node: ast.ClassDef, classes_by_name: dict[str, Scope]) -> Scope | None:
    """The first base of a class that the file defines."""
    for base in node.bases:
        scope = classes_by_name.get(last_name(base))
        if scope is not None:
            return scope
    return None


def last_name(node: ast.AST) -> str:
    """The last name of a dotted one: `softmax` of `F.softmax`; empty for other expressions."""
    for attribute in ("attr", "id", "arg"):
        name: str | None = getattr(node, attribute, None)
        if name:
            return name
    return ""


def names_in(node: ast.AST) -> Iterator[str]:
    """All names in an expression; of dotted ones, each name that is behind a dot, too."""
    for inner_node in ast.walk(node):
        if isinstance(inner_node, ast.Name | ast.Attribute):
            yield last_name(inner_node)


def is_name_of_lengths(name: str) -> bool:
    """Whether a file calls the lengths of rows so."""
    return LENGTHS.fullmatch(name) is not None


def entries_of(index: ast.expr) -> list[ast.expr]:
    """The indices of a subscript: `:` and `-1` of `output[:, -1]`."""
    if isinstance(index, ast.Tuple):
        return index.elts
    return [index]


def unpacked(arguments: list[ast.expr]) -> list[ast.expr]:
    """The arguments; or the entries of a tuple that is the only one, as in `view((2, 3))`."""
    if len(arguments) == 1 and isinstance(arguments[0], ast.Tuple | ast.List):
        return arguments[0].elts
    return arguments


def keywords_of(node: ast.Call) -> dict[str | None, ast.expr]:
    """The arguments that a call gives by their names; None is the name of `**options`."""
    return {keyword.arg: keyword.value for keyword in node.keywords}


def without_unchanging_calls(node: Any) -> Any:
    """`x` of `x.to(device)`."""
    while isinstance(node, ast.Call) and getattr(node.func, "attr", "") in UNCHANGING_METHODS:
        node = node.func.value  # type: ignore[attr-defined]
    return node
