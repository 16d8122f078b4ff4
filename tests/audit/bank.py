"""Models, wrong and right, by what an audit must find of them: common mistakes, and their cures."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

F, H, P, V, W, C = 5, 16, 8, 23, 19, 3

Make = Callable[[], nn.Module]
TARGETS = torch.randint(W, (4, 6), generator=torch.Generator().manual_seed(1))


class Case(NamedTuple):
    """How to make a model, the options of its audit, and the names of what is found."""

    make: Make
    options: dict[str, Any]
    found: list[str]


def sequence(make: Make, *found: str, **options: Any) -> Case:
    return Case(make, options, [*found])


def per_step(make: Make, *found: str, causal: bool = False) -> Case:
    return Case(make, {"kind": "per_step", "causal": causal}, [*found])


def seq2seq(make: Make, *found: str) -> Case:
    return Case(make, {"kind": "seq2seq", "target_inputs": TARGETS}, [*found])


def classifier(*found: str, **how: Any) -> Case:
    return sequence(partial(Classifier, **how), *found)


def tagger(*found: str, causal: bool = False, **how: Any) -> Case:
    return per_step(partial(Tagger, **how), *found, causal=causal)


def carried(*found: str, **how: Any) -> Case:
    return per_step(partial(Carried, **how), *found, causal=True)


def translator(*found: str, **how: Any) -> Case:
    return seq2seq(partial(Translator, **how), *found)


def mask_of(lengths: Tensor, time: int) -> Tensor:
    return torch.arange(time) < lengths.unsqueeze(1)


def packed(inputs: Tensor, lengths: Tensor) -> Any:
    return pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)


def padded(packed: Any, time: int | None = None) -> Tensor:
    return pad_packed_sequence(packed, batch_first=True, total_length=time)[0]


# ---------------------------------------------------------------- one thing of these is wrong


class Classifier(nn.Module):
    """A recurrent network on features, and a linear layer on what `select` reads.

    Args:
        select: what is read, by `(output, h_n, lengths)`.
        width: of what is read.
        packs: whether rows are packed.
        before: is applied to the inputs and the lengths.
        start: the first state, by the network's inputs.
        after: is applied to the logits.
        embed: gives the network's inputs.
    """

    def __init__(
        self,
        select: Callable[..., Tensor] = lambda output, h_n, lengths: h_n[-1],
        *,
        cell: Callable[..., nn.RNNBase] = nn.LSTM,
        width: int = H,
        classes: int = C,
        packs: bool = True,
        before: Callable[..., tuple[Tensor, Tensor]] = lambda inputs, lengths: (inputs, lengths),
        start: Callable[[Tensor], Any] = lambda embedded: None,
        after: Callable[[Tensor], Tensor] = lambda logits: logits,
        embed: nn.Module | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.embed = embed or nn.Identity()
        self.rnn = cell(F, H, **{"batch_first": True, **options})
        self.classify = nn.Linear(width, classes)
        self.select, self.packs = select, packs
        self.before, self.start, self.after = before, start, after

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        inputs, lengths = self.before(inputs, lengths)
        embedded = self.embed(inputs)
        given = packed(embedded, lengths) if self.packs else embedded
        output, final = self.rnn(given, self.start(embedded))
        h_n = final[0] if isinstance(final, tuple) else final
        if self.packs:
            output = padded(output, inputs.shape[1])
        return self.after(self.classify(self.select(output, h_n, lengths)))


class Tagger(Classifier):
    """Tokens to a label for each step, from both directions."""

    def __init__(
        self, *, bidirectional: bool = True, padding_idx: int | None = None, **how: Any
    ) -> None:
        usual = {"select": lambda output, *_: output, "width": 2 * H if bidirectional else H}
        embed = nn.Embedding(V, F, padding_idx)
        super().__init__(**usual | how, embed=embed, bidirectional=bidirectional)


class Carried(nn.Module):
    """Gives its state for the next window beside the logits.

    Args:
        hand_on: the state that is given, by `(h, c, steps)`.
        tokens: whether it predicts tokens from tokens, or features from features.
        final: whether the logits are those of a row instead of those of each step.
    """

    def __init__(
        self,
        hand_on: Callable[..., tuple[Tensor, Tensor]] = lambda h, c, steps: (h, c),
        *,
        tokens: bool = True,
        final: bool = False,
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(V, F) if tokens else nn.Identity()
        self.rnn = nn.LSTM(F, H, batch_first=True)
        self.predict = nn.Linear(H, V if tokens else F)
        self.hand_on, self.final = hand_on, final

    def forward(self, inputs: Tensor, lengths: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        embedded = self.embed(inputs)
        output, (h, c) = self.rnn(packed(embedded, lengths) if self.final else embedded, state)
        logits = self.predict(h[-1] if self.final else output)
        return logits, self.hand_on(h, c, inputs.shape[1])


def side_by_side(final: Tensor, layers: int) -> Tensor:  # (L*D, B, H) -> (L, B, D*H)
    return final.unflatten(0, (layers, -1)).transpose(1, 2).flatten(2)


def masked(scores: Tensor, lengths: Tensor) -> Tensor:
    mask = mask_of(lengths, scores.shape[-1]).unsqueeze(1)
    return scores.masked_fill(~mask, -torch.inf).softmax(dim=-1)


class Translator(nn.Module):
    """An encoder-decoder: packed, both directions side by side, attention with a mask.

    Args:
        bridge: makes the decoder's first `h` or `c` of the encoder's, by `(final, layers)`.
        start: changes both, by `(h, c, memory, lengths)`.
        weights: those of attention, by `(scores, lengths)`; None for no attention.
        embedded: what the decoder reads, by `(embed, tokens)`.
        width: of the decoder, if it isn't that of the encoder's `output`.
        by_step: whether it decodes one token at a time.
    """

    def __init__(
        self,
        cell: type[nn.RNNBase] = nn.LSTM,
        *,
        layers: int = 2,
        bidirectional: bool = True,
        packs: bool = True,
        bridge: Callable[[Tensor, int], Tensor] = side_by_side,
        start: Callable[..., Any] = lambda h, c, memory, lengths: (h, c),
        weights: Callable[[Tensor, Tensor], Tensor] | None = masked,
        embedded: Callable[..., Tensor] = lambda embed, tokens: embed(tokens),
        width: int | None = None,
        by_step: bool = False,
    ) -> None:
        super().__init__()
        wide = H * (2 if bidirectional else 1)
        width = width or wide
        options = {"num_layers": layers, "batch_first": True}
        self.embed_source, self.embed_target = nn.Embedding(V, F), nn.Embedding(W, F)
        self.encode = cell(F, H, bidirectional=bidirectional, **options)
        self.decode = cell(F, width, **options)
        self.join = nn.Identity() if width == wide else nn.Linear(wide, width)
        self.predict = nn.Linear(2 * width if weights else width, W)
        self.layers, self.packs, self.by_step = layers, packs, by_step
        self.bridge, self.start, self.weights, self.embedded = bridge, start, weights, embedded

    def forward(self, source: Tensor, lengths: Tensor, target_inputs: Tensor) -> Tensor:
        embedded = self.embed_source(source)
        output, final = self.encode(packed(embedded, lengths) if self.packs else embedded)
        memory = padded(output, source.shape[1]) if self.packs else output
        if isinstance(final, Tensor):
            state = self.bridge(final, self.layers)
        else:
            h, c = (self.bridge(part, self.layers) for part in final)
            state = self.start(h, c, memory, lengths)
        return self.decoded(memory, state, lengths, target_inputs)

    def decoded(self, memory: Tensor, state: Any, lengths: Tensor, target_inputs: Tensor) -> Tensor:
        embedded, made = self.embedded(self.embed_target, target_inputs), []
        for steps in embedded.split(1 if self.by_step else embedded.shape[1], dim=1):
            output, state = self.decode(steps, state)
            made.append(output)
        decoded = torch.cat(made, dim=1)
        if self.weights is None:
            return self.predict(decoded)
        memory = self.join(memory)
        weights = self.weights(decoded @ memory.transpose(1, 2), lengths)  # (B, S, T)
        return self.predict(torch.cat([weights @ memory, decoded], dim=-1))


class Parts(nn.Module):
    """What `run(parts, inputs, lengths)` computes with these parts."""

    def __init__(self, run: Callable[..., Tensor], **parts: Any) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        return self.run(self, inputs, lengths)


class Attention(nn.Module):
    """The sum over the steps of `output`, by learned weights."""

    def __init__(self, weights: Callable[[Tensor, Tensor], Tensor] = masked) -> None:
        super().__init__()
        self.score, self.weights = nn.Linear(H, 1), weights

    def forward(self, output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
        scores = self.score(output).transpose(1, 2)  # (B, 1, T)
        return (self.weights(scores, lengths) @ output).squeeze(1)


# ---------------------------------------------------------------- what is read


def last_of(output: Tensor, lengths: Tensor) -> Tensor:
    """`output` at each row's own last step."""
    return output[torch.arange(len(lengths)), lengths - 1]


def own_last(output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
    return last_of(output, lengths)


def last_column(**options: Any) -> Classifier:
    """Countless tutorials: the last column, which is padding in all rows but the longest."""
    return Classifier(lambda output, *_: output[:, -1], packs=False, **options)


def zeroed(model: Classifier) -> Classifier:
    """Starts from zero logits, as some recipes do."""
    for weights in model.classify.parameters():
        nn.init.zeros_(weights)
    return model


def mean(output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
    return output.mean(dim=1)


def running_mean(output: Tensor) -> Tensor:
    return output.cumsum(dim=1) / torch.arange(1, output.shape[1] + 1).view(1, -1, 1)


def last_running_mean(output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
    return running_mean(output)[:, -1]


def own_running_mean(output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
    return last_of(running_mean(output), lengths)


def maximum(output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
    return output.amax(dim=1)


def masked_mean(output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
    return output.sum(dim=1) / lengths.unsqueeze(1)


def masked_max(output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
    mask = mask_of(lengths, output.shape[1]).unsqueeze(-1)
    return output.masked_fill(~mask, -torch.inf).amax(dim=1)


def filled_with_ones(output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
    """The content of padding does not matter, but its amount does."""
    padding = ~mask_of(lengths, output.shape[1])
    return output.masked_fill(padding.unsqueeze(-1), 1.0).mean(dim=1)


def both_states(output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
    return torch.cat([h_n[-2], h_n[-1]], dim=1)


def of_two_layers(output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
    """Forward of layer 1, backward of layer 0, as a tutorial takes them for the last layer's."""
    return torch.cat([h_n[2], h_n[1]], dim=1)


def ends_of_output(output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
    """The two halves of `output`, each where its direction ends."""
    return torch.cat([last_of(output, lengths)[:, :H], output[:, 0, H:]], dim=1)


def first_and_last(output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
    """Both halves of the first and of the last step."""
    return torch.cat([output[:, 0], last_of(output, lengths)], dim=1)


def last_four(output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
    """Each row's own last steps, as so many forecasts: only the last one reads the newest step."""
    steps = (lengths.unsqueeze(1) + torch.arange(-4, 0)).clamp(min=0)  # (B, 4)
    return output[torch.arange(len(output)).unsqueeze(1), steps]


def scaled(mean: float, spread: float, logits: Tensor) -> Tensor:
    return mean + spread * logits


def masked_class(value: float) -> Callable[[Tensor], Tensor]:
    """Fills the logit of one class."""
    return lambda logits: logits.index_fill(1, torch.tensor([1]), value)


# ---------------------------------------------------------------- wrong


class Remembering(Classifier):
    """Keeps its state between calls."""

    state: Tensor | None = None

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        state = self.state
        if state is not None and state.shape[1] != len(lengths):
            state = None
        _, self.state = self.rnn(packed(inputs, lengths), state)
        return self.classify(self.state[-1])


class Seeing(Translator):
    """A decoder of two directions, which sees the token it is to predict."""

    def __init__(self) -> None:
        super().__init__(bridge=lambda final, layers: final[-2:].contiguous())
        self.decode = nn.LSTM(F, H, 1, batch_first=True, bidirectional=True)


def last_row_of_both(own: Any, inputs: Tensor, lengths: Tensor) -> Tensor:
    """Time first, as by default: `output[-1]` of two directions."""
    return own.classify(own.rnn(inputs.transpose(0, 1))[0][-1])


def short_mask(own: Any, inputs: Tensor, lengths: Tensor) -> Tensor:
    """A mask that ends one step early, before a maximum."""
    short = mask_of((lengths - 1).clamp(min=1), inputs.shape[1]).unsqueeze(-1)
    return own.classify(own.features(inputs).masked_fill(~short, -torch.inf).amax(dim=1))


def directions_first(final: Tensor, layers: int) -> Tensor:
    """`(L*D, B, H)` taken for directions first, then layers."""
    return final.unflatten(0, (-1, layers)).permute(1, 2, 0, 3).flatten(2).contiguous()


def from_last_step(h: Tensor, c: Tensor, memory: Tensor, lengths: Tensor) -> Any:
    """Starts from `output` at the last step, where backward has seen one step."""
    last = last_of(memory, lengths).unsqueeze(0)
    return last, torch.zeros_like(last)


def centred(embed: nn.Module, tokens: Tensor) -> Tensor:
    """Less their mean over the batch."""
    return embed(tokens) - embed(tokens).mean(dim=0)


TWO: dict[str, Any] = {"bidirectional": True, "width": 2 * H}
FORECASTS: dict[str, Any] = {"classes": 1, "packs": False, "after": lambda made: made.squeeze(-1)}

WRONG: dict[str, Case] = {
    "last column": sequence(last_column, "padding_leak"),
    **{
        f"last column, {scale:g} + {spread:g} * logits": sequence(
            partial(last_column, after=partial(scaled, scale, spread)), "padding_leak"
        )
        for scale, spread in ((2000.0, 0.01), (1.7e9, 3600.0), (0.0, 1e-7))
    },
    "last column, projection of zeros": sequence(lambda: zeroed(last_column()), "padding_leak"),
    "last step of two directions": classifier("truncated_direction", select=own_last, **TWO),
    "last step of two directions, time first": sequence(
        lambda: Parts(
            last_row_of_both, rnn=nn.LSTM(F, H, bidirectional=True), classify=nn.Linear(2 * H, C)
        ),
        *("padding_leak", "truncated_direction"),
    ),
    "first step": classifier(
        "truncated_direction", "unread_step", select=lambda output, *_: output[:, 0]
    ),
    "first and last step": classifier(
        "truncated_direction", select=first_and_last, width=4 * H, bidirectional=True
    ),
    "h_n[-1] of two directions": classifier("unread_direction", bidirectional=True),
    "h_n viewed": classifier(  # where `transpose` was needed
        "batch_leak", select=lambda output, h_n, n: h_n.reshape(len(n), -1), **TWO
    ),
    "proj_size viewed": classifier(
        "row_count", select=lambda output, h_n, n: h_n.view(-1, H), proj_size=P
    ),
    "mean of padded steps": classifier("padding_leak", select=mean),
    "running mean at the last column": classifier("padding_leak", select=last_running_mean, **TWO),
    **{
        f"forward of one layer, backward of another: {cell.__name__}": classifier(
            "unread_direction", select=of_two_layers, cell=cell, num_layers=2, **TWO
        )
        for cell in (nn.LSTM, nn.GRU, nn.RNN)
    },
    "maximum of padded steps": classifier("padding_leak", select=maximum),
    "padding of ones": classifier("padding_leak", select=filled_with_ones),
    "attention without a mask": sequence(
        lambda: Classifier(Attention(lambda scores, lengths: scores.softmax(-1))), "padding_leak"
    ),
    # even in rows without padding, all forecasts but the last miss the newest observations
    "forecast of the last columns": classifier(
        *("padding_leak", "stale_state"), select=lambda output, *_: output[:, -4:], **FORECASTS
    ),
    "forecast of the last steps": classifier(
        "stale_state", select=last_four, cell=nn.GRU, **FORECASTS
    ),
    # several series flattened into one batch, and the rows not put back in their order
    "forecasts transposed": classifier(
        "batch_leak", classes=4, after=lambda made: made.t().reshape(len(made), 4)
    ),
    "tagger without packing": tagger("padding_leak", packs=False),
    "tagger across rows": tagger(  # `batch_first` forgotten
        "batch_leak", packs=False, batch_first=False, bidirectional=False
    ),
    "decoder from the state of padding": translator("padding_leak", packs=False, weights=None),
    "decoder attends to padding": translator(
        "padding_leak", weights=lambda scores, lengths: scores.softmax(-1)
    ),
    "decoder from h for both": translator("state_mixup", start=lambda h, c, *_: (h, h)),
    "decoder from c for both": translator("state_mixup", start=lambda h, c, *_: (c, c)),
    "layers taken for directions": translator("state_mixup", bridge=directions_first, weights=None),
    "decoder from the last step of both": translator(
        "truncated_direction", layers=1, start=from_last_step, weights=None
    ),
    "targets centred over the batch": translator("batch_leak", embedded=centred, weights=None),
    "decoder that sees what it predicts": seq2seq(Seeing, "future_leak"),
    "decoder that is one token ahead": translator(  # targets that are not shifted
        "future_leak", embedded=lambda embed, tokens: embed(tokens.roll(-1, 1))
    ),
    "tagger of the forward half": tagger(
        "unread_direction", select=lambda output, *_: output[..., :H], width=H
    ),
    "h carried as c": carried("state_mixup", hand_on=lambda h, c, steps: (h, h)),
    "h carried as c at one step": carried(  # as in generation
        "state_mixup", hand_on=lambda h, c, steps: (h, h if steps == 1 else c)
    ),
    "state of the neighbour": carried("state_mixup", hand_on=lambda h, c, n: (h.roll(1, 1), h)),
    "h carried as c by a classifier": sequence(
        lambda: Carried(lambda h, c, steps: (h, h), tokens=False, final=True), "state_mixup"
    ),
    "state kept between calls": sequence(lambda: Remembering(cell=nn.GRU), "state_mixup"),
    "bidirectional language model": tagger("future_leak", classes=V, causal=True),
    "convolution that sees the next step": per_step(
        lambda: TokenConvolution(before=1), "future_leak", causal=True
    ),
    "mask one step short": sequence(
        lambda: Parts(short_mask, features=nn.Linear(F, H), classify=nn.Linear(H, C)), "unread_step"
    ),
    "row cut short": classifier(
        "unread_step", before=lambda inputs, n: (inputs[:, :16], n.clamp(max=16))
    ),
    "a state that is cut off from its network": classifier(
        "lost_gradient", select=lambda output, h_n, lengths: h_n[-1].detach()
    ),
    "a class that is overwritten": classifier("constant_logit", after=masked_class(-1e9)),
    "reference class of zeros": classifier("constant_logit", after=masked_class(0.0)),
    "lowest layer": classifier(  # the upper layer is computed in vain
        "unread_direction", select=lambda output, h_n, lengths: h_n[0], num_layers=2
    ),
}


# ---------------------------------------------------------------- right


class SortedOnly(Classifier):
    """Takes only rows sorted by length."""

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        _, (h_n, _) = self.rnn(pack_padded_sequence(inputs, lengths, batch_first=True))
        return self.classify(h_n[-1])


class OfBothStates(nn.Module):
    """A linear layer of all layers and directions."""

    def __init__(self) -> None:
        super().__init__()
        self.resize = nn.Linear(4 * H, 2 * 2 * H)

    def forward(self, final: Tensor, layers: int) -> Tensor:
        flat = final.transpose(0, 1).flatten(1)  # (B, L*D*H)
        return self.resize(flat).tanh().unflatten(1, (2, -1)).transpose(0, 1).contiguous()


class LayerForC(nn.Module):
    """A `c` to start from that a layer makes of `h`."""

    def __init__(self) -> None:
        super().__init__()
        self.made = nn.Linear(2 * H, 2 * H)

    def forward(self, h: Tensor, c: Tensor, memory: Tensor, lengths: Tensor) -> Any:
        return h, self.made(h)


class HalfDead(nn.Module):
    """The forward state goes through units that are dead for any usual input."""

    def __init__(self) -> None:
        super().__init__()
        self.units = nn.Linear(H, H)
        nn.init.constant_(self.units.bias, -100.0)

    def forward(self, output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
        return self.units(h_n[0]).relu() + h_n[1]


class FloatOnly(Classifier):
    """Builds its first state in float32, whatever dtype its inputs have."""

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        start = torch.zeros(1, len(lengths), H)
        return self.classify(self.rnn(packed(inputs, lengths), (start, start))[1][0][-1])


def convolution(own: Any, inputs: Tensor, lengths: Tensor) -> Tensor:
    """Zeros at padding, a convolution, the maximum over valid steps."""
    mask = mask_of(lengths, inputs.shape[1]).unsqueeze(-1)
    features = own.convolve((inputs * mask).transpose(1, 2)).transpose(1, 2).relu()
    return own.classify(features.masked_fill(~mask, -torch.inf).amax(dim=1))


class TokenConvolution(nn.Module):
    """Logits at each step of a convolution of three steps, of which so many lie before it."""

    def __init__(self, before: int) -> None:
        super().__init__()
        self.embed, self.convolve = nn.Embedding(V, F), nn.Conv1d(F, V, 3)
        self.pad = nn.ZeroPad1d((before, 2 - before))

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        embedded = self.embed(inputs) * mask_of(lengths, inputs.shape[1]).unsqueeze(-1)
        return self.convolve(self.pad(embedded.transpose(1, 2))).transpose(1, 2)


def transformer(own: Any, inputs: Tensor, lengths: Tensor) -> Tensor:
    mask = mask_of(lengths, inputs.shape[1])
    encoded = own.encode(own.embed(inputs), src_key_padding_mask=~mask)
    return own.classify((encoded * mask.unsqueeze(-1)).sum(dim=1) / lengths.unsqueeze(1))


def cell_by_cell(own: Any, inputs: Tensor, lengths: Tensor) -> Tensor:
    """`nn.LSTMCell` in a loop: no recurrent network to look into."""
    h = c = inputs.new_zeros(len(inputs), H)
    for step in range(inputs.shape[1]):
        running = (step < lengths).unsqueeze(1)
        h_next, c_next = own.cell(inputs[:, step], (h, c))
        h, c = h_next.where(running, h), c_next.where(running, c)
    return own.classify(h)


def time_first(own: Any, inputs: Tensor, lengths: Tensor) -> Tensor:
    """`nn.LSTM` as it is by default: time first."""
    packed = pack_padded_sequence(inputs.transpose(0, 1), lengths, enforce_sorted=False)
    output, _ = pad_packed_sequence(own.rnn(packed)[0])
    return own.classify(output.sum(dim=0) / lengths.unsqueeze(1))


def fixed_shape(own: Any, inputs: Tensor, lengths: Tensor) -> Tensor:
    """Takes 4 rows of 20 steps and no others."""
    assert len(inputs) == 4
    return own.flat((inputs * mask_of(lengths, 20).unsqueeze(-1)).view(4, 20 * F))


RIGHT: dict[str, Case] = {
    "packed LSTM": classifier(),
    "packed RNN of three layers": classifier(cell=nn.RNN, num_layers=3, dropout=0.3),
    "rows sorted by length": sequence(SortedOnly),
    "h_n of both directions": classifier(select=both_states, **TWO),
    "output where each direction ends": classifier(select=ends_of_output, num_layers=2, **TWO),
    "two-layer GRU, last step gathered": classifier(
        select=own_last, packs=False, cell=nn.GRU, num_layers=2
    ),
    "masked mean": classifier(select=masked_mean, **TWO),
    "running mean at each row's last step": classifier(select=own_running_mean, **TWO),
    "masked maximum": classifier(select=masked_max, **TWO),
    "attention with a mask": sequence(lambda: Classifier(Attention())),
    "tagger": tagger(cell=nn.GRU, num_layers=2, dropout=0.5, padding_idx=0),
    "a class masked by infinity": classifier(after=masked_class(-torch.inf)),
    "seconds since 1970": classifier(after=lambda logits: 1.7e9 + 3600 * logits),
    "outputs of scale 1e-7": classifier(after=lambda logits: 1e-7 * logits),
    "number from a masked mean": classifier(
        select=masked_mean, after=lambda logits: logits.sum(dim=1)
    ),
    "forecast from the final state": classifier(
        classes=4 * F, num_layers=2, after=lambda made: made.view(-1, 4, F)
    ),
    "encoder-decoder with attention": translator(),
    "encoder-decoder of one direction": translator(layers=1, bidirectional=False),
    "encoder-decoder of the state": translator(weights=None),
    "encoder-decoder of GRUs": translator(cell=nn.GRU),
    "encoder-decoder with a linear bridge": seq2seq(
        lambda: Translator(nn.GRU, weights=None, bridge=OfBothStates())
    ),
    "encoder-decoder with a layer for c": seq2seq(lambda: Translator(start=LayerForC())),
    "forecast of the next step with its state": carried(tokens=False),
    "language model": tagger(classes=V, bidirectional=False, causal=True),
    "language model with its state": carried(),
    "convolution": sequence(
        lambda: Parts(convolution, convolve=nn.Conv1d(F, H, 3, padding=1), classify=nn.Linear(H, C))
    ),
    "causal convolution": per_step(lambda: TokenConvolution(before=2), causal=True),
    "transformer": sequence(
        lambda: Parts(
            transformer,
            embed=nn.Embedding(V, H),
            encode=nn.TransformerEncoderLayer(H, 2, dim_feedforward=32, batch_first=True),
            classify=nn.Linear(H, C),
        )
    ),
    "LSTMCell in a loop": sequence(
        lambda: Parts(cell_by_cell, cell=nn.LSTMCell(F, H), classify=nn.Linear(H, C))
    ),
    "time first": sequence(
        lambda: Parts(
            time_first, rnn=nn.LSTM(F, H, bidirectional=True), classify=nn.Linear(2 * H, C)
        )
    ),
    "projection of zeros": sequence(lambda: zeroed(Classifier())),
    "half of its units dead": sequence(lambda: Classifier(HalfDead(), bidirectional=True)),
    "classifier with its state": sequence(lambda: Carried(tokens=False, final=True)),
    "one shape only": sequence(lambda: Parts(fixed_shape, flat=nn.Linear(20 * F, C))),
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
