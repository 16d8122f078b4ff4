"""Heads of language models: every step of `output` into a softmax over the vocabulary."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from seqmodels.arguments import Count, Positive
from seqmodels.heads.base import Head
from seqmodels.nn.encoder import RecurrentEncoder, RNNOutput
from seqmodels.nn.outputs import Output
from seqmodels.nn.vocabulary import AdaptiveVocabulary, TiedVocabulary, Vocabulary


class Softmax(Head, name="softmax"):
    """`p(w_{t+1} | w_1..w_t) = softmax(W h_t + b)`, for every `t`."""

    reads = ("output",)
    per = "step"
    output_class: ClassVar[type[Output] | None] = Vocabulary
    in_pytorch = "features = output"

    def select(self, states: RNNOutput) -> Tensor:
        return states.output  # (B, T, H): all of it


class TiedSoftmax(Softmax, name="tied_softmax"):
    """The same with the embedding's own weight in place of `W`."""

    output_class = TiedVocabulary


class AdaptiveSoftmax(Softmax, name="adaptive_softmax"):
    """The same with rare words in clusters that are computed only where needed.

    `head_options`: `cutoffs` and `div_value` of `AdaptiveVocabulary`.
    """

    output_class = AdaptiveVocabulary

    def build(
        self,
        encoder: RecurrentEncoder,
        cutoffs: list[Count] | None = None,
        div_value: Positive = 4.0,
    ) -> None:
        self.output_options = {"cutoffs": cutoffs, "div_value": div_value}
