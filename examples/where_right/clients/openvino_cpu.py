"""OpenVINO on its CPU plugin, on ONNX's LSTM, GRU and RNN with `sequence_lens`."""

from onnx_graph import as_results, feeds, onnx_model
from onnx_runtimes import in_openvino

LIBRARY = "OpenVINO"
ROWS = ["free shapes: openvino onnx", "fixed shapes: openvino onnx"]


def run(case):
    graph = onnx_model(case).SerializeToString()
    return as_results(case, in_openvino(graph, feeds(case)))
