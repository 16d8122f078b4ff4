"""This project's graph, with free shapes and without `sequence_lens`, in each ONNX runtime."""

import torch
from measure import as_state, results
from onnx_runtimes import RUNTIMES

from seqmodels.export.encoder import OPSET, OnnxEncoder
from seqmodels.nn.encoder import RecurrentEncoder

LIBRARY = "seqmodels, exported"
ROWS = ["in three ONNX runtimes: seqmodels-template[export] onnxruntime onnx openvino"]


class Graph(OnnxEncoder):
    def forward(self, inputs, lengths, *state):
        states = super().forward(inputs, lengths, as_state(state))
        return states.output, *(final.flatten(0, 1) for final in states.finals.values())


def run(case):
    case.refuse({"projections": case.proj_size})
    sizes = (case.input_size, case.hidden_size, case.num_layers)
    both = case.num_directions == 2
    encoder = RecurrentEncoder(*sizes, cell=case.cell.lower(), bidirectional=both)
    encoder.rnn.load_state_dict({n: torch.tensor(case[n]) for n in encoder.rnn.state_dict()})
    batch, time = torch.export.Dim("batch"), torch.export.Dim.DYNAMIC
    shapes = [{0: batch, 1: time}, {0: batch}]
    if case.state:
        shapes.append(tuple({1: batch} for _ in case.state))
    given = [case["inputs"], case.lengths, *case.state]
    graph = Graph(encoder, keeps_cell_state=True)
    options = {"dynamo": True, "opset_version": OPSET, "verbose": False}
    tensors = tuple(map(torch.from_numpy, given))
    program = torch.onnx.export(graph, tensors, dynamic_shapes=tuple(shapes), **options)
    names = [port.name for port in program.model.graph.inputs]
    model = program.model_proto.SerializeToString()
    feeds = dict(zip(names, given, strict=True))
    return [results(*in_runtime(model, feeds)) for in_runtime in RUNTIMES]
