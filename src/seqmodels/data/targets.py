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

MANY = 20  # classes, from which numbers are more likely values
OUTSIDE = "O"
SPAN_TAG = re.compile(r"([BIESLU])-(.+)", re.DOTALL)
SAME = {"L": "E", "U": "S"}


class TargetEncoder(ABC):
    """Encodes raw targets. `per` and `target` say which tasks can learn from them."""

    per: Per
    target: ClassVar[str]
    word = "target"  # what errors call one
    names: Collection[str] = ()  # of the classes, tags or values
    note = ""  # what the user should know of what `fit` has read

    def check(self, raw: Sequence[Any], source: str) -> None:  # noqa: B027 (most need none)
        """Raises a `UserError` for a raw target that no encoder of this kind can read, of a split
        that is not cut yet: the error counts rows as its file does."""

    def check_training(self, raw: Sequence[Any], source: str) -> None:  # noqa: B027
        """Raises a `UserError` for raw targets of training, before anything is cut off, of which
        none could be learned, such as classes that are all different numbers."""

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
    column = ""  # of a table, that they stand in

    def __init__(self) -> None:
        self.names: dict[str, int] = {}  # with the number of each
        self.counts: list[int] = []

    @property
    def spec(self) -> dict[str, Any]:
        return {"classes": list(self.names), "counts": self.counts}

    def load(self, spec: Mapping[str, Any]) -> None:
        self.names = {name: number for number, name in enumerate(spec["classes"])}
        self.counts = list(spec["counts"])

    def _learn(self, names: Iterable[str], source: str, advice: str) -> None:
        """Learns the names that occur. Raises a `UserError` for less than two."""
        counts = Counter(names)
        what = f"{source}: every {self.word}"
        classes = sorted(counts, key=_numbers_first)
        if len(classes) < 2:
            only = f"'{shown(classes[0])}'" if classes else "missing"
            raise UserError(f"{what} is {only}; {advice}")
        self.load({"classes": classes, "counts": [counts[name] for name in classes]})
        if len(classes) > MANY and holds_numbers(classes):
            these = f"the {len(classes):,} {self.word}s are all numbers, and each is a class"
            self.note = f"{source}: {these}: {self._to_predict_numbers()}"

    def check_training(self, raw: Sequence[Any], source: str) -> None:
        names = self._present_names(raw)
        classes = {*names}
        if len(classes) > MANY and 2 * len(classes) > len(names) and holds_numbers(classes):
            raise UserError(
                f"{source}: {len(classes):,} of {len(names):,} {self.word}s are different numbers, "
                f"too many to be classes: {self._to_predict_numbers()}"
            )

    def _present_names(self, raw: Sequence[Any]) -> list[str]:
        """The names of all targets that are there."""
        return [str(name).strip() for name in raw if not missing(name)]

    def _to_predict_numbers(self) -> str:
        at_steps = " model.head=every_step" if self.per == "step" else ""
        column = f" {setting('data.value_columns', [self.column])}" if self.column else ""
        return f"to predict a number, set model=regressor{at_steps}{column}"


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
        # a number is named as it is written: a label in float32 is 0.1
        return [str(label).strip() for label in raw]

    def fit(self, raw: Sequence[Any], source: str) -> None:
        self._learn(self.strata(raw), source, "a classifier needs two classes")

    def encode(self, raw: Sequence[Any], source: str) -> Tensor:
        return torch.tensor([self.names.get(label, UNSEEN_TARGET) for label in self.strata(raw)])


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
        return [str(tag) for tags in raw for tag in tags if not missing(tag)]

    def encode(self, raw: Sequence[Any], source: str) -> list[Tensor]:
        return [torch.tensor(self._numbers(tags), dtype=torch.int64) for tags in raw]

    def _numbers(self, raw: Iterable[Any]) -> list[int]:
        tags = ["" if missing(tag) else str(tag) for tag in raw]
        known = {**self.names, "": PADDING_TARGET}
        numbers = [known.get(tag, UNSEEN_TARGET) for tag in tags]
        if UNSEEN_TARGET in numbers:
            for step, (previous, tag) in enumerate(pairwise([OUTSIDE, *tags])):
                if numbers[step] == UNSEEN_TARGET and parse(tag)[0] != OUTSIDE:
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
        encoded = [
            torch.from_numpy(((table - self.mean) / self.deviation).astype(np.float32))
            for table in tables
        ]
        return encoded if self.per == "step" else encoded[0]

    def as_read(self, raw: Any) -> dict[str, Any]:
        """The values of a raw target by their names, or of each step a list of them; nan where one
        is missing."""
        if self.per == "sequence":
            [values] = self._table([raw], "target")
            return dict(zip(self.names, values.tolist(), strict=True))
        columns = self._table(raw, "step").T.tolist()
        return dict(zip(self.names, columns, strict=True))

    def restore(self, standardised: Float[Tensor, "*batch values"]) -> Tensor:
        """Standardised values `(..., K)` in their own units again, in float64."""
        return standardised * torch.from_numpy(self.deviation) + torch.from_numpy(self.mean)

    @property
    def spec(self) -> dict[str, Any]:
        mean, deviation = self.mean.tolist(), self.deviation.tolist()
        return {"values": self.names, "mean": mean, "deviation": deviation}

    def load(self, spec: Mapping[str, Any]) -> None:
        self.names = list(spec["values"])
        self.mean, self.deviation = np.array(spec["mean"]), np.array(spec["deviation"])

    def _tables(self, raw: Sequence[Any], source: str) -> list[np.ndarray]:
        # one (N, K) of all sequences, or for each of them (T, K) of its steps
        if self.per == "sequence":
            return [self._table(raw, f"{source}: row")]
        examples = enumerate(raw, start=1)
        return [self._table(steps, f"{source}: example {n}, step") for n, steps in examples]

    def _table(self, rows: Any, where: str) -> np.ndarray:
        table = np.full((len(rows), len(self.names)), np.nan)
        for row, given in enumerate(rows, start=1):
            values = [given] if np.ndim(given) == 0 else list(given)
            if len(values) != len(self.names):
                names = f"{len(self.names)} values ({', '.join(self.names)})"
                raise UserError(f"{where} {row} must have {names}, but has {len(values)}")
            table[row - 1] = [*map(as_number, values)]
            if (wrong := np.isinf(table[row - 1])).any():
                column = int(wrong.argmax())
                raise no_number(values[column], f"{where} {row}", self.names[column])
        return table


def missing(target: Any) -> bool:
    """Whether there is none: None, nan or a blank text."""
    return target is None or bool(target != target) or not str(target).strip()


def holds_numbers(names: Iterable[str]) -> bool:
    """Whether all names are numbers, but for missing ones."""
    return not any(_numbers_first(name)[0] for name in names if not missing(name))


def _numbers_first(label: str) -> tuple[int, float, str]:
    # classes "1", "2", ... "10" in the order of the numbers; nan has no place among them
    with suppress(ValueError):
        if not math.isnan(number := float(label)):
            return (0, number, label)
    return (1, 0.0, label)


def unseen_targets(
    targets: Tensor | Sequence[Tensor], examples: Examples, what: str, names: Collection[str]
) -> str:
    """How many encoded targets are classes that training never saw, which `UNSEEN_TARGET` and the
    numbers below it stand for; empty if none is. Raises a `UserError` if most of them are, which is
    no evaluation of the model.

    Args:
        what: to call a target, such as `tag`.
        names: of the targets that training saw.
    """
    flat = targets if isinstance(targets, Tensor) else torch.cat([*targets])
    unseen = (flat < 0) & (flat != PADDING_TARGET)
    if flat.is_floating_point() or not (count := int(unseen.sum())):
        return ""
    by_row = isinstance(targets, Tensor)
    raw = examples.targets if by_row else chain.from_iterable(examples.targets)
    one = str(next(islice(raw, int(unseen.nonzero()[0]), None)))
    found = f"{examples.source}: {share(count, len(flat), f'{what}s')} were never seen in training"
    found += f", such as '{shown(one)}'"
    if count > len(flat) / 2:
        raise UserError(f"{found}: {choices(one, names)}")
    return f"{found}: they count as wrong, and the loss leaves them out"


# Tags that mark spans: `B-NP` begins one, `I-NP` is inside one, `O` is outside of all.
#
# In BIO (IOB2) every span begins with B. In IOB1, only one right after another of its type does. In
# BIOES a span ends with E, and a span of one step is S; in BILOU these two are L and U.


def parse(tag: str) -> tuple[str, str]:
    """`B-NP` -> `("B", "NP")`, with E and S for L and U; of any other tag, `("O", "")`."""
    found = SPAN_TAG.fullmatch(tag)
    return (SAME.get(found[1], found[1]), found[2]) if found else (OUTSIDE, "")


def mark_spans(tags: Iterable[str]) -> bool:
    """Whether tags mark spans, as `NN` and `VB` don't."""
    return any(parse(tag)[0] in ("B", "I") for tag in tags)


def span_types(tags: Iterable[str]) -> list[str]:
    """`["O", "B-VP", "B-NP", "I-NP"]` -> `["NP", "VP"]`."""
    return sorted({kind for _, kind in map(parse, tags)} - {""})


def begins(previous: str, tag: str) -> bool:
    """Whether a span begins with a tag after another, by the rules of conlleval, which makes the
    best of tags that break their scheme (https://www.clips.uantwerpen.be/conll2000/chunking)."""
    (before, kind), (now, its_kind) = parse(previous), parse(tag)
    continues = before in ("B", "I") and now in ("I", "E") and kind == its_kind
    return now != OUTSIDE and not continues
