"""Your own series of numbers: from tables with a row for each step, or a row for each series."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from seqmodels.arguments import Name
from seqmodels.batch import Per
from seqmodels.data.columns import Columns, Names, read_columns, steps_of
from seqmodels.data.examples import Examples
from seqmodels.data.module import Split
from seqmodels.data.series_inputs import Missing, Scale, Series, Stack, TableSeries, text_number
from seqmodels.data.sources import ROLES, OwnFiles, Table, as_file, as_weight
from seqmodels.data.tables import AS_TEXT, Tables, as_text, ending
from seqmodels.data.tags import Tags
from seqmodels.data.targets import Classes, TargetEncoder, Values
from seqmodels.data.ts_file import has_numbers, rows_of_ts
from seqmodels.errors import UserError, choices, listed, refusing, shown
from seqmodels.files import called, read_lines

LINES = (".jsonl", ".ndjson")
UNEVEN = 10  # how many times as long as the median a step of time is, to be worth a note
SOME = range(4, 10_000)  # of different texts, in a column that may say whose a series is


@dataclass(frozen=True)
class Steps:
    """All steps of a table, one series after the other, each in the order of time.

    Args:
        parts: where their columns are.
        order: `(N,)`, the row that each step has there.
        starts: `(S + 1,)`, where each series begins, and the end of the last one.
        names: of the series; empty where they have none.
        times: `(N,)`, or None.
    """

    parts: list[Columns]
    order: np.ndarray
    starts: np.ndarray
    names: list[str]
    times: np.ndarray | None

    def part(self, column: str) -> Columns | None:
        """Where a column is; None: nowhere."""
        return next((part for part in self.parts if column in part), None)

    def names_of(self, part: Columns, column: str) -> Names:
        """A column of each step as texts."""
        return part.names(column)[self.order]

    def of_series(self, column: str) -> np.ndarray:
        """The text that a column has in each series.

        Raises:
            UserError: for a series without one, or with several.
        """
        part = self.part(column)
        assert part is not None
        names = self.names_of(part, column)
        self.check_same(names, column)
        texts = names.texts[self.starts[:-1]]
        for name, text in zip(self.names, texts, strict=True):
            if text is None:
                raise UserError(f"{part.path}: series {shown(name)} has no {column!r}: fill it")
        return texts

    def varying(self, codes: np.ndarray) -> int | None:
        """The number of the first series whose steps differ."""
        first = np.repeat(codes[self.starts[:-1]], np.diff(self.starts), axis=0)
        differs = (codes != first) & ~(np.isnan(codes) & np.isnan(first))
        rows = np.flatnonzero(differs.reshape(len(codes), -1).any(axis=1))
        return int(np.searchsorted(self.starts, rows[0], "right")) - 1 if len(rows) else None

    def several(self, number: int, texts: np.ndarray, column: str) -> str:
        """`series 7 has 2 values of 'label' (walk, run)`"""
        own = dict.fromkeys(texts[self.starts[number] : self.starts[number + 1]])
        few = ", ".join(shown(str(text)) for text in [*own][:3])
        more = ", ..." if len(own) > 3 else ""
        name = shown(self.names[number] or str(number + 1))
        return f"series {name} has {len(own)} values of {column!r} ({few}{more})"

    def check_same(self, names: Names, column: str) -> None:
        """Raises a `UserError` for a series with several values of a column."""
        if (number := self.varying(names.codes)) is not None:
            several = self.several(number, names.texts, column)
            raise UserError(f"{self.parts[0].path}: {several}: one is needed for all its steps")


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
        self.labels = None if labels is None else as_file(labels, "data.labels")
        if weight_column:
            self.roles = {**self.roles, "weight": weight_column}
        self.mismatch = ""  # why there is a target for each series or step
        self._found: list[str] = []  # notes

    # what there is to predict

    @cached_property
    def targets(self) -> TargetEncoder:
        """By the labels of the training split, which this reads, or as `per` says."""
        path = self._train_path
        if ending(path) == ".ts":
            return Values() if has_numbers(path) else Classes()
        return self._targets(self._per or self._per_of(self._train))

    def _targets(self, per: Per) -> TargetEncoder:
        if self.value_columns:
            return Values(self.value_columns, per)
        return Tags() if per == "step" else Classes()

    @cached_property
    def _train_path(self) -> str:
        return self.split_paths()["train"]

    @cached_property
    def _train(self) -> Steps:
        return self._read(self._train_path)

    def _per_of(self, steps: Steps) -> Per:
        key = "value_columns" if self.value_columns else "label_column"
        columns = self.value_columns or [self.label_column]
        for column in columns:
            self._needed(steps, column, f"data.{key}")
            codes: Any = steps.part(column)
            codes = self._numbers(steps, column) if self.value_columns else None
            texts = codes
            if codes is None:
                names = steps.names_of(self._needed(steps, column, ""), column)
                codes, texts = names.codes, names.texts
            if (number := steps.varying(codes)) is not None:
                several = steps.several(number, texts, column)
                self.mismatch = (
                    f"; {several}: choose model=tagger or head=every_step, or give one for each "
                    "series, such as by data.labels"
                )
                return "step"
        self.mismatch = (
            f"; {listed(columns)} is the same at all steps of each series: for a target at each "
            "step, set data.per=step"
        )
        return "sequence"

    @property
    def spec(self) -> dict[str, Any]:
        return {**super().spec, "per": self.per}

    def use_spec(self, spec: Mapping[str, Any]) -> None:
        self.targets = self._targets(spec["per"])  # without the files
        if "values" in spec:
            self.targets = Values(spec["values"], spec["per"])
        super().use_spec(spec)

    # reading

    def read(self) -> dict[Split, Examples]:
        _ = self.targets  # reads the training split
        return super().read()

    def check_column(self, path: str, column: str, key: str) -> None:
        pass  # once the table is read, which may be several

    def read_file(self, path: str) -> Iterator[tuple[Any, ...]]:
        """Each series of a file with its target or None, and what `Examples.also` holds of it.

        Raises:
            UserError: if the file cannot be read, or something in it is wrong.
        """
        if ending(path) == ".ts":
            yield from rows_of_ts(path)
            return
        if path == "-":
            rows = []
            for row in _json_rows(path):
                if any(isinstance(value, list) for value in row.values()):
                    yield from self._examples(self._placed(_table([row], path)))
                else:
                    rows.append(row)
            if rows:
                yield from self._examples(self._placed(_table(rows, path)))
            return
        training = path == self.__dict__.get("_train_path")
        yield from self._examples(self._train if training else self._read(path), training)
        if training:
            self.__dict__.pop("_train")  # large, and no longer needed

    def read_inputs(self, path: str) -> Iterator[Any]:
        return (raw for raw, *_ in self.read_file(path))

    def read_steps(self, path: str) -> Iterator[Any]:
        for raw in self.read_inputs(path):
            if not isinstance(raw, TableSeries):
                yield from (raw[n : n + 1] for n in range(len(raw)))
                continue
            for n in range(len(raw)):
                times = None if raw.times is None else raw.times[n : n + 1]
                values = raw.values[n : n + 1]
                yield TableSeries(values, raw.columns, raw.texts, raw.name, times)

    def described(
        self, raw: Sequence[Any], rows: Sequence[Mapping[str, Any]]
    ) -> Iterator[dict[str, Any]]:
        for each, row in zip(raw, super().described(raw, rows), strict=True):
            times = getattr(each, "times", None) if self.per == "step" else None
            name = {key: row.pop(key) for key in ("series",) if key in row}
            yield {**name, **({} if times is None else {"time": time_texts(times)}), **row}

    def _read(self, path: str) -> Steps:
        if ending(path) in LINES:
            return self._placed(_table([*_json_rows(path)], path))
        texts = {self.by, self.label_column, *self.roles.values()} - {None}
        return self._placed(read_columns(path, self.tables, texts))  # type: ignore[arg-type]

    def _placed(self, columns: Columns) -> Steps:
        """The steps of a table in order, with what other tables say of their series."""
        parts, rows, names = [columns], None, list[str]()
        if self.files:
            parts, rows = self._of_files(columns)
            names = parts[1].names(self.by or self.files).texts.tolist()
        elif columns.lists and not (self.by and self.by not in columns):
            flat, rest, rows = steps_of(columns)
            parts = [flat, rest]
            names = rest.names(self.by).texts.tolist() if self.by else [""] * len(rows)
        if rows is None:
            if self.by is None:
                raise UserError(f"{columns.path}: {self._no_series(columns)}")
            columns.check(self.by, "data.series")
            found = columns.names(self.by)
            if (found.codes < 0).any():
                row = int((found.codes < 0).argmax())
                raise UserError(f"{columns.path}: row {row + 1} has no {self.by!r}: fill it")
            rows, by_code = found.codes, found.names
        else:
            by_code = [str(name) for name in dict(zip(rows.tolist(), names, strict=True)).values()]
            rows = np.unique(rows, return_inverse=True)[1]
        if self.labels:
            parts.append(self._of_labels(rows, by_code, columns.path))
        times = self._times(parts)
        order = np.arange(len(rows))
        later = np.ones(len(rows) - 1, bool) if times is None else times[1:] >= times[:-1]
        if not ((rows[1:] > rows[:-1]) | ((rows[1:] == rows[:-1]) & later)).all():
            order = np.lexsort((order if times is None else times, rows))
        rows = rows[order]
        times = None if times is None else times[order]
        starts = np.concatenate([[0], np.flatnonzero(np.diff(rows)) + 1, [len(rows)]])
        names = [by_code[code] for code in rows[starts[:-1]]]
        steps = Steps(parts, order, starts, names, times)
        if times is not None:
            self._check_times(steps, rows)
        return steps

    def _no_series(self, columns: Columns) -> str:
        runs = {}
        for column in columns.table.column_names:
            if columns.numbers(column) is None:
                codes = columns.names(column).codes
                runs[column] = len({*codes.tolist()}), 1 + int((np.diff(codes) != 0).sum())
        long = [name for name, (texts, count) in runs.items() if 1 < texts <= count < len(columns)]
        like = f", such as data.series={max(long, key=lambda name: runs[name])}" if long else ""
        return f"each row is a step, so say which series it is of: set data.series{like}"

    def _of_files(self, columns: Columns) -> tuple[list[Columns], np.ndarray]:
        import pyarrow as pa

        assert self.files is not None
        columns.check(self.files, "data.files")
        folder, read = Path(columns.path).parent, []
        for row, name in enumerate(columns.names(self.files).texts, start=1):
            if name is None:
                raise UserError(f"{columns.path}: row {row} has no {self.files!r}: fill it")
            read.append(read_columns(str(folder / name), self.tables, self.roles.values()))
        with refusing(f"{columns.path}: the files don't have the same columns", pa.ArrowException):
            table = pa.concat_tables([each.table for each in read])
        rows = np.repeat(np.arange(len(read)), [len(each) for each in read])
        return [Columns(table, columns.path), Columns(columns.table, columns.path, rows)], rows

    def _of_labels(self, rows: np.ndarray, names: list[str], path: str) -> Columns:
        assert self.labels is not None
        texts = {self.by, self.label_column, *self.roles.values()} - {None}
        table = read_columns(self.labels, self.tables, texts)  # type: ignore[arg-type]
        column = self.by or "series"
        table.check(column, "data.series")
        place: dict[str, int] = {}
        for row, name in enumerate(table.names(column).texts):
            if place.setdefault(name, row) != row:
                twice = f"rows {place[name] + 1} and {row + 1} are both of series {shown(name)}"
                raise UserError(f"{table.path}: {twice}: have one for each")
        for name in names:
            if name not in place:
                raise UserError(f"{table.path} has no row for series {shown(name)} of {path}")
        return Columns(table.table, table.path, np.array([place[name] for name in names])[rows])

    def _times(self, parts: Sequence[Columns]) -> np.ndarray | None:
        if self.time is None:
            return None
        part = next((part for part in parts if self.time in part), parts[0])
        part.check(self.time, "data.time")
        if (numbers := part.numbers(self.time)) is None:
            names = part.names(self.time)
            dates = moments([name.strip() for name in names.names], part.path)
            numbers = np.append(dates, np.datetime64("NaT"))[names.codes]
        if (unknown := np.isnan(numbers)).any():
            row = int(unknown.argmax())
            raise UserError(f"{part.path}: row {row + 1} has no {self.time!r}: fill it")
        return numbers

    def _check_times(self, steps: Steps, rows: np.ndarray) -> None:
        assert steps.times is not None
        apart = np.diff(steps.times).astype(float)
        same = (apart == 0) & (rows[1:] == rows[:-1])
        if same.any():
            n = int(same.argmax())
            first, second = sorted(steps.order[n : n + 2] + 1)
            number = int(np.searchsorted(steps.starts, n, "right")) - 1
            [time] = time_texts(steps.times[n : n + 1])
            raise UserError(
                f"{steps.parts[0].path}: series {shown(steps.names[number])}: time {time} stands "
                f"twice (rows {first}, {second}): have each once"
            )
        inside = np.flatnonzero(rows[1:] == rows[:-1])
        if len(inside):
            longest, usual = inside[apart[inside].argmax()], float(np.median(apart[inside]))
            if apart[longest] > UNEVEN * usual:
                number = int(np.searchsorted(steps.starts, longest, "right")) - 1
                unit = 1.0 if steps.times.dtype.kind == "f" else 1e9
                self._found.append(
                    f"{steps.parts[0].path}: steps of {self.time} differ: the median is "
                    f"{usual / unit:g}, the longest {apart[longest] / unit:g} (series "
                    f"{shown(steps.names[number])}): resample, or add the difference as a channel"
                )

    # from steps to examples

    def _examples(self, steps: Steps, training: bool = False) -> Iterator[tuple[Any, ...]]:
        columns, values, texts = self._channels(steps)
        targets = self._raw_targets(steps, training)
        also: dict[str, Any] = {}
        for role, column in self.roles.items():
            if training:
                self._needed(steps, column, ROLES[role])
            if steps.part(column):
                also[role] = steps.of_series(column)
        if "weight" in also:
            where = steps.parts[0].path
            also["weight"] = [as_weight(x, where, self.roles["weight"]) for x in also["weight"]]
        if "group" not in also and training:
            also |= self._unnamed(steps, columns)
        steps.parts.clear()  # large, and no longer needed
        for n, (start, stop) in enumerate(zip(steps.starts, steps.starts[1:], strict=False)):
            times = None if steps.times is None else steps.times[start:stop]
            raw = TableSeries(values[start:stop], columns, texts, steps.names[n], times)
            own = {role: each[n] for role, each in also.items()}
            yield raw, targets(n, start, stop), *([own] if own else [])

    def _channels(self, steps: Steps) -> tuple[list[str], np.ndarray, dict[str, Any]]:
        """The names of the channels, their values `(N, C)`, and what stands for texts."""
        known = self.inputs.columns if self._fitted else None
        chosen = known or self.chosen or self._numeric(steps)
        values, texts = np.empty((len(steps.order), len(chosen))), {}
        nested = [n for n in steps.parts[0].table.column_names if n.endswith("]")]
        unnamed = bool(known) and len(nested) == len(chosen) and not steps.part(chosen[0])
        for n, column in enumerate(nested if unnamed else chosen):
            part = self._needed(steps, column, "data.inputs")
            of_texts = known is not None and self.inputs.categories[n] is not None
            of_numbers = known is not None and not of_texts
            numbers = None if of_texts else part.numbers(column, needed=of_numbers)
            if numbers is None:
                names = part.names(column)
                codes = np.array([*map(text_number, names.names), np.nan])
                texts[column] = dict(zip(codes.tolist(), names.names, strict=False))
                numbers = codes[names.codes]
            values[:, n] = numbers[steps.order]
        return [*chosen], values, texts

    def _numeric(self, steps: Steps) -> list[str]:
        named = {self.by, self.time, self.files, *(self.value_columns or ()), *self.roles.values()}
        named |= set() if self.value_columns else {self.label_column}
        found = [
            column
            for part in steps.parts
            for column in part.table.column_names
            if column not in named and part.numbers(column) is not None
        ]
        if not found:
            raise UserError(f"{steps.parts[0].path} has no column with numbers: set data.inputs")
        self._found.append(f"channels: {listed(found)} (set data.inputs to choose)")
        return found

    def _raw_targets(self, steps: Steps, training: bool) -> Any:
        """A function that gives the raw target of a series, by its number, start and stop."""
        columns, per = self.value_columns or [self.label_column], self.targets.per
        if not all(steps.part(column) for column in columns) and not training:
            return lambda *_: None
        if self.value_columns:
            values = np.stack([self._numbers(steps, column) for column in columns], axis=1)
            if per == "step":
                return lambda n, start, stop: values[start:stop]
            for column, own in zip(columns, values.T, strict=True):
                if (number := steps.varying(own)) is not None:
                    self._refuse(steps.several(number, own, column), steps)
            return lambda n, start, stop: values[start]
        names = steps.names_of(self._needed(steps, columns[0], "data.label_column"), columns[0])
        if per == "step":
            return lambda n, start, stop: names.texts[start:stop].tolist()
        if (number := steps.varying(names.codes)) is not None:
            self._refuse(steps.several(number, names.texts, columns[0]), steps)

        for n in np.flatnonzero(names.codes[steps.starts[:-1]] < 0) if training else ():
            what = f"series {shown(steps.names[n] or str(n + 1))} has no {columns[0]!r}"
            raise UserError(f"{steps.parts[0].path}: {what}: fill it, or leave the series out")
        return lambda n, start, stop: names.texts[start]

    def _refuse(self, several: str, steps: Steps) -> None:
        cures = "leave data.per out and choose model=tagger or head=every_step, or cut the series"
        raise UserError(f"{steps.parts[0].path}: {several}: {cures}")

    def _numbers(self, steps: Steps, column: str) -> np.ndarray:
        part = self._needed(steps, column, "data.value_columns")
        numbers = part.numbers(column, needed=True)
        assert numbers is not None
        return numbers[steps.order]

    def _needed(self, steps: Steps, column: str, key: str) -> Columns:
        if part := steps.part(column):
            return part
        known = {name for part in steps.parts for name in part.table.column_names}
        path = steps.parts[0].path
        raise UserError(f"{path} has no column {column!r}: set {key}; {choices(column, known)}")

    def _unnamed(self, steps: Steps, columns: Sequence[str]) -> dict[str, np.ndarray]:
        """Columns of texts that may say whose each series is, as a patient's name does."""
        named = {self.by, self.time, self.files, self.label_column, *self.roles.values(), *columns}
        found = {}
        for part in steps.parts:
            for column in part.table.column_names:
                if column in named or part.numbers(column) is not None or column in part.lists:
                    continue
                names = steps.names_of(part, column)
                first = names.codes[steps.starts[:-1]]
                count = len({*first.tolist()})
                if count in SOME and 2 * count <= len(first) and steps.varying(names.codes) is None:
                    found[column] = names.texts[steps.starts[:-1]]
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


def moments(texts: Sequence[str], path: str) -> np.ndarray:
    """Dates in ISO 8601, also with slashes, as `datetime64`; those with an offset in UTC.

    Raises:
        UserError: for another text.
    """
    import pandas as pd  # slow to import

    given = [text.replace("/", "-") for text in texts]
    dates = ["" if re.fullmatch(r"\d+\.\d*", text) else text for text in given]  # else a month
    found = pd.to_datetime(dates, format="ISO8601", errors="coerce", utc=True)
    if found.hasnans:
        wrong = texts[int(found.isna().argmax())]
        raise UserError(
            f"{path}: {shown(repr(wrong))} is no time: write numbers, or times as "
            "2013-01-31 06:00, with or without an offset such as +01:00"
        )
    return found.tz_localize(None).to_numpy()


def _table(rows: Sequence[Mapping[str, Any]], path: str) -> Columns:
    import pyarrow as pa

    name = called(path) if path != "-" else "standard input"
    if not rows:
        raise UserError(f"{name} has no rows")
    names = dict.fromkeys(name for row in rows for name in row)
    with refusing(f"{name} cannot be read", pa.ArrowException, TypeError, ValueError):
        return Columns(pa.table({n: [row.get(n) for row in rows] for n in names}), name)


def _json_rows(path: str) -> Iterator[Mapping[str, Any]]:
    """The object in each line of JSON; a list in its place is that of a series' steps."""
    for number, line in enumerate(read_lines(path), start=1):
        if line.strip():
            with refusing(f"{path}: line {number} is not JSON", ValueError, RecursionError):
                value = AS_TEXT.decode(line)
            row = value if isinstance(value, dict) else {"series": value}
            yield {key: as_text(each) for key, each in row.items()}
