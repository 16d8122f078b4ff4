"""Your own series of numbers: from tables with a row for each step, or a row for each series."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from seqmodels.arguments import Name
from seqmodels.batch import Per
from seqmodels.data.columns import Columns, Names, steps_of
from seqmodels.data.notes import GROUP_KEY
from seqmodels.data.series_inputs import Missing, Scale, Series, Stack, TableSeries, text_number
from seqmodels.data.sources import ROLES, OwnFiles, Table, as_file
from seqmodels.data.tables import columns_of, ending, json_rows
from seqmodels.data.tags import Tags
from seqmodels.data.targets import Classes, TargetEncoder, Values
from seqmodels.data.times import Times, times_of
from seqmodels.data.ts_file import has_numbers, rows_of_ts
from seqmodels.data.wide import forgotten_steps, with_lists
from seqmodels.errors import SettingError, UserError, choices, listed, refusing, shown
from seqmodels.files import called

UNEVEN = 10  # how many times as long as the median a step of time is, to be worth a note
SOME = range(4, 10_000)  # of different texts, in a column that may say whose a series is


# Hydra reads [0,1,2] as numbers, which may be names of columns.
WideSteps = str | Annotated[list[Name | int], Field(min_length=1)]
"""The columns that are steps; see `columns_of_channels`."""


@dataclass(frozen=True)
class Steps:
    """All steps of a table, one series after the other, each in the order of time."""

    columns: Columns
    starts: np.ndarray  # (S + 1,), where each series begins, and the end of the last one
    names: list[str]  # of the series; empty where they have none
    times: Times | None  # of the steps

    def series(self, step: Any) -> int:
        """The number of the series that a step is of."""
        return int(np.searchsorted(self.starts, step, "right")) - 1

    def called(self, number: int) -> str:
        """A series, for an error."""
        return f"series {shown(self.names[number] or str(number + 1))}"

    def varying(self, column: str, *, numbers: bool = False) -> str:
        """`series 7 has 2 values of 'label' (walk, run)`; empty if no series has several."""
        names = None if numbers else self.columns.names(column)
        values = names.codes if names else self.columns.numbers(column)
        first = np.repeat(values[self.starts[:-1]], np.diff(self.starts))
        differs = (values != first) & ~((values != values) & (first != first))  # nan is nan
        if not differs.any():
            return ""
        number = self.series(differs.argmax())
        of_series = slice(self.starts[number], self.starts[number + 1])
        texts = (names.texts if names else values)[of_series]
        own = [*dict.fromkeys("empty" if text is None else str(text) for text in texts)]
        few = ", ".join(shown(text) for text in own[:3]) + ", ..." * (len(own) > 3)
        return f"{self.called(number)} has {len(own)} values of {column!r} ({few})"


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
        inputs: the channels; None: all columns with numbers that are not named otherwise. A column
            of texts is a channel for each text that training has.
        label_column: the labels. If they vary within a series, each step has its own.
        value_columns: numbers to predict instead of labels.
        per: whether there is a target for each `sequence` or `step`; None: as the labels vary.
        labels: a second table with a row for each series, with labels, groups, and further inputs,
            which all steps have.
        files: the column of `train` that names a file for each series, with its steps.
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
        if steps is not None and (time or files):
            key = "data.time" if time else "data.files"
            raise UserError(f"data.steps: each row is a series, and has no other steps: omit {key}")
        self.label_column, self.value_columns, self._per = label_column, value_columns, per
        for name in {*self._targets} & {*(inputs or ())}:
            raise UserError(f"data.inputs: {name!r} is what the model is to predict: leave it out")
        self.labels = None if labels is None else as_file(labels, "data.labels")
        if self.labels and not (series or files):
            raise UserError("data.labels has a row for each series: set data.series, its name")
        if weight_column:
            self.roles = {**self.roles, "weight": weight_column}
        self.mismatch = ""  # why there is a target for each series or step
        self._found: list[str] = []  # notes
        self._of_texts: dict[str, bool] = {}  # the channels of training
        self._train: dict[str, Steps] = {}  # by path; once read, until it becomes examples

    @cached_property
    def targets(self) -> TargetEncoder:
        """By the labels of the training split, which this reads, or as `per` says."""
        path = self.split_paths()["train"]
        if ending(path) == ".ts":
            for role in self.roles:
                raise UserError(f"{path} has no columns: leave {ROLES[role]} out")
            return Values() if has_numbers(path) else Classes()
        [steps] = self._steps_of(path)
        self._train[path] = steps
        key = "data.value_columns" if self.value_columns else "data.label_column"
        for column in self._targets:
            steps.columns.check(column, key)
        if several := self._several(steps):
            cures = "choose model=tagger or head=every_step, or give one for each series"
            self.mismatch = f"; {several}: {cures}"
        else:
            same = f"{listed(self._targets)} is the same at all steps of each series"
            self.mismatch = f"; {same}: set data.per=step to learn one for each"
        return self._encoder(self._per or ("step" if several else "sequence"))

    def _encoder(self, per: Per) -> TargetEncoder:
        if self.value_columns:
            return Values(self.value_columns, per)
        return Tags() if per == "step" else Classes()

    @property
    def _targets(self) -> list[str]:
        return self.value_columns or [self.label_column]

    def _several(self, steps: Steps) -> str:
        """Which series has several targets; empty if none has."""
        found = (steps.varying(c, numbers=bool(self.value_columns)) for c in self._targets)
        return next(filter(None, found), "")

    @property
    def spec(self) -> dict[str, Any]:
        return {**super().spec, "per": self.per}

    def use_spec(self, spec: Mapping[str, Any]) -> None:
        per = spec["per"]  # without the files
        self.targets = Values(spec["values"], per) if "values" in spec else self._encoder(per)
        super().use_spec(spec)

    def read_inputs(self, path: str) -> Iterator[Any]:
        return (raw for raw, *_ in self.read_file(path, targets=False))

    def read_file(
        self, path: str, targets: bool = True, by_line: bool = False
    ) -> Iterator[tuple[Any, ...]]:
        """Each series of a file with its target or None, and what `Examples.also` holds of it.
        Raises a `UserError` if the file cannot be read, or something in it is wrong.

        Args:
            targets: whether to read more than the inputs.
            by_line: whether each line of standard input is a series.
        """
        _ = targets and self.targets  # which reads the training split
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

    # from a table to its steps

    def _steps_of(self, path: str, targets: bool = True, by_line: bool = False) -> Iterator[Steps]:
        """Those of a file; of standard input, also of each series as soon as it is there."""
        if path != "-":
            yield self._placed(self.tables.read(path, texts=self._texts), targets)
            return
        rows = []
        for row in json_rows(path):
            is_series = by_line or self.steps is not None
            if is_series or any(isinstance(value, list) for value in row.values()):
                yield self._placed(columns_of([row], called(path)), targets)
            else:
                rows.append(row)
        if rows:
            yield self._placed(columns_of(rows, called(path)), targets)

    @property
    def _texts(self) -> set[str]:
        """Columns that hold no numbers, whatever they look like."""
        return {*filter(None, (self.by, self.files, self.label_column, *self.roles.values()))}

    def _placed(self, table: Columns, targets: bool) -> Steps:
        """The steps of a table in order, with what other tables say of their series."""
        rows, by = None, self.by
        if self.steps is not None:
            table = self._from_wide(table, self.steps)
        if self.files and (self.files in table or not self._fitted):
            table, rows = self._of_files(table)
            by = by or self.files
        elif table.lists:
            table, rows = steps_of(table)
            by = by if by in table or not self._fitted else None  # a new series needs no name
        elif by is None and not self.files:  # which has one
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
        names = table.filled(by, "data.series") if by else None
        if rows is None:
            rows = names.codes if names else np.zeros(len(table), int)
        known = self.inputs.columns if self._fitted and not targets else None
        if self.labels and names and not (known and all(column in table for column in known)):
            table = self._with_labels(table, names)
        times = None if self.time is None else times_of(table, self.time)
        order = np.lexsort((rows,) if times is None else (times.values, rows))
        if (np.diff(order) != 1).any():
            table = table.take(order)
        rows, times = rows[order], None if times is None else times[order]
        starts = np.concatenate([[0], np.flatnonzero(np.diff(rows)) + 1, [len(rows)]])
        called = [""] * (len(starts) - 1)
        if names:
            called = [names.names[code] for code in names.codes[order[starts[:-1]]]]
        steps = Steps(table, starts, called, times)
        if times is not None and len(times) > len(called):
            self._check_times(steps, times, np.diff(rows) == 0)
        return steps

    def _from_wide(self, table: Columns, steps: str | list[str]) -> Columns:
        """A wide table with lists in the place of its steps."""
        table, note = with_lists(table, steps)
        if note and not self._fitted:
            self._found.append(note)
        if self.by and self.by in table:
            names = table.filled(self.by, "data.series")
            _, first_rows, counts = np.unique(names.codes, return_index=True, return_counts=True)
            if (counts > 1).any():
                first = first_rows[counts > 1].min()
                second = np.flatnonzero(names.codes == names.codes[first])[1]
                both = f"rows {table.place(first)} and {table.place(second)}"
                raise UserError(
                    f"{table.path}: {both} are both of series {shown(names.texts[first])}, but "
                    "with data.steps each row is one"
                )
        return table

    def _of_files(self, table: Columns) -> tuple[Columns, np.ndarray]:
        import pyarrow as pa

        assert self.files is not None
        folder, names = Path(table.path).parent, table.filled(self.files, "data.files").texts
        read = [self.tables.read(str(folder / name), texts=self._texts) for name in names]
        with refusing(f"{table.path}: its files differ in columns", pa.ArrowException):
            steps = pa.concat_tables([each.table for each in read])
        rows = np.repeat(np.arange(len(read)), [*map(len, read)])
        return Columns(steps, table.path, rows).beside(table, rows), rows

    def _with_labels(self, table: Columns, names: Names) -> Columns:
        assert self.labels and self.by
        import pandas as pd  # slow to import

        labels = self.tables.read(self.labels, texts=self._texts)
        known = pd.Index(labels.filled(self.by, "data.series").texts)
        if (twice := known.duplicated(keep=False)).any():
            first, second = np.flatnonzero(known == known[twice][0])[:2] + 1
            both = f"rows {first} and {second} are both of series {shown(known[twice][0])}"
            raise UserError(f"{labels.path}: {both}: have one for each")
        places = known.get_indexer(names.names)
        if (places < 0).any():
            series = f"series {shown(names.names[places.argmin()])} of {table.path}"
            raise UserError(f"{labels.path} has no row for {series}")
        return table.beside(labels, places[names.codes])

    def _check_times(self, steps: Steps, times: Times, inside: np.ndarray) -> None:
        """Raises a `UserError` for a time that stands twice, and notes steps that differ much.

        Args:
            inside: whether a step of time is between two of the same series.
        """
        apart = np.where(inside, times.apart(), np.nan)
        if (twice := apart == 0).any():
            step = twice.argmax()
            first, second = sorted(map(steps.columns.place, (step, step + 1)))
            [time], series = times[[step]].texts(), steps.called(steps.series(step))
            raise UserError(
                f"{steps.columns.path}: {series}: time {time} stands twice (rows {first}, {second}"
                "): have each once"
            )
        longest, usual = np.nanargmax(apart), np.nanmedian(apart)
        if apart[longest] > UNEVEN * usual:
            series = steps.called(steps.series(longest))
            self._found.append(
                f"{steps.columns.path}: steps of {self.time} differ: the median is "
                f"{times.quoted(usual)}, the longest {times.quoted(apart[longest])} ({series}): "
                "resample, or add the difference as a channel"
            )

    # from steps to examples

    def _examples(
        self, steps: Steps, wanted: bool = True, training: bool = False
    ) -> Iterator[tuple[Any, ...]]:
        table, starts = steps.columns, steps.starts
        columns, values, texts = self._channels(table)
        raw = []
        for n, (a, b) in enumerate(pairwise(starts.tolist())):
            times = None if steps.times is None else steps.times[a:b]
            raw.append(TableSeries(values[a:b], columns, texts, steps.names[n], times, n))
        if not wanted:
            yield from zip(raw)
            return
        roles = {role: column for role, column in self.roles.items() if column in table}
        for column in roles.values():
            if several := steps.varying(column):
                raise UserError(f"{table.path}: {several}: one is needed for all its steps")
        if "group" not in roles and training:
            roles |= self._unnamed(steps, columns)
        first, of_series = table.take(starts[:-1]), self.per == "sequence"
        if not all(column in table for column in self._targets):
            yield from first.rows(roles, raw, [None] * len(raw))
            return
        if of_series and (several := self._several(steps)):
            cure = "leave data.per out and choose model=tagger or head=every_step"
            raise UserError(f"{table.path}: {several}: for one at each step, {cure}")
        read = first if of_series else table
        if self.value_columns:
            found = np.stack([read.numbers(each) for each in self.value_columns], axis=1)
        else:
            found = (read.filled if of_series else read.names)(self.label_column).texts
        yield from first.rows(roles, raw, found if of_series else np.split(found, starts[1:-1]))

    def _channels(self, table: Columns) -> tuple[list[str], np.ndarray, dict[str, Any]]:
        """The names of the channels, their values `(N, C)`, and what stands for texts."""
        if self._fitted and self.inputs.columns:
            each = zip(self.inputs.columns, self.inputs.categories, strict=True)
            self._of_texts = {column: words is not None for column, words in each}
        known = self._of_texts
        chosen = [*(known or self.chosen or self._numeric(table))]
        values, texts = np.empty((len(table), len(chosen))), {}
        nested = [name for name in table.table.column_names if re.search(r"\[\d+\]$", name)]
        for n, column in enumerate(chosen):
            if known and chosen[0] not in table and len(nested) == len(chosen):  # without names
                column = nested[n]
            table.check(column, "data.inputs")
            if known[chosen[n]] if known else table.holds_texts(column):
                names = table.names(column)
                codes = np.array([*map(text_number, names.names), np.nan])
                texts[column] = dict(zip(codes.tolist(), names.names, strict=False))
                values[:, n] = codes[names.codes]
            else:
                values[:, n] = table.numbers(column)
        self._of_texts = known or {column: column in texts for column in chosen}
        return chosen, values, texts

    def _numeric(self, table: Columns) -> list[str]:
        named = {*self._texts, *filter(None, (self.time, *self._targets))}
        found = [name for name in table.table.column_names if name not in named]
        found = [name for name in found if not table.holds_texts(name)]
        if not found:
            raise UserError(f"{table.path} has no column with numbers: set data.inputs")
        self._found.append(f"channels: {listed(found)} (set data.inputs to choose)")
        return found

    def _unnamed(self, steps: Steps, columns: Sequence[str]) -> dict[str, str]:
        """Columns of texts that may say whose each series is, as a patient's name does."""
        table, found = steps.columns, dict[str, str]()
        named = {*self._texts, *columns, *filter(None, (self.time,))}
        others = [name for name in table.table.column_names if name not in named]
        for column in filter(table.holds_texts, others):
            names = table.names(column)
            count = len({*names.codes[steps.starts[:-1]].tolist()})
            few = count in SOME and 2 * count < len(steps.starts)
            if few and not steps.varying(column):
                found[GROUP_KEY + column] = column
        return found

    @property
    def notes(self) -> Sequence[str]:
        return [*self._found, *super().notes]

    @property
    def summary(self) -> Sequence[str]:
        if not self.mismatch:  # a file of the archive says so
            return super().summary
        what = "values" if self.value_columns else "a label"
        per = "series" if self.per == "sequence" else "step"
        return [f"{line}; {what} for each {per}" for line in super().summary]
