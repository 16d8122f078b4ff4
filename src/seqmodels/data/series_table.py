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
from seqmodels.data.columns import Columns, Names, columns_of, read_columns, steps_of
from seqmodels.data.examples import Examples
from seqmodels.data.module import Split
from seqmodels.data.notes import GROUP_KEY
from seqmodels.data.series_inputs import Missing, Scale, Series, Stack, TableSeries, text_number
from seqmodels.data.sources import ROLES, OwnFiles, Table, as_file, as_weight
from seqmodels.data.tables import AS_TEXT, Tables, as_text, ending
from seqmodels.data.tags import Tags
from seqmodels.data.targets import Classes, TargetEncoder, Values
from seqmodels.data.ts_file import has_numbers, rows_of_ts
from seqmodels.errors import UserError, listed, refusing, shown
from seqmodels.files import called, read_lines

LINES = (".jsonl", ".ndjson")
UNEVEN = 10  # how many times as long as the median a step of time is, to be worth a note
SOME = range(4, 10_000)  # of different texts, in a column that may say whose a series is


@dataclass(frozen=True)
class Steps:
    """All steps of a table, one series after the other, each in the order of time.

    Args:
        columns: of the steps.
        starts: `(S + 1,)`, where each series begins, and the end of the last one.
        names: of the series; empty where they have none.
        times: of the steps; None where they have none.
    """

    columns: Columns
    starts: np.ndarray
    names: list[str]
    times: np.ndarray | None

    def series(self, step: Any) -> int:
        """The number of the series that a step is of."""
        return int(np.searchsorted(self.starts, step, "right")) - 1

    def called(self, number: int) -> str:
        """A series, for an error."""
        return f"series {shown(self.names[number] or str(number + 1))}"

    def varying(self, values: np.ndarray, texts: np.ndarray, column: str) -> str:
        """`series 7 has 2 values of 'label' (walk, run)`; empty if none has several.

        Args:
            values: of each step; nan is as good as another.
            texts: to name them by.
        """
        first = np.repeat(values[self.starts[:-1]], np.diff(self.starts))
        differs = (values != first) & ~((values != values) & (first != first))
        if not differs.any():
            return ""
        number = self.series(differs.argmax())
        of_series = texts[self.starts[number] : self.starts[number + 1]]
        own = [*dict.fromkeys("empty" if text is None else str(text) for text in of_series)]
        few = ", ".join(shown(text) for text in own[:3]) + ", ..." * (len(own) > 3)
        return f"{self.called(number)} has {len(own)} values of {column!r} ({few})"

    def of_series(self, column: str) -> np.ndarray:
        """The text that a column has in each series; a `UserError` if one has none or several."""
        names = self.columns.filled(column)
        if several := self.varying(names.codes, names.texts, column):
            raise UserError(f"{self.columns.path}: {several}: one is needed for all its steps")
        return names.texts[self.starts[:-1]]


class SeriesTable(OwnFiles):
    """Series of numbers from tables, with a label or values for each series or for each step.

    A table has a row for each step, and a column that names the series; or a row for each series,
    whose cells are lists with a number for each step (Parquet, JSON Lines). `.ts` files of the
    UEA/UCR archive are read, too. Splits without a file are cut from `train`.

    Args:
        splits: `train`, `validation` and `test`, a file each or rows in memory.
        series: the column that names the series of each row; None: each row is a series.
        time: the column to sort the steps of a series by, numbers or dates; None: they stand in
            order.
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
        columns, quoting, encoding: how to read tables; see `Tables`.
        options: `group`, `split`, `batch_size` and the other arguments of `OwnFiles`.
    """

    inputs: Series

    def __init__(
        self,
        *splits: Any,
        series: Name | None = None,
        time: Name | None = None,
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
        columns: list[Name] | None = Tables.columns,
        quoting: bool | None = Tables.quoting,
        encoding: Name = Tables.encoding,
        **options: Any,
    ) -> None:
        encoder = Series(stack=stack, missing=missing, scale=scale)
        super().__init__(*splits, inputs=encoder, **options)
        self.tables = Tables(columns=columns, quoting=quoting, encoding=encoding)
        self.by, self.time, self.chosen, self.files = series, time, inputs, files
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
        self._train: tuple[str, Steps | None] = "", None  # once read, until it becomes examples

    @cached_property
    def targets(self) -> TargetEncoder:
        """By the labels of the training split, which this reads, or as `per` says."""
        path = self.split_paths()["train"]
        if ending(path) == ".ts":
            for role in self.roles:
                raise UserError(f"{path} has no columns: leave {ROLES[role]} out")
            return Values() if has_numbers(path) else Classes()
        steps, several = self._read(path), ""
        self._train = path, steps
        key = "data.value_columns" if self.value_columns else "data.label_column"
        for column in self._targets:
            steps.columns.check(column, key)
            several = several or self._targets_of(steps, column)[1]
        for role, column in self.roles.items():
            steps.columns.check(column, ROLES[role])
        same = f"{listed(self._targets)} is the same at all steps of each series"
        cures = "choose model=tagger or head=every_step, or give one for each series"
        self.mismatch = (
            f"; {several}: {cures}"
            if several
            else f"; {same}: set data.per=step to learn one for each"
        )
        return self._encoder(self._per or ("step" if several else "sequence"))

    def _encoder(self, per: Per) -> TargetEncoder:
        if self.value_columns:
            return Values(self.value_columns, per)
        return Tags() if per == "step" else Classes()

    @property
    def _targets(self) -> list[str]:
        return self.value_columns or [self.label_column]

    def _targets_of(self, steps: Steps, column: str) -> tuple[np.ndarray, str]:
        """What a column of targets has at each step, and which series has several."""
        if not self.value_columns:
            names = steps.columns.names(column)
            return names.texts, steps.varying(names.codes, names.texts, column)
        numbers = steps.columns.numbers(column, needed=True)
        assert numbers is not None
        return numbers, steps.varying(numbers, numbers, column)

    @property
    def spec(self) -> dict[str, Any]:
        return {**super().spec, "per": self.per}

    def use_spec(self, spec: Mapping[str, Any]) -> None:
        per = spec["per"]  # without the files
        self.targets = Values(spec["values"], per) if "values" in spec else self._encoder(per)
        super().use_spec(spec)

    def read(self) -> dict[Split, Examples]:
        _ = self.targets  # reads the training split
        return super().read()

    def check_column(self, path: str, column: str, key: str) -> None:
        pass  # once a table is read, which may be several

    def read_inputs(self, path: str) -> Iterator[Any]:
        return (raw for raw, *_ in self.read_file(path, targets=False))

    def read_file(self, path: str, targets: bool = True) -> Iterator[tuple[Any, ...]]:
        """Each series of a file with its target or None, and what `Examples.also` holds of it.

        Args:
            targets: whether to read more than the inputs.

        Raises:
            UserError: if the file cannot be read, or something in it is wrong.
        """
        if ending(path) == ".ts":
            yield from rows_of_ts(path)
        elif path == "-":
            rows = []
            for row in _json_rows(path):
                if any(isinstance(value, list) for value in row.values()):  # a series
                    table = columns_of([row], called(path))
                    yield from self._examples(self._placed(table, targets), targets)
                else:
                    rows.append(row)
            if rows:
                table = columns_of(rows, called(path))
                yield from self._examples(self._placed(table, targets), targets)
        else:
            (read, steps), self._train = self._train, ("", None)  # large
            if steps is None or read != path:
                yield from self._examples(self._read(path, targets), targets)
            else:
                yield from self._examples(steps, training=True)

    def read_steps(self, path: str) -> Iterator[Any]:
        read = self.read_inputs(path)
        if path == "-":  # each line as soon as it is there
            tables = (columns_of([row], called(path)) for row in _json_rows(path))
            read = (
                each[0] for t in tables for each in self._examples(self._placed(t, False), False)
            )
        for raw in read:
            for n in range(len(raw)):
                yield raw.part(n, n + 1) if isinstance(raw, TableSeries) else raw[n : n + 1]

    def name_of(self, raw: Any) -> dict[str, Any]:
        return {**super().name_of(raw), **self._time_of(raw)}

    def described(
        self, raw: Sequence[Any], rows: Sequence[Mapping[str, Any]]
    ) -> Iterator[dict[str, Any]]:
        for each, row in zip(raw, rows, strict=True):
            yield {**self.inputs.describe(each), **self._time_of(each), **row}

    def _time_of(self, raw: Any) -> dict[str, Any]:
        times = getattr(raw, "times", None) if self.per == "step" else None
        return {} if times is None else {"time": time_texts(times)}

    # from a table to its steps

    def _read(self, path: str, targets: bool = True) -> Steps:
        if ending(path) in LINES:
            return self._placed(columns_of([*_json_rows(path)], called(path)), targets)
        return self._placed(read_columns(path, self.tables, self._texts), targets)

    @property
    def _texts(self) -> set[str]:
        """Columns that hold no numbers, whatever they look like."""
        return {*filter(None, (self.by, self.files, self.label_column, *self.roles.values()))}

    def _placed(self, table: Columns, targets: bool) -> Steps:
        """The steps of a table in order, with what other tables say of their series."""
        rows, by = None, self.by
        if self.files and (self.files in table or not self._fitted):
            table, rows = self._of_files(table)
            by = by or self.files
        elif table.lists:
            table, rows = steps_of(table)
            by = by if by in table or not self._fitted else None  # a new series needs no name
        elif by is None and self.files:  # one of its files
            rows = np.zeros(len(table), dtype=int)
        elif by is None:
            raise UserError(f"{table.path}: {_no_series(table)}")
        if by:
            table.check(by, "data.series")
        names = table.filled(by) if by else None
        if rows is None:
            assert names is not None
            rows = names.codes
        known = self.inputs.columns if self._fitted and not targets else None
        if self.labels and names and not (known and all(column in table for column in known)):
            table = self._with_labels(table, names)
        times = None if self.time is None else _times(table, self.time)
        order = np.lexsort((np.arange(len(rows)) if times is None else times, rows))
        if (np.diff(order) != 1).any():
            table, rows = table.take(order), rows[order]
            times, names = None if times is None else times[order], table.names(by) if by else None
        starts = np.concatenate([[0], np.flatnonzero(np.diff(rows)) + 1, [len(rows)]])
        called = names.texts[starts[:-1]].tolist() if names else [""] * (len(starts) - 1)
        steps = Steps(table, starts, called, times)
        if times is not None and len(times) > len(called):
            self._check_times(steps, np.delete(np.arange(1, len(rows)), starts[1:-1] - 1))
        return steps

    def _of_files(self, table: Columns) -> tuple[Columns, np.ndarray]:
        import pyarrow as pa

        assert self.files is not None
        table.check(self.files, "data.files")
        folder, names = Path(table.path).parent, table.filled(self.files).texts
        read = [read_columns(str(folder / name), self.tables, self._texts) for name in names]
        with refusing(f"{table.path}: its files differ in columns", pa.ArrowException):
            steps = pa.concat_tables([each.table for each in read])
        rows = np.repeat(np.arange(len(read)), [*map(len, read)])
        return Columns(steps, table.path, rows).beside(table, rows), rows

    def _with_labels(self, table: Columns, names: Names) -> Columns:
        assert self.labels and self.by
        labels, place = read_columns(self.labels, self.tables, self._texts), dict[str, int]()
        labels.check(self.by, "data.series")
        for row, name in enumerate(labels.filled(self.by).texts):
            if place.setdefault(name, row) != row:
                twice = f"rows {place[name] + 1} and {row + 1} are both of series {shown(name)}"
                raise UserError(f"{labels.path}: {twice}: have one for each")
        for name in names.names:
            if name not in place:
                raise UserError(
                    f"{labels.path} has no row for series {shown(name)} of {table.path}"
                )
        return table.beside(labels, np.array([place[name] for name in names.names])[names.codes])

    def _check_times(self, steps: Steps, inside: np.ndarray) -> None:
        """Raises a `UserError` for a time that stands twice, and notes steps that differ much.

        Args:
            inside: the steps that are not the first of their series.
        """
        assert steps.times is not None
        unit = 1.0 if steps.times.dtype.kind == "f" else np.timedelta64(1, "s")
        apart = (steps.times[inside] - steps.times[inside - 1]) / unit
        if not apart.all():
            step = inside[apart.argmin()]
            rows = sorted(1 + steps.columns.places_of(np.array([step - 1, step])))
            [time] = time_texts(steps.times[[step]])
            raise UserError(
                f"{steps.columns.path}: {steps.called(steps.series(step))}: time {time} stands "
                f"twice (rows {rows[0]}, {rows[1]}): have each once"
            )
        longest, usual = apart.argmax(), float(np.median(apart))
        if apart[longest] > UNEVEN * usual:
            series = steps.called(steps.series(inside[longest]))
            self._found.append(
                f"{steps.columns.path}: steps of {self.time} differ: the median is "
                f"{usual:g}, the longest {apart[longest]:g} ({series}): resample, or add the "
                "difference as a channel"
            )

    # from steps to examples

    def _examples(
        self, steps: Steps, wanted: bool = True, training: bool = False
    ) -> Iterator[tuple[Any, ...]]:
        table, starts = steps.columns, steps.starts
        columns, values, texts = self._channels(table)
        roles = {role: column for role, column in self.roles.items() if wanted and column in table}
        also: dict[str, Any] = {role: steps.of_series(column) for role, column in roles.items()}
        if "weight" in also:
            column = self.roles["weight"]
            also["weight"] = [as_weight(each, table.path, column) for each in also["weight"]]
        if "group" not in also and training:
            also |= self._unnamed(steps, columns)
        targets = None
        if wanted and all(column in table for column in self._targets):
            read = [self._targets_of(steps, column) for column in self._targets]
            targets = np.stack([own for own, _ in read], 1) if self.value_columns else read[0][0]
            if self.per == "sequence":
                self._check_targets(
                    steps, targets, next(filter(None, [each for _, each in read]), "")
                )
        for n, (start, stop) in enumerate(pairwise(starts.tolist())):
            times = None if steps.times is None else steps.times[start:stop]
            raw = TableSeries(values[start:stop], columns, texts, steps.names[n], times, n)
            target = None
            if targets is not None:
                target = targets[start] if self.per == "sequence" else targets[start:stop]
                target = target.tolist() if isinstance(self.targets, Tags) else target
            own = {role: each[n] for role, each in also.items()}
            yield raw, target, *([own] if own else [])

    def _check_targets(self, steps: Steps, targets: np.ndarray, several: str) -> None:
        if several:
            raise UserError(
                f"{steps.columns.path}: {several}: for one at each step, leave data.per out and "
                "choose model=tagger or head=every_step"
            )
        if not self.value_columns:
            for number, label in enumerate(targets[steps.starts[:-1]]):
                if label is None:
                    none = f"{steps.called(number)} has no {self.label_column!r}"
                    raise UserError(f"{steps.columns.path}: {none}: fill it, or leave it out")

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
            of_texts = known.get(chosen[n])
            numbers = None if of_texts else table.numbers(column, needed=of_texts is False)
            if numbers is None:
                names = table.names(column)
                codes = np.array([*map(text_number, names.names), np.nan])
                texts[column] = dict(zip(codes.tolist(), names.names, strict=False))
                numbers = codes[names.codes]
            values[:, n] = numbers
        self._of_texts = known or {column: column in texts for column in chosen}
        return chosen, values, texts

    def _numeric(self, table: Columns) -> list[str]:
        named = {*self._texts, *filter(None, (self.time, *self._targets))}
        found = [name for name in table.table.column_names if name not in named]
        found = [name for name in found if table.numbers(name) is not None]
        if not found:
            raise UserError(f"{table.path} has no column with numbers: set data.inputs")
        self._found.append(f"channels: {listed(found)} (set data.inputs to choose)")
        return found

    def _unnamed(self, steps: Steps, columns: Sequence[str]) -> dict[str, np.ndarray]:
        """Columns of texts that may say whose each series is, as a patient's name does."""
        named, found = {*self._texts, *columns, *filter(None, (self.time,))}, {}
        for column in [name for name in steps.columns.texts if name not in named]:
            names = steps.columns.names(column)
            count = len({*names.codes[steps.starts[:-1]].tolist()})
            few = count in SOME and 2 * count < len(steps.starts)
            if few and not steps.varying(names.codes, names.texts, column):
                found[GROUP_KEY + column] = names.texts[steps.starts[:-1]]
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


def time_texts(times: np.ndarray) -> list[Any]:
    """Times as JSON holds them: numbers, or texts of dates."""
    if times.dtype.kind == "f":
        return [int(time) if time.is_integer() else time for time in times.tolist()]
    import pandas as pd

    return [*map(str, pd.DatetimeIndex(times))]


def _no_series(table: Columns) -> str:
    changes = {name: np.diff(table.names(name).codes) != 0 for name in table.texts}
    runs = {name: 1 + int(changed.sum()) for name, changed in changes.items()}
    long = [name for name, count in runs.items() if 1 < count < len(table) / 2]
    like = f", such as data.series={max(long, key=lambda name: runs[name])}" if long else ""
    return f"each row is a step, so say which series it is of: set data.series{like}"


def _times(table: Columns, column: str) -> np.ndarray:
    table.check(column, "data.time")
    if (times := table.numbers(column)) is None:
        return np.asarray(table.moments(column), "M8[ns]")
    if (unknown := np.isnan(times)).any():
        raise UserError(f"{table.where(unknown.argmax())} has no {column!r}: fill it")
    return times


def _json_rows(path: str) -> Iterator[Mapping[str, Any]]:
    """The object in each line of JSON; a list in its place is that of a series' steps."""
    for number, line in enumerate(read_lines(path), start=1):
        if line.strip():
            with refusing(f"{called(path)}: line {number} is not JSON", ValueError, RecursionError):
                value = AS_TEXT.decode(line)
            row = value if isinstance(value, dict) else {"series": value}
            yield {key: as_text(each) for key, each in row.items()}
