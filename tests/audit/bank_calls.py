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
        otherwise: outside of training mode; None for the same.
    """

    def __init__(self, does: Callable[..., Any], otherwise: Callable[..., Any] | None) -> None:
        super().__init__()
        self.does, self.otherwise = does, otherwise or does

    def forward(self, *given: Any) -> Any:
        return (self.does if self.training else self.otherwise)(*given)


# ---------------------------------------------------------------- random numbers


def random_start(embedded: Tensor) -> Any:
    """As in PyTorch's tutorial on BiLSTM-CRF."""
    return tuple(torch.randn(2, len(embedded), H, dtype=embedded.dtype) for _ in "hc")


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


def noisy(inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Noise on the inputs and dropout of whole features."""
    inputs = inputs + 0.1 * torch.randn_like(inputs)
    return inputs * inputs.new_empty(len(inputs), 1, F).bernoulli_(0.7) / 0.7, lengths


def as_given(*given: Tensor) -> tuple[Tensor, ...]:
    return given


# ---------------------------------------------------------------- in training mode only


class PacksInEvaluation(Classifier):
    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        if self.training:
            return self.classify(self.rnn(inputs)[0][:, -1])
        return super().forward(inputs, lengths)


class NormedSteps(nn.Module):
    """Batch normalisation over all steps, or by `normed(norm, inputs, mask)`."""

    def __init__(self, normed: Callable[[nn.Module, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.norm, self.normed = nn.BatchNorm1d(F), normed

    def forward(self, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return self.normed(self.norm, inputs, mask_of(lengths, inputs.shape[1])), lengths


def over_padding(norm: nn.Module, inputs: Tensor, mask: Tensor) -> Tensor:
    """Its statistics in training count the padding."""
    return norm(inputs.transpose(1, 2)).transpose(1, 2)


def over_zeros(norm: nn.Module, inputs: Tensor, mask: Tensor) -> Tensor:
    """The zeros at padding are counted."""
    return over_padding(norm, inputs * mask.unsqueeze(-1), mask)


def over_valid_steps(norm: nn.Module, inputs: Tensor, mask: Tensor) -> Tensor:
    return inputs.masked_scatter(mask.unsqueeze(-1), norm(inputs[mask]))


class NormedState(nn.Module):
    """Batch normalisation of `h_n`: other rows change the statistics, as they should."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(H)

    def forward(self, output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
        return self.norm(h_n[-1])


def mixed(output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
    return h_n[-1] - h_n[-1].mean(dim=0)


# ---------------------------------------------------------------- unrolled by hand


def unrolled(step: Callable[[Any, Tensor, Any], tuple[Tensor, Any]], **parts: Any) -> Parts:
    """A recurrence: `(B, T, F) -> (B, T, H)`.

    Args:
        step: gives what is read and the next state, by `(parts, x, state)`; the first is None.
        parts: what it computes with.
    """

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


def by_linear_layers(own: Any, x: Tensor, h: Any) -> tuple[Tensor, Any]:
    h = torch.tanh(own.i2h(x) + own.h2h(x.new_zeros(len(x), H) if h is None else h))
    return h, h


def by_cell(own: Any, x: Tensor, state: Any) -> tuple[Tensor, Any]:
    state = own.cell(x, state)
    return (state[0] if isinstance(state, tuple) else state), state


def by_single_steps(own: Any, x: Tensor, state: Any) -> tuple[Tensor, Any]:
    output, state = own.rnn(x.unsqueeze(1), state)
    return output[:, 0], state


DIRECTIONS: dict[str, Callable[[], nn.Module]] = {
    "matrices": lambda: unrolled(
        by_matrices, w=nn.Linear(F, 4 * H), u=nn.Parameter(torch.randn(H, 4 * H) / 4)
    ),
    "i2h and h2h": lambda: unrolled(by_linear_layers, i2h=nn.Linear(F, H), h2h=nn.Linear(H, H)),
    "LSTMCell": lambda: unrolled(by_cell, cell=nn.LSTMCell(F, H)),
    "GRUCell": lambda: unrolled(by_cell, cell=nn.GRUCell(F, H)),
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
    "maximum": (lambda output: output.amax(dim=1), 2 * H, []),
}


def both(direction: str, read: str) -> nn.Module:
    """Two directions, of which the second reads the flipped rows, side by side as `output`."""
    reads, width, _ = READS[read]

    def run(own: Any, x: Tensor, lengths: Tensor) -> Tensor:
        output = torch.cat([own.forwards(x), own.backwards(x.flip(1)).flip(1)], dim=2)
        return own.classify(reads(output))

    make = DIRECTIONS[direction]
    return Parts(run, forwards=make(), backwards=make(), classify=nn.Linear(width, C))


def step_logits(own: Any, x: Tensor, lengths: Tensor) -> Tensor:
    """A linear layer at each step; the logits of the last."""
    return own.classify(own.steps(x))[:, -1]


# ---------------------------------------------------------------- cases

RANDOM, MIXUP, LEAK = "random_state", "state_mixup", "padding_leak"
OF_ZEROS = lambda embedded: None  # noqa: E731
# `h_n[:num_layers]` of two directions, as in a popular tutorial
SLICED: dict[str, Any] = {
    "cell": nn.GRU,
    "width": H,
    "bridge": lambda final, layers: final[:layers].contiguous(),
}
one_length = partial(sequence, padding="none")

CALLS: dict[str, Case] = {
    "random start": tagger(RANDOM, start=random_start),
    "random start in training": tagger(start=InTraining(random_start, OF_ZEROS)),
    "random start of padding": tagger(RANDOM, LEAK, start=random_start, packs=False),
    "dropout in evaluation": classifier(RANDOM, select=dropping),
    "dropout in training": classifier(select=InTraining(dropping, last_state)),
    "teacher forced": translator(RANDOM, embedded=teacher_forced),
    "teacher forced in training": translator(
        embedded=InTraining(teacher_forced, lambda embed, tokens: embed(tokens))
    ),
    "packs in evaluation": sequence(PacksInEvaluation, LEAK),
    "normed over padding": sequence(lambda: Classifier(before=NormedSteps(over_padding)), LEAK),
    "normed over zeros": sequence(lambda: Classifier(before=NormedSteps(over_zeros)), LEAK),
    "normed over valid steps": sequence(lambda: Classifier(before=NormedSteps(over_valid_steps))),
    "normed state": sequence(lambda: Classifier(NormedState(), num_layers=2, dropout=0.5)),
    "mixed in training": classifier("batch_leak", select=InTraining(mixed, last_state)),
    "noisy in training": classifier(before=InTraining(noisy, as_given)),
    "sliced start": translator(MIXUP, **SLICED),
    "sliced start of LSTM": translator(MIXUP, **{**SLICED, "cell": nn.LSTM}),
    "sliced start without attention": translator(MIXUP, "unread_direction", weights=None, **SLICED),
    "sliced start of three": translator(MIXUP, layers=3, **SLICED),
    "sliced start by step": translator(MIXUP, by_step=True, **SLICED),
    # the top layer's two states for two layers: layers taken for directions, too
    "top start": translator(
        MIXUP, **{**SLICED, "bridge": lambda final, layers: final[-layers:].contiguous()}
    ),
    "start of forward": translator(
        by_step=True, **{**SLICED, "bridge": lambda final, layers: final[::2].contiguous()}
    ),
    "start of sums": translator(
        **{**SLICED, "bridge": lambda final, layers: final.unflatten(0, (layers, 2)).sum(dim=1)}
    ),
    "series": one_length(last_column),
    "series, last step of both": one_length(lambda: last_column(**TWO), "truncated_direction"),
    "series, batch_first forgotten": one_length(
        lambda: last_column(batch_first=False), "batch_leak", "unread_step"
    ),
    "logits at each step": one_length(
        lambda: Parts(step_logits, steps=DIRECTIONS["GRUCell"](), classify=nn.Linear(H, C))
    ),
} | {
    f"{direction} by hand, {read}": one_length(partial(both, direction, read), *READS[read][-1])
    for direction in DIRECTIONS
    for read in READS
    if read in ("last step", "mean") or direction in ("matrices", "flipped LSTM")
}
