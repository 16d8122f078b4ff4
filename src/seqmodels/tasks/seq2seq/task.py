"""A text for a sequence: an encoder, and a decoder that starts from its state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor

from seqmodels.arguments import Count
from seqmodels.batch import PairBatch, SequenceBatch
from seqmodels.engine.contract import Contract, Step
from seqmodels.engine.task import Described, Task
from seqmodels.nn.embedding import TOKEN_EMBEDDING_SIZE, TokenEmbedding
from seqmodels.nn.encoder import RecurrentEncoder, RNNOutput
from seqmodels.nn.outputs import Score, SmoothingOptions
from seqmodels.nn.vocabulary import Vocabulary
from seqmodels.tasks.seq2seq.decoder import Attention, Decoder
from seqmodels.tasks.seq2seq.network import Translator
from seqmodels.tasks.seq2seq.pairs import TextDecoder
from seqmodels.tasks.seq2seq.search import Found
from seqmodels.tasks.seq2seq.text_scores import score_names, text_counts, text_scores

MOST_TOKENS = 10_000  # to write for a source: a model may never end


class Seq2Seq(Task):
    """Reads a source with the encoder, and writes a target with a decoder of its own: with cell,
    layers and dropout of the encoder, in one direction, and as wide as the encoder's together, so
    that the final states are handed over as they are.

    Args:
        data, encoder, head, options: as `Task` documents them; the head says which tensors of the
            encoder the decoder gets, and `output` is of `SmoothingOptions`.
        beam: sequences to keep for each source in the test and in predictions; 1: greedy, as the
            validation is.
        longest: the largest number of tokens to write; None: twice as many as the longest target of
            the training has.
    """

    contract = Contract(per="sequence", target="text")
    Options = SmoothingOptions
    curves = ("loss", "exact_match")
    bar = "exact_match"

    def __init__(
        self,
        data: dict[str, Any],
        encoder: dict[str, Any],
        head: str = "attention",
        *,
        beam: Count = 1,
        longest: Annotated[int, Field(ge=1, le=MOST_TOKENS)] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(data, encoder, head, beam=beam, longest=longest, **options)

    network: Translator

    def make_network(self, *parts: Any, **options: Any) -> Translator:
        longest = self.hparams["longest"]
        if longest is None:
            longest_target = self.hparams["data"].get("longest", MOST_TOKENS)
            longest = min(2 * longest_target + 1, MOST_TOKENS)
        return Translator(*parts, longest=longest, **options)

    def make_output(  # type: ignore[override]
        self, encoder: RecurrentEncoder, attention: bool = False
    ) -> Decoder:
        """The decoder of this encoder, with or without attention."""
        data, options = self.hparams["data"], self.embedding_options
        size = options.size or TOKEN_EMBEDDING_SIZE
        dropout = self.make_dropout(options.dropout or 0.0)
        embedding = TokenEmbedding(data["num_targets"], size, options.noise, dropout)
        directions = encoder.num_directions
        rnn = RecurrentEncoder(
            size,
            directions * encoder.rnn.hidden_size,
            encoder.num_layers,
            cell=encoder.cell,
            proj_size=directions * encoder.rnn.proj_size,
            dropout=encoder.rnn.dropout,
            locked_dropout=self.hparams["locked_dropout"],
        )
        width = directions * encoder.output_size
        return Decoder(
            rnn,
            embedding,
            partial(
                Vocabulary,
                vocabulary_size=data["num_targets"],
                label_smoothing=self.output.label_smoothing,
            ),
            attention=Attention(rnn.output_size, width) if attention else None,
            start=data["start"],
            end=data["end"],
            dropout=self.make_dropout(self.hparams["dropout"]),
        )

    def step(self, batch: PairBatch) -> Step:
        score = self.score(batch)
        assert score.states is not None
        if self.split == "train":
            return Step(score)
        beam = self.hparams["beam"] if self.split == "test" else 1
        found = self.network.write(score.states, beam)
        texts, references = self.text_decoder.texts(found.tokens[:, 0]), batch.references or []
        counts = text_counts(texts, references, self.text_decoder.level).sum(dim=0)
        measured = texts, [*map(list, references)]
        sums = {"texts": counts.to(self.device)}
        return Step(replace(score, decision=found), sums, measured)

    @cached_property
    def text_decoder(self) -> TextDecoder:
        """Texts from tokens of the target."""
        return TextDecoder(self.hparams["data"]["target_preprocessor"])

    @property
    def measures(self) -> Sequence[str]:  # type: ignore[override]
        known = "target_preprocessor" in self.hparams["data"]
        return score_names(self.text_decoder.level) if known else ()

    def scores(self, sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of validation and test: to write a text takes longer than to learn from it."""
        return text_scores(sums["texts"], self.text_decoder.level) if "texts" in sums else {}

    def metrics_of_loss(self, loss: Tensor, dataset: Any) -> dict[str, Tensor]:
        """The mean loss in nats per token, as perplexity."""
        return {"perplexity": loss.exp()}

    def describe(
        self, batch: SequenceBatch, states: RNNOutput | None = None, beam: int | None = None
    ) -> Described:
        """`{"target": text, "score": log-probability by length}` for each row.

        Args:
            states: as `Task.describe` takes it.
            beam: in place of the task's own.
        """
        states = states or self.network.encode(batch)
        beam = beam or self.hparams["beam"]
        return self._described(self.network.write(states, beam))

    def _described(self, found: Found) -> Described:
        texts, scores = self.text_decoder.texts(found.tokens[:, 0]), found.scores[:, 0].tolist()
        rows = zip(texts, scores, strict=True)
        return [{"target": text, "score": score} for text, score in rows]

    def outcomes(self, batch: PairBatch, score: Score) -> Described:
        """With all other texts that are right too, and the number of tokens that the loss is of."""
        found = self._described(score.decision)
        columns = batch.references or [], found, batch.target.lengths.tolist()
        return [
            {"target": right[0]}
            | ({"other_targets": [*right[1:]]} if right[1:] else {})
            | {"prediction": made["target"], "score": made["score"], "tokens": count}
            for right, made, count in zip(*columns, strict=True)
        ]
