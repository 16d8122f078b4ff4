"""From an encoder's final states to a decoder's first state."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seqmodels.errors import UserError
from seqmodels.nn.encoder import RecurrentEncoder
from seqmodels.nn.state import State


class Bridge(nn.Module):
    """Starts each layer of a decoder from the same layer of an encoder: `h` from `h_n`, `c` from
    `c_n`, forward and backward side by side.

    Where the two directions of the encoder are together as wide as the decoder, they are handed
    over as they are. Otherwise they go through a linear layer, another for each layer, for `h` and
    for `c`.

    Args:
        encoder: whose final states are read.
        decoder: which starts from them, in one direction.

    Raises:
        UserError: for cells or numbers of layers that do not fit together.
    """

    def __init__(self, encoder: RecurrentEncoder, decoder: RecurrentEncoder) -> None:
        super().__init__()
        if encoder.has_cell_state != decoder.has_cell_state:
            missing = "has no c_n" if decoder.has_cell_state else "has no place for c_n"
            cell = encoder.cell if decoder.has_cell_state else decoder.cell
            raise UserError(
                f"a decoder of {decoder.cell} cells cannot start from an encoder of {encoder.cell} "
                f"cells, because {cell} {missing}: set model.decoder.cell={encoder.cell}"
            )
        if encoder.num_layers != decoder.num_layers:
            raise UserError(
                f"each layer of the decoder starts from one of the encoder, but they have "
                f"{decoder.num_layers} and {encoder.num_layers}: set "
                f"model.decoder.num_layers={encoder.num_layers}"
            )
        layers, directions = encoder.num_layers, encoder.num_directions
        self.h = _resizers(layers, directions * encoder.output_size, decoder.output_size)
        self.c = None
        if encoder.has_cell_state:
            width = directions * encoder.rnn.hidden_size
            self.c = _resizers(layers, width, decoder.rnn.hidden_size)

    def forward(
        self,
        h_n: Float[Tensor, "layers directions batch hidden"],
        c_n: Float[Tensor, "layers directions batch cell"] | None = None,
    ) -> State:
        """`(L, B, H)`, or for LSTM a pair, as `nn.LSTM` takes it."""
        h = _resized(h_n, self.h)
        if self.c is None:
            return h
        assert c_n is not None
        return h, _resized(c_n, self.c)


def _resizers(layers: int, width: int, wanted: int) -> nn.ModuleList:
    makes = nn.Identity if width == wanted else lambda: nn.Linear(width, wanted)
    return nn.ModuleList([makes() for _ in range(layers)])


def _resized(
    final: Float[Tensor, "layers directions batch width"], resizers: nn.ModuleList
) -> Float[Tensor, "layers batch wanted"]:
    beside = final.transpose(1, 2).flatten(2)  # (L, D, B, H) -> (L, B, D*H)
    return torch.stack([resize(part) for resize, part in zip(resizers, beside, strict=True)])
