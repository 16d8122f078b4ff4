"""What a look at a file says: what the file is, what a training would read of it, and the commands
that train on it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from seqmodels.data import DataModule, SeriesTable
from seqmodels.data.targets import NamedTargets
from seqmodels.errors import UserError, setting, shown
from seqmodels.instantiate import instantiate
from seqmodels.launch.composed import compose, group_files
from seqmodels.look.files import describe_files
from seqmodels.look.tables import Command
from seqmodels.plugins import trusted_classes
from seqmodels.screen import visible_line

# Of more classes, the most frequent ones are listed.
MOST_CLASSES = 20
# The groups of which a command chooses a file. A project that has deleted a task lacks its files.
CHOSEN_GROUPS = ("experiment", "model", "data")


def report(places: Sequence[str]) -> Iterator[str]:
    """The lines that say what some files are, and the commands that train on them. Raises a
    `UserError` for what a training would refuse."""
    description = describe_files(places)
    if not description.commands:
        raise UserError(
            f"{', '.join(places)}: {description.summary}, but no column to learn: add one with "
            "classes or numbers"
        )
    commands = _commands_of_this_project(description.commands)
    if not commands:
        raise UserError(
            f"{', '.join(places)}: {description.summary}, but this project has deleted the task "
            f"that learns {description.commands[0].learns}"
        )
    lines = [f"{', '.join(places)}: {description.summary}"]
    if not description.preparation:
        lines += _lines_about_data(commands[0])
    yield from map(visible_line, lines)
    if description.preparation:
        yield "\nFirst write a file that a training reads, in Python:\n"
        yield from description.preparation
    for command in commands:
        yield f"\nTo learn {visible_line(command.learns)}:\n"
        yield visible_line(" ".join(["seqmodels train", *_shell_words(command)]))


def _commands_of_this_project(commands: Sequence[Command]) -> list[Command]:
    """The commands whose files are all there."""
    files_by_group = group_files(CHOSEN_GROUPS)

    def chooses_a_missing_file(command: Command) -> bool:
        return any(
            group in command.settings and command.settings[group] not in files
            for group, files in files_by_group.items()
        )

    return [command for command in commands if not chooses_a_missing_file(command)]


def _shell_words(command: Command) -> list[str]:
    """The settings of a command as one writes them in a shell."""
    return [setting(key, value) for key, value in command.settings.items()]


def _lines_about_data(command: Command) -> Iterator[str]:
    """What a training with this command would read."""
    overrides = shlex.split(" ".join(_shell_words(command)))
    config = compose(*overrides)
    trusted = trusted_classes(config.imports, config.allowed_targets)
    data: DataModule = instantiate(config.data, key="data", allowed_targets=trusted)
    if isinstance(data, SeriesTable):
        data.keeps_values = True
    data.setup()
    if isinstance(data, SeriesTable):
        yield from _lines_about_series(data)
    targets = getattr(data, "targets", None)
    if isinstance(targets, NamedTargets):
        yield _line_about_classes(targets)
    yield from data.notes
    yield from data.summary


def _lines_about_series(data: SeriesTable) -> Iterator[str]:
    """How many numbers of the channels are missing, and how far apart steps are."""
    all_series: list[Any] = []
    for examples in data.examples.values():
        all_series += examples.inputs
    first_series = all_series[0]
    if not hasattr(first_series, "numbers"):
        return  # A file of the UEA archive has arrays, whose channels have no names.
    channels = [name for name in first_series.columns if name not in first_series.texts]
    step_count = sum(map(len, all_series))
    gap_counts = sum(np.isnan(series.numbers).sum(axis=0) for series in all_series)  # (channels,)
    gaps = list[str]()
    for channel, gap_count in zip(channels, gap_counts, strict=True):
        if gap_count:
            gaps.append(f"{shown(channel)} {100 * gap_count / step_count:.2g} %")
    if gaps:
        yield f"gaps: {', '.join(gaps)}"
    times = first_series.times
    if times is not None:
        steps_apart = np.concatenate([series.times.apart() for series in all_series])
        if len(steps_apart):
            median = float(np.median(steps_apart))
            yield f"times: a step each {times.quoted(median)} (median)"


def _line_about_classes(targets: NamedTargets) -> str:
    """The classes in training with their counts, the most frequent ones first."""
    classes = sorted(zip(targets.counts, targets.names, strict=True), reverse=True)
    counted_names = [f"{shown(name)} ({count:,})" for count, name in classes[:MOST_CLASSES]]
    line = f"{targets.word}s in training: {', '.join(counted_names)}"
    if len(classes) > MOST_CLASSES:
        line += f", and {len(classes) - MOST_CLASSES:,} others"
    return line
