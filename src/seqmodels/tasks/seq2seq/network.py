"""A network that reads a source and writes a target."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from seqmodels.batch import PairBatch, SequenceBatch
from seqmodels.network import Network
from seqmodels.nn.encoder import RNNOutput
from seqmodels.tasks.seq2seq.decoder import Decoder
from seqmodels.tasks.seq2seq.search import Hypotheses


class Translator(Network):
    """Its head hands tensors of the encoder to a decoder, which is the head's output module.

    Args:
        parts, options: as `Network` documents them.
        longest: the largest number of tokens to write for a source.
    """

    def __init__(self, *parts: Any, longest: int, **options: Any) -> None:
        super().__init__(*parts, **options)
        self.longest = longest

    @property
    def decoder(self) -> Decoder:
        """The module that the head hands the encoder's tensors to."""
        return self.head.output  # type: ignore[return-value]

    def forward(  # type: ignore[override]
        self,
        source: Tensor,
        lengths: Int[Tensor, " batch"],
        target_inputs: Int[Tensor, "batch steps"],
    ) -> Float[Tensor, "batch steps vocabulary"]:
        """Returns the logits of the token after each of `target_inputs`, which begin with the start
        token."""
        states = self.encode(SequenceBatch(source, lengths))
        return self.decoder(self.head.features(states), target_inputs)

    def read_out(self, states: RNNOutput, batch: SequenceBatch) -> Tensor:
        """Returns the logits of each token of a pair's target; without one, of the first."""
        target_inputs = None
        if isinstance(batch, PairBatch):
            target_inputs = batch.target.inputs
        return self.decoder(self.head.features(states), target_inputs)

    def write(self, states: RNNOutput, beam: int) -> Hypotheses:
        """Returns the likeliest texts for what the encoder has read, the best first.

        Args:
            beam: sequences to keep for each source.
        """
        return self.decoder.search(self.head.features(states), beam=beam, longest=self.longest)

    def attention(self, batch: SequenceBatch) -> list[Tensor]:
        """Returns for each row how much each step of the source is attended to, `(S, T)`, where
        each token of the likeliest text is written, and its end."""
        states = self.encode(batch)
        hypotheses = self.write(states, beam=1)
        head: Any = self.head
        weights: Tensor = head.weights(states, hypotheses.tokens[:, 0])  # (B, S, T)
        written_counts = (hypotheses.lengths[:, 0] + 1).tolist()  # The end counts, too.
        source_lengths = states.lengths.tolist()
        return [
            row[:written_count, :source_length]
            for row, written_count, source_length in zip(
                weights, written_counts, source_lengths, strict=True
            )
        ]

    def reads_whole_rows(self) -> str:
        return "its decoder starts where a row ends"
