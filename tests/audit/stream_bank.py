"""Streams, right and wrong, by the finding that an audit must make of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

F, H, C = 5, 8, 3


class Base(nn.Module):
    """A right stream of logits at each step: a case changes one thing.

    Args:
        first: is applied to a chunk.
        last: is applied to the logits.
        keep: the state for the next chunk, by `(h, c)`.
        begin: the state after a reset, by that before it.
    """

    def __init__(
        self,
        layers: int = 1,
        features: int = F,
        *,
        first: Callable[[Tensor], Tensor] = lambda chunk: chunk,
        last: Callable[[Tensor], Tensor] = lambda logits: logits,
        keep: Callable[[Tensor, Tensor], Any] = lambda h, c: (h, c),
        begin: Callable[[Any], Any] = lambda state: None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.rnn = nn.LSTM(features, H, layers, batch_first=True, **options)
        self.out = nn.Linear(2 * H if self.rnn.bidirectional else H, C)
        self.first, self.last, self.keep, self.begin = first, last, keep, begin
        self.state: Any = None

    def reset(self) -> None:
        self.state = self.begin(self.state)

    def forward(self, chunk: Tensor) -> Tensor:
        output, (h, c) = self.rnn(self.first(chunk), self.state)
        self.state = self.keep(h.detach(), c.detach())
        return self.last(self.out(output))


class AlongTime(nn.Module):
    """A layer of channels and steps on steps and features: it sees the chunk alone."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, steps: Tensor) -> Tensor:
        return self.layer(steps.transpose(1, 2)).transpose(1, 2)


def last_step(logits: Tensor) -> Tensor:
    """Logits `(B, C)` of the last step."""
    return logits[:, -1]


def as_zeros(state: Any) -> Any:
    return state and tuple(map(torch.zeros_like, state))


# ---------------------------------------------------------------- right


class LearntStart(Base):
    def __init__(self, **how: Any) -> None:
        super().__init__(2, **how)
        self.start = nn.ParameterList([nn.Parameter(torch.randn(2, 1, H)) for _ in "hc"])

    def forward(self, chunk: Tensor) -> Tensor:
        if self.state is None:
            self.state = tuple(part.repeat(1, len(chunk), 1) for part in self.start)
        return super().forward(chunk)


class KeptContext(Base):
    """A causal convolution that keeps the steps it still needs.

    Args:
        between: whether it keeps them from one chunk to the next.
        after: whether it keeps them after a reset, too.
    """

    def __init__(self, between: bool = True, after: bool = False) -> None:
        super().__init__()
        self.convolution = AlongTime(nn.Conv1d(F, F, 3))
        self.context: Any = None
        self.between, self.after = between, after

    def reset(self) -> None:
        super().reset()
        self.context = self.context if self.after else None

    def forward(self, chunk: Tensor) -> Tensor:
        if self.context is None or not self.between:
            self.context = chunk.new_zeros(len(chunk), 2, F)
        steps = torch.cat([self.context, chunk], dim=1)
        self.context = steps[:, -2:].detach()
        return super().forward(self.convolution(steps))


class ByHand(nn.Module):
    """Cells stepped by hand; the state is a dict, which is changed in place."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.ModuleList([nn.GRUCell(F, H), nn.GRUCell(H, H)])
        self.out = nn.Linear(H, C)
        self.state: dict[int, Tensor] = {}

    def reset(self) -> None:
        self.state.clear()

    def forward(self, chunk: Tensor) -> Tensor:
        logits = []
        for x in chunk.unbind(dim=1):
            for number, cell in enumerate(self.cells):
                x = cell(x, self.state.get(number))
                self.state[number] = x.detach()
            logits.append(self.out(x))
        return torch.stack(logits, dim=1)


class RunningMean(Base):
    """Logits `(B, C)` of the mean over all steps up to now.

    Args:
        counts_on: whether a reset leaves the number of steps.
    """

    def __init__(self, counts_on: bool = False) -> None:
        super().__init__()
        self.counts_on, self.count = counts_on, 0
        self.total: Any = 0.0

    def reset(self) -> None:
        super().reset()
        self.total, self.count = 0.0, self.count if self.counts_on else 0

    def forward(self, chunk: Tensor) -> Tensor:
        output, state = self.rnn(chunk, self.state)
        self.state = tuple(part.detach() for part in state)
        self.total = self.total + output.sum(dim=1).detach()
        self.count += chunk.shape[1]
        return self.out(self.total / self.count)


class Buffers(Base):
    """Of a fixed number of rows, its state in buffers, of which a reset clears `cleared`."""

    def __init__(self, cleared: slice = slice(None)) -> None:
        super().__init__()
        self.cleared = cleared
        self.register_buffer("h", torch.zeros(1, 3, H))
        self.register_buffer("c", torch.zeros(1, 3, H))

    def reset(self) -> None:
        self.h[:, self.cleared] = self.c[:, self.cleared] = 0

    def forward(self, chunk: Tensor) -> Tensor:
        output, (h, c) = self.rnn(chunk, (self.h, self.c))
        self.h.copy_(h.detach())
        self.c.copy_(c.detach())
        return self.out(output)


class StatesByRows(Base):
    """A state for each number of rows, of which a reset clears the one that was used last."""

    rows: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.states: dict[int, Any] = {}

    def reset(self) -> None:
        self.states.pop(self.rows, None)

    def forward(self, chunk: Tensor) -> Tensor:
        self.rows = len(chunk)
        self.state = self.states.get(self.rows)
        logits = super().forward(chunk)
        self.states[self.rows] = self.state
        return logits


class LongestBuffers(Buffers):
    """Of up to three rows; a reset clears as many as the last chunk had."""

    def reset(self) -> None:
        self.h[:, : self.rows] = self.c[:, : self.rows] = 0

    rows = 3

    def forward(self, chunk: Tensor) -> Tensor:
        self.rows = len(chunk)
        start = (self.h[:, : self.rows].clone(), self.c[:, : self.rows].clone())
        output, (h, c) = self.rnn(chunk, start)
        self.h[:, : self.rows], self.c[:, : self.rows] = h.detach(), c.detach()
        return self.out(output)


class Plain:
    """An object that is no module, of a model that knows nothing of streams."""

    def __init__(self) -> None:
        self.model, self.state = Base(), None

    def reset(self) -> None:
        self.state = None

    def __call__(self, chunk: Tensor) -> Tensor:
        output, state = self.model.rnn(chunk, self.state)
        self.state = tuple(part.detach() for part in state)
        return self.model.out(output)


class KeepsGraph(Base):
    def forward(self, chunk: Tensor) -> Tensor:
        output, self.state = self.rnn(chunk, self.state)
        return self.out(output)


class WithoutGradients(KeepsGraph):
    forward = torch.no_grad()(KeepsGraph.forward)


class DetachesSometimes(Base):
    """A graph of three chunks, as in truncated backpropagation through time."""

    chunks = 0

    def forward(self, chunk: Tensor) -> Tensor:
        if self.state and self.chunks % 3 == 0:
            self.state = tuple(part.detach() for part in self.state)
        self.chunks += 1
        output, self.state = self.rnn(chunk, self.state)
        return self.out(output)


def closure() -> tuple[Callable[[Tensor], Tensor], Callable[[], None]]:
    """A function with its state beside it; a reset makes a new object."""
    weights, made = Plain(), [Plain()]

    def begin() -> None:
        made[0] = Plain()
        made[0].model = weights.model

    begin()
    return (lambda chunk: made[0](chunk)), begin


# ---------------------------------------------------------------- lost


class ZerosAtEachStep(Base):
    """Equal in all chunks, as it carries nothing at all."""

    def forward(self, chunk: Tensor) -> Tensor:
        return torch.stack([self.out(self.rnn(x[:, None])[0][:, 0]) for x in chunk.unbind(1)], 1)


class LosesShortOnes(Base):
    """A fast path for one step forgets to keep the state."""

    def forward(self, chunk: Tensor) -> Tensor:
        if chunk.shape[1] == 1:
            return self.out(self.rnn(chunk, self.state)[0])
        return super().forward(chunk)


class BySize(Base):
    """Loses `c` with each chunk of another size."""

    steps: Any = None

    def forward(self, chunk: Tensor) -> Tensor:
        if self.state and self.steps != chunk.shape[1]:
            self.state = (self.state[0], torch.zeros_like(self.state[1]))
        self.steps = chunk.shape[1]
        return super().forward(chunk)


def only_last_layer(h: Tensor, c: Tensor) -> Any:
    return tuple(part[-1:].repeat(2, 1, 1) for part in (h, c))


def positions(chunk: Tensor) -> Tensor:
    """Counts the steps of each chunk from 0."""
    return chunk + torch.arange(chunk.shape[1]).view(1, -1, 1) / 10


# ---------------------------------------------------------------- shared


class OfTheClass(Base):
    shared: Any = None

    def reset(self) -> None:
        type(self).shared = None

    def forward(self, chunk: Tensor) -> Tensor:
        output, state = self.rnn(chunk, self.shared)
        type(self).shared = tuple(part.detach() for part in state)
        return self.out(output)


class InTheModel(Plain):
    def reset(self) -> None:
        self.model.state = None

    def __call__(self, chunk: Tensor) -> Tensor:
        return self.model(chunk)


class InPlace(Base):
    def forward(self, chunk: Tensor) -> Tensor:
        logits = super().forward(chunk)
        chunk.mul_(0.5)
        return logits


class OneBuffer(Base):
    """Gives the same tensor each time."""

    logits: Any = None

    def forward(self, chunk: Tensor) -> Tensor:
        logits = last_step(super().forward(chunk)).detach()
        if self.logits is None or self.logits.shape != logits.shape:
            self.logits = torch.empty_like(logits)
        return self.logits.copy_(logits)


# ---------------------------------------------------------------- cases

ZerosForever = partial(Base, keep=lambda h, c: None)

RIGHT: dict[str, Callable[[], Any]] = {
    "state": Base,
    "learnt start": LearntStart,
    "kept context": KeptContext,
    "by hand": ByHand,
    "tokens": lambda: Base(first=nn.Embedding(11, F)),
    "after the chunk": lambda: Base(last=last_step),
    "running mean": RunningMean,
    "without gradients": WithoutGradients,
    "detaches sometimes": DetachesSometimes,
    "buffers": Buffers,
    "no module": Plain,
    "dropout": lambda: Base(2, dropout=0.5),  # off outside of training
    "batch norm": lambda: Base(first=AlongTime(nn.BatchNorm1d(F))),
    "closure": closure,
}
LOST: dict[str, Callable[[], Any]] = {
    "zeros forever": ZerosForever,
    "zeros at each step": ZerosAtEachStep,
    "loses c": lambda: Base(keep=lambda h, c: (h, torch.zeros_like(c))),
    "h for c": lambda: Base(keep=lambda h, c: (h, h)),
    "last layer only": lambda: Base(2, keep=only_last_layer),
    "context of zeros": lambda: KeptContext(between=False),
    "centred convolution": lambda: Base(first=AlongTime(nn.Conv1d(F, F, 3, padding=1))),
    "normalised": lambda: Base(first=lambda chunk: chunk - chunk.mean(dim=1, keepdim=True)),
    "both directions": lambda: Base(bidirectional=True),
    "mean of the chunk": lambda: Base(last=lambda logits: logits.mean(dim=1)),
    "loses short ones": LosesShortOnes,
    "positions": lambda: Base(first=positions),
    "by size": BySize,
    "rounded finely": lambda: Base(
        keep=lambda h, c: tuple((x * 128).round() / 128 for x in (h, c))
    ),
    "rounded": lambda: Base(keep=lambda h, c: tuple((x * 16).round().div(16) for x in (h, c))),
}
KEPT: dict[str, Callable[[], Any]] = {
    "no reset": lambda: Base(begin=lambda state: state),
    "keeps c": lambda: Base(begin=lambda state: state and (torch.zeros_like(state[0]), state[1])),
    "keeps context": lambda: KeptContext(after=True),
    "keeps count": lambda: RunningMean(counts_on=True),
    "states by rows": StatesByRows,
    "longest buffers": LongestBuffers,
    "first row only": lambda: Buffers(cleared=slice(1)),
    # where a new stream has a learnt state
    "zeros for learnt": lambda: LearntStart(begin=as_zeros),
    "other rows refused": lambda: Base(begin=as_zeros),  # a reset keeps the number of rows
}
SHARED: dict[str, Callable[[], Any]] = {
    "of the class": OfTheClass,
    "in the model": InTheModel,
    "mean over rows": lambda: Base(keep=lambda *s: tuple(x.mean(1, True).expand_as(x) for x in s)),
    "rolled": lambda: Base(keep=lambda h, c: (h.roll(1, dims=1), c.roll(1, dims=1))),
    "norm over rows": lambda: Base(first=lambda chunk: chunk - chunk.mean(dim=0, keepdim=True)),
    "in place": InPlace,
    "one buffer": OneBuffer,
}
GRAPH: dict[str, Callable[[], Any]] = {"keeps its graph": KeepsGraph}
WRONG = {"lost_state": LOST, "kept_state": KEPT, "shared_state": SHARED, "kept_graph": GRAPH}
