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
# Predictions can be joined by these.
IDENTITY = ("source_row", "id")
# Stands in `Examples.also` before the name of a column that may say whose an example is.
GROUP_KEY = "data.group="
# The bytes of an array that is no smaller are hashed one by one, and not joined with others.
LARGE = 80_000
# Groups are divided into about so many pieces, of which a cut takes some.
PIECES = 20


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
        columns = {"target": self.targets, **self.also}
        for name, column in columns.items():
            if len(column) != len(self.inputs):
                raise UserError(
                    f"{self.source}: there are {len(self.inputs)} inputs and {len(column)} "
                    f"{name}s: give one for each"
                )

    def __len__(self) -> int:
        return len(self.inputs)

    def identities(self) -> list[dict[str, Any]]:
        """What says which row of its file each example is: `source_row` and `id`, as far as they
        are known; empty if neither is."""
        names = [name for name in IDENTITY if name in self.also]
        columns = [self.also[name] for name in names]
        rows = zip(*columns, strict=True)
        return [dict(zip(names, values, strict=True)) for values in rows]

    def take(self, indices: np.ndarray) -> Examples:
        """The examples at these indices."""
        inputs = take(self.inputs, indices)
        targets = take(self.targets, indices)
        also = {name: take(column, indices) for name, column in self.also.items()}
        return Examples(inputs, targets, self.source, also)

    @classmethod
    def of(cls, rows: Iterable[tuple[Any, ...]], source: str) -> Examples:
        """Examples of pairs `(input, target)`, or of triples with a dict of what else is known.
        Raises a `UserError` if the target of an example is None."""
        inputs = []
        targets = []
        also = dict[str, list[Any]]()
        for number, (raw, target, *further_values) in enumerate(rows, start=1):
            if target is None:
                raise UserError(f"{source}: example {number} has no label")
            inputs.append(raw)
            targets.append(target)
            for value_by_name in further_values:
                for name, value in value_by_name.items():
                    also.setdefault(name, []).append(value)
        return cls(inputs, targets, source, also)


def take(values: Sequence[Any], indices: np.ndarray) -> list[Any]:
    """The values at these indices."""
    return [values[index] for index in indices.tolist()]


# Cut into splits.


def by_split(examples_by_split: Mapping[Split, Examples]) -> dict[Split, Examples]:
    """The splits that a column of the training examples says there are, and those that have a file
    of their own. Raises a `UserError` for another name than `train`, `validation` and `test`, or a
    file for a split that the column has, too."""
    train = examples_by_split["train"]
    split_names = np.array(train.also.get("split", ()))  # (N,); empty without such a column
    splits = dict(examples_by_split)
    for name in dict.fromkeys(split_names.tolist()):
        if name not in SPLITS:
            raise UserError(f"{train.source}: a split is {shown(name)!r}: {choices(name, SPLITS)}")
        if name in examples_by_split and name != "train":
            raise UserError(f"{train.source} has a {name} split, so leave data.{name} out")
        splits[name] = train.take(np.flatnonzero(split_names == name))
    if len(split_names) and "train" not in split_names:
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
    has_groups = "group" in examples.also
    if has_groups:
        rows = _rows_of_groups(examples, fraction, seed, strata)
    else:
        rows = _rows_of_classes(examples, fraction, seed, strata)
    if not len(rows):
        if has_groups:
            group = shown(str(examples.also["group"][0]))
            reason = f"all of it is of one group, {group!r}, which no cut divides"
        elif strata is None:
            reason = "there are fewer than two examples"
        else:
            reason = "no class has two examples"
        raise UserError(
            f"cannot cut a {split} split from {examples.source}: {reason}; give data.{split}"
        )
    if len(rows) == len(examples):
        raise UserError(
            f"cannot cut {fraction:g} of {examples.source} off for the {split} split: nothing "
            "remains; cut off a share below 1"
        )
    return without(examples, rows)


def without(examples: Examples, rows: np.ndarray) -> tuple[Examples, Examples]:
    """The examples but those of these rows; and those of these rows, in order."""
    rows = np.sort(rows)
    remaining_rows = np.delete(np.arange(len(examples)), rows)
    return examples.take(remaining_rows), examples.take(rows)


def _rows_of_classes(
    examples: Examples, fraction: float, seed: int, strata: Sequence[str] | None
) -> np.ndarray:
    """The rows to cut off examples without groups: of each class, the fraction at random. Empty if
    no class has two."""
    random = np.random.default_rng(seed)
    classes = [""] * len(examples) if strata is None else strata
    rows_by_class = dict[str, list[int]]()
    for row, name in enumerate(classes):
        rows_by_class.setdefault(name, []).append(row)
    shuffled_rows = [random.permutation(rows) for _, rows in sorted(rows_by_class.items())]

    sizes = np.array([len(rows) for rows in shuffled_rows])
    shares = fraction * sizes
    counts = np.floor(shares).astype(int)  # how many rows to cut off each class
    # Rounded down, the counts lack some rows. The classes with the largest remainders give one row
    # more each, if they keep another one; lots decide between equal remainders.
    remainders = shares - counts
    lots = random.permutation(len(sizes))
    ranking = np.lexsort((lots, -remainders.round(9)))  # the classes, the first ones first
    keeps_another = counts[ranking] < sizes[ranking] - 1
    lacking_count = max(round(fraction * len(examples)), 1) - counts.sum()
    counts[ranking[keeps_another][:lacking_count]] += 1
    cut_rows = [rows[:count] for rows, count in zip(shuffled_rows, counts, strict=True)]
    return np.concatenate(cut_rows)


def _rows_of_groups(
    examples: Examples, fraction: float, seed: int, strata: Sequence[str] | None
) -> np.ndarray:
    """The rows to cut off examples with groups: those of whole groups. Empty if all are of one
    group."""
    group_count = len(set(examples.also["group"]))
    if group_count < 2:
        return np.zeros(0, int)
    piece_count = min(group_count, max(PIECES, round(1 / fraction)))
    pieces = folds_of(examples, piece_count, seed, strata)
    # Where each group is a piece, these stand in the order of groups.
    np.random.default_rng(seed).shuffle(pieces)

    exact_count = fraction * len(examples)
    rows = np.zeros(0, int)
    for piece in pieces[:-1]:  # The last one remains in any case.
        count_with_piece = len(rows) + len(piece)
        if abs(count_with_piece - exact_count) < abs(len(rows) - exact_count):
            rows = np.concatenate([rows, piece])
    if not len(rows):
        # Each piece is more than twice the share.
        return min(pieces, key=len)
    return rows


def folds_of(
    examples: Examples, folds: int, seed: int, strata: Sequence[str] | None
) -> list[np.ndarray]:
    """The rows of the examples of each of so many folds, by scikit-learn's splitters: with classes
    as even as possible, and never through a group. Raises a `UserError` if there are fewer groups
    or examples."""
    from sklearn.model_selection import LeaveOneGroupOut, StratifiedGroupKFold, StratifiedKFold

    # The number of each example's class. Where no class has an example for each fold, all are of
    # one class.
    classes = np.zeros(len(examples), int)
    if strata is not None:
        _, numbers = np.unique(strata, return_inverse=True)
        if np.bincount(numbers).max() >= folds:
            classes = numbers

    groups = examples.also.get("group")
    unit_count = len(examples)
    units = "examples"
    if groups is not None:
        unit_count = len(set(groups))
        units = "groups"
    if unit_count < folds:
        raise UserError(f"{examples.source}: {unit_count} {units} are too few for {folds} folds")

    splitter: Any
    if groups is None:
        splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    elif unit_count == folds:
        splitter = LeaveOneGroupOut()
    else:
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings(), refusing(f"{examples.source}: {folds} folds", ValueError):
        # scikit-learn warns of classes with fewer examples than folds.
        warnings.simplefilter("ignore")
        return [rows for _, rows in splitter.split(classes, classes, groups)]


# Notes on what splits have in common.


def share(count: int, total: int, unit: str) -> str:
    """`3 of 40 labels (7.50 %)`."""
    return f"{count:,} of {total:,} {unit} ({100 * count / total:.2f} %)"


def number_of_steps(lengths: np.ndarray) -> str:
    """`3 to 7 steps`, or `7 steps` where all lengths are the same."""
    shortest, longest = lengths.min(), lengths.max()
    if shortest == longest:
        return f"{longest:,} step" if longest == 1 else f"{longest:,} steps"
    return f"{shortest:,} to {longest:,} steps"


def repeated(
    splits: Mapping[str, Examples], unit: str = "rows", target_word: str = "target"
) -> list[str]:
    """A note for each two splits: how many rows of the later one have the same input as some row of
    the earlier one, and how many of these have another target than all such rows.

    Args:
        unit, target_word: what the notes call rows, and the target of one.
    """
    digests_by_split = {split: _digests(examples.inputs) for split, examples in splits.items()}
    notes = []
    for (first, first_digests), (second, digests) in combinations(digests_by_split.items(), 2):
        shared_rows = np.flatnonzero(np.isin(digests, first_digests))
        count = len(shared_rows)
        if count == 0:
            continue
        amount = share(count, len(digests), unit)
        note = f"{amount} of the {second} split are in the {first} split, too"
        first_rows = np.flatnonzero(np.isin(first_digests, digests))
        known_pairs = set(_with_targets(first_digests, splits[first], first_rows))
        pairs = _with_targets(digests, splits[second], shared_rows)
        num_contradictions = sum(pair not in known_pairs for pair in pairs)
        if num_contradictions:
            note += f", with another {target_word}: {num_contradictions:,}"
        if count == len(digests):
            note += "; are they the same file?"
        notes.append(note)
    return notes


def _with_targets(
    digests: np.ndarray, examples: Examples, rows: np.ndarray
) -> list[tuple[int, int]]:
    """The hash of the input of each of these rows, and that of its target.

    Args:
        digests: those of the inputs of all rows.
    """
    target_digests = _digests(take(examples.targets, rows))
    return list(zip(digests[rows].tolist(), target_digests.tolist(), strict=True))


def shared_groups(splits: Mapping[str, Examples]) -> list[str]:
    """A note for each two splits with the same groups: of splits with a file each; and of columns
    that may say whose an example is."""
    names = {name for examples in splits.values() for name in examples.also}
    keys = sorted(name for name in names if name.startswith(("group", GROUP_KEY)))
    notes = []
    for key in keys:
        groups_by_split = {
            split: set(examples.also.get(key, ())) for split, examples in splits.items()
        }
        if key == "group":
            unit = "groups"
            advice = "its scores are not of new ones"
        else:
            unit = f"values of {key.removeprefix(GROUP_KEY)!r}"
            advice = f"set {key} for scores of new ones"
        for first, second, shared in _shared_names(groups_by_split):
            amount = share(len(shared), len(groups_by_split[second]), unit)
            notes.append(
                f"{amount} of the {second} split are in the {first} split, too, such as "
                f"{listed(sorted(shared)[:3])}: {advice}"
            )
    return notes


def shared_names(splits: Mapping[str, Examples]) -> list[str]:
    """A note for each two splits with series of the same name, which may be parts of the same
    recording."""
    names_by_split = dict[str, set[str]]()
    for split, examples in splits.items():
        names = {getattr(raw, "name", "") for raw in examples.inputs}
        names_by_split[split] = {name for name in names if name}
    notes = []
    for first, second, shared in _shared_names(names_by_split):
        amount = share(len(shared), len(names_by_split[second]), "series")
        notes.append(
            f"{amount} of the {second} split have the name of one in the {first} split, such as "
            f"{listed(sorted(shared)[:3])}: if they are parts of the same recordings, its scores "
            "are not of new ones"
        )
    return notes


def _shared_names(names_by_split: Mapping[str, set[str]]) -> Iterator[tuple[str, str, set[str]]]:
    """Each two splits that have names in common, and these names."""
    for (first, first_names), (second, names) in combinations(names_by_split.items(), 2):
        shared = first_names & names
        if shared:
            yield first, second, shared


# Hashes of what examples consist of.


def contents(values: Iterable[Any]) -> Iterator[bytes | memoryview]:
    """What each raw input or target consists of."""
    return map(_content, values)


def _content(value: Any) -> bytes | memoryview:
    if isinstance(value, list | tuple) and any(hasattr(item, "__array__") for item in value):
        return digest(value).encode()
    if isinstance(value, memoryview):
        return value  # It may be large, and is not copied.
    if hasattr(value, "content"):
        return value.content()
    if not hasattr(value, "__array__"):
        return str(value).encode()
    array = np.asarray(value)
    if array.dtype == object:
        return repr(array.tolist()).encode()
    # What an array, a tensor or a table prints leaves most of it out.
    return content_of(f"{array.shape} {array.dtype} ", array)


def content_of(description: str, array: np.ndarray) -> bytes:
    """The bytes of an array after its description; of a large array, a hash of both."""
    if array.nbytes < LARGE:
        return description.encode() + array.tobytes()
    hasher = xxhash.xxh3_128(description.encode())
    values: Any = np.ascontiguousarray(array).reshape(-1).view(np.uint8)  # without a copy
    hasher.update(values)
    return hasher.digest()


def digest(*columns: Iterable[Any]) -> str:
    """A hash of raw inputs or targets: equal if and only if they are."""
    hasher = xxhash.xxh3_64()
    for values in columns:
        for content in contents(values):
            hasher.update(b"%d:" % len(content))
            hasher.update(content)
        hasher.update(b"\0")
    return hasher.hexdigest()


def _digests(inputs: Sequence[Any]) -> np.ndarray:
    """A hash of each raw input, `(N,)`."""
    hashes = map(xxhash.xxh3_64_intdigest, contents(inputs))
    return np.fromiter(hashes, np.uint64, len(inputs))
