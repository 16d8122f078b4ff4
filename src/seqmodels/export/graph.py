"""A network as one ONNX graph, for any batch and time."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from seqmodels.batch import SequenceBatch
from seqmodels.export.encoder import OPSET, OnnxEncoder
from seqmodels.network import Network
from seqmodels.nn.embedding import CharacterEncoder, WordEmbedding
from seqmodels.nn.encoder import Pooled

# The sizes of the example to trace: the graph takes any.
BATCH, TIME, CHARACTERS = 3, 5, 4


class _EveryWord(nn.Module):
    """A `CharacterEncoder` that reads every word of a batch, without looking for equal ones."""

    def __init__(self, characters: CharacterEncoder) -> None:
        super().__init__()
        self.embedding = characters.embedding
        self.encoder = OnnxEncoder(characters.encoder, keeps_cell_state=False)

    def forward(self, characters: Tensor, words: Any = None) -> Tensor:
        every_word = characters.flatten(0, 1)  # (B, T, K) -> (B * T, K)
        lengths = (every_word != 0).sum(dim=1)
        states = self.encoder(self.embedding(every_word), lengths.clamp(min=1))
        h_n = states.h_n[-1]  # (D, B * T, H)
        final = torch.cat([h_n[0], h_n[1]], dim=1)
        final = final * (lengths > 0).unsqueeze(1)  # a word without characters is zero
        return final.unflatten(0, characters.shape[:2])


class Graph(nn.Module):
    """What is traced: from `inputs`, `lengths` and, of a graph that carries a state, the parts of
    the state, to the logits and the parts after these steps."""

    def __init__(self, network: Network, *, carries_state: bool) -> None:
        super().__init__()
        network_copy: Any = copy.deepcopy(network).float().eval()
        reads_cell_state = "c_n" in network.head.reads
        network_copy.encoder = OnnxEncoder(
            network_copy.encoder, keeps_cell_state=carries_state or reads_cell_state
        )
        if isinstance(network.embedding, WordEmbedding):
            network_copy.embedding.characters = _EveryWord(network.embedding.characters)
        self.network: Network = network_copy

    def forward(self, inputs: Tensor, lengths: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        batch = SequenceBatch(inputs, lengths)
        if state:
            states, state_after = self.network.carry(batch, state)
            return (self.network.read_out(states, batch), *state_after)
        rows = self.network.rows_to_read(batch)
        encoder_inputs = self.network.encoder_inputs(self.network.embed(rows), rows.lengths)
        states = self.network.encoder(encoder_inputs, rows.lengths)
        logits = self.network.read_out(states, batch)
        if self.network.window is not None:  # A graph can't cut rows, and must not differ silently.
            is_too_long = (lengths > self.network.window).unsqueeze(1)
            logits = logits.masked_fill(is_too_long, torch.nan)
        return (logits,)


def example_inputs(data: Mapping[str, Any], rows: int = BATCH, steps: int = TIME) -> Tensor:
    """Random inputs, the same every time: tokens `(B, T)`, words with characters `(B, T, 1 + K)` or
    features `(B, T, F)`.

    Args:
        data: what a data module says of its inputs, as `Task` takes it.
    """
    generator = torch.Generator().manual_seed(0)
    num_inputs = data["num_inputs"]
    if data.get("inputs") == "features":
        return torch.randn(rows, steps, num_inputs, generator=generator)
    tokens = torch.randint(num_inputs, (rows, steps), generator=generator)
    num_characters = data.get("num_characters")
    if num_characters is None:
        return tokens
    shape = (rows, steps, CHARACTERS)
    characters = torch.randint(1, num_characters, shape, generator=generator)
    return torch.cat([tokens.unsqueeze(2), characters], dim=2)


def carried_parts(network: Network, num_rows: int = BATCH) -> dict[str, Tensor]:
    """What `carry` of a network takes for so many new rows, by name: all zero."""
    encoder = network.encoder
    parts = {}
    for name, size in encoder.state_sizes.items():
        parts[name.removesuffix("_n")] = torch.zeros(encoder.num_layers, num_rows, size)
    if network.head.streams == "pooled":
        total = torch.zeros(num_rows, encoder.output_size, dtype=torch.float64)
        steps = torch.zeros(num_rows, dtype=torch.int64)
        parts |= Pooled(total, total.float(), steps)._asdict()
    return parts


def make_graph(network: Network, inputs: Tensor, *, stream: bool = False) -> torch.onnx.ONNXProgram:
    """A network as ONNX, for rows of any length: inputs `inputs`, `lengths`, output `logits`.
    Logits of a row longer than the network's `window` are nan.

    Args:
        inputs: an example of what it reads, of two rows and two steps or more.
        stream: with the state, as a network that carries one has it anyway: inputs `h_0`, `c_0`,
            all zero for new rows, and outputs `h_n`, `c_n` for the next call; of a head that pools,
            in the same way what it needs of earlier steps, `total`, `maximum` and `steps`.

    Raises:
        UserError: for a cell that ONNX has no node for, or a stream of a network that needs whole
            rows. What PyTorch can't trace, it says itself.
    """
    if stream:
        network.check_streams()
    carried = {}
    if stream or network.carries_state:
        carried = carried_parts(network, len(inputs))
    traced_program = _traced(network, inputs, tuple(carried.values()))
    # It notes packages that it does not need.
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            onnx_program = torch.onnx.export(
                traced_program,
                dynamo=True,
                opset_version=OPSET,
                input_names=["inputs", "lengths", *(f"{name}_0" for name in carried)],
                output_names=["logits", *(f"{name}_n" for name in carried)],
                external_data=False,
                verbose=False,
            )
    finally:
        logger.setLevel(level)
    assert onnx_program is not None
    _name_sizes(onnx_program.model.graph)
    return onnx_program


def _name_sizes(graph: Any) -> None:
    """Names the free sizes of inputs and outputs, which the exporter calls such as s71."""
    sizes_of_inputs = map(str, graph.inputs[0].shape)
    names = dict(zip(sizes_of_inputs, ("batch", "time", "characters"), strict=False))
    for value in (*graph.inputs, *graph.outputs):
        for axis, size in enumerate(value.shape):
            is_free = not isinstance(size, int)
            if is_free and str(size) in names:
                value.shape[axis] = names[str(size)]


def _traced(
    network: Network, inputs: Tensor, carried: tuple[Tensor, ...]
) -> torch.export.ExportedProgram:
    """What a network does with a batch of any number of rows and steps."""
    rows, time = inputs.shape[:2]
    lengths = (time - torch.arange(rows)).clamp(min=1)
    batch = torch.export.Dim("batch")
    any_size = torch.export.Dim.DYNAMIC  # also where a network reads windows of one size
    shape_of_inputs = {0: batch, 1: any_size}
    if inputs.dim() == 3 and not inputs.is_floating_point():  # words of any number of characters
        shape_of_inputs[2] = any_size
    dynamic_shapes: list[Any] = [shape_of_inputs, {0: batch}]
    if carried:
        # Rows are the second axis of a state, (L, B, H), and the first one of a pool, (B, ...).
        axes_of_rows = [1 if part.dim() == 3 else 0 for part in carried]
        dynamic_shapes.append(tuple({axis: batch} for axis in axes_of_rows))
    graph = Graph(network, carries_state=bool(carried))
    with warnings.catch_warnings(action="ignore"), torch.no_grad():
        return torch.export.export(
            graph,
            (inputs, lengths, *carried),
            dynamic_shapes=tuple(dynamic_shapes),
            prefer_deferred_runtime_asserts_over_guards=True,
        )
