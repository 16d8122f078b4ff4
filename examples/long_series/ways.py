"""Ways to read a long row, each a network made of the library's parts."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from seqmodels.batch import SequenceBatch
from seqmodels.heads import build_head
from seqmodels.network import Network, WindowedNetwork
from seqmodels.nn.cell import State, parts_of, state_of
from seqmodels.nn.encoder import RecurrentEncoder
from seqmodels.nn.outputs import ClassOutput

WAYS = {
    "segment": "`model.encoder.segment`",
    "stack": "`data.stack=auto`",
    "window": "`model.window`",
    "convolution": "convolutions with stride",
    "truncated": "segments, gradients cut",
    "whole": "the whole row",
}
# How many units the network has, and how many channels each convolution.
UNITS = 16
# A convolution has so many steps and this stride. There are as many of them as leave the network at
# most `MOST_STEPS` steps.
KERNEL, STRIDE = 8, 4
MOST_STEPS = 640


class TruncatedEncoder(RecurrentEncoder):
    """An encoder whose gradients end where a segment begins."""

    def read_whole(
        self,
        inputs: Tensor,
        lengths: Tensor,
        longest: int,
        state: State | None,
        factors: Sequence[Tensor] | None,
    ) -> tuple[Tensor, State]:
        if state is not None:
            state = state_of(*[part.detach() for part in parts_of(state)])
        return super().read_whole(inputs, lengths, longest, state, factors)


class StridedNetwork(Network):
    """A network whose rows, all of one length, become shorter by convolutions before it."""

    def __init__(self, strided: nn.Module, encoder: RecurrentEncoder, head: nn.Module) -> None:
        super().__init__(nn.Identity(), encoder, head)
        self.strided = strided

    def rows_to_read(self, batch: SequenceBatch) -> SequenceBatch:
        channels_first = batch.inputs.transpose(1, 2)  # (B, C, T)
        inputs = self.strided(channels_first).transpose(1, 2)  # (B, T of the encoder, UNITS)
        lengths = torch.full_like(batch.lengths, inputs.shape[1])
        return replace(batch, inputs=inputs, lengths=lengths)


def strided_convolutions(channels: int, steps: int) -> nn.Module:
    """`(B, C, T) -> (B, UNITS, T')` with at most `MOST_STEPS` steps."""
    layers: list[nn.Module] = []
    while steps > MOST_STEPS:
        padding = (KERNEL - STRIDE) // 2
        layers += [nn.Conv1d(channels, UNITS, KERNEL, STRIDE, padding), nn.ReLU()]
        channels = UNITS
        steps //= STRIDE
    if not layers:
        layers = [nn.Conv1d(channels, UNITS, kernel_size=STRIDE, stride=STRIDE), nn.ReLU()]
    return nn.Sequential(*layers)


def build_network(
    way: str, head: str, channels: int, classes: int, *, steps: int, size: int
) -> Network:
    """An LSTM that reads rows in one of the `WAYS`.

    Args:
        channels: of what it reads; folded rows have more.
        steps: of the longest row.
        size: the steps of a segment or window.
    """
    segment = size if way in ("segment", "truncated") else None
    encoder_class = TruncatedEncoder if way == "truncated" else RecurrentEncoder
    width = UNITS if way == "convolution" else channels
    encoder = encoder_class(width, UNITS, segment=segment)
    built_head = build_head(head, encoder, partial(ClassOutput, num_classes=classes))
    if way == "convolution":
        return StridedNetwork(strided_convolutions(channels, steps), encoder, built_head)
    window = size if way == "window" else None
    return WindowedNetwork(nn.Identity(), encoder, built_head, window=window)
