"""The rules: for each code of `MISTAKES_BY_RULE`, a function that finds it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from seqmodels.lint.reader import MADE, Reader, branch_of_one_length, indices_of
from seqmodels.lint.source import FUNCTION, LENGTHS, Source, last_name, names_in
from seqmodels.lint.values import (
    AXES,
    LEAST,
    LOWEST,
    NO_PADDING,
    NOT_SAID,
    UNKNOWN,
    ZEROS,
    FinalState,
    Inputs,
    Network,
    States,
    network_made_by,
)
from seqmodels.mistakes import MISTAKES_BY_RULE

VIEWS = ("view", "reshape")
HALVES = {"chunk", "split", "tensor_split", "unflatten", "view", "reshape"}
POOLS = {
    **dict.fromkeys(("mean", "avg_pool1d", "adaptive_avg_pool1d"), "a mean"),
    **dict.fromkeys(("max", "amax", "max_pool1d", "adaptive_max_pool1d"), "a maximum"),
    **dict.fromkeys(("softmax", "log_softmax"), "a softmax"),
    "sum": "a sum",
}
# The last column of a running sum or mean is one of all columns.
RUNNING = {"running_sum": "a running sum", "running_mean": "a running mean"}
JOINS = ("cat", "concat", "concatenate", "hstack")
# The padding that each of these doesn't count, or that the file doesn't show.
HARMLESS = {
    "a mean": {NO_PADDING},
    "a sum": {NO_PADDING, ZEROS, LEAST, UNKNOWN},
    "a maximum": {NO_PADDING, LEAST, LOWEST, UNKNOWN},
    "a softmax": {NO_PADDING, LOWEST, UNKNOWN},
}
HARMLESS |= {"a running mean": HARMLESS["a mean"], "a running sum": HARMLESS["a sum"]}
LOSS = re.compile(r"(?i)(?!\w*(mse|l1|huber))\w*(entropy|crit(?!ic)|loss)")
OF_A_DECODER = re.compile(r"(?i)dec(oder)?\d?$|decode|transformer")
# What tells of a tensor without reading what it holds.
OF_ITS_SHAPE = {"size", "shape", "dim", "ndim", "dtype", "device", "numel", "stride", "new_zeros"}
TELLS = {"print", "len", "isinstance", "type", "allclose", "equal", "assert_close"}


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


class Check:
    """The mistakes of a file, by line and code."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.source = path, Source(text)
        self.findings: dict[tuple[int, str], Finding] = {}
        networks = [network_made_by(node, self.source) for node in self.source.nodes]
        self.networks = [network for network in networks if network is not None]
        if not self.networks:
            return
        for node in self.source.nodes:
            if isinstance(node, ast.Module | FUNCTION):
                CheckOfFunction(self, node)
        next_tokens(self)

    def report(self, node: Any, code: str, *words: str) -> None:
        text = MISTAKES_BY_RULE[code].rules[code].format(*words)
        self.findings[node.lineno, code] = Finding(str(self.path), node.lineno, code, text)


class CheckOfFunction:
    """Applies the rules to each expression of a function; what another line may make right, such as
    `h_n[-1]` beside `h_n[-2]`, is judged at its end."""

    def __init__(self, check: Check, node: ast.AST) -> None:
        self.report, self.source = check.report, check.source
        # Each h_n[-1] of two directions, and the networks of which more is read.
        self.backward_states: list[tuple[ast.AST, Network]] = []
        self.networks_read_otherwise: set[Network] = set()
        # Each output[:, -1] of two directions, with how it holds padding; and those of which half
        # is read.
        self.last_steps: list[tuple[ast.AST, str]] = []
        self.halved_columns: set[ast.AST | None] = set()
        self.reader = Reader(check.source, node, self._look)
        self.scales_by_lengths = _scales_by_lengths(node)
        self.reader.read()
        for rule in (backward_state_alone, last_step_of_two_directions):
            rule(self)

    def _look(self, reader: Reader, node: ast.expr) -> None:
        self.reader = reader
        for node_type, rules in RULES_BY_NODE.items():
            if isinstance(node, node_type):
                for rule in rules:
                    rule(self, node)

    def holds_padding(self, states: States, node: ast.AST) -> str:
        """`holds`, `may hold`, or nothing."""
        if states.padding == NO_PADDING or self._is_of_one_length(node):
            return ""
        if states.padding != NOT_SAID:
            return "holds"
        return "may hold" if self.reader.pads else ""

    def _is_of_one_length(self, node: ast.AST) -> bool:
        """Whether it is chosen where there are no lengths: `a if lengths is None else b`."""
        for inner, outer in self._outwards(node):
            if isinstance(outer, ast.IfExp):
                branch = branch_of_one_length(outer.test)
                if branch and inner is getattr(outer, branch):
                    return True
        return False

    def is_only_shown(self, node: ast.AST) -> bool:
        """Whether it is printed, compared by an assertion, or asked for its shape alone."""
        for _, outer in self._outwards(node):
            if isinstance(outer, ast.Assert):
                return True
            if isinstance(outer, ast.Attribute) and outer.attr in OF_ITS_SHAPE:
                return True
            if isinstance(outer, ast.Call) and last_name(outer.func) in TELLS:
                return True
        return False

    def _outwards(self, node: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
        """Each expression around it with the one inside, up to its statement."""
        while isinstance(node, ast.expr) and node in self.source.parents:
            outer = self.source.parents[node]
            yield node, outer
            node = outer


# RNN001, RNN002 and RNN008: the last entry of an axis


def last_column(check: CheckOfFunction, node: Any) -> None:
    column = check.reader.column_read(node)
    if column is None or check.is_only_shown(node):
        return
    states = column.states
    is_last_row = column.axis == "B" and not column.is_one_of_more
    if is_last_row and not states.may_lack_rows:
        axes = f"({', '.join(states.axes)})"
        says = f"{ast.unparse(node)} is the last row"
        check.report(node, "RNN008", says, str(states.network.batch_first), axes)
    if column.axis != "T":
        return
    if states.kind in RUNNING:
        report_pool(check, node, states, RUNNING[states.kind])
        return
    holds = "" if check.source.pads_left else check.holds_padding(states, node)
    if states.network.bidirectional and not column.is_half:
        check.last_steps.append((node, holds))
    elif holds:
        check.report(node, "RNN002", holds)


def half_of_last_step(check: CheckOfFunction, node: Any) -> None:
    """Notes `last[:, :H]` and `last.chunk(2, dim=1)`, where `last = output[:, -1]`."""
    if isinstance(node, ast.Subscript):
        value = check.reader.value_of(node.value)
        is_half = indices_of(node)[-1] != ":" and ":" in indices_of(node)[-1]
    else:
        value = check.reader.call(node).value
        is_half = last_name(node.func) in HALVES
    if is_half and isinstance(value, States) and value.kind == "last_step":
        check.halved_columns.add(value.column)


def last_step_of_two_directions(check: CheckOfFunction) -> None:
    for node, holds in check.last_steps:
        if node not in check.halved_columns:
            check.report(node, "RNN001")
        elif holds:
            check.report(node, "RNN002", holds)


# RNN003


def pool_over_padding(check: CheckOfFunction, node: Any) -> None:
    name, call = last_name(node.func), check.reader.call(node)
    states = call.value
    if name not in POOLS or not isinstance(states, States) or states.kind != "output":
        return
    axis = _pooled_axis(check, node, call.arguments)
    if axis is None or states.axes[axis : axis + 1 or None] != "T":
        return
    pool = POOLS[name]
    if pool == "a sum" and _is_divided_by_columns(check, node, states.axes):
        pool = "a mean"
    report_pool(check, node, states, pool)


def report_pool(check: CheckOfFunction, node: ast.AST, states: States, pool: str) -> None:
    """Unless the padding that it counts is masked, harmless, or taken out of it."""
    if any("mask" in name for name in check.reader.names):
        return
    holds = check.holds_padding(states, node)
    is_mean = HARMLESS[pool] == HARMLESS["a mean"]
    is_scaled = is_mean and states.padding in (ZEROS, LEAST) and check.scales_by_lengths
    if holds and states.padding not in HARMLESS[pool] and not is_scaled:
        check.report(node, "RNN003", pool, holds.replace("hold", "count"))


def _is_divided_by_columns(check: CheckOfFunction, node: ast.AST, axes: str) -> bool:
    """`output.sum(1) / output.shape[1]`, also by a name that is set to the number of columns."""
    division = check.source.parents.get(node)
    if not isinstance(division, ast.BinOp) or not isinstance(division.op, ast.Div):
        return False
    if division.left is not node:
        return False
    divisor = ast.unparse(division.right)
    set_to = check.reader.last_set_to.get(divisor)
    if set_to is not None:
        divisor = ast.unparse(set_to)
    axis = axes.index("T")
    return re.search(rf"\.(size\(|shape\[)({axis}|{axis - 3})[)\]]$", divisor) is not None


def _pooled_axis(check: CheckOfFunction, node: ast.Call, arguments: list[ast.expr]) -> int | None:
    words = {keyword.arg: keyword.value for keyword in node.keywords}
    named = [words[w] for w in ("dim", "axis", "kernel_size", "output_size") if w in words]
    given = (named or arguments or [ast.Constant(None)])[0]
    name = last_name(node.func)
    if name.endswith("pool1d"):  # It may pool a few columns.
        whole = "1" if "adaptive" in name else r".*(size\(|shape\[).*"
        return 2 if re.fullmatch(whole, ast.unparse(given)) else None
    if isinstance(given, ast.Tuple | ast.List) and len(given.elts) == 1:
        given = given.elts[0]
    axis = check.source.constant(given)
    return axis if isinstance(axis, int) else None


def _scales_by_lengths(function: ast.AST) -> bool:
    """`pooled * time / lengths`: then a mean of zeros at padding is one of valid steps."""
    lengths = {*_names_of_lengths(function)}
    for node in ast.walk(function):
        scales = isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Div)
        scales |= isinstance(node, ast.Call) and last_name(node.func) in ("mul", "div")
        if scales and any(name in lengths or LENGTHS.fullmatch(name) for name in names_in(node)):
            return True
    return False


def _names_of_lengths(function: ast.AST) -> Iterator[str]:
    """What packing takes as the lengths of rows, and unpacking returns."""
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and last_name(node.func) == "pack_padded_sequence":
            for argument in node.args[1:2]:
                yield from names_in(argument)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            target = node.targets[0]
            is_unpacked = last_name(node.value.func) == "pad_packed_sequence"
            if is_unpacked and isinstance(target, ast.Tuple):
                yield from names_in(target.elts[-1])


# RNN004


def flattened_states(check: CheckOfFunction, node: Any) -> None:
    call = check.reader.call(node)
    states, shape = call.value, call.arguments
    if last_name(node.func) not in VIEWS or not isinstance(states, States) or states.kind != "h_n":
        return
    if len(shape) == 1 and isinstance(shape[0], ast.Tuple | ast.List):
        shape = shape[0].elts
    has_several = states.network.bidirectional or (states.network.layers or 1) > 1
    if not has_several or len(shape) != 2 or isinstance(shape[0], ast.Starred):
        return
    rows, width = shape
    is_one_row = check.source.constant(rows) == 1
    if not is_one_row and not _keeps_each_state(check, states.network, rows, width):
        check.report(node, "RNN004")


def _keeps_each_state(
    check: CheckOfFunction, network: Network, rows: ast.expr, width: ast.expr
) -> bool:
    """`h_n.view(-1, hidden_size)` has a row for each state."""
    if check.source.constant(rows) != -1 or isinstance(width, ast.BinOp):
        return False
    size = check.source.constant(width)
    return size is None or size == network.hidden_size


# RNN005


def layers_for_directions(check: CheckOfFunction, node: Any) -> None:
    states = check.reader.value_of(node.value)
    if not isinstance(states, States) or states.kind != "h_n" or not states.network.bidirectional:
        return
    if re.fullmatch(r":[\w.]*layers", indices_of(node)[0]) and states.network.layers != 1:
        check.report(node, "RNN005")


# RNN011


def joined_layers(check: CheckOfFunction, node: Any) -> None:
    """`torch.cat([h_n[2], h_n[1]])`: forward of one layer, backward of another."""
    joined = node.args[0] if node.args else None
    if last_name(node.func) not in JOINS or not isinstance(joined, ast.Tuple | ast.List):
        return
    if len(joined.elts) != 2 or check.is_only_shown(node):
        return
    one, other = (check.reader.value_of(element) for element in joined.elts)
    if not isinstance(one, FinalState) or not isinstance(other, FinalState):
        return
    if one.network.bidirectional and _are_of_two_layers(one, other):
        check.report(node, "RNN011")


def _are_of_two_layers(one: FinalState, other: FinalState) -> bool:
    """Whether they are different directions of different layers."""
    counts_from_both_ends = (one.index < 0) != (other.index < 0)
    if one.network != other.network or (counts_from_both_ends and one.network.layers is None):
        return False
    layer, direction = one.layer_and_direction
    other_layer, other_direction = other.layer_and_direction
    return layer != other_layer and direction != other_direction


# RNN006


def states_read(check: CheckOfFunction, node: Any) -> None:
    """Notes `h_n[-1]` of two directions, and whatever else is read of such an `h_n`."""
    if not isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
        return
    states = check.reader.value_of(node)
    if not isinstance(states, States) or states.kind not in ("h_n", "by_layer", "final"):
        return
    network = replace(states.network, layers=None)
    parent = check.source.parents.get(node)
    if not network.bidirectional:
        return
    if isinstance(parent, ast.Subscript) and parent.value is node and states.kind == "h_n":
        if indices_of(parent)[0] in ("-1", "-1:"):
            if not check.is_only_shown(parent):
                check.backward_states.append((parent, network))
        else:
            check.networks_read_otherwise.add(network)
    elif not _is_followed(check, node, parent):
        check.networks_read_otherwise.add(network)


def _is_followed(check: CheckOfFunction, node: ast.AST, parent: ast.AST | None) -> bool:
    """Whether the reader knows what becomes of states here, or nothing does."""
    if isinstance(parent, ast.Attribute):
        method = check.source.parents.get(parent)
        if parent.attr in OF_ITS_SHAPE:
            return True
        return isinstance(method, ast.Call) and check.reader.value_of(method) is not None
    if isinstance(parent, ast.Call) and last_name(parent.func) in TELLS:
        return True
    if isinstance(parent, ast.Call | ast.Subscript):
        return isinstance(check.reader.value_of(parent), States)
    return isinstance(parent, ast.Assign | ast.Compare | ast.Expr | ast.FormattedValue)


def backward_state_alone(check: CheckOfFunction) -> None:
    for node, network in check.backward_states:
        if network not in check.networks_read_otherwise:
            check.report(node, "RNN006")


# RNN007 and RNN009: what a network is given


def flipped_padding(check: CheckOfFunction, node: Any) -> None:
    network = check.reader.value_of(node.func)
    if not isinstance(network, Network) or not check.reader.pads or check.source.pads_left:
        return
    inputs, axes = check.reader.call(node).value, AXES.get(network.batch_first, "")
    if not axes or not isinstance(inputs, Inputs) or inputs.flipped_axis is None:
        return
    if axes[inputs.flipped_axis % 3] == "T":
        check.report(node, "RNN007")


def h_for_both(check: CheckOfFunction, node: Any) -> None:
    network = check.reader.value_of(node.func)
    state = node.args[1] if len(node.args) > 1 else None
    for keyword in node.keywords:
        if keyword.arg == "hx":
            state = keyword.value
    if not isinstance(network, Network) or not isinstance(state, ast.Tuple):
        return
    texts = [*map(ast.unparse, state.elts)]
    if len(texts) == 2 and texts[0] == texts[1] and not _may_start_both(check, state.elts[0]):
        check.report(node, "RNN009", texts[0])


def _may_start_both(check: CheckOfFunction, node: ast.expr) -> bool:
    """Whether h and c may start from it: from what no LSTM returned, such as zeros or a layer."""
    states = check.reader.value_of(node)
    if isinstance(states, States):
        return states.network.cell in ("GRU", "RNN")
    name = ast.unparse(node)
    set_to = check.reader.last_set_to.get(name)
    scope = check.source.scopes.get(node)
    of_class = scope.find(name).values.get(name, []) if scope and "." in name else []
    texts = [name, *(ast.unparse(value) for value in [set_to, *of_class] if value is not None)]
    return set_to is not None or any(map(MADE.search, texts)) or "Parameter" in " ".join(texts)


# RNN010: of the whole file


def next_tokens(check: Check) -> None:
    """`logits[:, :-1]` against `tokens[:, 1:]` under a cross-entropy, with networks of two
    directions alone."""
    source = check.source
    is_two_ways = all(network.bidirectional for network in check.networks)
    if not is_two_ways or not re.search("cross_entropy|CrossEntropyLoss", source.text):
        return
    for node in source.nodes:
        pair: list[ast.expr] = []
        called: Any = getattr(node, "func", None)
        called = getattr(called, "func", called)  # nn.NLLLoss()(logits, targets)
        if isinstance(node, ast.Call) and LOSS.match(last_name(called)):
            pair = node.args[:2]
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):
            pair = [] if _is_of_a_decoder(node, source) else node.value.elts
        if [[*_cuts(part)] for part in pair] == [[":-1"], ["1:"]]:
            check.report(node, "RNN010")
            return


def _is_of_a_decoder(assignment: ast.Assign, source: Source) -> bool:
    """Whether the first name that is set is what a decoder reads, beside its source."""
    [target] = assignment.targets[:1]
    if not isinstance(target, ast.Tuple) or not target.elts:
        return False
    name = ast.unparse(target.elts[0])
    for node in source.nodes:
        if isinstance(node, ast.Call):
            places = [n for n, word in enumerate(node.args) if ast.unparse(word) == name]
            is_named_so = OF_A_DECODER.search(last_name(node.func)) is not None
            if places and (places[0] > 0 or is_named_so):
                return True
    return False


def _cuts(node: ast.AST) -> Iterator[str]:
    """How columns are cut: `[:, :-1]`. Not in what a decoder is given beside its source."""
    if isinstance(node, ast.Subscript):
        yield from {":-1", "1:"} & {*ast.unparse(node.slice).strip("()").split(", ")[1:2]}
    inside = [node.func, *node.args[:1]] if isinstance(node, ast.Call) else None
    for child in inside or ast.iter_child_nodes(node):
        yield from _cuts(child)


RULES_BY_NODE: dict[Any, Any] = {
    ast.Name | ast.Attribute: [states_read],
    ast.Subscript: [states_read, last_column, half_of_last_step, layers_for_directions],
    ast.Call: [
        *(states_read, last_column, half_of_last_step, pool_over_padding, flattened_states),
        *(flipped_padding, h_for_both, joined_layers),
    ],
}
"""What looks at each expression."""
