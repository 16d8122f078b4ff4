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

# A prediction names so many tokens.
LIKELIEST = 10


class Softmax(EveryStep, name="softmax"):
    """`p(w_{t+1} | w_1..w_t) = softmax(W h_t + b)`, for every `t`: `h_t` is a step of `output`."""

    output_class: ClassVar[type[Output] | None] = Vocabulary


class TiedSoftmax(Softmax, name="tied_softmax"):
    """The softmax of every step of `output`, with the embedding's own weight in place of `W`."""

    output_class = TiedVocabulary


class LanguageModel(Task):
    """Embedding, `RecurrentEncoder` (one direction), every step of `output` into a softmax.

    Where a batch `continues` the one before, as the windows of a stream do, its first step starts
    from that one's final `(h_n, c_n)`, detached: truncated backpropagation through time. Training,
    validation and test each carry a state of their own.

    Args:
        data, encoder, head, options: as `Task` documents them; `output` is of `SmoothingOptions`.
        embedding: its options; its `size` None makes it as wide as `output`.
    """

    contract = Contract(per="step", target="next_token", causal=True, stateful=True)
    Options = SmoothingOptions
    curves = ("loss", "bits_per_byte")
    bar = "perplexity"
    # It continues a prompt, for a finished run.
    generate = write

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
        # The state from which the next window of each split starts.
        self.carried: dict[str, State] = {}

    def output_options(self, embedding: nn.Module) -> dict[str, Any]:
        # The softmax may share the weight of the embedding.
        return {"embedding": embedding}

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
        assert batch.targets is not None
        state = None
        if batch.continues:
            state = self.carried.get(self.split)
        states = self.network.encode(batch, state)
        final_states = [tensor.detach() for tensor in parts_of(states.state)]
        self.carried[self.split] = state_of(*final_states)
        measured = None
        if self.measures_more:
            is_known = batch.targets != PADDING_TARGET
            logits = self.network.head(states)[is_known]
            measured = logits.float().softmax(dim=-1), batch.targets[is_known]
        return Step(self.network.head.score(states, batch.targets), measured=measured)

    def metrics_of_loss(self, loss: Tensor, dataset: Any) -> dict[str, Tensor]:
        """Returns the mean loss, in nats per token, as perplexity; where a text was read, also as
        bits per byte, by which tokenizers can be compared. Unknown tokens are charged 8 extra bits
        for each of their bytes there, because they would have to be spelled out."""
        metrics = {"perplexity": loss.exp()}
        if isinstance(dataset, StreamDataset):
            bits_per_token = loss / math.log(2)
            metrics["bits_per_byte"] = (
                bits_per_token * dataset.tokens_per_byte + dataset.spelling_bits_per_byte
            )
        return metrics

    def outcomes(self, batch: SequenceBatch, score: Score) -> Described:
        """Returns the text of each window, and the number of its tokens."""
        assert batch.targets is not None
        rows = []
        for ids, count in zip(batch.targets.tolist(), batch.lengths.tolist(), strict=True):
            text = self.tokenizer.decode(ids[:count])
            rows.append({"target": text, "tokens": count})
        return rows

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the data."""
        return Tokenizer.load(self.hparams["data"]["tokenizer"])

    @property
    def answers(self) -> Sequence[str]:
        return self.tokenizer.tokens

    def describe(self, batch: SequenceBatch, states: RNNOutput | None = None) -> Described:
        """Returns `{"next": {token: probability}}` for each row: the likeliest tokens after its
        last step, the likeliest first."""
        logits = self.network.head(states or self.network.encode(batch))
        probabilities = last_step(logits, batch.lengths).float().softmax(dim=-1)  # (B, V)
        probabilities[:, [START_ID, UNKNOWN_ID]] = 0.0  # They stand for no text.
        num_tokens = min(LIKELIEST, probabilities.shape[1] - len(SPECIAL))
        largest = probabilities.topk(num_tokens)
        rows = []
        for ids, shares in zip(largest.indices.tolist(), largest.values.tolist(), strict=True):
            names = map(self.tokenizer.name, ids)
            rows.append({"next": dict(zip(names, shares, strict=True))})
        return rows

    # The state between windows belongs to the checkpoint.

    def process_state(self) -> dict[str, Any]:
        process_state = super().process_state()
        carried = self.carried.get("train")
        if carried is not None:
            process_state["carried"] = [tensor.cpu() for tensor in parts_of(carried)]
        return process_state

    def restore_process_state(self, state: dict[str, Any]) -> None:
        super().restore_process_state(state)
        if "carried" in state:
            carried = [tensor.to(self.device) for tensor in state["carried"]]
            self.carried["train"] = state_of(*carried)
