"""Which kind of file some files are: tables, folders, arrays, texts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from seqmodels.data.columns import DECIMAL_COMMA, Columns
from seqmodels.data.separated import LINES, USUAL_SEPARATORS
from seqmodels.data.steps import has_numbers
from seqmodels.data.tables import SEPARATORS, TABLES, Tables, ending
from seqmodels.errors import UserError, listed
from seqmodels.files import existing_file, read_lines
from seqmodels.look.guesses import Guess
from seqmodels.look.tables import (
    Choice,
    Kind,
    Words,
    choices_of_series,
    kind_of_table,
    words_of_time,
)

OLD_ENCODING = "cp1252"  # what European spreadsheets write that is not UTF-8
ARRAYS = (".npy", ".npz")
COLUMN_FILES = (".conll", ".conllu", ".txt", ".iob", ".bio")
LINES_OF_TEXT = 200  # to look at


def kind_of(paths: Sequence[str]) -> Kind:
    """What some files are: one, a table and a second one with a row for each series, or a folder.
    Raises a `UserError` for files that cannot be read, or that nobody could train on."""
    if len(paths) == 2:
        return _of_two(*paths)
    if len(paths) > 2:
        raise UserError("give one file, a table and a second one of its series, or one folder")
    [path] = paths
    if Path(path).is_dir():
        return _of_folder(Path(path))
    existing_file(path)
    if ending(path) == ".ts":
        return _of_archive(path)
    if ending(path) in ARRAYS:
        return _of_arrays(path)
    if ending(path) in COLUMN_FILES or (ending(path) == ".tsv" and _has_blank_lines(path)):
        return _of_lines(path)
    if ending(path) not in TABLES:
        Tables().read(path)  # which says what it reads
    columns, options = read_as_it_is(path)
    return kind_of_table(path, columns, options)


def _of_two(first: str, second: str) -> Kind:
    """A table of steps, and one with a row for each of its series; in any order."""
    tables = {path: read_as_it_is(existing_file(path)) for path in (first, second)}
    steps, series = sorted(tables, key=lambda path: -len(tables[path][0]))
    (columns, options), (labels, _) = tables[steps], tables[series]
    guess, second_guess = Guess(columns), Guess(labels, rows_are_series=True)
    shared = [name for name in second_guess.facts if name in guess.facts]
    keys = [n for n in shared if second_guess.facts[n].count == len(labels)]
    if not keys:
        raise UserError(
            f"{steps} and {series} share no column that names the series of each row: both need "
            "one, and the second a row for each"
        )
    key = keys[0]
    guess = Guess(columns, series=key)
    words: Words = {"data": "series", "data.train": steps, "data.series": key, **options}
    words |= {**words_of_time(guess), "data.labels": series}
    what = (
        f"a long table: {len(columns):,} rows, each a step of one of {guess.facts[key].count:,} "
        f"series ({key}), and a second one with a row for each series"
    )
    return Kind(what, choices_of_series(guess, words, second_guess))


def _of_folder(folder: Path) -> Kind:
    """A folder with a table that names its other files, or with a folder of files a class."""
    for table in _tables_in(folder):
        columns, options = read_as_it_is(str(table))
        guess = Guess(columns, rows_are_series=True)
        for name, fact in guess.facts.items():
            files = [] if fact.is_number else columns.names(name).names
            if len(files) < 2 or not all((folder / file).is_file() for file in files):
                continue
            recording, _ = read_as_it_is(str(folder / files[0]))
            words: Words = {"data": "series", "data.train": str(table), "data.files": name}
            words |= {**options, **words_of_time(Guess(recording))}
            what = f"recordings: {table.name} names a file for each of {len(columns):,} series"
            return Kind(what, choices_of_series(guess, words))
    return _of_folders(folder)


def _of_folders(folder: Path) -> Kind:
    """A folder of files for each class."""
    files_by_class = dict[str, list[Path]]()
    for inner in sorted(folder.iterdir()):
        if inner.is_dir() and (files := _tables_in(inner)):
            files_by_class[inner.name] = files
    if len(files_by_class) < 2:
        raise UserError(
            f"{folder}: no table in it names its other files, and it has no folder of files for "
            "each class: give one file of it"
        )
    first = next(iter(files_by_class.values()))[0]
    recording, _ = read_as_it_is(str(first))
    words: Words = {"experiment": "series_classification", "data": "series"}
    words |= {"data.train": str(folder / "labels.csv"), "data.files": "file"}
    words |= words_of_time(Guess(recording))
    before = (
        "from pathlib import Path",
        "import pandas",
        f"folder = Path({str(folder)!r})",
        f"files = sorted(folder.glob('*/*{first.suffix}'))",
        "rows = [(file.relative_to(folder).as_posix(), file.parent.name) for file in files]",
        "table = pandas.DataFrame(rows, columns=['file', 'label'])",
        "table.to_csv(folder / 'labels.csv', index=False)",
    )
    count = sum(map(len, files_by_class.values()))
    what = f"a folder of files for each of {len(files_by_class)} classes: {count:,} series"
    return Kind(what, [Choice(words, "the class of each file")], before)


def _tables_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in TABLES)


def _of_archive(path: str) -> Kind:
    if has_numbers(path):
        words = {"experiment": "series_regression", "data": "series", "data.train": path}
        return Kind("series with numbers, as in the UEA archive", [Choice(words, "each number")])
    words = {"experiment": "series_classification", "data": "series", "data.train": path}
    return Kind("series with classes, as in the UEA archive", [Choice(words, "each class")])


def _of_arrays(path: str) -> Kind:
    """Arrays by name, or one of them: what to write in Python."""
    content = np.load(path, allow_pickle=False)
    arrays = dict(content) if hasattr(content, "files") else {"x": content}
    by_size = sorted(arrays, key=lambda name: -arrays[name].ndim * 1e12 - arrays[name].size)
    series = by_size[0]
    count = len(arrays[series])
    labels = [n for n in by_size[1:] if arrays[n].ndim == 1 and len(arrays[n]) == count]
    if arrays[series].ndim not in (2, 3) or not labels:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise UserError(f"{path} has {shapes}: give series (N, T, C), and a label (N,) for each")
    table = Path(path).with_suffix(".parquet").name
    before = (
        "import numpy, pandas",
        f"arrays = numpy.load({path!r})",
        f"series = arrays[{series!r}]",
        "steps = series.reshape(*series.shape[:2], -1)",
        "columns = {f'x{n}': list(steps[:, :, n]) for n in range(steps.shape[2])}",
        f"beside = {{name: arrays[name] for name in {labels!r}}}",
        f"pandas.DataFrame({{**columns, **beside}}).to_parquet({table!r})",
    )
    beside = Guess(
        Columns(pa.table({name: arrays[name] for name in labels}), path), rows_are_series=True
    )
    words: Words = {"data": "series", "data.train": table}
    if arrays[series].dtype.kind == "f" and np.isnan(arrays[series]).any():
        words["data.missing"] = "mark"
    what = f"arrays: {series} {arrays[series].shape}, and {listed(labels)} for each series"
    return Kind(what, choices_of_series(beside, words), before)


def _of_lines(path: str) -> Kind:
    lines = [line for line, _ in zip(read_lines(path), range(LINES_OF_TEXT), strict=False)]
    fields = [len(line.split()) for line in lines if line.strip() and not line.startswith("#")]
    is_columns = len({*fields}) == 1 and fields[0] > 1 and "" in [line.strip() for line in lines]
    if ending(path) == ".conllu" or is_columns:
        words = {"experiment": "tagging", "data.train": path}
        return Kind("a word and its tag on each line", [Choice(words, "the tag of each word")])
    words = {"experiment": "char_lm", "data.train": path}
    return Kind("plain text", [Choice(words, "to continue the text, character by character")])


def _has_blank_lines(path: str) -> bool:
    return any(
        not line.strip() for line, _ in zip(read_lines(path), range(LINES_OF_TEXT), strict=False)
    )


def read_as_it_is(path: str) -> tuple[Columns, Words]:
    """A table, and the words of a command that it needs to be read. Raises a `UserError` if it
    cannot be read."""
    options = dict[str, Any]()
    if ending(path) in SEPARATORS:
        options = _options(existing_file(path))
    words = {f"data.{key}": value for key, value in options.items()}
    return Tables(**options).read(path, texts=()), words


def _options(path: str) -> dict[str, Any]:
    """What differs from a usual file in the first lines of a file with separators."""
    options = dict[str, Any]()
    try:
        for _ in read_lines(path, "utf-8"):
            pass
    except UserError:
        options["encoding"] = OLD_ENCODING
    lines = [*islice(read_lines(path, options.get("encoding", "utf-8")), LINES)]
    lines = [line.strip("\r") for line in lines if line.strip()]
    usual = separator = SEPARATORS[ending(path)]
    if lines and usual not in lines[0]:
        counts = {each: lines[0].count(each) for each in USUAL_SEPARATORS}
        if any(counts.values()):
            separator = max(counts, key=counts.__getitem__)
            options["separator"] = separator
    fields = [field.strip() for line in lines[1:] for field in line.split(separator)]
    if separator != "," and any(DECIMAL_COMMA.fullmatch(field) for field in fields):
        options["decimal"] = ","
    return options
