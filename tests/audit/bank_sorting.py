"""Hand-written models that sort the rows of a batch by length, or mask by what padding holds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from tests.audit.bank import (
    C,
    Carried,
    Case,
    Classifier,
    F,
    H,
    Tagger,
    Translator,
    V,
    classifier,
    packed,
    padded,
    per_step,
    seq2seq,
    sequence,
    tagger,
)

Unsort = Callable[[Tensor, Tensor], Tensor]


def in_order(inputs: Tensor, lengths: Tensor) -> tuple[Any, Tensor]:
    """The rows packed, the longest first, and their order."""
    lengths, order = lengths.sort(descending=True, stable=True)
    return pack_padded_sequence(inputs[order], lengths, batch_first=True), order


def by_inverse(rows: Tensor, order: Tensor) -> Tensor:
    return rows[order.argsort()]


def not_at_all(rows: Tensor, order: Tensor) -> Tensor:
    return rows


def by_order(rows: Tensor, order: Tensor) -> Tensor:
    """The order where its inverse belongs."""
    return rows[order]


# ---------------------------------------------------------------- sorted by length


class SortedClassifier(Classifier):
    """Sorts, packs, and puts `h_n[-1]` back by `unsort`, beside a mean of `output`."""

    def __init__(self, unsort: Unsort) -> None:
        super().__init__(width=2 * H)
        self.unsort = unsort

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        given, order = in_order(inputs, lengths)
        output, (h_n, _) = self.rnn(given)
        mean = by_inverse(padded(output), order).sum(dim=1) / lengths.unsqueeze(1)
        return self.classify(torch.cat([mean, self.unsort(h_n[-1], order)], dim=1))


def rows_sorted(inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The rows are sorted, and the lengths are not."""
    return inputs[lengths.argsort(descending=True)], lengths


def lengths_sorted(inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The lengths are sorted, and the rows are not."""
    return inputs, lengths.sort(descending=True)[0]


class UnsortedTwice(Classifier):
    """`enforce_sorted=False` already puts `h_n` back."""

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        given = packed(inputs, lengths)
        return self.classify(self.rnn(given)[1][0][-1][given.unsorted_indices])


class StartOfEachPlace(Classifier):
    """A learned start for each place in the batch; takes only rows sorted by length."""

    def __init__(self) -> None:
        super().__init__(cell=nn.GRU)
        self.start = nn.Parameter(torch.randn(1, 8, H))

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        start = self.start[:, : len(lengths)]
        _, h_n = self.rnn(pack_padded_sequence(inputs, lengths, batch_first=True), start)
        return self.classify(h_n[-1])


class SortedTagger(Tagger):
    """Sorts and puts back; and, if `cut`, cuts the batch to the length of its first row."""

    def __init__(self, cut: bool = False) -> None:
        super().__init__()
        self.cut = cut

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        given, order = in_order(self.embed(inputs), lengths)
        logits = self.classify(by_inverse(padded(self.rnn(given)[0], inputs.shape[1]), order))
        return logits[:, : lengths[0]] if self.cut else logits


class TaggerOfPackedData(Tagger):
    """Embeds `packed.data`, and packs it again with or without the order of the rows."""

    def __init__(self, in_order: bool) -> None:
        super().__init__()
        self.in_order = in_order

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        given = packed(inputs, lengths)
        embedded = given._replace(data=self.embed(given.data))
        if not self.in_order:
            embedded = PackedSequence(embedded.data, embedded.batch_sizes)
        return self.classify(padded(self.rnn(embedded)[0]))


class SortedWindows(Carried):
    """A language model that sorts each window, and its state with it.

    Args:
        takes: whether the state that it is given is sorted as the rows are.
        gives: whether the state that it returns is put back.
    """

    def __init__(self, takes: bool = True, gives: bool = True) -> None:
        super().__init__()
        self.takes, self.gives = takes, gives

    def forward(self, inputs: Tensor, lengths: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        given, order = in_order(self.embed(inputs), lengths)
        if state is not None and self.takes:
            state = tuple(part[:, order] for part in state)
        output, state = self.rnn(given, state)
        if self.gives:
            state = tuple(part[:, order.argsort()] for part in state)
        return self.predict(by_inverse(padded(output, inputs.shape[1]), order)), state


class SortedWindowsOnly(Carried):
    """Takes only windows that are sorted."""

    def forward(self, inputs: Tensor, lengths: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        given = pack_padded_sequence(self.embed(inputs), lengths, batch_first=True)
        output, state = self.rnn(given, state)
        return self.predict(padded(output, inputs.shape[1])), state


class SortedTranslator(Translator):
    """Sorts the sources, and perhaps the targets, decodes, and puts back what `back` names, of:

    the `memory`, `h`, `c`, the lengths by which attention is masked (`mask`), or the `logits`.
    """

    def __init__(self, *back: str, sorts_targets: bool = False) -> None:
        super().__init__()
        self.back, self.sorts_targets = back, sorts_targets

    def forward(self, source: Tensor, lengths: Tensor, target_inputs: Tensor) -> Tensor:
        given, order = in_order(self.embed_source(source), lengths)
        output, (h, c) = self.encode(given)
        made = {"memory": padded(output, source.shape[1]), "mask": lengths[order]}
        made |= {name: self.bridge(part, 2).transpose(0, 1) for name, part in (("h", h), ("c", c))}
        made |= {name: by_inverse(made[name], order) for name in made.keys() & {*self.back}}
        state = made["h"].transpose(0, 1).contiguous(), made["c"].transpose(0, 1).contiguous()
        targets = target_inputs[order] if self.sorts_targets else target_inputs
        logits = self.decoded(made["memory"], state, made["mask"], targets)
        return by_inverse(logits, order) if "logits" in self.back else logits


# ---------------------------------------------------------------- masks by what padding holds


class MaskedById(nn.Module):
    """`mask = tokens != 0`: right as long as padding holds 0.

    Args:
        pool: what is read, by `(output, mask)`, with `mask` as `(B, T, 1)`.
    """

    def __init__(
        self,
        pool: Callable[[Tensor, Tensor], Tensor] = lambda output, mask: (
            (output * mask).sum(dim=1) / mask.sum(dim=1)
        ),
        padding_idx: int | None = None,
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(V, F, padding_idx)
        self.rnn, self.classify = nn.GRU(F, H, batch_first=True), nn.Linear(H, C)
        self.pool = pool

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        output, _ = self.rnn(self.embed(inputs))
        return self.classify(self.pool(output, (inputs != 0).unsqueeze(-1)))


def padding_index() -> MaskedById:
    """`padding_idx` gives a vector of zeros, and the network runs on over it."""
    return MaskedById(lambda output, mask: output[:, -1], padding_idx=0)


def scores_of_zero(output: Tensor, mask: Tensor) -> Tensor:
    """Attention whose scores at padding are 0, and not minus infinity."""
    scores = output.sum(dim=2, keepdim=True) * mask
    return (scores.softmax(dim=1) * output).sum(dim=1)


def length_by_id(inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    return inputs, (inputs != 0).sum(dim=1)


def length_by_features(inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """A step is padding if all its features are 0."""
    return inputs, (inputs != 0).any(dim=2).sum(dim=1)


# ---------------------------------------------------------------- cases

BATCH, STATE, PADDING = "batch_leak", "state_mixup", "padding_leak"


def sorts(unsort: Unsort, *found: str) -> Case:
    return sequence(partial(SortedClassifier, unsort), *found)


def windows(*found: str, **how: Any) -> Case:
    return per_step(partial(SortedWindows, **how), *found, causal=True)


def translates(*found: str, back: str, **how: Any) -> Case:
    return seq2seq(partial(SortedTranslator, *back.split(), **how), *found)


SORTED_WRONG: dict[str, Case] = {
    "sorted, never unsorted": sorts(not_at_all, BATCH),
    "unsorted by the order": sorts(by_order, BATCH),
    "only lengths sorted": classifier(BATCH, before=lengths_sorted),
    "only rows sorted": classifier(BATCH, before=rows_sorted),
    "unsorted twice": sequence(UnsortedTwice, BATCH),
    "start of each place": sequence(StartOfEachPlace, BATCH),
    "tagger cut to the first row": per_step(lambda: SortedTagger(cut=True), BATCH),
    "tagger of packed data": per_step(lambda: TaggerOfPackedData(in_order=False), BATCH),
    "state not sorted": windows(STATE, takes=False),
    "state not unsorted": windows(STATE, gives=False),
    # although the next window has other lengths
    "state left sorted": windows(STATE, takes=False, gives=False),
    "targets not sorted": translates(BATCH, back="logits"),
    "memory sorted": translates(BATCH, back="h c"),
    "c_n sorted": translates(BATCH, back="memory h mask"),
    "mask sorted": translates(BATCH, back="memory h c"),
}

SORTED_RIGHT: dict[str, Case] = {
    "sorted and unsorted": sorts(by_inverse),
    "tagger that sorts": per_step(SortedTagger),
    "tagger of packed data in order": per_step(lambda: TaggerOfPackedData(in_order=True)),
    "language model that sorts its windows": windows(),
    "language model of sorted windows": per_step(SortedWindowsOnly, causal=True),
    "encoder-decoder that sorts its sources": translates(back="memory h c mask"),
    "encoder-decoder that sorts its pairs": translates(back="logits", sorts_targets=True),
}

# with `padding=0`
MASKED: dict[str, Case] = {
    "masked by id": sequence(MaskedById),
    "tagger packed by id": tagger(before=length_by_id),
    "masked by features": classifier(before=length_by_features),
    "mean of zeros": sequence(lambda: MaskedById(lambda o, mask: (o * mask).mean(1)), PADDING),
    # the zeros at padding win over negative values
    "maximum of zeros": sequence(lambda: MaskedById(lambda o, mask: (o * mask).amax(1)), PADDING),
    "padding_idx without packing": sequence(padding_index, PADDING),
    "scores of zero at padding": sequence(lambda: MaskedById(scores_of_zero), PADDING),
}
