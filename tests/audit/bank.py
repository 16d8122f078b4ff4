"""Hand-written models: common mistakes, and their cures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

F, H, P, V, W, CLASSES = 5, 16, 8, 23, 19, 3

Make = Callable[[], nn.Module]
Case = tuple[Make, str, bool, list[str]]  # a model, its kind, causal, what the audit must find


def sequence(make: Make, *found: str) -> Case:
    return make, "sequence", False, [*found]


def per_step(make: Make, *found: str, causal: bool = False) -> Case:
    return make, "per_step", causal, [*found]


def seq2seq(make: Make, *found: str) -> Case:
    return make, "seq2seq", False, [*found]


def mask_of(lengths: Tensor, time: int) -> Tensor:
    return torch.arange(time) < lengths.unsqueeze(1)


def packed(inputs: Tensor, lengths: Tensor) -> Any:
    return pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)


def padded(packed: Any, time: int | None = None) -> Tensor:
    return pad_packed_sequence(packed, batch_first=True, total_length=time)[0]


def last_of(output: Tensor, lengths: Tensor) -> Tensor:
    """`output` at each row's own last step."""
    return output[torch.arange(len(lengths)), lengths - 1]


class Classifier(nn.Module):
    """A recurrent network on features, and a linear layer on what `select` returns: `h_n[-1]`."""

    packs = True
    width = H

    def __init__(self, cell: Callable[..., nn.RNNBase] = nn.LSTM, **options: Any) -> None:
        super().__init__()
        self.rnn = cell(F, H, batch_first=True, **options)
        self.classify = nn.Linear(self.width, CLASSES)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        output, final = self.rnn(packed(inputs, lengths) if self.packs else inputs)
        h_n = final[0] if isinstance(final, tuple) else final
        if self.packs:
            output = padded(output)
        return self.classify(self.select(output, h_n, lengths))

    def select(self, output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
        return h_n[-1]


def reading(
    select_: Callable[[Tensor, Tensor, Tensor], Tensor],
    width_: int = H,
    packs_: bool = True,
    **options: Any,
) -> Make:
    """Makes a classifier that reads what `select_(output, h_n, lengths)` returns."""

    class Reading(Classifier):
        width, packs = width_, packs_

        def select(self, output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
            return select_(output, h_n, lengths)

    return lambda: Reading(**options)


class Tagger(nn.Module):
    """A label for each step, from both directions."""

    labels = CLASSES

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.embed = nn.Embedding(V, F)
        self.rnn = nn.LSTM(F, H, **{"batch_first": True, "bidirectional": True, **options})
        self.label = nn.Linear(2 * H if self.rnn.bidirectional else H, self.labels)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        output, _ = self.rnn(packed(self.embed(inputs), lengths))
        return self.label(padded(output, inputs.shape[1]))


class Language(Tagger):
    """Tokens to a prediction at every step."""

    labels = V


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
        output, final = self.encode(packed(embedded, lengths) if self.packs else embedded)
        memory = padded(output, source.shape[1]) if self.packs else output
        return self.decoded(memory, self.start(final, memory, lengths), lengths, target_inputs)

    def decoded(self, memory: Tensor, start: Any, lengths: Tensor, target_inputs: Tensor) -> Tensor:
        decoded, _ = self.decode(self.embed_target(target_inputs), start)
        if not self.attends:
            return self.predict(decoded)
        context = self.weights(decoded, memory, lengths) @ memory
        return self.predict(torch.cat([context, decoded], dim=-1))

    def weights(self, decoded: Tensor, memory: Tensor, lengths: Tensor) -> Tensor:
        scores = decoded @ memory.transpose(1, 2)  # (B, S, T)
        mask = mask_of(lengths, memory.shape[1])
        return scores.masked_fill(~mask.unsqueeze(1), -torch.inf).softmax(dim=-1)

    def start(self, final: Any, memory: Tensor, lengths: Tensor) -> Any:
        if isinstance(final, Tensor):
            return self.bridge(final)
        return self.bridge(final[0]), self.bridge(final[1])

    def bridge(self, final: Tensor) -> Tensor:  # (L*D, B, H) -> (L, B, D*H)
        return final.unflatten(0, (self.layers, -1)).transpose(1, 2).flatten(2)


class WithoutAttention(Translator):
    attends = False


# ---------------------------------------------------------------- wrong


class LastColumn(Classifier):
    """Countless tutorials: the last column, which is padding in all rows but the longest."""

    packs = False

    def select(self, output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
        return output[:, -1]


def zeroed(model: Classifier) -> Classifier:
    """Starts from zero logits, as some recipes do."""
    for weights in model.classify.parameters():
        nn.init.zeros_(weights)
    return model


def first_and_last(output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
    """Both halves of the first and of the last step."""
    return torch.cat([output[:, 0], last_of(output, lengths)], dim=1)


def filled_with_ones(output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
    """The content of padding does not matter, but its amount does."""
    padding = ~mask_of(lengths, output.shape[1])
    return output.masked_fill(padding.unsqueeze(-1), 1.0).mean(dim=1)


class Attention(Classifier):
    """Weights over the steps of `output`, masked."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.score = nn.Linear(H, 1)

    def select(self, output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
        scores = self.masked(self.score(output).squeeze(-1), lengths)
        return (scores.softmax(dim=1).unsqueeze(-1) * output).sum(dim=1)

    def masked(self, scores: Tensor, lengths: Tensor) -> Tensor:
        return scores.masked_fill(~mask_of(lengths, scores.shape[1]), -torch.inf)


class AttentionToAll(Attention):
    def masked(self, scores: Tensor, lengths: Tensor) -> Tensor:
        return scores


class Forecaster(nn.Module):
    """A recurrent network on features, and a linear layer to forecasts."""

    def __init__(self, cell: type[nn.RNNBase] = nn.LSTM, width: int = 1, **options: Any) -> None:
        super().__init__()
        self.rnn = cell(F, H, batch_first=True, **options)
        self.forecast = nn.Linear(H, width)


class ForecastOfLastColumns(Forecaster):
    """`output[:, -h:]` as the h forecasts: in padded rows, they come from padding.

    Even in rows without padding, all forecasts but the last miss the newest observations.
    """

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        return self.forecast(self.rnn(inputs)[0][:, -4:]).squeeze(-1)


class ForecastOfLastSteps(Forecaster):
    """The same at each row's own last steps: only the last forecast reads the newest step."""

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        output, _ = self.rnn(inputs)
        last = (lengths.unsqueeze(1) + torch.arange(-4, 0)).clamp(min=0)  # (B, 4)
        return self.forecast(output[torch.arange(len(output)).unsqueeze(1), last]).squeeze(-1)


class ForecastOfNeighbours(Forecaster):
    """Several series flattened into one batch, and the rows not put back in their order."""

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        forecasts = self.forecast(self.rnn(packed(inputs, lengths))[1][0][-1])  # (B, 4)
        return forecasts.t().reshape(len(inputs), 4)


class RollOfPadding(Forecaster):
    """Forecasts `(B, 3, F)`, each the input of the next, from the state after the padding."""

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        _, state = self.rnn(self.given(inputs, lengths))
        made = [self.forecast(state[-1])]
        for _ in range(2):
            output, state = self.rnn(made[-1].unsqueeze(1), state)
            made.append(self.forecast(output[:, -1]))
        return torch.stack(made, dim=1)

    def given(self, inputs: Tensor, lengths: Tensor) -> Any:
        return inputs


class PaddedTagger(Tagger):
    """A tagger without packing: its backward direction starts in the padding."""

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        return self.label(self.rnn(self.embed(inputs))[0])


class TaggerOfForward(Tagger):
    """Reads the forward half of two directions."""

    def __init__(self) -> None:
        super().__init__()
        self.label = nn.Linear(H, CLASSES)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        return self.label(padded(self.rnn(packed(self.embed(inputs), lengths))[0])[..., :H])


class RegressorOfColumn(Classifier):
    """A number from the mean of all columns, divided by the padded length."""

    def __init__(self) -> None:
        super().__init__(nn.GRU)
        self.classify = nn.Linear(H, 1)

    def select(self, output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
        return output.sum(dim=1) / output.shape[1]


class CarriedLanguage(Language):
    """Carries its state to the next window."""

    def __init__(self) -> None:
        super().__init__(bidirectional=False)

    def forward(self, inputs: Tensor, lengths: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        output, (h, c) = self.rnn(self.embed(inputs), state)
        return self.label(output), self.handed_on(h, c)

    def handed_on(self, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        return h, c


class CopiedState(CarriedLanguage):
    """Passes on `h` where `c` belongs."""

    def handed_on(self, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        return h, h


class RotatedState(CarriedLanguage):
    """Gives each row the state of its neighbour."""

    def handed_on(self, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        return h.roll(1, dims=1), h


class OneStepState(CarriedLanguage):
    """Wrong where it reads one step alone, as in generation: passes on `h` for `c`."""

    def forward(self, inputs: Tensor, lengths: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        logits, (h, c) = super().forward(inputs, lengths, state)
        return logits, (h, h if inputs.shape[1] == 1 else c)


class CopiedFinal(Classifier):
    """One number of features for a whole row, and a state for the next window: `h` for `c`."""

    def forward(self, inputs: Tensor, lengths: Tensor, state: Any = None) -> Any:
        _, (h, c) = self.rnn(packed(inputs, lengths), state)
        return self.classify(h[-1]), self.handed_on(h, c)

    def handed_on(self, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        return h, h


class CarriedFinal(CopiedFinal):
    def handed_on(self, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        return h, c


class Remembering(Classifier):
    """Keeps its state between calls."""

    state: Tensor | None = None

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        state = self.state
        if state is not None and state.shape[1] != len(lengths):
            state = None
        _, self.state = self.rnn(packed(inputs, lengths), state)
        return self.classify(self.state[-1])


class ShiftedMask(Classifier):
    """A mask that ends one step early, before a convolution's maximum."""

    def __init__(self) -> None:
        super().__init__()
        self.convolve = nn.Conv1d(F, H, kernel_size=1)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        features = self.convolve(inputs.transpose(1, 2)).transpose(1, 2)
        short = mask_of((lengths - 1).clamp(min=1), inputs.shape[1])
        return self.classify(features.masked_fill(~short.unsqueeze(-1), -torch.inf).amax(dim=1))


class Cut(Classifier):
    """Long rows lose what comes after some steps."""

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        return super().forward(inputs[:, :16], lengths.clamp(max=16))


class CentredConvolution(nn.Module):
    """A convolution of three steps, the next one among them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.convolve = nn.Embedding(V, F), nn.Conv1d(F, V, kernel_size=3, padding=1)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        embedded = self.embed(inputs) * mask_of(lengths, inputs.shape[1]).unsqueeze(-1)
        return self.convolve(embedded.transpose(1, 2)).transpose(1, 2)


class LastRowOfBoth(nn.Module):
    """Time first, as by default: `output[-1]` of two directions."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.classify = nn.LSTM(F, H, bidirectional=True), nn.Linear(2 * H, CLASSES)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        return self.classify(self.rnn(inputs.transpose(0, 1))[0][-1])


class CentredTargets(WithoutAttention):
    """Targets less their mean over the batch."""

    def decoded(self, memory: Tensor, start: Any, lengths: Tensor, target_inputs: Tensor) -> Tensor:
        embedded = self.embed_target(target_inputs)
        return self.predict(self.decode(embedded - embedded.mean(dim=0), start)[0])


class StateOfPadding(WithoutAttention):
    """Starts from the state after the padding."""

    packs = False


class AttentionToPadding(Translator):
    def weights(self, decoded: Tensor, memory: Tensor, lengths: Tensor) -> Tensor:
        return (decoded @ memory.transpose(1, 2)).softmax(dim=-1)


class ContextOverPadding(Translator):
    """A mean of `output` as context, divided by the padded length."""

    def weights(self, decoded: Tensor, memory: Tensor, lengths: Tensor) -> Tensor:
        return memory.new_full((*decoded.shape[:2], memory.shape[1]), 1 / memory.shape[1])


class HiddenForBoth(Translator):
    """`h` where `c` belongs, or `c` where `h` does."""

    def __init__(self, part: int = 0) -> None:
        super().__init__()
        self.part = part

    def start(self, final: Any, memory: Tensor, lengths: Tensor) -> Any:
        return self.bridge(final[self.part]), self.bridge(final[self.part])


class LayersForDirections(WithoutAttention):
    """`(L*D, B, H)` taken for directions first, then layers."""

    def bridge(self, final: Tensor) -> Tensor:
        return final.unflatten(0, (-1, self.layers)).permute(1, 2, 0, 3).flatten(2).contiguous()


class LastStepStart(WithoutAttention):
    """Starts from `output` at the last step, where backward has seen one step."""

    layers = 1

    def start(self, final: Any, memory: Tensor, lengths: Tensor) -> Any:
        last = last_of(memory, lengths).unsqueeze(0)
        return last, torch.zeros_like(last)


class MixedRows(WithoutAttention):
    """`(L*D, B, H)` viewed as `(L, B, D*H)` without a transpose."""

    def bridge(self, final: Tensor) -> Tensor:
        return final.reshape(self.layers, final.shape[1], -1)


class OneAhead(Translator):
    """Targets that are not shifted: each step reads the token that it is to predict."""

    def decoded(self, memory: Tensor, start: Any, lengths: Tensor, target_inputs: Tensor) -> Tensor:
        return super().decoded(memory, start, lengths, target_inputs.roll(-1, 1))


class Seeing(Translator):
    """A decoder of two directions, which sees the token it is to predict."""

    def __init__(self) -> None:
        super().__init__()
        self.decode = nn.LSTM(F, H, 1, batch_first=True, bidirectional=True)

    def start(self, final: Any, memory: Tensor, lengths: Tensor) -> Any:
        return final[0][-2:].contiguous(), final[1][-2:].contiguous()


TWO = {"bidirectional": True}

WRONG: dict[str, Case] = {
    "last column": sequence(LastColumn, "padding_leak"),
    "last column, projection of zeros": sequence(lambda: zeroed(LastColumn()), "padding_leak"),
    "last step of two directions": sequence(
        reading(lambda output, h_n, lengths: last_of(output, lengths), 2 * H, **TWO),
        "truncated_direction",
    ),
    "last step of two directions, time first": sequence(
        LastRowOfBoth, "padding_leak", "truncated_direction"
    ),
    "first step": sequence(
        reading(lambda output, *_: output[:, 0]), "truncated_direction", "unread_step"
    ),
    "first and last step": sequence(reading(first_and_last, 4 * H, **TWO), "truncated_direction"),
    "h_n[-1] of two directions": sequence(lambda: Classifier(**TWO), "unread_direction"),
    "h_n viewed": sequence(  # where `transpose` was needed
        reading(lambda output, h_n, lengths: h_n.reshape(len(lengths), -1), 2 * H, **TWO),
        "batch_leak",
    ),
    "proj_size viewed": sequence(
        reading(lambda output, h_n, lengths: h_n.view(-1, H), proj_size=P), "row_count"
    ),
    "mean of padded steps": sequence(reading(lambda output, *_: output.mean(1)), "padding_leak"),
    "maximum of padded steps": sequence(reading(lambda output, *_: output.amax(1)), "padding_leak"),
    "padding of ones": sequence(reading(filled_with_ones), "padding_leak"),
    "attention without a mask": sequence(AttentionToAll, "padding_leak"),
    "forecast of the last columns": sequence(ForecastOfLastColumns, "padding_leak", "stale_state"),
    "forecast of the last steps": sequence(lambda: ForecastOfLastSteps(nn.GRU), "stale_state"),
    "forecasts transposed": sequence(lambda: ForecastOfNeighbours(width=4), "batch_leak"),
    "forecast rolled from padding": sequence(lambda: RollOfPadding(nn.GRU, F), "padding_leak"),
    "number from padded steps": sequence(RegressorOfColumn, "padding_leak"),
    "tagger without packing": per_step(PaddedTagger, "padding_leak"),
    "tagger across rows": per_step(  # `batch_first` forgotten
        lambda: PaddedTagger(batch_first=False, bidirectional=False), "batch_leak"
    ),
    "decoder from the state of padding": seq2seq(StateOfPadding, "padding_leak"),
    "decoder attends to padding": seq2seq(AttentionToPadding, "padding_leak"),
    "context divided by the padded length": seq2seq(ContextOverPadding, "padding_leak"),
    "decoder from h for both": seq2seq(HiddenForBoth, "state_mixup"),
    "decoder from c for both": seq2seq(lambda: HiddenForBoth(1), "state_mixup"),
    "layers taken for directions": seq2seq(LayersForDirections, "state_mixup"),
    "decoder from the last step of both": seq2seq(LastStepStart, "truncated_direction"),
    "decoder from mixed rows": seq2seq(MixedRows, "batch_leak"),
    "targets centred over the batch": seq2seq(CentredTargets, "batch_leak"),
    "decoder that sees what it predicts": seq2seq(Seeing, "future_leak"),
    "decoder that is one token ahead": seq2seq(OneAhead, "future_leak"),
    "tagger of the forward half": per_step(TaggerOfForward, "unread_direction"),
    "h carried as c": per_step(CopiedState, "state_mixup", causal=True),
    "h carried as c at one step": per_step(OneStepState, "state_mixup", causal=True),
    "state of the neighbour": per_step(RotatedState, "state_mixup", causal=True),
    "h carried as c by a classifier": sequence(CopiedFinal, "state_mixup"),
    "state kept between calls": sequence(lambda: Remembering(nn.GRU), "state_mixup"),
    "bidirectional language model": per_step(Language, "future_leak", causal=True),
    "convolution that sees the next step": per_step(CentredConvolution, "future_leak", causal=True),
    "mask one step short": sequence(ShiftedMask, "unread_step"),
    "row cut short": sequence(Cut, "unread_step"),
    "lowest layer": sequence(  # the upper layer is computed in vain
        reading(lambda output, h_n, lengths: h_n[0], num_layers=2), "unread_direction"
    ),
}


# ---------------------------------------------------------------- right


class SortedOnly(Classifier):
    """Takes only rows sorted by length."""

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        _, (h_n, _) = self.rnn(pack_padded_sequence(inputs, lengths, batch_first=True))
        return self.classify(h_n[-1])


def ends_of_output(output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
    """The two halves of `output`, each where its direction ends."""
    return torch.cat([last_of(output, lengths)[:, :H], output[:, 0, H:]], dim=1)


def masked_mean(output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
    return output.sum(dim=1) / lengths.unsqueeze(1)


def masked_max(output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
    mask = mask_of(lengths, output.shape[1]).unsqueeze(-1)
    return output.masked_fill(~mask, -torch.inf).amax(dim=1)


class OneNumber(Classifier):
    """One number for each row, `(B,)`."""

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        return super().forward(inputs, lengths).sum(dim=1)

    def select(self, output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
        return masked_mean(output, h_n, lengths)


class Forecast(Forecaster):
    """The whole horizon from the final state."""

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        _, (h_n, _) = self.rnn(packed(inputs, lengths))
        return self.forecast(h_n[-1]).view(len(inputs), 4, F)


class Roll(RollOfPadding):
    """Rolls forward from each row's own final state."""

    def given(self, inputs: Tensor, lengths: Tensor) -> Any:
        return packed(inputs, lengths)


class CarriedForecast(Forecaster):
    """The next values at every step, and the state to roll forward from."""

    def forward(self, inputs: Tensor, lengths: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        output, state = self.rnn(inputs, state)
        return self.forecast(output), state


class StackedTagger(Tagger):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(V, F, padding_idx=0)
        self.rnn = nn.GRU(F, H, num_layers=2, batch_first=True, bidirectional=True, dropout=0.5)


class OneDirection(Translator):
    bidirectional, layers = False, 1


class OfState(WithoutAttention):
    """A GRU that starts from a linear layer of all layers and directions."""

    def __init__(self) -> None:
        super().__init__(nn.GRU)
        self.resize = nn.Linear(4 * H, 2 * 2 * H)

    def bridge(self, final: Tensor) -> Tensor:
        flat = final.transpose(0, 1).flatten(1)  # (B, L*D*H)
        return self.resize(flat).tanh().unflatten(1, (2, -1)).transpose(0, 1).contiguous()


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


class HalfDead(Classifier):
    """The forward state goes through units that are dead for any usual input."""

    def __init__(self) -> None:
        super().__init__(bidirectional=True)
        self.units = nn.Linear(H, H)
        nn.init.constant_(self.units.bias, -100.0)

    def select(self, output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
        return self.units(h_n[0]).relu() + h_n[1]


class LayerForC(Translator):
    """A `c` to start from that a layer makes of `h`."""

    def __init__(self) -> None:
        super().__init__()
        self.made = nn.Linear(2 * H, 2 * H)

    def start(self, final: Any, memory: Tensor, lengths: Tensor) -> Any:
        h = self.bridge(final[0])
        return h, self.made(h)


class FixedShape(nn.Module):
    """Takes 4 rows of 20 steps and no others."""

    def __init__(self) -> None:
        super().__init__()
        self.flat = nn.Linear(20 * F, CLASSES)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        assert len(inputs) == 4
        inputs = inputs * mask_of(lengths, 20).unsqueeze(-1)
        return self.flat(inputs.view(4, 20 * F))


class FloatOnly(Classifier):
    """Builds its first state in float32, whatever dtype its inputs have."""

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        start = torch.zeros(1, len(lengths), H)
        _, (h_n, _) = self.rnn(packed(inputs, lengths), (start, start))
        return self.classify(h_n[-1])


RIGHT: dict[str, Case] = {
    "packed LSTM": sequence(Classifier),
    "packed RNN of three layers": sequence(lambda: Classifier(nn.RNN, num_layers=3, dropout=0.3)),
    "rows sorted by length": sequence(SortedOnly),
    "h_n of both directions": sequence(
        reading(lambda output, h_n, lengths: torch.cat([h_n[-2], h_n[-1]], dim=1), 2 * H, **TWO)
    ),
    "output where each direction ends": sequence(
        reading(ends_of_output, 2 * H, num_layers=2, **TWO)
    ),
    "two-layer GRU, last step gathered": sequence(
        reading(
            lambda output, h_n, lengths: last_of(output, lengths),
            packs_=False,
            cell=nn.GRU,
            num_layers=2,
        )
    ),
    "masked mean": sequence(reading(masked_mean, 2 * H, **TWO)),
    "masked maximum": sequence(reading(masked_max, 2 * H, **TWO)),
    "attention with a mask": sequence(Attention),
    "tagger": per_step(StackedTagger),
    "number from a masked mean": sequence(OneNumber),
    "forecast from the final state": sequence(lambda: Forecast(width=4 * F, num_layers=2)),
    "forecast rolled forward": sequence(lambda: Roll(nn.GRU, F)),
    "encoder-decoder with attention": seq2seq(Translator),
    "encoder-decoder of one direction": seq2seq(OneDirection),
    "encoder-decoder of the state": seq2seq(WithoutAttention),
    "encoder-decoder of GRUs": seq2seq(lambda: Translator(nn.GRU)),
    "encoder-decoder with a linear bridge": seq2seq(OfState),
    "encoder-decoder with a layer for c": seq2seq(LayerForC),
    "forecast of the next step with its state": per_step(
        lambda: CarriedForecast(width=F), causal=True
    ),
    "language model": per_step(lambda: Language(bidirectional=False), causal=True),
    "language model with its state": per_step(CarriedLanguage, causal=True),
    "convolution": sequence(Convolution),
    "causal convolution": per_step(CausalConvolution, causal=True),
    "transformer": sequence(Transformer),
    "LSTMCell in a loop": sequence(CellByCell),
    "time first": sequence(TimeFirst),
    "projection of zeros": sequence(lambda: zeroed(Classifier())),
    "half of its units dead": sequence(HalfDead),
    "classifier with its state": sequence(CarriedFinal),
    "one shape only": sequence(FixedShape),
    "float32 only": sequence(FloatOnly),
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
