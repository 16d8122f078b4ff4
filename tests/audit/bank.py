"""Hand-written models: common mistakes, and their cures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

F, H, P, V, W, CLASSES = 5, 16, 8, 23, 19, 3


def mask_of(lengths: Tensor, time: int) -> Tensor:
    return torch.arange(time) < lengths.unsqueeze(1)


class Classifier(nn.Module):
    """A recurrent network on features, and a linear layer on what `select` returns."""

    packs = True
    width = H

    def __init__(self, cell: Callable[..., nn.RNNBase] = nn.LSTM, **options: Any) -> None:
        super().__init__()
        self.rnn = cell(F, H, batch_first=True, **options)
        self.classify = nn.Linear(self.width, CLASSES)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        if self.packs:
            inputs = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
        output, final = self.rnn(inputs)
        if self.packs:
            output, _ = pad_packed_sequence(output, batch_first=True)
        h_n = final[0] if isinstance(final, tuple) else final
        return self.classify(self.select(output, h_n, lengths))

    def select(self, output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
        raise NotImplementedError


# ---------------------------------------------------------------- wrong


class LastColumn(Classifier):
    """Countless tutorials: the last column, which is padding in all rows but the longest."""

    packs = False

    def select(self, output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
        return output[:, -1]


class LastStepOfBoth(Classifier):
    """At the last step, backward has seen one."""

    width = 2 * H

    def select(self, output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
        return output[torch.arange(len(lengths)), lengths - 1]


class FirstAndLast(Classifier):
    """Both halves of the first and of the last step."""

    width = 4 * H

    def select(self, output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
        return torch.cat([output[:, 0], output[torch.arange(len(lengths)), lengths - 1]], dim=1)


class LastOfBoth(Classifier):
    """`h_n[-1]`, which is backward."""

    def select(self, output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
        return h_n[-1]


class FlattenedRows(Classifier):
    """`view` where `transpose` was needed."""

    width = 2 * H

    def select(self, output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
        return h_n.reshape(len(lengths), -1)


class ProjectedView(Classifier):
    """`h_n` is `proj_size` wide."""

    def select(self, output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
        return h_n.view(-1, H)


class MeanOfAll(Classifier):
    def select(self, output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
        return output.mean(dim=1)


class MaxOfAll(Classifier):
    def select(self, output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
        return output.amax(dim=1)


class FilledWithOnes(Classifier):
    """The content of padding does not matter, but its amount does."""

    def select(self, output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
        padding = ~mask_of(lengths, output.shape[1])
        return output.masked_fill(padding.unsqueeze(-1), 1.0).mean(dim=1)


class AttentionToAll(Classifier):
    """Attention over the steps of `output` without a mask."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.score = nn.Linear(H, 1)

    def select(self, output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
        return (self.score(output).softmax(dim=1) * output).sum(dim=1)


class ForecastOfLastColumns(nn.Module):
    """`output[:, -h:]` as the h forecasts: in padded rows, they come from padding.

    Even in rows without padding, all forecasts but the last miss the newest observations.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(F, H, batch_first=True)
        self.forecast = nn.Linear(H, 1)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        output, _ = self.rnn(inputs)
        return self.forecast(output[:, -4:]).squeeze(-1)


class ForecastOfLastSteps(nn.Module):
    """The same at each row's own last steps: only the last forecast reads the newest step."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(F, H, batch_first=True)
        self.forecast = nn.Linear(H, 1)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        output, _ = self.rnn(inputs)
        last = (lengths.unsqueeze(1) + torch.arange(-4, 0)).clamp(min=0)  # (B, 4)
        return self.forecast(output[torch.arange(len(output)).unsqueeze(1), last]).squeeze(-1)


class ForecastOfNeighbours(nn.Module):
    """Several series flattened into one batch, and the rows not put back in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(F, H, batch_first=True)
        self.forecast = nn.Linear(H, 4)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
        forecasts = self.forecast(self.rnn(packed)[1][0][-1])  # (B, 4)
        return forecasts.t().reshape(len(inputs), 4)


class RollOfPadding(nn.Module):
    """Rolls forward from the state after the padding."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(F, H, batch_first=True)
        self.next = nn.Linear(H, F)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        return rolled(self, *self.rnn(inputs))


def rolled(model: Any, output: Tensor, state: Any, steps: int = 3) -> Tensor:
    """Forecasts `(B, steps, F)`: each one is the input of the next."""
    made = [model.next(state[-1])]
    for _ in range(steps - 1):
        output, state = model.rnn(made[-1].unsqueeze(1), state)
        made.append(model.next(output[:, -1]))
    return torch.stack(made, dim=1)


class PaddedTagger(nn.Module):
    """A tagger without packing: its backward direction starts in the padding."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(V, F)
        self.rnn = nn.LSTM(F, H, batch_first=True, bidirectional=True)
        self.label = nn.Linear(2 * H, CLASSES)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        return self.label(self.rnn(self.embed(inputs))[0])


class TaggerOfColumns(PaddedTagger):
    """`batch_first` forgotten: reads across the rows of a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(F, H)
        self.label = nn.Linear(H, CLASSES)


class TaggerOfForward(PaddedTagger):
    """Reads the forward half of two directions."""

    def __init__(self) -> None:
        super().__init__()
        self.label = nn.Linear(H, CLASSES)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(
            self.embed(inputs), lengths, batch_first=True, enforce_sorted=False
        )
        return self.label(pad_packed_sequence(self.rnn(packed)[0], batch_first=True)[0][..., :H])


class RegressorOfColumn(Classifier):
    """A number from the mean of all columns, divided by the padded length."""

    def __init__(self) -> None:
        super().__init__(nn.GRU)
        self.classify = nn.Linear(H, 1)

    def select(self, output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
        return output.sum(dim=1) / output.shape[1]


class CopiedState(nn.Module):
    """Passes on `h` where `c` belongs."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(V, F)
        self.rnn = nn.LSTM(F, H, batch_first=True)
        self.predict = nn.Linear(H, V)

    def forward(self, inputs: Tensor, lengths: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        output, (h, c) = self.rnn(self.embed(inputs), state)
        return self.predict(output), (h, self.handed_on(h, c))

    def handed_on(self, h: Tensor, c: Tensor) -> Tensor:
        return h


class RotatedState(CopiedState):
    """Gives each row the state of its neighbour."""

    def forward(self, inputs: Tensor, lengths: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        logits, (h, _) = super().forward(inputs, lengths, state)
        return logits, (h.roll(1, dims=1), h)


class Remembering(nn.Module):
    """Keeps its state between calls."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(F, H, batch_first=True)
        self.classify = nn.Linear(H, CLASSES)
        self.state: Tensor | None = None

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        state = self.state
        if state is not None and state.shape[1] != len(lengths):
            state = None
        packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
        _, self.state = self.rnn(packed, state)
        return self.classify(self.state[-1])


class Language(nn.Module):
    """Tokens to a prediction at every step."""

    def __init__(self, bidirectional: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(V, F)
        self.rnn = nn.LSTM(F, H, batch_first=True, bidirectional=bidirectional)
        self.predict = nn.Linear(2 * H if bidirectional else H, V)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(
            self.embed(inputs), lengths, batch_first=True, enforce_sorted=False
        )
        output, _ = pad_packed_sequence(
            self.rnn(packed)[0], batch_first=True, total_length=inputs.shape[1]
        )
        return self.predict(output)


class ShiftedMask(Classifier):
    """A mask that ends one step early, before a convolution's maximum."""

    def __init__(self) -> None:
        super().__init__()
        self.convolve = nn.Conv1d(F, H, kernel_size=1)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        features = self.convolve(inputs.transpose(1, 2)).transpose(1, 2)
        short = mask_of((lengths - 1).clamp(min=1), inputs.shape[1])
        return self.classify(features.masked_fill(~short.unsqueeze(-1), -torch.inf).amax(dim=1))


class LowestLayer(Classifier):
    """`h_n[0]` of two layers: the upper layer is computed in vain."""

    def select(self, output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
        return h_n[0]


class Translator(nn.Module):
    """An encoder-decoder: packed, both directions side by side, attention with a mask."""

    bidirectional, layers, attends, packs = True, 2, True, True

    def __init__(self, cell: type[nn.RNNBase] = nn.LSTM) -> None:
        super().__init__()
        width = H * (2 if self.bidirectional else 1)
        options = {"num_layers": self.layers, "batch_first": True}
        self.embed_source, self.embed_target = nn.Embedding(V, F), nn.Embedding(W, F)
        self.encode = cell(F, H, bidirectional=self.bidirectional, **options)
        self.decode = cell(F, width, **options)
        self.predict = nn.Linear(2 * width if self.attends else width, W)

    def forward(self, source: Tensor, lengths: Tensor, target_inputs: Tensor) -> Tensor:
        embedded = self.embed_source(source)
        if self.packs:
            packed = pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
            output, final = self.encode(packed)
            output, _ = pad_packed_sequence(output, batch_first=True, total_length=source.shape[1])
        else:
            output, final = self.encode(embedded)
        decoded, _ = self.decode(
            self.embed_target(target_inputs), self.start(final, output, lengths)
        )
        if not self.attends:
            return self.predict(decoded)
        context = self.weights(decoded, output, lengths) @ output
        return self.predict(torch.cat([context, decoded], dim=-1))

    def weights(self, decoded: Tensor, output: Tensor, lengths: Tensor) -> Tensor:
        scores = decoded @ output.transpose(1, 2)  # (B, S, T)
        mask = mask_of(lengths, output.shape[1])
        return scores.masked_fill(~mask.unsqueeze(1), -torch.inf).softmax(dim=-1)

    def start(self, final: Any, output: Tensor, lengths: Tensor) -> Any:
        if isinstance(final, Tensor):
            return self.bridge(final)
        return self.bridge(final[0]), self.bridge(final[1])

    def bridge(self, final: Tensor) -> Tensor:  # (L*D, B, H) -> (L, B, D*H)
        return final.unflatten(0, (self.layers, -1)).transpose(1, 2).flatten(2)


class WithoutAttention(Translator):
    attends = False


class OneDirection(Translator):
    bidirectional, layers = False, 1


class OfState(Translator):
    """A GRU that starts from a linear layer of all layers and directions."""

    attends = False

    def __init__(self) -> None:
        super().__init__(nn.GRU)
        self.resize = nn.Linear(4 * H, 2 * 2 * H)

    def bridge(self, final: Tensor) -> Tensor:
        flat = final.transpose(0, 1).flatten(1)  # (B, L*D*H)
        return self.resize(flat).tanh().unflatten(1, (2, -1)).transpose(0, 1).contiguous()


class StateOfPadding(WithoutAttention):
    """Starts from the state after the padding."""

    packs = False


class AttentionToPadding(Translator):
    def weights(self, decoded: Tensor, output: Tensor, lengths: Tensor) -> Tensor:
        return (decoded @ output.transpose(1, 2)).softmax(dim=-1)


class ContextOverPadding(Translator):
    """A mean of `output` as context, divided by the padded length."""

    def weights(self, decoded: Tensor, output: Tensor, lengths: Tensor) -> Tensor:
        return output.new_full((*decoded.shape[:2], output.shape[1]), 1 / output.shape[1])


class HiddenForBoth(Translator):
    """`h` where `c` belongs."""

    def start(self, final: Any, output: Tensor, lengths: Tensor) -> Any:
        return self.bridge(final[0]), self.bridge(final[0])


class LayersForDirections(WithoutAttention):
    """`(L*D, B, H)` taken for directions first, then layers."""

    def bridge(self, final: Tensor) -> Tensor:
        return final.unflatten(0, (-1, self.layers)).permute(1, 2, 0, 3).flatten(2).contiguous()


class LastStepStart(WithoutAttention):
    """Starts from `output` at the last step, where backward has seen one step."""

    layers = 1

    def start(self, final: Any, output: Tensor, lengths: Tensor) -> Any:
        last = output[torch.arange(len(lengths)), lengths - 1].unsqueeze(0)
        return last, torch.zeros_like(last)


class MixedRows(WithoutAttention):
    """`(L*D, B, H)` viewed as `(L, B, D*H)` without a transpose."""

    def bridge(self, final: Tensor) -> Tensor:
        return final.reshape(self.layers, final.shape[1], -1)


class Seeing(Translator):
    """A decoder of two directions, which sees the token it is to predict."""

    def __init__(self) -> None:
        super().__init__()
        self.decode = nn.LSTM(F, H, 1, batch_first=True, bidirectional=True)

    def start(self, final: Any, output: Tensor, lengths: Tensor) -> Any:
        return final[0][-2:].contiguous(), final[1][-2:].contiguous()


# name: (model, kind, causal, what the audit must find)
WRONG: dict[str, tuple[Callable[[], nn.Module], str, bool, list[str]]] = {
    "last column": (LastColumn, "sequence", False, ["padding_leak"]),
    "last step of two directions": (
        lambda: LastStepOfBoth(bidirectional=True),
        "sequence",
        False,
        ["truncated_direction"],
    ),
    "first and last step": (
        lambda: FirstAndLast(bidirectional=True),
        "sequence",
        False,
        ["truncated_direction"],
    ),
    "h_n[-1] of two directions": (
        lambda: LastOfBoth(bidirectional=True),
        "sequence",
        False,
        ["unread_direction"],
    ),
    "h_n viewed": (
        lambda: FlattenedRows(bidirectional=True),
        "sequence",
        False,
        ["batch_leak"],
    ),
    "proj_size viewed": (lambda: ProjectedView(proj_size=P), "sequence", False, ["row_count"]),
    "mean of padded steps": (MeanOfAll, "sequence", False, ["padding_leak"]),
    "maximum of padded steps": (MaxOfAll, "sequence", False, ["padding_leak"]),
    "padding of ones": (FilledWithOnes, "sequence", False, ["padding_leak"]),
    "attention without a mask": (AttentionToAll, "sequence", False, ["padding_leak"]),
    "forecast of the last columns": (
        ForecastOfLastColumns,
        "sequence",
        False,
        ["padding_leak", "stale_state"],
    ),
    "forecast of the last steps": (ForecastOfLastSteps, "sequence", False, ["stale_state"]),
    "forecasts transposed": (ForecastOfNeighbours, "sequence", False, ["batch_leak"]),
    "forecast rolled from padding": (RollOfPadding, "sequence", False, ["padding_leak"]),
    "number from padded steps": (RegressorOfColumn, "sequence", False, ["padding_leak"]),
    "tagger without packing": (PaddedTagger, "per_step", False, ["padding_leak"]),
    "tagger across rows": (TaggerOfColumns, "per_step", False, ["batch_leak"]),
    "decoder from the state of padding": (StateOfPadding, "seq2seq", False, ["padding_leak"]),
    "decoder attends to padding": (AttentionToPadding, "seq2seq", False, ["padding_leak"]),
    "context divided by the padded length": (
        ContextOverPadding,
        "seq2seq",
        False,
        ["padding_leak"],
    ),
    "decoder from h for both": (HiddenForBoth, "seq2seq", False, ["state_mixup"]),
    "layers taken for directions": (LayersForDirections, "seq2seq", False, ["state_mixup"]),
    "decoder from the last step of both": (
        LastStepStart,
        "seq2seq",
        False,
        ["truncated_direction"],
    ),
    "decoder from mixed rows": (MixedRows, "seq2seq", False, ["batch_leak"]),
    "decoder that sees what it predicts": (Seeing, "seq2seq", False, ["future_leak"]),
    "tagger of the forward half": (TaggerOfForward, "per_step", False, ["unread_direction"]),
    "h carried as c": (CopiedState, "per_step", True, ["state_mixup"]),
    "state of the neighbour": (RotatedState, "per_step", True, ["state_mixup"]),
    "state kept between calls": (Remembering, "sequence", False, ["state_mixup"]),
    "bidirectional language model": (lambda: Language(True), "per_step", True, ["future_leak"]),
    "mask one step short": (ShiftedMask, "sequence", False, ["unread_step"]),
    "lowest layer": (lambda: LowestLayer(num_layers=2), "sequence", False, ["unread_direction"]),
}


# ---------------------------------------------------------------- right


class LastHidden(Classifier):
    def select(self, output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
        return h_n[-1]


class SortedOnly(LastHidden):
    """Takes only rows sorted by length."""

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        _, (h_n, _) = self.rnn(pack_padded_sequence(inputs, lengths, batch_first=True))
        return self.classify(h_n[-1])


class BothEnds(Classifier):
    width = 2 * H

    def select(self, output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
        return torch.cat([h_n[-2], h_n[-1]], dim=1)


class BothEndsOfOutput(Classifier):
    """The two halves of `output`, each where its direction ends."""

    width = 2 * H

    def select(self, output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
        last = output[torch.arange(len(lengths)), lengths - 1]
        return torch.cat([last[:, :H], output[:, 0, H:]], dim=1)


class GatheredLast(Classifier):
    packs = False

    def select(self, output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
        return output[torch.arange(len(lengths)), lengths - 1]


class MaskedMean(Classifier):
    width = 2 * H

    def select(self, output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
        return output.sum(dim=1) / lengths.unsqueeze(1)


class OneNumber(MaskedMean):
    """One number for each row, `(B,)`."""

    width = H

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        return super().forward(inputs, lengths).sum(dim=1)


class MaskedMax(Classifier):
    width = 2 * H

    def select(self, output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
        mask = mask_of(lengths, output.shape[1]).unsqueeze(-1)
        return output.masked_fill(~mask, -torch.inf).amax(dim=1)


class Attention(Classifier):
    """Weights over the steps of `output`, masked."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.score = nn.Linear(H, 1)

    def select(self, output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
        scores = self.score(output).squeeze(-1)
        scores = scores.masked_fill(~mask_of(lengths, output.shape[1]), -torch.inf)
        return (scores.softmax(dim=1).unsqueeze(-1) * output).sum(dim=1)


class Tagger(nn.Module):
    """A label for each step, from both directions."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(V, F, padding_idx=0)
        self.rnn = nn.GRU(F, H, num_layers=2, batch_first=True, bidirectional=True, dropout=0.5)
        self.label = nn.Linear(2 * H, CLASSES)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(
            self.embed(inputs), lengths, batch_first=True, enforce_sorted=False
        )
        return self.label(pad_packed_sequence(self.rnn(packed)[0], batch_first=True)[0])


class Forecast(nn.Module):
    """The whole horizon from the final state."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(F, H, num_layers=2, batch_first=True)
        self.forecast = nn.Linear(H, 4 * F)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
        return self.forecast(self.rnn(packed)[1][0][-1]).view(len(inputs), 4, F)


class Roll(RollOfPadding):
    """Rolls forward from each row's own final state."""

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
        return rolled(self, *self.rnn(packed))


class CarriedForecast(nn.Module):
    """The next values at every step, and the state to roll forward from."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(F, H, batch_first=True)
        self.next = nn.Linear(H, F)

    def forward(self, inputs: Tensor, lengths: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        output, state = self.rnn(inputs, state)
        return self.next(output), state


class CarriedLanguage(CopiedState):
    def handed_on(self, h: Tensor, c: Tensor) -> Tensor:
        return c


class Convolution(nn.Module):
    """Zeros at padding, a convolution, the maximum over valid steps."""

    def __init__(self) -> None:
        super().__init__()
        self.convolve = nn.Conv1d(F, H, kernel_size=3, padding=1)
        self.classify = nn.Linear(H, CLASSES)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        mask = mask_of(lengths, inputs.shape[1]).unsqueeze(-1)
        features = self.convolve((inputs * mask).transpose(1, 2)).transpose(1, 2).relu()
        return self.classify(features.masked_fill(~mask, -torch.inf).amax(dim=1))


class CausalConvolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(V, F)
        self.convolve = nn.Conv1d(F, H, kernel_size=3, dilation=2)
        self.predict = nn.Linear(H, V)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        embedded = nn.functional.pad(self.embed(inputs).transpose(1, 2), (4, 0))
        return self.predict(self.convolve(embedded).relu().transpose(1, 2))


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(V, H)
        self.encode = nn.TransformerEncoderLayer(H, 2, dim_feedforward=32, batch_first=True)
        self.classify = nn.Linear(H, CLASSES)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        mask = mask_of(lengths, inputs.shape[1])
        encoded = self.encode(self.embed(inputs), src_key_padding_mask=~mask)
        return self.classify((encoded * mask.unsqueeze(-1)).sum(dim=1) / lengths.unsqueeze(1))


class CellByCell(nn.Module):
    """`nn.LSTMCell` in a loop: no recurrent network to look into."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(F, H)
        self.classify = nn.Linear(H, CLASSES)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        h = c = inputs.new_zeros(len(inputs), H)
        for step in range(inputs.shape[1]):
            running = (step < lengths).unsqueeze(1)
            h_next, c_next = self.cell(inputs[:, step], (h, c))
            h, c = h_next.where(running, h), c_next.where(running, c)
        return self.classify(h)


class TimeFirst(nn.Module):
    """`nn.LSTM` as it is by default: time first."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(F, H, bidirectional=True)
        self.classify = nn.Linear(2 * H, CLASSES)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(inputs.transpose(0, 1), lengths, enforce_sorted=False)
        output, _ = pad_packed_sequence(self.rnn(packed)[0])
        return self.classify(output.sum(dim=0) / lengths.unsqueeze(1))


class ZeroProjection(LastHidden):
    """Starts from zero logits, as some recipes do."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        nn.init.zeros_(self.classify.weight)
        nn.init.zeros_(self.classify.bias)


class WithWeights(Attention):
    """Returns more than logits."""

    def forward(self, inputs: Tensor, lengths: Tensor) -> Any:
        return super().forward(inputs, lengths), lengths


class FixedShape(nn.Module):
    """Takes 4 rows of 20 steps and no others."""

    def __init__(self) -> None:
        super().__init__()
        self.flat = nn.Linear(20 * F, CLASSES)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        assert len(inputs) == 4
        inputs = inputs * mask_of(lengths, 20).unsqueeze(-1)
        return self.flat(inputs.view(4, 20 * F))


class FloatOnly(LastHidden):
    """Builds its first state in float32, whatever dtype its inputs have."""

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
        start = torch.zeros(1, len(lengths), H)
        _, (h_n, _) = self.rnn(packed, (start, start))
        return self.classify(h_n[-1])


# name: (model, kind, causal)
RIGHT: dict[str, tuple[Callable[[], nn.Module], str, bool]] = {
    "packed LSTM": (LastHidden, "sequence", False),
    "packed RNN of three layers": (
        lambda: LastHidden(cell=nn.RNN, num_layers=3, dropout=0.3),
        "sequence",
        False,
    ),
    "rows sorted by length": (SortedOnly, "sequence", False),
    "h_n of both directions": (lambda: BothEnds(bidirectional=True), "sequence", False),
    "output where each direction ends": (
        lambda: BothEndsOfOutput(num_layers=2, bidirectional=True),
        "sequence",
        False,
    ),
    "two-layer GRU, last step gathered": (
        lambda: GatheredLast(cell=nn.GRU, num_layers=2),
        "sequence",
        False,
    ),
    "masked mean": (lambda: MaskedMean(bidirectional=True), "sequence", False),
    "masked maximum": (lambda: MaskedMax(bidirectional=True), "sequence", False),
    "attention with a mask": (Attention, "sequence", False),
    "tagger": (Tagger, "per_step", False),
    "number from a masked mean": (OneNumber, "sequence", False),
    "forecast from the final state": (Forecast, "sequence", False),
    "forecast rolled forward": (Roll, "sequence", False),
    "encoder-decoder with attention": (Translator, "seq2seq", False),
    "encoder-decoder of one direction": (OneDirection, "seq2seq", False),
    "encoder-decoder of the state": (WithoutAttention, "seq2seq", False),
    "encoder-decoder of GRUs": (lambda: Translator(nn.GRU), "seq2seq", False),
    "encoder-decoder with a linear bridge": (OfState, "seq2seq", False),
    "forecast of the next step with its state": (CarriedForecast, "per_step", True),
    "language model": (lambda: Language(False), "per_step", True),
    "language model with its state": (CarriedLanguage, "per_step", True),
    "convolution": (Convolution, "sequence", False),
    "causal convolution": (CausalConvolution, "per_step", True),
    "transformer": (Transformer, "sequence", False),
    "LSTMCell in a loop": (CellByCell, "sequence", False),
    "time first": (TimeFirst, "sequence", False),
    "projection of zeros": (ZeroProjection, "sequence", False),
    "logits and more": (WithWeights, "sequence", False),
    "one shape only": (FixedShape, "sequence", False),
    "float32 only": (FloatOnly, "sequence", False),
}


def inputs_for(model: nn.Module, lengths: list[int], seed: int = 0) -> tuple[Tensor, Tensor]:
    """A padded batch as the model takes it: tokens if it has an embedding."""
    generator = torch.Generator().manual_seed(seed)
    mask = mask_of(torch.tensor(lengths), max(lengths))
    if any(isinstance(part, nn.Embedding) for part in model.modules()):
        tokens = torch.randint(1, V, mask.shape, generator=generator)
        return tokens * mask, torch.tensor(lengths)
    features = torch.randn(*mask.shape, F, generator=generator)
    return features * mask.unsqueeze(-1), torch.tensor(lengths)


def more_for(kind: str) -> dict[str, Any]:
    """What else an audit of this kind takes."""
    if kind == "seq2seq":
        generator = torch.Generator().manual_seed(1)
        return {"target_inputs": torch.randint(W, (4, 6), generator=generator)}
    return {}
