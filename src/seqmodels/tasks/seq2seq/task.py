"""A text for a sequence: an encoder, and a decoder that starts from its state."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any

from jaxtyping import Int
from torch import Tensor

from seqmodels.arguments import ArgumentsOf, Count, Name, NonNegative, NonNegativeFraction
from seqmodels.batch import PADDING_TARGET, AnyBatch, PairBatch, SequenceBatch
from seqmodels.engine.contract import Contract, Step
from seqmodels.engine.network import once_a_batch
from seqmodels.engine.task import Task
from seqmodels.errors import UserError
from seqmodels.nn.encoder import RecurrentEncoder, RNNOutput
from seqmodels.tasks.seq2seq.decoder import Decoder
from seqmodels.tasks.seq2seq.decoding import build_decoder
from seqmodels.tasks.seq2seq.search import MOST_TOKENS, Found
from seqmodels.tasks.seq2seq.text_scores import SCORES_OF, TextScores, check_scores
from seqmodels.tasks.seq2seq.text_targets import TextDecoder


class Seq2Seq(Task):
    """Reads a source with the encoder, and writes a target with a decoder of its own.

    Args:
        data, encoder, head, options: as `Task` documents them; the head says which tensors of the
            encoder the decoder gets.
        decoder: arguments of the decoder's `RecurrentEncoder`, which reads in one direction; None:
            cell, layers and dropout of the encoder, and as wide as its directions together, so
            that the final states are handed over as they are.
        output: arguments of `TextOptions`.
        scheduled_sampling: in training, the share of target tokens that the decoder reads as it
            predicts them itself.
        beam: beginnings to keep for each source in the test and in predictions; 1: greedy, as the
            validation is.
        best: how many texts to predict for each source, at most `beam`.
        length_penalty: the power of the length that a text's log-probability is divided by.
        longest: the largest number of tokens to write; None: twice as many as the longest target of
            the training has; at most 10,000.
        scores: of `text_scores.SCORES`; None: the usual ones for the target's tokens.

    Raises:
        UserError: for too many tokens to write, more texts than a beam keeps, or an unknown score.
    """

    contract = Contract(per="sequence", target="text")
    curves = ("loss", "exact_match")
    bar = "exact_match"

    def __init__(
        self,
        data: dict[str, Any],
        encoder: dict[str, Any],
        head: str = "attention",
        *,
        decoder: Annotated[
            dict[str, Any],
            ArgumentsOf(
                "seqmodels.nn.encoder.RecurrentEncoder",
                "input_size",
                "bidirectional",
                **dict.fromkeys(("cell", "hidden_size", "num_layers", "dropout")),
            ),
        ]
        | None = None,
        output: Annotated[
            dict[str, Any], ArgumentsOf("seqmodels.tasks.seq2seq.decoding.TextOptions")
        ]
        | None = None,
        scheduled_sampling: NonNegativeFraction = 0.0,
        beam: Count = 1,
        best: Count = 1,
        length_penalty: NonNegative = 1.0,
        longest: Count | None = None,
        scores: list[Name] | None = None,
        **options: Any,
    ) -> None:
        if (longest or 1) > MOST_TOKENS:
            raise UserError(f"model.longest is {longest}: at most {MOST_TOKENS}")
        if best > beam:
            raise UserError(f"model.best is {best}, and a beam finds at most model.beam={beam}")
        check_scores(scores or ())
        super().__init__(
            data,
            encoder,
            head,
            decoder=decoder,
            output=output,
            scheduled_sampling=scheduled_sampling,
            beam=beam,
            best=best,
            length_penalty=length_penalty,
            longest=longest,
            scores=scores,
            **options,
        )

    @property
    def decoder(self) -> Decoder:
        """The module that the head hands the encoder's tensors to."""
        return self.head.output  # type: ignore[return-value]

    def make_output(  # type: ignore[override]
        self,
        encoder: RecurrentEncoder,
        attention: dict[str, Any] | None = None,
    ) -> Decoder:
        data = self.hparams["data"]
        shared = self.embedding if data.get("shared") else None
        return build_decoder(
            self.hparams,
            self.embedding_options,
            data,
            encoder,
            shared=shared,
            attention=attention,
        )

    def step(self, batch: PairBatch) -> Step:
        targets = batch.target.targets
        assert targets is not None
        known = (targets != PADDING_TARGET).sum()
        if self.split == "train":
            return Step(self.loss_and_decision(batch)[0], known)
        states = self.encode(batch)
        many = {
            name: self.hparams[name] if self.split == "test" else 1 for name in ("beam", "best")
        }
        found = self.write(states, **many)
        texts = self.text_decoder.texts(found.tokens[:, 0])
        counts = self.text_scores.counts(texts, batch.references or [])
        scored = texts, [*map(list, batch.references or [])]
        loss = self.head.loss(states, targets)
        return Step(loss, known, {"texts": counts.sum(0).to(self.device)}, scored)

    @once_a_batch
    def write(self, states: RNNOutput, *, beam: int, best: int = 1) -> Found:
        """The likeliest texts for what the encoder has read, the best first."""
        usual = min(2 * self.hparams["data"]["longest"] + 1, MOST_TOKENS)
        longest = self.hparams["longest"] or usual
        penalty = self.hparams["length_penalty"]
        selected = self.head.features(states)
        options = {"longest": longest, "length_penalty": penalty}
        return self.decoder.search(selected, beam=beam, best=best, **options)

    def attention(self, batch: AnyBatch) -> list[Tensor]:
        """For each row, how much each step of the source is attended to, `(S, T)`, where each token
        of the likeliest text is written, and its end."""
        states = self.encode(batch)
        return self.attention_to(states, self.write(states, beam=1))

    def attention_to(self, states: RNNOutput, found: Found) -> list[Tensor]:
        """The same for the first text that was found for each row."""
        weights = self.decoder.weights(self.head.features(states), found.tokens[:, 0])
        sizes = zip((found.lengths[:, 0] + 1).tolist(), states.lengths.tolist(), strict=True)
        return [row[:steps, :time] for row, (steps, time) in zip(weights, sizes, strict=True)]

    @cached_property
    def text_decoder(self) -> TextDecoder:
        """Texts from tokens of the target."""
        return TextDecoder(self.hparams["data"]["target_preprocessor"])

    @cached_property
    def text_scores(self) -> TextScores:
        """What is counted of each text."""
        level = self.text_decoder.level
        return TextScores(self.hparams["scores"] or SCORES_OF[level], level)

    @property
    def measures(self) -> Sequence[str]:  # type: ignore[override]
        known = "target_preprocessor" in self.hparams["data"]
        return self.text_scores.names if known else ()

    def scores(self, sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of validation and test: to write a text takes longer than to learn from it."""
        return self.text_scores.scores(sums["texts"]) if "texts" in sums else {}

    def metrics_of_loss(self, loss: Tensor, dataset: Any) -> dict[str, Tensor]:
        """The mean loss in nats per token, as perplexity."""
        return {"perplexity": loss.exp()}

    def describe(
        self, batch: AnyBatch, beam: int | None = None, best: int | None = None
    ) -> list[dict[str, Any]]:
        """`{"target": text, "score": log-probability by length}` for each row; with `best` above 1
        also `others`, a list of the same, the best first.

        Args:
            beam, best: in place of the task's own.
        """
        best = best or self.hparams["best"]
        beam = beam or max(self.hparams["beam"], best)
        states = self.encode(batch)
        found = self.write(states, beam=beam, best=best)
        rows = []
        for tokens, scores in zip(found.tokens, found.scores.tolist(), strict=True):
            texts = [
                {"target": text, "score": score}
                for text, score in zip(self.text_decoder.texts(tokens), scores, strict=True)
                if math.isfinite(score)
            ]
            rows.append({**texts[0], **({"others": texts[1:]} if len(scores) > 1 else {})})
        return rows

    def outcomes(self, batch: PairBatch) -> list[dict[str, Any]]:
        """With all other texts that are right too, and the number of tokens that the loss is of."""
        rows = []
        counts = batch.target.lengths.tolist()
        for right, made, count in zip(
            batch.references or [], self.describe(batch), counts, strict=True
        ):
            others = {"other_targets": [*right[1:]]} if right[1:] else {}
            row = {"target": right[0], **others, "prediction": made["target"]}
            rows.append({**row, "score": made["score"], "tokens": count})
        return rows

    def read_out(self, states: RNNOutput, batch: AnyBatch) -> Tensor:
        inputs = batch.target.inputs if isinstance(batch, PairBatch) else None
        return self.decoder(self.head.features(states), inputs)

    def as_function(self) -> Callable[..., Tensor]:
        """`(source, source_lengths, target_inputs) -> logits` of the token after each of
        `target_inputs`, `(B, S)`, which begin with the start token: `(B, S, V)`."""

        def predict(
            source: Tensor, lengths: Tensor, target_inputs: Int[Tensor, "batch steps"]
        ) -> Tensor:
            states = self.encode(SequenceBatch(source, lengths))
            return self.decoder(self.head.features(states), target_inputs)

        return predict
