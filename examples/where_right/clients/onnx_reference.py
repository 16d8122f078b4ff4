"""onnx's own reference, on its LSTM, GRU and RNN with `sequence_lens`."""

from onnx_graph import as_results, feeds, onnx_model
from onnx_runtimes import in_onnx_reference

LIBRARY = "onnx.reference"
ROWS = ["free shapes: onnx", "fixed shapes: onnx"]


def run(case):
    graph = onnx_model(case).SerializeToString()
    return as_results(case, in_onnx_reference(graph, feeds(case)))
