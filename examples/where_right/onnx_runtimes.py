"""An ONNX graph in a runtime: from arrays by the names of its inputs to a list of its outputs."""

from __future__ import annotations

from typing import Any

import numpy as np

Feeds = dict[str, np.ndarray]


def in_onnxruntime(graph: bytes, feeds: Feeds) -> list[Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def in_onnx_reference(graph: bytes, feeds: Feeds) -> list[Any]:
    import onnx
    from onnx.reference import ReferenceEvaluator

    with np.errstate(over="ignore"):  # its sigmoid of a number far below zero
        return ReferenceEvaluator(onnx.load_from_string(graph)).run(None, feeds)


def in_openvino(graph: bytes, feeds: Feeds) -> list[Any]:
    import openvino

    core = openvino.Core()
    compiled = core.compile_model(
        core.read_model(graph), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    outputs = compiled(feeds)
    return [outputs[port] for port in compiled.outputs]


RUNTIMES = (in_onnxruntime, in_onnx_reference, in_openvino)
