"""A case as an ONNX graph, as others export it: one node a layer, which gets `sequence_lens`."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from measure import Case, results
from onnx import TensorProto, helper, numpy_helper

# The gates as PyTorch orders them, and as ONNX does.
GATES = {"LSTM": ("ifgo", "iofg"), "GRU": ("rzn", "zrn"), "RNN": ("h", "h")}


def onnx_model(case: Case) -> onnx.ModelProto:
    """From `inputs` `(T, B, F)`, `lengths` and each layer's state to `output` and final states. The
    variant `fixed shapes` has the shapes of the case in the graph, and another one free shapes.

    Raises:
        NotImplementedError: for projections, which ONNX's nodes don't have.
    """
    case.refuse({"projections": case.proj_size})
    layers = list(range(case.num_layers))
    parts = ["h", "c"] if case.cell == "LSTM" else ["h"]
    options: dict[str, Any] = {"hidden_size": case.hidden_size}
    options["direction"] = "bidirectional" if case.num_directions == 2 else "forward"
    if case.cell == "GRU":
        options["linear_before_reset"] = 1
    constants = {"shape": np.array([0, 0, -1])}
    nodes = []
    for layer in layers:
        names = [f"{name}{layer}" for name in ("W", "R", "B")]
        constants |= dict(zip(names, weights(case, layer), strict=True))
        start = [f"{part}_0_{layer}" for part in parts] if case.state else []
        steps = f"output{layer}" if layer else "inputs"
        node_inputs = [steps, *names, "lengths", *start]
        node_outputs = [f"Y{layer}", *(f"{part}_n_{layer}" for part in parts)]
        nodes.append(helper.make_node(case.cell, node_inputs, node_outputs, **options))
        # (T, D, B, H) -> (T, B, D, H) -> (T, B, D*H)
        turned = f"turned{layer}"
        nodes.append(helper.make_node("Transpose", [f"Y{layer}"], [turned], perm=[0, 2, 1, 3]))
        output = "output" if layer == layers[-1] else f"output{layer + 1}"
        nodes.append(helper.make_node("Reshape", [turned, "shape"], [output]))
    output_names = ["output", *(f"{part}_n_{layer}" for part in parts for layer in layers)]
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in output_names]
    initializers = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "case", ports(case), outputs, initializers)
    opset = helper.make_opsetid("", 18)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8)


def ports(case: Case) -> list[onnx.ValueInfoProto]:
    """The inputs of the graph, with the shapes of the case or with free ones."""
    is_fixed = case.variant == "fixed shapes"
    values = []
    for name, array in feeds(case).items():
        axes = {"inputs": ["T", "B", array.shape[-1]], "lengths": ["B"]}
        shape = axes.get(name, [array.shape[0], "B", array.shape[-1]])
        dtype = helper.np_dtype_to_tensor_dtype(array.dtype)
        if is_fixed:
            shape = array.shape
        values.append(helper.make_tensor_value_info(name, dtype, shape))
    return values


def weights(case: Case, layer: int) -> list[np.ndarray]:
    """W `(D, G*H, F)`, R `(D, G*H, H)` and B `(D, 2*G*H)` of a layer."""
    directions = [weights.in_order(*GATES[case.cell])[:4] for weights in case.layers[layer]]
    w, r, b_ih, b_hh = map(np.stack, zip(*directions, strict=True))
    return [w, r, np.concatenate([b_ih, b_hh], axis=1)]


def feeds(case: Case) -> dict[str, np.ndarray]:
    """The inputs of the graph."""
    arrays = {
        "inputs": case["inputs"].transpose(1, 0, 2),
        "lengths": case.lengths.astype(np.int32),
    }
    for part, states in zip("hc", case.state, strict=False):
        for layer, state in enumerate(np.split(states, case.num_layers)):
            arrays[f"{part}_0_{layer}"] = state
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def as_results(case: Case, outputs: list[Any]) -> dict[str, Any]:
    """The outputs of the graph, as a client returns them."""
    output, *finals = map(np.asarray, outputs)
    num_parts = len(finals) // case.num_layers
    states = [np.concatenate(part) for part in np.split(np.stack(finals), num_parts)]
    return results(output.transpose(1, 0, 2), *states)
