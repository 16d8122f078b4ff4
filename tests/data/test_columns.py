"""Columns of a table: their texts, their numbers, where each row is from; and whole random tables,
encoded as pandas says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
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


# ---------------------------------------------------------------- random tables


SPLITS = ("train", "validation", "test")
TEXTS = ("red", "green", " blue", "green ")


def drawn(random: np.random.Generator) -> tuple[pd.DataFrame, dict[str, Any]]:
    """A table in the order of its steps, and how to read it."""
    options: dict[str, Any] = {
        "missing": str(random.choice(["mark", "last", "interpolate"])),
        "scale": str(random.choice(["split", "series", "both", "none"])),
        "stack": int(random.integers(1, 4)),
        "time": random.choice([None, "time"]),
    }
    options["elapsed"] = options["time"] is not None and bool(random.random() < 0.6)
    rows = []
    for number in range(int(random.integers(6, 12))):
        steps = int(random.integers(1, 8))
        at = random.choice(100, steps, replace=False)
        at.sort()
        gaps = random.random((steps, 3)) < 0.25
        gaps[random.integers(steps)] = False  # which interpolation needs
        for step in range(steps):
            a, b = random.normal(3, 2, 2).round(3)
            row = {
                "s": f"s{number}",
                "time": int(at[step]),
                "a": a,
                "on": bool(random.random() < 0.5),
            }
            row |= {"kind": str(random.choice(TEXTS)), "b": float(b), "label": "xy"[number % 2]}
            row |= {name: None for name, gap in zip(("a", "b", "kind"), gaps[step]) if gap}
            rows.append({**row, "split": SPLITS[max(number - 3, 0) % 3]})
    table = pd.DataFrame(rows)
    if random.random() < 0.5:
        table["time"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(table["time"], "min")
    options["inputs"] = [None, ["b", "kind", "on", "a"]][random.integers(2)]
    return table, options


def written(table: pd.DataFrame, folder: Path, random: np.random.Generator) -> Any:
    """The table in one of the ways to give it."""
    kind = random.choice(["csv", "jsonl", "parquet", "memory"])
    path = folder / f"x.{kind}"
    if kind == "csv":
        table.to_csv(path, index=False)
    elif kind == "jsonl":
        table.to_json(path, orient="records", lines=True, date_format="iso")
    elif kind == "parquet":
        table.to_parquet(path)
    return table if kind == "memory" else str(path)


def by_pandas(table: pd.DataFrame, options: dict[str, Any]) -> dict[str, np.ndarray]:
    """The features of each series."""
    numbers = ["a", "on", "b"] if options["inputs"] is None else ["b", "on", "a"]
    texts = [] if options["inputs"] is None else ["kind"]
    channels = ["a", "on", "b"] if options["inputs"] is None else ["b", "kind", "on", "a"]
    steps = table.assign(on=table["on"].astype(float), kind=table["kind"].str.strip())
    if options["elapsed"]:
        apart = steps.groupby("s", sort=False)["time"].diff()
        seconds = apart.dt.total_seconds() if apart.dtype != float else apart
        steps["elapsed"] = np.log1p(seconds.fillna(0))
        numbers, channels = [*numbers, "elapsed"], [*channels, "elapsed"]
    is_gap = steps[channels].isna()
    by_series = steps.groupby("s", sort=False)
    if options["missing"] == "last":
        steps[channels] = by_series[channels].ffill()
    if options["missing"] == "interpolate":
        filled = by_series[numbers].transform(lambda x: x.interpolate(limit_direction="both"))
        steps[numbers] = filled
    train = steps[steps.split == "train"]

    def deviation(values: pd.DataFrame) -> pd.Series:
        spread = values.std(ddof=0)
        return spread.where(spread > 1e-6, 1.0).fillna(1.0)

    categories = {column: sorted(train[column].dropna().unique()) for column in texts}
    marked = is_gap[steps.split == "train"].any()
    encoded = {}
    for name, rows in by_series:
        rows = steps.loc[rows.index]
        values, scale = rows[numbers], options["scale"]
        by_split = (values - train[numbers].mean()) / deviation(train[numbers])
        by_itself = (values - values.mean()) / deviation(values)
        scaled = {"split": [by_split], "series": [by_itself], "both": [by_split, by_itself]}
        plain = [values.fillna(train[numbers].mean())]
        columns = [part.fillna(0).to_numpy() for part in scaled.get(scale, plain)]
        for column, known in categories.items():
            columns.append(rows[column].to_numpy()[:, None] == np.array(known, object))
        if options["missing"] == "mark":
            columns.append(is_gap.loc[rows.index, marked[marked].index].to_numpy())
        features = np.concatenate([part.astype(float) for part in columns], axis=1)
        missing = -len(features) % options["stack"]
        features = np.concatenate([features, np.repeat(features[-1:], missing, axis=0)])
        encoded[str(name)] = features.reshape(len(features) // options["stack"], -1)
    return encoded


def agree(seed: int, folder: Path) -> None:
    random = np.random.default_rng(seed)
    table, options = drawn(random)
    shuffled = table
    if options["time"] is not None:
        shuffled = table.sample(frac=1, random_state=seed)
    data = SeriesTable(written(shuffled, folder, random), series="s", split="split", **options)
    data.setup()
    expected, raw = by_pandas(table, options), dict[str, np.ndarray]()
    for split, examples in data.examples.items():
        for series, found in zip(examples.inputs, data.datasets[split].sequences, strict=True):
            raw[series.name] = series.numbers
            np.testing.assert_allclose(
                found.numpy(), expected[series.name], rtol=2e-5, atol=2e-6, err_msg=f"seed {seed}"
            )
    assert raw.keys() == expected.keys()
    numeric = [name for name in data.inputs.columns or [] if name not in ("kind", "elapsed")]
    read = np.concatenate([raw[name][:, : len(numeric)] for name in table.s.unique()])
    assert np.array_equal(read, table[numeric].astype(float).to_numpy(), equal_nan=True), seed


@pytest.mark.parametrize("start", range(4))
def test_random_tables_are_what_pandas_makes_of_them(tmp_path: Path, start: int) -> None:
    for seed in range(10 * start, 10 * start + 10):
        agree(seed, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("start", range(8))
def test_four_hundred_random_tables_are_what_pandas_makes_of_them(
    tmp_path: Path, start: int
) -> None:
    for seed in range(1000 + 50 * start, 1050 + 50 * start):
        agree(seed, tmp_path)
