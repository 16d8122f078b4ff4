"""Hand-written models with random numbers, with another training mode, unrolled by hand, and
encoder-decoders of some of the states."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tests.audit.bank import (
    TWO,
    C,
    Case,
    Classifier,
    F,
    H,
    Parts,
    classifier,
    last_column,
    mask_of,
    sequence,
    tagger,
    translator,
)


class InTraining(nn.Module):
    """What is done at random, or otherwise, in training mode alone.

    Args:
        does: by what is given.
        otherwise: outside of training mode.
    """

    def __init__(self, does: Callable[..., Any], otherwise: Callable[..., Any]) -> None:
        super().__init__()
        self.does, self.otherwise = does, otherwise

    def forward(self, *given: Any) -> Any:
        return (self.does if self.training else self.otherwise)(*given)


# ---------------------------------------------------------------- random numbers


def random_start(embedded: Tensor) -> Any:
    """As in PyTorch's tutorial on BiLSTM-CRF."""
    return tuple(torch.randn(2, len(embedded), H, dtype=embedded.dtype) for _ in "hc")


def of_zeros(embedded: Tensor) -> Any:
    return None


def dropping(output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
    """`functional.dropout` drops in evaluation, too, unless it is told."""
    return nn.functional.dropout(h_n[-1], 0.5)


def last_state(output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
    return h_n[-1]


def teacher_forced(embed: nn.Module, tokens: Tensor) -> Tensor:
    """Reads its own tokens now and then, by Python's random numbers."""
    if random.random() < 0.5:
        tokens = tokens.clone()
        tokens[:, 1:] = 1
    return embed(tokens)


# ---------------------------------------------------------------- in training mode only


class PacksInEvaluation(Classifier):
    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        if self.training:
            return self.classify(self.rnn(inputs)[0][:, -1])
        return super().forward(inputs, lengths)


class NormedSteps(nn.Module):
    """Batch normalization over all steps, padding included, or over the valid ones."""

    def __init__(self, valid: bool) -> None:
        super().__init__()
        self.norm, self.valid = nn.BatchNorm1d(F), valid

    def forward(self, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        if not self.valid:
            return self.norm(inputs.transpose(1, 2)).transpose(1, 2), lengths
        mask = mask_of(lengths, inputs.shape[1])
        return inputs.masked_scatter(mask.unsqueeze(-1), self.norm(inputs[mask])), lengths


class NormedState(nn.Module):
    """Batch normalization of `h_n`: other rows change the statistics, as they should."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(H)

    def forward(self, output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
        return self.norm(h_n[-1])


def mixed(output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
    return h_n[-1] - h_n[-1].mean(dim=0)


# ---------------------------------------------------------------- unrolled by hand


def unrolled(step: Callable[[Any, Tensor, Any], tuple[Tensor, Any]], **parts: Any) -> Parts:
    """A recurrence, `(B, T, F) -> (B, T, H)`: `step(parts, x, state)` gives what is read and the
    next state; the first state is None."""

    def run(own: Any, inputs: Tensor, lengths: Any) -> Tensor:
        state, outputs = None, []
        for x in inputs.unbind(dim=1):
            output, state = step(own, x, state)
            outputs.append(output)
        return torch.stack(outputs, dim=1)

    return Parts(run, **parts)


def by_matrices(own: Any, x: Tensor, state: Any) -> tuple[Tensor, Any]:
    h, c = state or (x.new_zeros(len(x), H),) * 2
    i, f, g, o = (own.w(x) + h @ own.u).chunk(4, dim=1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    h = o.sigmoid() * c.tanh()
    return h, (h, c)


def by_cell(own: Any, x: Tensor, state: Any) -> tuple[Tensor, Any]:
    h, c = own.cell(x, state)
    return h, (h, c)


def by_single_steps(own: Any, x: Tensor, state: Any) -> tuple[Tensor, Any]:
    output, state = own.rnn(x.unsqueeze(1), state)
    return output[:, 0], state


DIRECTIONS: dict[str, Callable[[], nn.Module]] = {
    "matrices": lambda: unrolled(
        by_matrices, w=nn.Linear(F, 4 * H), u=nn.Parameter(torch.randn(H, 4 * H) / 4)
    ),
    "LSTMCell": lambda: unrolled(by_cell, cell=nn.LSTMCell(F, H)),
    "GRU by steps": lambda: unrolled(by_single_steps, rnn=nn.GRU(F, H, batch_first=True)),
    "flipped LSTM": lambda: Parts(
        lambda own, x, lengths: own.rnn(x)[0], rnn=nn.LSTM(F, H, batch_first=True)
    ),
}
READS: dict[str, tuple[Callable[[Tensor], Tensor], int, list[str]]] = {
    "last step": (lambda output: output[:, -1], 2 * H, ["truncated_direction"]),
    "forward half": (lambda output: output[:, -1, :H], H, ["unread_direction"]),
    "both ends": (lambda output: torch.cat([output[:, -1, :H], output[:, 0, H:]], 1), 2 * H, []),
    "mean": (lambda output: output.mean(dim=1), 2 * H, []),
}


def both(direction: str, read: str) -> nn.Module:
    """Two directions, of which the second reads the flipped rows, side by side as `output`."""
    reads, width, _ = READS[read]

    def run(own: Any, x: Tensor, lengths: Tensor) -> Tensor:
        output = torch.cat([own.forwards(x), own.backwards(x.flip(1)).flip(1)], dim=2)
        return own.classify(reads(output))

    make = DIRECTIONS[direction]
    return Parts(run, forwards=make(), backwards=make(), classify=nn.Linear(width, C))


# ---------------------------------------------------------------- cases

RANDOM, MIXUP, LEAK = "random_state", "state_mixup", "padding_leak"
one_length = partial(sequence, padding="none")


def gru_pair(*found: str, slots: slice, **how: Any) -> Case:
    """A decoder of one direction, of the encoder's width, that starts from some slots of `h_n`."""
    bridge = lambda final, layers: final[slots].contiguous()  # noqa: E731
    return translator(*found, cell=nn.GRU, width=H, bridge=bridge, **how)


CALLS: dict[str, Case] = {
    "random start": tagger(RANDOM, start=random_start),
    "random start in training": tagger(start=InTraining(random_start, of_zeros)),
    "random start of padding": tagger(RANDOM, LEAK, start=random_start, packs=False),
    "dropout in evaluation": classifier(RANDOM, select=dropping),
    "dropout in training": classifier(select=InTraining(dropping, last_state)),
    "teacher forced": translator(RANDOM, embedded=teacher_forced),
    "teacher forced in training": translator(
        embedded=InTraining(teacher_forced, lambda embed, tokens: embed(tokens))
    ),
    "packs in evaluation": sequence(PacksInEvaluation, LEAK),
    "normed over padding": sequence(lambda: Classifier(before=NormedSteps(valid=False)), LEAK),
    "normed over valid steps": sequence(lambda: Classifier(before=NormedSteps(valid=True))),
    "normed state": sequence(lambda: Classifier(NormedState(), num_layers=2, dropout=0.5)),
    "mixed in training": classifier("batch_leak", select=InTraining(mixed, last_state)),
    # `h_n[:num_layers]` of two directions, as in a popular tutorial
    "sliced start": gru_pair(MIXUP, slots=slice(2)),
    "sliced start without attention": gru_pair(
        MIXUP, "unread_direction", weights=None, slots=slice(2)
    ),
    "sliced start by step": gru_pair(MIXUP, by_step=True, slots=slice(2)),
    # the top layer's two states for two layers: layers taken for directions, too
    "top start": gru_pair(MIXUP, slots=slice(-2, None)),
    "start of forward": gru_pair(by_step=True, slots=slice(None, None, 2)),
    "start of sums": translator(
        width=H, bridge=lambda final, layers: final.unflatten(0, (layers, 2)).sum(dim=1)
    ),
    "series": one_length(last_column),
    "series, last step of both": one_length(lambda: last_column(**TWO), "truncated_direction"),
    "series, batch_first forgotten": one_length(
        lambda: last_column(batch_first=False), "batch_leak", "unread_step"
    ),
} | {
    f"{direction} by hand, {read}": one_length(partial(both, direction, read), *READS[read][-1])
    for direction in DIRECTIONS
    for read in READS
    if read in ("last step", "mean") or direction in ("matrices", "flipped LSTM")
}
