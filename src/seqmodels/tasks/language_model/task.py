"""The next token at every step, with the state carried from window to window."""

from __future__ import annotations

import logging
import math
from functools import cached_property
from typing import Annotated, Any, Literal

from lightning.pytorch.utilities.rank_zero import rank_zero_only
from tokenizers import Tokenizer
from torch import Tensor

from seqmodels.arguments import ArgumentsOf, NonNegativeFraction, OfEncoder
from seqmodels.batch import PADDING_TARGET, AnyBatch, SequenceBatch
from seqmodels.engine.contract import Contract, Step
from seqmodels.engine.task import Task
from seqmodels.errors import UserError
from seqmodels.heads import find_head
from seqmodels.machine import fastest_precision
from seqmodels.nn.outputs import ClassOptions, Output
from seqmodels.nn.state import State, parts_of, state_of, without_gradient
from seqmodels.nn.vocabulary import Vocabulary
from seqmodels.screen import Screen
from seqmodels.tasks.language_model.generation import write
from seqmodels.tasks.language_model.passes import dropout_for, expected_passes, settle_size
from seqmodels.tasks.language_model.stream_windows import StreamDataset

log = logging.getLogger(__name__)

MANY_TOKENS = 10_000  # whose softmax takes most of a step's time


class LanguageModel(Task):
    """Embedding, `RecurrentEncoder` (one direction), every step of `output` into a softmax.

    Where a batch `continues` the one before, as the windows of a stream do, its first step starts
    from that one's final `(h_n, c_n)`, detached: truncated backpropagation through time. Training,
    validation and test each carry a state of their own.

    Args:
        data, encoder, head, options: as `Task` documents them. A training settles what
            `encoder.hidden_size=auto` of its configuration is; give a number here.
        embedding: its `size` None: as wide as `output`.
        dropout: on `output`. `auto`: what suits the passes over the text that the training's
            budget allows. It is chosen when the training starts, or once its speed is known, and
            saved with the weights.
        output: arguments of `ClassOptions`, without weights.

    Raises:
        UserError: for a head that needs frequent tokens first, and a tokenizer with others first.
    """

    contract = Contract(per="step", target="next_token", causal=True, stateful=True)
    curves = ("loss", "bits_per_byte")
    bar = "perplexity"
    settle = staticmethod(settle_size)
    generate = write  # of a finished run

    def __init__(
        self,
        data: dict[str, Any],
        encoder: Annotated[dict[str, Any], OfEncoder(hidden_size=Literal["auto"])],
        head: str = "softmax",
        *,
        embedding: Annotated[dict[str, Any], ArgumentsOf("seqmodels.nn.embedding.EmbeddingOptions")]
        | None = None,
        dropout: NonNegativeFraction | Literal["auto"] = 0.0,
        output: Annotated[
            dict[str, Any], ArgumentsOf("seqmodels.nn.outputs.ClassOptions", "class_weights")
        ]
        | None = None,
        **options: Any,
    ) -> None:
        embedding = {"size": None, **(embedding or {})}
        embedding["size"] = embedding["size"] or encoder.get("proj_size") or encoder["hidden_size"]
        options["dropout"] = dropout_for(1.0) if dropout == "auto" else dropout
        super().__init__(data, encoder, head, embedding=embedding, output=output, **options)
        self.hparams["dropout"] = dropout  # `auto` until it is decided
        self.carried: dict[str, State] = {}  # by split: where the next window starts

    def make_output(self, width: int, **options: Any) -> Output:
        name, data = self.hparams["head"], self.hparams["data"]
        output: Any = find_head(name).output_class or Vocabulary
        if output.frequent_first and not data.get("frequent_first", True):
            raise UserError(
                f"model.head={name} needs token ids that go from frequent to rare, which those of "
                "this tokenizer do not: set data.tokenizer=word, or model.head=softmax"
            )
        return output(
            width,
            data["num_inputs"],
            embedding=self.embedding,
            label_smoothing=ClassOptions(**(self.hparams["output"] or {})).label_smoothing,
            **options,
        )

    def step(self, batch: SequenceBatch) -> Step:
        state = self.carried.get(self.split) if batch.continues else None
        if state is not None and (rows := parts_of(state)[0].shape[1]) != len(batch):
            raise UserError(
                f"the checkpoint carries the state of {rows} streams and this training has "
                f"{len(batch)}: keep data.batch_size as it was"
            )
        assert batch.targets is not None
        states = self.encode(batch, state)
        self.carried[self.split] = without_gradient(states.state)  # starts the next window
        scored = None
        if self.measures_more:
            known = batch.targets != PADDING_TARGET
            scored = self.head(states)[known].float().softmax(dim=-1), batch.targets[known]
        loss = self.head.loss(states, batch.targets)
        return Step(loss, int(batch.lengths.sum()), scored=scored)

    @rank_zero_only
    def on_fit_start(self) -> None:
        output, trainer = self.head.output, self.trainer
        large = isinstance(output, Vocabulary) and output.project.out_features >= MANY_TOKENS
        exact = trainer.precision == "32-true" and trainer.strategy.root_device.type == "cpu"
        if large and exact and fastest_precision("cpu") == "bf16-mixed":
            log.info(
                "trainer.precision=bf16-mixed would be about 1.7 times as fast (measured on an AMD "
                "EPYC with 20,000 tokens): this processor computes in bfloat16"
            )

    def training_step(self, batch: AnyBatch) -> Tensor:
        self._follow_passes()
        return super().training_step(batch)

    def metrics_of_loss(self, loss: Tensor, dataset: Any) -> dict[str, Tensor]:
        """The mean loss in nats per token, as perplexity, and as bits per byte of the text where a
        text was read: the one to compare tokenizers by. Unknown tokens are charged 8 extra bits
        for each of their bytes there, because they would have to be spelled out."""
        metrics = {"perplexity": loss.exp()}
        if isinstance(dataset, StreamDataset):
            bits = loss / math.log(2) * dataset.tokens_per_byte + dataset.spelling_bits_per_byte
            metrics["bits_per_byte"] = bits
        return metrics

    def outcomes(self, batch: SequenceBatch) -> list[dict[str, Any]]:
        """The text of each window, and the number of its tokens."""
        assert batch.targets is not None
        rows = zip(batch.targets.tolist(), batch.lengths.tolist(), strict=True)
        decode = self.tokenizer.decode
        return [{"target": decode(ids[:count]), "tokens": count} for ids, count in rows]

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """That of the data."""
        return Tokenizer.from_str(self.hparams["data"]["tokenizer"])

    def describe(self, batch: SequenceBatch) -> list[dict[str, Any]]:
        raise UserError("a language model has no labels to predict; use python scripts/generate.py")

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        self.carried.pop("validation", None)

    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        self.carried.pop("test", None)

    def _follow_passes(self) -> None:
        if self.hparams["dropout"] != "auto" or (passes := expected_passes(self.trainer)) is None:
            return
        self._decide(dropout_for(passes))
        so = f"{passes:.2g} passes over the text, so model.dropout={self.hparams['dropout']}"
        words = f"auto: the budget allows {so}; to choose yourself, set it"
        rank_zero_only(Screen().print)(words, soft_wrap=True)

    def _decide(self, dropout: float) -> None:
        self.hparams["dropout"] = dropout
        parts: list[Any] = [self.head]
        parts += [self.embedding] if self.hparams["embedding"].get("dropout") is None else []
        for part in parts:
            part.dropout.p = dropout

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        saved = checkpoint["hyper_parameters"]["dropout"]
        if self.hparams["dropout"] == "auto" and saved != "auto":
            self._decide(saved)

    # the state between windows belongs to the checkpoint

    def process_state(self) -> dict[str, Any]:
        state = self.carried.get("train")
        carried = {} if state is None else {"carried": [part.cpu() for part in parts_of(state)]}
        return {**super().process_state(), **carried}

    def restore_process_state(self, state: dict[str, Any]) -> None:
        super().restore_process_state(state)
        if "carried" in state:
            carried = state_of(*(part.to(self.device) for part in state["carried"]))
            self.carried["train"] = carried
