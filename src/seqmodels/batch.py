"""Padded batches of sequences: the one type that every module passes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, field, fields
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor

from seqmodels.device import keep_on_device, on_device
from seqmodels.padding import Lengths, valid_steps

Per = Literal["sequence", "step"]
"""What there is one target for."""

# Two tokens of every vocabulary.
PADDING_ID = 0
UNKNOWN_ID = 1
# The target that torch.nn.functional.cross_entropy ignores.
PADDING_TARGET = -100
# A class that training never saw; of tags, -2 is inside a span and -3 begins one.
UNSEEN_TARGET = -1
UNSEEN_NAME = "(never seen in training)"


def with_unseen_as(number: int, targets: Tensor) -> Tensor:
    """Classes with this number for all that training never saw."""
    return targets.masked_fill((targets < 0) & (targets != PADDING_TARGET), number)


class ShowsShapes:
    """A dataclass that shows the shapes of its tensors, not their values."""

    def __repr__(self) -> str:
        arguments = []
        for field_of_class in fields(self):  # type: ignore[arg-type]
            name = field_of_class.name
            value = getattr(self, name)
            # A tensor isn't compared by `==`, because that compares each of its values.
            is_empty_tuple = isinstance(value, tuple) and not value
            is_default = value is None or value is False or is_empty_tuple
            if not is_default:
                arguments.append(f"{name}={shape_of(value)}")
        return f"{type(self).__name__}({', '.join(arguments)})"


def shape_of(value: Any) -> str:
    """`(3, 5) int64` of a tensor; other values as they are."""
    if isinstance(value, Mapping):
        return str({name: shape_of(element) for name, element in value.items()})
    if not isinstance(value, Tensor):
        return repr(value)
    device = "" if value.device.type == "cpu" else f" on {value.device}"
    return f"{tuple(value.shape)} {value.dtype}{device}".replace("torch.", "")


if TYPE_CHECKING:
    LengthsTensor = Tensor
else:
    LengthsTensor = Lengths  # a list becomes a tensor


class Words(NamedTuple):
    """The different words among those of a batch, so that an equal one is read once.

    Args:
        characters: `(N, K)` int64, the ids of a word's characters, padded with 0.
        lengths: `(N,)` int64 on the CPU, how many characters a word has; 1 for none.
        places: `(B, T)` int64, which of these words stands at a step.
    """

    characters: Tensor
    lengths: Tensor
    places: Tensor

    @classmethod
    def of(cls, characters: Tensor) -> Words:
        """Returns the different words of a batch from the characters of all its words,
        `(B, T, K)`. On an accelerator, the host waits for it."""
        all_words = characters.flatten(0, 1)
        different_words, places = torch.unique(all_words, dim=0, return_inverse=True)
        lengths = (different_words != PADDING_ID).sum(dim=1).clamp(min=1).cpu()
        return cls(different_words, lengths, places.view(characters.shape[:2]))

    def to(self, device: torch.device) -> Words:
        """Returns the same with all but `lengths` on the device."""
        characters = on_device(self.characters, device)
        places = on_device(self.places, device)
        return Words(characters, self.lengths, places)


@dataclass(frozen=True, eq=False, repr=False)
class SequenceBatch(ShowsShapes):
    """Sequences padded at the end to one length, with their true lengths and targets.

    Args:
        inputs: tokens `(B, T)` int64; words with their characters `(B, T, 1 + K)` int64: each
            word's id, then the ids of its characters, padded with 0; or features `(B, T, F)`
            floating point.
        lengths: `(B,)` int64 on the CPU, or a list, each in `1..T`. They stay on the CPU when the
            batch moves to a device: packing needs them there, and copying them back would stall
            every step.
        targets: classes int64, `(B,)` for one per sequence or `(B, T)` for one per step, with -100
            where there is none (always at padding), and in evaluation `UNSEEN_TARGET` or less where
            training never saw it; or values floating point, `(B,)` or `(B, K)`
            per sequence or `(B, T, K)` per step, with nan where there is none (always at padding);
            or None for inputs without targets.
        continues: whether each row continues the same row of the previous batch, as the windows of
            a stream do; if so, start from that batch's final state.
        scale: `(B, 3, K)` float64, the mean, the deviation and the naive error of the K values in
            the series that each row is a window of; None where rows are not windows of series.
        rows: `(B,)` int64 on the CPU, the number of each row in its split, from 0; None where
            nobody has counted them.
        weights: `(B,)` float32, how much each row counts in the loss; None: all of them equally.

    Raises:
        ValueError: if the arguments don't fit together. Checked once, here; everyone else trusts
            it.
    """

    inputs: Tensor
    lengths: LengthsTensor
    targets: Tensor | None = None
    continues: bool = False
    scale: Tensor | None = None
    rows: Tensor | None = None
    weights: Tensor | None = None
    # Where the inputs are words with characters and the batch is on a device.
    words: Words | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "lengths", torch.as_tensor(self.lengths))
        if not torch.compiler.is_exporting():  # There, shapes are known, but no values.
            self._check()

    def _check(self) -> None:
        self._check_inputs()
        rows = len(self.inputs)
        for name in ("lengths", "rows"):
            numbers = getattr(self, name)
            if numbers is not None and (numbers.shape != (rows,) or numbers.dtype != torch.int64):
                raise ValueError(f"{name} must be ({rows},) int64, got {shape_of(numbers)}")
        if self.weights is not None and self.weights.shape != (rows,):
            raise ValueError(f"weights must be ({rows},), got {shape_of(self.weights)}")
        if self.scale is not None and self.scale.shape[:2] != (rows, 3):
            raise ValueError(f"scale must be ({rows}, 3, K), got {shape_of(self.scale)}")
        shortest = self._check_lengths()
        if self.targets is not None:
            self._check_targets(self.targets, shortest)

    def _check_inputs(self) -> None:
        inputs = self.inputs
        are_tokens = inputs.dtype == torch.int64 and inputs.dim() in (2, 3)
        are_features = inputs.is_floating_point() and inputs.dim() == 3
        if not (are_tokens or are_features):
            raise ValueError(
                "inputs must be tokens (B, T) or words with characters (B, T, 1 + K) int64, or "
                f"features (B, T, F) floating point, got {shape_of(inputs)}"
            )

    def _check_lengths(self) -> int:
        """Checks that each is in `1..T`, and returns the shortest."""
        lengths = self.lengths
        time = self.inputs.shape[1]
        if lengths.device.type != "cpu":
            raise ValueError(f"lengths must be on the CPU, got {lengths.device}")
        if not len(lengths):
            return 1
        shortest, longest = map(int, torch.aminmax(lengths))
        if shortest < 1:
            row = int(torch.argmin(lengths))
            raise ValueError(f"lengths[{row}] is {shortest}: a sequence needs at least 1 step")
        if longest > time:
            row = int(torch.argmax(lengths))
            raise ValueError(f"lengths[{row}] is {longest}, but inputs have only {time} steps")
        return shortest

    def _check_targets(self, targets: Tensor, shortest: int) -> None:
        batch, time = self.inputs.shape[:2]
        are_classes = targets.dtype == torch.int64 and targets.shape in ((batch,), (batch, time))
        have_value_steps = targets.dim() == 3 and targets.shape[:2] == (batch, time)
        have_rows = targets.dim() in (1, 2) and len(targets) == batch
        are_values = targets.is_floating_point() and (have_value_steps or have_rows)
        if not (are_classes or are_values):
            raise ValueError(
                f"targets must be ({batch},) or ({batch}, {time}) int64, or ({batch},), "
                f"({batch}, K) or ({batch}, {time}, K) floating point, got {shape_of(targets)}"
            )
        have_steps = have_value_steps or (are_classes and targets.dim() == 2)
        if have_steps and shortest < time:
            self._check_padding(targets)

    def _check_padding(self, targets: Tensor) -> None:
        """Checks that targets of every step hold none after the end of their row."""
        if targets.is_floating_point():
            is_target = ~targets.isnan().all(dim=2)
            no_target = "nan"
        else:
            is_target = targets != PADDING_TARGET
            no_target = str(PADDING_TARGET)
        padding = ~valid_steps(self.lengths, targets.shape[1], targets.device)
        wrong_places = (padding & is_target).nonzero()
        if len(wrong_places):
            row, step = wrong_places[0].tolist()
            raise ValueError(
                f"targets[{row}, {step}] is {targets[row, step].tolist()}, but row {row} has "
                f"only {int(self.lengths[row])} steps: targets at padding must be {no_target}"
            )

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def mask(self) -> Tensor:
        """True at valid steps: `(B, T)` bool, on the device of `inputs`."""
        return valid_steps(self.lengths, self.inputs.shape[1], self.inputs.device)

    def to(self, device: torch.device | str) -> SequenceBatch:
        """Returns the same batch with inputs, targets, scale and weights on `device`, copied
        without a wait. `lengths` stay on the CPU, with a copy on the device for all that computes
        with them there."""
        device = torch.device(device)
        if self.inputs.device == device:
            return self
        names = ("inputs", "targets", "scale", "weights")
        batch = self.map(partial(on_device, device=device), *names)
        has_characters = self.inputs.dtype == torch.int64 and self.inputs.dim() == 3
        if has_characters:  # Here they are on the CPU still, so nothing waits.
            words = Words.of(self.inputs[..., 1:])
            object.__setattr__(batch, "words", words.to(device))
        batch.keep_steps()
        return batch

    def keep_steps(self) -> None:
        """Makes everyone share one copy of the lengths on the device of `inputs`."""
        if self.inputs.device.type != "cpu":
            keep_on_device(self.lengths, self.inputs.device)

    def pin_memory(self) -> SequenceBatch:
        """Returns the same batch in page-locked memory, from which copies to a GPU don't wait."""
        names = ("inputs", "lengths", "targets", "scale", "weights")
        return self.map(Tensor.pin_memory, *names)

    def map(self, change: Callable[[Tensor], Tensor], *names: str) -> SequenceBatch:
        """Returns the same batch with `change`, such as of the precision, applied to inputs and
        targets, or to what has these names."""
        # A copy isn't checked, because a check of values on a device would wait for it.
        batch = copy(self)
        for name in names or ("inputs", "targets"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(batch, name, change(value))
        return batch


@dataclass(frozen=True, eq=False, repr=False)
class PairBatch(SequenceBatch):
    """Source sequences with the target sequences to write for them, row by row. To code that takes
    any batch, it is its source, with the targets of its `target`. `PairBatch.of` makes one.

    Args:
        target: what the decoder reads and is to predict: B sequences, padded to the longest of
            these. Its `inputs` `(B, S)` are `[start, y1, ..., yn]` and its `targets` `(B, S)` are
            `[y1, ..., yn, end]`, so its `lengths` are `n + 1`.
        references: to evaluate with: all texts that are right for each row; None in training.

    Raises:
        ValueError: if they do not have the same number of rows.
    """

    target: SequenceBatch = None  # type: ignore[assignment]  # after what a source may have
    references: list[tuple[str, ...]] | None = None

    @classmethod
    def of(
        cls,
        source: SequenceBatch,
        target: SequenceBatch,
        references: list[tuple[str, ...]] | None = None,
    ) -> PairBatch:
        """Makes a pair of two batches. Of the source, it takes inputs, lengths and row numbers."""
        return cls(
            source.inputs, source.lengths, rows=source.rows, target=target, references=references
        )

    def _check(self) -> None:
        super()._check()
        for name in ("target", "references"):
            rows = getattr(self, name)
            if rows is not None and len(rows) != len(self):
                raise ValueError(f"{name} must have {len(self)} rows, as inputs, got {len(rows)}")
        object.__setattr__(self, "targets", self.target.targets)

    def keep_steps(self) -> None:
        super().keep_steps()
        self.target.keep_steps()

    def map(self, change: Callable[[Tensor], Tensor], *names: str) -> PairBatch:
        batch = super().map(change, *names)
        target = self.target.map(change, *names)
        object.__setattr__(batch, "target", target)
        object.__setattr__(batch, "targets", target.targets)
        return batch  # type: ignore[return-value]
