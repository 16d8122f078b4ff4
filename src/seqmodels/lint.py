"""Find mistakes with recurrent networks in source code, without running it: by its syntax tree.

Follows what `nn.LSTM`, `nn.GRU` and `nn.RNN` return through the statements of a function. It knows
what a file says: where options of a network come from variables, it stays silent.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from seqmodels.errors import UserError

RULES = {
    "RNN001": (
        "the last step of two directions: the backward half has seen one step; take h_n[-2] and "
        "h_n[-1], or output[:, last, :H] and output[:, 0, H:]"
    ),
    "RNN002": "the last column {} padding: take output at each row's length - 1, or h_n",
    "RNN003": "{} over all columns {} padding: mask it, and divide by each row's own length",
    "RNN004": (
        "flattens (L*D, B, H) as if it were (B, L*D, H), which mixes rows of the batch: transpose "
        "it first"
    ),
    "RNN005": (
        "takes the first layers, not one direction: h_n is ordered layer 0 forward, layer 0 "
        "backward, layer 1 forward, ...; view it as (L, D, B, H)"
    ),
    "RNN006": "h_n[-1] of two directions is the backward one alone: read h_n[-2], too",
    "RNN007": (
        "flips rows that may be padded, so that the network begins in the padding: reverse each "
        "row within its own length"
    ),
    "RNN008": "{}: this network has batch_first={}, so its output is {}",
    "RNN009": (
        "{} goes on from batch to batch with its graph, and backward() will fail or reach into all "
        "earlier batches: detach it"
    ),
    "RNN010": "{} for both h and c, which an LSTM keeps apart: pass on its c",
    "RNN011": (
        "a network with two directions has already read the next token that this loss asks for: "
        "use one direction"
    ),
}
"""What each code means, and the cure."""

CELLS = ("LSTM", "GRU", "RNN")
# modules that keep what stands in a column in its column
COLUMNWISE = {"Linear", "Dropout", "LayerNorm", "ReLU", "Tanh", "GELU", "ELU", "LeakyReLU"}
FUNCTIONS = {"dropout", "relu", "tanh", "gelu", "elu", "leaky_relu", "sigmoid"}
SAME = {"contiguous", "clone", "detach", "float", "to", "cuda", "cpu", "double", "half", *FUNCTIONS}
# names by which a file says that its rows are padded
PADS = re.compile(
    r"pad_sequence|pad_packed_sequence|pack_padded_sequence|pad_sequences|padding_idx|padding_value"
    r"|(x_|seq_?|text_?|input_?|src_?|sequence_?|sent_?)?(lens|lengths)|pad_(idx|id|index|token)"
    r"|PAD(_\w+)?"
)


@dataclass(frozen=True)
class Mistake:
    """A line with a mistake: its code, a key of `RULES`, and what it says."""

    path: str
    line: int
    code: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.code} {self.text}"


@dataclass(frozen=True)
class Network:
    """An `nn.LSTM`, `nn.GRU` or `nn.RNN`; None: the file doesn't say."""

    cell: str
    bidirectional: bool | None
    batch_first: bool | None
    layers: int | None


@dataclass(frozen=True)
class Value:
    """What an expression holds: `output`, `packed` (of it), `h_n`, `c_n`, `final` (both),
    `packed_input`, `flipped`, `returned` (output and final), `module` (that works by column)."""

    kind: str
    network: Network | None = None
    batch_first: bool | None = None
    was_packed: bool = False


def lint(path: Path) -> list[Mistake]:
    """The mistakes in a file, in its order.

    Raises:
        UserError: if it cannot be read, or is not Python.
    """
    try:
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source)
    except (OSError, ValueError, RecursionError) as error:  # a SyntaxError is a ValueError's cousin
        raise UserError(f"{path} cannot be read: {error}") from error
    except SyntaxError as error:
        raise UserError(f"{path}:{error.lineno} is not Python: {error.msg}") from error
    lines = source.splitlines()
    found = {(m.line, m.code): m for m in _File(str(path), tree).mistakes()}
    return [found[key] for key in sorted(found) if not _silenced(lines[key[0] - 1], key[1])]


def _silenced(line: str, code: str) -> bool:
    said = re.search(r"#\s*noqa(?::\s*([A-Z0-9, ]+))?", line)
    return said is not None and (said[1] is None or code in re.split(r"[,\s]+", said[1]))


class _File:
    """One file, and what its networks are."""

    def __init__(self, path: str, tree: ast.Module) -> None:
        self.path, self.tree = path, tree
        names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
        names |= {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg | ast.keyword) and n.arg}
        names |= {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
        self.pads = any(PADS.fullmatch(name) for name in names)
        self.constants = {
            target.id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        self.networks: list[Network] = []

    def mistakes(self) -> Iterator[Mistake]:
        attributes: dict[ast.AST, dict[str, Value]] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ClassDef):
                attributes[node] = self._attributes(node)
        for owner in (self.tree, *attributes):
            known = attributes.get(owner, {})
            for function in self._functions(owner):
                yield from _Function(self, function, known).mistakes()
        if not self.networks:
            return
        if all(network.bidirectional for network in self.networks):
            yield from self._next_tokens()

    def _functions(self, owner: ast.AST) -> list[Any]:
        kinds = ast.FunctionDef | ast.AsyncFunctionDef
        body: list[ast.stmt] = owner.body  # type: ignore[attr-defined]
        inside = [node for node in body if isinstance(node, kinds)]
        return [*inside, owner] if isinstance(owner, ast.Module) else inside

    def _attributes(self, node: ast.ClassDef) -> dict[str, Value]:
        """The modules of a class: `self.lstm`."""
        found: dict[str, Value] = {}
        for each in ast.walk(node):
            if isinstance(each, ast.Assign) and (value := self.module(each.value)):
                for target in each.targets:
                    name = ast.unparse(target)
                    if name in found:  # by a condition: one or the other
                        value = Value("module")
                    found[name] = value
        return found

    def module(self, node: ast.AST) -> Value | None:
        """The network or module that an expression makes."""
        if not isinstance(node, ast.Call):
            return None
        name = _name(node.func)
        if name in COLUMNWISE:
            return Value("module")
        if name not in CELLS or not _of_torch(node.func):
            return None
        given = {word.arg: self.constant(word.value) for word in node.keywords}
        unknown = None in given  # **options
        layers = given.get("num_layers", self.constant(node.args[2]) if len(node.args) > 2 else 1)
        network = Network(
            name,
            given.get("bidirectional", None if unknown else False),
            given.get("batch_first", None if unknown else False),
            layers if isinstance(layers, int) else None,
        )
        self.networks.append(network)
        return Value("network", network)

    def constant(self, node: ast.AST) -> Any:
        """The value of a constant, or of a name that the file gives one; else None."""
        if isinstance(node, ast.Constant):
            return node.value
        return self.constants.get(node.id) if isinstance(node, ast.Name) else None

    def mistake(self, node: ast.AST, code: str, *words: str) -> Mistake:
        return Mistake(self.path, node.lineno, code, RULES[code].format(*words))  # type: ignore[attr-defined]

    def _next_tokens(self) -> Iterator[Mistake]:
        """`logits[:, :-1]` against `tokens[:, 1:]` under a cross-entropy."""
        text = ast.unparse(self.tree)
        if "cross_entropy" not in text and "CrossEntropyLoss" not in text:
            return
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call | ast.Assign):
                cut = {ast.unparse(n.slice) for n in ast.walk(node) if isinstance(n, ast.Subscript)}
                if {":, :-1", ":, 1:"} <= {each.strip("()") for each in cut}:
                    yield self.mistake(node, "RNN011")
                    return


class _Function:
    """The statements of a function, in their order."""

    def __init__(self, file: _File, node: Any, known: dict[str, Value]) -> None:
        self.file, self.node = file, node
        self.values: dict[str, Value] = dict(known)
        self.zeros: set[str] = set()  # names of states that are made, not carried
        self.found: list[tuple[ast.AST, str, tuple[str, ...]]] = []
        self.last_states: list[ast.AST] = []  # h_n[-1] of two directions
        self.masks = any("mask" in n for n in _names(node))

    def mistakes(self) -> Iterator[Mistake]:
        self._statements(self.node.body)
        both = any(
            re.fullmatch(r"-2(, :)*|0(, :)*", ast.unparse(n.slice).strip("()"))
            and self._value(n.value) in [self._value(last.value) for last in self.last_states]  # type: ignore[attr-defined]
            for n in ast.walk(self.node)
            if isinstance(n, ast.Subscript)
        )
        if not both:
            self.found += [(node, "RNN006", ()) for node in self.last_states]
        for node, code, words in self.found:
            yield self.file.mistake(node, code, *words)

    def _statements(self, body: list[ast.stmt]) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue  # of its own
            for field, value in ast.iter_fields(node):
                if isinstance(value, ast.expr) and field not in ("target", "annotation"):
                    self._look(value)
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    self._assign(target, node.value)
            elif isinstance(node, ast.AnnAssign) and node.value is not None:
                self._assign(node.target, node.value)
            elif isinstance(node, ast.For | ast.While):
                self._carried(node)
            for field in ("body", "orelse", "finalbody"):
                self._statements(getattr(node, field, []))
            for handler in getattr(node, "handlers", []):
                self._statements(handler.body)

    def _assign(self, target: ast.expr, node: ast.expr) -> None:
        value = self._value(node) or self.file.module(node)
        if isinstance(target, ast.Tuple | ast.List):
            for number, each in enumerate(target.elts):
                self._bind(each, self._item(value, number))
        else:
            self._bind(target, value)
        if isinstance(node, ast.Call) and _name(node.func) in ("zeros", "zeros_like", "new_zeros"):
            self.zeros.add(ast.unparse(target))

    def _bind(self, target: ast.expr, value: Value | None) -> None:
        if isinstance(target, ast.Tuple | ast.List):
            for number, each in enumerate(target.elts):
                self._bind(each, self._item(value, number))
        elif value is not None:
            self.values[ast.unparse(target)] = value
        else:
            self.values.pop(ast.unparse(target), None)

    def _item(self, value: Value | None, number: int) -> Value | None:
        """What stands there in a tuple."""
        if value is None or value.network is None:
            return None
        if value.kind == "returned":
            kind = ("packed" if value.was_packed else "output", "final")[number : number + 1]
            if kind == ("final",) and value.network.cell != "LSTM":
                kind = ("h_n",)
        elif value.kind == "final":
            kind = ("h_n", "c_n")[number : number + 1]
        elif value.kind == "unpacked":
            kind = ("output", "lengths")[number : number + 1]
        else:
            return None
        return replace(value, kind=kind[0]) if kind else None

    def _value(self, node: ast.AST) -> Value | None:
        if isinstance(node, ast.Name | ast.Attribute):
            return self.values.get(ast.unparse(node))
        if isinstance(node, ast.Subscript):
            number = self.file.constant(node.slice)
            if isinstance(number, int):
                return self._item(self._value(node.value), number)
            return None
        return self._of_call(node) if isinstance(node, ast.Call) else None

    def _of_call(self, node: ast.Call) -> Value | None:
        name, first = _name(node.func), node.args[0] if node.args else None
        made = self._value(node.func)
        if made is not None and made.network is not None and made.kind == "network":
            given = self._value(first) if first is not None else None
            packed = given is not None and given.kind == "packed_input"
            network = made.network
            return Value("returned", network, network.batch_first, was_packed=packed)
        if made is not None and made.kind == "module" and first is not None:
            return self._value(first)
        if name == "pack_padded_sequence":
            return Value("packed_input")
        if name == "pad_packed_sequence" and first is not None:
            given = self._value(first)
            if given is None or given.kind != "packed":
                return None
            words = {w.arg: self.file.constant(w.value) for w in node.keywords}
            batch_first = words.get("batch_first", False) if None not in words else None
            return replace(given, kind="unpacked", batch_first=batch_first)
        if name == "flip":
            return Value("flipped")
        owner = node.func.value if isinstance(node.func, ast.Attribute) else None
        if name in FUNCTIONS and first is not None and (value := self._value(first)):
            return value
        value = self._value(owner) if owner is not None else None
        if value is None or value.kind != "output":
            return value if name in SAME else None
        if name in SAME or (name == "squeeze" and ast.unparse(node).endswith(("(-1)", "(2)"))):
            return value
        order = [self.file.constant(word) for word in node.args]
        if (name == "transpose" and sorted(map(str, order)) == ["0", "1"]) or (
            name == "permute" and order == [1, 0, 2]
        ):
            turned = None if value.batch_first is None else not value.batch_first
            return replace(value, batch_first=turned)
        return None

    # what is wrong in an expression

    def _look(self, expression: ast.expr) -> None:
        for node in ast.walk(expression):
            if isinstance(node, ast.Subscript):
                self._subscript(node)
            elif isinstance(node, ast.Call):
                self._call(node)

    def _subscript(self, node: ast.Subscript) -> None:
        value = self._value(node.value)
        if value is None or value.network is None:
            return
        network, index = value.network, node.slice
        parts = index.elts if isinstance(index, ast.Tuple) else [index]
        if value.kind == "h_n" and network.bidirectional:
            if isinstance(parts[0], ast.Slice):
                upper = parts[0].upper
                ends = "" if upper is None else ast.unparse(upper)
                if parts[0].lower is None and "layers" in ends and network.layers != 1:
                    self.found.append((node, "RNN005", ()))
            elif _is_minus_one(parts[0]):
                self.last_states.append(node)
        if value.kind != "output" or value.batch_first is None:
            return
        second = len(parts) > 1 and _is_all(parts[0]) and _is_minus_one(parts[1])
        if value.batch_first != second:
            if second:
                words = (f"{ast.unparse(node)} is the last row", "False", "(T, B, H)")
                self.found.append((node, "RNN008", words))
            elif _is_minus_one(parts[0]) and len(parts) == 1:
                words = (f"{ast.unparse(node)} is the last row", "True", "(B, T, H)")
                self.found.append((node, "RNN008", words))
            return
        if not (second or (not value.batch_first and _is_minus_one(parts[0]))):
            return
        half = len(parts) == 3 and isinstance(parts[2], ast.Slice) and not _is_all(parts[2])
        if network.bidirectional and not half:
            self.found.append((node, "RNN001", ()))
        elif self._may_pad(value):
            self.found.append((node, "RNN002", (self._how(value),)))

    def _may_pad(self, value: Value) -> bool:
        return value.was_packed or self.file.pads

    def _how(self, value: Value) -> str:
        return "holds" if value.was_packed else "may hold"

    def _call(self, node: ast.Call) -> None:
        name, args = _name(node.func), node.args
        made = self._value(node.func)
        if made is not None and made.kind == "network":
            self._network_call(node, made)
            return
        owner = node.func.value if isinstance(node.func, ast.Attribute) else None
        value = self._value(owner) if owner is not None else None
        if value is not None and value.kind == "h_n" and name in ("view", "reshape"):
            network = value.network
            many = network and (network.bidirectional or (network.layers or 1) > 1)
            if many and len(args) == 2 and not isinstance(args[0], ast.Starred):
                self.found.append((node, "RNN004", ()))
            return
        of_function = value is None and bool(args)
        if of_function:
            value, args = self._value(args[0]), args[1:]
        if value is None or value.kind != "output" or not self._may_pad(value):
            return
        pools = {"mean": "a mean", "max": "a maximum", "amax": "a maximum", "softmax": "a softmax"}
        if not value.was_packed:  # after packing, padding is zero
            pools["sum"] = "a sum"
        if name not in pools or self.masks:
            return
        words = {word.arg: word.value for word in node.keywords}
        dim = self.file.constant(words.get("dim", args[0] if args else ast.Constant(None)))
        if dim == (1 if value.batch_first else 0) and value.batch_first is not None:
            how = "counts" if value.was_packed else "may count"
            self.found.append((node, "RNN003", (pools[name], how)))

    def _network_call(self, node: ast.Call, made: Value) -> None:
        first = self._value(node.args[0]) if node.args else None
        if first is not None and first.kind == "flipped" and self.file.pads:
            self.found.append((node, "RNN007", ()))
        state = node.args[1] if len(node.args) > 1 else None
        if isinstance(state, ast.Tuple) and len(state.elts) == 2:
            one, other = (ast.unparse(each) for each in state.elts)
            made_here = one in self.zeros or "zeros" in one
            if one == other and not made_here:
                self.found.append((node, "RNN010", (one,)))

    def _carried(self, loop: ast.For | ast.While) -> None:
        """`out, h = model(x, h)` before `loss.backward()`, without a detach."""
        calls = [n for n in ast.walk(loop) if isinstance(n, ast.Call)]
        if not any(_name(n.func) == "backward" for n in calls):
            return
        own = [n for n in loop.body if not isinstance(n, ast.For | ast.While)]
        nodes = [n for statement in own for n in ast.walk(statement)]
        for node in nodes:
            if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)):
                continue
            target = node.targets[0]
            if not isinstance(target, ast.Tuple) or len(target.elts) != 2:
                continue
            state = ast.unparse(target.elts[1])
            if state not in {ast.unparse(n) for n in node.value.args[1:]}:
                continue
            anew = [n for n in nodes if isinstance(n, ast.Assign) and n is not node]
            set_again = any(state in {*map(ast.unparse, _targets(n))} for n in anew)
            parts = {ast.unparse(n) for n in ast.walk(target.elts[1]) if isinstance(n, ast.Name)}
            set_again |= any(parts & {*map(ast.unparse, _targets(n))} for n in anew)
            if not set_again and any(
                isinstance(n, ast.Call) and _name(n.func) == "backward" for n in nodes
            ):
                self.found.append((node, "RNN009", (state,)))


def _targets(node: ast.Assign) -> Iterator[ast.expr]:
    for target in node.targets:
        yield target
        if isinstance(target, ast.Tuple | ast.List):
            yield from target.elts


def _name(node: ast.AST) -> str:
    """The last part of a dotted name."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _of_torch(node: ast.AST) -> bool:
    """`nn.LSTM`, `torch.nn.LSTM`, or a plain `LSTM`."""
    return isinstance(node, ast.Name) or ast.unparse(node).startswith(("nn.", "torch.nn."))


def _names(node: ast.AST) -> Iterator[str]:
    for each in ast.walk(node):
        if isinstance(each, ast.Name | ast.Attribute):
            yield _name(each)


def _is_minus_one(node: ast.AST) -> bool:
    return ast.unparse(node) == "-1"


def _is_all(node: ast.AST) -> bool:
    return ast.unparse(node) in (":", "...")
