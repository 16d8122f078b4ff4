"""Labelled examples: cut into splits by class, by whole groups or into folds, the same for every
seed; what splits have in common; and a hash of what examples consist of."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Literal

import numpy as np
import xxhash

from seqmodels.errors import UserError, choices, listed, refusing, shown

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
EVALUATED = SPLITS[1:]
IDENTITY = ("source_row", "id")  # what predictions can be joined by
GROUP_KEY = "data.group="  # before the name of a column that may say whose an example is
PIECES = 20  # of all groups, of which a cut takes some


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


# cut into splits


def by_split(found: Mapping[Split, Examples]) -> dict[Split, Examples]:
    """The splits that a column of the training examples says there are; else those given. Raises a
    `UserError` for another name than `train`, `validation` and `test`, or a file for a split that
    the column has, too."""
    train, splits = found["train"], dict(found)
    named = np.array(train.also.get("split", ()))
    for name in dict.fromkeys(named.tolist()):
        if name not in SPLITS:
            raise UserError(f"{train.source}: a split is {shown(name)!r}: {choices(name, SPLITS)}")
        if name in found and name != "train":
            raise UserError(f"{train.source} has a {name} split, so leave data.{name} out")
        splits[name] = train.take(np.flatnonzero(named == name))
    if len(named) and "train" not in named:
        raise UserError(f"{train.source}: no row is of the train split")
    return splits


def cut_off(
    examples: Examples, fraction: float, seed: int, split: str, strata: Sequence[str] | None = None
) -> tuple[Examples, Examples]:
    """Cuts `fraction` of the examples off at random, one at least: `(what remains, what was cut
    off)`. Of examples with a group, whole groups, so that the share is as near as these allow.
    Raises a `UserError` if the fraction leaves nothing on one side.

    Args:
        seed: the same seed cuts the same examples off.
        split: the name of the split to cut off, for error messages.
        strata: a name per example; cut the fraction off each name's examples, to the nearest one
            below or above, so that it is the fraction of all. An example of each name stays in what
            remains. None cuts regardless of names.
    """
    grouped = "group" in examples.also
    off = (_groups_off if grouped else _examples_off)(examples, fraction, seed, strata)
    if not len(off):
        few = "there are fewer than two examples" if strata is None else "no class has two examples"
        if grouped:
            only = shown(str(examples.also["group"][0]))
            few = f"all of it is of one group, {only!r}, which no cut divides"
        cut = f"cannot cut a {split} split from {examples.source}"
        raise UserError(f"{cut}: {few}; give data.{split}")
    if len(off) == len(examples):
        raise UserError(
            f"cannot cut {fraction:g} of {examples.source} off for the {split} split: nothing "
            "remains; cut off a share below 1"
        )
    return without(examples, off)


def without(examples: Examples, off: np.ndarray) -> tuple[Examples, Examples]:
    """The examples but those with these numbers, and these."""
    off = np.sort(off)
    return examples.take(np.delete(np.arange(len(examples)), off)), examples.take(off)


def _examples_off(
    examples: Examples, fraction: float, seed: int, strata: Sequence[str] | None
) -> np.ndarray:
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
    return np.concatenate([m[:count] for m, count in zip(drawn, counts, strict=True)])


def _groups_off(
    examples: Examples, fraction: float, seed: int, strata: Sequence[str] | None
) -> np.ndarray:
    count = len({*examples.also["group"]})
    off, wanted = np.zeros(0, int), fraction * len(examples)
    if count < 2:
        return off
    pieces = folds_of(examples, min(count, max(PIECES, round(1 / fraction))), seed, strata)
    np.random.default_rng(seed).shuffle(pieces)  # few groups are a piece each, in their own order
    for piece in pieces[:-1]:  # something remains
        if abs(len(off) + len(piece) - wanted) < abs(len(off) - wanted):
            off = np.concatenate([off, piece])
    return off if len(off) else min(pieces, key=len)  # each is more than twice the share


def folds_of(
    examples: Examples, folds: int, seed: int, strata: Sequence[str] | None
) -> list[np.ndarray]:
    """The numbers of the examples of each of so many folds, by scikit-learn's splitters: with
    classes as even as possible, and never through a group. Raises a `UserError` if there are fewer
    groups or examples."""
    from sklearn.model_selection import LeaveOneGroupOut, StratifiedGroupKFold, StratifiedKFold

    groups = examples.also.get("group")
    names = np.unique(strata, return_inverse=True)[1] if strata is not None else np.zeros(0, int)
    if strata is None or np.bincount(names).max() < folds:  # no class has one for each fold
        names = np.zeros(len(examples), int)
    units, of = (len(examples), "examples") if groups is None else (len({*groups}), "groups")
    if units < folds:
        raise UserError(f"{examples.source}: {units} {of} are too few for {folds} folds")
    how = {"n_splits": folds, "shuffle": True, "random_state": seed}
    splitter = StratifiedKFold(**how) if groups is None else StratifiedGroupKFold(**how)
    if groups is not None and units == folds:
        splitter = LeaveOneGroupOut()
    with warnings.catch_warnings(), refusing(f"{examples.source}: {folds} folds", ValueError):
        warnings.simplefilter("ignore")  # of classes with fewer examples than folds
        return [test for _, test in splitter.split(names, names, groups)]


# what splits have in common


def share(count: int, total: int, what: str) -> str:
    """`3 of 40 labels (7.50 %)`."""
    return f"{count:,} of {total:,} {what} ({100 * count / total:.2f} %)"


def repeated(splits: Mapping[str, Examples], what: str = "rows") -> list[str]:
    """How many rows of a split have the same input as one of an earlier split."""
    digests = {split: _digests(examples.inputs) for split, examples in splits.items()}
    notes = []
    for (first, earlier), (second, rows) in combinations(digests.items(), 2):
        if count := int(np.isin(rows, earlier).sum()):
            note = _are_in(share(count, len(rows), what), first, second)
            if count == len(rows):
                note += "; are they the same file?"
            notes.append(note)
    return notes


def shared_groups(splits: Mapping[str, Examples]) -> list[str]:
    """Groups that stand in two splits: of files of their own, or of columns that may be some."""
    names = {name for examples in splits.values() for name in examples.also}
    notes = []
    for key in sorted(name for name in names if name.startswith(("group", GROUP_KEY))):
        groups = {split: {*examples.also.get(key, ())} for split, examples in splits.items()}
        what, end = "groups", "its scores are not of new ones"
        if key != "group":
            what = f"values of {key.removeprefix(GROUP_KEY)!r}"
            end = f"set {key} for scores of new ones"
        for first, second, shared in _shared(groups):
            amount = share(len(shared), len(groups[second]), what)
            notes.append(
                f"{_are_in(amount, first, second)}, such as {listed(sorted(shared)[:3])}: {end}"
            )
    return notes


def shared_names(splits: Mapping[str, Examples]) -> list[str]:
    """Series of one name in two splits, which may be parts of the same recording."""
    names_by_split = {
        split: {name for raw in examples.inputs if (name := getattr(raw, "name", ""))}
        for split, examples in splits.items()
    }
    return [
        f"{share(len(shared), len(names_by_split[second]), 'series')} of the {second} split have "
        f"the name of one in the {first} split, such as {listed(sorted(shared)[:3])}: if they are "
        "parts of the same recordings, its scores are not of new ones"
        for first, second, shared in _shared(names_by_split)
    ]


def _shared(names_by_split: Mapping[str, set[str]]) -> Iterator[tuple[str, str, set[str]]]:
    """Two splits, and the names that stand in both; for all that have some in common."""
    for (first, earlier), (second, names) in combinations(names_by_split.items(), 2):
        if shared := earlier & names:
            yield first, second, shared


def _are_in(amount: str, first: str, second: str) -> str:
    return f"{amount} of the {second} split are in the {first} split, too"


# what examples consist of


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


def _digests(inputs: Sequence[Any]) -> np.ndarray:
    return np.fromiter(map(xxhash.xxh3_64_intdigest, contents(inputs)), np.uint64, len(inputs))
