"""Four heads that read the wrong tensor, as tutorials and libraries do: measure what it costs.

Each begins with the name of the mistake for which the audit refuses to train it. To train it
anyway, add `callbacks.dataflow.refuse=false`, as the experiment does:

    python scripts/train.py imports=[examples.classic_mistakes] model.head=padded_last_step
    python scripts/train.py -m experiment=study_mistakes
"""

from typing import Any

from torch import Tensor, nn

from seqmodels.heads import Head
from seqmodels.nn.encoder import RecurrentEncoder, RNNOutput


def _forget_lengths(encoder: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    inputs, *_ = args
    return (inputs,)


class PaddedLastStep(Head, name="padded_last_step"):
    """`padding_leak`: `output[:, -1]` of a network without lengths, which has read the padding."""

    reads = ("output",)
    requires_bidirectional: bool | None = False

    def build(self, encoder: RecurrentEncoder) -> None:
        encoder.register_forward_pre_hook(_forget_lengths)

    def select(self, states: RNNOutput) -> Tensor:
        return states.output[:, -1]  # (B, T, D*H) -> (B, D*H)


class PaddedLastStepOfBoth(PaddedLastStep, name="padded_last_step_of_both"):
    """`padding_leak`, `truncated_direction`: `output[:, -1]` of two directions, whose backward half
    has read one step, which is padding."""

    requires_bidirectional = True


class PaddedMean(PaddedLastStep, name="padded_mean"):
    """`padding_leak`: the mean of `output` over all steps, padding too."""

    requires_bidirectional = None

    def select(self, states: RNNOutput) -> Tensor:
        return states.output.mean(dim=1)  # (B, T, D*H) -> (B, D*H)


class BackwardOnly(Head, name="backward_only"):
    """`unread_direction`: `h_n[-1]` of two directions, which drops the forward one."""

    reads = ("h_n",)
    requires_bidirectional = True

    def select(self, states: RNNOutput) -> Tensor:
        return states.h_n[-1, -1]  # (L, D, B, H) -> (B, H)
