"""A graph with weights of 8 bits, and a task that runs on a graph, to measure what it loses."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.engine import Task
from seqmodels.nn.encoder import RNNOutput
from seqmodels.nn.state import State, parts_of
from seqmodels.nn.vocabulary import AdaptiveVocabulary, Vocabulary


def quantize(graph: Path, quantized: Path) -> None:
    """Writes a graph with the weights of its LSTMs, embeddings and linear layers as int8, which
    quantizes activations as it runs. onnxruntime has no such GRU: its weights stay as they are."""
    logging.disable(logging.WARNING)  # advice to simplify the graph first, which the exporter did
    try:
        quantize_dynamic(graph, quantized, weight_type=QuantType.QInt8)
    finally:
        logging.disable(logging.NOTSET)


def on_graph(task: Task, graph: Path) -> Task:
    """The same task with the logits of a graph: to evaluate, not to train."""
    session = onnxruntime.InferenceSession(graph)
    names = [each.name for each in session.get_inputs()]
    by_step, shapes = task.contract.per == "step", [each.shape for each in session.get_inputs()[2:]]

    def read(inputs: Tensor, lengths: Tensor, state: State | None = None) -> RNNOutput:
        parts = [torch.zeros(shape[0], len(lengths), shape[2]) for shape in shapes]
        given = (inputs, lengths, *(parts if state is None else parts_of(state)))
        values = [each.numpy() for each in given]
        found = session.run(None, dict(zip(names, values, strict=True)))
        logits, *after = map(torch.from_numpy, found)
        h_n, *c_n = (part.unsqueeze(1) for part in after or [torch.zeros(1, len(lengths), 1)])
        output = logits if by_step else logits.unsqueeze(1)  # (B, T, C): what is selected, too
        return RNNOutput(output, h_n, c_n[0] if c_n else None, lengths)

    def loss(features: Tensor, targets: Tensor, mask: Tensor | None = None) -> Tensor:
        return F.cross_entropy(features.flatten(0, -2), targets.flatten())

    changed: Any = copy.deepcopy(task).eval()
    changed.embed, changed.read = lambda batch: batch.inputs, read
    changed.head.select = lambda states: states.output if by_step else states.output[:, 0]
    output = changed.head.output
    # they take their loss from features and weights, without logits
    if isinstance(task.head.output, Vocabulary | AdaptiveVocabulary):
        output.loss = loss
    output.project = nn.Identity()
    return changed
