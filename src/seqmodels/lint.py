"""Find mistakes with recurrent networks in source code, without running it: by its syntax tree.

The linter speaks only of what it is sure of: a network that the file builds once, with options
that are written out, and of which all reading is plain. `seqmodels.audit` knows more, because it
runs the model. Each name is followed from its assignment to the next one, and forgotten where a
branch, a loop or an unknown call may have changed what it holds.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from seqmodels.errors import UserError
from seqmodels.mistakes import MISTAKES_BY_RULE

__all__ = ["Finding", "lint"]

# A comment that silences a line: `noqa`, or `noqa: E501, RNN001`, as ruff and flake8 take it.
NOQA = re.compile(r"(?i)#\s*noqa(?:\s*:\s*(?P<codes>[A-Z]+[0-9]+(?:[,\s]+[A-Z]+[0-9]+)*))?")
# The arguments of a network, by position. `nn.RNN` has its nonlinearity fourth.
OPTIONS = "input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional"
FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef
# Nodes with names of their own, which may run later, or again and again.
SCOPE = FUNCTION | ast.ClassDef | ast.Lambda
SCOPE |= ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
BODY = ast.stmt | ast.ExceptHandler | ast.match_case
LENGTHS = re.compile(r"(x_|seq_?|text_?|input_?|src_?|sequence_?|sent_?)?(lens|lengths)")
# Names by which a function may tell valid steps from padding.
MASK = re.compile(
    r"(?i).*(mask|valid|keep|where|nonzero).*|pad(_(idx|id|index|token|value))?|ne|eq|gt|lt|ge|le|bool"
)
# Rows may be padded on the left: then their last column is their last step.
LEFT = re.compile(r"(?i)left|['\"]pre['\"]|flip.*flip", re.DOTALL)
# Layers and functions that treat each step alone, and keep it in its place.
STEPWISE = re.compile(
    r"Embedding|Linear|Dropout|LayerNorm|Identity|dropout|contiguous|clone|detach|cpu|cuda|to|float|double"
    r"|half|eval|train"
)
# What gives another view of a tensor, or writes into it: who takes half of a view takes it of both.
VIEW_OR_CHANGE = re.compile(
    r"view|reshape|(un)?flatten|chunk|split|tensor_split|unbind|transpose|permute|swapaxes|movedim"
    r"|select|narrow|expand|numpy|\w+_"
)
POOLS = re.compile(r"mean|a?max|sum|(log_)?softmax")
# Attributes that tell of a network without using what it holds.
ATTRIBUTES_OF_NETWORKS = re.compile(
    r"flatten_parameters|(named_)?parameters|\w+_size|num_layers|(weight|bias)_\w+"
)


@dataclass(frozen=True)
class Finding:
    """A line with a mistake: the code of the rule that finds it, and what to say of the line."""

    path: str
    line: int
    code: str
    text: str

    @property
    def name(self) -> str:
        """A key of `MISTAKES`."""
        return MISTAKES_BY_RULE[self.code].name

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.code} {self.name}: {self.text}"


def lint(path: Path) -> list[Finding]:
    """The mistakes in a file, in the order of its lines.

    A line is silenced by `# noqa`, or by `# noqa: RNN001` from one rule.

    Raises:
        UserError: for a file that is not Python, or cannot be read.
    """
    try:
        # Python takes a byte order mark, too.
        text = path.read_text(encoding="utf-8-sig")
        reports = Source(text).reports()
    except SyntaxError as error:
        raise UserError(f"{path}:{error.lineno} is not Python: {error.msg}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error

    # A form feed ends no line for Python, but it does for str.splitlines.
    lines = text.split("\n")
    findings = []
    for line_number, code, words in sorted(reports):
        if not _is_silenced(lines[line_number - 1], code):
            sentence = MISTAKES_BY_RULE[code].rules[code].format(*words)
            findings.append(Finding(str(path), line_number, code, sentence))
    return findings


def _is_silenced(line: str, code: str) -> bool:
    comment = NOQA.search(line)
    if comment is None or comment["codes"] is None:
        return comment is not None
    return code in comment["codes"].upper()


# What an expression holds. Values are compared by identity.


@dataclass(eq=False)
class Network:
    """A recurrent network that the file builds once, and all that is read of it."""

    cell: str
    layers: Any  # None if they aren't written out
    directions: int
    # The axes of its output: BTH, TBH, or empty.
    axes: str
    reads: list[Read] = field(default_factory=list)
    # False as soon as the file does with it what the linter doesn't follow.
    is_followed: bool = True


@dataclass(frozen=True, eq=False)
class Rows:
    """What comes from an argument of the function: inputs of a network.

    Args:
        root: the argument, or another object for what is taken out of it.
        flipped_axis: the axis along which it is flipped.
    """

    root: object
    flipped_axis: int | None = None
    is_packed: bool = False


@dataclass(frozen=True, eq=False)
class Run:
    """One call of a network, on rows; None where they may be of one step."""

    network: Network
    rows: Rows | None
    has_state: bool


@dataclass(frozen=True, eq=False)
class Result:
    """`output, state` of a network, `(h_n, c_n)` of an LSTM, or what unpacking gives."""

    run: Run
    parts: tuple[Any, Any]


@dataclass(frozen=True, eq=False)
class Output:
    """The output of a network: its axes, such as `BTH`, which are empty while it is packed."""

    run: Run
    axes: str
    was_packed: bool


@dataclass(frozen=True, eq=False)
class Final:
    """`h_n` or `c_n`"""

    run: Run


@dataclass(frozen=True, eq=False)
class Read:
    """What is read of a network.

    Args:
        code: the rule that it breaks where it is wrong; empty for all of an output or state.
        is_wrong: whether it is wrong whatever else is read.
        states: the places of final states, counted from the end.
        words: what to say of it.
    """

    run: Run
    code: str
    node: ast.AST
    is_wrong: bool = False
    states: frozenset[int] = frozenset()
    words: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Size:
    """The size of an axis, or of all (None)."""

    value: Rows | Output
    axis: int | None = None


# A line, the code of a rule, and words for its sentence.
Report = tuple[int, str, tuple[str, ...]]
FromNetwork = Result | Output | Final | Read


class Source:
    """One file: what its names are set to, and what is read of its networks."""

    def __init__(self, text: str) -> None:
        self.tree = ast.parse(text)
        self.is_padded_on_left = LEFT.search(text) is not None
        self.parents: dict[ast.AST, ast.AST] = {}
        # The class around each node, or the file.
        self.classes: dict[ast.AST, Any] = {}
        # All that a name is set to in the file, and `self.name` in a class. None: no expression.
        self.values: dict[tuple[Any, str], list[Any]] = defaultdict(list)
        # Names that are set or reached from elsewhere.
        self.unsafe_names: set[str] = set()
        # PyTorch's modules and functions by the names that imports give them.
        self.torch_names = {"torch": "torch", "nn": "nn"}
        self.networks: dict[ast.AST | None, Network] = {}
        self.reported: set[Report] = set()

    def reports(self) -> set[Report]:
        """The line, the code and the words of each mistake."""
        functions: list[ast.AST] = []
        stack: list[tuple[ast.AST, ast.AST]] = [(self.tree, self.tree)]
        while stack:
            node, class_ = stack.pop()
            self.classes[node] = class_
            self._note_names(node)
            if isinstance(node, ast.ClassDef):
                class_ = node
            if isinstance(node, FUNCTION | ast.Module):
                functions.append(node)
            for child in ast.iter_child_nodes(node):
                self.parents[child] = node
                stack.append((child, class_))
        for function in functions:
            Reader(self, function).read()
        for network in self.networks.values():
            if network.is_followed and network.reads:
                judge(network, self.report)
        return self.reported

    def report(self, node: Any, code: str, *words: str) -> None:
        self.reported.add((node.lineno, code, words))

    def _note_names(self, node: Any) -> None:
        name = getattr(node, "arg", None) or getattr(node, "name", None)
        is_set = not isinstance(getattr(node, "ctx", None), ast.Load)
        if isinstance(node, ast.Attribute) and last_name(node.value) != "self":
            self.unsafe_names.add(node.attr)
        elif isinstance(node, ast.Attribute) and is_set:
            for class_ in (self.classes[node], "any"):
                self.values[class_, node.attr].append(self._value_set_to(node))
        elif isinstance(node, ast.Name) and is_set:
            self.values[None, node.id].append(self._value_set_to(node))
        elif isinstance(node, ast.alias):
            name = node.asname or node.name
            self._note_import(node, name)
        elif isinstance(node, ast.ClassDef):
            self.unsafe_names.update(map(last_name, node.bases))
        if isinstance(name, str) and not isinstance(node, ast.keyword):
            self.values[None, name].append(None)

    def _note_import(self, node: ast.alias, name: str) -> None:
        statement: Any = self.parents[node]
        module = getattr(statement, "module", node.name) or ""
        is_of_torch = module.partition(".")[0] == "torch" and not getattr(statement, "level", 0)
        self.torch_names[name] = node.name.rpartition(".")[2] if is_of_torch else ""

    def _value_set_to(self, target: ast.AST) -> ast.expr | None:
        """What an assignment sets a single target to."""
        parent = self.parents[target]
        if isinstance(parent, ast.Assign | ast.AnnAssign | ast.NamedExpr):
            return parent.value
        return None

    def value_of(self, node: ast.AST) -> ast.expr | None:
        """The one expression that `name` or `self.name` is set to."""
        name = last_name(node)
        class_: Any = None
        if isinstance(node, ast.Attribute):
            class_ = self.classes[node]
            if last_name(node.value) != "self":
                return None
            # Another class may inherit from this one, and build another network.
            if getattr(class_, "name", "") in self.unsafe_names:
                class_ = "any"
        values = self.values[class_, name]
        return values[0] if len(values) == 1 and name not in self.unsafe_names else None

    def torch_name(self, node: ast.AST) -> str:
        """`LSTM` of `nn.LSTM`: the name of what is PyTorch's; else empty."""
        name = last_name(node)
        is_dotted = isinstance(node, ast.Attribute)
        while isinstance(node, ast.Attribute):
            node = node.value
        torch_name = self.torch_names.get(last_name(node), "")
        return name if torch_name and is_dotted else torch_name

    def constructor_of(self, node: ast.AST) -> ast.Call | None:
        """The call that builds what a name stands for: of PyTorch, or of a class."""
        value: ast.AST | None = self.value_of(node)
        while isinstance(value, ast.Call) and last_name(value.func) in ("to", "cuda", "double"):
            value = getattr(value.func, "value", None)  # nn.LSTM(4, 8).to(device)
        return value if isinstance(value, ast.Call) else None

    def layer(self, node: ast.AST) -> str:
        """`Linear` where a name stands for `nn.Linear(8, 2)`; or a function of PyTorch."""
        call = self.constructor_of(node)
        return self.torch_name(node) if call is None else self.torch_name(call.func)

    def network(self, node: ast.AST) -> Network | None:
        call = self.constructor_of(node)
        cell = "" if call is None else self.torch_name(call.func)
        if call is None or call in self.networks or cell not in ("LSTM", "GRU", "RNN"):
            return self.networks.get(call)
        options = OPTIONS.split(", ")
        if cell == "RNN":
            options.insert(3, "nonlinearity")
        values: Any = dict(zip(options, call.args, strict=False))
        values.update({keyword.arg: keyword.value for keyword in call.keywords})
        is_bidirectional = self.constant(values.get("bidirectional"), False)
        has_more = None in values or any(isinstance(value, ast.Starred) for value in call.args)
        if has_more or not isinstance(is_bidirectional, bool):
            return None
        layers = self.constant(values.get("num_layers"), 1)
        axes = {True: "BTH", False: "TBH"}.get(self.constant(values.get("batch_first"), False), "")
        self.networks[call] = Network(cell, layers, 2 if is_bidirectional else 1, axes)
        return self.networks[call]

    def constant(self, node: ast.AST | None, default: Any = None) -> Any:
        """The value of a constant, or of a name that is set to one alone; else None."""
        if node is None:
            return default
        if isinstance(node, ast.Name | ast.Attribute):
            node = self.value_of(node)
        if isinstance(node, ast.Tuple | ast.List) and len(node.elts) == 1:
            node = node.elts[0]
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            number = getattr(node.operand, "value", None)
            return -number if isinstance(number, int) else None
        return node.value if isinstance(node, ast.Constant) else None


def judge(network: Network, report: Callable[..., None]) -> None:
    """Reports what is wrong in itself, or because nothing else is read of a network."""
    codes = {read.code for read in network.reads}
    for read in network.reads:
        is_alone = read.code in ("RNN001", "RNN008") and len(codes) == 1
        if read.is_wrong or (is_alone and read.run.rows is not None):
            report(read.node, read.code, *read.words)
    # The last layer's final states that are never read are lost: `output` isn't read, either.
    states = frozenset[int]().union(*[read.states for read in network.reads])
    last_layer = range(-network.directions, 0)
    missing_states = [f"h_n[{place}]" for place in last_layer if place not in states]
    if codes == {"RNN006"} and missing_states:
        first_read = network.reads[0]
        code = "RNN005" if len(first_read.states) > 1 else "RNN006"
        if code == "RNN006" and len(states) > 1:
            code = "RNN011"
        report(first_read.node, code, " and ".join(missing_states))


class Reader:
    """Reads a function, statement by statement, and notes what it reads of networks."""

    def __init__(self, source: Source, function: Any) -> None:
        self.source = source
        self.function = function
        # What names hold at this place; and what expressions of this statement hold, until the
        # expression around them takes it.
        self.names: dict[str, Any] = {}
        # What else they may hold after a branch or a loop.
        self.forgotten_values: dict[str, list[Any]] = defaultdict(list)
        self.pending: dict[Any, Any] = {}

    def read(self) -> None:
        for node in ast.iter_child_nodes(getattr(self.function, "args", self.function)):
            if isinstance(node, ast.arg) and node.arg != "self":
                self.names[node.arg] = Rows(node)
        self._read_block(self.function.body)

    @cached_property
    def nodes(self) -> list[Any]:
        return list(ast.walk(self.function))

    @cached_property
    def has_lengths(self) -> bool:
        """Whether the function is given lengths, as in `inputs, lengths = batch`, too."""
        for node in self.nodes:
            name = getattr(node, "arg", last_name(node))
            is_given = isinstance(self.source.parents.get(node), ast.arguments | ast.Tuple)
            if is_given and LENGTHS.fullmatch(name):
                return True
        return False

    @cached_property
    def is_blind(self) -> bool:
        """Whether nothing in the function could tell valid steps from padding."""
        # What packing takes of lengths tells nothing of what unpacking gives.
        packing: set[ast.AST] = set()
        for node in self.nodes:
            if isinstance(node, ast.Call) and last_name(node.func) == "pack_padded_sequence":
                packing.update(ast.walk(node))
        for node in self.nodes:
            if isinstance(node, ast.Compare) or MASK.fullmatch(last_name(node)):
                return False
            is_load = isinstance(getattr(node, "ctx", None), ast.Load)
            if is_load and node not in packing and LENGTHS.fullmatch(last_name(node)):
                return False
        return not self.source.is_padded_on_left

    @cached_property
    def names_of_scopes(self) -> set[str]:
        """The names that functions and comprehensions in this one may read at any time."""
        names: set[str] = set()
        for scope in self.nodes:
            if isinstance(scope, SCOPE) and scope is not self.function:
                names.update(map(last_name, ast.walk(scope)))
        return names

    # Statements

    def _read_block(self, statements: list[Any]) -> None:
        for statement in statements:
            blocks = [getattr(statement, name, []) for name in ("body", "orelse", "finalbody")]
            cases = getattr(statement, "handlers", []) + getattr(statement, "cases", [])
            blocks += [case.body for case in cases]
            if isinstance(statement, SCOPE) or not any(blocks):
                self._read_expressions(statement, statement)
                continue
            headers = ast.iter_child_nodes(statement)
            self._read_expressions(
                statement, *[node for node in headers if not isinstance(node, BODY)]
            )
            is_run_once = isinstance(statement, ast.With | ast.Try) and not cases
            for block in [*blocks, []]:
                if not is_run_once:
                    self._forget_names_set_in(statement)
                self._read_block(block)

    def _forget_names_set_in(self, statement: ast.stmt) -> None:
        """A name that a branch or a loop sets may hold one value or another."""
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                self.forgotten_values[node.id].append(self.names.pop(node.id, None))

    def _read_expressions(self, statement: Any, *roots: ast.AST) -> None:
        nodes: list[Any] = []
        stack = list(roots)
        while stack:
            nodes.append(stack.pop())
            if not isinstance(nodes[-1], SCOPE):
                stack.extend(ast.iter_child_nodes(nodes[-1]))
        # Inner expressions come before those around them.
        for node in reversed(nodes):
            value = self._value(node)
            if value is not None:
                self.pending[node] = value
        targets = _targets_of(statement)
        value_node = getattr(statement, "value", None)
        for target in targets:
            self._set(target, self.pending.get(value_node))
        if targets:
            self.pending.pop(value_node, None)
        for node, value in self.pending.items():
            self._settle(node, value)
        self.pending.clear()

    def _set(self, target: ast.AST, value: Any) -> None:
        """Sets the names of a target to the value, or to its parts."""
        if isinstance(target, ast.Name):
            self.names[target.id] = value
            if target.id in self.names_of_scopes:
                self._let_go(value)
        elif isinstance(target, ast.Tuple | ast.List):
            if len(target.elts) != 2:
                self._let_go(value)
            for place, name in enumerate(target.elts):
                self._set(name, _part(value, place))
        else:
            self._let_go(value)

    def _let_go(self, value: Any) -> None:
        """Something may become of a value that isn't followed."""
        if isinstance(value, FromNetwork):
            value = value.run.network
        if isinstance(value, Network):
            value.is_followed = False

    def _settle(self, node: ast.AST, value: Any) -> None:
        """Notes what becomes of a value that no expression around it has taken."""
        is_pure = self._is_pure(node)
        if isinstance(value, Read) and (is_pure or value.states):
            value.run.network.reads.append(value)
        elif is_pure and isinstance(value, FromNetwork):
            value.run.network.reads.append(Read(value.run, "", node))
        else:
            self._let_go(value)

    def _is_pure(self, node: ast.AST) -> bool:
        """Whether a value is only read, by PyTorch or a layer, or returned."""
        parent: Any = self.source.parents[node]
        while isinstance(parent, ast.Tuple | ast.List):
            parent = self.source.parents[parent]
        is_method = isinstance(parent, ast.Attribute)
        if is_method:
            parent = self.source.parents[parent]
        if not isinstance(parent, ast.Call):
            return isinstance(parent, ast.Return | ast.BinOp | ast.AugAssign) and not is_method
        if is_method or self.source.torch_name(parent.func):
            return VIEW_OR_CHANGE.fullmatch(last_name(parent.func)) is None
        return self.source.value_of(parent.func) is not None

    # Expressions

    def _value(self, node: Any) -> Any:
        if isinstance(node, SCOPE):
            self._read_scope(node)
            return None
        if isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
            read = getattr(self, f"_value_of_{type(node).__name__.lower()}", None)
            return None if read is None else read(node)
        is_changed = isinstance(self.source.parents[node], ast.AugAssign)
        if is_changed or isinstance(node, ast.Subscript):
            # inputs[:, 0] = 0, output *= mask
            name = last_name(getattr(node, "value", node))
            self._let_go(self.names.get(name))
            self.names[name] = None
        return None

    def _value_of_namedexpr(self, node: ast.NamedExpr) -> Any:
        self._set(node.target, self.pending.get(node.value))
        return self.pending.pop(node.value, None)

    def _read_scope(self, scope: ast.AST) -> None:
        """What a comprehension does with a network isn't followed."""
        # The functions in a file are read on their own.
        if not isinstance(scope, FUNCTION | ast.ClassDef):
            for node in ast.walk(scope):
                self._let_go(self.source.network(node))

    def _value_of_name(self, node: ast.Name) -> Any:
        if node.id not in self.names:
            for value in self.forgotten_values.pop(node.id, []):
                self._let_go(value)
        return self.names.get(node.id) or self.source.network(node)

    def _value_of_attribute(self, node: ast.Attribute) -> Any:
        value = self.pending.get(node.value)
        if value is None:
            return self.source.network(node)
        if ATTRIBUTES_OF_NETWORKS.fullmatch(node.attr):
            self.pending.pop(node.value)
        has_axes = node.attr == "shape" and isinstance(value, Rows | Output)
        return Size(value) if has_axes else None

    def _value_of_subscript(self, node: ast.Subscript) -> Any:
        value = self.pending.get(node.value)
        entries = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        place = self.source.constant(node.slice)
        result: Any = None
        if isinstance(value, Output):
            result = self._entry_of_output(node, value, entries)
        elif isinstance(value, Final) and all(map(_is_all, entries[1:])):
            result = self._states(node, value.run, entries[0])
        elif isinstance(place, int) and not isinstance(value, Rows):
            result = _part(value, place)
        if result is not None:
            self.pending.pop(node.value)
        return result

    def _entry_of_output(self, node: ast.expr, output: Output, entries: list[Any]) -> Any:
        """The last entry along one axis of an output, and all along the others."""
        axes = [axis for axis, entry in enumerate(entries) if not _is_all(entry)]
        if len(axes) != 1 or self.source.constant(entries[axes[0]]) != -1:
            return None
        axis = axes[0]
        run = output.run
        if output.axes[axis : axis + 1] == "T":
            is_padded = self._is_padded(output) and run.network.directions == 1
            return Read(run, "RNN001" if run.network.directions == 2 else "RNN002", node, is_padded)
        # Without an axis of rows, the first one is of steps.
        is_of_rows = axis == 1 or len(entries) == 3 or self.has_lengths
        if output.axes == run.network.axes and axis < 2 and is_of_rows:
            return Read(run, "RNN008", node, words=(output.axes,))
        return None

    def _is_padded(self, output: Output) -> bool:
        """Whether padding is surely in an output. Rows that begin with a state may go on."""
        run = output.run
        may_go_on = run.has_state and not output.was_packed
        return run.rows is not None and self.has_lengths and self.is_blind and not may_go_on

    def _states(self, node: Any, run: Run, index: Any) -> Any:
        """`h_n[-1]`, `h_n[:2]`"""
        bounds: list[Any] = [index]
        if isinstance(index, ast.Slice):
            bounds = [index.lower, index.upper, index.step]
        numbers = [self.source.constant(bound, ...) for bound in bounds]
        is_from_end = isinstance(numbers[0], int) and numbers[0] < 0 and {*numbers[1:]} <= {...}
        if None in numbers or (run.network.layers is None and not is_from_end):
            return None
        places = range(-(run.network.layers or 1) * run.network.directions, 0)
        limits = [None if number is ... else number for number in numbers]
        if isinstance(index, ast.Slice):
            states = frozenset(places[slice(*limits)])
        else:
            states = frozenset({numbers[0] - (0 if is_from_end else len(places))})
        return Read(run, "RNN006", node, states=states)

    # Calls

    def _value_of_call(self, node: ast.Call) -> Any:
        function = node.func
        network = self.pending.get(function)
        if isinstance(network, Network):
            self.pending.pop(function)
            return self._run(node, network)
        name = last_name(function)
        arguments = list(node.args)
        value_node: Any = None
        if isinstance(function, ast.Attribute) and function.value in self.pending:
            value_node = function.value
        elif arguments:
            value_node = arguments.pop(0)
            name = self.source.layer(function) or f"own {name}"
        arguments += [word.value for word in node.keywords if word.arg in ("dim", "axis", "dims")]
        value = self.pending.get(value_node)
        result = self._result(node, value_node, value, name, arguments)
        if result is not None:
            self.pending.pop(value_node)
        return result

    def _result(self, node: ast.Call, value_node: Any, value: Any, name: str, words: Any) -> Any:
        """What a function or a method, called with these words, gives of a value."""
        if name in ("own len", "size") and isinstance(value, Rows | Output):
            return Size(value, self.source.constant(words[0] if words else None, 0))
        if isinstance(value, Rows):
            return self._rows_of(value_node, value, name, words)
        if isinstance(value, Output):
            return self._of_output(node, value, name, words)
        if isinstance(value, Final) and name in ("view", "reshape"):
            return self._flat(node, value.run, words)
        return None

    def _run(self, node: ast.Call, network: Network) -> Result:
        """`output, state = rnn(rows, state)`"""
        rows = self.pending.get(node.args[0]) if node.args else None
        if isinstance(rows, Output) and rows.axes == network.axes:
            rows = Rows(object())  # a network on top of another
        if not isinstance(rows, Rows):
            rows = None
        states = [*node.args[1:], *[keyword.value for keyword in node.keywords]]
        run = Run(network, rows, bool(states))
        is_flipped = rows is not None and rows.flipped_axis == network.axes.find("T")
        if is_flipped and self.has_lengths and not self.source.is_padded_on_left:
            self.source.report(node, "RNN007")  # rnn(inputs.flip(1))

        is_packed = rows is not None and rows.is_packed
        output = Output(run, "" if is_packed else network.axes, is_packed)
        if network.cell == "LSTM":
            return Result(run, (output, Result(run, (Final(run), Final(run)))))
        return Result(run, (output, Final(run)))

    def _rows_of(self, node: Any, rows: Rows, name: str, numbers: list[Any]) -> Any:
        if STEPWISE.fullmatch(name):
            return rows
        if name == "pack_padded_sequence":
            return replace(rows, is_packed=True)
        axis = self.source.constant(numbers[0]) if len(numbers) == 1 else None
        if name == "flip" and isinstance(axis, int) and rows.flipped_axis is None:
            return replace(rows, flipped_axis=axis)
        if name.endswith("_") and isinstance(node, ast.Name):
            self.names[node.id] = None
        return None

    def _unpacked(self, node: ast.Call, output: Output) -> Any:
        options = {keyword.arg: keyword.value for keyword in node.keywords}
        is_batch_first = self.source.constant(options.pop("batch_first", None), False)
        axes = {True: "BTH", False: "TBH"}.get(is_batch_first, "")
        if options or len(node.args) > 1:
            return None
        # Whoever uses the lengths isn't followed.
        return Result(output.run, (replace(output, axes=axes), output.run.network))

    def _of_output(self, node: ast.Call, output: Output, name: str, arguments: list[Any]) -> Any:
        axes = output.axes
        if name == "pad_packed_sequence" and axes == "":
            return self._unpacked(node, output)
        if STEPWISE.fullmatch(name):
            return output
        numbers = [self.source.constant(argument) for argument in arguments]
        if not numbers or not isinstance(numbers[0], int) or len(axes) < 2:
            return None
        if name in ("transpose", "permute") and numbers in ([0, 1], [1, 0], [1, 0, 2]):
            return replace(output, axes=axes[1] + axes[0] + axes[2:])
        return self._pool(node, output, name, numbers[0])

    def _pool(self, node: ast.Call, output: Output, name: str, axis: int) -> Any:
        """`output.mean(1)`"""
        is_over_steps = output.axes.find("T") == axis % len(output.axes)
        # After a sequence's end there are zeros, which add nothing to a sum.
        if not POOLS.fullmatch(name) or not is_over_steps or (name == "sum" and output.was_packed):
            return None
        return Read(output.run, "RNN003", node, self._is_padded(output), words=(name,))

    def _flat(self, node: ast.Call, run: Run, shape: list[Any]) -> Any:
        """`h_n.view(len(inputs), -1)`"""
        size = self.pending.get(shape[0])
        is_of_rows = isinstance(size, Size) and _counts_rows(size, run) and len(shape) == 2
        is_of_more = run.network.directions * (run.network.layers or 1) > 1
        return Read(run, "RNN004", node, is_wrong=True) if is_of_rows and is_of_more else None


def _targets_of(statement: Any) -> list[ast.AST]:
    """What a statement sets."""
    if isinstance(statement, ast.With | ast.AsyncWith):
        return [item.optional_vars for item in statement.items if item.optional_vars is not None]
    return getattr(statement, "targets", [])


def _part(value: Any, place: int) -> Any:
    """What unpacking, or a number as an index, takes of a value."""
    if isinstance(value, Result) and -2 <= place < 2:
        return value.parts[place]
    if isinstance(value, Size) and value.axis is None:
        return replace(value, axis=place)
    if isinstance(value, Rows):
        return Rows(object())  # inputs, lengths = batch
    if isinstance(value, Read) and value.code == "RNN003" and place == 0:
        return value  # values, indices = output.max(1)
    return None


def _counts_rows(size: Size, run: Run) -> bool:
    """Whether a size is that of the axis of rows, as far as the file says it."""
    axes = ""
    rows = run.rows
    if isinstance(size.value, Output):
        axes = size.value.axes
    elif rows is not None and rows.root is size.value.root:
        axes = run.network.axes
    return size.axis is not None and axes.find("B") == size.axis


def _is_all(index: ast.expr) -> bool:
    """`:`"""
    return isinstance(index, ast.Slice) and not (index.lower or index.upper or index.step)


def last_name(node: ast.AST) -> str:
    """The last name of a dotted one: `softmax` of `F.softmax`; empty for other expressions."""
    return str(getattr(node, "attr", getattr(node, "id", "")))
