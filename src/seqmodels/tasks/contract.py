"""What a task asks of its data, its head and its encoder, and what it gives to the engine."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from seqmodels.batch import Per, Target


@dataclass(frozen=True)
class Words:
    """How a kind of target is called in tables, pictures and errors.

    Args:
        target: what there is for each sequence or step.
        logits: what the logits are of.
        size: the letter for how many there are.
        unit: what a speed counts.
        choose: what to write on the command line to get this kind.
    """

    target: str
    logits: str
    size: str
    unit: str
    choose: str


WORDS: dict[Target, Words] = {
    "class": Words("a class", "of the classes", "C", "examples", "model=classifier data=text"),
    "tag": Words("a tag", "of the tags", "C", "tokens", "a model and data with tags"),
    "value": Words("numbers", "the values", "K", "examples", "a model and data with numbers"),
    "next_token": Words(
        "the next token", "of the next token", "V", "tokens", "model=language_model data=text_lm"
    ),
    "text": Words("a text", "of the next token", "V", "tokens", "a model and data with pairs"),
}


@dataclass(frozen=True)
class Contract:
    """The one statement of what a task is; everything else follows from it.

    Args:
        per: whether there is one prediction for each sequence or one for each step: which heads
            fit.
        target: what is predicted: which data fit.
        causal: whether a step may depend on itself and earlier steps only; then the encoder reads
            in one direction, and the audit looks for leaks from the future.
        stateful: whether the final state of a batch starts the next one.
    """

    per: Per
    target: Target
    causal: bool = False
    stateful: bool = False

    @property
    def words(self) -> Words:
        return WORDS[self.target]


def describe_target(per: Per, target: Target) -> str:
    """`a class for each sequence`."""
    return f"{WORDS[target].target} for each {per}"


@dataclass(frozen=True, eq=False)
class Step:
    """What a task makes of one batch.

    Args:
        loss: a scalar, the mean over `weight` targets.
        weight: how many targets there are; known without waiting for the device.
        predictions, targets: for the metrics, at the end of the epoch; None without metrics.
    """

    loss: Float[Tensor, ""]
    weight: int
    predictions: Tensor | None = None
    targets: Tensor | None = None
