"""Hand-written models that take or give something else than `model(inputs, lengths) -> logits`, and
the functions that are audited; models with random numbers, and unrolled by hand."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from seqmodels.padding import reverse_by_length
from tests.audit.bank import (
    CLASSES,
    Classifier,
    F,
    H,
    Make,
    Tagger,
    Translator,
    V,
    W,
    WithWeights,
    mask_of,
    packed,
    padded,
)

Function = Callable[..., Any]


class Case(NamedTuple):
    """A model, what makes the function to audit of it, how to audit it, and what is found."""

    make: Make
    function: Callable[[nn.Module], Function]
    options: dict[str, Any]
    found: list[str]


def case(
    make: Make, function: Callable[[nn.Module], Function], *found: str, **options: Any
) -> Case:
    return Case(make, function, options, [*found])


def usual(make: Make, *found: str, **options: Any) -> Case:
    """Of a model that is called as it is."""
    return case(make, lambda model: model, *found, **options)


# ---------------------------------------------------------------- (a) one argument


class Series(nn.Module):
    """`model(x)` on rows of one length, as for time series."""

    def __init__(self, width: int = H, cell: type[nn.RNNBase] = nn.LSTM, **options: Any) -> None:
        super().__init__()
        self.rnn = cell(F, H, **{"batch_first": True, **options})
        self.classify = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.rnn(x)[0][:, -1])


class SeriesOfStates(Series):
    def __init__(self, flat: Callable[[Tensor], Tensor]) -> None:
        super().__init__(2 * H, nn.GRU, bidirectional=True)
        self.flat = flat

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.flat(self.rnn(x)[1]))


class NextWord(Tagger):
    """`forward(input, hidden)`, as in PyTorch's word language model."""

    labels = V

    def __init__(self, bidirectional: bool = False) -> None:
        super().__init__(bidirectional=bidirectional)

    def forward(self, input: Tensor, hidden: Any = None) -> tuple[Tensor, Any]:
        output, hidden = self.rnn(self.embed(input), hidden)
        return self.label(output), hidden


class CopiedHidden(NextWord):
    def forward(self, input: Tensor, hidden: Any = None) -> tuple[Tensor, Any]:
        logits, (h, _) = super().forward(input, hidden)
        return logits, (h, h)


def without_lengths(model: nn.Module) -> Function:
    return lambda inputs, lengths: model(inputs)


def with_hidden(model: nn.Module) -> Function:
    return lambda inputs, lengths, state=None: model(inputs, state)


def one_length(
    make: Make,
    *found: str,
    function: Callable[[nn.Module], Function] = without_lengths,
    **options: Any,
) -> Case:
    return case(make, function, *found, padding="none", **options)


# ---------------------------------------------------------------- (b) padding in front


def in_front(inputs: Tensor, lengths: Tensor) -> Tensor:
    time = inputs.shape[1]
    rows = zip(inputs, lengths.tolist(), strict=True)
    return torch.stack([row.roll(time - length, 0) for row, length in rows])


def front(model: nn.Module) -> Function:
    return lambda inputs, lengths: model(reverse_by_length(inputs, lengths).flip(1), lengths)


def front_of_ids(model: nn.Module) -> Function:
    return lambda inputs, lengths: model(reverse_by_length(inputs, lengths).flip(1))


def front_and_back(model: nn.Module) -> Function:
    moved = front(model)
    return lambda inputs, lengths: reverse_by_length(moved(inputs, lengths).flip(1), lengths)


class FrontById(nn.Module):
    """Rows padded in front with 0, of which the network runs over the padding first."""

    bidirectional = False

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(V, F, padding_idx=0)
        self.cell = nn.GRUCell(F, H)
        self.classify = nn.Linear(H, CLASSES)

    def forward(self, tokens: Tensor) -> Tensor:
        h = torch.zeros(len(tokens), H, dtype=self.classify.weight.dtype)
        for step in range(tokens.shape[1]):
            h = self.kept(self.cell(self.embed(tokens[:, step]), h), h, tokens[:, step] != 0)
        return self.classify(h)

    def kept(self, after: Tensor, before: Tensor, valid: Tensor) -> Tensor:
        return after


class FrontMasked(FrontById):
    """Keeps the state over padding, as Keras does with `mask_zero=True`."""

    def kept(self, after: Tensor, before: Tensor, valid: Tensor) -> Tensor:
        return after.where(valid.unsqueeze(1), before)


class FrontColumn(Classifier):
    """The last column is each row's own; what the network reads first is padding."""

    packs = False

    def select(self, output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
        return output[:, -1]


class FrontPacked(Classifier):
    """Moves the rows to the front, and packs them."""

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        time = inputs.shape[1]
        rows = zip(inputs, lengths.tolist(), strict=True)
        moved = torch.stack([row.roll(length - time, 0) for row, length in rows])
        return super().forward(moved, lengths)


class FrontTagger(Tagger):
    """Labels where the tokens stand."""

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        time = inputs.shape[1]
        rows = zip(self.embed(inputs), lengths.tolist(), strict=True)
        moved = torch.stack([row.roll(length - time, 0) for row, length in rows])
        output = padded(self.rnn(packed(moved, lengths))[0], time)
        return self.label(in_front(output, lengths))


class FrontPaddedTagger(Tagger):
    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        return self.label(self.rnn(self.embed(inputs))[0])


# ---------------------------------------------------------------- (c) dict, tuple, packed


class OfBatch(nn.Module):
    """A model `inner(inputs, lengths)` that takes and gives a batch in another way."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner


class OfDict(OfBatch):
    def forward(self, batch: dict[str, Any]) -> dict[str, Any]:
        logits = self.inner(batch["x"], batch["lengths"])
        loss = logits.mean() if batch["label"] is None else logits.sum()
        return {"loss": loss, "features": batch["x"], "logits": logits}


class OfMask(OfBatch):
    """As in Transformers: `model(input_ids=..., attention_mask=...).logits`."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Any = None) -> Any:
        logits = self.inner(input_ids, attention_mask.sum(dim=1).cpu())
        return SimpleNamespace(loss=None, logits=logits, hidden_states=(logits, input_ids))


class OfTuple(OfBatch):
    def forward(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        logits = self.inner(*batch)
        return logits.mean(), batch[0].double(), logits


class OfTimeFirst(OfBatch):
    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        logits = self.inner(inputs.transpose(0, 1), lengths)
        return logits.transpose(0, 1) if isinstance(self.inner, Tagger | Translator) else logits


class OfPacked(nn.Module):
    def __init__(self, per_step: bool = False, **options: Any) -> None:
        super().__init__()
        self.rnn, self.per_step = nn.LSTM(F, H, batch_first=True, **options), per_step
        self.classify = nn.Linear(2 * H, CLASSES)

    def forward(self, rows: PackedSequence) -> Any:
        output, (h_n, _) = self.rnn(rows)
        if self.per_step:
            return output._replace(data=self.classify(output.data))
        return self.classify(self.flat(h_n))

    def flat(self, h_n: Tensor) -> Tensor:
        return h_n.transpose(0, 1).flatten(1)


class MixedOfPacked(OfPacked):
    def flat(self, h_n: Tensor) -> Tensor:
        return h_n.reshape(h_n.shape[1], -1)


class TimeFirstTranslator(Translator):
    """`model(src, trg)`, all time first, of rows of one length."""

    def forward(self, src: Tensor, trg: Tensor) -> Tensor:  # type: ignore[override]
        lengths = torch.full((src.shape[1],), len(src))
        return super().forward(src.t(), lengths, trg.t()).transpose(0, 1)


class TimeFirstMixed(TimeFirstTranslator):
    attends = False

    def bridge(self, final: Tensor) -> Tensor:
        return final.reshape(self.layers, final.shape[1], -1)


def in_dict(model: nn.Module) -> Function:
    label = torch.zeros(6).long()
    return lambda inputs, lengths: model({"label": label, "lengths": lengths, "x": inputs})[
        "logits"
    ]


def by_mask(model: nn.Module) -> Function:
    return lambda inputs, lengths: model(inputs, mask_of(lengths, inputs.shape[1])).logits


def in_keywords(model: nn.Module) -> Function:
    def function(inputs: Tensor, lengths: Tensor) -> Tensor:
        mask = mask_of(lengths, inputs.shape[1]).long()
        return model(input_ids=inputs, attention_mask=mask).logits

    return function


def in_tuple(model: nn.Module) -> Function:
    return lambda inputs, lengths: model((inputs, lengths))[2]


def first_of(model: nn.Module) -> Function:
    return lambda inputs, lengths: model(inputs, lengths)[0]


def time_first(model: nn.Module) -> Function:
    return lambda inputs, lengths: model(inputs.transpose(0, 1), lengths)


def all_time_first(model: nn.Module) -> Function:
    return lambda inputs, lengths: model(inputs.t(), lengths).transpose(0, 1)


def pairs_time_first(model: nn.Module) -> Function:
    return lambda inputs, lengths, target_inputs: model(inputs.t(), target_inputs.t()).transpose(
        0, 1
    )


def in_packed(model: nn.Module) -> Function:
    return lambda inputs, lengths: model(packed(inputs, lengths))


def in_packed_and_out(model: nn.Module) -> Function:
    return lambda inputs, lengths: padded(model(packed(inputs, lengths)), inputs.shape[1])


STEPS: dict[str, Any] = {"kind": "per_step"}
CAUSAL: dict[str, Any] = {"kind": "per_step", "causal": True}
PAIRS: dict[str, Any] = {"kind": "seq2seq"}

CALLS: dict[str, Case] = {
    "series": one_length(Series),
    "series of both states": one_length(
        lambda: SeriesOfStates(lambda h_n: h_n.transpose(0, 1).flatten(1))
    ),
    "series, last step of both": one_length(
        lambda: Series(2 * H, bidirectional=True), "truncated_direction"
    ),
    "series, states viewed": one_length(
        lambda: SeriesOfStates(lambda h_n: h_n.reshape(h_n.shape[1], -1)), "batch_leak"
    ),
    "series, batch_first forgotten": one_length(
        lambda: Series(batch_first=False), "batch_leak", "unread_step"
    ),
    "next word": one_length(NextWord, function=with_hidden, **CAUSAL),
    "next word, h carried as c": one_length(
        CopiedHidden, "state_mixup", function=with_hidden, **CAUSAL
    ),
    "padded in front": case(FrontById, front_of_ids, "padding_leak", padding=0),
    "padded in front, masked": case(FrontMasked, front_of_ids, padding=0),
    "padded in front, last column": case(FrontColumn, front, "padding_leak"),
    "padded in front, packed": case(FrontPacked, front),
    "tagger padded in front": case(FrontPaddedTagger, front_and_back, "padding_leak", **STEPS),
    "tagger padded in front, packed": case(FrontTagger, front_and_back, **STEPS),
    "dict": case(lambda: OfDict(Classifier()), in_dict),
    "dict, last column": case(lambda: OfDict(FrontColumn()), in_dict, "padding_leak"),
    "mask": case(lambda: OfMask(Classifier()), by_mask),
    "mask, last column": case(lambda: OfMask(FrontColumn()), by_mask, "padding_leak"),
    "keywords": case(lambda: OfMask(Classifier()), in_keywords),
    "keywords, last column": case(lambda: OfMask(FrontColumn()), in_keywords, "padding_leak"),
    "tuple": case(lambda: OfTuple(Classifier()), in_tuple),
    "tuple, last column": case(lambda: OfTuple(FrontColumn()), in_tuple, "padding_leak"),
    "logits and more": case(WithWeights, first_of),
    "time first": case(lambda: OfTimeFirst(Classifier()), time_first),
    "time first, last step": case(lambda: OfTimeFirst(FrontColumn()), time_first, "padding_leak"),
    "tagger, time first": case(lambda: OfTimeFirst(Tagger()), all_time_first, **STEPS),
    "translator, time first": one_length(TimeFirstTranslator, function=pairs_time_first, **PAIRS),
    "translator, time first, mixed rows": one_length(
        TimeFirstMixed, "batch_leak", function=pairs_time_first, **PAIRS
    ),
    "packed": case(lambda: OfPacked(bidirectional=True), in_packed),
    "packed, states viewed": case(
        lambda: MixedOfPacked(bidirectional=True), in_packed, "batch_leak"
    ),
    "packed tagger": case(lambda: OfPacked(True, bidirectional=True), in_packed_and_out, **STEPS),
}


# ---------------------------------------------------------------- (d) random numbers


class RandomStart(Tagger):
    """As in PyTorch's tutorial on BiLSTM-CRF."""

    def first_state(self, rows: int) -> Any:
        return tuple(torch.randn(2, rows, H, dtype=self.label.weight.dtype) for _ in range(2))

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        self.hidden = self.first_state(len(inputs))
        output, self.hidden = self.rnn(packed(self.embed(inputs), lengths), self.hidden)
        return self.label(padded(output, inputs.shape[1]))


class RandomStartNormalized(RandomStart):
    """`functional.normalize`, whose name begins as that of `normal`."""

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        return nn.functional.normalize(super().forward(inputs, lengths), dim=-1)


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


# ---------------------------------------------------------------- (f) in training mode only


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


class NormedStepsNormalized(NormedSteps):
    def select(self, output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
        return nn.functional.normalize(h_n[-1], dim=-1)


class NormedValidSteps(NormedSteps):
    def normed(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        mask = mask_of(lengths, inputs.shape[1])
        return inputs.masked_scatter(mask.unsqueeze(-1), self.norm(inputs[mask]))


class NormedZeros(NormedSteps):
    """The zeros at padding are counted."""

    def normed(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        mask = mask_of(lengths, inputs.shape[1])
        return super().normed(inputs * mask.unsqueeze(-1), lengths)


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


class GumbelInTraining(Classifier):
    """Chooses steps at random, in training, below a function of PyTorch's own."""

    def select(self, output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
        if not self.training:
            return h_n[-1]
        return nn.functional.gumbel_softmax(h_n[-1], dim=-1)


# ---------------------------------------------------------------- (e) cells by hand


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
        for step in range(inputs.shape[1]):
            h = torch.tanh(self.i2h(inputs[:, step]) + self.h2h(h))
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
    """Two directions, side by side as `output` of `nn.LSTM`."""

    def __init__(
        self, direction: Callable[[], nn.Module], read: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__()
        self.forwards, self.backwards, self.read = direction(), direction(), read
        self.classify = nn.LazyLinear(CLASSES)
        self(torch.zeros(2, 3, F))

    def forward(self, x: Tensor) -> Tensor:
        output = torch.cat([self.forwards(x), self.backwards(x.flip(1)).flip(1)], dim=2)
        return self.classify(self.read(output))


def last_of_both(output: Tensor) -> Tensor:
    return output[:, -1]


def ends_of_both(output: Tensor) -> Tensor:
    return torch.cat([output[:, -1, :H], output[:, 0, H:]], dim=1)


def mean_of_both(output: Tensor) -> Tensor:
    return output.mean(dim=1)


def maximum_of_both(output: Tensor) -> Tensor:
    return output.amax(dim=1)


def forward_half(output: Tensor) -> Tensor:
    return output[:, -1, :H]


def first_and_last(output: Tensor) -> Tensor:
    return torch.cat([output[:, 0], output[:, -1]], dim=1)


HANDS = {
    "matrices": HandLSTM,
    "i2h and h2h": HandElman,
    "LSTMCell": HandCells,
    "GRUCell": lambda: HandCells(nn.GRUCell),
    "GRU by steps": HandSteps,
    "flipped LSTM": HandFlipped,
}
READS: dict[str, tuple[Callable[[Tensor], Tensor], list[str]]] = {
    "last step": (last_of_both, ["truncated_direction"]),
    "forward half": (forward_half, ["unread_direction"]),
    "both ends": (ends_of_both, []),
    "mean": (mean_of_both, []),
    "maximum": (maximum_of_both, []),
}


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


# ---------------------------------------------------------------- (g) states by slice


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
CALLS |= {
    "random start": usual(RandomStart, RANDOM, **STEPS),
    "random start, normalized": usual(RandomStartNormalized, RANDOM, **STEPS),
    "random start in training": usual(RandomStartInTraining, **STEPS),
    "random start of padding": usual(RandomStartOfPadding, RANDOM, "padding_leak", **STEPS),
    "dropout in evaluation": usual(Dropping, RANDOM),
    "dropout in training": usual(DroppingInTraining),
    "teacher forced": usual(TeacherForced, RANDOM, **PAIRS),
    "teacher forced in training": usual(TeacherForcedInTraining, **PAIRS),
    "packs in evaluation": usual(PacksInEvaluation, "padding_leak"),
    "normed over padding": usual(NormedSteps, "padding_leak"),
    "normed over padding, normalized": usual(NormedStepsNormalized, "padding_leak"),
    "normed over zeros": usual(NormedZeros, "padding_leak"),
    "normed over valid steps": usual(NormedValidSteps),
    "normed state": usual(NormedState),
    "mixed in training": usual(MixedInTraining, "batch_leak"),
    "noisy in training": usual(NoisyInTraining),
    "gumbel in training": usual(GumbelInTraining),
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
    "logits at each step": one_length(StepLogits),
} | {
    f"{hand} by hand, {name}": one_length(lambda h=h, read=read: HandBoth(h, read), *found)
    for hand, h in HANDS.items()
    for name, (read, found) in READS.items()
}
