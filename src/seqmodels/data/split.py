"""Labelled examples, and a cut that takes the same ones off every time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seqmodels.errors import UserError


@dataclass(frozen=True)
class Examples:
    """Raw inputs with a raw target each.

    Args:
        inputs: texts, or series as `(T, F)` arrays.
        targets: what the data module's target encoder takes: the name of a class, a list of tags,
            or values.
        source: where the examples come from, for error messages.
    """

    inputs: Sequence[Any]
    targets: Sequence[Any]
    source: str

    def __len__(self) -> int:
        return len(self.inputs)

    @classmethod
    def of(cls, pairs: Iterable[tuple[Any, Any]], source: str) -> Examples:
        """Examples of pairs `(input, target)`.

        Raises:
            UserError: naming the number of an example whose target is None.
        """
        inputs, targets = [], []
        for number, (raw, target) in enumerate(pairs, start=1):
            if target is None:
                raise UserError(f"{source}: example {number} has no label")
            inputs.append(raw)
            targets.append(target)
        return cls(inputs, targets, source)


def cut(
    examples: Examples,
    fraction: float,
    seed: int,
    split: str,
    strata: Sequence[str] | None = None,
) -> tuple[Examples, Examples]:
    """Cuts `fraction` of the examples off at random: `(what remains, what was cut off)`.

    Args:
        seed: the same seed cuts the same examples off.
        split: the name of the split to cut off, for error messages.
        strata: a name per example; cut the fraction off each name's examples. A name with a single
            example stays in what remains. None cuts regardless of names.

    Raises:
        UserError: if the fraction leaves nothing on one side.
    """
    if not 0 < fraction < 1:
        raise UserError(f"data.{split}_fraction is {fraction}: it must lie between 0 and 1")
    random = np.random.default_rng(seed)
    by_name: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate([""] * len(examples) if strata is None else strata):
        by_name[name].append(index)
    chosen: set[int] = set()
    for _, members in sorted(by_name.items()):
        count = min(max(round(fraction * len(members)), 1), len(members) - 1)
        chosen.update(random.permutation(members)[:count].tolist())
    if not chosen:
        few = "there are fewer than two examples" if strata is None else "no class has two examples"
        raise UserError(
            f"cannot cut a {split} split from {examples.source}: {few}; give data.{split}"
        )
    inputs, targets = examples.inputs, examples.targets
    off, rest = sorted(chosen), sorted(set(range(len(examples))) - chosen)
    return (
        Examples([inputs[i] for i in rest], [targets[i] for i in rest], examples.source),
        Examples([inputs[i] for i in off], [targets[i] for i in off], examples.source),
    )
