"""Hand-written models that sort the rows of a batch by length, or mask by what padding holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from tests.audit.bank import CLASSES, F, H, LastHidden, Translator, V


def padded(packed: PackedSequence, time: int | None = None) -> Tensor:
    return pad_packed_sequence(packed, batch_first=True, total_length=time)[0]


# ---------------------------------------------------------------- classifiers


class SortedClassifier(LastHidden):
    """Sorts, packs, and puts `h_n[-1]` back by the inverse of the order."""

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        sorted_lengths, order = lengths.sort(descending=True)
        packed = pack_padded_sequence(inputs[order], sorted_lengths, batch_first=True)
        _, (h_n, _) = self.rnn(packed)
        return self.classify(self.unsorted(h_n[-1], order))

    def unsorted(self, rows: Tensor, order: Tensor) -> Tensor:
        return rows[order.argsort()]


class NeverUnsorted(SortedClassifier):
    def unsorted(self, rows: Tensor, order: Tensor) -> Tensor:
        return rows


class UnsortedByOrder(SortedClassifier):
    """The order where its inverse belongs."""

    def unsorted(self, rows: Tensor, order: Tensor) -> Tensor:
        return rows[order]


class UnsortedInPlaces(SortedClassifier):
    """Written to the places that the rows came from."""

    def unsorted(self, rows: Tensor, order: Tensor) -> Tensor:
        return torch.zeros_like(rows).index_copy(0, order, rows)


class GatheredFromPlaces(SortedClassifier):
    """`gather` by the order where `scatter` belongs."""

    def unsorted(self, rows: Tensor, order: Tensor) -> Tensor:
        return rows.gather(0, order.unsqueeze(1).expand_as(rows))


class OrderOfNumpy(LastHidden):
    """Sorted by NumPy, with an inverse that counts ties in another order."""

    def inverse(self, lengths: Tensor, order: Any) -> Any:
        return np.argsort(np.argsort(lengths.numpy())[::-1], kind="stable")

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        order = np.argsort(-lengths.numpy(), kind="stable")
        packed = pack_padded_sequence(inputs[order], lengths[order], batch_first=True)
        return self.classify(self.rnn(packed)[1][0][-1][self.inverse(lengths, order)])


class InverseOfNumpy(OrderOfNumpy):
    def inverse(self, lengths: Tensor, order: Any) -> Any:
        return np.argsort(order)


class OrderOfPython(LastHidden):
    """Python's `sorted`, and a list of places."""

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        order = sorted(range(len(inputs)), key=lambda row: -int(lengths[row]))
        packed = pack_padded_sequence(inputs[order], lengths[order], batch_first=True)
        h = self.rnn(packed)[1][0][-1]
        return self.classify(torch.stack([h[order.index(row)] for row in range(len(inputs))]))


class ShortestFirst(LastHidden):
    """Sorted the other way round, which `enforce_sorted=False` takes; put back by the order."""

    def unsorted(self, rows: Tensor, order: Tensor) -> Tensor:
        return rows[order]

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        lengths, order = lengths.sort()
        packed = pack_padded_sequence(inputs[order], lengths, True, enforce_sorted=False)
        return self.classify(self.unsorted(self.rnn(packed)[1][0][-1], order))


class ShortestFirstAndBack(ShortestFirst):
    def unsorted(self, rows: Tensor, order: Tensor) -> Tensor:
        return rows[order.argsort()]


class Flipped(LastHidden):
    """An ascending order, flipped; its inverse is taken before it is flipped."""

    def inverse(self, ascending: Tensor) -> Tensor:
        return ascending.argsort()

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        ascending = lengths.argsort(stable=True)
        order = ascending.flip(0)
        packed = pack_padded_sequence(inputs[order], lengths[order], batch_first=True)
        return self.classify(self.rnn(packed)[1][0][-1][self.inverse(ascending)])


class FlippedAndBack(Flipped):
    def inverse(self, ascending: Tensor) -> Tensor:
        return ascending.flip(0).argsort()


class LengthsSorted(LastHidden):
    """The lengths are sorted, and the rows are not."""

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        lengths, _ = lengths.sort(descending=True)
        return self.classify(
            self.rnn(pack_padded_sequence(inputs, lengths, batch_first=True))[1][0][-1]
        )


class RowsSorted(LastHidden):
    """The rows are sorted, and the lengths are not."""

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        order = lengths.argsort(descending=True)
        packed = pack_padded_sequence(inputs[order], lengths, True, enforce_sorted=False)
        return self.classify(self.rnn(packed)[1][0][-1][order.argsort()])


class UnsortedTwice(LastHidden):
    """`enforce_sorted=False` already puts `h_n` back."""

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
        return self.classify(self.rnn(packed)[1][0][-1][packed.unsorted_indices])


class GatheredAtSorted(LastHidden):
    """`output` is put back, and gathered at lengths that are still sorted."""

    def last(self, lengths: Tensor, sorted_lengths: Tensor) -> Tensor:
        return sorted_lengths - 1

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        sorted_lengths, order = lengths.sort(descending=True)
        packed = pack_padded_sequence(inputs[order], sorted_lengths, batch_first=True)
        output = padded(self.rnn(packed)[0])[order.argsort()]
        return self.classify(output[torch.arange(len(output)), self.last(lengths, sorted_lengths)])


class GatheredAtOwn(GatheredAtSorted):
    def last(self, lengths: Tensor, sorted_lengths: Tensor) -> Tensor:
        return lengths - 1


class OutputWithoutState(LastHidden):
    """The mean of `output` is put back, and `h_n` beside it is not."""

    width = 2 * H

    def state(self, h_n: Tensor, inverse: Tensor) -> Tensor:
        return h_n[-1]

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        sorted_lengths, order = lengths.sort(descending=True)
        inverse = order.argsort()
        packed = pack_padded_sequence(inputs[order], sorted_lengths, batch_first=True)
        output, (h_n, _) = self.rnn(packed)
        mean = padded(output)[inverse].sum(dim=1) / lengths.unsqueeze(1)
        return self.classify(torch.cat([mean, self.state(h_n, inverse)], dim=1))


class OutputAndState(OutputWithoutState):
    def state(self, h_n: Tensor, inverse: Tensor) -> Tensor:
        return h_n[-1, inverse]


class RefusesUnsorted(LastHidden):
    """Says by itself that it takes only sorted rows, and packs by `enforce_sorted=False`."""

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        if not torch.equal(lengths, lengths.sort(descending=True)[0]):
            raise ValueError("sort the rows by length")
        return super().forward(inputs, lengths)


# ---------------------------------------------------------------- a label at every step


class SortedTagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(V, F)
        self.rnn = nn.LSTM(F, H, batch_first=True, bidirectional=True)
        self.label = nn.Linear(2 * H, CLASSES)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        sorted_lengths, order = lengths.sort(descending=True)
        packed = pack_padded_sequence(self.embed(inputs)[order], sorted_lengths, batch_first=True)
        output = padded(self.rnn(packed)[0], inputs.shape[1])
        return self.label(self.unsorted(output, order))

    def unsorted(self, rows: Tensor, order: Tensor) -> Tensor:
        return rows[order.argsort()]


class TaggerNeverUnsorted(SortedTagger):
    def unsorted(self, rows: Tensor, order: Tensor) -> Tensor:
        return rows


class TaggerOfTheFirst(SortedTagger):
    """Cuts the batch to the length of its first row."""

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        return super().forward(inputs, lengths)[:, : lengths[0]]


class TaggerOfPackedData(SortedTagger):
    """Embeds `packed.data`, and packs it again without the order of the rows."""

    def packed(self, packed: PackedSequence) -> PackedSequence:
        return PackedSequence(self.embed(packed.data), packed.batch_sizes)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
        return self.label(padded(self.rnn(self.packed(packed))[0]))


class TaggerOfPacked(TaggerOfPackedData):
    def packed(self, packed: PackedSequence) -> PackedSequence:
        return packed._replace(data=self.embed(packed.data))


# ---------------------------------------------------------------- a state from window to window


class SortedWindows(nn.Module):
    """A language model that sorts each window, and its state with it."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(V, F)
        self.rnn = nn.LSTM(F, H, batch_first=True)
        self.predict = nn.Linear(H, V)

    def forward(self, inputs: Tensor, lengths: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        sorted_lengths, order = lengths.sort(descending=True, stable=True)
        inverse = order.argsort()
        packed = pack_padded_sequence(self.embed(inputs)[order], sorted_lengths, batch_first=True)
        output, state = self.rnn(packed, None if state is None else self.taken(*state, order))
        return self.predict(padded(output, inputs.shape[1])[inverse]), self.given(*state, inverse)

    def taken(self, h: Tensor, c: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
        return h[:, order], c[:, order]

    def given(self, h: Tensor, c: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
        return h[:, inverse], c[:, inverse]


class StateNotTaken(SortedWindows):
    """Sorted rows start from a state that is not sorted."""

    def taken(self, h: Tensor, c: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
        return h, c


class StateNotGiven(SortedWindows):
    """The logits are put back, and the state is not."""

    def given(self, h: Tensor, c: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
        return h, c


class StateOfPlaces(StateNotTaken):
    """The state stays sorted, although the next window has other lengths."""

    def given(self, h: Tensor, c: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
        return h, c


class HiddenWithoutCell(SortedWindows):
    """`h` is put back, and `c` is not."""

    def given(self, h: Tensor, c: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
        return h[:, inverse], c


class SortedWindowsOnly(SortedWindows):
    """Takes only windows that are sorted."""

    def forward(self, inputs: Tensor, lengths: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        packed = pack_padded_sequence(self.embed(inputs), lengths, batch_first=True)
        output, state = self.rnn(packed, state)
        return self.predict(padded(output, inputs.shape[1])), state


# ---------------------------------------------------------------- encoder-decoders


class SortedTranslator(Translator):
    """Sorts the sources, and puts memory and states back before it decodes."""

    def forward(self, source: Tensor, lengths: Tensor, target_inputs: Tensor) -> Tensor:
        sorted_lengths, order = lengths.sort(descending=True)
        packed = pack_padded_sequence(
            self.embed_source(source)[order], sorted_lengths, batch_first=True
        )
        output, (h_n, c_n) = self.encode(packed)
        memory = padded(output, source.shape[1])
        return self.logits(memory, h_n, c_n, sorted_lengths, lengths, order, target_inputs)

    def logits(
        self,
        memory: Tensor,
        h_n: Tensor,
        c_n: Tensor,
        sorted_lengths: Tensor,
        lengths: Tensor,
        order: Tensor,
        target_inputs: Tensor,
    ) -> Tensor:
        back = order.argsort()
        return self.decoded(memory[back], h_n[:, back], c_n[:, back], lengths, target_inputs)

    def decoded(
        self, memory: Tensor, h_n: Tensor, c_n: Tensor, lengths: Tensor, targets: Tensor
    ) -> Tensor:
        start = self.bridge(h_n), self.bridge(c_n)
        decoded, _ = self.decode(self.embed_target(targets), start)
        context = self.weights(decoded, memory, lengths) @ memory
        return self.predict(torch.cat([context, decoded], dim=-1))


class DecodedSorted(SortedTranslator):
    """Sorts the targets as well, and puts the logits back."""

    def logits(self, memory, h_n, c_n, sorted_lengths, lengths, order, target_inputs):  # type: ignore[no-untyped-def]
        logits = self.decoded(memory, h_n, c_n, sorted_lengths, target_inputs[order])
        return logits[order.argsort()]


class TargetsNotSorted(SortedTranslator):
    """Decodes sorted sources with targets in their own order, and puts the logits back."""

    def logits(self, memory, h_n, c_n, sorted_lengths, lengths, order, target_inputs):  # type: ignore[no-untyped-def]
        logits = self.decoded(memory, h_n, c_n, sorted_lengths, target_inputs)
        return logits[order.argsort()]


class SourcesSorted(SortedTranslator):
    """The targets of one row are written for the source of another."""

    def logits(self, memory, h_n, c_n, sorted_lengths, lengths, order, target_inputs):  # type: ignore[no-untyped-def]
        return self.decoded(memory, h_n, c_n, sorted_lengths, target_inputs)


class MemorySorted(SortedTranslator):
    """The states are put back, and the memory is not."""

    def logits(self, memory, h_n, c_n, sorted_lengths, lengths, order, target_inputs):  # type: ignore[no-untyped-def]
        back = order.argsort()
        return self.decoded(memory, h_n[:, back], c_n[:, back], sorted_lengths, target_inputs)


class StatesSorted(SortedTranslator):
    """The memory is put back, and the states are not."""

    def logits(self, memory, h_n, c_n, sorted_lengths, lengths, order, target_inputs):  # type: ignore[no-untyped-def]
        return self.decoded(memory[order.argsort()], h_n, c_n, lengths, target_inputs)


class CellSorted(SortedTranslator):
    """`h_n` and the memory are put back, and `c_n` is not."""

    def logits(self, memory, h_n, c_n, sorted_lengths, lengths, order, target_inputs):  # type: ignore[no-untyped-def]
        back = order.argsort()
        return self.decoded(memory[back], h_n[:, back], c_n, lengths, target_inputs)


class MaskSorted(SortedTranslator):
    """Attends under the mask of another row."""

    def logits(self, memory, h_n, c_n, sorted_lengths, lengths, order, target_inputs):  # type: ignore[no-untyped-def]
        back = order.argsort()
        return self.decoded(memory[back], h_n[:, back], c_n[:, back], sorted_lengths, target_inputs)


# ---------------------------------------------------------------- masks by what padding holds


class MaskedById(nn.Module):
    """`mask = tokens != 0`: right as long as padding holds 0."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(V, F)
        self.rnn = nn.GRU(F, H, batch_first=True)
        self.classify = nn.Linear(H, CLASSES)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        mask = inputs != 0
        output, _ = self.rnn(self.embed(inputs))
        return self.classify(self.pooled(output, mask))

    def pooled(self, output: Tensor, mask: Tensor) -> Tensor:
        mask = mask.unsqueeze(-1)
        return (output * mask).sum(dim=1) / mask.sum(dim=1)


class PackedById(MaskedById):
    """Lengths by counting the tokens that are not 0."""

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        counted = (inputs != 0).sum(dim=1)
        packed = pack_padded_sequence(
            self.embed(inputs), counted, batch_first=True, enforce_sorted=False
        )
        return self.classify(self.rnn(packed)[1][-1])


class MaskedByIdTagger(SortedTagger):
    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        return super().forward(inputs, (inputs != 0).sum(dim=1))


class MaskedByFeatures(LastHidden):
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
        super().__init__()
        self.embed = nn.Embedding(V, F, padding_idx=0)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        return self.classify(self.rnn(self.embed(inputs))[1][-1])


class PaddingIndexTagger(SortedTagger):
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


Models = dict[str, tuple[Callable[[], nn.Module], str, bool, list[str]]]

# name: (model, kind, causal, what the audit must find), as in tests/audit/bank.py
SORTED_WRONG: Models = {
    "sorted, never unsorted": (NeverUnsorted, "sequence", False, ["batch_leak"]),
    "unsorted by the order": (UnsortedByOrder, "sequence", False, ["batch_leak"]),
    "gathered by the order": (GatheredFromPlaces, "sequence", False, ["batch_leak"]),
    "inverse of another order of ties": (OrderOfNumpy, "sequence", False, ["batch_leak"]),
    "shortest first, by the order": (ShortestFirst, "sequence", False, ["batch_leak"]),
    "inverse before the flip": (Flipped, "sequence", False, ["batch_leak"]),
    "only lengths sorted": (LengthsSorted, "sequence", False, ["batch_leak"]),
    "only rows sorted": (RowsSorted, "sequence", False, ["batch_leak"]),
    "unsorted twice": (UnsortedTwice, "sequence", False, ["batch_leak"]),
    "gathered at sorted lengths": (GatheredAtSorted, "sequence", False, ["batch_leak"]),
    "output unsorted, h_n not": (OutputWithoutState, "sequence", False, ["batch_leak"]),
    "tagger never unsorted": (TaggerNeverUnsorted, "per_step", False, ["batch_leak"]),
    "tagger cut to the first row": (TaggerOfTheFirst, "per_step", False, ["batch_leak"]),
    "tagger of packed data": (TaggerOfPackedData, "per_step", False, ["batch_leak"]),
    "state not sorted": (StateNotTaken, "per_step", True, ["state_mixup"]),
    "state not unsorted": (StateNotGiven, "per_step", True, ["state_mixup"]),
    "state left sorted": (StateOfPlaces, "per_step", True, ["state_mixup"]),
    "h unsorted, c not": (HiddenWithoutCell, "per_step", True, ["state_mixup"]),
    "targets not sorted": (TargetsNotSorted, "seq2seq", False, ["batch_leak"]),
    "sources sorted": (SourcesSorted, "seq2seq", False, ["batch_leak"]),
    "memory sorted": (MemorySorted, "seq2seq", False, ["batch_leak"]),
    "states sorted": (StatesSorted, "seq2seq", False, ["batch_leak"]),
    "c_n sorted": (CellSorted, "seq2seq", False, ["batch_leak"]),
    "mask sorted": (MaskSorted, "seq2seq", False, ["batch_leak"]),
}

# name: (model, kind, causal)
SORTED_RIGHT: dict[str, tuple[Callable[[], nn.Module], str, bool]] = {
    "sorted and unsorted": (SortedClassifier, "sequence", False),
    "sorted and written back": (UnsortedInPlaces, "sequence", False),
    "sorted by NumPy": (InverseOfNumpy, "sequence", False),
    "sorted by Python": (OrderOfPython, "sequence", False),
    "shortest first and unsorted": (ShortestFirstAndBack, "sequence", False),
    "flipped and unsorted": (FlippedAndBack, "sequence", False),
    "gathered at own lengths": (GatheredAtOwn, "sequence", False),
    "output and h_n unsorted": (OutputAndState, "sequence", False),
    "refuses what is not sorted": (RefusesUnsorted, "sequence", False),
    "tagger that sorts": (SortedTagger, "per_step", False),
    "tagger of packed data in order": (TaggerOfPacked, "per_step", False),
    "language model that sorts its windows": (SortedWindows, "per_step", True),
    "language model of sorted windows": (SortedWindowsOnly, "per_step", True),
    "encoder-decoder that sorts its sources": (SortedTranslator, "seq2seq", False),
    "encoder-decoder that sorts its pairs": (DecodedSorted, "seq2seq", False),
}

# with `padding=0`: name: (model, kind, causal, what the audit must find)
MASKED: Models = {
    "masked by id": (MaskedById, "sequence", False, []),
    "packed by id": (PackedById, "sequence", False, []),
    "tagger packed by id": (MaskedByIdTagger, "per_step", False, []),
    "masked by features": (MaskedByFeatures, "sequence", False, []),
    "mean of zeros": (MaskOfNoUse, "sequence", False, ["padding_leak"]),
    "maximum of zeros": (MaximumOfZeros, "sequence", False, ["padding_leak"]),
    "padding_idx without packing": (PaddingIndex, "sequence", False, ["padding_leak"]),
    "tagger with padding_idx": (PaddingIndexTagger, "per_step", False, ["padding_leak"]),
    "scores of zero at padding": (ScoresOfZero, "sequence", False, ["padding_leak"]),
}
