"""The encoder of a graph: one recurrent node of ONNX for each layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from seqmodels.errors import UserError
from seqmodels.nn.cell import State, parts_of
from seqmodels.nn.encoder import RecurrentEncoder, RNNOutput

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
