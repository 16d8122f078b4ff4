"""What the user should know of their data before a training: rules on rows, not on files."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import chain, combinations, islice
from typing import Any

import numpy as np
import torch
import xxhash
from torch import Tensor

from seqmodels.batch import PADDING_TARGET
from seqmodels.data.examples import Examples, contents
from seqmodels.errors import UserError, choices, listed, shown

GROUP_KEY = "data.group="  # before the name of a column that may say whose an example is


def share(count: int, total: int, what: str) -> str:
    """`3 of 40 labels (7.50 %)`."""
    return f"{count:,} of {total:,} {what} ({100 * count / total:.2f} %)"


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


def unknown(count: int, total: int, source: str) -> str:
    """That most tokens of texts are unknown to the model; empty if they are not."""
    if 2 * count <= total:
        return ""
    found = f"{source}: {share(count, total, 'tokens')} are unknown to the model"
    return f"{found}: is this the right file, or text in another language or script?"


def repeated(splits: Mapping[str, Examples], what: str = "rows") -> list[str]:
    """How many rows of a split have the same input as one of an earlier split."""
    digests = {split: _digests(each.inputs) for split, each in splits.items()}
    found = []
    for (first, known), (second, rows) in combinations(digests.items(), 2):
        if both := int(np.isin(rows, known).sum()):
            found.append(
                f"{share(both, len(rows), what)} of the {second} split are in the {first} split, "
                "too" + ("; are they the same file?" if both == len(rows) else "")
            )
    return found


def shared_groups(splits: Mapping[str, Examples]) -> list[str]:
    """Groups that stand in two splits: of files of their own, or of columns that may be some."""
    found, named = [], {name for each in splits.values() for name in each.also}
    for key in sorted(name for name in named if name.startswith(("group", GROUP_KEY))):
        groups = {split: {*each.also.get(key, ())} for split, each in splits.items()}
        what, end = "groups", "its scores are not of new ones"
        if key != "group":
            what = f"values of {key.removeprefix(GROUP_KEY)!r}"
            end = f"set {key} for scores of new ones"
        found += [
            f"{share(len(both), len(own), what)} of the {second} split are in the {first} split, "
            f"too, such as {listed(sorted(both)[:3])}: {end}"
            for (first, known), (second, own) in combinations(groups.items(), 2)
            if (both := known & own)
        ]
    return found


def shared_names(splits: Mapping[str, Examples]) -> list[str]:
    """Series of one name in two splits, which may be parts of the same recording."""
    names_by_split = {
        split: {name for raw in examples.inputs if (name := getattr(raw, "name", ""))}
        for split, examples in splits.items()
    }
    found = []
    for (first, known), (second, names) in combinations(names_by_split.items(), 2):
        if both := known & names:
            found.append(
                f"{share(len(both), len(names), 'series')} of the {second} split have the name of "
                f"one in the {first} split, such as {listed(sorted(both)[:3])}: if they are parts "
                "of the same recordings, its scores are not of new ones"
            )
    return found


def _digests(inputs: Sequence[Any]) -> np.ndarray:
    return np.fromiter(map(xxhash.xxh3_64_intdigest, contents(inputs)), np.uint64, len(inputs))
