"""Labelled examples, and a cut that takes the same ones off every time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xxhash

from seqmodels.errors import UserError


@dataclass(frozen=True)
class Examples:
    """Raw inputs with a raw target each.

    Args:
        inputs: texts, or series as `(T, F)` arrays.
        targets: what the data module's target encoder takes: the name of a class, a list of tags,
            or values.
        source: where the examples come from, for error messages.

    Raises:
        UserError: for another number of targets than of inputs.
    """

    inputs: Sequence[Any]
    targets: Sequence[Any]
    source: str

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.targets):
            counts = f"{len(self.inputs)} inputs and {len(self.targets)} targets"
            raise UserError(f"{self.source}: there are {counts}: give one for each")

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, indices: np.ndarray) -> Examples:
        """The examples at these indices."""
        return Examples(take(self.inputs, indices), take(self.targets, indices), self.source)

    @classmethod
    def of(cls, pairs: Iterable[tuple[Any, Any]], source: str) -> Examples:
        """Examples of pairs `(input, target)`.

        Raises:
            UserError: if the target of an example is None.
        """
        inputs, targets = [], []
        for number, (raw, target) in enumerate(pairs, start=1):
            if target is None:
                raise UserError(f"{source}: example {number} has no label")
            inputs.append(raw)
            targets.append(target)
        return cls(inputs, targets, source)


def cut_off(
    examples: Examples,
    fraction: float,
    seed: int,
    split: str,
    strata: Sequence[str] | None = None,
) -> tuple[Examples, Examples]:
    """Cuts `fraction` of the examples off at random, one at least: `(what remains, what was cut
    off)`.

    Args:
        seed: the same seed cuts the same examples off.
        split: the name of the split to cut off, for error messages.
        strata: a name per example; cut the fraction off each name's examples, to the nearest one
            below or above, so that it is the fraction of all. An example of each name stays in what
            remains. None cuts regardless of names.

    Raises:
        UserError: if the fraction leaves nothing on one side.
    """
    random = np.random.default_rng(seed)
    groups: dict[str, list[int]] = {}
    for number, name in enumerate(strata if strata is not None else [""] * len(examples)):
        groups.setdefault(name, []).append(number)
    drawn = [random.permutation(members) for _, members in sorted(groups.items())]
    sizes = np.array([*map(len, drawn)])
    counts = np.floor(fraction * sizes).astype(int)
    # the largest remainders get the others
    remainders, lot = fraction * sizes - counts, random.permutation(len(sizes))
    ordered = np.lexsort((lot, -remainders.round(9)))
    some = max(round(fraction * len(examples)), 1) - counts.sum()
    counts[ordered[counts[ordered] < sizes[ordered] - 1][:some]] += 1
    off = np.zeros(len(examples), bool)
    for members, count in zip(drawn, counts, strict=True):
        off[members[:count]] = True
    if not off.any():
        few = "there are fewer than two examples" if strata is None else "no class has two examples"
        raise UserError(
            f"cannot cut a {split} split from {examples.source}: {few}; give data.{split}"
        )
    return examples.take(np.flatnonzero(~off)), examples.take(np.flatnonzero(off))


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
