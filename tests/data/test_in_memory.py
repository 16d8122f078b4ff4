"""Rows in memory instead of files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from seqmodels.data import DataModule, Text
from seqmodels.errors import UserError

ROWS = [(f"a {('dull', 'fine')[n % 2]} film, {n}", ("bad", "good")[n % 2]) for n in range(20)]
FRAME = pd.DataFrame(ROWS, columns=["text", "label"])


def fingerprint(data: DataModule) -> str:
    data.setup()
    return data.fingerprint


@pytest.mark.parametrize(
    "rows",
    [
        FRAME,
        FRAME.assign(label=FRAME.label.astype("category"), year=1999)[::-1][::-1],
        FRAME.to_dict("list"),
        FRAME.to_dict("records"),
        pa.table(FRAME),
        ROWS,
    ],
    ids=["frame", "categories and an index", "columns", "dicts", "arrow", "tuples"],
)
def test_rows_in_memory_are_read_as_those_of_a_file(tmp_path: Path, rows: Any) -> None:
    FRAME.to_csv(tmp_path / "films.csv", index=False)
    expected = fingerprint(Text(str(tmp_path / "films.csv")))
    assert fingerprint(Text(train=rows)) == expected
    file = str(tmp_path / "films.csv")
    assert fingerprint(Text(file, test=rows)) == fingerprint(Text(file, test=file))


def test_numbers_are_read_from_memory_too(tmp_path: Path) -> None:
    rows, names = [(f"film {n}", n / 3, n) for n in range(9)], ["stars", "votes"]
    frame = pd.DataFrame(rows, columns=["text", *names])
    frame.to_parquet(tmp_path / "stars.parquet")
    expected = fingerprint(Text(str(tmp_path / "stars.parquet"), value_columns=names))
    for given in (rows, frame):
        assert fingerprint(Text(given, value_columns=names)) == expected


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (FRAME.rename(columns={"text": "review"}), "data.train: row 1 has no column 'text'"),
        (["ab", "cd"], "data.train: row 1 has no column 'label'"),
        ([("a", "x", 1)], "data.train: its rows have 3 values, and are read as text, label"),
        ([("a", 1), ("b", "x")], "data.train: give the path of a file, a DataFrame"),
        ([("a", "x"), ("b",)], "data.train: give the path of a file, a DataFrame"),
        ({"text": "a", "label": "x"}, "data.train: give the path of a file, a DataFrame"),
        ([("a", None)], "data.train: row 1 has no label"),
        ([], "data.train has no rows"),
        (FRAME[:0], "data.train has no rows"),
        (5, "data.train: give the path of a file, a DataFrame"),
        ("<in memory, 3 rows, 0>", "this run was trained on <in memory, 3 rows, 0>: give these"),
    ],
)
def test_rows_that_cannot_be_read_are_named(rows: Any, message: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(message)}"):
        Text(train=rows).setup()
