"""What a look at a file says: what a training with the command would read of it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from seqmodels.data import DataModule, SeriesTable
from seqmodels.data.targets import NamedTargets
from seqmodels.errors import setting, shown
from seqmodels.instantiate import instantiate
from seqmodels.launch.composed import compose
from seqmodels.look.files import kind_of
from seqmodels.look.tables import Choice
from seqmodels.plugins import trusted_classes
from seqmodels.screen import visible_line

MOST_CLASSES = 20  # More are not listed.


def report(places: Sequence[str]) -> Iterator[str]:
    """What some files are, line by line, and the commands that train on them. Raises a `UserError`
    for what a training would refuse."""
    kind = kind_of(places)
    lines = [f"{', '.join(places)}: {kind.what}"]
    if not kind.before:
        lines += _about(kind.choices[0])
    yield from map(visible_line, lines)
    if kind.before:
        yield "\nFirst write a file that a training reads, in Python:\n"
        yield from kind.before
    for choice in kind.choices:
        yield f"\nTo learn {visible_line(choice.learns)}:\n"
        yield visible_line(_command(choice))


def _command(choice: Choice) -> str:
    return " ".join(["seqmodels train", *_words(choice)])


def _words(choice: Choice) -> list[str]:
    """As a shell reads them."""
    return [setting(key, value) for key, value in choice.words.items()]


def _about(choice: Choice) -> Iterator[str]:
    """What a training with this command would read."""
    config = compose(*(word for text in _words(choice) for word in shlex.split(text)))
    trusted = trusted_classes(config.imports, config.allowed_targets)
    data: DataModule = instantiate(config.data, key="data", allowed_targets=trusted)
    data.setup()
    if isinstance(data, SeriesTable):
        yield from _about_series(data)
    targets = getattr(data, "targets", None)
    if isinstance(targets, NamedTargets):
        yield _classes(targets)
    yield from data.notes
    yield from data.summary


def _about_series(data: SeriesTable) -> Iterator[str]:
    """The gaps of channels, and the steps of time."""
    series: list[Any] = [each for split in data.examples.values() for each in split.inputs]
    if not hasattr(series[0], "numbers"):  # A file of the archive has none.
        return
    numeric = [name for name in series[0].columns if name not in series[0].texts]
    missing = sum(np.isnan(each.numbers).sum(axis=0) for each in series)
    total = sum(map(len, series))
    gaps = [
        f"{shown(name)} {100 * count / total:.2g} %"
        for name, count in zip(numeric, missing, strict=True)
        if count
    ]
    if gaps:
        yield f"gaps: {', '.join(gaps)}"
    if series[0].times is not None:
        apart = np.concatenate([each.times.apart() for each in series])
        if len(apart):
            yield f"times: a step each {series[0].times.quoted(float(np.median(apart)))} (median)"


def _classes(targets: NamedTargets) -> str:
    counts = sorted(zip(targets.counts, targets.names, strict=True), reverse=True)
    listed = [f"{shown(name)} ({count:,})" for count, name in counts[:MOST_CLASSES]]
    end = f", and {len(counts) - MOST_CLASSES:,} others" if len(counts) > MOST_CLASSES else ""
    return f"{targets.word}s in training: {', '.join(listed)}{end}"
