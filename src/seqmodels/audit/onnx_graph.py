"""Run an ONNX file, whoever made it, as a model and as a stream, by onnxruntime."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqmodels.errors import UserError
from seqmodels.installation import require

MOST_VALUES = 10_000_000  # of an input whose shape a graph fixes: an audit runs it many times
# words that tell a state's input from its output, as the last letters of h0 and hn do
ENDS = "input|output|in|out|initial|init|previous|prev|past|present|next|new|final|last"


class OnnxGraph:
    """An ONNX file as a model, `(inputs, lengths) -> logits`, and as a stream; both batch first."""

    def __init__(self, path: Path | str, kind: str, states: Mapping[str, str] | None) -> None:
        for package in ("onnx", "onnxruntime"):
            require(package, "an audit of a graph", "export")
        import onnx
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 4  # it raises what it logs
        # as it is written: onnxruntime's optimizations take out dropout that was left on
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        graph = onnx.load(path).graph
        if any(node.op_type.startswith("DynamicQuantize") for node in graph.node):
            raise UserError(f"{path}: all rows, and padding, set its scales: audit the float graph")
        outputs = [each.name for each in graph.output]
        stored = {each.name: each for each in graph.initializer}
        self.session = onnxruntime.InferenceSession(str(path), options)
        every = self.session.get_inputs()
        self.types = {v.name: re.sub("float$", "single", v.type[7:-1]) for v in every}  # NumPy's
        shapes = {each.name: each.shape for each in every}
        for name, shape in shapes.items():
            if math.prod(size for size in shape if isinstance(size, int)) > MOST_VALUES:
                raise UserError(
                    f"{path} fixes the shape of {name}, {shape}, which is too large to audit: "
                    "export it with smaller sizes, or with names for rows and steps"
                )
        tokens = [name for name in shapes if "int" in self.types[name]]
        if states is None:
            alike = {_stem(name): name for name in outputs if _stem(name)}
            states = {name: alike[_stem(name)] for name in shapes if _stem(name) in alike}
        counts = [name for name in tokens if len(shapes[name]) == 1 and name not in states]
        self.lengths = counts[0] if counts else None
        rest = [name for name in shapes if name != self.lengths]
        if len(states) == len(rest):  # a series in, and a series out
            states = {name: of for name, of in states.items() if name != rest[0]}
        self.states, self.state, self.kind = states, dict[str, Tensor](), kind
        self.inputs, *others = [name for name in rest if name not in states]
        self.logits = next(name for name in outputs if name not in states.values())
        others = [name for name in others if name not in tokens]  # it says that these are missing
        self.zeros = {name: shapes.get(name, []) for name in [*states, *others]}
        shape = [*shapes[self.inputs], None][:3]
        self.time_first = "batch" in str(shape[1]) or str(shape[0]).lower().startswith(("t", "seq"))
        rows, self.time, features = (n if isinstance(n, int) else None for n in shape)
        if self.time_first:
            rows, self.time = self.time, rows
        what, size = "features", features
        if self.inputs in tokens:
            read = [stored.get(node.input[0]) for node in graph.node if node.op_type == "Gather"]
            tables = [table.dims[0] for table in read if table and len(table.dims) == 2]
            what, size = "vocabulary", tables[0] if tables else None
        self.sizes: dict[str, Any] = {"batch": rows or 4, "time": self.time or 20, what: size}
        self.untested = [f"{name}: it gets zeros; states= may name its output" for name in others]
        if rows or self.time:
            self.untested.append(f"other shapes than {shapes[self.inputs]}, which the graph fixes")
        of_networks = "truncated_direction, unread_direction, lost_gradient"
        self.untested.append(f"{of_networks}: a graph hides its states: audit the model")

    def __deepcopy__(self, memo: Any) -> OnnxGraph:
        return copy.copy(self)  # a session can't be copied, and keeps nothing

    def __call__(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        return self.run(inputs, {}, lengths)[0]

    def run(self, inputs: Tensor, state: dict[str, Tensor], lengths: Any = None) -> list[Tensor]:
        """The logits and the states after them, from rows without padding if no lengths are
        given."""
        rows, steps = inputs.shape[:2]
        feed = {self.inputs: inputs.transpose(0, 1) if self.time_first else inputs}
        for name, shape in self.zeros.items():
            feed[name] = torch.zeros([n if isinstance(n, int) else rows for n in shape])
        if self.lengths:
            feed[self.lengths] = torch.full([rows], steps) if lengths is None else lengths
        feed |= state
        arrays = {name: t.detach().numpy().astype(self.types[name]) for name, t in feed.items()}
        names = [self.logits, *self.states.values()]
        logits, *after = map(torch.from_numpy, self.session.run(names, arrays))
        turn = self.time_first and logits.dim() > 2
        return [logits.transpose(0, 1) if turn else logits, *after]

    def reset(self) -> None:
        self.state = {}

    def stream(self, chunk: Tensor) -> Tensor:
        """The logits of each step, or `(B, K)` after the chunk; keeps the states."""
        logits, *after = self.run(chunk, self.state)
        self.state = dict(zip(self.states, after, strict=True))
        return logits if self.kind == "per_step" else logits.flatten(1)


def _stem(name: str) -> str:
    words = (word for word in re.split(r"[_./]", name) if not re.fullmatch(ENDS, word.lower()))
    return "".join(word.rstrip("0nNxy") for word in words)
