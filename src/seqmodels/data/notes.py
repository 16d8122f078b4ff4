"""What the user should know of their data before a training: rules on rows, not on files."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import xxhash
from torch import Tensor

from seqmodels.batch import PADDING_TARGET
from seqmodels.data.columns import Column
from seqmodels.data.examples import Examples
from seqmodels.errors import UserError, choices, shown


def share(count: int, total: int, what: str) -> str:
    """`3 of 40 labels (7.50 %)`."""
    return f"{count:,} of {total:,} {what} ({100 * count / total:.2f} %)"


def unseen_targets(
    targets: Tensor | Sequence[Tensor], examples: Examples, what: str, names: Collection[str]
) -> str:
    """How many encoded targets are classes that training never saw, which `UNSEEN_TARGET` and the
    numbers below it stand for; empty if none is.

    Args:
        what: to call a target, such as `tag`.
        names: of the targets that training saw.

    Raises:
        UserError: if most of them are, which is no evaluation of the model.
    """
    flat = targets if isinstance(targets, Tensor) else torch.cat([*targets])
    unseen = (flat < 0) & (flat != PADDING_TARGET)
    if flat.is_floating_point() or not (count := int(unseen.sum())):
        return ""
    index = int(unseen.nonzero()[0])
    raw: Any
    if not isinstance(targets, Tensor):
        ends = np.cumsum([*map(len, targets)])
        row = int(np.searchsorted(ends, index, side="right"))
        step = index - int(ends[row]) + len(targets[row])
        raw, where = examples.targets[row][step], f"{row + 1} at step {step + 1}"
    else:
        raw, where = examples.targets[index], f"{index + 1}"
    raw = str(raw)
    found = (
        f"{examples.source}: {share(count, len(flat), f'{what}s')} were never seen in training, "
        f"such as '{shown(raw)}' of example {where}"
    )
    if count > len(flat) / 2:
        raise UserError(f"{found}: {choices(raw, names)}")
    return f"{found}: they count as wrong, and the loss leaves them out"


def unknown(count: int, total: int, source: str, what: str = "tokens", *, refuse: bool) -> str:
    """How many tokens of texts are unknown to the model; empty if none is.

    Args:
        what: `tokens` of texts to read, or `symbols of targets`, which are to be written.
        refuse: whether it is an error if most of them are.

    Raises:
        UserError: for that error.
    """
    if not count:
        return ""
    found = f"{source}: {share(count, total, what)} are unknown to the model"
    if refuse and count > total / 2:
        raise UserError(f"{found}: is this the right file, or text in another language or script?")
    if what == "tokens":
        return f"{found}: training had none, so it has not learned what to make of them"
    return f"{found}: it cannot write them, so they count as wrong"


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


def _digests(inputs: Sequence[Any]) -> np.ndarray:
    return np.fromiter(map(xxhash.xxh3_64_intdigest, contents(inputs)), np.uint64, len(inputs))


def contents(values: Sequence[Any]) -> Iterator[bytes]:
    """What each raw input or target consists of: a text or label of UTF-8."""
    if isinstance(values, Column) and not pa.types.is_nested(values.chunks.type):
        for block in values.blocks():
            yield from block.cast(pa.large_binary()).to_pylist()
        return
    for value in values:
        yield value.tobytes() if isinstance(value, np.ndarray) else str(value).encode()


def kept_quotes(splits: Iterable[Examples], quoting: bool | None) -> list[str]:
    """How many texts of TSV files begin and end with a quote, where quotes enclose no fields."""
    counts: dict[str, list[bool]] = {}
    for examples in splits if quoting is None else ():
        if examples.source.lower().endswith(".tsv"):
            texts: Iterable[Any] = examples.inputs
            quoted = (len(text) > 1 and text[0] == text[-1] == '"' for text in texts)
            counts.setdefault(examples.source, []).extend(quoted)
    return [
        f"{share(sum(quoted), len(quoted), 'texts')} of {source} begin and end with a quote, which "
        "is kept as it stands: set data.quoting=true if quotes enclose fields there"
        for source, quoted in counts.items()
        if any(quoted)
    ]
