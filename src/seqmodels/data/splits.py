"""Cut examples into splits: by class, by whole groups, or into folds; the same for every seed."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from seqmodels.data.examples import Examples
from seqmodels.data.module import SPLITS, Split
from seqmodels.errors import UserError, choices, refusing, shown

PIECES = 20  # of all groups, of which a cut takes some


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
