"""Heads of encoder-decoders: which tensors of the encoder a decoder gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, cast

from jaxtyping import Float, Int
from torch import Tensor

from seqmodels.arguments import Count
from seqmodels.heads.base import Head
from seqmodels.nn.encoder import RecurrentEncoder, RNNOutput
from seqmodels.nn.outputs import Output
from seqmodels.tasks.seq2seq.bridge import Score
from seqmodels.tasks.seq2seq.decoder import Decoder, Start

Reads = tuple[Literal["output", "h_n", "c_n"], ...]

START = """h_0 = h_n.unflatten(0, (-1, D)).transpose(1, 2).flatten(2)
c_0 = c_n.unflatten(0, (-1, D)).transpose(1, 2).flatten(2)
decoded, _ = decoder(targets_so_far, (h_0, c_0))
"""


class FinalState(Head, name="final_state"):
    """`h_n` and, for LSTM, `c_n` start a decoder: each of its layers from the same layer here,
    forward and backward side by side."""

    reads: Reads = ("h_n", "c_n")
    output_class = Decoder
    in_pytorch = START + "features = decoded"

    def __init__(self, encoder: RecurrentEncoder, *args: Any, **options: Any) -> None:
        if not encoder.has_cell_state:
            self.reads = tuple(name for name in type(self).reads if name != "c_n")
            lines = [line for line in self.in_pytorch.splitlines() if not line.startswith("c_0")]
            self.in_pytorch = "\n".join(lines).replace("(h_0, c_0)", "h_0")
        super().__init__(encoder, *args, **options)

    def make_output(self, encoder: RecurrentEncoder, make: Callable[..., Output]) -> Output:
        return make(encoder, **self.output_options)

    def select(self, states: RNNOutput) -> Start:
        return Start(states.h_n, states.c_n)


class AttendToOutput(FinalState, name="attention"):
    """The same start, and every step of the decoder weighs all valid steps of `output`.

    `head_options.score`: how `Attention` compares the decoder's `h` with a step;
    `head_options.attention_size`: the width of the hidden layer of `additive`, by default that of
    the decoder.
    """

    reads: Reads = ("output", "h_n", "c_n")
    in_pytorch = (
        START
        + """scores = decoded @ to_key(output).transpose(1, 2)  # (B, S, T)
weights = scores.masked_fill(~mask[:, None], -torch.inf).softmax(dim=-1)
features = torch.tanh(combine(torch.cat([weights @ output, decoded], dim=-1)))"""
    )

    def build(
        self,
        encoder: RecurrentEncoder,
        score: Score = "general",
        attention_size: Count | None = None,
    ) -> None:
        self.output_options = {"attention": {"score": score, "size": attention_size}}

    def select(self, states: RNNOutput) -> Start:
        return Start(states.h_n, states.c_n, states.output, states.mask)

    def weights(
        self, states: RNNOutput, written: Int[Tensor, "batch steps"]
    ) -> Float[Tensor, "batch steps time"]:
        """How much each step of the source is attended to where each of these tokens is written."""
        return cast(Decoder, self.output).weights(self.features(states), written)
