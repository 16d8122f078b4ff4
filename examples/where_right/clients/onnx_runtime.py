"""onnxruntime, on ONNX's own LSTM, GRU and RNN with `sequence_lens`."""

from onnx_graph import as_results, feeds, onnx_model
from onnx_runtimes import in_onnxruntime

LIBRARY = "onnxruntime"
ROWS = ["free shapes: onnxruntime onnx", "fixed shapes: onnxruntime onnx"]


def run(case):
    graph = onnx_model(case).SerializeToString()
    return as_results(case, in_onnxruntime(graph, feeds(case)))
