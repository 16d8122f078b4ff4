"""Encode raw targets as tensors: one class, one tag a step, or some values for each
example or step."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import chain, islice, pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from seqmodels.batch import PADDING_TARGET, UNSEEN_TARGET, Per
from seqmodels.data.columns import as_number, no_number
from seqmodels.data.examples import Examples, share
from seqmodels.data.series_inputs import mean_and_deviation
from seqmodels.errors import UserError, choices, setting, shown
from seqmodels.target import has_target

# More different numbers than these are more likely values than classes.
MOST_CLASSES_OF_NUMBERS = 20
OUTSIDE = "O"
SPAN_TAG = re.compile(r"(?P<place>[BIESLU])-(?P<type>.+)", re.DOTALL)
# The places of BILOU, as BIOES calls them.
PLACES = {"L": "E", "U": "S"}


class TargetEncoder(ABC):
    """Encodes raw targets. `per` and `target` say which tasks can learn from them."""

    per: Per
    target: ClassVar[str]
    # Errors call a target by this word.
    word = "target"
    # The names of the classes, tags or values.
    names: Collection[str] = ()
    # A sentence for the user on what `fit` has read.
    note = ""

    def check(self, raw: Sequence[Any], source: str) -> None:  # noqa: B027 (most need none)
        """Raises a `UserError` for a raw target that no encoder of this kind can read. It is called
        before any split is cut off, because errors count rows as their file does."""

    def check_training(self, raw: Sequence[Any], source: str) -> None:  # noqa: B027
        """Raises a `UserError` for raw targets of training of which none could be learned, such as
        classes that are all different numbers. Nothing is cut off these yet."""

    def strata(self, raw: Sequence[Any]) -> Sequence[str] | None:
        """The class of each example, to cut the same share off each; None: cut at random."""
        return None

    @abstractmethod
    def fit(self, raw: Sequence[Any], source: str) -> None:
        """Learns from the training split; raises a `UserError` for what no model could learn."""

    @abstractmethod
    def encode(self, raw: Sequence[Any], source: str) -> Tensor | list[Tensor]:
        """A tensor with a row per example, or a list with a tensor `(T,)` per example. A class that
        training never saw becomes `UNSEEN_TARGET`. Raises a `UserError` if an example cannot be
        encoded."""

    @property
    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """What a task has to know, and what `load` restores, as plain values."""

    @abstractmethod
    def load(self, spec: Mapping[str, Any]) -> None:
        """Restores what `fit` learned from a saved `spec`."""


class NamedTargets(TargetEncoder):
    """Targets from the names that occur in training; `spec["classes"]` has the logits' order, and
    `spec["counts"]` how often each occurs."""

    word = "label"
    # The column of a table that the names stand in.
    column = ""

    def __init__(self) -> None:
        # The number of each name, in order.
        self.names: dict[str, int] = {}
        # How often each name occurs in training, in the same order.
        self.counts: list[int] = []

    @property
    def spec(self) -> dict[str, Any]:
        return {"classes": list(self.names), "counts": self.counts}

    def load(self, spec: Mapping[str, Any]) -> None:
        self.names = {name: number for number, name in enumerate(spec["classes"])}
        self.counts = list(spec["counts"])

    def _learn(self, names: Iterable[str], source: str, advice: str) -> None:
        """Learns the names that occur. Raises a `UserError` for less than two, which ends with the
        advice."""
        counts = Counter(names)
        classes = sorted(counts, key=_numbers_first)
        if not classes:
            raise UserError(f"{source}: every {self.word} is missing; {advice}")
        if len(classes) == 1:
            raise UserError(f"{source}: every {self.word} is '{shown(classes[0])}'; {advice}")
        self.load({"classes": classes, "counts": [counts[name] for name in classes]})
        if len(classes) > MOST_CLASSES_OF_NUMBERS and holds_numbers(classes):
            self.note = (
                f"{source}: the {len(classes):,} {self.word}s are all numbers, and each is a "
                f"class{self._to_predict_numbers()}"
            )

    def check_training(self, raw: Sequence[Any], source: str) -> None:
        names = self._present_names(raw)
        classes = set(names)
        are_many = len(classes) > MOST_CLASSES_OF_NUMBERS and 2 * len(classes) > len(names)
        if are_many and holds_numbers(classes):
            raise UserError(
                f"{source}: {len(classes):,} of {len(names):,} {self.word}s are different numbers, "
                f"too many to be classes{self._to_predict_numbers()}"
            )

    def _present_names(self, raw: Sequence[Any]) -> list[str]:
        """The names of all targets that are there."""
        return [str(name).strip() for name in raw if not missing(name)]

    def _to_predict_numbers(self) -> str:
        """What to set if the names are values, as the end of a message; nothing in a project that
        has deleted regression."""
        if not has_target(Values.target):
            return ""
        settings = "model=regressor"
        if self.per == "step":
            settings += " model.head=every_step"
        if self.column:
            settings += " " + setting("data.value_columns", [self.column])
        return f": to predict a number, set {settings}"


class Classes(NamedTargets):
    """One class per sequence. A raw target is the name of the class, or a number that is its name;
    encoded, `(N,)` int64."""

    per = "sequence"
    target = "class"

    def check(self, raw: Sequence[Any], source: str) -> None:
        for number, label in enumerate(raw, start=1):
            if missing(label):
                raise UserError(f"{source}: example {number} has no label")

    def strata(self, raw: Sequence[Any]) -> Sequence[str]:
        # A number is named as it is written, so that a label 0.1 in float32 is "0.1".
        return [str(label).strip() for label in raw]

    def fit(self, raw: Sequence[Any], source: str) -> None:
        self._learn(self.strata(raw), source, "a classifier needs two classes")

    def encode(self, raw: Sequence[Any], source: str) -> Tensor:
        numbers = [self.names.get(label, UNSEEN_TARGET) for label in self.strata(raw)]
        return torch.tensor(numbers)


class Tags(NamedTargets):
    """One tag per step. A raw target is the list of an example's tags, None or nan where one is not
    known; encoded, `(T,)` int64, -100 there.

    A tag of a span that training never saw is -2 inside the span and -3 where one begins, so that
    it counts as a span that the model has missed.
    """

    per = "step"
    target = "tag"
    word = "tag"

    def fit(self, raw: Sequence[Any], source: str) -> None:
        self._learn(self._present_names(raw), source, "tagging needs at least two tags")

    def _present_names(self, raw: Sequence[Any]) -> list[str]:
        all_tags = chain.from_iterable(raw)
        return [str(tag) for tag in all_tags if not missing(tag)]

    def encode(self, raw: Sequence[Any], source: str) -> list[Tensor]:
        return [torch.tensor(self._numbers(tags), dtype=torch.int64) for tags in raw]

    def _numbers(self, raw: Iterable[Any]) -> list[int]:
        """The number of each tag of an example."""
        tags = ["" if missing(tag) else str(tag) for tag in raw]
        number_by_tag = {**self.names, "": PADDING_TARGET}
        numbers = [number_by_tag.get(tag, UNSEEN_TARGET) for tag in tags]
        if UNSEEN_TARGET not in numbers:
            return numbers
        for step, (previous, tag) in enumerate(pairwise([OUTSIDE, *tags])):
            if numbers[step] != UNSEEN_TARGET:
                continue
            # A tag of an unseen span has a number of its own, by whether it begins the span.
            place, _ = parse(tag)
            if place != OUTSIDE:
                numbers[step] -= 2 if begins(previous, tag) else 1
        return numbers


class Values(TargetEncoder):
    """K numbers with these names per sequence or step, standardised by their mean and deviation in
    the training split, which `spec` has in their own units.

    A raw target is a sequence of K numbers, or a single number if K is 1; for values per step, a
    list of such, one for each. A number may be written as text; None, nan and an empty text are
    missing values. Encoded, they are `(N, K)` float32, or per step `(T, K)`, nan where one is
    missing.
    """

    target = "value"
    mean: np.ndarray
    deviation: np.ndarray

    def __init__(self, names: Sequence[str] = ("value",), per: Per = "sequence") -> None:
        self.names: list[str] = list(names)
        self.per = per

    def check(self, raw: Sequence[Any], source: str) -> None:
        self._tables(raw, source)

    def fit(self, raw: Sequence[Any], source: str) -> None:
        values = np.concatenate(self._tables(raw, source))
        for name, column in zip(self.names, values.T, strict=True):
            if np.isnan(column).all():
                raise UserError(f"{source}: every {name!r} is missing; there is nothing to learn")
        self.mean, self.deviation = mean_and_deviation(values)  # a constant value becomes 0

    def encode(self, raw: Sequence[Any], source: str) -> Tensor | list[Tensor]:
        tables = self._tables(raw, source)
        if all(np.isnan(table).all() for table in tables):
            raise UserError(f"{source}: every value is missing; there is nothing to compare with")
        encoded = []
        for table in tables:
            standardised = (table - self.mean) / self.deviation
            encoded.append(torch.from_numpy(standardised.astype(np.float32)))
        return encoded if self.per == "step" else encoded[0]

    def as_read(self, raw: Any) -> dict[str, Any]:
        """The values of a raw target by their names; nan where one is missing. Of values per step,
        a name has a list with a value for each."""
        if self.per == "sequence":
            [values] = self._table([raw], "target")  # (K,)
            return dict(zip(self.names, values.tolist(), strict=True))
        values_by_name = self._table(raw, "step").T  # (K, T)
        return dict(zip(self.names, values_by_name.tolist(), strict=True))

    def restore(self, standardised: Float[Tensor, "*batch values"]) -> Tensor:
        """Standardised values `(..., K)` in their own units again, in float64."""
        return standardised * torch.from_numpy(self.deviation) + torch.from_numpy(self.mean)

    @property
    def spec(self) -> dict[str, Any]:
        return {
            "values": self.names,
            "mean": self.mean.tolist(),
            "deviation": self.deviation.tolist(),
        }

    def load(self, spec: Mapping[str, Any]) -> None:
        self.names = list(spec["values"])
        self.mean = np.array(spec["mean"])
        self.deviation = np.array(spec["deviation"])

    def _tables(self, raw: Sequence[Any], source: str) -> list[np.ndarray]:
        """The numbers of all sequences as one table `(N, K)`; of values per step, a table `(T, K)`
        for each sequence."""
        if self.per == "sequence":
            return [self._table(raw, f"{source}: row")]
        tables = []
        for number, steps in enumerate(raw, start=1):
            tables.append(self._table(steps, f"{source}: example {number}, step"))
        return tables

    def _table(self, rows: Any, where: str) -> np.ndarray:
        """The numbers of raw targets, `(N, K)`. Raises a `UserError` for a row with another number
        of values, or with something that is no finite number.

        Args:
            rows: a raw target for each row.
            where: how errors call a row, before its number.
        """
        table = np.full((len(rows), len(self.names)), np.nan)
        for row, raw in enumerate(rows):
            values = [raw] if np.ndim(raw) == 0 else list(raw)
            if len(values) != len(self.names):
                raise UserError(
                    f"{where} {row + 1} must have {len(self.names)} values "
                    f"({', '.join(self.names)}), but has {len(values)}"
                )
            table[row] = [as_number(value) for value in values]
            # `as_number` gives infinity for what is no number.
            is_wrong = np.isinf(table[row])
            if is_wrong.any():
                column = int(is_wrong.argmax())
                raise no_number(values[column], f"{where} {row + 1}", self.names[column])
        return table


def missing(target: Any) -> bool:
    """Whether a raw target is missing: None, nan or a blank text."""
    return target is None or bool(target != target) or not str(target).strip()


def holds_numbers(names: Iterable[str]) -> bool:
    """Whether all names are numbers, but for missing ones."""
    return all(_as_number(name) is not None for name in names if not missing(name))


def _as_number(name: str) -> float | None:
    """The number that a name is; None if it is none, or nan."""
    with suppress(ValueError):
        number = float(name)
        return None if math.isnan(number) else number
    return None


def _numbers_first(name: str) -> tuple[bool, float, str]:
    """What sorts names: numbers by their size, so that "2" comes before "10", then the others."""
    number = _as_number(name)
    if number is None:
        return True, 0.0, name
    return False, number, name


def unseen_targets(
    targets: Tensor | Sequence[Tensor], examples: Examples, word: str, names: Collection[str]
) -> str:
    """A note of how many encoded targets are classes that training never saw, which `UNSEEN_TARGET`
    and the numbers below it stand for; empty if none is. Raises a `UserError` if most of them are,
    which is no evaluation of the model.

    Args:
        word: what to call a target, such as `tag`.
        names: of the targets that training saw.
    """
    raw_targets: Iterable[Any] = examples.targets
    if isinstance(targets, Tensor):
        flat = targets
    else:
        # Those of all steps, one sequence after the other.
        flat = torch.cat([*targets])
        raw_targets = chain.from_iterable(examples.targets)
    if flat.is_floating_point():
        return ""
    is_unseen = (flat < 0) & (flat != PADDING_TARGET)
    count = int(is_unseen.sum())
    if count == 0:
        return ""
    first = int(is_unseen.nonzero()[0])
    example = str(next(islice(raw_targets, first, None)))
    note = (
        f"{examples.source}: {share(count, len(flat), f'{word}s')} were never seen in training, "
        f"such as '{shown(example)}'"
    )
    if count > len(flat) / 2:
        raise UserError(f"{note}: {choices(example, names)}")
    return f"{note}: they count as wrong, and the loss leaves them out"


# Tags that mark spans: `B-NP` begins one, `I-NP` is inside one, `O` is outside of all.
#
# In BIO (IOB2) every span begins with B. In IOB1, only one right after another of its type does. In
# BIOES a span ends with E, and a span of one step is S; in BILOU these two are L and U.


def parse(tag: str) -> tuple[str, str]:
    """The place of a tag in its span, and the type of the span: `B-NP` -> `("B", "NP")`, with E and
    S for L and U; of any other tag, `("O", "")`."""
    match = SPAN_TAG.fullmatch(tag)
    if match is None:
        return OUTSIDE, ""
    place = match["place"]
    return PLACES.get(place, place), match["type"]


def mark_spans(tags: Iterable[str]) -> bool:
    """Whether tags mark spans, as `NN` and `VB` don't."""
    return any(parse(tag)[0] in ("B", "I") for tag in tags)


def span_types(tags: Iterable[str]) -> list[str]:
    """`["O", "B-VP", "B-NP", "I-NP"]` -> `["NP", "VP"]`."""
    types = {span_type for _, span_type in map(parse, tags)}
    return sorted(types - {""})


def begins(previous: str, tag: str) -> bool:
    """Whether a span begins with a tag after another, by the rules of conlleval, which makes the
    best of tags that break their scheme (https://www.clips.uantwerpen.be/conll2000/chunking)."""
    previous_place, previous_type = parse(previous)
    place, span_type = parse(tag)
    is_same_type = span_type == previous_type
    continues = previous_place in ("B", "I") and place in ("I", "E") and is_same_type
    return place != OUTSIDE and not continues
