"""Find mistakes with recurrent networks in source code, without running it: by its syntax tree.

Follows what `nn.LSTM`, `nn.GRU` and `nn.RNN` return through the statements of a function, which may
find the network around it. It knows what a file says: an option is a constant, or a name that has
one value, or one by default. Where the file asks for it, or doesn't say, it stays silent.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from seqmodels.errors import UserError

RULES = {
    "RNN001": (
        "the last step of two directions: the backward half has seen one step; take h_n[-2] and "
        "h_n[-1], or output[:, last, :H] and output[:, 0, H:]"
    ),
    "RNN002": (
        "the last column {} padding: take output at each row's length - 1, or h_n of packed rows"
    ),
    "RNN003": "{} over all columns {} padding: mask it (a mean divides by each row's own length)",
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
    "RNN009": "{} for both h and c, which an LSTM keeps apart: pass on its c",
    "RNN010": (
        "a network with two directions has already read the next token that this loss asks for: "
        "use one direction"
    ),
}
"""What each code means, and the cure."""

CELLS = ("LSTM", "GRU", "RNN")
LAST = ("bias", "batch_first", "dropout", "bidirectional")
POSITIONS = {  # of their arguments
    "LSTM": ("input_size", "hidden_size", "num_layers", *LAST),
    "RNN": ("input_size", "hidden_size", "num_layers", "nonlinearity", *LAST),
}
AXES: dict[Any, str] = {True: "BTH", False: "TBH"}  # of an output, by `batch_first`
# modules that keep what stands in a column in its column
COLUMNWISE = {"Linear", "Dropout", "LayerNorm", "Identity", "ReLU", "Tanh", "GELU", "ELU"}
COLUMNWISE |= {"LeakyReLU", "SiLU", "Sigmoid"}
SAME = {"contiguous", "clone", "detach", "float", "to", "cuda", "cpu", "double", "half"}
SAME |= {"eval", "train", "index_select", "dropout"}
SAME |= {"relu", "tanh", "gelu", "elu", "leaky_relu", "sigmoid"}
# names by which a file says that its rows are padded
PADS = re.compile(
    r"pad_sequence|pad_packed_sequence|pack_padded_sequence|pad_sequences|padding_idx|padding_value"
    r"|(x_|seq_?|text_?|input_?|src_?|sequence_?|sent_?)?(lens|lengths)|pad_(idx|id|index|value|token|token_id)"
    r"|PAD(_\w+)?"
)
# a state that is made, not carried
MADE = re.compile(r"zeros|ones|rand|init|[hc]_?0\b")
LOSS = re.compile(r"(?i)(?!\w*(mse|l1|huber))\w*(entropy|crit(?!ic)|loss)")
FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef
INSIDE = ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
READS = ast.Subscript | ast.Call | ast.Return
LEAVES = ast.Return | ast.Raise | ast.Continue | ast.Break
VIEWS = ("view", "reshape")
POOLS = {
    **dict.fromkeys(("mean", "avg_pool1d", "adaptive_avg_pool1d"), "a mean"),
    **dict.fromkeys(("max", "amax", "max_pool1d", "adaptive_max_pool1d"), "a maximum"),
    **dict.fromkeys(("softmax", "log_softmax"), "a softmax"),
    "sum": "a sum",
}


@dataclass(frozen=True)
class Mistake:
    """A line with a mistake: its code, a key of `RULES`, and what it says."""

    path: str
    line: int
    code: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.code} {self.text}"


class Network(NamedTuple):
    """An `nn.LSTM`, `nn.GRU` or `nn.RNN`; None: the file doesn't say."""

    cell: str | None
    bidirectional: bool | None
    batch_first: bool | None
    layers: int | None


@dataclass(frozen=True)
class Value:
    """What an expression holds: `output`, `h_n`, `c_n`, `final` (both), `by_layer` (`h_n` as
    (L, D, B, H)), `returned` (output and final), `unpacked`, `network`, `module` (that works by
    column), `flipped`, `column` (of one)."""

    kind: str
    network: Network | None = None
    axes: str = ""  # of an output, as BTH; empty: the file doesn't say
    was_packed: bool = field(default=False, compare=False)


def lint(path: Path) -> list[Mistake]:
    """The mistakes in a file, in its order. Raises UserError for one that is not Python."""
    try:
        source = path.read_text(encoding="utf-8-sig")  # with a byte order mark, as Python reads it
        found = _File(str(path), ast.parse(source), source).mistakes()
    except SyntaxError as error:
        raise UserError(f"{path}:{error.lineno} is not Python: {error.msg}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    lines = source.split("\n")  # as Python counts them: a form feed ends none
    return [found[key] for key in sorted(found) if not _silenced(lines[key[0] - 1], key[1])]


def _silenced(line: str, code: str) -> bool:
    said = re.search(r"#\s*noqa(?::\s*([A-Z0-9, ]+))?", line)
    return said is not None and (said[1] is None or code in re.split(r"[,\s]+", said[1]))


class _Scope:
    """A file, class, function or expression with names of its own: what each is set to, None for
    what is no expression. `self.rnn` is of the class, or of the one it inherits from."""

    def __init__(self, node: ast.AST, outer: _Scope | None = None, base: _Scope | None = None):
        self.outer, self.base, self.name = outer, base, getattr(node, "name", "")
        self.is_class = isinstance(node, ast.ClassDef)
        self.given: dict[str, list[ast.expr | None]] = {}

    def set(self, name: str, value: ast.expr | None) -> None:
        scope: _Scope | None = self
        while "." in name and scope and not scope.is_class:
            scope = scope.outer
        if (same := _same(value)) is value or ast.unparse(same) != name:  # x = x.to(device)
            (scope or self).given.setdefault(name, []).append(value)

    def find(self, name: str) -> _Scope:
        """The one that sets it, or the file. A method doesn't see the names of its class."""
        if name in self.given and ("." in name or not self.is_class):
            return self
        outer = self.base if self.base and "." in name else self.outer
        return outer.find(name) if outer else self


class _File:
    """One file, and what its names stand for."""

    def __init__(self, path: str, tree: ast.Module, source: str) -> None:
        self.path, self.tree, self.source = path, tree, source
        self.nodes = [*ast.walk(tree)]
        self.of_torch = {"nn": "nn"}  # by names here, names there; a snippet may not import it
        for node in self.nodes:
            for each in node.names if isinstance(node, ast.Import | ast.ImportFrom) else ():
                name = each.asname or each.name
                place = "." * getattr(node, "level", 0) + (getattr(node, "module", "") or each.name)
                self.of_torch.pop(name, None)
                if f"{place}.".startswith("torch."):
                    self.of_torch[name] = each.name
        for node in self.nodes:
            if isinstance(node, ast.Name):
                node.id = self.of_torch.get(node.id, node.id)
        names = {getattr(n, part, None) for n in self.nodes for part in ("id", "arg", "attr")}
        self.pads = any(PADS.fullmatch(name) for name in names if name)
        self.pads |= re.search(r"[\"'][<\[]pad[>\]][\"']", source, re.IGNORECASE) is not None
        # rows padded on the left end in their last token; pad_sequences (of Keras) pads there
        self.pads_left = re.search(r"padding(_side)?\s*=\s*[\"'](pre|left)", source) is not None
        self.pads_left |= "pad_sequences" in names and not re.search("[\"']post", source)
        self.scopes: dict[ast.AST, _Scope] = {}
        self.asked: set[str] = set()  # names that decide what is read
        self.found: dict[tuple[int, str], Mistake] = {}
        self._scan()

    def _scan(self) -> None:
        """Finds the scope of each node, what it sets, and the names that decide what is read."""
        values, classes = dict[ast.AST, ast.expr | None](), dict[str, _Scope]()
        ahead: list[tuple[Any, _Scope]] = [(self.tree, _Scope(self.tree))]
        for node, scope in ahead:
            name = getattr(node, "asname", None) or getattr(node, "name", None)
            if isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr | ast.keyword):
                targets = getattr(node, "targets", [getattr(node, "target", node)])
                values |= dict.fromkeys(targets, node.value)
            elif isinstance(node, ast.arguments):
                placed = [*node.posonlyargs, *node.args]
                values |= zip(placed[::-1], node.defaults[::-1], strict=False)
                values |= zip(node.kwonlyargs, node.kw_defaults, strict=True)
            elif isinstance(node, ast.arg):
                scope.set(node.arg, values.get(node))
            elif isinstance(getattr(node, "ctx", None), ast.Store | ast.Del):
                scope.set(ast.unparse(node), values.get(node))
            elif isinstance(name, str):  # of an import, a function, a class, an exception
                scope.set(name, None)
            elif isinstance(node, ast.If | ast.IfExp) and scope.name != "__init__":
                chosen = [each for each in ast.iter_child_nodes(node) if each is not node.test]
                if any(isinstance(each, READS) for part in chosen for each in ast.walk(part)):
                    self.asked |= {*_names(node.test)}
            elif isinstance(node, ast.Call) and _name(node.func) == "__init__":  # of a base class
                self.asked |= {str(word.arg) for word in node.keywords}
            if isinstance(node, ast.ClassDef | FUNCTION | INSIDE):
                bases = (classes.get(_name(each)) for each in getattr(node, "bases", ()))
                scope = _Scope(node, scope, next(filter(None, bases), None))
                classes |= {scope.name: scope} if scope.is_class else {}
            self.scopes[node] = scope
            ahead += [(child, scope) for child in ast.iter_child_nodes(node)]
        for _ in range(2):  # and what they are made of: a number of directions, of a condition
            for target, value in values.items():
                if _name(target) in self.asked and value and not isinstance(value, ast.Call):
                    self.asked |= {*_names(value)}

    def mistakes(self) -> dict[tuple[int, str], Mistake]:
        """By line and code."""
        for node in self.nodes:
            if isinstance(node, ast.Module | FUNCTION):
                _Function(self, node).look()
        networks = [*filter(None, map(self.network, self.nodes))]
        if networks and all(network.bidirectional for network in networks):
            self._next_tokens()
        return self.found

    def known(self, name: str, scope: _Scope) -> Value | None:
        """The network or module that a scope gives this name, by all that it sets it to."""
        found = [self.module(value) for value in scope.given.get(name, ())]
        made = [each for each in found if each]
        if not made or ("." not in name and len(made) < len(found)):
            return None
        networks = [each.network for each in made if each.network]
        # a condition may choose between them: what holds of each
        same: list[Any] = [of[0] if len({*of}) == 1 else None for of in zip(*networks, strict=True)]
        return replace(made[-1], network=Network(*same) if networks else None)

    def module(self, node: ast.AST | None) -> Value | None:
        """The network or module that an expression makes."""
        if not isinstance(node := _same(node), ast.Call):
            return None
        name = _name(node.func)
        parts = node.args if name == "Sequential" else []
        if name in COLUMNWISE or (parts and all(map(self.module, parts))):
            return Value("module")
        network = self.network(node) if name in CELLS else None
        return network and Value("network", network)

    def network(self, node: ast.AST) -> Network | None:
        """The network, or cell of one, that an expression makes."""
        name = _name(node.func) if isinstance(node, ast.Call) else ""
        if not isinstance(node, ast.Call) or name.removesuffix("Cell") not in CELLS:
            return None
        place = ast.unparse(node.func).rpartition(".")[0] or name
        if place not in {"torch.nn", *self.of_torch.values()}:
            return None
        order = POSITIONS["RNN" if name == "RNN" else "LSTM"]
        written: dict[str | None, ast.expr] = dict(zip(order, node.args, strict=False))
        written |= {word.arg: word.value for word in node.keywords}
        given = {name: self.constant(value) for name, value in written.items()}
        unknown = None in given or any(isinstance(each, ast.Starred) for each in node.args)
        default = None if unknown else False
        two, first = (given.get(option, default) for option in ("bidirectional", "batch_first"))
        layers = given.get("num_layers", 1)
        if layers == 1 and isinstance(written.get("num_layers"), ast.Name | ast.Attribute):
            layers = None  # one by default, and more for whoever asks
        return Network(name, two, first, layers if isinstance(layers, int) else None)

    def constant(self, node: ast.AST, depth: int = 3) -> Any:
        """The value of a constant, or of a name that is set to one alone; else None."""
        with suppress(ValueError):
            if isinstance(node, ast.Constant | ast.UnaryOp):
                return ast.literal_eval(node)
        scope = self.scopes.get(node)
        if scope is None or not depth or _name(node) in {"", *self.asked}:
            return None
        values = scope.find(name := ast.unparse(node)).given.get(name, [])
        known = [each and self.constant(each, depth - 1) for each in values]
        return known[0] if known and known.count(known[0]) == len(known) else None

    def wrong(self, node: Any, code: str, *words: str) -> None:
        text = RULES[code].format(*words)
        self.found[node.lineno, code] = Mistake(self.path, node.lineno, code, text)

    def _next_tokens(self) -> None:
        """`logits[:, :-1]` against `tokens[:, 1:]` under a cross-entropy."""
        if not re.search("cross_entropy|CrossEntropyLoss", self.source):
            return
        for node in self.nodes:
            pair: list[ast.expr] = []  # what a loss is given, or what is set side by side for it
            made: Any = getattr(node, "func", None)  # or called as it is made: `nn.NLLLoss()(...)`
            if isinstance(node, ast.Call) and LOSS.match(_name(getattr(made, "func", made))):
                pair = node.args[:2]
            elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):
                pair = node.value.elts
            if [[*_cuts(each)] for each in pair] == [[":-1"], ["1:"]]:
                self.wrong(node, "RNN010")
                return


class _Function:
    """The statements of a function, in their order."""

    def __init__(self, file: _File, node: Any) -> None:
        self.file, self.node, self.scope = file, node, file.scopes[node]
        self.values: dict[str, Value] = {}
        self.given: dict[str, ast.expr] = {}
        self.last_states: list[tuple[ast.AST, Value]] = []  # h_n[-1] of two directions
        self.other_states: list[Value] = []  # where its other direction is read
        self.masks = any("mask" in n for n in _names(node))
        # what goes on from a row's end has no padding
        self.pads = file.pads and not re.search("generate|sample", getattr(node, "name", ""))

    def look(self) -> None:
        self._statements(self.node.body)
        for node, value in self.last_states:
            if value not in self.other_states:
                self.file.wrong(node, "RNN006")

    def _statements(self, body: list[Any]) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef | FUNCTION):
                continue  # of its own
            for part, value in ast.iter_fields(node):
                if isinstance(value, ast.expr) and part not in ("target", "annotation"):
                    self._look(value)
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    self._bind(target, self._value(node.value) or self.file.module(node.value))
                    self.given[ast.unparse(target)] = node.value
            elif isinstance(node, ast.For | ast.AsyncFor):
                self._bind(node.target, None)
            elif isinstance(node, ast.If):
                self._branches(node.body, node.orelse)
                continue
            for part in ("body", "handlers", "orelse", "finalbody"):
                self._statements(getattr(node, part, []))

    def _branches(self, *bodies: list[ast.stmt]) -> None:
        """One or the other: afterwards holds what both say."""
        before, ends = self.values, []
        for body in bodies:
            self.values = dict(before)
            self._statements(body)
            if not body or not isinstance(body[-1], LEAVES):
                ends.append(self.values)
        self.values, *others = ends or [before]
        for other in others:
            self.values = {
                name: replace(value, was_packed=value.was_packed and other[name].was_packed)
                for name, value in self.values.items()
                if value == other.get(name)
            }

    def _bind(self, target: ast.expr, value: Value | None) -> None:
        if isinstance(target, ast.Tuple | ast.List):
            for number, each in enumerate(target.elts):
                self._bind(each, self._item(value, number))
        elif value is not None:
            self.values[ast.unparse(target)] = value
        else:  # or changed in place, as by a mask
            whole = target.value if isinstance(target, ast.Subscript) else target
            self.values.pop(ast.unparse(whole), None)

    def _item(self, value: Value | None, number: int) -> Value | None:
        """What stands there in a tuple."""
        if value is None or value.network is None:
            return None
        if value.kind == "by_layer":
            return replace(value, kind="h_n", network=value.network._replace(layers=1))
        final = {"LSTM": ["final"], None: []}.get(value.network.cell, ["h_n"])
        kinds = {"returned": ["output", *final], "final": ["h_n", "c_n"], "unpacked": ["output"]}
        kind = kinds.get(value.kind, [])[number : number + 1]
        return replace(value, kind=kind[0]) if kind else None

    def _value(self, node: ast.AST) -> Value | None:
        if isinstance(node, ast.Name | ast.Attribute) and node in self.file.scopes:
            home = self.file.scopes[node].find(name := ast.unparse(node))
            if name in self.values and (home is self.scope or "." in name):
                return self.values[name]
            return self.file.known(name, home)
        if isinstance(node, ast.Subscript):
            number = self.file.constant(node.slice)
            return self._item(self._value(node.value), number) if isinstance(number, int) else None
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
            node = ast.Call(ast.Name("matmul"), [node.left, node.right], [])
        return self._of_call(node) if isinstance(node, ast.Call) else None

    def _of_call(self, node: ast.Call) -> Value | None:
        name, made = _name(node.func), self._value(node.func)
        value, args = self._read(node)
        if made is not None and made.kind == "module":
            return value
        if made is not None and made.network and made.kind == "network":
            axes = AXES.get(made.network.batch_first, "")
            one_column = bool(axes) and value == Value("column", axes=axes)  # its first is its last
            return None if one_column else Value("returned", made.network, axes)
        if name in ("flip", "unsqueeze"):
            last = [*node.args, *(word.value for word in node.keywords)][-1:]
            kind = "flipped" if name == "flip" else "column"
            axis = "".join(map(ast.unparse, last)).strip("[(,)]")
            return Value(kind, axes={"0": "TBH", "1": "BTH", "-2": "BTH"}.get(axis, ""))
        if value is not None and value.kind == "h_n" and name in VIEWS and len(args) == 4:
            return replace(value, kind="by_layer")
        if name in SAME or value is None or value.kind != "output":
            return value if name in SAME else None
        if name == "pad_packed_sequence":
            words = {word.arg: self.file.constant(word.value) for word in node.keywords}
            batch_first = words.get("batch_first", False) if None not in words else None
            axes = AXES.get(batch_first, "")
            return replace(value, kind="unpacked", axes=axes, was_packed=True)
        axes, order = value.axes, [self.file.constant(word) for word in args]
        if name in ("matmul", "bmm"):  # scores of each step, or columns for other columns
            return replace(value, axes=axes if axes[2:] == "H" else "")
        if name == "squeeze" and order in ([-1], [2]):
            return replace(value, axes=axes[:2])
        if name == "transpose" and len(order) == 2 and {*order} <= {0, 1, 2, -1, -2}:
            turned = [*range(3)]
            turned[order[0]], turned[order[1]] = turned[order[1]], turned[order[0]]
            order = turned
        if name not in ("transpose", "permute") or {*order} != {0, 1, 2} or len(axes) != 3:
            return None
        return replace(value, axes="".join(axes[number] for number in order))

    def _read(self, node: ast.Call) -> tuple[Value | None, list[ast.expr]]:
        """What `value.method(args)` or `function(value, args)` reads, and its arguments."""
        if isinstance(node.func, ast.Attribute) and (value := self._value(node.func.value)):
            return value, node.args
        return (self._value(node.args[0]), node.args[1:]) if node.args else (None, [])

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
        parts = [*map(ast.unparse, index.elts if isinstance(index, ast.Tuple) else [index])]
        if "..." in parts:
            hidden = [":"] * (len(value.axes) + 1 - len(parts))
            parts[parts.index("...") : parts.index("...") + 1] = hidden
        if value.kind == "h_n" and network.bidirectional and parts:
            if re.match(":.*layers", parts[0]) and network.layers != 1:
                self.file.wrong(node, "RNN005")
            elif parts[0] == "-1":
                self.last_states.append((node, value))
            elif parts[0] in ("-2", "0"):
                self.other_states.append(value)
        where = next((n for n, part in enumerate(parts) if part != ":"), 3)
        axis = value.axes[where : where + 1]
        if value.kind != "output" or not axis or parts[where] not in ("-1", "-1:"):
            return
        if axis == "B" and (where or len(parts) == 1):
            says, axes = f"{ast.unparse(node)} is the last row", ", ".join(value.axes)
            self.file.wrong(node, "RNN008", says, str(network.batch_first), f"({axes})")
        if axis != "T":
            return
        half = len(parts) == 3 and parts[value.axes.find("H")] != ":"
        if network.bidirectional and not half:
            self.file.wrong(node, "RNN001")
        elif (holds := self._padding(value)) and not self.file.pads_left:
            self.file.wrong(node, "RNN002", holds)

    def _padding(self, value: Value) -> str:
        """`holds`, `may hold`, or nothing."""
        return "holds" if value.was_packed else "may hold" if self.pads else ""

    def _call(self, node: ast.Call) -> None:
        name, made = _name(node.func), self._value(node.func)
        if made is not None and made.kind == "network":
            self._network_call(node, made.network)
            return
        value, args = self._read(node)
        if value is not None and value.kind == "h_n" and name in VIEWS:
            network = value.network
            many = network and (network.bidirectional or (network.layers or 1) > 1)
            if many and len(args) == 2 and not isinstance(args[0], ast.Starred):
                self.file.wrong(node, "RNN004")
        if value is None or value.kind != "output" or name not in POOLS or self.masks:
            return
        if name == "sum" and value.was_packed:  # padding is zero then
            return
        words = {word.arg: word.value for word in node.keywords}
        named = [words[w] for w in ("dim", "axis", "kernel_size", "output_size") if w in words]
        given = (named or args or [ast.Constant(None)])[0]
        dim = self.file.constant(given)
        if name.endswith("pool1d"):  # of all columns, not of a few
            size = "1" if "adaptive" in name else r".*(size\(|shape\[).*"
            dim = 2 if re.fullmatch(size, ast.unparse(given)) else None
        over = value.axes[dim : dim + 1 or None] if isinstance(dim, int) else ""
        if over == "T" and (holds := self._padding(value)):
            self.file.wrong(node, "RNN003", POOLS[name], holds.replace("hold", "count"))

    def _network_call(self, node: ast.Call, network: Network | None) -> None:
        value, _ = self._read(node)
        axes = AXES.get(network.batch_first, "") if network else ""
        if self.pads and axes and value == Value("flipped", axes=axes):
            self.file.wrong(node, "RNN007")
        state = node.args[1] if len(node.args) > 1 else None
        if isinstance(state, ast.Tuple) and len(state.elts) == 2:
            one, other = map(ast.unparse, state.elts)
            given = one + ast.unparse(self.given.get(one, state))
            if one == other and not MADE.search(given):
                self.file.wrong(node, "RNN009", one)


def _cuts(node: ast.AST) -> Iterator[str]:
    """How columns are cut: `[:, :-1]`. Not in what a decoder is given beside its source."""
    if isinstance(node, ast.Subscript):
        yield from {":-1", "1:"} & {*ast.unparse(node.slice).strip("()").split(", ")[1:2]}
    inside = [node.func, *node.args[:1]] if isinstance(node, ast.Call) else None
    for each in inside or ast.iter_child_nodes(node):
        yield from _cuts(each)


def _name(node: ast.AST) -> str:
    """The last part of a dotted name."""
    names = (getattr(node, part, None) for part in ("attr", "id", "arg"))
    return next(filter(None, names), "")


def _same(node: Any) -> Any:
    """Without `.to(device)` and other calls that give what they are of."""
    while isinstance(node, ast.Call) and getattr(node.func, "attr", "") in SAME:
        node = node.func.value  # type: ignore[attr-defined]
    return node


def _names(node: ast.AST) -> Iterator[str]:
    for each in ast.walk(node):
        if isinstance(each, ast.Name | ast.Attribute):
            yield _name(each)
