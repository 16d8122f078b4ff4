"""Read the statements of a function in their order, and know what each of its names holds."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from seqmodels.lint.calls import Call, value_of_call
from seqmodels.lint.source import FUNCTION, LENGTHS, Source, last_name, names_in, without_same
from seqmodels.lint.values import (
    NOT_SAID,
    Inputs,
    Layers,
    Network,
    States,
    Value,
    after,
    cut,
    item,
    known_module,
    module_made_by,
    returned_by,
)

LEAVES = ast.Return | ast.Raise | ast.Continue | ast.Break
# What a statement may consist of.
BLOCKS = ("body", "handlers", "orelse", "finalbody", "cases")
LOOP = ast.For | ast.AsyncFor | ast.While
# States with a column for each step.
WITH_COLUMNS = ("output", "running_sum", "running_mean")
# A state that is made, not carried.
MADE = re.compile(r"zeros|ones|rand|init|[hc]_?0\b")
CHOOSES_A_TOKEN = {"argmax", "multinomial", "sample", "topk"}

Look = Callable[["Reader", ast.expr], None]


@dataclass(frozen=True)
class Column:
    """The last entry of an axis of an output."""

    states: States
    axis: str  # B, T or H
    is_half: bool  # whether it takes a part of the features
    is_one_of_more: bool  # whether an index of the first axis is followed by others


class Reader:
    """The statements of a function, or of a file, and what its names hold after each.

    Args:
        look: gets each expression, and those in it, before the names that it sets are set.
    """

    def __init__(self, source: Source, node: Any, look: Look) -> None:
        self.source, self.node, self.look = source, node, look
        self.values: dict[str, Value] = {}
        self.last_set_to: dict[str, ast.expr] = {}
        self.names = {*names_in(node)}
        self.counters = {*_counters(node)}
        self.carrying_calls = {*_carrying_calls(node.body, set(), _Loads(node))}
        # What is generated goes on from the end of its row.
        is_named_so = re.search("generate|sample", getattr(node, "name", "")) is not None
        self.pads = source.pads and not is_named_so and not self._feeds_back()

    def read(self) -> None:
        self._statements(self.node.body)

    def _feeds_back(self) -> bool:
        """Whether a loop chooses a token, and goes on from it."""
        for loop in ast.walk(self.node):
            inside = [*ast.walk(loop)] if isinstance(loop, LOOP) else []
            chooses = any(
                isinstance(n, ast.Call) and last_name(n.func) in CHOOSES_A_TOKEN for n in inside
            )
            if chooses and (self.carrying_calls & {*inside} or any(map(_appends, inside))):
                return True
        return False

    # statements

    def _statements(self, body: list[Any]) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef | FUNCTION):
                continue  # It is read by itself.
            self._look_at_expressions(node)
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    value = self.value_of(node.value) or module_made_by(node.value, self.source)
                    self._set(target, value)
                    self.last_set_to[ast.unparse(target)] = node.value
            elif isinstance(node, ast.For | ast.AsyncFor):
                self._set(node.target, None)
            elif isinstance(node, ast.If):
                self._branches(node)
                continue
            for block in BLOCKS:
                self._statements(getattr(node, block, []))

    def _look_at_expressions(self, statement: ast.stmt) -> None:
        for role, expression in ast.iter_fields(statement):
            if isinstance(expression, ast.expr) and role not in ("target", "annotation"):
                for node in ast.walk(expression):
                    if isinstance(node, ast.expr):
                        self.look(self, node)

    def _branches(self, node: ast.If) -> None:
        """One or the other: afterwards holds what both say."""
        before, pads, ends = self.values, self.pads, []
        pads_afterwards = False
        for body in (node.body, node.orelse):
            self.values = dict(before)
            self.pads = pads and body is not getattr(node, branch_of_one_length(node.test), None)
            self._statements(body)
            if not body or not isinstance(body[-1], LEAVES):
                ends.append(self.values)
                pads_afterwards |= self.pads
        self.pads = pads_afterwards
        self.values, *others = ends or [before]
        for other in others:
            self.values = {
                name: _either(value, other[name])
                for name, value in self.values.items()
                if value == other.get(name)
            }

    def _set(self, target: ast.expr, value: Value) -> None:
        if isinstance(target, ast.Tuple | ast.List):
            for number, element in enumerate(target.elts):
                self._set(element, item(value, number))
        elif value is not None:
            self.values[ast.unparse(target)] = value
        else:
            # `output[padding] = 0` changes an output in place.
            changed = target.value if isinstance(target, ast.Subscript) else target
            self.values.pop(ast.unparse(changed), None)

    # expressions

    def value_of(self, node: ast.AST) -> Value:
        """What an expression holds; None: the file doesn't say."""
        if isinstance(node, ast.Name | ast.Attribute) and node in self.source.scopes:
            return self._value_of_name(node)
        if isinstance(node, ast.Subscript):
            return self._value_of_subscript(node)
        if isinstance(node, ast.Call):
            return self._value_of_call(node)
        if isinstance(node, ast.BinOp):
            if isinstance(node.op, ast.MatMult):
                product = ast.Call(ast.Name("matmul"), [node.left, node.right], [])
                return self._value_of_call(product)
            if isinstance(node.op, ast.Div):
                running_mean = self._divided(self.value_of(node.left), node.right)
                if running_mean is not None:
                    return running_mean
            return self._first_inputs(*_operands(node))
        if isinstance(node, ast.Tuple | ast.List):
            return self._first_inputs(*node.elts)
        return None

    def _divided(self, value: Value, divisor: ast.expr) -> Value:
        """A running sum, divided by the numbers of its columns, is a running mean."""
        if not isinstance(value, States) or value.kind != "running_sum":
            return None
        set_to = self.last_set_to.get(ast.unparse(divisor), divisor)
        if "arange" in {*names_in(divisor), *names_in(set_to)}:
            return replace(value, kind="running_mean")
        return value

    def _value_of_name(self, node: ast.AST) -> Value:
        name, own_scope = ast.unparse(node), self.source.scopes[self.node]
        home = self.source.scopes[node].find(name)
        if name in self.values and (home is own_scope or "." in name):
            return self.values[name]
        return known_module(name, node, self.source)

    def _value_of_subscript(self, node: ast.Subscript) -> Value:
        value = self.value_of(node.value)
        if not isinstance(value, States):
            return cut(value, node.slice, self.source, self.counters)
        column = self.column_read(node)
        if column is not None and column.axis == "T":
            return replace(value, kind="last_step", axes="", column=node)
        index = node.slice
        if value.kind in ("h_n", "c_n") and isinstance(index, ast.Tuple):
            first, *others = index.elts or [index]
            if all(ast.unparse(entry) == ":" for entry in others):
                index = first
        number = self.source.constant(index)
        return item(value, number) if isinstance(number, int) else None

    def _value_of_call(self, node: ast.Call) -> Value:
        called, call = self.value_of(node.func), self.call(node)
        if isinstance(called, Layers):
            return after(called.effects, call.value)
        if isinstance(called, Network):
            return returned_by(called, call.value, node in self.carrying_calls)
        if last_name(node.func) in ("div", "true_divide") and call.arguments:
            return self._divided(call.value, call.arguments[0])
        column = self.column_read(node)
        if column is not None and column.axis == "T":
            return replace(column.states, kind="last_step", axes="", column=node)
        return value_of_call(call)

    def _first_inputs(self, *nodes: ast.expr) -> Value:
        values = (self.value_of(node) for node in nodes)
        return next((value for value in values if isinstance(value, Inputs)), None)

    def call(self, node: ast.Call) -> Call:
        """A call of a function or a method, with what it is given first."""
        if isinstance(node.func, ast.Attribute):
            value = self.value_of(node.func.value)
            if value is not None:
                return Call(node, self.source, value, node.args)
        value = self.value_of(node.args[0]) if node.args else None
        is_method = isinstance(node.func, ast.Attribute) and not self._is_of_torch(node.func.value)
        if is_method and value is None:
            return Call(node, self.source, None, node.args)
        return Call(node, self.source, value, node.args[1:])

    def _is_of_torch(self, node: ast.expr) -> bool:
        """`torch` or `F`: what it calls are functions."""
        return ast.unparse(node) in {"torch", "F", *self.source.names_of_torch.values()}

    def column_read(self, node: ast.AST) -> Column | None:
        """The last entry of an axis that an index, or `select`, takes of an output."""
        states, indices = self._indexed(node)
        if not isinstance(states, States) or states.kind not in WITH_COLUMNS:
            return None
        if "..." in indices:
            place = indices.index("...")
            indices[place : place + 1] = [":"] * (len(states.axes) + 1 - len(indices))
        number = next((n for n, index in enumerate(indices) if index != ":"), len(states.axes))
        axis = states.axes[number : number + 1]
        if not axis or indices[number] not in ("-1", "-1:"):
            return None
        is_half = len(indices) == 3 and indices[states.axes.find("H")] != ":"
        return Column(states, axis, is_half, number == 0 and len(indices) > 1)

    def _indexed(self, node: ast.AST) -> tuple[Value, list[str]]:
        """A value, and the indices that are taken of it: of `output.select(1, -1)`, `:` and -1."""
        if isinstance(node, ast.Subscript):
            return self.value_of(node.value), indices_of(node)
        if not isinstance(node, ast.Call) or last_name(node.func) != "select":
            return None, []
        call = self.call(node)
        axis, index = [*call.numbers("dim", "index"), None, None][:2]
        if not isinstance(axis, int) or not isinstance(index, int):
            return None, []
        return call.value, [":"] * (axis % 3) + [str(index)]


def indices_of(node: ast.Subscript) -> list[str]:
    index = node.slice
    indices = index.elts if isinstance(index, ast.Tuple) else [index]
    return [*map(ast.unparse, indices)] or ["..."]  # output[()] is all of it


def _operands(node: ast.expr) -> Iterator[ast.expr]:
    """Of `a + b + c`, whose tree may be deeper than Python can call."""
    while isinstance(node, ast.BinOp):
        yield node.right
        node = node.left
    yield node


def _counters(function: ast.AST) -> Iterator[str]:
    """The names of numbers that a loop counts."""
    for loop in ast.walk(function):
        if isinstance(loop, ast.For | ast.comprehension) and isinstance(loop.iter, ast.Call):
            counter: ast.expr | None = loop.target
            if last_name(loop.iter.func) == "enumerate":
                counter = loop.target.elts[0] if isinstance(loop.target, ast.Tuple) else None
            elif last_name(loop.iter.func) != "range":
                counter = None
            if isinstance(counter, ast.Name):
                yield counter.id


def branch_of_one_length(test: ast.expr) -> str:
    """`body` for `lengths is None`, `orelse` for `lengths is not None`: there, no row is padded."""
    if not isinstance(test, ast.Compare) or ast.unparse(test.comparators[0]) != "None":
        return ""
    name = last_name(test.left)
    if not LENGTHS.fullmatch(name) and "mask" not in name:
        return ""
    return "body" if isinstance(test.ops[0], ast.Is) else "orelse"


def _either(value: Value, other: Value) -> Value:
    """What equal values of two branches hold after both."""
    if isinstance(value, States) and isinstance(other, States) and value.padding != other.padding:
        return replace(value, padding=NOT_SAID)
    return value


def _appends(node: ast.AST) -> bool:
    """`tokens = torch.cat([tokens, token], 1)`"""
    if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
        return False
    target = ast.unparse(node.targets[0])
    joined = [*node.value.args, *ast.walk(node.value)]
    is_cat = last_name(node.value.func) in ("cat", "concat", "concatenate")
    return is_cat and any(isinstance(n, ast.Name) and n.id == target for n in joined)


# states that are carried


class _Loads:
    """What a function reads, as it is written."""

    def __init__(self, function: ast.AST) -> None:
        self.texts = {
            ast.unparse(node)
            for node in ast.walk(function)
            if isinstance(getattr(node, "ctx", None), ast.Load)
        }

    def state_of(self, target: ast.expr) -> bool:
        """Whether it reads the state of what a network returned to this target."""
        if isinstance(target, ast.Tuple | ast.List):
            return len(target.elts) == 2 and bool(_dotted_names(target.elts[1]) & self.texts)
        return f"{ast.unparse(target)}[1]" in self.texts


def _carrying_calls(body: list[Any], made: set[str], loads: _Loads) -> Iterator[ast.Call]:
    """The calls that take a state from before and give one that goes on, as in
    `output, state = rnn(inputs, state)`: their rows have no padding yet, or no end.

    Args:
        made: the names of states that were made here, so that their rows begin.
    """
    for node in body:
        if isinstance(node, ast.ClassDef | FUNCTION):
            continue
        if isinstance(node, ast.Assign):
            [target, *_] = node.targets
            starts = _names_a_start(node.value)
            state = _state_given(node.value)
            if state is not None and isinstance(node.value, ast.Call):
                starts_here = _is_made_of(state, made)
                if not starts_here and loads.state_of(target):
                    yield node.value
                starts = starts or starts_here
            names = _dotted_names(target)
            made = made | names if starts else made - names
            continue
        # A state that was made before a loop is carried through it.
        made_there = set() if isinstance(node, LOOP) else made
        for block in BLOCKS:
            yield from _carrying_calls(getattr(node, block, []), made_there, loads)


def _state_given(node: ast.AST) -> ast.expr | None:
    if not isinstance(node, ast.Call):
        return None
    named = [keyword.value for keyword in node.keywords if keyword.arg in ("hx", "state", "hidden")]
    return [*node.args[1:2], *named, None][0]


def _is_made_of(state: ast.expr, made: set[str]) -> bool:
    """Whether rows begin with this state; so do those without one, as with None."""
    return _dotted_names(state) <= made or _names_a_start(without_same(state))


def _names_a_start(node: ast.AST) -> bool:
    return any(MADE.search(name) for name in names_in(node))


def _dotted_names(node: ast.AST) -> set[str]:
    """`h` and `self.c` in `(h, self.c)`."""
    if isinstance(node, ast.Name | ast.Attribute):
        return {ast.unparse(node)}
    return {name for child in ast.iter_child_nodes(node) for name in _dotted_names(child)}
