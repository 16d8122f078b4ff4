"""The next token at every step, with the state carried from window to window."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

from torch import Tensor, nn

from seqmodels.batch import PADDING_TARGET, UNKNOWN_ID, SequenceBatch
from seqmodels.data.tokenizer import SPECIAL, START_ID, Tokenizer
from seqmodels.engine.contract import Contract, Step
from seqmodels.engine.task import Described, Task
from seqmodels.heads import find_head
from seqmodels.heads.states import EveryStep
from seqmodels.nn.cell import State, parts_of, state_of
from seqmodels.nn.encoder import RNNOutput
from seqmodels.nn.outputs import Output, Score, SmoothingOptions
from seqmodels.nn.vocabulary import TiedVocabulary, Vocabulary
from seqmodels.padding import last_step
from seqmodels.tasks.language_model.generation import write
from seqmodels.tasks.language_model.streams import StreamDataset

LIKELIEST = 10  # tokens that a prediction names


class Softmax(EveryStep, name="softmax"):
    """`p(w_{t+1} | w_1..w_t) = softmax(W h_t + b)`, for every `t`: `h_t` is a step of `output`."""

    output_class: ClassVar[type[Output] | None] = Vocabulary


class TiedSoftmax(Softmax, name="tied_softmax"):
    """The same with the embedding's own weight in place of `W`."""

    output_class = TiedVocabulary


class LanguageModel(Task):
    """Embedding, `RecurrentEncoder` (one direction), every step of `output` into a softmax.

    Where a batch `continues` the one before, as the windows of a stream do, its first step starts
    from that one's final `(h_n, c_n)`, detached: truncated backpropagation through time. Training,
    validation and test each carry a state of their own.

    Args:
        data, encoder, head, options: as `Task` documents them; `output` is of `SmoothingOptions`.
        embedding: its `size` None: as wide as `output`.
    """

    contract = Contract(per="step", target="next_token", causal=True, stateful=True)
    Options = SmoothingOptions
    curves = ("loss", "bits_per_byte")
    bar = "perplexity"
    generate = write  # of a finished run

    def __init__(
        self,
        data: dict[str, Any],
        encoder: dict[str, Any],
        head: str = "softmax",
        *,
        embedding: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        embedding = {"size": None, **(embedding or {})}
        embedding["size"] = embedding["size"] or encoder.get("proj_size") or encoder["hidden_size"]
        super().__init__(data, encoder, head, embedding=embedding, **options)
        self.carried: dict[str, State] = {}  # by split: where the next window starts

    def output_options(self, embedding: nn.Module) -> dict[str, Any]:
        return {"embedding": embedding}  # whose weight the softmax may share

    def make_output(self, width: int, *, embedding: nn.Module, **options: Any) -> Output:  # type: ignore[override]
        output: Any = find_head(self.hparams["head"]).output_class or Vocabulary
        return output(
            width,
            self.hparams["data"]["num_inputs"],
            embedding=embedding,
            label_smoothing=self.output.label_smoothing,
            **options,
        )

    def step(self, batch: SequenceBatch) -> Step:
        state = self.carried.get(self.split) if batch.continues else None
        assert batch.targets is not None
        states = self.network.encode(batch, state)
        final = (part.detach() for part in parts_of(states.state))
        self.carried[self.split] = state_of(*final)  # starts the next window
        measured = None
        if self.measures_more:
            is_known = batch.targets != PADDING_TARGET
            logits = self.network.head(states)[is_known]
            measured = logits.float().softmax(dim=-1), batch.targets[is_known]
        return Step(self.network.head.score(states, batch.targets), measured=measured)

    def metrics_of_loss(self, loss: Tensor, dataset: Any) -> dict[str, Tensor]:
        """The mean loss in nats per token, as perplexity, and as bits per byte of the text where a
        text was read: the one to compare tokenizers by. Unknown tokens are charged 8 extra bits
        for each of their bytes there, because they would have to be spelled out."""
        metrics = {"perplexity": loss.exp()}
        if isinstance(dataset, StreamDataset):
            bits = loss / math.log(2) * dataset.tokens_per_byte + dataset.spelling_bits_per_byte
            metrics["bits_per_byte"] = bits
        return metrics

    def outcomes(self, batch: SequenceBatch, score: Score) -> Described:
        """The text of each window, and the number of its tokens."""
        assert batch.targets is not None
        rows = zip(batch.targets.tolist(), batch.lengths.tolist(), strict=True)
        decode = self.tokenizer.decode
        return [{"target": decode(ids[:count]), "tokens": count} for ids, count in rows]

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """That of the data."""
        return Tokenizer.load(self.hparams["data"]["tokenizer"])

    @property
    def answers(self) -> Sequence[str]:
        return self.tokenizer.tokens

    def describe(self, batch: SequenceBatch, states: RNNOutput | None = None) -> Described:
        """`{"next": {token: probability}}` for each row: the likeliest tokens after its last step,
        the likeliest first."""
        logits = self.network.head(states or self.network.encode(batch))
        shares = last_step(logits, batch.lengths).float().softmax(dim=-1)
        shares[:, [START_ID, UNKNOWN_ID]] = 0.0  # they stand for no text
        largest = shares.topk(min(LIKELIEST, shares.shape[1] - len(SPECIAL)))
        rows = zip(largest.indices.tolist(), largest.values.tolist(), strict=True)
        name = self.tokenizer.name
        return [{"next": {name(n): p for n, p in zip(*row, strict=True)}} for row in rows]

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
