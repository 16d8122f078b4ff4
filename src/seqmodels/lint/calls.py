"""What functions and methods of PyTorch make of a value: a table by their names."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from seqmodels.lint.source import SAME, Source, last_name
from seqmodels.lint.values import (
    AXES,
    COUNTS,
    EFFECTS_OF_FUNCTIONS,
    EMBEDS,
    LOWEST,
    UNKNOWN,
    ZEROS,
    Inputs,
    States,
    Value,
    after,
    reordered,
)

# An output of tanh or sigmoid is never below this.
LOWEST_OUTPUT = -1.0
# What a value that is filled in says when its text does.
VERY_LOW = ("-inf", "-math.inf", "-np.inf", "-torch.inf", "float('-inf')", ".min", "-float('inf')")


@dataclass(frozen=True)
class Call:
    """`value.method(arguments)` or `function(value, arguments)`."""

    node: ast.Call
    source: Source
    value: Value  # None: the file doesn't say
    arguments: list[ast.expr] = field(default_factory=list)

    @property
    def name(self) -> str:
        return last_name(self.node.func)

    @property
    def keywords(self) -> dict[str | None, ast.expr]:
        return {keyword.arg: keyword.value for keyword in self.node.keywords}

    def numbers(self, *names: str) -> list[Any]:
        """The arguments as constants, None for what is none: by place or by these names, each on
        its own or all in one tuple."""
        arguments = [*self.arguments, *(self.keywords[n] for n in names if n in self.keywords)]
        if len(arguments) == 1 and isinstance(arguments[0], ast.Tuple | ast.List):
            arguments = arguments[0].elts
        return [self.source.constant(argument) for argument in arguments]


def value_of_call(call: Call) -> Value:
    """What a call gives of its value; None: the file doesn't say."""
    if call.name in MADE_BY:
        return MADE_BY[call.name](call)
    if isinstance(call.value, Inputs):  # a layer that the file doesn't show keeps single steps
        kept = replace(call.value, flipped_axis=None)
        return after([EMBEDS], kept) if "emb" in call.name.lower() else kept
    return None


def _same(call: Call) -> Value:
    return call.value


def _with_effect(call: Call) -> Value:
    return after([EFFECTS_OF_FUNCTIONS[call.name]], call.value)


def _axis_of(call: Call) -> int | None:
    """The axis that is given last, as in `flip(inputs, [1])` and `inputs.unsqueeze(1)`."""
    given = [*call.node.args, *(keyword.value for keyword in call.node.keywords)][-1:]
    if given and isinstance(given[0], ast.Tuple | ast.List):
        given = given[0].elts
    axis = call.source.constant(given[0]) if len(given) == 1 else None
    return axis if isinstance(axis, int) else None


def _flip(call: Call) -> Value:
    axis = {"flipud": 0, "fliplr": 1}.get(call.name, _axis_of(call))
    return None if axis is None else Inputs(flipped_axis=axis)


def _unsqueeze(call: Call) -> Value:
    axis = _axis_of(call)
    if axis is None or isinstance(call.value, States):
        return None
    single_axes = {axis}
    if isinstance(call.value, Inputs) and axis >= 0:
        single_axes |= {n + 1 if n >= axis else n for n in call.value.single_axes}
    return Inputs(frozenset(single_axes))


def _of_shape(call: Call) -> Value:
    """A new tensor of a shape that is written out, such as `torch.full((rows, 1), start)`."""
    shape = [*call.node.args]
    if shape and isinstance(shape[0], ast.Tuple | ast.List):
        shape = shape[0].elts
    return _with_ones_of(shape, call.source)


def _of_numbers(call: Call) -> Value:
    """A tensor of numbers that are written out, such as `torch.tensor([[start]])`."""
    single_axes = set[int]()
    numbers: Any = call.node.args[0] if call.node.args else None
    for axis in range(2):
        if not isinstance(numbers, ast.List | ast.Tuple) or not numbers.elts:
            break
        if len(numbers.elts) == 1:
            single_axes.add(axis)
        numbers = numbers.elts[0]
    return Inputs(frozenset(single_axes)) if single_axes else None


def _with_ones_of(shape: list[ast.expr], source: Source) -> Value:
    sizes = [source.constant(size) for size in shape]
    single_axes = frozenset(axis for axis, size in enumerate(sizes) if size == 1)
    return Inputs(single_axes) if single_axes else None


def _view(call: Call) -> Value:
    shape = call.arguments
    if len(shape) == 1 and isinstance(shape[0], ast.Tuple | ast.List):
        shape = shape[0].elts
    if not isinstance(call.value, States):
        return _with_ones_of(shape, call.source)
    is_by_layer = call.value.kind == "h_n" and len(shape) == 4
    return replace(call.value, kind="by_layer") if is_by_layer else None


def _cat(call: Call) -> Value:
    joined = call.node.args[0] if call.node.args else None
    axes = call.numbers("dim", "axis")
    if isinstance(call.value, Inputs) and isinstance(joined, ast.Tuple | ast.List) and axes:
        return Inputs(call.value.single_axes - {axes[-1]})
    return None


def _narrow(call: Call) -> Value:
    """`inputs.narrow(1, step, 1)`"""
    axis, _, length = [*call.numbers(), None, None, None][:3]
    return Inputs(frozenset({axis})) if length == 1 and isinstance(axis, int) else None


def _unpack(call: Call) -> Value:
    if not isinstance(call.value, States) or call.value.kind != "output":
        return None
    is_batch_first: Any = False
    if None in call.keywords:  # **options
        is_batch_first = None
    elif "batch_first" in call.keywords:
        is_batch_first = call.source.constant(call.keywords["batch_first"])
    elif call.arguments:
        is_batch_first = call.source.constant(call.arguments[0])
    filled = [*call.arguments[1:2], *filter(None, [call.keywords.get("padding_value")])]
    padding = _padding_of(filled[0], call.source) if filled else ZEROS
    return replace(call.value, kind="unpacked", axes=AXES.get(is_batch_first, ""), padding=padding)


def _padding_of(padding_value: ast.expr, source: Source) -> str:
    number = source.constant(padding_value)
    if isinstance(number, int | float):
        if number == 0:
            return ZEROS
        return LOWEST if number <= LOWEST_OUTPUT else COUNTS
    return LOWEST if ast.unparse(padding_value).endswith(VERY_LOW) else UNKNOWN


def _running_sum(call: Call) -> Value:
    """`output.cumsum(1)`"""
    if not isinstance(call.value, States) or call.value.kind != "output":
        return None
    axes = call.numbers("dim", "axis")
    if len(axes) != 1 or not _is_axis(axes[0]) or call.value.axes.find("T") != axes[0] % 3:
        return None
    return replace(call.value, kind="running_sum")


def _transpose(call: Call) -> Value:
    axes = call.numbers("dim0", "dim1")
    if call.name in ("mT", "t") or len(axes) != 2 or not all(_is_axis(axis) for axis in axes):
        return None
    order = [*range(3)]
    one, other = (axis % 3 for axis in axes)
    order[one], order[other] = other, one
    return reordered(call.value, order)


def _permute(call: Call) -> Value:
    axes = call.numbers("dims")
    if len(axes) != 3 or not all(_is_axis(axis) for axis in axes):
        return None
    order = [axis % 3 for axis in axes]
    return reordered(call.value, order) if {*order} == {0, 1, 2} else None


def _is_axis(number: Any) -> bool:
    return isinstance(number, int) and -3 <= number < 3


def _squeeze(call: Call) -> Value:
    """Scores `(B, T, 1)` as `(B, T)`, or inputs of one row without their axis of rows."""
    if not isinstance(call.value, States):
        return Inputs(may_lack_rows=True) if call.numbers("dim") == [0] else None
    if call.value.kind == "last_step":
        return call.value
    if call.numbers("dim") in ([-1], [2]):
        return replace(call.value, axes=call.value.axes[:2])
    return None


def _matmul(call: Call) -> Value:
    """Scores of each step, or columns for other columns."""
    if not isinstance(call.value, States) or call.value.kind != "output":
        return None
    axes = call.value.axes if call.value.axes[2:] == "H" else ""
    return replace(call.value, axes=axes)


def _unknown(call: Call) -> Value:
    return None


MADE_BY: dict[str, Callable[[Call], Value]] = {
    **dict.fromkeys(SAME, _same),
    **dict.fromkeys(EFFECTS_OF_FUNCTIONS, _with_effect),
    **dict.fromkeys(("flip", "fliplr", "flipud"), _flip),
    "unsqueeze": _unsqueeze,
    **dict.fromkeys(
        ("zeros", "ones", "full", "empty", "new_zeros", "new_ones", "new_full"), _of_shape
    ),
    **dict.fromkeys(("tensor", "as_tensor", "LongTensor", "FloatTensor"), _of_numbers),
    **dict.fromkeys(("view", "reshape"), _view),
    **dict.fromkeys(("cat", "concat", "concatenate"), _cat),
    "narrow": _narrow,
    "pad_packed_sequence": _unpack,
    **dict.fromkeys(("transpose", "swapaxes", "swapdims"), _transpose),
    "permute": _permute,
    "cumsum": _running_sum,
    "squeeze": _squeeze,
    **dict.fromkeys(("matmul", "bmm"), _matmul),
    # What may make more of a single step.
    **dict.fromkeys(
        ("expand", "expand_as", "repeat", "repeat_interleave", "tile", "stack"), _unknown
    ),
}
"""By the name of a function or method: what it makes of its value."""
