"""A task as one ONNX graph: any batch, any time, one recurrent node for each layer."""

from __future__ import annotations

import copy
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seqmodels.engine import Task
from seqmodels.errors import UserError, one_line
from seqmodels.nn.characters import CharacterEncoder
from seqmodels.nn.encoder import RecurrentEncoder, RNNOutput
from seqmodels.nn.state import State, parts_of

OPSET = 18  # the exporter's own; its LSTM and GRU are those of 14
BATCH, TIME = 3, 5  # of the example to trace: the graph takes any
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
            raise UserError(
                f"ONNX has no node for encoder.cell={self.cell}, which is your own: "
                "use format=safetensors"
            )
        if size := self.rnn.proj_size:
            raise UserError(
                f"ONNX has no LSTM with projections, and encoder.proj_size is {size}: "
                "use format=safetensors"
            )
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

    def forward(self, characters: Tensor) -> Tensor:
        words = characters.flatten(0, 1)  # (B, T, K) -> (B * T, K)
        lengths = (words != 0).sum(dim=1)
        h_n = self.encoder(self.embedding(words), lengths.clamp(min=1)).h_n[-1]  # (D, B * T, H)
        final = torch.cat([h_n[0], h_n[1]], dim=-1) * (lengths > 0).unsqueeze(1)
        return final.unflatten(0, characters.shape[:2])


class Graph(nn.Module):
    """What is traced: `inputs`, `lengths` and, of a stateful task, the parts of a state."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = copy.deepcopy(task).float().eval()
        self.task.encoder = OnnxEncoder(task.encoder)  # type: ignore[assignment]
        if task.characters is not None:
            self.task.characters = _Characters(task.characters)  # type: ignore[assignment]

    def forward(self, inputs: Tensor, lengths: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        function = self.task.as_function()
        if not state:
            return (function(inputs, lengths),)
        logits, after = function(inputs, lengths, state if len(state) == 2 else state[0])
        return (logits, *parts_of(after))


def example(task: Task) -> tuple[Tensor, ...]:
    """Inputs to trace a task with: tokens `(B, T)`, words with characters `(B, T, 1 + K)` or
    features `(B, T, F)`; lengths; and, if it is stateful, the parts of a state."""
    data, encoder = task.hparams["data"], task.encoder
    inputs = torch.ones(BATCH, TIME, dtype=torch.int64)
    if data.get("inputs") == "features":
        inputs = torch.ones(BATCH, TIME, data["num_inputs"])
    elif task.characters is not None:
        inputs = torch.ones(BATCH, TIME, 4, dtype=torch.int64)
    lengths = torch.arange(TIME, TIME - BATCH, -1)
    if not task.contract.stateful:
        return inputs, lengths
    # not one tensor twice, which the exporter takes for one input
    parts = torch.zeros(1 + encoder.has_cell_state, encoder.num_layers, BATCH, encoder.output_size)
    return inputs, lengths, *(part.clone() for part in parts)


def check_traceable(task: Task) -> None:
    """Raises a `UserError` for a task of which the engine knows that no graph can hold it."""
    if task.contract.kind.decoder:
        raise UserError(
            "a graph cannot hold a decoder, which writes until it is done: use format=safetensors"
        )
    if task.window is not None:
        raise UserError(
            f"a graph cannot cut sequences into windows, and model.window is {task.window}: "
            "use format=safetensors"
        )


def write_onnx(task: Task, path: Path, metadata: Mapping[str, Any]) -> None:
    """Writes a task as ONNX: inputs `inputs`, `lengths` (and `h_0`, `c_0`), outputs `logits` (and
    `h_n`, `c_n`).

    Args:
        metadata: plain values by name, for the file's own; each as JSON.

    Raises:
        UserError: for a task that cannot be exported, with the reason.
    """
    check_traceable(task)
    arguments, batch = example(task), torch.export.Dim("batch")
    names = ["h", "c"][: len(arguments) - 2]
    shapes: tuple[Any, ...] = ({0: batch, 1: torch.export.Dim("time")}, {0: batch})
    if names:
        shapes = (*shapes, tuple({1: batch} for _ in names))
    graph = Graph(task)
    with _quietly():
        try:
            program = torch.onnx.export(
                graph,
                arguments,
                dynamo=True,
                opset_version=OPSET,
                input_names=["inputs", "lengths", *(f"{name}_0" for name in names)],
                output_names=["logits", *(f"{name}_n" for name in names)],
                dynamic_shapes=shapes,
                external_data=False,
                verbose=False,
            )
        except Exception as error:  # code of your own may hold anything
            cause = error.__cause__ or error
            raise UserError(
                f"{type(task).__name__} cannot be traced as a graph "
                f"({type(cause).__name__}: {one_line(cause)}): use format=safetensors"
            ) from error
    assert program is not None
    for name, value in metadata.items():
        program.model.metadata_props[name] = json.dumps(value, ensure_ascii=False)
    program.save(path)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the exporter's notes on packages that it does not need."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"), torch.no_grad():
            yield
    finally:
        logger.setLevel(level)
