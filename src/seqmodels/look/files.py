"""Which kind of file some files are: tables, folders, arrays, texts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from seqmodels.data.columns import Columns
from seqmodels.data.steps import has_numbers
from seqmodels.data.tables import TABLES, Tables, ending
from seqmodels.errors import UserError, listed
from seqmodels.files import existing_file, read_lines
from seqmodels.look.guesses import Guess
from seqmodels.look.reading import encoding_of, read_as_it_is, settings_to_read
from seqmodels.look.tables import (
    Command,
    Description,
    Settings,
    commands_for_series,
    describe_table,
    settings_of_time,
)

ARRAYS = (".npy", ".npz")
COLUMN_FILES = (".conll", ".conllu", ".txt", ".iob", ".bio")
# So many lines of a text are looked at.
LINES_OF_TEXT = 200


def describe_files(paths: Sequence[str]) -> Description:
    """What some files are: one file, a table and a second one with a row for each of its series, or
    a folder. Raises a `UserError` for files that cannot be read, or that nobody could train on."""
    if len(paths) == 2:
        return _describe_two_tables(*paths)
    if len(paths) > 2:
        raise UserError("give one file, a table and a second one of its series, or one folder")
    [path] = paths
    if Path(path).is_dir():
        return _describe_folder(Path(path))
    existing_file(path)
    if ending(path) == ".ts":
        return _describe_archive_file(path)
    if ending(path) in ARRAYS:
        return _describe_arrays(path)
    if ending(path) in COLUMN_FILES or (ending(path) == ".tsv" and _has_blank_lines(path)):
        return _describe_text_file(path)
    columns, options = read_as_it_is(path)
    return describe_table(path, columns, options)


def _describe_two_tables(first_path: str, second_path: str) -> Description:
    """What a table of steps is, and one with a row for each of its series. The table with more rows
    is the one of steps."""
    if Path(first_path).resolve() == Path(second_path).resolve():
        raise UserError(f"{first_path} is given twice: give it once, or a second table")
    tables = {path: read_as_it_is(existing_file(path)) for path in (first_path, second_path)}
    row_counts = {path: len(columns) for path, (columns, _) in tables.items()}
    steps_path, series_path = sorted(tables, key=row_counts.__getitem__, reverse=True)
    steps_columns, _ = tables[steps_path]
    series_columns, _ = tables[series_path]
    series_guess = Guess(series_columns, rows_are_series=True)
    series_name = _shared_name(Guess(steps_columns), series_guess)
    if series_name is None:
        raise UserError(
            f"{steps_path} and {series_path} share no column that names the series of each row: "
            "both need one, and the second a row for each"
        )
    steps_guess = Guess(steps_columns, series=series_name)
    settings: Settings = {"data": "series", "data.train": steps_path, "data.series": series_name}
    settings |= settings_to_read([steps_path, series_path])
    settings |= settings_of_time(steps_guess)
    settings["data.labels"] = series_path
    series_count = steps_guess.facts[series_name].different_count
    summary = (
        f"a long table: {len(steps_columns):,} rows, each a step of one of {series_count:,} "
        f"series ({series_name}), and a second one with a row for each series"
    )
    return Description(summary, commands_for_series(steps_guess, settings, series_guess))


def _shared_name(steps_guess: Guess, series_guess: Guess) -> str | None:
    """The column that two tables share, and that has another value in each row of the second."""
    row_count = len(series_guess.columns)
    for name, facts in series_guess.facts.items():
        if name in steps_guess.facts and facts.different_count == row_count:
            return name
    return None


def _describe_folder(folder: Path) -> Description:
    """What a folder is: one with a table that names its other files, or with a folder of files for
    each class."""
    for table_path in _tables_in(folder):
        columns, _ = read_as_it_is(str(table_path))
        guess = Guess(columns, rows_are_series=True)
        for name in guess.facts:
            files = _files_in_column(guess, name, folder)
            if not files:
                continue
            settings: Settings = {"data": "series", "data.train": str(table_path)}
            settings["data.files"] = name
            settings |= settings_to_read([str(table_path), *map(str, files)])
            settings |= _settings_of_recording(files[0])
            summary = (
                f"recordings: {table_path.name} names a file for each of {len(columns):,} series"
            )
            return Description(summary, commands_for_series(guess, settings))
    return _describe_folders_of_classes(folder)


def _files_in_column(guess: Guess, name: str, folder: Path) -> list[Path]:
    """The files of a folder that a column names, without repetition; none if it names fewer than
    two, or holds something else."""
    if guess.facts[name].is_number:
        return []
    files = [folder / file_name for file_name in guess.columns.names(name).names]
    if len(files) < 2 or not all(file.is_file() for file in files):
        return []
    return files


def _describe_folders_of_classes(folder: Path) -> Description:
    """What a folder is that has a folder of files for each class."""
    files_by_class = dict[str, list[Path]]()
    for class_folder in sorted(folder.iterdir()):
        if class_folder.is_dir():
            files = _tables_in(class_folder)
            if files:
                files_by_class[class_folder.name] = files
    if len(files_by_class) < 2:
        raise UserError(
            f"{folder}: no table in it names its other files, and it has no folder of files for "
            "each class: give one file of it"
        )
    first_files = next(iter(files_by_class.values()))
    first_file = first_files[0]
    settings: Settings = {"experiment": "series_classification", "data": "series"}
    # In JSON, the names of files and of classes are read alike, whatever the files need.
    settings["data.train"] = str(folder / "labels.jsonl")
    settings["data.files"] = "file"
    all_files = [str(file) for files in files_by_class.values() for file in files]
    settings |= settings_to_read(all_files)
    settings |= _settings_of_recording(first_file)
    preparation = (
        "from pathlib import Path",
        "import pandas",
        f"folder = Path({str(folder)!r})",
        f"files = sorted(folder.glob('*/*{first_file.suffix}'))",
        "rows = [(file.relative_to(folder).as_posix(), file.parent.name) for file in files]",
        "table = pandas.DataFrame(rows, columns=['file', 'label'])",
        "table.to_json(folder / 'labels.jsonl', orient='records', lines=True)",
    )
    summary = (
        f"a folder of files for each of {len(files_by_class)} classes: {len(all_files):,} series"
    )
    return Description(summary, [Command(settings, "the class of each file")], preparation)


def _tables_in(folder: Path) -> list[Path]:
    """The tables in a folder, by name; none of its inner folders."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in TABLES)


def _settings_of_recording(path: Path) -> Settings:
    """The key for the times of the steps in a file of one series, if a column has some."""
    columns, _ = read_as_it_is(str(path))
    return settings_of_time(Guess(columns))


def _describe_archive_file(path: str) -> Description:
    """What a file of the UEA archive is."""
    settings: Settings = {"data": "series", "data.train": path}
    if has_numbers(path):
        command = Command({"experiment": "series_regression", **settings}, "each number")
        return Description("series with numbers, as in the UEA archive", [command])
    command = Command({"experiment": "series_classification", **settings}, "each class")
    return Description("series with classes, as in the UEA archive", [command])


def _describe_arrays(path: str) -> Description:
    """What a file of numpy with series and their labels is. The largest array has the series."""
    content = np.load(path, allow_pickle=False)
    arrays = dict(content) if hasattr(content, "files") else {"x": content}
    if not arrays:
        raise UserError(f"{path} has no array: give series (N, T, C), and a label (N,) for each")
    sizes = {name: (array.ndim, array.size) for name, array in arrays.items()}
    series_name, *other_names = sorted(sizes, key=sizes.__getitem__, reverse=True)
    series = arrays[series_name]
    labels = [name for name in other_names if arrays[name].shape == series.shape[:1]]
    if series.ndim not in (2, 3) or not labels:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise UserError(f"{path} has {shapes}: give series (N, T, C), and a label (N,) for each")
    table_file = Path(path).with_suffix(".parquet").name
    preparation = (
        "import numpy, pandas",
        f"arrays = numpy.load({path!r})",
        f"series = arrays[{series_name!r}]",
        "steps = series.reshape(*series.shape[:2], -1)",
        "columns = {f'x{n}': list(steps[:, :, n]) for n in range(steps.shape[2])}",
        f"beside = {{name: arrays[name] for name in {labels!r}}}",
        f"pandas.DataFrame({{**columns, **beside}}).to_parquet({table_file!r})",
    )
    table_of_labels = pa.table({name: arrays[name] for name in labels})
    guess = Guess(Columns(table_of_labels, path), rows_are_series=True)
    settings: Settings = {"data": "series", "data.train": table_file}
    if series.dtype.kind == "f" and np.isnan(series).any():
        settings["data.missing"] = "mark"
    summary = f"arrays: {series_name} {series.shape}, and {listed(labels)} for each series"
    return Description(summary, commands_for_series(guess, settings), preparation)


def _describe_text_file(path: str) -> Description:
    """What a file of lines is: words with their tags, or a plain text."""
    lines = _first_lines(path)
    field_counts = set[int]()
    for line in lines:
        if line.strip() and not line.startswith("#"):
            field_counts.add(len(line.split()))
    has_equal_lines = len(field_counts) == 1 and max(field_counts) > 1
    # A sentence of tagged words ends with a blank line.
    is_tagged = has_equal_lines and _is_any_blank(lines)
    if ending(path) == ".conllu" or is_tagged:
        settings: Settings = {"experiment": "tagging", "data.train": path}
        encoding = encoding_of(path)
        if encoding not in (None, Tables.encoding):
            settings["data.encoding"] = encoding
        command = Command(settings, "the tag of each word")
        return Description("a word and its tag on each line", [command])
    settings = {"experiment": "char_lm", "data.train": path}
    command = Command(settings, "to continue the text, character by character")
    return Description("plain text", [command])


def _has_blank_lines(path: str) -> bool:
    """Whether one of the first lines of a file is blank."""
    return _is_any_blank(_first_lines(path))


def _first_lines(path: str) -> list[str]:
    """The first lines of a text file."""
    return list(islice(read_lines(path, encoding_of(path)), LINES_OF_TEXT))


def _is_any_blank(lines: Sequence[str]) -> bool:
    """Whether one of the lines is blank."""
    return any(not line.strip() for line in lines)
