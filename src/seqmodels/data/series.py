"""Series of numbers: your own, from tables with a row for each step or for each series; and those
of the UEA/UCR archive, loaded by name with sktime, which bundles some of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from importlib.metadata import distribution
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
from pydantic import Field

from seqmodels.arguments import Name
from seqmodels.batch import Per, SequenceBatch
from seqmodels.data.columns import Columns
from seqmodels.data.examples import GROUP_KEY, InputRow, Split, shared_names
from seqmodels.data.gaps import array_with_gaps, check_na_values, note_of_placeholders
from seqmodels.data.roles import (
    ColumnRole,
    Role,
    channels_line,
    check_channels,
    group_columns,
    left_out_line,
    roles_of,
    unsorted_times,
)
from seqmodels.data.series_inputs import Missing, Scale, Series, Stack, TableSeries
from seqmodels.data.sources import ROLES, OwnFiles, Table, as_file
from seqmodels.data.steps import (
    OF_LISTS,
    Steps,
    StepsOfSeries,
    check_each_time_once,
    columns_by_channel,
    has_numbers,
    in_order,
    joined,
    note_of_shape,
    note_of_uneven_times,
    rows_of_one_series,
    rows_of_ts,
    steps_of_files,
    steps_of_lists,
    steps_of_rows,
)
from seqmodels.data.tables import ending, json_rows
from seqmodels.data.targets import Classes, Tags, TargetEncoder, Values, holds_numbers
from seqmodels.data.times import times_of
from seqmodels.data.wide import forgotten_steps, with_gaps_by_channel, with_lists
from seqmodels.errors import (
    SettingError,
    UserError,
    choices,
    listed,
    setting,
    shown,
    unusable,
)
from seqmodels.files import called

ELAPSED = "elapsed"  # the channel of `data.elapsed`


# Hydra reads [0,1,2] as numbers, which may be names of columns.
WideSteps = str | Annotated[list[Name | int], Field(min_length=1)]
"""The columns that are steps; see `columns_of_channels`."""


class SeriesTable(OwnFiles):
    """Series of numbers from tables, with a label or values for each series or for each step.

    A table has a row for each step, and a column that names the series; or a row for each series,
    whose cells are lists with a number for each step (Parquet, JSON Lines), or which has a column
    for each step. `.ts` files of the UEA/UCR archive are read, too. Splits without a file are cut
    from `train`.

    Args:
        splits: `train`, `validation` and `test`, a file each or rows in memory.
        series: the column that names the series of each row; None: each row is a series.
        time: the column to sort the steps of a series by, numbers or dates; None: they stand in
            order.
        steps: what numbered columns have before their number, such as `t` for t0 to t99, which are
            the steps of the series in each row; or a list of that for several channels, or of the
            columns themselves for one.
        inputs: the channels; None: the columns of numbers that `roles_of` finds. A column of texts
            is a channel for each text that training has.
        label_column: the labels. If they vary within a series, each step has its own.
        value_columns: numbers to predict instead of labels.
        per: whether there is a target for each `sequence` or `step`; None: as the labels vary.
        labels: a second table with a row for each series, with labels, groups, and further inputs,
            which all steps have.
        files: the column of `train` that names a file for each series, with its steps.
        elapsed: whether the time since the step before is a channel, `log1p` of the seconds, or of
            what numbers count; 0 at the first step. It needs `time`.
        weight_column: how much each series counts in the loss.
        stack, missing, scale: how to encode series; see `Series`.
        options: `group`, `split`, `batch_size` and the other arguments of `OwnFiles`.
    """

    inputs: Series

    def __init__(
        self,
        *splits: Any,
        series: Name | None = None,
        time: Name | None = None,
        steps: WideSteps | None = None,
        inputs: Annotated[list[Name], Field(min_length=1)] | None = None,
        label_column: Name = "label",
        value_columns: Annotated[list[Name], Field(min_length=1)] | None = None,
        per: Per | None = None,
        labels: Table | None = None,
        files: Name | None = None,
        elapsed: bool = False,
        weight_column: Name | None = None,
        stack: Stack = 1,
        missing: Missing = "error",
        scale: Scale = "split",
        **options: Any,
    ) -> None:
        encoder = Series(stack=stack, missing=missing, scale=scale)
        super().__init__(*splits, inputs=encoder, **options)
        self.by, self.time, self.chosen, self.files = series, time, inputs, files
        self.steps = [*map(str, steps)] if isinstance(steps, list) else steps
        self.label_column, self.value_columns, self._per = label_column, value_columns, per
        self.labels = None if labels is None else as_file(labels, "data.labels")
        self.elapsed = elapsed
        self._check_keys()
        if weight_column:
            self.roles = {**self.roles, "weight": weight_column}
        self.mismatch = ""  # why there is a target for each series or step
        self._found: list[str] = []  # notes
        self.guesses: list[str] = []  # those of what nobody has said
        self.column_roles: list[ColumnRole] = []  # of the training split, once read
        self._has_looked = False  # at the training split
        self._targets_of_training: TargetEncoder
        self._channels: dict[str, bool] = {}  # of training, each with whether it holds texts
        self._wide_channels: list[str] = []  # of `data.steps`
        self._columns_of_steps: set[str] = set()  # of wide tables
        self._train: dict[str, Steps] = {}  # by path; once read, until it becomes examples

    def _check_keys(self) -> None:
        """Raises a `UserError` for keys that contradict each other."""
        if self.steps is not None and (self.time or self.files):
            key = "data.time" if self.time else "data.files"
            raise UserError(f"data.steps: each row is a series, and has no other steps: omit {key}")
        for name in self.chosen or ():
            if name in self._targets:
                raise UserError(
                    f"data.inputs: {name!r} is what the model is to predict: leave it out"
                )
            if self.chosen and self.chosen.count(name) > 1:
                raise UserError(f"data.inputs names the column {shown(name)!r} twice: name it once")
        if self.labels and not (self.by or self.files):
            raise UserError("data.labels has a row for each series: set data.series, its name")
        if self.elapsed and self.time is None:
            raise UserError(
                "data.elapsed needs the times of the steps: set data.time, their column"
            )

    @cached_property
    def targets(self) -> TargetEncoder:
        """By the labels of the training split, or as `per` says."""
        self.look_at_training()
        return self._targets_of_training

    def look_at_training(self) -> None:
        """Reads the training split, once, and sees which channels and targets there are."""
        if self._has_looked:
            return
        self._has_looked = True
        path = self.split_paths()["train"]
        if ending(path) == ".ts":
            for role in self.roles:
                raise UserError(f"{path} has no columns: leave {ROLES[role]} out")
            self._targets_of_training = Values() if has_numbers(path) else Classes()
            return
        [steps] = self._steps_of(path)
        self._train[path] = steps
        names = {*steps.columns.table.column_names, *self._columns_of_steps}
        check_na_values(self.tables.na_values, names, called(path))
        self._check_targets(steps)
        self._find_channels(steps)
        several = self._several(steps)
        same = f"{listed(self._targets)} is the same at all steps of each series"
        if several and all(map(steps.is_only_in_one_step, self._targets)):
            several += ", which is one for each series if you repeat it at each step"
        self.mismatch = f"; {several or same}"
        per: Per = "step" if several else "sequence"
        self._targets_of_training = targets = self._encoder(self._per or per)
        self.other_targets = []
        if not several and per == targets.per:
            self.other_targets.append(("data.per=step", "step", self._encoder("step").target))
        if not self.value_columns and holds_numbers(steps.columns.names(self.label_column).names):
            words = setting("data.value_columns", [self.label_column])
            self.other_targets.append((words, targets.per, Values.target))

    def _check_targets(self, steps: Steps) -> None:
        key = "data.value_columns" if self.value_columns else "data.label_column"
        for column in self._targets:
            steps.columns.check(column, key)

    def _find_channels(self, steps: Steps) -> None:
        """Gives each column of the training split a role, and notes which."""
        table, keys = steps.columns, self._keys()
        for column in self.chosen or ():
            table.check(column, "data.inputs")
        self.column_roles = roles_of(steps, keys, self.chosen)
        check_channels(table.path, self.column_roles)
        channels = [each.column for each in self.column_roles if each.role == "channel"]
        channels = self.chosen or channels  # in their order
        self._channels = {column: table.holds_texts(column) for column in channels}
        if self.elapsed:
            if ELAPSED in table:
                raise UserError(
                    f"{table.path} has a column {ELAPSED!r}, which data.elapsed adds: rename it, "
                    "or leave data.elapsed out"
                )
            self._channels[ELAPSED] = False
            self.column_roles.append(
                ColumnRole(ELAPSED, "channel", f"since the {self.time} before")
            )
        left_out = left_out_line(self.column_roles)
        channel_count = sum(not holds_texts for holds_texts in self._channels.values())
        shape = note_of_shape(steps, channel_count, is_wide=self.steps is not None)
        if not self.chosen:
            self._found.append(channels_line(self.column_roles))
            self.guesses += filter(None, [left_out])
        self.guesses += filter(None, [shape])
        self._found += filter(None, [left_out, shape, *unsorted_times(steps, self.column_roles)])
        for column, holds_texts in self._channels.items():
            if not holds_texts and not self._is_elapsed(column):
                numbers = table.numbers(column)
                self._found += filter(None, [note_of_placeholders(numbers, column, table.path)])

    @property
    def _channels_of_training(self) -> dict[str, bool]:
        """The channels that training has, each with whether it holds texts; none if nobody has
        looked at it yet."""
        if self._fitted and self.inputs.columns:
            return self.inputs.holds_texts
        return self._channels

    def _keys(self) -> dict[str, Role]:
        """What the configuration says of columns."""
        keys = dict[str, Role]()
        if self.steps is not None:
            keys |= dict.fromkeys(self._wide_channels, "channel")
        keys |= dict.fromkeys(self._targets, "value" if self.value_columns else "label")
        columns = {**self.roles, "file": self.files, "time": self.time, "series": self.by}
        return keys | {column: cast(Role, role) for role, column in columns.items() if column}

    def _encoder(self, per: Per) -> TargetEncoder:
        if self.value_columns:
            return Values(self.value_columns, per)
        targets = Tags() if per == "step" else Classes()
        targets.column = self.label_column
        return targets

    @property
    def _targets(self) -> list[str]:
        return self.value_columns or [self.label_column]

    def _several(self, steps: Steps) -> str:
        """Which series has several targets; empty if none has."""
        found = (steps.varying(c, numbers=bool(self.value_columns)) for c in self._targets)
        return next(filter(None, found), "")

    @property
    def spec(self) -> dict[str, Any]:
        elapsed = {"elapsed": self.time} if self.elapsed else {}
        return {**super().spec, "per": self.per, **elapsed}

    def use_spec(self, spec: Mapping[str, Any]) -> None:
        per = spec["per"]  # without the files
        self.targets = Values(spec["values"], per) if "values" in spec else self._encoder(per)
        super().use_spec(spec)

    def read_inputs(self, path: str) -> Iterator[Any]:
        return (row.raw for row in self.read_rows(path))

    def read_rows(self, path: str) -> Iterator[InputRow]:
        for raw, *also in self.read_file(path, targets=False):
            is_in_file = also and path != "-"
            yield InputRow(raw, also[0]) if is_in_file else InputRow(raw)

    def read_file(
        self, path: str, targets: bool = True, by_line: bool = False
    ) -> Iterator[tuple[Any, ...]]:
        """Each series of a file with its target or None, and what `Examples.also` holds of it.
        Raises a `UserError` if the file cannot be read, or something in it is wrong.

        Args:
            targets: whether to read more than the inputs.
            by_line: whether each line of standard input is a series.
        """
        if targets and not self._fitted:
            self.look_at_training()
        if ending(path) == ".ts":
            yield from rows_of_ts(path)
            return
        train = self._train.pop(path, None)  # large
        for steps in [train] if train else self._steps_of(path, targets, by_line):
            yield from self._examples(steps, targets, training=train is not None)

    def read_steps(self, path: str) -> Iterator[Any]:
        for raw, *_ in self.read_file(path, targets=False, by_line=True):
            for n in range(len(raw)):
                yield raw.part(n, n + 1) if isinstance(raw, TableSeries) else raw[n : n + 1]

    def describe(self, raw: Any) -> dict[str, Any]:
        times = getattr(raw, "times", None) if self.per == "step" else None
        timed = {} if times is None else {"time": times.texts()}
        return {**super().describe(raw), **timed}

    def batch_of(self, raw: Sequence[Any], source: str = "inputs", first: int = 1) -> SequenceBatch:
        return super().batch_of([*map(self._known_values, raw)], source, first)

    def batch_of_steps(self, raw: Sequence[Any], kept: dict[str, Any]) -> SequenceBatch:
        if self.elapsed:
            raw = [self._after(series, row, kept) for row, series in enumerate(raw)]
        return super().batch_of_steps([*map(self._known_values, raw)], kept)

    def _known_values(self, series: Any) -> Any:
        """A series with nan where a value stands for nothing; those of a table have it already."""
        if self.tables.na_values is None or isinstance(series, TableSeries):
            return series
        return array_with_gaps(series, self.tables.na_values, self.inputs.columns or [])

    # from a table to its steps

    def _steps_of(self, path: str, targets: bool = True, by_line: bool = False) -> Iterator[Steps]:
        """Those of a file; of standard input, also of each series as soon as it is there."""
        if path != "-":
            yield self._ordered(self._read(path), targets)
            return
        rows = []
        for row in json_rows(path):
            is_series = by_line or self.steps is not None
            if is_series or any(isinstance(value, list) for value in row.values()):
                yield self._ordered(self.tables.of_rows([row], path, self._texts), targets)
            else:
                rows.append(row)
        if rows:
            yield self._ordered(self.tables.of_rows(rows, path, self._texts), targets)

    def _read(self, path: str) -> Columns:
        """The table in a file."""
        table = self.tables.read(path, texts=self._texts)
        if self.time is not None and self.time in table:
            table = self.tables.with_exact_numbers(table, path, self.time)
        return table

    @property
    def _texts(self) -> set[str]:
        """Columns that hold no numbers, whatever they look like."""
        roles = [column for role, column in self.roles.items() if role != "weight"]
        return {*filter(None, (self.by, self.files, self.label_column, *roles))}

    def _ordered(self, table: Columns, targets: bool) -> Steps:
        """The steps of a table in order, with what other tables say of their series."""
        rows = self._rows_of(table)
        if self.labels and rows.names is not None and self._lacks_labels(rows.columns, targets):
            series = self.by or self.files
            assert series
            labels = self.tables.read(self.labels, texts=self._texts)
            rows = replace(rows, columns=joined(rows.columns, rows.names, labels, series))
        times = None
        needs_times = self.elapsed or not (self._fitted and rows.are_in_order)
        if self.time is not None and (self.time in rows.columns or needs_times):
            times = times_of(rows.columns, self.time)
        steps = in_order(rows, times)
        if times is not None:
            check_each_time_once(steps)
            if not self.elapsed:
                self._found += filter(None, [note_of_uneven_times(steps, str(self.time))])
        return steps

    def _rows_of(self, table: Columns) -> StepsOfSeries:
        """The steps of a table, each with its series."""
        by = self.by
        if self.steps is not None:
            table = self._from_wide(table, self.steps)
        channels = [*(self.chosen or ()), *self._channels_of_training]
        lists = [OF_LISTS.sub("", channel) for channel in channels]
        wanted, guess = {*self._keys(), *channels, *lists}, not channels
        if self.files and (self.files in table or not self._fitted):
            read = partial(self.tables.read, texts=self._texts)
            return steps_of_files(table, self.files, by, read, wanted, guess=guess)
        if table.lists:
            if self._fitted and by not in table:
                by = None  # a new series needs no name
            return steps_of_lists(table, by, wanted, guess=guess)
        if by is None and not self.files:  # which has one
            columns = table.table.column_names
            texts = choices("", filter(table.holds_texts, columns))
            if wide := forgotten_steps(columns):
                raise UserError(
                    f"{table.path}: if each row is a series, {wide}; if each is a step, set "
                    f"data.series: {texts}"
                )
            raise SettingError(
                f"{table.path}: each row is a step, so set data.series: {texts}",
                f"{table.path}: each row is a step, and this run reads a row for each series, with "
                "its steps as lists in the cells",
            )
        return steps_of_rows(table, by)

    def _lacks_labels(self, table: Columns, targets: bool) -> bool:
        """Whether a table lacks a column that the second table is for: the training split may lack
        any."""
        channels = self._channels_of_training
        if not channels:
            return True
        needed = [column for column in channels if not self._is_elapsed(column)]
        needed += self._targets if targets else []
        if not self._fitted:
            needed += self.roles.values()
        return not all(column in table for column in needed)

    def _from_wide(self, table: Columns, steps: str | list[str]) -> Columns:
        """A wide table with lists in the place of its steps."""
        self._columns_of_steps.update(table.table.column_names)
        if isinstance(self.tables.na_values, Mapping) and not table.lists:  # by channel
            table = with_gaps_by_channel(table, steps, self.tables.na_values)
        table, note = with_lists(table, steps)
        self._wide_channels = table.lists
        if note and not self._fitted:
            self._found.append(note)
        if self.by and self.by in table:
            names = table.filled(self.by, "data.series")
            if both := rows_of_one_series(table, names):
                raise UserError(f"{table.path}: {both}, but with data.steps each row is one")
        return table

    def _is_elapsed(self, column: str) -> bool:
        return self.elapsed and column == ELAPSED

    # from steps to examples

    def _examples(
        self, steps: Steps, wanted: bool = True, training: bool = False
    ) -> Iterator[tuple[Any, ...]]:
        table = steps.columns
        raw, first = self._series_of(steps), table.take(steps.starts[:-1])
        if not wanted:
            yield from self._with_ids(first.rows({}, raw), steps)
            return
        roles = {role: column for role, column in self.roles.items() if column in table}
        roles.pop("id", None)
        for role, column in roles.items():
            if several := steps.varying(column, numbers=role == "weight"):
                raise UserError(f"{table.path}: {several}: one is needed for all its steps")
        if "group" not in roles and training:
            roles |= {GROUP_KEY + column: column for column in group_columns(self.column_roles)}
        targets = self._targets_of(steps, first)
        yield from self._with_ids(first.rows(roles, raw, targets), steps)

    def _targets_of(self, steps: Steps, first: Columns) -> Iterable[Any]:
        """The raw target of each series.

        Args:
            first: the first step of each series.
        """
        self._check_targets(steps)
        if self.per == "step":
            targets = self._values_of(steps.columns)
            if targets is None:
                targets = steps.columns.names(self.label_column).texts
            return np.split(targets, steps.starts[1:-1])
        if several := self._several(steps):
            path = steps.columns.path
            raise SettingError(
                f"{path}: {several}: to learn one at each step, leave out data.per=sequence",
                f"{path}: {several}, and this run has one for each series: repeat it",
            )
        values = self._values_of(first)
        return first.filled(self.label_column).texts if values is None else values

    def _values_of(self, table: Columns) -> np.ndarray | None:
        """The numbers to predict in each row, `(N, K)`; None if labels are to be predicted."""
        if not self.value_columns:
            return None
        return np.stack([table.numbers(column) for column in self.value_columns], axis=1)

    def _with_ids(self, rows: Iterator[tuple[Any, ...]], steps: Steps) -> Iterator[tuple[Any, ...]]:
        """Rows of series whose last item is a dict, with the `id` of each series in it, or the
        ids of its steps if these differ."""
        column = self.roles.get("id")
        if column is None or column not in steps.columns:
            yield from rows
            return
        for (*read, also), own_id in zip(rows, steps.ids(column), strict=True):
            yield *read, {**also, "id": own_id}

    def _series_of(self, steps: Steps) -> list[TableSeries]:
        """What the encoder reads of each series: the channels of training."""
        if not self._channels_of_training:
            self._find_channels(steps)
        is_text = self._channels_of_training
        table, columns = steps.columns, [*is_text]
        of_table = [column for column in columns if not self._is_elapsed(column)]
        places = columns_by_channel(of_table, table)
        for column in places.values():
            table.check(column, "data.inputs")
        numeric = [column for column in columns if not is_text[column]]
        numbers = np.empty((len(table), len(numeric)))
        for n, column in enumerate(numeric):
            if self._is_elapsed(column):
                numbers[:, n] = steps.elapsed()
            else:
                numbers[:, n] = table.numbers(places[column])
        texts = {c: table.names(places[c]) for c in columns if is_text[c]}
        return [
            TableSeries(
                numbers=numbers[start:stop],
                columns=columns,
                texts={column: names.part(start, stop) for column, names in texts.items()},
                name=steps.names[n],
                times=None if steps.times is None else steps.times[start:stop],
                number=n,
            )
            for n, (start, stop) in enumerate(pairwise(steps.starts.tolist()))
        ]

    def _after(self, series: Any, row: int, kept: dict[str, Any]) -> Any:
        """The next steps of a row, whose first one comes after what `kept` has as the last time."""
        if not isinstance(series, TableSeries) or series.times is None:
            return series
        last_times = kept.setdefault("times", {})
        if row in last_times:
            series = series.after(last_times[row], ELAPSED)
        last_times[row] = series.times[-1:]
        return series

    @property
    def notes(self) -> Sequence[str]:
        shared = [] if "group" in self.roles else shared_names(self.examples)
        return [*self._found, *super().notes, *shared]

    @property
    def summary(self) -> Sequence[str]:
        if not self.mismatch:  # a file of the archive says so
            return super().summary
        what = "values" if self.value_columns else "a label"
        per = "series" if self.per == "sequence" else "step"
        return [f"{line}; {what} for each {per}" for line in super().summary]


class UEA(SeriesTable):
    """A data set of the UEA/UCR archive (https://timeseriesclassification.com).

    The archive has a training and a test split; validation is cut from training. Its files say
    whether they have a class for each series (`@classLabel`) or a number (`@targetLabel`).

    Args:
        name: as the archive spells it. Data sets that sktime does not bundle are downloaded once.
        options: `stack`, `missing`, `scale` and the other arguments of `SeriesTable`.
    """

    def __init__(self, name: Name, **options: Any) -> None:
        if not re.fullmatch(r"\w[\w-]*", name):
            raise UserError(f"data.name is {name!r}: it must be a name, such as JapaneseVowels")
        super().__init__(**options)
        self.dataset_name = name

    @property
    def title(self) -> str:
        return self.dataset_name

    def split_paths(self) -> dict[Split, str]:
        name = self.dataset_name
        return {"train": _in_archive(name, "train"), "test": _in_archive(name, "test")}


def _in_archive(name: str, split: Split) -> str:
    """The file that sktime has of a split, or downloads."""
    root = Path(str(distribution("sktime").locate_file("sktime")), "datasets")
    file = Path(name, f"{name}_{split.upper()}.ts")
    paths = [root / "data" / file, root / "local_data" / file]  # bundled, downloaded
    known = "such as JapaneseVowels, PLAID or BasicMotions"
    with unusable(f"data.name={name} is neither in sktime nor in its archive: choose one, {known}"):
        if not any(path.is_file() for path in paths):
            from sktime.datasets import load_UCR_UEA_dataset

            load_UCR_UEA_dataset(name, split=split)
        return str(next(path for path in paths if path.is_file()))
