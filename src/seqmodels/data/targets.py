"""Encode raw targets as tensors: one class, one tag a step, or some values for each example."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqmodels.batch import Per, Target
from seqmodels.data.baselines import (
    EncodedSplits,
    Metrics,
    class_baselines,
    tag_baselines,
    value_baselines,
)
from seqmodels.errors import UserError, choices


class TargetEncoder(ABC):
    """Encodes raw targets. `per` and `target` say which tasks can learn from them."""

    per: ClassVar[Per]
    target: ClassVar[Target]

    @abstractmethod
    def fit(self, raw: Sequence[Any], source: str) -> None:
        """Learns from the raw targets of the training split.

        Args:
            source: where the targets come from, for error messages.

        Raises:
            UserError: naming the source and what no model could learn from.
        """

    @abstractmethod
    def encode(self, raw: Sequence[Any], source: str) -> Tensor | list[Tensor]:
        """A tensor with a row per example, or a list with a tensor `(T,)` per example.

        Raises:
            UserError: naming the source and the example that cannot be encoded.
        """

    @property
    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """What a task has to know, and what `load` restores, as plain values."""

    @abstractmethod
    def load(self, spec: Mapping[str, Any]) -> None:
        """Restores what `fit` learned from a saved `spec`."""

    @property
    @abstractmethod
    def summary(self) -> str:
        """The targets in a few words for the log, such as `9 classes`."""

    def strata(self, raw: Sequence[Any]) -> Sequence[str] | None:
        """A name per example, whose shares a cut has to keep; None to cut at random."""
        return None

    def baselines(self, data: EncodedSplits) -> Metrics:
        """Test metrics of simple baselines for such targets: `metric -> baseline -> value`."""
        return {}


class NamedTargets(TargetEncoder):
    """Targets from the set of names that occur in the training split."""

    def __init__(self) -> None:
        self.classes: list[str] = []

    @property
    def spec(self) -> dict[str, Any]:
        """`classes`: the names, in the order of the logits."""
        return {"classes": self.classes}

    def load(self, spec: Mapping[str, Any]) -> None:
        self.classes = list(spec["classes"])

    @property
    def summary(self) -> str:
        return f"{len(self.classes)} {'classes' if self.target == 'class' else 'tags'}"

    def _index(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.classes)}

    def _unseen(self, where: str, name: str) -> UserError:
        return UserError(f"{where} was never seen in training: {choices(name, self.classes)}")


class Classes(NamedTargets):
    """One class per sequence. A raw target is the name of the class."""

    per = "sequence"
    target = "class"

    def fit(self, raw: Sequence[str], source: str) -> None:
        self.classes = sorted(set(raw), key=_numbers_first)
        if len(self.classes) < 2:
            raise UserError(
                f"{source}: every label is {self.classes[0]!r}; "
                "a classifier needs at least two classes"
            )

    def encode(self, raw: Sequence[str], source: str) -> Int[Tensor, " examples"]:
        """The number of each example's class, `(N,)` int64."""
        index = self._index()
        for number, label in enumerate(raw, start=1):
            if label not in index:
                raise self._unseen(f"{source}: label {label!r} of example {number}", label)
        return torch.tensor([index[label] for label in raw], dtype=torch.int64)

    def strata(self, raw: Sequence[str]) -> Sequence[str]:
        return raw

    def baselines(self, data: EncodedSplits) -> Metrics:
        return class_baselines(data)


class Tags(NamedTargets):
    """One tag per step. A raw target is the list of an example's tags, one for each step."""

    per = "step"
    target = "tag"

    def fit(self, raw: Sequence[Sequence[str]], source: str) -> None:
        self.classes = sorted({tag for tags in raw for tag in tags}, key=_numbers_first)
        if len(self.classes) < 2:
            raise UserError(
                f"{source}: every tag is {', '.join(map(repr, self.classes)) or 'missing'}; "
                "a tagger needs at least two tags"
            )

    def encode(self, raw: Sequence[Sequence[str]], source: str) -> list[Tensor]:
        """The number of each step's tag, one tensor `(T,)` int64 per example."""
        index = self._index()
        for number, tags in enumerate(raw, start=1):
            for step, tag in enumerate(tags, start=1):
                if tag not in index:
                    where = f"{source}: tag {tag!r} of example {number} at step {step}"
                    raise self._unseen(where, tag)
        return [torch.tensor([index[tag] for tag in tags], dtype=torch.int64) for tags in raw]

    def baselines(self, data: EncodedSplits) -> Metrics:
        return tag_baselines(data)


class Values(TargetEncoder):
    """K numbers per sequence, standardised by their mean and deviation in the training split.

    A raw target is a sequence of K numbers, or a single number if K is 1. A number may be
    written as text; None, nan and an empty text are missing values.

    Args:
        names: what the K values are called.
    """

    per = "sequence"
    target = "value"

    def __init__(self, names: Sequence[str] = ("value",)) -> None:
        self.names = list(names)
        self.mean: np.ndarray | None = None
        self.deviation: np.ndarray | None = None

    def _fitted(self) -> tuple[np.ndarray, np.ndarray]:
        if self.mean is None or self.deviation is None:
            raise RuntimeError("mean and deviation are unknown: call fit, or load a saved spec")
        return self.mean, self.deviation

    def fit(self, raw: Sequence[Any], source: str) -> None:
        values = self._read(raw, source)
        for name, column in zip(self.names, values.T, strict=True):
            if np.isnan(column).all():
                raise UserError(f"{source}: every {name!r} is missing; there is nothing to learn")
        self.mean = np.nanmean(values, axis=0)
        deviation = np.nanstd(values, axis=0)
        self.deviation = np.where(deviation > 0, deviation, 1.0)  # a constant value becomes 0

    def encode(self, raw: Sequence[Any], source: str) -> Float[Tensor, "examples values"]:
        """Standardised values, `(N, K)` float32, nan where one is missing."""
        mean, deviation = self._fitted()
        standardised = (self._read(raw, source) - mean) / deviation
        return torch.from_numpy(standardised.astype(np.float32))

    def restore(self, standardised: Float[Tensor, "*batch values"]) -> Tensor:
        """Standardised values `(..., K)` in their own units again."""
        mean, deviation = (torch.from_numpy(array).to(standardised) for array in self._fitted())
        return standardised * deviation + mean

    @property
    def spec(self) -> dict[str, Any]:
        """`values`: their names; `mean` and `deviation`: one each, in their own units."""
        mean, deviation = self._fitted()
        return {"values": self.names, "mean": mean.tolist(), "deviation": deviation.tolist()}

    def load(self, spec: Mapping[str, Any]) -> None:
        self.names = list(spec["values"])
        self.mean, self.deviation = np.array(spec["mean"]), np.array(spec["deviation"])

    @property
    def summary(self) -> str:
        return f"values {', '.join(self.names)}"

    def baselines(self, data: EncodedSplits) -> Metrics:
        return value_baselines(data, self.restore)

    def _read(self, raw: Sequence[Any], source: str) -> np.ndarray:
        rows = np.full((len(raw), len(self.names)), np.nan)
        for number, row in enumerate(raw, start=1):
            values = [row] if np.ndim(row) == 0 else list(row)
            if len(values) != len(self.names):
                raise UserError(
                    f"{source}: row {number} must have {len(self.names)} values "
                    f"({', '.join(self.names)}), but has {len(values)}"
                )
            for column, (name, value) in enumerate(zip(self.names, values, strict=True)):
                rows[number - 1, column] = _number(value, f"{source}: row {number}", name)
        return rows


def _number(value: Any, where: str, name: str) -> float:
    if value is None or (isinstance(value, str) and not value.strip()):
        return float("nan")
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("inf")
    if np.isinf(number):
        raise UserError(f"{where} has {value!r} as {name!r}, which is not a finite number")
    return number


def _numbers_first(label: str) -> tuple[int, float, str]:
    # classes "1", "2", ... "10" in the order of the numbers
    try:
        return 0, float(label), label
    except ValueError:
        return 1, 0.0, label
