"""A network as one ONNX graph, for any batch and time; its encoder is a recurrent node a layer."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from seqmodels.batch import SequenceBatch
from seqmodels.errors import UserError
from seqmodels.network import Network
from seqmodels.nn.cell import State, parts_of
from seqmodels.nn.embedding import CharacterEncoder, WordEmbedding
from seqmodels.nn.encoder import Pooled, RecurrentEncoder, RNNOutput

BATCH, TIME = 3, 5  # of the example to trace: the graph takes any
OPSET = 18  # the exporter's own; its LSTM and GRU are those of 14
INSTEAD = "use the model from Python, by seqmodels.load_run"  # of what a graph cannot hold
# where ONNX has its gates in PyTorch's order: i, f, g, o -> i, o, f, c; and r, z, n -> z, r, h
GATES = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "rnn": (0,)}


class OnnxEncoder(nn.Module):
    """A `RecurrentEncoder` for the exporter: one ONNX `LSTM`, `GRU` or `RNN` for each layer.

    With `sequence_lens`, the node starts the backward direction at each row's own end, gives zeros
    after it and the states of each row's own last step: the very tensors of `RNNOutput`.

    Raises:
        UserError: for a recurrent network that ONNX has no node for.
    """

    def __init__(self, encoder: RecurrentEncoder) -> None:
        super().__init__()
        self.cell, self.rnn = encoder.cell, encoder.rnn
        if self.cell not in GATES:
            raise UserError(f"ONNX has no node for encoder.cell={self.cell}: {INSTEAD}")
        if size := self.rnn.proj_size:
            raise UserError(f"ONNX has no node for encoder.proj_size={size}: {INSTEAD}")
        self.directions = encoder.num_directions
        for layer in range(self.rnn.num_layers):
            for name, weights in zip("WRB", self._weights(layer), strict=True):
                self.register_buffer(f"{name}{layer}", weights)

    def forward(self, inputs: Tensor, lengths: Tensor, state: State | None = None) -> RNNOutput:
        given = () if state is None else parts_of(state)  # of all layers
        steps, finals = inputs.transpose(0, 1), []  # (T, B, F)
        for layer in range(self.rnn.num_layers):
            of_layer = slice(layer * self.directions, (layer + 1) * self.directions)
            steps, final = self._run(layer, steps, lengths, [part[of_layer] for part in given])
            finals.append(final)
        h_n, *c_n = (torch.stack(part) for part in zip(*finals, strict=True))
        return RNNOutput(steps.transpose(0, 1), h_n, c_n[0] if c_n else None, lengths)

    def _run(
        self, layer: int, steps: Tensor, lengths: Tensor, state: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """One layer: `(T, B, F) -> (T, B, D*H)`, and its final states, each `(D, B, H)`."""
        (time, batch), width = steps.shape[:2], self.rnn.hidden_size
        options: dict[str, Any] = {"hidden_size": width}
        options["direction"] = "bidirectional" if self.directions == 2 else "forward"
        if self.cell == "gru":
            options["linear_before_reset"] = 1  # as cuDNN and PyTorch have it
        final = (self.directions, batch, width)
        shapes = [(time, *final), final] + ([final] if self.cell == "lstm" else [])
        weights = [getattr(self, f"{name}{layer}") for name in "WRB"]
        output, *finals = torch.onnx.ops.symbolic_multi_out(
            self.cell.upper(),
            [steps, *weights, lengths.to(torch.int32), *state],
            options,
            dtypes=[steps.dtype] * len(shapes),
            shapes=shapes,
            version=OPSET,
        )
        return output.transpose(1, 2).flatten(2), finals  # (T, D, B, H) -> (T, B, D*H)

    def _weights(self, layer: int) -> Iterator[Tensor]:
        """W `(D, G*H, F)`, R `(D, G*H, H)` and B `(D, 2*G*H)`, with the gates in ONNX's order."""
        order = GATES[self.cell]
        by_direction = []
        for end in ("", "_reverse")[: self.directions]:
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            weights = [getattr(self.rnn, f"{name}_l{layer}{end}") for name in names]
            gates = [weight.detach().chunk(len(order)) for weight in weights]
            w, r, *b = (torch.cat([gate[n] for n in order]) for gate in gates)
            by_direction.append((w, r, torch.cat(b)))
        return map(torch.stack, zip(*by_direction, strict=True))


class _Characters(nn.Module):
    """A `CharacterEncoder` that reads every word of a batch, without looking for equal ones."""

    def __init__(self, characters: CharacterEncoder) -> None:
        super().__init__()
        self.embedding, self.encoder = characters.embedding, OnnxEncoder(characters.encoder)

    def forward(self, characters: Tensor, words: Any = None) -> Tensor:
        every = characters.flatten(0, 1)  # (B, T, K) -> (B * T, K)
        lengths = (every != 0).sum(dim=1)
        h_n = self.encoder(self.embedding(every), lengths.clamp(min=1)).h_n[-1]  # (D, B * T, H)
        final = torch.cat([h_n[0], h_n[1]], dim=-1) * (lengths > 0).unsqueeze(1)
        return final.unflatten(0, characters.shape[:2])


class Graph(nn.Module):
    """What is traced: `inputs`, `lengths` and, of a graph that carries a state, its parts."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        copied: Any = copy.deepcopy(network).float().eval()
        copied.encoder = OnnxEncoder(copied.encoder)
        if isinstance(network.embedding, WordEmbedding):
            copied.embedding.characters = _Characters(network.embedding.characters)
        self.network: Network = copied

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


def example_inputs(data: Mapping[str, Any]) -> Tensor:
    """Inputs to trace a network with: tokens `(B, T)`, words with characters `(B, T, 1 + K)` or
    features `(B, T, F)`.

    Args:
        data: what a data module says of its inputs, as `Task` takes it.
    """
    if data.get("inputs") == "features":
        return torch.ones(BATCH, TIME, data["num_inputs"])
    if data.get("num_characters") is not None:
        return torch.ones(BATCH, TIME, 4, dtype=torch.int64)
    return torch.ones(BATCH, TIME, dtype=torch.int64)


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
    names = {}
    if stream or network.carries_state:
        names = carried_parts(network, len(inputs))
    program = _traced(network, inputs, (*names.values(),))
    logger = logging.getLogger("torch.onnx")  # notes packages that it does not need
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            made = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=OPSET,
                input_names=["inputs", "lengths", *(f"{name}_0" for name in names)],
                output_names=["logits", *(f"{name}_n" for name in names)],
                external_data=False,
                verbose=False,
            )
    finally:
        logger.setLevel(level)
    assert made is not None
    _name_sizes(made.model.graph)
    return made


def _name_sizes(graph: Any) -> None:
    """Gives the free sizes of inputs and outputs a name, where the exporter has one such as s71."""
    said = ("batch", "time", "characters")
    names = dict(zip(map(str, graph.inputs[0].shape), said, strict=False))
    for value in (*graph.inputs, *graph.outputs):
        for axis, size in enumerate(value.shape):
            if str(size) in names and not isinstance(size, int):
                value.shape[axis] = names[str(size)]


def _traced(
    network: Network, inputs: Tensor, carried: tuple[Tensor, ...]
) -> torch.export.ExportedProgram:
    """What a network does with a batch."""
    rows, time = inputs.shape[:2]
    lengths = (time - torch.arange(rows)).clamp(min=1)
    batch = torch.export.Dim("batch")
    any_size = torch.export.Dim.DYNAMIC  # also where a network reads windows of one size
    shape_of_inputs = {0: batch, 1: any_size}
    if inputs.dim() == 3 and not inputs.is_floating_point():  # words of any number of characters
        shape_of_inputs[2] = any_size
    shapes: tuple[Any, ...] = (shape_of_inputs, {0: batch})
    if carried:  # (L, B, H) of a state, (B, ...) of a pool
        shapes = (*shapes, tuple({int(part.dim() == 3): batch} for part in carried))
    graph = Graph(network)
    with warnings.catch_warnings(action="ignore"), torch.no_grad():
        return torch.export.export(
            graph,
            (inputs, lengths, *carried),
            dynamic_shapes=shapes,
            prefer_deferred_runtime_asserts_over_guards=True,
        )
