"""Hand-written models that sort the rows of a batch by length, or mask by what padding holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from tests.audit.bank import (
    CLASSES,
    Case,
    Classifier,
    F,
    H,
    Language,
    Tagger,
    Translator,
    V,
    packed,
    padded,
    per_step,
    seq2seq,
    sequence,
)

Unsort = Callable[[Tensor, Tensor], Tensor]


def by_inverse(rows: Tensor, order: Tensor) -> Tensor:
    return rows[order.argsort()]


def not_at_all(rows: Tensor, order: Tensor) -> Tensor:
    return rows


def by_order(rows: Tensor, order: Tensor) -> Tensor:
    """The order where its inverse belongs."""
    return rows[order]


def gathered(rows: Tensor, order: Tensor) -> Tensor:
    """`gather` by the order where `scatter` belongs."""
    return rows.gather(0, order.unsqueeze(1).expand_as(rows))


# ---------------------------------------------------------------- classifiers


class SortedClassifier(Classifier):
    """Sorts, packs, and puts `h_n[-1]` back; `enforce_sorted=False` takes the shortest first."""

    def __init__(self, unsort: Unsort = by_inverse, descending: bool = True) -> None:
        super().__init__()
        self.unsort, self.descending = unsort, descending

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        sorted_lengths, order = lengths.sort(descending=self.descending)
        _, (h_n, _) = self.rnn(
            pack_padded_sequence(inputs[order], sorted_lengths, True, self.descending)
        )
        return self.classify(self.unsort(h_n[-1], order))


class LengthsSorted(Classifier):
    """The lengths are sorted, and the rows are not."""

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        return super().forward(inputs, lengths.sort(descending=True)[0])


class RowsSorted(Classifier):
    """The rows are sorted, and the lengths are not."""

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        order = lengths.argsort(descending=True)
        return super().forward(inputs[order], lengths)[order.argsort()]


class UnsortedTwice(Classifier):
    """`enforce_sorted=False` already puts `h_n` back."""

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        given = packed(inputs, lengths)
        return self.classify(self.rnn(given)[1][0][-1][given.unsorted_indices])


class OutputAndState(Classifier):
    """The mean of `output` is put back, and `h_n` beside it by `unsort`."""

    width = 2 * H

    def __init__(self, unsort: Unsort = by_inverse) -> None:
        super().__init__()
        self.unsort = unsort

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        sorted_lengths, order = lengths.sort(descending=True)
        packed = pack_padded_sequence(inputs[order], sorted_lengths, batch_first=True)
        output, (h_n, _) = self.rnn(packed)
        mean = padded(output)[order.argsort()].sum(dim=1) / lengths.unsqueeze(1)
        return self.classify(torch.cat([mean, self.unsort(h_n[-1], order)], dim=1))


class RefusesUnsorted(Classifier):
    """Says by itself that it takes only sorted rows, and packs by `enforce_sorted=False`."""

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        if not torch.equal(lengths, lengths.sort(descending=True)[0]):
            raise ValueError("sort the rows by length")
        return super().forward(inputs, lengths)


class StartOfEachPlace(Classifier):
    """A learned start for each place in the batch; takes only rows sorted by length."""

    def __init__(self) -> None:
        super().__init__(nn.GRU)
        self.start = nn.Parameter(torch.randn(1, 8, H))

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        start = self.start[:, : len(lengths)]
        _, h_n = self.rnn(pack_padded_sequence(inputs, lengths, batch_first=True), start)
        return self.classify(h_n[-1])


# ---------------------------------------------------------------- a label at every step


class SortedTagger(Tagger):
    def __init__(self, unsort: Unsort = by_inverse) -> None:
        super().__init__()
        self.unsort = unsort

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        sorted_lengths, order = lengths.sort(descending=True)
        packed = pack_padded_sequence(self.embed(inputs)[order], sorted_lengths, batch_first=True)
        return self.label(self.unsort(padded(self.rnn(packed)[0], inputs.shape[1]), order))


class TaggerOfTheFirst(SortedTagger):
    """Cuts the batch to the length of its first row."""

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        return super().forward(inputs, lengths)[:, : lengths[0]]


class TaggerOfPackedData(Tagger):
    """Embeds `packed.data`, and packs it again without the order of the rows."""

    def packed(self, packed: PackedSequence) -> PackedSequence:
        return PackedSequence(self.embed(packed.data), packed.batch_sizes)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        return self.label(padded(self.rnn(self.packed(packed(inputs, lengths)))[0]))


class TaggerOfPacked(TaggerOfPackedData):
    def packed(self, packed: PackedSequence) -> PackedSequence:
        return packed._replace(data=self.embed(packed.data))


# ---------------------------------------------------------------- a state from window to window


class SortedWindows(Language):
    """A language model that sorts each window, and its state with it.

    Args:
        takes: whether the state that it is given is sorted as the rows are.
        gives: the parts of the state, of `h` and `c`, that are put back.
    """

    def __init__(self, takes: bool = True, gives: str = "hc") -> None:
        super().__init__(bidirectional=False)
        self.takes, self.gives = takes, gives

    def forward(self, inputs: Tensor, lengths: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        sorted_lengths, order = lengths.sort(descending=True, stable=True)
        inverse = order.argsort()
        packed = pack_padded_sequence(self.embed(inputs)[order], sorted_lengths, batch_first=True)
        if state is not None and self.takes:
            state = tuple(part[:, order] for part in state)
        output, state = self.rnn(packed, state)
        parts = zip("hc", state, strict=True)
        given = (part[:, inverse] if name in self.gives else part for name, part in parts)
        return self.label(padded(output, inputs.shape[1])[inverse]), tuple(given)


class SortedWindowsOnly(SortedWindows):
    """Takes only windows that are sorted."""

    def forward(self, inputs: Tensor, lengths: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        packed = pack_padded_sequence(self.embed(inputs), lengths, batch_first=True)
        output, state = self.rnn(packed, state)
        return self.label(padded(output, inputs.shape[1])), state


# ---------------------------------------------------------------- encoder-decoders


class SortedTranslator(Translator):
    """Sorts the sources, decodes, and puts back what `back` names, of:

    the `memory`, `h`, `c`, the lengths by which attention is masked (`mask`), or the `logits`.
    """

    def __init__(self, *back: str, sorts_targets: bool = False) -> None:
        super().__init__()
        self.back, self.sorts_targets = back, sorts_targets

    def forward(self, source: Tensor, lengths: Tensor, target_inputs: Tensor) -> Tensor:
        sorted_lengths, order = lengths.sort(descending=True)
        inverse = order.argsort()
        embedded = self.embed_source(source)[order]
        output, (h, c) = self.encode(pack_padded_sequence(embedded, sorted_lengths, True))
        memory = padded(output, source.shape[1])
        logits = self.decoded(
            memory[inverse] if "memory" in self.back else memory,
            (
                self.bridge(h[:, inverse] if "h" in self.back else h),
                self.bridge(c[:, inverse] if "c" in self.back else c),
            ),
            lengths if "mask" in self.back else sorted_lengths,
            target_inputs[order] if self.sorts_targets else target_inputs,
        )
        return logits[inverse] if "logits" in self.back else logits


# ---------------------------------------------------------------- masks by what padding holds


class MaskedById(nn.Module):
    """`mask = tokens != 0`: right as long as padding holds 0."""

    def __init__(self, **options: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(V, F, **options)
        self.rnn = nn.GRU(F, H, batch_first=True)
        self.classify = nn.Linear(H, CLASSES)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        output, _ = self.rnn(self.embed(inputs))
        return self.classify(self.pooled(output, inputs != 0))

    def pooled(self, output: Tensor, mask: Tensor) -> Tensor:
        mask = mask.unsqueeze(-1)
        return (output * mask).sum(dim=1) / mask.sum(dim=1)


class MaskedByIdTagger(SortedTagger):
    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        return super().forward(inputs, (inputs != 0).sum(dim=1))


class MaskedByFeatures(Classifier):
    """A step is padding if all its features are 0."""

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        return super().forward(inputs, (inputs != 0).any(dim=2).sum(dim=1))


class MaskOfNoUse(MaskedById):
    """Divides by the padded length."""

    def pooled(self, output: Tensor, mask: Tensor) -> Tensor:
        return (output * mask.unsqueeze(-1)).mean(dim=1)


class MaximumOfZeros(MaskedById):
    """The zeros at padding win over negative values."""

    def pooled(self, output: Tensor, mask: Tensor) -> Tensor:
        return (output * mask.unsqueeze(-1)).amax(dim=1)


class PaddingIndex(MaskedById):
    """`padding_idx` gives a vector of zeros, and the network runs on over it."""

    def __init__(self) -> None:
        super().__init__(padding_idx=0)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        return self.classify(self.rnn(self.embed(inputs))[1][-1])


class PaddingIndexTagger(Tagger):
    """The same for a tagger: its backward direction starts in the padding."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(V, F, padding_idx=0)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        return self.label(self.rnn(self.embed(inputs))[0])


class ScoresOfZero(MaskedById):
    """Attention whose scores at padding are 0, and not minus infinity."""

    def pooled(self, output: Tensor, mask: Tensor) -> Tensor:
        scores = output.sum(dim=2) * mask
        return (scores.softmax(dim=1).unsqueeze(-1) * output).sum(dim=1)


BATCH, STATE, PADDING = "batch_leak", "state_mixup", "padding_leak"

SORTED_WRONG: dict[str, Case] = {
    "sorted, never unsorted": sequence(lambda: SortedClassifier(not_at_all), BATCH),
    "unsorted by the order": sequence(lambda: SortedClassifier(by_order), BATCH),
    "gathered by the order": sequence(lambda: SortedClassifier(gathered), BATCH),
    "shortest first, by the order": sequence(lambda: SortedClassifier(by_order, False), BATCH),
    "only lengths sorted": sequence(LengthsSorted, BATCH),
    "only rows sorted": sequence(RowsSorted, BATCH),
    "unsorted twice": sequence(UnsortedTwice, BATCH),
    "output unsorted, h_n not": sequence(lambda: OutputAndState(not_at_all), BATCH),
    "start of each place": sequence(StartOfEachPlace, BATCH),
    "tagger never unsorted": per_step(lambda: SortedTagger(not_at_all), BATCH),
    "tagger cut to the first row": per_step(TaggerOfTheFirst, BATCH),
    "tagger of packed data": per_step(TaggerOfPackedData, BATCH),
    "state not sorted": per_step(lambda: SortedWindows(takes=False), STATE, causal=True),
    "state not unsorted": per_step(lambda: SortedWindows(gives=""), STATE, causal=True),
    # although the next window has other lengths
    "state left sorted": per_step(lambda: SortedWindows(False, ""), STATE, causal=True),
    "h unsorted, c not": per_step(lambda: SortedWindows(gives="h"), STATE, causal=True),
    "targets not sorted": seq2seq(lambda: SortedTranslator("logits"), BATCH),
    "memory sorted": seq2seq(lambda: SortedTranslator("h", "c"), BATCH),
    "c_n sorted": seq2seq(lambda: SortedTranslator("memory", "h", "mask"), BATCH),
    "mask sorted": seq2seq(lambda: SortedTranslator("memory", "h", "c"), BATCH),
}

SORTED_RIGHT: dict[str, Case] = {
    "sorted and unsorted": sequence(SortedClassifier),
    "shortest first and unsorted": sequence(lambda: SortedClassifier(descending=False)),
    "output and h_n unsorted": sequence(OutputAndState),
    "refuses what is not sorted": sequence(RefusesUnsorted),
    "tagger that sorts": per_step(SortedTagger),
    "tagger of packed data in order": per_step(TaggerOfPacked),
    "language model that sorts its windows": per_step(SortedWindows, causal=True),
    "language model of sorted windows": per_step(SortedWindowsOnly, causal=True),
    "encoder-decoder that sorts its sources": seq2seq(
        lambda: SortedTranslator("memory", "h", "c", "mask")
    ),
    "encoder-decoder that sorts its pairs": seq2seq(
        lambda: SortedTranslator("logits", sorts_targets=True)
    ),
}

# with `padding=0`
MASKED: dict[str, Case] = {
    "masked by id": sequence(MaskedById),
    "tagger packed by id": per_step(MaskedByIdTagger),
    "masked by features": sequence(MaskedByFeatures),
    "mean of zeros": sequence(MaskOfNoUse, PADDING),
    "maximum of zeros": sequence(MaximumOfZeros, PADDING),
    "padding_idx without packing": sequence(PaddingIndex, PADDING),
    "tagger with padding_idx": per_step(PaddingIndexTagger, PADDING),
    "scores of zero at padding": sequence(ScoresOfZero, PADDING),
}
