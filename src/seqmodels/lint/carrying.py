"""Which calls of a network carry a state on, as where rows are read in chunks or step by step."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

from seqmodels.lint.source import BLOCKS, FUNCTION, LOOP, names_in, without_unchanging_calls

# Names of states, and of functions that make them, with which rows begin.
FIRST_STATE = re.compile(r"zeros|ones|rand|init|[hc]_?0\b")
STATE_ARGUMENTS = ("hx", "state", "hidden")


def carrying_calls(function: Any) -> Iterator[ast.Call]:
    """The calls that take a state from before and give one that goes on, as in
    `output, state = rnn(inputs, state)`. Their rows have no padding yet, or no end."""
    texts_read = set()
    for node in ast.walk(function):
        if isinstance(getattr(node, "ctx", None), ast.Load):
            texts_read.add(ast.unparse(node))
    yield from _carrying_calls_in(function.body, set(), texts_read)


def _carrying_calls_in(
    statements: list[Any], first_states: set[str], texts_read: set[str]
) -> Iterator[ast.Call]:
    """The calls that carry a state, in these statements and in those inside them.

    Args:
        first_states: the names of states that were made before, and with which rows begin.
        texts_read: what the function reads, as it is written.
    """
    for statement in statements:
        if isinstance(statement, ast.ClassDef | FUNCTION):
            continue
        if not isinstance(statement, ast.Assign):
            # A state that was made before a loop is carried through it.
            is_loop = isinstance(statement, LOOP)
            first_states_inside = set() if is_loop else first_states
            for block in BLOCKS:
                inner_statements = getattr(statement, block, [])
                yield from _carrying_calls_in(inner_statements, first_states_inside, texts_read)
            continue

        target = statement.targets[0]
        call = statement.value
        is_first_state = _names_first_state(call)
        state = _state_argument(call)
        if isinstance(call, ast.Call) and state is not None:
            begins_rows = _is_first_state(state, first_states)
            if not begins_rows and _is_state_read(target, texts_read):
                yield call
            # What a network returns from a first state doesn't come from before, either.
            is_first_state = is_first_state or begins_rows
        if is_first_state:
            first_states = first_states | _dotted_names(target)
        else:
            first_states = first_states - _dotted_names(target)


def _state_argument(node: ast.expr) -> ast.expr | None:
    """The second argument of a call, or the one that is named as a state."""
    if not isinstance(node, ast.Call):
        return None
    if len(node.args) > 1:
        return node.args[1]
    for keyword in node.keywords:
        if keyword.arg in STATE_ARGUMENTS:
            return keyword.value
    return None


def _is_first_state(state: ast.expr, first_states: set[str]) -> bool:
    """Whether rows begin with a state. They do with None, too, which names no state."""
    if _dotted_names(state) <= first_states:
        return True
    return _names_first_state(without_unchanging_calls(state))


def _names_first_state(node: ast.AST) -> bool:
    return any(FIRST_STATE.search(name) for name in names_in(node))


def _is_state_read(target: ast.expr, texts_read: set[str]) -> bool:
    """Whether the function reads the state of what a network returned to this target."""
    if isinstance(target, ast.Tuple | ast.List):
        if len(target.elts) != 2:
            return False
        return not texts_read.isdisjoint(_dotted_names(target.elts[1]))
    return f"{ast.unparse(target)}[1]" in texts_read


def _dotted_names(node: ast.AST) -> set[str]:
    """`h` and `self.c` in `(h, self.c)`."""
    if isinstance(node, ast.Name | ast.Attribute):
        return {ast.unparse(node)}
    names: set[str] = set()
    for child in ast.iter_child_nodes(node):
        names |= _dotted_names(child)
    return names
