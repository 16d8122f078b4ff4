"""The rules: for each code of `MISTAKES_BY_RULE`, a function that finds it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from seqmodels.lint.carrying import FIRST_STATE
from seqmodels.lint.reader import Reader, branch_of_one_length, indices_of
from seqmodels.lint.source import (
    FUNCTION,
    Source,
    is_name_of_lengths,
    keywords_of,
    last_name,
    names_in,
    unpacked,
)
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
# Methods that separate the directions of a step.
HALVING_METHODS = {"chunk", "split", "tensor_split", "unflatten", "view", "reshape"}
JOINS = ("cat", "concat", "concatenate", "hstack")
# By the name of a function or method, what it makes of all columns.
POOLS = {
    "mean": "a mean",
    "avg_pool1d": "a mean",
    "adaptive_avg_pool1d": "a mean",
    "max": "a maximum",
    "amax": "a maximum",
    "max_pool1d": "a maximum",
    "adaptive_max_pool1d": "a maximum",
    "softmax": "a softmax",
    "log_softmax": "a softmax",
    "sum": "a sum",
}
# By the content of states, what their last column is made of all columns.
RUNNING_POOLS = {"running_sum": "a running sum", "running_mean": "a running mean"}
# Padding that changes nothing, or that the file doesn't show.
HARMLESS_PADDING = {
    "a mean": {NO_PADDING},
    "a running mean": {NO_PADDING},
    "a sum": {NO_PADDING, ZEROS, LEAST, UNKNOWN},
    "a running sum": {NO_PADDING, ZEROS, LEAST, UNKNOWN},
    "a maximum": {NO_PADDING, LEAST, LOWEST, UNKNOWN},
    "a softmax": {NO_PADDING, LOWEST, UNKNOWN},
}
LOSS = re.compile(r"(?i)(?!\w*(mse|l1|huber))\w*(entropy|crit(?!ic)|loss)")
DECODER = re.compile(r"(?i)dec(oder)?\d?$|decode|transformer")
# Attributes and functions that tell of a tensor without using what it holds.
SHAPE_ATTRIBUTES = {"size", "shape", "dim", "ndim", "dtype", "device", "numel", "stride"}
SHAPE_ATTRIBUTES |= {"new_zeros"}
SHOWING_FUNCTIONS = {"print", "len", "isinstance", "type", "allclose", "equal", "assert_close"}


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
        self.path = path
        self.source = Source(text)
        self.findings: dict[tuple[int, str], Finding] = {}
        self.networks: list[Network] = []
        for node in self.source.nodes:
            network = network_made_by(node, self.source)
            if network is not None:
                self.networks.append(network)
        if not self.networks:
            return
        for node in self.source.nodes:
            if isinstance(node, ast.Module | FUNCTION):
                CheckOfFunction(self, node).run()
        next_tokens(self)

    def report(self, node: Any, code: str, *words: str) -> None:
        """Notes a mistake. The words stand in the text of its rule."""
        text = MISTAKES_BY_RULE[code].rules[code].format(*words)
        self.findings[node.lineno, code] = Finding(str(self.path), node.lineno, code, text)


class CheckOfFunction:
    """Applies the rules to each expression of a function.

    What another line may make right, such as `h_n[-1]` beside `h_n[-2]`, is judged at its end.
    """

    def __init__(self, check: Check, node: ast.AST) -> None:
        self.report = check.report
        self.source = check.source
        self.reader = Reader(check.source, node, self._apply_rules)
        self.scales_by_lengths = _scales_by_lengths(node)
        # Each h_n[-1] of two directions, and the networks of which more is read.
        self.backward_states: list[tuple[ast.AST, Network]] = []
        self.networks_read_otherwise: set[Network] = set()
        # Each output[:, -1] of two directions, with how sure it is that it holds padding.
        self.last_steps: list[tuple[ast.AST, str]] = []
        # Those of them of which a half is read.
        self.halved_columns: set[ast.AST | None] = set()

    def run(self) -> None:
        self.reader.read()
        backward_state_alone(self)
        last_step_of_two_directions(self)

    def _apply_rules(self, node: ast.expr) -> None:
        if isinstance(node, ast.Name | ast.Attribute):
            rules = RULES_OF_NAMES
        elif isinstance(node, ast.Subscript):
            rules = RULES_OF_SUBSCRIPTS
        elif isinstance(node, ast.Call):
            rules = RULES_OF_CALLS
        else:
            return
        for rule in rules:
            rule(self, node)

    def padding_in(self, states: States, node: ast.AST) -> str:
        """How sure it is that states hold padding: `certain`, `possible`, or empty for none."""
        if states.padding == NO_PADDING or self._is_of_one_length(node):
            return ""
        if states.padding != NOT_SAID:
            return "certain"
        return "possible" if self.reader.may_be_padded else ""

    def _is_of_one_length(self, node: ast.AST) -> bool:
        """Whether it is chosen where there are no lengths: `a if lengths is None else b`."""
        for inner_node, outer_node in self._outwards(node):
            if isinstance(outer_node, ast.IfExp):
                branch = branch_of_one_length(outer_node.test)
                if branch and inner_node is getattr(outer_node, branch):
                    return True
        return False

    def is_only_shown(self, node: ast.AST) -> bool:
        """Whether it is printed, compared by an assertion, or asked for its shape alone."""
        for _, outer_node in self._outwards(node):
            if isinstance(outer_node, ast.Assert):
                return True
            if isinstance(outer_node, ast.Attribute) and outer_node.attr in SHAPE_ATTRIBUTES:
                return True
            if isinstance(outer_node, ast.Call) and last_name(outer_node.func) in SHOWING_FUNCTIONS:
                return True
        return False

    def _outwards(self, node: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
        """Each expression around it with the one inside, up to its statement."""
        while isinstance(node, ast.expr) and node in self.source.parents:
            outer_node = self.source.parents[node]
            yield node, outer_node
            node = outer_node


# RNN001, RNN002 and RNN008: the last entry of an axis


def last_column(check: CheckOfFunction, node: Any) -> None:
    column = check.reader.column_read(node)
    if column is None or check.is_only_shown(node):
        return
    states = column.states
    is_last_row = column.axis == "B" and not column.is_one_of_more
    if is_last_row and not states.may_lack_rows:
        sentence = f"{ast.unparse(node)} is the last row"
        axes = f"({', '.join(states.axes)})"
        check.report(node, "RNN008", sentence, str(states.network.batch_first), axes)
    if column.axis != "T":
        return
    if states.content in RUNNING_POOLS:
        report_pool(check, node, states, RUNNING_POOLS[states.content])
        return
    padding = ""
    if not check.source.is_padded_on_left:
        padding = check.padding_in(states, node)
    if states.network.bidirectional and not column.is_half:
        check.last_steps.append((node, padding))
    elif padding:
        report_last_column(check, node, padding)


def report_last_column(check: CheckOfFunction, node: ast.AST, padding: str) -> None:
    verb = "holds" if padding == "certain" else "may hold"
    check.report(node, "RNN002", verb)


def half_of_last_step(check: CheckOfFunction, node: Any) -> None:
    """Notes `last[:, :H]` and `last.chunk(2, dim=1)`, where `last = output[:, -1]`."""
    if isinstance(node, ast.Subscript):
        value = check.reader.value_of(node.value)
        last_index = indices_of(node)[-1]
        is_half = last_index != ":" and ":" in last_index
    else:
        value = check.reader.call(node).value
        is_half = last_name(node.func) in HALVING_METHODS
    if is_half and isinstance(value, States) and value.content == "last_step":
        check.halved_columns.add(value.column)


def last_step_of_two_directions(check: CheckOfFunction) -> None:
    for node, padding in check.last_steps:
        if node not in check.halved_columns:
            check.report(node, "RNN001")
        elif padding:
            report_last_column(check, node, padding)


# RNN003: a pooling over padding


def pool_over_padding(check: CheckOfFunction, node: Any) -> None:
    name = last_name(node.func)
    if name not in POOLS:
        return
    call = check.reader.call(node)
    states = call.value
    if not isinstance(states, States) or states.content != "output":
        return
    axis = _pooled_axis(check, node, call.arguments)
    if axis is None or not _is_axis_of_steps(axis, states.axes):
        return
    pool = POOLS[name]
    if pool == "a sum" and _is_divided_by_columns(check, node, states.axes):
        pool = "a mean"
    report_pool(check, node, states, pool)


def _is_axis_of_steps(axis: int, axes: str) -> bool:
    """Whether an axis, which may count from the end, is T."""
    return -len(axes) <= axis < len(axes) and axes[axis] == "T"


def report_pool(check: CheckOfFunction, node: ast.AST, states: States, pool: str) -> None:
    """Reports a pooling unless the padding that it counts is masked, harmless, or taken out."""
    if any("mask" in name for name in check.reader.names):
        return
    padding = check.padding_in(states, node)
    if not padding or states.padding in HARMLESS_PADDING[pool]:
        return
    # A mean of zeros at padding, times T / length, is the mean of valid steps.
    is_mean = pool in ("a mean", "a running mean")
    if is_mean and states.padding in (ZEROS, LEAST) and check.scales_by_lengths:
        return
    verb = "counts" if padding == "certain" else "may count"
    check.report(node, "RNN003", pool, verb)


def _is_divided_by_columns(check: CheckOfFunction, node: ast.AST, axes: str) -> bool:
    """`output.sum(1) / output.shape[1]`, also by a name that is set to the number of columns."""
    division = check.source.parents.get(node)
    if not isinstance(division, ast.BinOp) or not isinstance(division.op, ast.Div):
        return False
    if division.left is not node:
        return False
    divisor = ast.unparse(check.reader.expression_of(division.right))
    axis = axes.index("T")
    return re.search(rf"\.(size\(|shape\[)({axis}|{axis - 3})[)\]]$", divisor) is not None


def _pooled_axis(check: CheckOfFunction, node: ast.Call, arguments: list[ast.expr]) -> int | None:
    """The axis over which a call pools; None if the file doesn't say, or for a part of it."""
    argument = _axis_argument(node, arguments)
    if argument is None:
        return None
    name = last_name(node.func)
    if name.endswith("pool1d"):
        # The number of columns that it makes, or that it takes together, says if it takes all.
        pattern = "1" if "adaptive" in name else r".*(size\(|shape\[).*"
        takes_all_columns = re.fullmatch(pattern, ast.unparse(argument)) is not None
        return 2 if takes_all_columns else None
    if isinstance(argument, ast.Tuple | ast.List) and len(argument.elts) == 1:
        argument = argument.elts[0]
    axis = check.source.constant(argument)
    return axis if isinstance(axis, int) else None


def _axis_argument(node: ast.Call, arguments: list[ast.expr]) -> ast.expr | None:
    """The argument that says over what a call pools."""
    keywords = keywords_of(node)
    for name in ("dim", "axis", "kernel_size", "output_size"):
        if name in keywords:
            return keywords[name]
    return arguments[0] if arguments else None


def _scales_by_lengths(function: ast.AST) -> bool:
    """`pooled * time / lengths`: then a mean of zeros at padding is one of valid steps."""
    names_of_lengths = set(_names_of_lengths(function))
    for node in ast.walk(function):
        if not _is_product_or_quotient(node):
            continue
        for name in names_in(node):
            if name in names_of_lengths or is_name_of_lengths(name):
                return True
    return False


def _is_product_or_quotient(node: ast.AST) -> bool:
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.Mult | ast.Div)
    return isinstance(node, ast.Call) and last_name(node.func) in ("mul", "div")


def _names_of_lengths(function: ast.AST) -> Iterator[str]:
    """What packing takes as the lengths of rows, and unpacking returns."""
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and last_name(node.func) == "pack_padded_sequence":
            for lengths in node.args[1:2]:
                yield from names_in(lengths)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            target = node.targets[0]
            is_unpacked = last_name(node.value.func) == "pad_packed_sequence"
            if is_unpacked and isinstance(target, ast.Tuple):
                yield from names_in(target.elts[-1])


# RNN004: h_n flattened before it is transposed


def flattened_states(check: CheckOfFunction, node: Any) -> None:
    if last_name(node.func) not in VIEWS:
        return
    call = check.reader.call(node)
    states = call.value
    shape = unpacked(call.arguments)
    if not isinstance(states, States) or states.content != "h_n":
        return
    if len(shape) != 2 or isinstance(shape[0], ast.Starred):
        return
    network = states.network
    has_several_layers = network.layers is not None and network.layers > 1
    if not network.bidirectional and not has_several_layers:
        return
    rows, width = shape
    is_one_row = check.source.constant(rows) == 1
    if not is_one_row and not _has_row_for_each_state(check, network, rows, width):
        check.report(node, "RNN004")


def _has_row_for_each_state(
    check: CheckOfFunction, network: Network, rows: ast.expr, width: ast.expr
) -> bool:
    """`h_n.view(-1, hidden_size)`"""
    if check.source.constant(rows) != -1 or isinstance(width, ast.BinOp):
        return False
    size = check.source.constant(width)
    return size is None or size == network.hidden_size


# RNN005: layers taken for directions


def layers_for_directions(check: CheckOfFunction, node: Any) -> None:
    """`h_n[:num_layers]`"""
    states = check.reader.value_of(node.value)
    if not isinstance(states, States) or states.content != "h_n":
        return
    if not states.network.bidirectional or states.network.layers == 1:
        return
    if re.fullmatch(r":[\w.]*layers", indices_of(node)[0]):
        check.report(node, "RNN005")


# RNN011: directions of two layers


def joined_layers(check: CheckOfFunction, node: Any) -> None:
    """`torch.cat([h_n[2], h_n[1]])`: forward of one layer, backward of another."""
    if last_name(node.func) not in JOINS or not node.args:
        return
    tensors = node.args[0]
    if not isinstance(tensors, ast.Tuple | ast.List) or len(tensors.elts) != 2:
        return
    if check.is_only_shown(node):
        return
    first, second = [check.reader.value_of(tensor) for tensor in tensors.elts]
    if not isinstance(first, FinalState) or not isinstance(second, FinalState):
        return
    if first.network.bidirectional and _are_of_two_layers(first, second):
        check.report(node, "RNN011")


def _are_of_two_layers(first: FinalState, second: FinalState) -> bool:
    """Whether they are different directions of different layers."""
    if first.network != second.network:
        return False
    count_from_both_ends = (first.index < 0) != (second.index < 0)
    if count_from_both_ends and first.network.layers is None:
        return False
    first_layer, first_direction = first.layer_and_direction
    second_layer, second_direction = second.layer_and_direction
    return first_layer != second_layer and first_direction != second_direction


# RNN006: the backward state alone


def states_read(check: CheckOfFunction, node: Any) -> None:
    """Notes `h_n[-1]` of two directions, and whatever else is read of such an `h_n`."""
    if not isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
        return
    states = check.reader.value_of(node)
    if not isinstance(states, States) or states.content not in ("h_n", "by_layer", "final"):
        return
    if not states.network.bidirectional:
        return
    # States of one layer, as h_n.view(L, D, B, H) gives them, are of the same network.
    network = replace(states.network, layers=None)
    parent = check.source.parents.get(node)
    if states.content == "h_n" and isinstance(parent, ast.Subscript) and parent.value is node:
        is_backward_state = indices_of(parent)[0] in ("-1", "-1:")
        if not is_backward_state:
            check.networks_read_otherwise.add(network)
        elif not check.is_only_shown(parent):
            check.backward_states.append((parent, network))
    elif not _is_followed(check, parent):
        check.networks_read_otherwise.add(network)


def _is_followed(check: CheckOfFunction, parent: ast.AST | None) -> bool:
    """Whether the reader knows what becomes of states in the node around them, or nothing does."""
    if isinstance(parent, ast.Attribute):
        if parent.attr in SHAPE_ATTRIBUTES:
            return True
        method_call = check.source.parents.get(parent)
        if not isinstance(method_call, ast.Call):
            return False
        return check.reader.value_of(method_call) is not None
    if isinstance(parent, ast.Call) and last_name(parent.func) in SHOWING_FUNCTIONS:
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
    """`rnn(inputs.flip(1))`"""
    network = check.reader.value_of(node.func)
    if not isinstance(network, Network):
        return
    if not check.reader.may_be_padded or check.source.is_padded_on_left:
        return
    inputs = check.reader.call(node).value
    axes = AXES.get(network.batch_first, "")
    if not axes or not isinstance(inputs, Inputs) or inputs.flipped_axis is None:
        return
    if axes[inputs.flipped_axis % 3] == "T":
        check.report(node, "RNN007")


def h_for_both(check: CheckOfFunction, node: Any) -> None:
    """`rnn(inputs, (h, h))`"""
    network = check.reader.value_of(node.func)
    state = keywords_of(node).get("hx")
    if state is None and len(node.args) > 1:
        state = node.args[1]
    if not isinstance(network, Network) or not isinstance(state, ast.Tuple):
        return
    texts = [ast.unparse(element) for element in state.elts]
    if len(texts) != 2 or texts[0] != texts[1]:
        return
    if not _may_start_both(check, state.elts[0]):
        check.report(node, "RNN009", texts[0])


def _may_start_both(check: CheckOfFunction, node: ast.expr) -> bool:
    """Whether h and c may start from it: from what no LSTM returned, such as zeros or a layer."""
    states = check.reader.value_of(node)
    if isinstance(states, States):
        return states.network.cell in ("GRU", "RNN")
    name = ast.unparse(node)
    if name in check.reader.expressions_by_name:
        return True
    texts = [name]
    scope = check.source.scopes.get(node)
    if scope is not None and "." in name:
        values = scope.values_of(name)
        texts += [ast.unparse(value) for value in values if value is not None]
    return any(FIRST_STATE.search(text) or "Parameter" in text for text in texts)


# RNN010: a next token that is read before it is asked for


def next_tokens(check: Check) -> None:
    """`logits[:, :-1]` against `tokens[:, 1:]` under a cross-entropy, with networks of two
    directions alone. It reads the whole file."""
    source = check.source
    if not all(network.bidirectional for network in check.networks):
        return
    if not re.search("cross_entropy|CrossEntropyLoss", source.text):
        return
    for node in source.nodes:
        expressions = _compared_expressions(node, source)
        if _are_shifted_by_one(expressions):
            check.report(node, "RNN010")
            return


def _compared_expressions(node: ast.AST, source: Source) -> list[ast.expr]:
    """The logits and targets of a loss, or the values of an assignment that may become them."""
    if isinstance(node, ast.Call):
        function = getattr(node.func, "func", node.func)  # nn.NLLLoss()(logits, targets)
        return node.args[:2] if LOSS.match(last_name(function)) else []
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):
        return [] if _is_of_a_decoder(node, source) else node.value.elts
    return []


def _are_shifted_by_one(expressions: list[ast.expr]) -> bool:
    """Whether the first of two expressions lacks the last column, and the second the first."""
    if len(expressions) != 2:
        return False
    first_cuts, second_cuts = [list(_column_cuts(expression)) for expression in expressions]
    return first_cuts == [":-1"] and second_cuts == ["1:"]


def _is_of_a_decoder(assignment: ast.Assign, source: Source) -> bool:
    """Whether the first name that is set is what a decoder reads, beside its source."""
    target = assignment.targets[0]
    if not isinstance(target, ast.Tuple) or not target.elts:
        return False
    name = ast.unparse(target.elts[0])
    for node in source.nodes:
        if not isinstance(node, ast.Call):
            continue
        texts = [ast.unparse(argument) for argument in node.args]
        if name not in texts:
            continue
        is_beside_source = texts.index(name) > 0
        if is_beside_source or DECODER.search(last_name(node.func)):
            return True
    return False


def _column_cuts(node: ast.AST) -> Iterator[str]:
    """How columns are cut: `[:, :-1]`. Not in what a decoder is given beside its source."""
    if isinstance(node, ast.Subscript):
        indices = ast.unparse(node.slice).strip("()").split(", ")
        if len(indices) > 1 and indices[1] in (":-1", "1:"):
            yield indices[1]
    inner_nodes = list(ast.iter_child_nodes(node))
    if isinstance(node, ast.Call):
        inner_nodes = [node.func, *node.args[:1]]
    for inner_node in inner_nodes:
        yield from _column_cuts(inner_node)


# The rules of each expression, by its type.
RULES_OF_NAMES = [states_read]
RULES_OF_SUBSCRIPTS = [states_read, last_column, half_of_last_step, layers_for_directions]
RULES_OF_CALLS = [
    states_read,
    last_column,
    half_of_last_step,
    pool_over_padding,
    flattened_states,
    flipped_padding,
    h_for_both,
    joined_layers,
]
