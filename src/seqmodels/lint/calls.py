"""What functions and methods of PyTorch make of a value: a table by their names."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from seqmodels.lint.source import UNCHANGING_METHODS, Source, keywords_of, last_name, unpacked
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
# How the text of a padding value ends that is lower than all outputs.
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
        return keywords_of(self.node)

    def constants(self, *names: str) -> list[Any]:
        """The arguments that are given by position, then those of these names, as constants.

        None stands for what is no constant. They may also stand in one tuple: `permute((1, 0, 2))`.
        """
        keywords = self.keywords
        arguments = list(self.arguments)
        arguments += [keywords[name] for name in names if name in keywords]
        return [self.source.constant(argument) for argument in unpacked(arguments)]


def value_of_call(call: Call) -> Value:
    """What a call makes of its value; None: the file doesn't say."""
    if call.name in RESULTS_BY_NAME:
        return RESULTS_BY_NAME[call.name](call)
    if not isinstance(call.value, Inputs):
        return None
    # A layer that the file doesn't show keeps single steps.
    result = replace(call.value, flipped_axis=None)
    if "emb" in call.name.lower():
        return after([EMBEDS], result)
    return result


def _unchanged(call: Call) -> Value:
    return call.value


def _unknown(call: Call) -> Value:
    return None


def _with_effect(call: Call) -> Value:
    return after([EFFECTS_OF_FUNCTIONS[call.name]], call.value)


# Inputs that are turned or made.


def _flip(call: Call) -> Value:
    """`torch.flip(inputs, [1])`"""
    if call.name == "flipud":
        return Inputs(flipped_axis=0)
    if call.name == "fliplr":
        return Inputs(flipped_axis=1)
    axis = _last_argument_as_axis(call)
    return None if axis is None else Inputs(flipped_axis=axis)


def _unsqueeze(call: Call) -> Value:
    axis = _last_argument_as_axis(call)
    if axis is None or isinstance(call.value, States):
        return None
    single_axes = {axis}
    if isinstance(call.value, Inputs) and axis >= 0:
        for single_axis in call.value.single_axes:
            # The axes from the new one on move by one.
            single_axes.add(single_axis + 1 if single_axis >= axis else single_axis)
    return Inputs(frozenset(single_axes))


def _last_argument_as_axis(call: Call) -> int | None:
    """The axis that is given last, as in `flip(inputs, [1])` and `inputs.unsqueeze(1)`."""
    arguments = list(call.node.args)
    arguments += [keyword.value for keyword in call.node.keywords]
    last_arguments = unpacked(arguments[-1:])
    if len(last_arguments) != 1:
        return None
    axis = call.source.constant(last_arguments[0])
    return axis if isinstance(axis, int) else None


def _new_of_shape(call: Call) -> Value:
    """A new tensor of a shape that is written out, such as `torch.full((rows, 1), start)`."""
    shape = call.node.args
    if shape and isinstance(shape[0], ast.Tuple | ast.List):
        shape = shape[0].elts
    return _inputs_of_shape(shape, call.source)


def _inputs_of_shape(shape: list[ast.expr], source: Source) -> Value:
    sizes = [source.constant(size) for size in shape]
    single_axes = frozenset(axis for axis, size in enumerate(sizes) if size == 1)
    return Inputs(single_axes) if single_axes else None


def _new_of_numbers(call: Call) -> Value:
    """A tensor of numbers that are written out, such as `torch.tensor([[start]])`."""
    if not call.node.args:
        return None
    single_axes: set[int] = set()
    numbers = call.node.args[0]
    for axis in range(2):
        if not isinstance(numbers, ast.List | ast.Tuple) or not numbers.elts:
            break
        if len(numbers.elts) == 1:
            single_axes.add(axis)
        numbers = numbers.elts[0]
    return Inputs(frozenset(single_axes)) if single_axes else None


def _cat(call: Call) -> Value:
    """Joined inputs: the axis along which they are joined has more than one entry."""
    if not isinstance(call.value, Inputs) or not call.node.args:
        return None
    tensors = call.node.args[0]
    axes = call.constants("dim", "axis")
    if not isinstance(tensors, ast.Tuple | ast.List) or not axes:
        return None
    return Inputs(call.value.single_axes - {axes[-1]})


def _narrow(call: Call) -> Value:
    """`inputs.narrow(1, step, 1)`"""
    constants = call.constants()
    if len(constants) < 3:
        return None
    axis, _, length = constants[:3]
    if length != 1 or not isinstance(axis, int):
        return None
    return Inputs(frozenset({axis}))


# Outputs and final states.


def _view(call: Call) -> Value:
    shape = unpacked(call.arguments)
    if not isinstance(call.value, States):
        return _inputs_of_shape(shape, call.source)
    if call.value.content == "h_n" and len(shape) == 4:
        return replace(call.value, content="by_layer")
    return None


def _unpack(call: Call) -> Value:
    """`pad_packed_sequence(output, batch_first, padding_value)`: it gives an output and lengths."""
    if not isinstance(call.value, States) or call.value.content != "output":
        return None
    keywords = call.keywords
    is_batch_first: Any = False
    if None in keywords:  # **options
        is_batch_first = None
    elif "batch_first" in keywords:
        is_batch_first = call.source.constant(keywords["batch_first"])
    elif call.arguments:
        is_batch_first = call.source.constant(call.arguments[0])

    padding = ZEROS
    if len(call.arguments) > 1:
        padding = _padding_of(call.arguments[1], call.source)
    elif "padding_value" in keywords:
        padding = _padding_of(keywords["padding_value"], call.source)
    axes = AXES.get(is_batch_first, "")
    return replace(call.value, content="unpacked", axes=axes, padding=padding)


def _padding_of(padding_value: ast.expr, source: Source) -> str:
    number = source.constant(padding_value)
    if isinstance(number, int | float):
        if number == 0:
            return ZEROS
        return LOWEST if number <= LOWEST_OUTPUT else COUNTS
    is_very_low = ast.unparse(padding_value).endswith(VERY_LOW)
    return LOWEST if is_very_low else UNKNOWN


def _cumsum(call: Call) -> Value:
    """`output.cumsum(1)` is a running sum; over other axes than that of steps, it is none."""
    if not isinstance(call.value, States) or call.value.content != "output":
        return None
    axes = call.constants("dim", "axis")
    if len(axes) != 1 or not _is_axis(axes[0]):
        return None
    if call.value.axes.find("T") != axes[0] % 3:
        return None
    return replace(call.value, content="running_sum")


def _transpose(call: Call) -> Value:
    axes = call.constants("dim0", "dim1")
    if len(axes) != 2 or not _is_axis(axes[0]) or not _is_axis(axes[1]):
        return None
    first_axis = axes[0] % 3
    second_axis = axes[1] % 3
    order = [0, 1, 2]
    order[first_axis] = second_axis
    order[second_axis] = first_axis
    return reordered(call.value, order)


def _permute(call: Call) -> Value:
    axes = call.constants("dims")
    if len(axes) != 3 or not all(_is_axis(axis) for axis in axes):
        return None
    order = [axis % 3 for axis in axes]
    if set(order) != {0, 1, 2}:
        return None
    return reordered(call.value, order)


def _is_axis(number: Any) -> bool:
    """Whether a constant is an axis of a tensor of three."""
    return isinstance(number, int) and -3 <= number < 3


def _squeeze(call: Call) -> Value:
    """Scores `(B, T, 1)` as `(B, T)`, or inputs of one row without their axis of rows."""
    axes = call.constants("dim")
    if not isinstance(call.value, States):
        return Inputs(may_lack_rows=True) if axes == [0] else None
    if call.value.content == "last_step":
        return call.value
    if axes in ([-1], [2]):
        return replace(call.value, axes=call.value.axes[:2])
    return None


def _matmul(call: Call) -> Value:
    """A score for each step, or another vector; what was turned before is no output any more."""
    if not isinstance(call.value, States) or call.value.content != "output":
        return None
    is_by_steps = call.value.axes[2:] == "H"
    axes = call.value.axes if is_by_steps else ""
    return replace(call.value, axes=axes)


# By the name of a function or method, what it makes of its value.
RESULTS_BY_NAME: dict[str, Callable[[Call], Value]] = {
    **dict.fromkeys(UNCHANGING_METHODS, _unchanged),
    **dict.fromkeys(EFFECTS_OF_FUNCTIONS, _with_effect),
    **dict.fromkeys(["flip", "fliplr", "flipud"], _flip),
    "unsqueeze": _unsqueeze,
    **dict.fromkeys(["zeros", "ones", "full", "empty"], _new_of_shape),
    **dict.fromkeys(["new_zeros", "new_ones", "new_full"], _new_of_shape),
    **dict.fromkeys(["tensor", "as_tensor", "LongTensor", "FloatTensor"], _new_of_numbers),
    **dict.fromkeys(["cat", "concat", "concatenate"], _cat),
    "narrow": _narrow,
    **dict.fromkeys(["view", "reshape"], _view),
    "pad_packed_sequence": _unpack,
    "cumsum": _cumsum,
    **dict.fromkeys(["transpose", "swapaxes", "swapdims"], _transpose),
    "permute": _permute,
    "squeeze": _squeeze,
    **dict.fromkeys(["matmul", "bmm"], _matmul),
    # These may make more of a single step.
    **dict.fromkeys(["expand", "expand_as", "repeat", "repeat_interleave", "tile"], _unknown),
    "stack": _unknown,
}
