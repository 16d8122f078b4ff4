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
from seqmodels.tasks.seq2seq.search import Hypotheses
from seqmodels.tasks.seq2seq.text_scores import score_names, text_counts, text_scores

# At most so many tokens are written for a source, because a model may never end.
MOST_TOKENS = 10_000


class Seq2Seq(Task):
    """Reads a source with the encoder, and writes a target with a decoder. The decoder has the
    cell, the layers and the dropout of the encoder, and one direction, which is as wide as the
    encoder's together, so that the final states are handed over as they are.

    Args:
        data, encoder, head, options: as `Task` documents them; the head says which tensors of the
            encoder the decoder gets, and `output` is of `SmoothingOptions`.
        beam: sequences to keep for each source in the test and in predictions; 1: greedy, as the
            validation is.
        longest: the largest number of tokens to write; None: one more than twice as many as the
            longest target of the training has, and `MOST_TOKENS` at most.
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
        """Makes the decoder for this encoder, with or without attention."""
        data = self.hparams["data"]
        embedding_options = self.embedding_options
        embedding_size = embedding_options.size or TOKEN_EMBEDDING_SIZE
        embedding = TokenEmbedding(
            data["num_targets"],
            embedding_size,
            embedding_options.noise,
            self.make_dropout(embedding_options.dropout or 0.0),
        )
        num_directions = encoder.num_directions
        rnn = RecurrentEncoder(
            embedding_size,
            num_directions * encoder.rnn.hidden_size,
            encoder.num_layers,
            cell=encoder.cell,
            proj_size=num_directions * encoder.rnn.proj_size,
            dropout=encoder.rnn.dropout,
            locked_dropout=self.hparams["locked_dropout"],
        )
        make_vocabulary = partial(
            Vocabulary,
            vocabulary_size=data["num_targets"],
            label_smoothing=self.output.label_smoothing,
        )
        attention_module = None
        if attention:
            memory_size = num_directions * encoder.output_size
            attention_module = Attention(rnn.output_size, memory_size)
        return Decoder(
            rnn,
            embedding,
            make_vocabulary,
            attention=attention_module,
            start=data["start"],
            end=data["end"],
            dropout=self.make_dropout(self.hparams["dropout"]),
        )

    def step(self, batch: PairBatch) -> Step:
        score = self.score(batch)
        assert score.states is not None
        if self.split == "train":
            return Step(score)
        beam = 1
        if self.split == "test":
            beam = self.hparams["beam"]
        hypotheses = self.network.write(score.states, beam)
        texts = self.text_decoder.texts(hypotheses.tokens[:, 0])
        references = batch.references or []
        counts = text_counts(texts, references, self.text_decoder.level).sum(dim=0)
        sums = {"texts": counts.to(self.device)}
        measured = texts, [list(texts_of_row) for texts_of_row in references]
        return Step(replace(score, decision=hypotheses), sums, measured)

    @cached_property
    def text_decoder(self) -> TextDecoder:
        """Makes texts of the tokens of targets."""
        return TextDecoder(self.hparams["data"]["target_preprocessor"])

    @property
    def measures(self) -> Sequence[str]:  # type: ignore[override]
        if "target_preprocessor" not in self.hparams["data"]:
            return ()
        return score_names(self.text_decoder.level)

    def scores(self, sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns the scores of the texts of a validation or a test; none in training, as to write
        a text takes longer than to learn from it."""
        if "texts" not in sums:
            return {}
        return text_scores(sums["texts"], self.text_decoder.level)

    def metrics_of_loss(self, loss: Tensor, dataset: Any) -> dict[str, Tensor]:
        """Returns the mean loss in nats per token, as perplexity."""
        return {"perplexity": loss.exp()}

    def describe(
        self, batch: SequenceBatch, states: RNNOutput | None = None, beam: int | None = None
    ) -> Described:
        """Returns `{"target": text, "score": log-probability by length}` for each row.

        Args:
            states: as `Task.describe` takes it.
            beam: sequences to keep for each source; None: as many as the task says.
        """
        states = states or self.network.encode(batch)
        beam = beam or self.hparams["beam"]
        return self._described(self.network.write(states, beam))

    def _described(self, hypotheses: Hypotheses) -> Described:
        texts = self.text_decoder.texts(hypotheses.tokens[:, 0])
        scores = hypotheses.scores[:, 0].tolist()
        rows = zip(texts, scores, strict=True)
        return [{"target": text, "score": score} for text, score in rows]

    def outcomes(self, batch: PairBatch, score: Score) -> Described:
        """Returns the first text that is right for each row, the others, the prediction, its score,
        and the number of tokens that have a loss."""
        predictions = self._described(score.decision)
        references = batch.references or []
        token_counts = batch.target.lengths.tolist()
        outcomes = []
        for texts, prediction, token_count in zip(
            references, predictions, token_counts, strict=True
        ):
            first_text, *other_texts = texts
            outcome: dict[str, Any] = {"target": first_text}
            if other_texts:
                outcome["other_targets"] = other_texts
            outcome["prediction"] = prediction["target"]
            outcome["score"] = prediction["score"]
            outcome["tokens"] = token_count
            outcomes.append(outcome)
        return outcomes
