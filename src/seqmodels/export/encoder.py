"""A recurrent encoder as ONNX nodes, whose results are the same in every runtime.

ONNX's `LSTM`, `GRU` and `RNN` take the rows' lengths as `sequence_lens`, but runtimes other than
onnxruntime may ignore it without a word: OpenVINO does where the sizes of a graph are free, and
onnx's own reference always. So the nodes here get no lengths. Each reads one direction, and padding
as if it were steps; what it makes of padding is never used, as in `seqmodels.nn.ragged`:

- the backward direction is a forward one over each row reversed within its own length;
- a final `h` is taken from the output at a row's last step;
- padded steps keep `c`, which no output holds: an input that is large at padding drives the input
  gate to 0 and the forget gate to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from seqmodels.errors import UserError
from seqmodels.nn.cell import State, parts_of
from seqmodels.nn.encoder import RecurrentEncoder, RNNOutput

OPSET = 18  # the exporter's own; its LSTM and GRU are those of 14
# The advice for what a graph cannot hold.
INSTEAD = "use the model from Python, by seqmodels.load_run"
# For each gate of ONNX, its number in PyTorch: i, o, f, c among i, f, g, o; z, r, h among r, z, n.
GATES = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "rnn": (0,)}
# The input that marks padding. It stands in the inputs, and not in the weights, so that weights can
# be quantized.
SATURATED = 1e4


class OnnxEncoder(nn.Module):
    """A `RecurrentEncoder` for the exporter: an ONNX `LSTM`, `GRU` or `RNN` for each layer and
    direction.

    Args:
        keeps_cell_state: whether `c_n` of an LSTM is needed. Without, it is None.

    Raises:
        UserError: for a recurrent network that ONNX has no node for.
    """

    def __init__(self, encoder: RecurrentEncoder, *, keeps_cell_state: bool) -> None:
        super().__init__()
        self.cell = encoder.cell
        self.rnn = encoder.rnn
        if self.cell not in GATES:
            raise UserError(f"ONNX has no node for encoder.cell={self.cell}: {INSTEAD}")
        if self.rnn.proj_size:
            raise UserError(
                f"ONNX has no node for encoder.proj_size={self.rnn.proj_size}: {INSTEAD}"
            )
        self.keeps_cell_state = keeps_cell_state and self.cell == "lstm"
        self.num_layers = encoder.num_layers
        self.num_directions = encoder.num_directions
        for layer in range(self.num_layers):
            for direction in range(self.num_directions):
                w, r, b = self._onnx_weights(layer, direction)
                self.register_buffer(f"w_{layer}_{direction}", w)
                self.register_buffer(f"r_{layer}_{direction}", r)
                self.register_buffer(f"b_{layer}_{direction}", b)

    def forward(self, inputs: Tensor, lengths: Tensor, state: State | None = None) -> RNNOutput:
        batch, time = inputs.shape[:2]
        step = torch.arange(time).unsqueeze(1)  # (T, 1)
        row = torch.arange(batch)  # (B,)
        is_valid = step < lengths  # (T, B)
        padding = ~is_valid.unsqueeze(2)  # (T, B, 1)
        # Where the mirror image of each step and the last step of each row lie in (T * B, ...). An
        # index for each step is faster than one for each feature, as `reverse_by_length` has it.
        mirrored_step = torch.where(is_valid, lengths - 1 - step, step)
        mirrored_places = (mirrored_step * batch + row).flatten()
        last_places = (lengths - 1) * batch + row

        def reverse(steps: Tensor) -> Tensor:
            """Each row reversed within its own length, `(T, B, F)`."""
            reversed_steps = steps.flatten(0, 1).index_select(0, mirrored_places)
            return reversed_steps.unflatten(0, (time, batch))

        initial_states = [] if state is None else parts_of(state)  # each (L*D, B, H)
        h_n: list[Tensor] = []
        c_n: list[Tensor] = []
        layer_inputs = inputs.transpose(0, 1)  # (T, B, F)
        for layer in range(self.num_layers):
            if self.keeps_cell_state:
                layer_inputs = _with_padding_marked(layer_inputs, padding)
            outputs = []
            for direction in range(self.num_directions):
                number = layer * self.num_directions + direction
                initial = [states[number : number + 1] for states in initial_states]
                steps = reverse(layer_inputs) if direction else layer_inputs
                output, cell_state = self._run(layer, direction, steps, initial)
                h_n.append(output.flatten(0, 1).index_select(0, last_places))
                c_n.append(cell_state)
                outputs.append(reverse(output) if direction else output)
            layer_inputs = torch.cat(outputs, dim=2)  # (T, B, D*H)

        last_output = layer_inputs.masked_fill(padding, 0.0).transpose(0, 1)
        layout = (self.num_layers, self.num_directions)
        final_h = torch.stack(h_n).unflatten(0, layout)
        final_c = torch.cat(c_n).unflatten(0, layout) if self.keeps_cell_state else None
        return RNNOutput(last_output, final_h, final_c, lengths)

    def _run(
        self, layer: int, direction: int, steps: Tensor, state: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """One node: its output, `(T, B, F) -> (T, B, H)`, and its last state, `(1, B, H)`: `c` of
        an LSTM, `h` of others."""
        time, batch = steps.shape[:2]
        hidden_size = self.rnn.hidden_size
        options: dict[str, Any] = {"hidden_size": hidden_size}
        if self.cell == "gru":
            options["linear_before_reset"] = 1  # as cuDNN and PyTorch have it
        weights = [getattr(self, f"{name}_{layer}_{direction}") for name in ("w", "r", "b")]
        node_inputs: list[Tensor | None] = [steps, *weights]
        if state:
            no_lengths = None  # the place of `sequence_lens`
            node_inputs += [no_lengths, *state]
        final_shape = (1, batch, hidden_size)
        shapes = [(time, *final_shape), final_shape]
        if self.cell == "lstm":
            shapes.append(final_shape)
        output, *final_states = torch.onnx.ops.symbolic_multi_out(
            self.cell.upper(),
            node_inputs,
            options,
            dtypes=[steps.dtype] * len(shapes),
            shapes=shapes,
            version=OPSET,
        )
        return output.squeeze(1), final_states[-1]  # (T, 1, B, H) -> (T, B, H)

    def _onnx_weights(self, layer: int, direction: int) -> tuple[Tensor, Tensor, Tensor]:
        """W `(1, G*H, F)`, R `(1, G*H, H)` and B `(1, 2*G*H)`, with the gates in ONNX's order."""
        suffix = f"_l{layer}" + "_reverse" * direction
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        w_ih, w_hh, b_ih, b_hh = [getattr(self.rnn, name + suffix).detach() for name in names]
        if self.keeps_cell_state:
            w_ih = torch.cat([w_ih, self._column_of_padding(w_ih)], dim=1)
        order = GATES[self.cell]
        w = _in_order(w_ih, order)
        r = _in_order(w_hh, order)
        b = torch.cat([_in_order(b_ih, order), _in_order(b_hh, order)])
        return w.unsqueeze(0), r.unsqueeze(0), b.unsqueeze(0)

    def _column_of_padding(self, w_ih: Tensor) -> Tensor:
        """The weights of the input that marks padding, `(4*H, 1)`, by gate: i, f, g, o."""
        weights = torch.zeros(4, self.rnn.hidden_size)
        weights[0] = -1.0
        weights[1] = 1.0
        return weights.view(-1, 1).to(w_ih)


def _with_padding_marked(steps: Tensor, padding: Tensor) -> Tensor:
    """`(T, B, F) -> (T, B, F + 1)`: zero at padding, and a column more that is large there."""
    marks = padding.to(steps.dtype) * SATURATED
    return torch.cat([steps.masked_fill(padding, 0.0), marks], dim=2)


def _in_order(weights: Tensor, order: Sequence[int]) -> Tensor:
    """The gates of weights `(G*H, ...)` in another order."""
    gates = weights.chunk(len(order))
    ordered_gates = [gates[number] for number in order]
    return torch.cat(ordered_gates)
