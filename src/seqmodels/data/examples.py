"""Labelled examples, and a hash of what they consist of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xxhash

from seqmodels.errors import UserError

IDENTITY = ("source_row", "id")  # what predictions can be joined by


@dataclass(frozen=True)
class InputRow:
    """A raw input to predict for.

    Args:
        identity: what its prediction can be joined by: `source_row`, the number from 1 of the row
            of its file, or of its first one; and `id`, what the column `data.id` has there.
    """

    raw: Any
    identity: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Examples:
    """Raw inputs with a raw target each. Raises a `UserError` for another number of targets than of
    inputs.

    Args:
        targets: what the data module's target encoder takes: the name of a class, a list of tags,
            or values.
        source: where the examples come from, for errors.
        also: of each example, where it is known: its `group`, which no cut divides; its `split`;
            its `weight` in the loss; its `id` and `source_row`, as `InputRow` has them.
    """

    inputs: Sequence[Any]
    targets: Sequence[Any]
    source: str
    also: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, column in {"target": self.targets, **self.also}.items():
            if len(column) != len(self.inputs):
                counts = f"{len(self.inputs)} inputs and {len(column)} {name}s"
                raise UserError(f"{self.source}: there are {counts}: give one for each")

    def __len__(self) -> int:
        return len(self.inputs)

    def identities(self) -> list[dict[str, Any]]:
        """What says which row of its file each example is: `id` and `source_row`, if known."""
        known = {name: self.also[name] for name in IDENTITY if name in self.also}
        return [
            dict(zip(known, values, strict=True)) for values in zip(*known.values(), strict=True)
        ]

    def take(self, indices: np.ndarray) -> Examples:
        """The examples at these indices."""
        also = {name: take(column, indices) for name, column in self.also.items()}
        return Examples(take(self.inputs, indices), take(self.targets, indices), self.source, also)

    @classmethod
    def of(cls, rows: Iterable[tuple[Any, ...]], source: str) -> Examples:
        """Examples of pairs `(input, target)`, or of triples with a dict of what else is known.
        Raises a `UserError` if the target of an example is None."""
        inputs, targets, also = [], [], dict[str, list[Any]]()
        for number, (raw, target, *more) in enumerate(rows, start=1):
            if target is None:
                raise UserError(f"{source}: example {number} has no label")
            inputs.append(raw)
            targets.append(target)
            for name, value in (item for each in more for item in each.items()):
                also.setdefault(name, []).append(value)
        return cls(inputs, targets, source, also)


def take(values: Sequence[Any], indices: np.ndarray) -> list[Any]:
    """The values at these indices."""
    return [values[index] for index in indices.tolist()]


def contents(values: Iterable[Any]) -> Iterator[bytes | memoryview]:
    """What each raw input or target consists of."""
    for value in values:
        if isinstance(value, list | tuple) and any(hasattr(each, "__array__") for each in value):
            yield digest(value).encode()
        elif isinstance(value, memoryview):
            yield value  # without a copy
        elif hasattr(value, "content"):
            yield value.content()
        elif not hasattr(value, "__array__"):
            yield str(value).encode()
        elif (array := np.asarray(value)).dtype == object:
            yield repr(array.tolist()).encode()
        else:  # how an array, a tensor or a table prints leaves most of it out
            yield f"{array.shape} {array.dtype} ".encode() + array.tobytes()


def digest(*columns: Iterable[Any]) -> str:
    """A hash of raw inputs or targets: equal if and only if they are."""
    found = xxhash.xxh3_64()
    for values in columns:
        for content in contents(values):
            found.update(b"%d:" % len(content))
            found.update(content)
        found.update(b"\0")
    return found.hexdigest()
