"""Read the statements of a function in their order, and know what each of its names holds."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from seqmodels.lint.calls import Call, value_of_call
from seqmodels.lint.carrying import carrying_calls
from seqmodels.lint.source import (
    BLOCKS,
    FUNCTION,
    LOOP,
    Source,
    entries_of,
    is_name_of_lengths,
    last_name,
    names_in,
)
from seqmodels.lint.values import (
    NOT_SAID,
    Inputs,
    Layers,
    Network,
    States,
    Value,
    after,
    cut,
    entry,
    module_made_by,
    module_of_name,
    returned_by,
)

# A branch that ends with one of these doesn't go on behind its `if`.
LEAVES = ast.Return | ast.Raise | ast.Continue | ast.Break
# The contents of states that have a column for each step.
CONTENTS_WITH_COLUMNS = ("output", "running_sum", "running_mean")
CHOOSES_A_TOKEN = {"argmax", "multinomial", "sample", "topk"}


@dataclass(frozen=True)
class Column:
    """The last entry of an axis of an output."""

    states: States
    axis: str  # B, T or H
    is_half: bool  # It takes some of the features alone.
    is_one_of_more: bool  # It takes an index of the first axis, and others after it.


class Reader:
    """The statements of a function, or of a file, and what its names hold after each.

    Args:
        look: gets each expression, and those in it, before the names that it sets are set.
    """

    def __init__(self, source: Source, node: Any, look: Callable[[ast.expr], None]) -> None:
        self.source = source
        self.node = node
        self.look = look
        self.values: dict[str, Value] = {}
        self.expressions_by_name: dict[str, ast.expr] = {}
        self.names = set(names_in(node))
        self.counters = set(_counters(node))
        self.carrying_calls = set(carrying_calls(node))
        self.may_be_padded = source.may_be_padded and not self._generates()

    def read(self) -> None:
        self._read_statements(self.node.body)

    def _generates(self) -> bool:
        """Whether a function continues rows: they go on from their end, and have no padding.

        Its name says so, or a loop that chooses a token and goes on from it.
        """
        if re.search("generate|sample", getattr(self.node, "name", "")):
            return True
        for loop in ast.walk(self.node):
            if not isinstance(loop, LOOP):
                continue
            nodes = list(ast.walk(loop))
            if any(_chooses_a_token(node) for node in nodes):
                carries_state = not self.carrying_calls.isdisjoint(nodes)
                if carries_state or any(_appends(node) for node in nodes):
                    return True
        return False

    # Statements.

    def _read_statements(self, statements: list[Any]) -> None:
        for statement in statements:
            if isinstance(statement, ast.ClassDef | FUNCTION):
                continue  # It is read by itself.
            self._look_at_expressions(statement)
            if isinstance(statement, ast.If):
                self._read_branches(statement)
                continue
            if isinstance(statement, ast.Assign):
                for target in statement.targets:
                    self._assign(target, statement.value)
            elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
                self._assign(statement.target, statement.value)
            elif isinstance(statement, ast.For | ast.AsyncFor):
                self._set(statement.target, None)
            for block in BLOCKS:
                self._read_statements(getattr(statement, block, []))

    def _look_at_expressions(self, statement: ast.stmt) -> None:
        """Shows what a statement reads to `look`, from each whole expression to its parts."""
        for role, expression in ast.iter_fields(statement):
            if role in ("target", "annotation") or not isinstance(expression, ast.expr):
                continue
            for node in ast.walk(expression):
                if isinstance(node, ast.expr):
                    self.look(node)

    def _read_branches(self, statement: ast.If) -> None:
        """Reads both branches; afterwards holds what both say."""
        values_before = self.values
        may_be_padded_before = self.may_be_padded
        unpadded_branch = branch_of_one_length(statement.test)

        # The values at the ends of the branches that go on behind the `if`.
        values_at_ends: list[dict[str, Value]] = []
        may_be_padded_afterwards = False
        for branch in ("body", "orelse"):
            statements = getattr(statement, branch)
            self.values = dict(values_before)
            self.may_be_padded = may_be_padded_before and branch != unpadded_branch
            self._read_statements(statements)
            goes_on = not statements or not isinstance(statements[-1], LEAVES)
            if goes_on:
                values_at_ends.append(self.values)
                may_be_padded_afterwards = may_be_padded_afterwards or self.may_be_padded

        self.may_be_padded = may_be_padded_afterwards
        if not values_at_ends:
            self.values = values_before
        elif len(values_at_ends) == 1:
            self.values = values_at_ends[0]
        else:
            self.values = _shared_values(*values_at_ends)

    def _assign(self, target: ast.expr, expression: ast.expr) -> None:
        value = self.value_of(expression) or module_made_by(expression, self.source)
        self._set(target, value)
        self.expressions_by_name[ast.unparse(target)] = expression

    def _set(self, target: ast.expr, value: Value) -> None:
        """Notes what a target holds now, or that the file doesn't say it any more."""
        if isinstance(target, ast.Tuple | ast.List):
            for index, element in enumerate(target.elts):
                self._set(element, entry(value, index))
            return
        if value is not None:
            self.values[ast.unparse(target)] = value
            return
        if isinstance(target, ast.Subscript):
            target = target.value  # `output[padding] = 0` changes an output in place.
        self.values.pop(ast.unparse(target), None)

    # Expressions.

    def value_of(self, node: ast.AST) -> Value:
        """What an expression holds; None: the file doesn't say."""
        if isinstance(node, ast.Name | ast.Attribute) and node in self.source.scopes:
            return self._value_of_name(node)
        if isinstance(node, ast.Subscript):
            return self._value_of_subscript(node)
        if isinstance(node, ast.Call):
            return self._value_of_call(node)
        if isinstance(node, ast.BinOp):
            return self._value_of_operation(node)
        if isinstance(node, ast.Tuple | ast.List):
            return self._first_inputs(node.elts)
        return None

    def _value_of_name(self, node: ast.AST) -> Value:
        name = ast.unparse(node)
        scope = self.source.scopes[node].scope_of(name)
        is_set_here = "." in name or scope is self.source.scopes[self.node]
        if name in self.values and is_set_here:
            return self.values[name]
        return module_of_name(name, node, self.source)

    def _value_of_subscript(self, node: ast.Subscript) -> Value:
        value = self.value_of(node.value)
        if not isinstance(value, States):
            return cut(value, node.slice, self.source, self.counters)
        last_step = self._last_step(node)
        if last_step is not None:
            return last_step
        index = node.slice
        if value.content in ("h_n", "c_n"):
            index = _without_whole_axes(index)
        number = self.source.constant(index)
        return entry(value, number) if isinstance(number, int) else None

    def _value_of_call(self, node: ast.Call) -> Value:
        function = self.value_of(node.func)
        call = self.call(node)
        if isinstance(function, Layers):
            return after(function.effects, call.value)
        if isinstance(function, Network):
            return returned_by(function, call.value, node in self.carrying_calls)
        if last_name(node.func) in ("div", "true_divide") and call.arguments:
            return self._divided(call.value, call.arguments[0])
        return self._last_step(node) or value_of_call(call)

    def _value_of_operation(self, node: ast.BinOp) -> Value:
        if isinstance(node.op, ast.MatMult):
            product = ast.Call(ast.Name("matmul"), [node.left, node.right], [])
            return self._value_of_call(product)
        if isinstance(node.op, ast.Div):
            running_mean = self._divided(self.value_of(node.left), node.right)
            if running_mean is not None:
                return running_mean
        return self._first_inputs(_operands(node))

    def _divided(self, value: Value, divisor: ast.expr) -> Value:
        """A running sum, divided by the numbers of its columns, is a running mean."""
        if not isinstance(value, States) or value.content != "running_sum":
            return None
        expression = self.expression_of(divisor)
        if "arange" in {*names_in(divisor), *names_in(expression)}:
            return replace(value, content="running_mean")
        return value

    def expression_of(self, node: ast.expr) -> ast.expr:
        """What a name was set to last; an expression itself."""
        return self.expressions_by_name.get(ast.unparse(node), node)

    def _first_inputs(self, nodes: list[ast.expr]) -> Value:
        for node in nodes:
            value = self.value_of(node)
            if isinstance(value, Inputs):
                return value
        return None

    def call(self, node: ast.Call) -> Call:
        """A call of a method, with the value before its dot; or of a function, with its first."""
        is_method = False
        if isinstance(node.func, ast.Attribute):
            value = self.value_of(node.func.value)
            if value is not None:
                return Call(node, self.source, value, node.args)
            is_method = not self._is_of_torch(node.func.value)
        first_value = self.value_of(node.args[0]) if node.args else None
        if is_method and first_value is None:
            return Call(node, self.source, None, node.args)
        return Call(node, self.source, first_value, node.args[1:])

    def _is_of_torch(self, node: ast.expr) -> bool:
        """Whether what stands before a dot is `torch` or `F`: behind it are functions."""
        return ast.unparse(node) in {"torch", "F", *self.source.names_of_torch.values()}

    # Columns.

    def column_read(self, node: ast.AST) -> Column | None:
        """The last entry of an axis that an index, or `select`, takes of an output."""
        states, indices = self._indexed(node)
        if not isinstance(states, States) or states.content not in CONTENTS_WITH_COLUMNS:
            return None
        # `...` stands for the axes that have no index.
        if "..." in indices:
            position = indices.index("...")
            number_of_axes = len(states.axes) + 1 - len(indices)
            indices[position : position + 1] = [":"] * number_of_axes

        # The first axis that is not taken as a whole, as the second one of output[:, -1].
        cut_axes = [axis for axis, index in enumerate(indices) if index != ":"]
        if not cut_axes or cut_axes[0] >= len(states.axes):
            return None
        first_axis = cut_axes[0]
        if indices[first_axis] not in ("-1", "-1:"):
            return None
        is_half = len(indices) == 3 and indices[states.axes.find("H")] != ":"
        is_one_of_more = first_axis == 0 and len(indices) > 1
        return Column(states, states.axes[first_axis], is_half, is_one_of_more)

    def _last_step(self, node: ast.AST) -> States | None:
        """The last step of an output, if this is what an index, or `select`, takes of it."""
        column = self.column_read(node)
        if column is None or column.axis != "T":
            return None
        return replace(column.states, content="last_step", axes="", column=node)

    def _indexed(self, node: ast.AST) -> tuple[Value, list[str]]:
        """A value, and the indices that are taken of it: of `output.select(1, -1)`, `:` and -1."""
        if isinstance(node, ast.Subscript):
            return self.value_of(node.value), indices_of(node)
        if not isinstance(node, ast.Call) or last_name(node.func) != "select":
            return None, []
        call = self.call(node)
        constants = call.constants("dim", "index")
        if len(constants) < 2:
            return None, []
        axis, index = constants[:2]
        if not isinstance(axis, int) or not isinstance(index, int):
            return None, []
        whole_axes = [":"] * (axis % 3)
        return call.value, [*whole_axes, str(index)]


def indices_of(node: ast.Subscript) -> list[str]:
    """The texts of the indices of a subscript."""
    texts = [ast.unparse(index) for index in entries_of(node.slice)]
    return texts or ["..."]  # `output[()]` is all of it.


def _without_whole_axes(index: ast.expr) -> ast.expr:
    """`-1` of `-1, :, :`; else the index itself."""
    if not isinstance(index, ast.Tuple) or not index.elts:
        return index
    if all(ast.unparse(axis_index) == ":" for axis_index in index.elts[1:]):
        return index.elts[0]
    return index


def _operands(node: ast.expr) -> list[ast.expr]:
    """`c`, `b` and `a` of `a + b + c`, whose tree may be deeper than Python can call."""
    operands = []
    while isinstance(node, ast.BinOp):
        operands.append(node.right)
        node = node.left
    operands.append(node)
    return operands


def _counters(function: ast.AST) -> Iterator[str]:
    """The names of numbers that a loop counts: `t` in `for t in range(10)`."""
    for loop in ast.walk(function):
        if not isinstance(loop, ast.For | ast.comprehension):
            continue
        if not isinstance(loop.iter, ast.Call):
            continue
        function_name = last_name(loop.iter.func)
        counter: ast.expr | None = None
        if function_name == "range":
            counter = loop.target
        elif function_name == "enumerate" and isinstance(loop.target, ast.Tuple):
            counter = loop.target.elts[0]
        if isinstance(counter, ast.Name):
            yield counter.id


def branch_of_one_length(test: ast.expr) -> str:
    """The branch of a condition in which no row is padded; empty: the file doesn't say.

    It is `body` for `lengths is None`, and `orelse` for `lengths is not None`.
    """
    if not isinstance(test, ast.Compare) or ast.unparse(test.comparators[0]) != "None":
        return ""
    name = last_name(test.left)
    if not is_name_of_lengths(name) and "mask" not in name:
        return ""
    return "body" if isinstance(test.ops[0], ast.Is) else "orelse"


def _shared_values(first: dict[str, Value], second: dict[str, Value]) -> dict[str, Value]:
    """What names hold after two branches, of which either may have been taken."""
    shared_values: dict[str, Value] = {}
    for name, value in first.items():
        second_value = second.get(name)
        if value == second_value:
            shared_values[name] = value
            # Equal states may differ in their padding.
            if isinstance(value, States) and value.padding != _padding_of(second_value):
                shared_values[name] = replace(value, padding=NOT_SAID)
    return shared_values


def _padding_of(value: Value) -> str:
    return value.padding if isinstance(value, States) else NOT_SAID


def _chooses_a_token(node: ast.AST) -> bool:
    """`logits.argmax(-1)`"""
    return isinstance(node, ast.Call) and last_name(node.func) in CHOOSES_A_TOKEN


def _appends(node: ast.AST) -> bool:
    """`tokens = torch.cat([tokens, token], 1)`"""
    if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
        return False
    if last_name(node.value.func) not in ("cat", "concat", "concatenate"):
        return False
    target = ast.unparse(node.targets[0])
    for inner_node in ast.walk(node.value):
        if isinstance(inner_node, ast.Name) and inner_node.id == target:
            return True
    return False
