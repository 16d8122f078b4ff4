"""Columns of a table: their texts without blanks, their numbers, and where each row is from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from seqmodels.data import SeriesTable
from seqmodels.data.columns import Columns
from seqmodels.data.text import Text
from seqmodels.errors import UserError


def columns(**named: Any) -> Columns:
    return Columns(pa.table(named), "x.csv")


def test_texts_that_differ_in_the_blanks_around_them_are_one() -> None:
    names = columns(user=["u1", "u1 ", None, " ", "\tu2", "u2", "u1"]).names("user")
    assert names.names[: names.codes.max() + 1] == ["u1", "", "u2"]
    assert names.texts.tolist() == ["u1", "u1", None, None, "u2", "u2", "u1"]
    written = columns(user=["u1", "u1 "]).written("user")
    assert written.texts.tolist() == ["u1", "u1 "]


@pytest.mark.parametrize(
    "column", ["true", "True", "FALSE", True, "tags"], ids=["json", "csv", "upper", "bool", "named"]
)
def test_booleans_are_numbers_whatever_they_are_written_as(column: Any) -> None:
    values = [column, None, column]
    if column == "tags":
        assert columns(b=["true", "tags"]).holds_texts("b")
        return
    found, is_wrong = columns(b=values).parsed("b")
    truth = float(str(column).lower() == "true")
    assert not columns(b=values).holds_texts("b") and not is_wrong.any()
    assert np.array_equal(found, [truth, np.nan, truth], equal_nan=True)


def test_a_column_with_as_many_texts_as_numbers_holds_texts() -> None:
    assert columns(x=["1", "2", "a", "b", None]).holds_texts("x")
    assert not columns(x=["1", "2", "a", None]).holds_texts("x")
    with pytest.raises(UserError, match="x.csv: row 3 has 'a' as 'x', which is not a finite"):
        columns(x=["1", "2", "a", None]).numbers("x")


@pytest.mark.parametrize(
    "values",
    [
        pa.array([{"id": 1}, {"id": 2}]),
        pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int64())),
        pa.array([b"a", b"b"]),
        pa.array([[1], [2, 3]]),
    ],
    ids=["struct", "map", "binary", "list"],
)
def test_what_is_neither_numbers_nor_texts_is_refused_only_where_it_is_read(values: Any) -> None:
    table = columns(x=[1.0, 2.0], meta=values)
    assert table.holds_texts("meta")
    beside = columns(y=[1.0, 2.0, 3.0]).beside(table, np.array([1, 0, 1]))
    assert beside.table["meta"].to_pylist() == [values.to_pylist()[n] for n in (1, 0, 1)]


def test_an_error_names_the_file_that_a_column_is_from() -> None:
    people = Columns(pa.table({"age": ["1", "2", "old"]}), "people.csv")
    steps = columns(ax=[1.0, 2.0, 3.0, 4.0]).beside(people, np.array([0, 0, 1, 2]))
    for table in (steps, steps.take(np.array([3, 0, 1, 2]))):
        with pytest.raises(UserError, match="^people.csv: row 3 has 'old' as 'age'"):
            table.numbers("age")
    assert steps.where(3, "ax") == "x.csv: row 4"


@pytest.mark.parametrize("role", ["series", "group", "label_column", "split", "inputs"])
def test_blanks_around_a_name_make_no_second_series_group_label_split_or_text(role: str) -> None:
    names = [f"s{n}" for n in range(12) for _ in range(2)]
    split = [("train", "train", "validation", "test")[n % 4] for n in range(12) for _ in range(2)]
    label = ["ab"[n // 4 % 2] for n in range(12) for _ in range(2)]
    frame = {"s": names, "x": np.arange(24.0) ** 2, "label": label, "split": split}
    frame |= {"who": [f"u{n % 6}" for n in range(12) for _ in range(2)], "kind": label}
    column = {"series": "s", "group": "who", "label_column": "label", "inputs": "kind"}
    blanks = {**frame, column.get(role, role): []}
    for row, text in enumerate(frame[column.get(role, role)]):
        blanks[column.get(role, role)].append(text + " " * (row % 2))
    found = []
    for given in (frame, blanks):
        data = SeriesTable(
            given, series="s", inputs=["x", "kind"], group="who", label_column="label"
        )
        if role == "split":
            data = SeriesTable(given, series="s", inputs=["x", "kind"], split="split")
        data.setup()
        found.append((data.fingerprint, data.per, data.split_sizes, data.inputs.categories))
    assert found[0] == found[1]


def test_the_text_of_a_text_keeps_its_blanks() -> None:
    rows = {"text": [" a b ", "c"] * 4, "label": ["x", "y "] * 4}
    examples = Text(rows).read()["train"]
    assert examples.inputs[:2] == [" a b ", "c"] and examples.targets[:2] == ["x", "y"]
