"""Long rows take little memory on their way, and are what they are when read whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import csv

from seqmodels.data import SeriesTable, channel_statistics, columns, separated, series_inputs
from seqmodels.data import batches as batches_module
from seqmodels.data.batches import table_of_batches
from seqmodels.data.channel_statistics import statistics_of
from seqmodels.data.columns import Columns
from seqmodels.data.gaps import may_have_placeholders
from seqmodels.data.series_inputs import EncodedSeries, mean_and_deviation

MEASURE = """
import sys
import torch
from seqmodels.data import SeriesTable

def kilobytes(name):
    [line] = [line for line in open("/proc/self/status") if line.startswith(name + ":")]
    return int(line.split()[1])

def learn(path):
    data = SeriesTable(path, **eval(sys.argv[3]))
    data.setup()
    data.notes, data.fingerprint
    next(iter(data.train_dataloader()))
    data.compute_baselines()

torch.set_num_threads(1)
learn(sys.argv[1])
before = kilobytes("VmRSS")
open("/proc/self/clear_refs", "w").write("5")
learn(sys.argv[2])
print(1024 * (kilobytes("VmHWM") - before))
"""
CHANNELS, SERIES = 4, 10
LONG_TABLE = {"series": "trip", "time": "when", "batch_size": 2}


def long_table(num_steps: int) -> pd.DataFrame:
    random = np.random.default_rng(0)
    count = SERIES * num_steps
    values = random.normal(size=(count, CHANNELS)).round(4)
    table = pd.DataFrame(values, columns=[f"x{channel}" for channel in range(CHANNELS)])
    table["trip"] = np.repeat([f"trip {number}" for number in range(SERIES)], num_steps)
    table["when"] = np.tile(np.arange(num_steps) / 50, SERIES)
    table["label"] = np.repeat(["walk", "run"] * (SERIES // 2), num_steps)
    return table


def lists_of(table: pd.DataFrame) -> pd.DataFrame:
    by_trip = table.drop(columns="when").groupby("trip", sort=False)
    lists = by_trip.agg(list)
    lists["label"] = by_trip["label"].first()
    return lists.reset_index(drop=True)


def write(table: pd.DataFrame, kind: str, path: Path) -> str:
    if kind == "csv":
        csv.write_csv(pa.Table.from_pandas(table), path)
    elif kind == "parquet":
        table.to_parquet(path)
    else:
        lists_of(table).to_parquet(path)
    return str(path)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process's peak")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "num_steps", "most"),
    [
        ("csv", 300_000, 3.3),
        pytest.param("lists", 100_000, 5.2, marks=pytest.mark.long),
    ],
)
def test_long_rows_are_copied_once_at_a_time(
    kind: str, num_steps: int, most: float, tmp_path: Path
) -> None:
    ending = "csv" if kind == "csv" else "parquet"
    options = {"batch_size": 2} if kind == "lists" else LONG_TABLE
    short = write(long_table(50), kind, tmp_path / f"short.{ending}")
    long = write(long_table(num_steps), kind, tmp_path / f"long.{ending}")
    command = [sys.executable, "-c", MEASURE, short, long, repr(options)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    float32_size = 4 * CHANNELS * SERIES * num_steps
    # With more steps it is less, because buffers have a fixed size.
    assert int(done.stdout) < most * float32_size


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that is long is so at a few rows."""
    for module in (columns, series_inputs):
        monkeypatch.setattr(module, "BLOCK", 7)
    monkeypatch.setattr(channel_statistics, "BLOCK", 128)
    monkeypatch.setattr(series_inputs, "LONG", 5)
    monkeypatch.setattr(series_inputs, "FEW_VALUES", 0)
    monkeypatch.setattr(series_inputs, "STEPS_TO_RETURN", 50)
    monkeypatch.setattr(separated, "SMALL_BLOCK", 400)
    monkeypatch.setattr(columns, "MANY_NAMES", 2)


def ugly_table(seed: int) -> pd.DataFrame:
    """Series of unequal lengths with gaps, whole numbers, booleans, texts and large levels."""
    random = np.random.default_rng(seed)
    tables = []
    for number in range(12):
        length = int(random.integers(1, 40))
        values: dict[str, Any] = {
            "trip": f"trip {number}",
            "when": np.sort(random.random(length)).round(6) + np.arange(length),
            "level": random.normal(size=length) * 10.0 ** random.integers(-3, 7),
            "narrow": random.normal(size=length).astype(np.float32),
            "whole": random.integers(-5, 300, length),
            "flag": random.random(length) < 0.5,
            "site": random.choice(["a", "b", "c "], length),
            "label": "walk" if number % 2 else "run",
        }
        tables.append(pd.DataFrame(values))
    table = pd.concat(tables, ignore_index=True)
    table["level"] = table["level"].mask(random.random(len(table)) < 0.1)
    return table.sample(frac=1, random_state=seed) if seed % 2 else table


INPUTS = ["level", "narrow", "whole", "flag", "site"]


def read(path: Path, **options: Any) -> SeriesTable:
    data = SeriesTable(
        str(path), series="trip", time="when", inputs=INPUTS, missing="mark", **options
    )
    data.setup()
    return data


def expected_inputs(table: pd.DataFrame, trips_of_training: list[str]) -> dict[str, np.ndarray]:
    """What the network reads of each trip, computed of the whole table in memory."""
    table = table.sort_values(["trip", "when"])
    training = table[table["trip"].isin(trips_of_training)]
    numeric = [*INPUTS[:4]]
    # The order of the sums is that of the series in the file.
    order = {trip: number for number, trip in enumerate(trips_of_training)}
    training = training.sort_values(["trip", "when"], key=lambda c: c.map(order).fillna(c))
    statistics = [mean_and_deviation(training[[name]].to_numpy(float)) for name in numeric]
    mean = np.concatenate([mean for mean, _ in statistics])
    deviation = np.concatenate([deviation for _, deviation in statistics])
    has_gaps = [name for name in numeric if training[name].isna().any()]
    inputs = {}
    for trip, steps in table.groupby("trip"):
        numbers = np.nan_to_num((steps[numeric].to_numpy(float) - mean) / deviation)
        sites = [steps["site"].str.strip() == site for site in ("a", "b", "c")]
        marks = [steps[name].isna() for name in has_gaps]
        features = [numbers, *(np.array(flags)[:, None] for flags in [*sites, *marks])]
        inputs[str(trip)] = np.concatenate(features, axis=1).astype(np.float32)
    return inputs


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("seed", range(4))
def test_inputs_in_pieces_are_those_of_the_whole_table_to_the_last_bit(
    kind: str, seed: int, tmp_path: Path, small_blocks: None
) -> None:
    table = ugly_table(seed)
    path = tmp_path / f"table.{kind}"
    if kind == "csv":
        table.to_csv(path, index=False)
    else:
        table.to_parquet(path, row_group_size=13)
    if kind == "csv":
        table = pd.read_csv(path, float_precision="round_trip")
    data = read(path)
    names = {split: [raw.name for raw in data.datasets[split].raw] for split in data.datasets}
    expected = expected_inputs(table, names["train"])
    for split, dataset in data.datasets.items():
        for name, sequence in zip(names[split], dataset.sequences, strict=True):
            np.testing.assert_array_equal(sequence.numpy(), expected[name], strict=True)


def test_a_long_series_is_let_go_but_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "table.csv"
    ugly_table(0).to_csv(path, index=False)
    whole = read(path)
    monkeypatch.setattr(series_inputs, "LONG", 5)
    data = read(path)
    kept = [raw for split in data.examples.values() for raw in split.inputs]
    assert {isinstance(raw, EncodedSeries) for raw in kept if len(raw) >= 5} == {True}
    assert {isinstance(raw, EncodedSeries) for raw in kept if len(raw) < 5} == {False}
    assert data.fingerprint == whole.fingerprint
    assert data.fingerprints == whole.fingerprints
    assert data.compute_baselines() == whole.compute_baselines()
    assert data.datasets["train"].row_name(0) == whole.datasets["train"].row_name(0)
    data.file_loader(str(path))  # the same rows, which no note would find without their hashes
    assert any("of the evaluated split are in the train split" in note for note in data.notes)
    [first] = [raw for raw in kept if raw.name == kept[0].name]
    with pytest.raises(RuntimeError, match="not kept: read it again"):
        data.batch_of([first])


def test_values_are_kept_where_somebody_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(series_inputs, "LONG", 5)
    table = ugly_table(0)
    table["label"] = np.where(table["whole"] > 100, "high", "low")  # one for each step
    table.to_csv(tmp_path / "table.csv", index=False)
    data = read(tmp_path / "table.csv")
    # The test split is predicted from beginnings of its series.
    assert not any(isinstance(raw, EncodedSeries) for raw in data.examples["test"].inputs)
    assert any(isinstance(raw, EncodedSeries) for raw in data.examples["train"].inputs)
    assert all(raw.times is not None for raw in data.examples["train"].inputs)

    keeping = SeriesTable(
        str(tmp_path / "table.csv"), series="trip", time="when", inputs=INPUTS, missing="mark"
    )
    keeping.keeps_values = True
    keeping.setup()
    assert not any(isinstance(raw, EncodedSeries) for raw in keeping.examples["train"].inputs)


@pytest.mark.parametrize("count", [1, 7, 128, 129, 1_000, 262_145, 700_001])
def test_statistics_have_the_digits_of_one_array(count: int) -> None:
    random = np.random.default_rng(count)
    levels = [0.0, 1e6, -3e-4]
    values = random.normal(size=(count, 3)) * [1.0, 1e-3, 1e4] + levels
    values[:, 2] = np.where(random.random(count) < 0.2, np.nan, values[:, 2])
    cuts = np.sort(random.integers(0, count + 1, 5))
    pieces = [piece for piece in np.split(values, cuts) if len(piece)]
    statistics = statistics_of(lambda: pieces)
    assert statistics.step_count == count
    for channel in range(3):
        mean, deviation = mean_and_deviation(values[:, [channel]])
        np.testing.assert_array_equal(statistics.mean[channel], mean[0])
        np.testing.assert_array_equal(statistics.deviation[channel], deviation[0])


def test_a_table_of_batches_holds_what_they_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "MANY_NAMES", 3)
    random = np.random.default_rng(0)
    numbers = [None if draw < 0.2 else float(draw) for draw in random.random(50)]
    numbers[7] = float("nan")
    whole = pa.table(
        {
            "number": pa.array(numbers),
            "narrow": pa.array(random.normal(size=50).astype(np.float32)),
            "whole": pa.array(random.integers(0, 9, 50)),
            "class": pa.array(random.choice(["a", "b", ""], 50)),
            "id": pa.array([f"row {row}" for row in range(50)]),
            "gaps": pa.array([None, "x"] * 25),
            "lists": pa.array([[float(row)] * (row % 3) for row in range(50)]),
            "empty": pa.nulls(50, pa.float64()),
        }
    )
    for ends in ([], [9, 31, 50]):
        table = table_of_batches(whole.to_batches(max_chunksize=7), whole.schema, ends=ends)
        for name in whole.column_names:
            assert str(table[name].to_pylist()) == str(whole[name].to_pylist())
            assert table[name].null_count == whole[name].null_count
        if ends:
            assert [len(chunk) for chunk in table["number"].chunks] == [9, 22, 19]
    assert pa.types.is_dictionary(table["class"].type)
    assert not pa.types.is_dictionary(table["id"].type)  # each row has a text of its own


def test_numbers_that_are_handed_over_leave_the_table() -> None:
    table = Columns(pa.table({"x": [1.0, None, 3.0], "flag": [True, False, None]}), "f")
    given = table.hand_over(["x", "flag"], kept=["flag"])
    np.testing.assert_array_equal(given["x"].read(2), [1.0, np.nan])
    np.testing.assert_array_equal(given["x"].read(1), [3.0])
    assert not given["x"].chunks
    assert "x" not in table and "flag" in table
    np.testing.assert_array_equal(given["flag"].read(3), [1.0, 0.0, np.nan])


def test_a_row_that_is_longer_than_a_small_block_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(separated, "SMALL_BLOCK", 64)
    text = "y" * 100
    path = tmp_path / "table.csv"
    path.write_text("trip,when,x,label,note\n" + f"a,1,0.5,u,{text}\nb,1,1.5,v,\n" * 1)
    table = SeriesTable(str(path)).tables.read(str(path), texts=["trip"])
    assert table.names("note").texts.tolist() == [text, None]
    assert table.numbers("x").tolist() == [0.5, 1.5]


def test_a_few_numbers_that_may_be_gaps_are_seen_in_pieces() -> None:
    random = np.random.default_rng(0)
    values = np.where(random.random(60_000) < 0.05, -99.0, random.normal(900, 5, 60_000))
    values[::9] = np.nan
    pieces = np.split(values, [10, 30_000])
    assert may_have_placeholders(lambda: pieces)
    assert not may_have_placeholders(lambda: [np.where(values == -99, np.nan, values)])


def test_many_columns_are_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches_module, "table_of_batches", pytest.fail)
    names = [f"t{step}" for step in range(1 + batches_module.MANY_COLUMNS)]
    table = pd.DataFrame(np.eye(3, len(names)), columns=names)
    table.to_csv(tmp_path / "wide.csv", index=False)
    read_table = SeriesTable("x").tables.read(str(tmp_path / "wide.csv"), texts=[])
    np.testing.assert_array_equal(read_table.table.to_pandas().to_numpy(), table.to_numpy())
