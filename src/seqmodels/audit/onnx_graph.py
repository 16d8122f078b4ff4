"""Run an ONNX file, whoever made it, in any runtime, as a model and as a stream."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqmodels.errors import UserError
from seqmodels.installation import require

# An audit runs an input of a shape that a graph fixes many times.
MOST_VALUES = 10_000_000
# These words tell a state's input from its output, as the last letters of h0 and hn do.
ENDS = "input|output|in|out|initial|init|previous|prev|past|present|next|new|final|last"

# The shape of each input by its name: numbers where the graph fixes a size, else names of sizes.
Shapes = dict[str, list[Any]]

# A runtime: from an array of NumPy for each input, by its name, to one for each output, by its name
# or in the graph's order. (NumPy isn't imported here, because an audit of a model needs none.)
Run = Callable[[dict[str, Any]], Mapping[str, Any] | Sequence[Any]]


@dataclass(frozen=True)
class Ports:
    """Which of a graph's inputs and outputs is what, by their names."""

    inputs: str
    lengths: str | None
    states: dict[str, str]  # the output of each state by its input
    logits: str
    unknown: list[str]  # inputs that are nothing of these


class OnnxGraph:
    """An ONNX file as a model, `(inputs, lengths) -> logits`, and as a stream; both batch first.

    Args:
        run: runs the file; None: onnxruntime does.
    """

    def __init__(
        self, path: Path | str, kind: str, states: Mapping[str, str] | None, run: Run | None = None
    ) -> None:
        graph = _load(path)
        self.run_graph = _in_onnxruntime(path) if run is None else run
        shapes, self.types = _inputs_of(graph)
        _check_sizes(path, shapes)
        tokens = [name for name in shapes if "int" in self.types[name]]
        self.outputs = [output.name for output in graph.output]
        ports = _ports(shapes, tokens, self.outputs, states)
        self.inputs = ports.inputs
        self.lengths = ports.lengths
        self.logits = ports.logits
        self.states = ports.states
        self.state: dict[str, Tensor] = {}
        self.kind = kind
        # The shapes of inputs that get zeros: unknown ones, and states before a stream begins.
        self.zeros = {name: shapes.get(name, []) for name in [*ports.states, *ports.unknown]}

        first_size, second_size, features = [*shapes[self.inputs], None][:3]
        is_second_for_rows = "batch" in str(second_size)
        is_first_for_steps = str(first_size).lower().startswith(("t", "seq"))
        self.time_first = is_second_for_rows or is_first_for_steps
        if self.time_first:
            first_size, second_size = second_size, first_size
        rows = _fixed(first_size)
        self.time = _fixed(second_size)
        self.sizes: dict[str, Any] = {"batch": rows or 4, "time": self.time or 20}
        if self.inputs in tokens:
            self.sizes["vocabulary"] = _vocabulary(graph)
        else:
            self.sizes["features"] = _fixed(features)

        self.untested: list[str] = []
        for name in ports.unknown:
            self.untested.append(f"{name}: it gets zeros; states= may name its output")
        if rows or self.time:
            self.untested.append(f"other shapes than {shapes[self.inputs]}, which the graph fixes")
        self.untested.append(
            "truncated_direction, unread_direction, lost_gradient: a graph hides its states: audit "
            "the model"
        )

    def __deepcopy__(self, memo: Any) -> OnnxGraph:
        return copy.copy(self)  # A session can't be copied, and keeps nothing.

    def __call__(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        logits, *_ = self.run(inputs, {}, lengths)
        return logits

    def run(self, inputs: Tensor, state: dict[str, Tensor], lengths: Any = None) -> list[Tensor]:
        """The logits and the states after them, from rows without padding if no lengths are
        given."""
        rows, steps = inputs.shape[:2]
        feed = {self.inputs: inputs.transpose(0, 1) if self.time_first else inputs}
        for name, shape in self.zeros.items():
            sizes = [size if isinstance(size, int) else rows for size in shape]
            feed[name] = torch.zeros(sizes)
        if self.lengths:
            feed[self.lengths] = torch.full([rows], steps) if lengths is None else lengths
        feed |= state
        arrays = {
            name: tensor.detach().numpy().astype(self.types[name]) for name, tensor in feed.items()
        }
        outputs = self.run_graph(arrays)
        if not isinstance(outputs, Mapping):
            outputs = dict(zip(self.outputs, outputs, strict=True))
        names = [self.logits, *self.states.values()]
        # A runtime may keep the memory of its outputs, so they are copied.
        logits, *states_after = [torch.tensor(outputs[name]) for name in names]
        if self.time_first and logits.dim() > 2:
            logits = logits.transpose(0, 1)
        return [logits, *states_after]

    def reset(self) -> None:
        self.state = {}

    def stream(self, chunk: Tensor) -> Tensor:
        """The logits of each step, or `(B, K)` after the chunk; keeps the states."""
        logits, *states_after = self.run(chunk, self.state)
        self.state = dict(zip(self.states, states_after, strict=True))
        return logits if self.kind == "per_step" else logits.flatten(1)


def _load(path: Path | str) -> Any:
    """The graph."""
    require("onnx", "an audit of a graph", "export")
    import onnx

    graph = onnx.load(path).graph
    if any(node.op_type.startswith("DynamicQuantize") for node in graph.node):
        raise UserError(f"{path}: all rows, and padding, set its scales: audit the float graph")
    return graph


def _in_onnxruntime(path: Path | str) -> Run:
    """What runs a file as it is written."""
    require("onnxruntime", "an audit of a graph", "export")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    # It raises what it would log.
    options.log_severity_level = 4
    # Its optimizations would take out dropout that was left on.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options)
    return lambda arrays: session.run(None, arrays)


def _inputs_of(graph: Any) -> tuple[Shapes, dict[str, str]]:
    """The shape of each input, and NumPy's name for its type."""
    import onnx

    stored_tensors = {tensor.name for tensor in graph.initializer}
    shapes: Shapes = {}
    types = {}
    for value in graph.input:
        if value.name in stored_tensors:  # an input with a value of its own
            continue
        tensor_type = value.type.tensor_type
        shapes[value.name] = [_size(dimension) for dimension in tensor_type.shape.dim]
        types[value.name] = onnx.helper.tensor_dtype_to_np_dtype(tensor_type.elem_type).name
    return shapes, types


def _size(dimension: Any) -> int | str | None:
    """A number where the graph fixes it, else its name, if it has one."""
    if dimension.HasField("dim_value"):
        return dimension.dim_value
    return dimension.dim_param or None


def _check_sizes(path: Path | str, shapes: Shapes) -> None:
    for name, shape in shapes.items():
        fixed_sizes = [size for size in shape if isinstance(size, int)]
        if math.prod(fixed_sizes) > MOST_VALUES:
            raise UserError(
                f"{path} fixes the shape of {name}, {shape}, which is too large to audit: "
                "export it with smaller sizes, or with names for rows and steps"
            )


def _ports(
    shapes: Shapes, tokens: list[str], outputs: list[str], states: Mapping[str, str] | None
) -> Ports:
    """Guesses by names and shapes what nobody says."""
    if states is None:
        states = _states_by_name(shapes, outputs)
    vectors = [name for name in tokens if len(shapes[name]) == 1]
    lengths = next((name for name in vectors if name not in states), None)
    inputs_and_states = [name for name in shapes if name != lengths]
    if len(states) == len(inputs_and_states):
        # A graph may take a series and give one, by the same name: that is no state.
        series = inputs_and_states[0]
        states = {name: output for name, output in states.items() if name != series}
    inputs, *unexplained = _without(states, inputs_and_states)
    logits, *_ = _without(states.values(), outputs)
    # The session itself says which tokens are missing.
    unknown = _without(tokens, unexplained)
    return Ports(inputs, lengths, dict(states), logits, unknown)


def _without(excluded: Collection[str], names: list[str]) -> list[str]:
    return [name for name in names if name not in excluded]


def _fixed(size: Any) -> int | None:
    return size if isinstance(size, int) else None


def _states_by_name(shapes: Shapes, outputs: list[str]) -> dict[str, str]:
    """Inputs and outputs whose names differ in their ends alone."""
    outputs_by_stem = {_stem(output): output for output in outputs}
    outputs_by_stem.pop("", None)
    states: dict[str, str] = {}
    for name in shapes:
        stem = _stem(name)
        if stem in outputs_by_stem:
            states[name] = outputs_by_stem[stem]
    return states


def _vocabulary(graph: Any) -> int | None:
    """The rows of the first table in which the graph looks something up."""
    stored_tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type != "Gather":
            continue
        table = stored_tensors.get(node.input[0])
        if table and len(table.dims) == 2:
            return table.dims[0]
    return None


def _stem(name: str) -> str:
    """What the names of a state's input and output have in common."""
    words = [word for word in re.split(r"[_./]", name) if not re.fullmatch(ENDS, word.lower())]
    words_without_ends = [word.rstrip("0nNxy") for word in words]
    return "".join(words_without_ends)
