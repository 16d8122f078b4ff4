"""Hand-written models with random numbers, with another training mode, unrolled by hand, and
encoder-decoders of some of the states."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tests.audit.bank import CLASSES, Classifier, F, H, Make, Tagger, Translator, W, mask_of, packed
from tests.audit.bank import padded as padded_again


class Case(NamedTuple):
    """A model, how to audit it, and what is found."""

    make: Make
    options: dict[str, Any]
    found: list[str]


def usual(make: Make, *found: str, **options: Any) -> Case:
    return Case(make, options, [*found])


def one_length(make: Make, *found: str) -> Case:
    """Of a model of rows of one length, that takes nothing else."""
    return Case(make, {"padding": "none"}, [*found])


class Series(nn.Module):
    """`model(x)` on rows of one length, as for time series."""

    def __init__(self, width: int = H, **options: Any) -> None:
        super().__init__()
        self.rnn = nn.LSTM(F, H, **{"batch_first": True, **options})
        self.classify = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.rnn(x)[0][:, -1])


# ---------------------------------------------------------------- random numbers


class RandomStart(Tagger):
    """As in PyTorch's tutorial on BiLSTM-CRF."""

    def first_state(self, rows: int) -> Any:
        return tuple(torch.randn(2, rows, H, dtype=self.label.weight.dtype) for _ in range(2))

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        self.hidden = self.first_state(len(inputs))
        output, self.hidden = self.rnn(packed(self.embed(inputs), lengths), self.hidden)
        return self.label(padded_again(output, inputs.shape[1]))


class RandomStartInTraining(RandomStart):
    """Zeros in evaluation."""

    def first_state(self, rows: int) -> Any:
        h, c = super().first_state(rows)
        return (h, c) if self.training else (h * 0, c * 0)


class RandomStartOfPadding(RandomStart):
    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        output, _ = self.rnn(self.embed(inputs), self.first_state(len(inputs)))
        return self.label(output)


class Dropping(Classifier):
    """`functional.dropout` drops in evaluation, too, unless it is told."""

    told = False

    def select(self, output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
        return nn.functional.dropout(h_n[-1], 0.5, self.training if self.told else True)


class DroppingInTraining(Dropping):
    told = True


class TeacherForced(Translator):
    """Decodes by its own tokens now and then, by Python's random numbers, also in evaluation."""

    only_in_training = False

    def decoded(self, memory: Tensor, start: Any, lengths: Tensor, target_inputs: Tensor) -> Tensor:
        if random.random() < 0.5 and (self.training or not self.only_in_training):
            target_inputs = target_inputs.clone()
            target_inputs[:, 1:] = 1
        return super().decoded(memory, start, lengths, target_inputs)


class TeacherForcedInTraining(TeacherForced):
    only_in_training = True


# ---------------------------------------------------------------- in training mode only


class PacksInEvaluation(Classifier):
    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        if self.training:
            return self.classify(self.rnn(inputs)[0][:, -1])
        return super().forward(inputs, lengths)


class NormedSteps(Classifier):
    """Batch normalisation over all steps: its statistics in training count the padding."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(F)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        return super().forward(self.normed(inputs, lengths), lengths)

    def normed(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        return self.norm(inputs.transpose(1, 2)).transpose(1, 2)


class NormedZeros(NormedSteps):
    """The zeros at padding are counted."""

    def normed(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        mask = mask_of(lengths, inputs.shape[1])
        return super().normed(inputs * mask.unsqueeze(-1), lengths)


class NormedValidSteps(NormedSteps):
    def normed(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        mask = mask_of(lengths, inputs.shape[1])
        return inputs.masked_scatter(mask.unsqueeze(-1), self.norm(inputs[mask]))


class NormedState(Classifier):
    """Batch normalisation of `h_n`: other rows change the statistics, as they should."""

    def __init__(self) -> None:
        super().__init__(num_layers=2, dropout=0.5)
        self.norm = nn.BatchNorm1d(H)

    def select(self, output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
        return self.norm(h_n[-1])


class MixedInTraining(Classifier):
    def select(self, output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
        return h_n[-1] - h_n[-1].mean(dim=0) if self.training else h_n[-1]


class NoisyInTraining(Classifier):
    """Noise on the inputs and dropout of whole features, in training."""

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        if self.training:
            inputs = inputs + 0.1 * torch.randn_like(inputs)
            inputs = inputs * inputs.new_empty(len(inputs), 1, F).bernoulli_(0.7) / 0.7
        return super().forward(inputs, lengths)


# ---------------------------------------------------------------- unrolled by hand


class HandLSTM(nn.Module):
    """One direction, by matrices: `(B, T, F) -> (B, T, H)`."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.u = nn.Linear(F, 4 * H), nn.Parameter(torch.randn(H, 4 * H) / 4)

    def forward(self, inputs: Tensor) -> Tensor:
        h = c = inputs.new_zeros(len(inputs), H)
        outputs = []
        for x in inputs.unbind(dim=1):
            i, f, g, o = (self.w(x) + h @ self.u).chunk(4, dim=1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            outputs.append(h)
        return torch.stack(outputs, dim=1)


class HandElman(nn.Module):
    """`i2h` and `h2h`."""

    def __init__(self) -> None:
        super().__init__()
        self.i2h, self.h2h = nn.Linear(F, H), nn.Linear(H, H)

    def forward(self, inputs: Tensor) -> Tensor:
        h, outputs = inputs.new_zeros(len(inputs), H), []
        for x in inputs.unbind(dim=1):
            h = torch.tanh(self.i2h(x) + self.h2h(h))
            outputs.append(h)
        return torch.stack(outputs, dim=1)


class HandCells(nn.Module):
    """`nn.LSTMCell` or `nn.GRUCell`, step by step."""

    def __init__(self, cell: type[nn.RNNCellBase] = nn.LSTMCell) -> None:
        super().__init__()
        self.cell = cell(F, H)

    def forward(self, inputs: Tensor) -> Tensor:
        state, outputs = None, []
        for x in inputs.unbind(dim=1):
            state = self.cell(x, state)
            outputs.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(outputs, dim=1)


class HandSteps(nn.Module):
    """`nn.GRU`, one step at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(F, H, batch_first=True)

    def forward(self, inputs: Tensor) -> Tensor:
        state, outputs = None, []
        for step in range(inputs.shape[1]):
            output, state = self.rnn(inputs[:, step : step + 1], state)
            outputs.append(output)
        return torch.cat(outputs, dim=1)


class HandFlipped(nn.Module):
    """A network of one direction: a second one reads the flipped rows."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(F, H, batch_first=True)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.rnn(inputs)[0]


class HandBoth(nn.Module):
    """Two directions, side by side as `output` of `nn.LSTM`, of which `read` says what is read."""

    def __init__(
        self, direction: Callable[[], nn.Module], read: Callable[[Tensor], Tensor], width: int
    ) -> None:
        super().__init__()
        self.forwards, self.backwards, self.read = direction(), direction(), read
        self.classify = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        output = torch.cat([self.forwards(x), self.backwards(x.flip(1)).flip(1)], dim=2)
        return self.classify(self.read(output))


class StepLogits(Series):
    """A cell and a linear layer at each step; the logits of the last."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRUCell(F, H)

    def forward(self, x: Tensor) -> Tensor:
        h, logits = None, []
        for step in x.unbind(dim=1):
            h = self.rnn(step, h)
            logits.append(self.classify(h))
        return torch.stack(logits, dim=1)[:, -1]


HANDS: dict[str, Callable[[], nn.Module]] = {
    "matrices": HandLSTM,
    "i2h and h2h": HandElman,
    "LSTMCell": HandCells,
    "GRUCell": lambda: HandCells(nn.GRUCell),
    "GRU by steps": HandSteps,
    "flipped LSTM": HandFlipped,
}
READS: dict[str, tuple[Callable[[Tensor], Tensor], int, list[str]]] = {
    "last step": (lambda output: output[:, -1], 2 * H, ["truncated_direction"]),
    "forward half": (lambda output: output[:, -1, :H], H, ["unread_direction"]),
    "both ends": (lambda output: torch.cat([output[:, -1, :H], output[:, 0, H:]], 1), 2 * H, []),
    "mean": (lambda output: output.mean(dim=1), 2 * H, []),
    "maximum": (lambda output: output.amax(dim=1), 2 * H, []),
}

# ---------------------------------------------------------------- states by slice


class SlicedStart(Translator):
    """`h_n[:num_layers]` of two directions, as in a popular tutorial."""

    def __init__(self, cell: type[nn.RNNBase] = nn.GRU) -> None:
        super().__init__(cell)
        self.decode = cell(F, H, self.layers, batch_first=True)
        self.join = nn.Linear(2 * H, H)
        self.predict = nn.Linear((2 * self.attends + (not self.attends)) * H, W)

    def decoded(self, memory: Tensor, start: Any, lengths: Tensor, target_inputs: Tensor) -> Tensor:
        return super().decoded(self.join(memory), start, lengths, target_inputs)

    def bridge(self, final: Tensor) -> Tensor:
        return final[: self.layers].contiguous()


class SlicedWithoutAttention(SlicedStart):
    attends = False


class SlicedOfThree(SlicedStart):
    layers = 3


class SlicedByStep(SlicedStart):
    """Decodes one token at a time."""

    def decoded(self, memory: Tensor, start: Any, lengths: Tensor, target_inputs: Tensor) -> Tensor:
        steps, made = self.embed_target(target_inputs).unbind(dim=1), []
        state, memory = start, self.join(memory)
        for step in steps:
            output, state = self.decode(step.unsqueeze(1), state)
            context = self.weights(output, memory, lengths) @ memory
            made.append(self.predict(torch.cat([context, output], dim=-1)))
        return torch.cat(made, dim=1)


class ForwardStart(SlicedByStep):
    """The forward state of each layer."""

    def bridge(self, final: Tensor) -> Tensor:
        return final[::2].contiguous()


class SummedStart(SlicedStart):
    def bridge(self, final: Tensor) -> Tensor:
        return final.unflatten(0, (self.layers, 2)).sum(dim=1)


class TopStart(SlicedStart):
    """The top layer's two states for two layers: layers taken for directions, too."""

    def bridge(self, final: Tensor) -> Tensor:
        return final[-self.layers :].contiguous()


RANDOM = "random_state"
STEPS: dict[str, Any] = {"kind": "per_step"}
PAIRS: dict[str, Any] = {"kind": "seq2seq"}
CALLS: dict[str, Case] = {
    "random start": usual(RandomStart, RANDOM, **STEPS),
    "random start in training": usual(RandomStartInTraining, **STEPS),
    "random start of padding": usual(RandomStartOfPadding, RANDOM, "padding_leak", **STEPS),
    "dropout in evaluation": usual(Dropping, RANDOM),
    "dropout in training": usual(DroppingInTraining),
    "teacher forced": usual(TeacherForced, RANDOM, **PAIRS),
    "teacher forced in training": usual(TeacherForcedInTraining, **PAIRS),
    "packs in evaluation": usual(PacksInEvaluation, "padding_leak"),
    "normed over padding": usual(NormedSteps, "padding_leak"),
    "normed over zeros": usual(NormedZeros, "padding_leak"),
    "normed over valid steps": usual(NormedValidSteps),
    "normed state": usual(NormedState),
    "mixed in training": usual(MixedInTraining, "batch_leak"),
    "noisy in training": usual(NoisyInTraining),
    "sliced start": usual(SlicedStart, "state_mixup", **PAIRS),
    "sliced start of LSTM": usual(lambda: SlicedStart(nn.LSTM), "state_mixup", **PAIRS),
    "sliced start without attention": usual(
        SlicedWithoutAttention, "state_mixup", "unread_direction", **PAIRS
    ),
    "sliced start of three": usual(SlicedOfThree, "state_mixup", **PAIRS),
    "sliced start by step": usual(SlicedByStep, "state_mixup", **PAIRS),
    "top start": usual(TopStart, "state_mixup", **PAIRS),
    "start of forward": usual(ForwardStart, **PAIRS),
    "start of sums": usual(SummedStart, **PAIRS),
    "series": one_length(Series),
    "series, last step of both": one_length(
        lambda: Series(2 * H, bidirectional=True), "truncated_direction"
    ),
    "series, batch_first forgotten": one_length(
        lambda: Series(batch_first=False), "batch_leak", "unread_step"
    ),
    "logits at each step": one_length(StepLogits),
} | {
    f"{hand} by hand, {name}": one_length(
        lambda direction=direction, read=read, width=width: HandBoth(direction, read, width), *found
    )
    for hand, direction in HANDS.items()
    for name, (read, width, found) in READS.items()
    if name in ("last step", "mean") or hand in ("matrices", "flipped LSTM")
}
