"""Series of numbers: your own, from tables with a row for each step or for each series; and those
of the UEA/UCR archive, loaded by name with sktime, which bundles some of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from importlib.metadata import PackageNotFoundError, distribution
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
from pydantic import Field
from torch import Tensor

from seqmodels.arguments import Name
from seqmodels.batch import Per, SequenceBatch
from seqmodels.data.columns import Columns, columns_by_name
from seqmodels.data.examples import (
    GROUP_KEY,
    Examples,
    InputRow,
    Split,
    by_split,
    shared_names,
)
from seqmodels.data.gaps import (
    array_with_gaps,
    check_na_values,
    may_have_placeholders,
    note_of_placeholders,
)
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
from seqmodels.data.series_inputs import (
    STEPS_TO_RETURN,
    Missing,
    Scale,
    Series,
    Stack,
    TableSeries,
)
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
from seqmodels.data.tables import READ_BY_COLUMN, ending, json_rows
from seqmodels.data.targets import Classes, Tags, TargetEncoder, Values, holds_numbers
from seqmodels.data.times import times_of
from seqmodels.data.wide import forgotten_steps, with_gaps_by_channel, with_lists
from seqmodels.errors import (
    SettingError,
    UserError,
    choices,
    listed,
    refusing,
    setting,
    shown,
    unusable,
)
from seqmodels.files import called
from seqmodels.installation import DISTRIBUTION
from seqmodels.machine import return_memory

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
        steps: the prefix of numbered columns, such as `t` for t0 to t99, which are the steps of the
            series in each row; or a list of prefixes for several channels, or of the columns
            themselves for one.
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
    # Whether `examples` keeps the values of long series, and the times of all, after `setup`.
    keeps_values = False

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
        self._table_notes: list[str] = []
        self.guesses: list[str] = []  # the notes on what nobody has said
        # What reading the training split sets:
        self._has_looked = False
        self.column_roles: list[ColumnRole] = []
        self._targets_of_training: TargetEncoder
        self._channels: dict[str, bool] = {}  # whether each channel holds texts
        self._wide_channels: list[str] = []  # the channels that `data.steps` gives
        self._columns_of_steps: set[str] = set()  # the columns that wide tables had
        # The steps of the training file, by its path, from their reading until they are examples.
        self._train: dict[str, Steps] = {}
        self._lets_go = False  # whether the values of long series go once they are encoded

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
        """The encoder of the targets, which follows from the training split and `per`."""
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
        columns = {*steps.columns.table.column_names, *self._columns_of_steps}
        check_na_values(self.tables.na_values, columns, called(path))
        self._check_targets(steps)
        self._find_targets(steps)
        self._find_channels(steps, self._series_to_learn_from(steps))

    def _series_to_learn_from(self, steps: Steps) -> Sequence[int]:
        """The numbers of the series that stay in the training split of a file, once the splits that
        have no file are cut from it: what only the others hold decides nothing."""
        all_series = range(len(steps.names))
        splits = dict.fromkeys(self.split_paths(), Examples([], [], ""))
        # If the file cannot be cut, the reading of its examples says why.
        with suppress(UserError):
            splits["train"] = Examples.of(self._rows(steps, all_series), steps.columns.path)
            return self.cut(by_split(splits))["train"].inputs
        return all_series

    def _find_targets(self, steps: Steps) -> None:
        """Sees whether the training split has a target for each series or for each step, and which
        others it may have."""
        several_targets = self._several_targets(steps)
        per: Per = "step" if several_targets else "sequence"
        reason = several_targets
        if not several_targets:
            reason = f"{listed(self._targets)} is the same at all steps of each series"
        elif all(map(steps.is_only_in_one_step, self._targets)):
            reason += ", which is one for each series if you repeat it at each step"
        self.mismatch = f"; {reason}"
        targets = self._encoder(self._per or per)
        self._targets_of_training = targets
        self.other_targets = []
        if per == targets.per == "sequence":
            self.other_targets.append(("data.per=step", "step", self._encoder("step").target))
        if not self.value_columns and holds_numbers(steps.columns.names(self.label_column).names):
            words = setting("data.value_columns", [self.label_column])
            self.other_targets.append((words, targets.per, Values.target))

    def _check_targets(self, steps: Steps) -> None:
        """Raises a `UserError` if a table lacks a column of targets."""
        key = "data.value_columns" if self.value_columns else "data.label_column"
        for column in self._targets:
            steps.columns.check(column, key)

    def _find_channels(self, steps: Steps, training_series: Sequence[int]) -> None:
        """Gives each column of a file a role, by what these of its series hold, and notes which."""
        table = steps.columns
        for column in self.chosen or ():
            table.check(column, "data.inputs")
        self.column_roles = []
        holds_texts = dict[str, bool]()
        for column in table.table.column_names:
            # One column is copied at a time, and forgotten before the next one is.
            role, holds_texts[column] = self._role_of(column, steps, training_series)
            self.column_roles.append(role)
        check_channels(table.path, self.column_roles)
        channels = self.chosen
        if not channels:
            channels = [role.column for role in self.column_roles if role.role == "channel"]
        self._channels = {column: holds_texts[column] for column in channels}
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
        self._note_channels(steps)

    def _role_of(
        self, column: str, steps: Steps, training_series: Sequence[int]
    ) -> tuple[ColumnRole, bool]:
        """The role of a column by what it holds in these series, and whether it is a
        channel of texts."""
        columns = steps.columns.select([column])
        training_steps = replace(steps, columns=columns).take(training_series)
        [role] = roles_of(training_steps, self._keys(), self.chosen)
        is_channel = role.role == "channel"
        return role, is_channel and training_steps.columns.holds_texts(column)

    def _note_channels(self, steps: Steps) -> None:
        """Notes what each column of the training split is taken for, and what in them looks like a
        mistake."""
        numeric = [column for column, holds_texts in self._channels.items() if not holds_texts]
        left_out = left_out_line(self.column_roles)
        shape = note_of_shape(steps, len(numeric), is_wide=self.steps is not None)
        notes = [left_out, shape, *unsorted_times(steps, self.column_roles)]
        guesses = [shape]
        if not self.chosen:
            notes.insert(0, channels_line(self.column_roles))
            guesses.insert(0, left_out)
        measured = [column for column in numeric if not self._is_elapsed(column)]
        notes += [_note_of_placeholders(steps.columns, column) for column in measured]
        # A note without a reason is empty.
        self._table_notes += filter(None, notes)
        self.guesses += filter(None, guesses)

    @property
    def _channels_of_training(self) -> dict[str, bool]:
        """Whether each channel of training holds texts, by its name; empty before the training
        split is read."""
        if self._fitted and self.inputs.columns:
            return self.inputs.holds_texts
        return self._channels

    def _keys(self) -> dict[str, Role]:
        """The roles of the columns that the configuration names."""
        keys = dict[str, Role]()
        if self.steps is not None:
            keys |= dict.fromkeys(self._wide_channels, "channel")
        keys |= dict.fromkeys(self._targets, "value" if self.value_columns else "label")
        column_by_role = {**self.roles, "file": self.files, "time": self.time, "series": self.by}
        for role, column in column_by_role.items():
            if column:
                keys[column] = cast(Role, role)
        return keys

    def _encoder(self, per: Per) -> TargetEncoder:
        """The encoder of targets of each series or step."""
        if self.value_columns:
            return Values(self.value_columns, per)
        targets = Tags() if per == "step" else Classes()
        targets.column = self.label_column
        return targets

    @property
    def _targets(self) -> list[str]:
        """The columns of targets."""
        return self.value_columns or [self.label_column]

    def _several_targets(self, steps: Steps) -> str:
        """A clause about the first series with several targets; empty if no series has."""
        for column in self._targets:
            several_values = steps.varying(column, numbers=bool(self.value_columns))
            if several_values:
                return several_values
        return ""

    @property
    def spec(self) -> dict[str, Any]:
        spec = {**super().spec, "per": self.per}
        if self.elapsed:
            spec["elapsed"] = self.time
        return spec

    def use_spec(self, spec: Mapping[str, Any]) -> None:
        # The files of training, which decide this otherwise, may be gone.
        per = spec["per"]
        if "values" in spec:
            self.targets = Values(spec["values"], per)
        else:
            self.targets = self._encoder(per)
        super().use_spec(spec)

    def read_inputs(self, path: str) -> Iterator[Any]:
        return (row.raw for row in self.read_rows(path))

    def read_rows(self, path: str) -> Iterator[InputRow]:
        for raw, *also in self.read_file(path, targets=False):
            if also and path != "-":
                yield InputRow(raw, also[0])
            else:
                # A row of standard input is in no file, and a `.ts` file tells no identities.
                yield InputRow(raw)

    def read_file(
        self, path: str, targets: bool = True, by_line: bool = False
    ) -> Iterator[tuple[Any, ...]]:
        """Each series of a file with its target, and with what `Examples.also` holds of it.

        Args:
            targets: whether to read more than the inputs.
            by_line: whether each line of standard input is a series.

        Raises:
            UserError: if the file cannot be read, or something in it is wrong.
        """
        if targets and not self._fitted:
            self.look_at_training()
        if ending(path) == ".ts":
            for series, label in rows_of_ts(path):
                yield (series, label) if targets else (series,)
            return
        # The training split may be large: once it is read here, nobody keeps it.
        training_steps = self._train.pop(path, None)
        if training_steps:
            yield from self._examples(training_steps, targets, training=True)
            return
        for steps in self._steps_of(path, targets, by_line):
            yield from self._examples(steps, targets)

    def read_steps(self, path: str) -> Iterator[Any]:
        for raw, *_ in self.read_file(path, targets=False, by_line=True):
            for step in range(len(raw)):
                if isinstance(raw, TableSeries):
                    yield raw.part(step, step + 1)
                else:
                    yield raw[step : step + 1]

    def feature_name(self, number: int) -> str:
        return self.inputs.feature_name(number)

    def describe(self, raw: Any) -> dict[str, Any]:
        description = {**super().describe(raw)}
        times = getattr(raw, "times", None)
        if self.per == "step" and times is not None:
            description["time"] = times.texts()
        return description

    def batch_of(self, raw: Sequence[Any], source: str = "inputs", first: int = 1) -> SequenceBatch:
        return super().batch_of([*map(self._known_values, raw)], source, first)

    def batch_of_steps(self, raw: Sequence[Any], kept: dict[str, Any]) -> SequenceBatch:
        if self.elapsed:
            raw = [self._after(series, row, kept) for row, series in enumerate(raw)]
        return super().batch_of_steps([*map(self._known_values, raw)], kept)

    def _known_values(self, series: Any) -> Any:
        """A series with nan where a value stands for a gap; one of a table has it already."""
        if self.tables.na_values is None or isinstance(series, TableSeries):
            return series
        return array_with_gaps(series, self.tables.na_values, self.inputs.columns or [])

    # From a table to its steps

    def _steps_of(self, path: str, targets: bool = True, by_line: bool = False) -> Iterator[Steps]:
        """The steps of a file. Of standard input, the steps of each series as soon as it is there,
        then those of the rows that are steps."""
        if path != "-":
            yield self._steps_by_columns(path, targets) or self._ordered(self._read(path), targets)
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

    def _steps_by_columns(self, path: str, targets: bool) -> Steps | None:
        """The steps of a file whose rows are steps. First their times put them in order, then the
        other columns are read, so that only some of them are in memory at a time; None for another
        file, or if the times are needed afterwards."""
        if not self.by or not self.time or self.elapsed or self.files or self.steps is not None:
            return None
        if ending(path) not in READ_BY_COLUMN or self.keeps_values:
            return None
        steps = self._in_order_of_times(path, self.by, self.time)
        if steps is None:
            return None
        columns = self._with_other_columns(steps, path)
        if self.labels and self._lacks_labels(columns, targets):
            labels = self.tables.read(self.labels, texts=self._texts)
            columns = joined(columns, columns.names(self.by), labels, self.by)
        return replace(steps, columns=columns)

    def _in_order_of_times(self, path: str, series: str, time: str) -> Steps | None:
        """The steps of a file with their series and targets alone, in the order of their times. The
        column of these is empty then; None without such columns."""
        import pyarrow as pa

        table = self.tables.read(path, [series, time, *self._targets], texts=self._texts)
        if table.lists or series not in table or time not in table:
            return None
        table = self.tables.with_exact_numbers(table, path, time)
        steps = in_order(steps_of_rows(table, series), times_of(table, time))
        self._check_times(steps)
        if not self._has_steps_with_times(steps):
            steps = replace(steps, times=None)
        arrays = columns_by_name(steps.columns.table) | {time: pa.nulls(len(table))}
        columns = replace(steps.columns, table=pa.table(arrays), file_columns=table.file_columns)
        return replace(steps, columns=columns)

    def _has_steps_with_times(self, steps: Steps) -> bool:
        """Whether there is a target for each step, whose predictions have its time."""
        if self._fitted or self._per:
            return (self._per or self.per) == "step"
        is_number = bool(self.value_columns)
        known_targets = [column for column in self._targets if column in steps.columns]
        return any(steps.varying(column, numbers=is_number) for column in known_targets)

    def _with_other_columns(self, steps: Steps, path: str) -> Columns:
        """The columns of some steps, and all others that their file has, in the order of these."""
        import pyarrow as pa

        ordered = steps.columns
        arrays = columns_by_name(ordered.table)
        other_names = [name for name in ordered.file_columns if name not in arrays]
        if other_names:
            if ordered.file_rows is None:
                ends = steps.starts[1:].tolist()
                others = self.tables.read(path, other_names, texts=self._texts, ends=ends)
            else:
                others = self.tables.read(path, other_names, texts=self._texts)
                others = others.take(ordered.file_rows)
            arrays |= columns_by_name(others.table)
        names = [name for name in ordered.file_columns if name in arrays]
        return replace(ordered, table=pa.table({name: arrays[name] for name in names}))

    def _read(self, path: str) -> Columns:
        """The table in a file."""
        table = self.tables.read(path, texts=self._texts)
        if self.time is not None and self.time in table:
            table = self.tables.with_exact_numbers(table, path, self.time)
        return table

    @property
    def _texts(self) -> set[str]:
        """The columns that hold no numbers, whatever they look like."""
        columns = [column for role, column in self.roles.items() if role != "weight"]
        columns.append(self.label_column)
        if self.by:
            columns.append(self.by)
        if self.files:
            columns.append(self.files)
        return set(columns)

    def _ordered(self, table: Columns, targets: bool) -> Steps:
        """The steps of a table in order, with the columns that `labels` has for their series."""
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
            self._check_times(steps)
        return steps

    def _check_times(self, steps: Steps) -> None:
        """Raises a `UserError` for a time that stands twice in a series, and notes times that are
        uneven."""
        check_each_time_once(steps)
        note = ""
        if not self.elapsed:
            note = note_of_uneven_times(steps, str(self.time))
        if note:
            self._table_notes.append(note)

    def _rows_of(self, table: Columns) -> StepsOfSeries:
        """The steps of a table, each with its series."""
        by = self.by
        if self.steps is not None:
            table = self._from_wide(table, self.steps)
        channels = [*(self.chosen or ()), *self._channels_of_training]
        list_columns = [OF_LISTS.sub("", channel) for channel in channels]
        wanted = {*self._keys(), *channels, *list_columns}
        guess = not channels
        if self.files and (self.files in table or not self._fitted):
            read = partial(self.tables.read, texts=self._texts)
            return steps_of_files(table, self.files, by, read, wanted, guess=guess)
        if table.lists:
            if self._fitted and by not in table:
                by = None  # A new series needs no name.
            return steps_of_lists(table, by, wanted, guess=guess)
        if by is None and not self.files:
            raise self._without_series(table)
        return steps_of_rows(table, by)

    def _without_series(self, table: Columns) -> UserError:
        """The error about a table whose rows are steps, if no key says of which series."""
        columns = table.table.column_names
        text_columns = choices("", filter(table.holds_texts, columns))
        cure_if_wide = forgotten_steps(columns)
        if cure_if_wide:
            return UserError(
                f"{table.path}: if each row is a series, {cure_if_wide}; if each is a step, set "
                f"data.series: {text_columns}"
            )
        return SettingError(
            f"{table.path}: each row is a step, so set data.series: {text_columns}",
            f"{table.path}: each row is a step, and this run reads a row for each series, with "
            "its steps as lists in the cells",
        )

    def _lacks_labels(self, table: Columns, targets: bool) -> bool:
        """Whether a table lacks a column that `labels` may have. Before we know the channels, any
        may be missing."""
        channels = self._channels_of_training
        if not channels:
            return True
        needed = [column for column in channels if not self._is_elapsed(column)]
        if targets:
            needed += self._targets
        if not self._fitted:
            needed += self.roles.values()
        return not all(column in table for column in needed)

    def _from_wide(self, table: Columns, steps: str | list[str]) -> Columns:
        """A wide table with lists instead of the columns of its steps."""
        self._columns_of_steps.update(table.table.column_names)
        if isinstance(self.tables.na_values, Mapping) and not table.lists:
            table = with_gaps_by_channel(table, steps, self.tables.na_values)
        table, note = with_lists(table, steps)
        self._wide_channels = table.lists
        if note and not self._fitted:
            self._table_notes.append(note)
        if self.by and self.by in table:
            names = table.filled(self.by, "data.series")
            repeated_name = rows_of_one_series(table, names)
            if repeated_name:
                raise UserError(
                    f"{table.path}: {repeated_name}, but with data.steps each row is one"
                )
        return table

    def _is_elapsed(self, column: str) -> bool:
        return self.elapsed and column == ELAPSED

    # From steps to examples

    def _examples(
        self, steps: Steps, has_targets: bool = True, training: bool = False
    ) -> Iterator[tuple[Any, ...]]:
        """The rows that `read_file` gives of a table's series.

        Args:
            has_targets: whether to give more than the inputs.
            training: whether this is the training split, in which columns may name groups.
        """
        self._check_channels_of(steps)
        table = steps.columns
        if not has_targets:
            first_steps = table.select(table.table.column_names[:1]).take(steps.starts[:-1])
            all_series = self._series_of(steps)
            yield from self._with_ids(first_steps.rows({}, all_series), steps)
            return
        self._check_targets(steps)
        yield from self._with_ids(self._rows(steps, training=training), steps)

    def _rows(
        self, steps: Steps, inputs: Iterable[Any] | None = None, training: bool = False
    ) -> Iterator[tuple[Any, ...]]:
        """A row for each series, with its input and target.

        Args:
            inputs: None: the series themselves.
            training: see `_examples`.
        """
        table = steps.columns
        roles = {role: column for role, column in self.roles.items() if column in table}
        roles.pop("id", None)  # `_with_ids` adds them.
        for role, column in roles.items():
            several_values = steps.varying(column, numbers=role == "weight")
            if several_values:
                raise UserError(f"{table.path}: {several_values}: one is needed for all its steps")
        if "group" not in roles and training:
            for column in group_columns(self.column_roles):
                roles[GROUP_KEY + column] = column
        kept_columns = [*self._targets, *roles.values()]
        first_steps = table.select(kept_columns).take(steps.starts[:-1])  # a row for each series
        targets = self._targets_of(steps, first_steps)
        if inputs is None:
            inputs = self._series_of(steps)
        return first_steps.rows(roles, inputs, targets)

    def _targets_of(self, steps: Steps, first_steps: Columns) -> Iterable[Any]:
        """The raw target of each series: one, or an array with one for each of its steps.

        Args:
            first_steps: the first step of each series.
        """
        if self.per == "step":
            targets = self._values_of(steps.columns)
            if targets is None:
                targets = steps.columns.names(self.label_column).texts
            return np.split(targets, steps.starts[1:-1])
        several_targets = self._several_targets(steps)
        if several_targets:
            problem = f"{steps.columns.path}: {several_targets}"
            raise SettingError(
                f"{problem}: to learn one at each step, leave out data.per=sequence",
                f"{problem}, and this run has one for each series: repeat it",
            )
        values = self._values_of(first_steps)
        if values is None:
            return first_steps.filled(self.label_column).texts
        return values

    def _values_of(self, table: Columns) -> np.ndarray | None:
        """The numbers to predict in each row, `(N, K)`; None if labels are to be predicted."""
        if not self.value_columns:
            return None
        return np.stack([table.numbers(column) for column in self.value_columns], axis=1)

    def _with_ids(self, rows: Iterator[tuple[Any, ...]], steps: Steps) -> Iterator[tuple[Any, ...]]:
        """The rows of series, whose last item is a dict, with the `id` of each series in this dict,
        or the ids of its steps if these differ."""
        column = self.roles.get("id")
        if column is None or column not in steps.columns:
            yield from rows
            return
        for (*items, also), series_id in zip(rows, steps.ids(column), strict=True):
            yield *items, {**also, "id": series_id}

    def _column_by_channel(self, table: Columns) -> dict[str, str]:
        """The column of each channel of training that a table has."""
        channels = [name for name in self._channels_of_training if not self._is_elapsed(name)]
        return columns_by_channel(channels, table)

    def _check_channels_of(self, steps: Steps) -> None:
        """Raises a `UserError` if a table lacks a channel of training, or has something else than
        numbers in one."""
        if not self._channels_of_training:
            self._find_channels(steps, range(len(steps.names)))
        column_by_channel = self._column_by_channel(steps.columns)
        for column in column_by_channel.values():
            steps.columns.check(column, "data.inputs")
        for channel, column in column_by_channel.items():
            if not self._channels_of_training[channel]:
                steps.columns.check_column_of_numbers(column)

    def _series_of(self, steps: Steps) -> list[TableSeries]:
        """The series of a table, with the channels of training, which the encoder reads. Their
        numbers go out of the table, unless a key needs them, too."""
        holds_texts = self._channels_of_training
        table = steps.columns
        column_by_channel = self._column_by_channel(table)
        numeric_channels = [channel for channel in holds_texts if not holds_texts[channel]]
        texts = {}
        for channel in holds_texts:
            if holds_texts[channel]:
                texts[channel] = table.names(column_by_channel[channel])
        numeric_columns = [
            column_by_channel[channel]
            for channel in numeric_channels
            if not self._is_elapsed(channel)
        ]
        kept_columns = {*self._targets, *self.roles.values()}
        given = table.hand_over(numeric_columns, kept_columns)

        times = steps.times if self._keeps_times else None
        all_series = []
        for number, (start, stop) in enumerate(pairwise(steps.starts.tolist())):
            channels = []
            for channel in numeric_channels:
                if self._is_elapsed(channel):
                    channels.append(steps.elapsed(start, stop))
                else:
                    channels.append(given[column_by_channel[channel]].read(stop - start))
            series = TableSeries(
                numbers=_side_by_side(channels, stop - start),
                columns=list(holds_texts),
                texts={channel: names.part(start, stop) for channel, names in texts.items()},
                name=steps.names[number],
                times=None if times is None else times[start:stop],
                number=number,
            )
            all_series.append(series)
            if stop // STEPS_TO_RETURN > start // STEPS_TO_RETURN:
                return_memory()  # that of the columns, from which the steps so far were taken
        return all_series

    @property
    def _keeps_times(self) -> bool:
        """Whether somebody reads the times of series once their steps are in order."""
        return self.elapsed or self.keeps_values or self.per == "step"

    def setup(self, stage: str | None = None) -> None:
        self._lets_go = not self.keeps_values
        super().setup(stage)
        self._lets_go = False

    def _encoded_inputs(self, examples: Examples) -> Sequence[Tensor]:
        # `at_newest_step` reads beginnings of the series to test.
        needs_beginnings = self.per == "step" and examples is self.examples.get("test")
        if self._lets_go and not needs_beginnings:
            inputs = cast(list[Any], examples.inputs)
            return self.inputs.encode_kept(inputs, examples.source)
        return super()._encoded_inputs(examples)

    def _after(self, series: Any, row: int, kept: dict[str, Any]) -> Any:
        """The next steps of a row, whose elapsed time begins at the last step before them.

        Args:
            kept: what the steps before have left; it keeps the last time of each row.
        """
        if not isinstance(series, TableSeries) or series.times is None:
            return series
        last_times = kept.setdefault("times", {})
        if row in last_times:
            series = series.after(last_times[row], ELAPSED)
        last_times[row] = series.times[-1:]
        return series

    @property
    def notes(self) -> Sequence[str]:
        notes = [*self._table_notes, *super().notes]
        if "group" not in self.roles:
            notes += shared_names(self.examples)
        return notes

    @property
    def summary(self) -> Sequence[str]:
        has_said_targets = not self.mismatch
        if has_said_targets:
            return super().summary
        target = "values" if self.value_columns else "a label"
        per = "series" if self.per == "sequence" else "step"
        return [f"{line}; {target} for each {per}" for line in super().summary]


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


def _note_of_placeholders(table: Columns, column: str) -> str:
    """A note on numbers of a channel that may stand for a gap; empty without any."""
    table.check_column_of_numbers(column)
    if not may_have_placeholders(lambda: (values for _, values in table.blocks(column))):
        return ""
    return note_of_placeholders(table.numbers(column), column, table.path)


def _in_archive(name: str, split: Split) -> str:
    """The path of a split's file, which sktime has or downloads."""
    with refusing(
        f"data.name={name} needs its extra, pip install '{DISTRIBUTION}[archives]'",
        PackageNotFoundError,
    ):
        sktime = distribution("sktime")
    root = Path(str(sktime.locate_file("sktime")), "datasets")
    file = Path(name, f"{name}_{split.upper()}.ts")
    paths = [root / "data" / file, root / "local_data" / file]  # bundled, downloaded
    with unusable(
        f"data.name={name} is neither in sktime nor in its archive: choose one, such as "
        "JapaneseVowels, PLAID or BasicMotions"
    ):
        if not any(path.is_file() for path in paths):
            from sktime.datasets import load_UCR_UEA_dataset

            load_UCR_UEA_dataset(name, split=split)
        return str(next(path for path in paths if path.is_file()))


def _side_by_side(channels: Sequence[np.ndarray], num_steps: int) -> np.ndarray:
    """Channels `(T,)` as the columns of one array, `(T, C)`; a single one needs no copy."""
    if len(channels) == 1:
        return channels[0][:, None]
    numbers = np.empty((num_steps, len(channels)))
    for position, values in enumerate(channels):
        numbers[:, position] = values
    return numbers
