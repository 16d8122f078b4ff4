"""Streams, right and wrong, by the finding that an audit must make of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

F, H, C = 5, 8, 3


class Base(nn.Module):
    """A right stream of logits at each step: the others change one thing."""

    def __init__(self, layers: int = 1, features: int = F) -> None:
        super().__init__()
        self.rnn = nn.LSTM(features, H, layers, batch_first=True)
        self.out = nn.Linear(H, C)
        self.state: Any = None

    def reset(self) -> None:
        self.state = None

    def forward(self, chunk: Tensor) -> Tensor:
        output, state = self.rnn(chunk, self.state)
        self.state = tuple(part.detach() for part in state)
        return self.out(output)


# ---------------------------------------------------------------- right


class LearntStart(Base):
    def __init__(self) -> None:
        super().__init__(2)
        self.start = nn.ParameterList([nn.Parameter(torch.randn(2, 1, H)) for _ in "hc"])

    def forward(self, chunk: Tensor) -> Tensor:
        if self.state is None:
            self.state = tuple(part.repeat(1, len(chunk), 1) for part in self.start)
        return super().forward(chunk)


class KeptContext(Base):
    """A causal convolution that keeps the steps it still needs."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(F, F, 3)
        self.before: Any = None

    def reset(self) -> None:
        super().reset()
        self.before = None

    def forward(self, chunk: Tensor) -> Tensor:
        if self.before is None:
            self.before = chunk.new_zeros(len(chunk), 2, F)
        steps = torch.cat([self.before, chunk], dim=1)
        self.before = steps[:, -2:].detach()
        return super().forward(self.convolution(steps.transpose(1, 2)).transpose(1, 2))


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


@dataclass
class Memory:
    h: Tensor
    c: Tensor
    steps: int = 0


class OfADataclass(Base):
    def forward(self, chunk: Tensor) -> Tensor:
        memory = self.state or Memory(*chunk.new_zeros(2, 1, len(chunk), H))
        output, (h, c) = self.rnn(chunk, (memory.h, memory.c))
        self.state = Memory(h.detach(), c.detach(), memory.steps + chunk.shape[1])
        return self.out(output)


class Tokens(Base):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, F)

    def forward(self, chunk: Tensor) -> Tensor:
        return super().forward(self.embedding(chunk))


class AfterTheChunk(Base):
    """Logits `(B, C)` of the last step."""

    def forward(self, chunk: Tensor) -> Tensor:
        return super().forward(chunk)[:, -1]


class RunningMean(Base):
    """Logits `(B, C)` of the mean over all steps up to now."""

    def __init__(self) -> None:
        super().__init__()
        self.total: Any = 0.0
        self.count = 0

    def reset(self) -> None:
        super().reset()
        self.total, self.count = 0.0, 0

    def forward(self, chunk: Tensor) -> Tensor:
        output, state = self.rnn(chunk, self.state)
        self.state = tuple(part.detach() for part in state)
        self.total = self.total + output.sum(dim=1).detach()
        self.count += chunk.shape[1]
        return self.out(self.total / self.count)


class WithoutGradients(Base):
    @torch.no_grad()
    def forward(self, chunk: Tensor) -> Tensor:
        output, self.state = self.rnn(chunk, self.state)
        return self.out(output)


class Buffers(Base):
    """Of a fixed number of rows, its state in buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("h", torch.zeros(1, 3, H))
        self.register_buffer("c", torch.zeros(1, 3, H))

    def reset(self) -> None:
        self.h.zero_()
        self.c.zero_()

    def forward(self, chunk: Tensor) -> Tensor:
        output, (h, c) = self.rnn(chunk, (self.h, self.c))
        self.h.copy_(h.detach())
        self.c.copy_(c.detach())
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


class Dropout(Base):
    """Dropout is off outside of training."""

    def __init__(self) -> None:
        super().__init__(2)
        self.rnn.dropout = 0.5


class BatchNorm(Base):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(F)

    def forward(self, chunk: Tensor) -> Tensor:
        return super().forward(self.norm(chunk.transpose(1, 2)).transpose(1, 2))


class Frames(Base):
    """Reads frames of 4 steps, and gives logits for each frame."""

    def __init__(self) -> None:
        super().__init__(features=4 * F)

    def forward(self, chunk: Tensor) -> Tensor:
        return super().forward(chunk.unflatten(1, (-1, 4)).flatten(2))


class Late(Base):
    """Gives the logits of a step two steps later."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: Any = None

    def reset(self) -> None:
        super().reset()
        self.waiting = None

    def forward(self, chunk: Tensor) -> Tensor:
        if self.waiting is None:
            self.waiting = chunk.new_zeros(len(chunk), 2, C)
        logits = torch.cat([self.waiting, super().forward(chunk)], dim=1)
        self.waiting = logits[:, -2:].detach()
        return logits[:, :-2]


def closure() -> tuple[Callable[[Tensor], Tensor], Callable[[], None]]:
    """A function with its state beside it; a reset makes a new object."""
    weights, made = Plain(), [Plain()]

    def begin() -> None:
        made[0] = Plain()
        made[0].model = weights.model

    begin()
    return (lambda chunk: made[0](chunk)), begin


# ---------------------------------------------------------------- lost


class ZerosForever(Base):
    def forward(self, chunk: Tensor) -> Tensor:
        return self.out(self.rnn(chunk)[0])


class ZerosAtEachStep(Base):
    """Equal in all chunks, as it carries nothing at all."""

    def forward(self, chunk: Tensor) -> Tensor:
        return torch.stack([self.out(self.rnn(x[:, None])[0][:, 0]) for x in chunk.unbind(1)], 1)


class LosesC(Base):
    def forward(self, chunk: Tensor) -> Tensor:
        output, (h, c) = self.rnn(chunk, self.state)
        self.state = h.detach(), torch.zeros_like(c)
        return self.out(output)


class HForC(Base):
    def forward(self, chunk: Tensor) -> Tensor:
        output, (h, _) = self.rnn(chunk, self.state)
        self.state = h.detach(), h.detach()
        return self.out(output)


class LastLayerOnly(Base):
    def __init__(self) -> None:
        super().__init__(2)

    def forward(self, chunk: Tensor) -> Tensor:
        output, state = self.rnn(chunk, self.state)
        self.state = tuple(part[-1:].detach().repeat(2, 1, 1) for part in state)
        return self.out(output)


class Context(KeptContext):
    """The context of each chunk is zeros."""

    def forward(self, chunk: Tensor) -> Tensor:
        self.before = None
        return super().forward(chunk)


class Centred(Base):
    """A convolution that sees a step ahead, within the chunk alone."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(F, F, 3, padding=1)

    def forward(self, chunk: Tensor) -> Tensor:
        return super().forward(self.convolution(chunk.transpose(1, 2)).transpose(1, 2))


class Normalised(Base):
    def forward(self, chunk: Tensor) -> Tensor:
        return super().forward(chunk - chunk.mean(dim=1, keepdim=True))


class BothDirections(Base):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(F, H, batch_first=True, bidirectional=True)
        self.out = nn.Linear(2 * H, C)


class MeanOfTheChunk(Base):
    def forward(self, chunk: Tensor) -> Tensor:
        return super().forward(chunk).mean(dim=1)


class FirstStepOfChunk(AfterTheChunk):
    """Updates the state from the first step of a chunk."""

    def forward(self, chunk: Tensor) -> Tensor:
        output, _ = self.rnn(chunk, self.state)
        self.state = tuple(part.detach() for part in self.rnn(chunk[:, :1], self.state)[1])
        return self.out(output[:, -1])


class LosesShortOnes(Base):
    """A fast path for one step forgets to keep the state."""

    def forward(self, chunk: Tensor) -> Tensor:
        if chunk.shape[1] == 1:
            return self.out(self.rnn(chunk, self.state)[0])
        return super().forward(chunk)


class Positions(Base):
    """Counts the steps of each chunk from 0."""

    def forward(self, chunk: Tensor) -> Tensor:
        return super().forward(chunk + torch.arange(chunk.shape[1]).view(1, -1, 1) / 10)


class Rounded(Base):
    def forward(self, chunk: Tensor) -> Tensor:
        output, state = self.rnn(chunk, self.state)
        self.state = tuple((part * 16).round().div(16).detach() for part in state)
        return self.out(output)


# ---------------------------------------------------------------- kept


class NoReset(Base):
    def reset(self) -> None:
        pass


class KeepsC(Base):
    def reset(self) -> None:
        if self.state is not None:
            self.state = torch.zeros_like(self.state[0]), self.state[1]


class KeepsContext(KeptContext):
    def reset(self) -> None:
        self.state = None


class KeepsCount(RunningMean):
    def reset(self) -> None:
        self.state, self.total = None, 0.0


class FirstRowOnly(Buffers):
    def reset(self) -> None:
        self.h[:, 0] = 0
        self.c[:, 0] = 0


class ZerosForLearnt(LearntStart):
    """A reset gives zeros, where a new stream has a learnt state."""

    def reset(self) -> None:
        if self.state is not None:
            self.state = tuple(torch.zeros_like(part) for part in self.state)


class EachBatchSize(Base):
    """A state for each number of rows, of which a reset clears the newest."""

    def __init__(self) -> None:
        super().__init__()
        self.states: dict[int, Any] = {}
        self.rows = 0

    def reset(self) -> None:
        self.states.pop(self.rows, None)

    def forward(self, chunk: Tensor) -> Tensor:
        self.rows = len(chunk)
        output, state = self.rnn(chunk, self.states.get(self.rows))
        self.states[self.rows] = tuple(part.detach() for part in state)
        return self.out(output)


class OtherRowsRefused(Base):
    """A reset keeps the number of rows."""

    def reset(self) -> None:
        if self.state is not None:
            self.state = tuple(torch.zeros_like(part) for part in self.state)


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


class MeanOverRows(Base):
    def forward(self, chunk: Tensor) -> Tensor:
        logits = super().forward(chunk)
        self.state = tuple(part.mean(dim=1, keepdim=True).expand_as(part) for part in self.state)
        return logits


class Rolled(Base):
    def forward(self, chunk: Tensor) -> Tensor:
        logits = super().forward(chunk)
        self.state = tuple(part.roll(1, dims=1) for part in self.state)
        return logits


class NormOverRows(Base):
    def forward(self, chunk: Tensor) -> Tensor:
        return super().forward(chunk - chunk.mean(dim=0, keepdim=True))


class InPlace(Base):
    def forward(self, chunk: Tensor) -> Tensor:
        logits = super().forward(chunk)
        chunk.mul_(0.5)
        return logits


class InPlaceLater(Base):
    """Keeps the chunk itself, and changes it at the next call."""

    before: Any = None

    def reset(self) -> None:
        super().reset()
        self.before = None

    def forward(self, chunk: Tensor) -> Tensor:
        if self.before is not None:
            self.before.mul_(0.5)
        self.before = chunk
        return super().forward(chunk)


class OneBuffer(AfterTheChunk):
    """Gives the same tensor each time."""

    def __init__(self) -> None:
        super().__init__()
        self.logits: Any = None

    def forward(self, chunk: Tensor) -> Tensor:
        logits = super().forward(chunk).detach()
        if self.logits is None or self.logits.shape != logits.shape:
            self.logits = torch.empty_like(logits)
        return self.logits.copy_(logits)


class KeepsGraph(Base):
    def forward(self, chunk: Tensor) -> Tensor:
        output, self.state = self.rnn(chunk, self.state)
        return self.out(output)


class KeepsGraphOfMean(RunningMean):
    def forward(self, chunk: Tensor) -> Tensor:
        output, state = self.rnn(chunk, self.state)
        self.state = tuple(part.detach() for part in state)
        self.total = self.total + output.sum(dim=1)
        self.count += chunk.shape[1]
        return self.out(self.total / self.count)


RIGHT: list[Callable[[], Any]] = [
    *(Base, LearntStart, KeptContext, ByHand, OfADataclass, Tokens, AfterTheChunk, RunningMean),
    *(WithoutGradients, Buffers, Plain, Dropout, BatchNorm, Frames, Late, closure),
]
LOST: list[Callable[[], Any]] = [
    *(ZerosForever, ZerosAtEachStep, LosesC, HForC, LastLayerOnly, Context, Centred, Normalised),
    *(BothDirections, MeanOfTheChunk, FirstStepOfChunk, LosesShortOnes, Positions, Rounded),
]
KEPT: list[Callable[[], Any]] = [
    *(NoReset, KeepsC, KeepsContext, KeepsCount, FirstRowOnly, ZerosForLearnt, EachBatchSize),
    OtherRowsRefused,
]
SHARED: list[Callable[[], Any]] = [
    *(OfTheClass, InTheModel, MeanOverRows, Rolled, NormOverRows, InPlace, OneBuffer, KeepsGraph),
    *(KeepsGraphOfMean, InPlaceLater),
]
WRONG = {"lost_state": LOST, "kept_state": KEPT, "shared_state": SHARED}
