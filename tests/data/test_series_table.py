"""Your own series: tables of steps or of series, arrays, and what is wrong with them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from seqmodels.data import Series, SeriesTable
from seqmodels.errors import UserError
from seqmodels.launch.commands.predict import streamed
from seqmodels.runs import Run
from seqmodels.target import TARGETS
from tests.conftest import Refused, Script
from tests.make import run_of_series
from tests.shipped import skip_where_deleted

SENSORS = ["ax", "ay"]
NAN = np.nan


def trips(count: int = 12, seed: int = 0) -> pd.DataFrame:
    """Steps of `count` trips of 4 to 6 steps, one trip after the other."""
    random, rows = np.random.default_rng(seed), list[dict[str, Any]]()
    for trip in range(count):
        for time in range(4 + trip % 3):
            ax, ay = random.normal(size=2).round(3).tolist()
            who = {"trip": f"t{trip}", "user": f"u{trip % 4}", "label": "ab"[trip % 2]}
            rows.append({**who, "time": time, "ax": ax, "ay": ay})
    return pd.DataFrame(rows)


def table(*frames: Any, **options: Any) -> SeriesTable:
    """Data of trips, ready."""
    usual = {"series": "trip", "time": "time", "inputs": SENSORS}
    data = SeriesTable(*frames, **{**usual, **options})
    data.setup()
    return data


def read(frame: Any, **options: Any) -> list[tuple[Any, ...]]:
    """Name, numbers and target of each series of a table."""
    usual = {"series": "trip", "time": "time", "inputs": SENSORS}
    examples = SeriesTable(frame, **{**usual, **options}).read()["train"]
    rows = zip(examples.inputs, examples.targets, strict=True)
    return [(raw.name, raw.numbers.tolist(), np.asarray(target).tolist()) for raw, target in rows]


def notes(data: SeriesTable) -> list[str]:
    """But what it leaves out of the channels."""
    return [note for note in data.notes if not note.startswith("left out: ")]


def steps_of(data: SeriesTable, split: str = "train") -> list[np.ndarray]:
    return [each.numpy() for each in data.datasets[split].sequences]


def long(*series: list[Any], **more: Any) -> pd.DataFrame:
    """A table of one channel `x`, with a series for each list."""
    rows = [
        {"s": f"s{n}", "x": x, "label": "ab"[n % 2]} for n, each in enumerate(series) for x in each
    ]
    return pd.DataFrame(rows).assign(**more)


def as_lists(frame: pd.DataFrame, steps: list[str]) -> pd.DataFrame:
    """A row for each trip."""
    once = {name: "first" for name in frame.columns if name not in ("trip", *steps)}
    return (
        frame.groupby("trip", sort=False).agg({**once, **dict.fromkeys(steps, list)}).reset_index()
    )


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "json", "parquet", "memory"])
def test_a_long_table_gives_the_same_series_whatever_it_is_written_as(
    tmp_path: Path, ending: str
) -> None:
    frame, path = trips(), tmp_path / f"trips.{ending}"
    write: dict[str, Callable[[], Any]] = {
        "csv": lambda: frame.to_csv(path, index=False),
        "tsv": lambda: frame.to_csv(path, index=False, sep="\t"),
        "jsonl": lambda: frame.to_json(path, orient="records", lines=True),
        "json": lambda: frame.to_json(path, orient="records"),
        "parquet": lambda: frame.to_parquet(path),
        "memory": lambda: None,
    }
    write[ending]()
    by_hand = [
        (name, rows[SENSORS].to_numpy().tolist(), rows.label.iloc[0])
        for name, rows in frame.groupby("trip", sort=False)
    ]
    assert read(frame if ending == "memory" else str(path)) == by_hand


def test_an_index_without_a_name_that_pandas_has_written_is_no_channel(tmp_path: Path) -> None:
    frame, path = long([1, 2], [4, 3], [5], [7]), tmp_path / "a.parquet"
    frame.set_axis([5, 3, 1, 0, 2, 4]).to_parquet(path)
    shuffled, plain = (
        SeriesTable(given, series="s").read()["train"] for given in (str(path), frame)
    )
    for one, other in zip(shuffled.inputs, plain.inputs, strict=True):
        assert one.columns == other.columns and np.array_equal(one.numbers, other.numbers)


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_rows_with_lists_give_the_series_of_the_long_table(tmp_path: Path, ending: str) -> None:
    frame, path = trips(), tmp_path / f"trips.{ending}"
    lists = as_lists(frame, ["time", *SENSORS])
    if ending == "parquet":
        lists.to_parquet(path)
    else:
        lists.to_json(path, orient="records", lines=True)
    assert read(str(path)) == read(frame)
    named = read(str(path), series=None)
    assert [row[1:] for row in named] == [row[1:] for row in read(frame)]
    assert {name for name, *_ in named} == {""}


@given(order=st.permutations(range(41)), kind=st.sampled_from(["number", "text", "date", "zone"]))
def test_steps_are_sorted_by_their_times(order: list[int], kind: str) -> None:
    frame = trips(8)
    dates = pd.Timestamp("2024-02-28 23:59:59") + pd.to_timedelta(frame.time, "s")
    times = {
        "number": frame.time - 2.5,
        "text": dates.astype(str),
        "date": dates,
        "zone": dates.dt.tz_localize("Europe/Berlin"),
    }
    shuffled = frame.assign(time=times[kind]).iloc[[n for n in order if n < len(frame)]]
    assert sorted(read(shuffled)) == sorted(read(frame))


def test_dates_with_other_offsets_are_one_clock() -> None:
    frame = long([1.0, 2.0, 3.0], [4.0, 5.0]).rename(columns={"s": "trip"})
    frame["time"] = [
        "2024-01-01T12:00+02:00",
        "2024-01-01 10:30Z",
        "2024/01/01 09:45+0000",
        "2024-01-01 00:00Z",
        "2024-01-02 00:00Z",
    ]
    [first, _] = read(frame, inputs=["x"])
    assert first[1] == [[3.0], [1.0], [2.0]]


def test_without_times_the_rows_of_a_series_keep_their_order_and_need_not_stand_together() -> None:
    frame = trips()
    mixed = frame.sort_values("time", kind="stable")
    assert read(mixed, time=None) == read(frame)


@pytest.mark.parametrize("dates", [False, True])
def test_a_time_that_stands_twice_is_refused_with_both_rows(dates: bool) -> None:
    frame = trips()
    frame.loc[2, "time"] = 1
    if dates:
        frame["time"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(frame.time, "D")
    said = "2024-01-02 00:00:00" if dates else "1"
    with pytest.raises(UserError, match=rf"series t0: time {said} stands twice \(rows 2, 3\)"):
        table(frame)


def test_a_step_without_a_time_is_refused_with_its_row(tmp_path: Path) -> None:
    frame = trips().assign(time=lambda f: "2024-01-01 00:00:0" + f.time.astype(str))
    frame.loc[6, "time"] = ""
    frame.to_csv(tmp_path / "x.csv", index=False)
    with pytest.raises(UserError, match="x.csv: row 7 has no 'time': fill it"):
        table(str(tmp_path / "x.csv"))


@pytest.mark.parametrize(
    ("unit", "lengths"), [("s", ("1 s", "16.7 min")), ("D", ("24 h", "1e+03 days"))]
)
def test_time_steps_that_differ_much_are_a_note_in_a_unit(
    unit: str, lengths: tuple[str, str]
) -> None:
    frame = trips().drop(columns="user")
    frame.loc[7:8, "time"] += 1000
    dates = frame.assign(time=pd.Timestamp("2024-01-01") + pd.to_timedelta(frame.time, unit))
    for each, (median, longest) in ((frame, ("1", "1001")), (dates, lengths)):
        [note] = notes(table(each))
        assert f"the median is {median}, the longest {longest} (series t1)" in note
    assert not notes(table(trips().drop(columns="user")))


def test_a_folder_of_recordings_is_its_table_of_labels(tmp_path: Path) -> None:
    frame = trips()
    for trip, steps in frame.groupby("trip"):
        steps[["time", *SENSORS]].to_csv(tmp_path / f"{trip}.csv", index=False)
    once = frame.groupby("trip", sort=False).first().reset_index()
    once["file"] = once.trip + ".csv"
    once[["file", "trip", "label", "user"]].to_csv(tmp_path / "labels.csv", index=False)
    path = str(tmp_path / "labels.csv")
    assert read(path, files="file") == read(frame)
    assert read(path, files="file", series=None)[0][0] == "t0.csv"
    one = table(path, files="file", series=None)
    for file in (tmp_path / "t0.csv", tmp_path / "t1.csv"):  # by itself
        [raw] = one.read_inputs(str(file))
        assert raw.numbers.tolist() == pd.read_csv(file)[SENSORS].values.tolist()
    data = table(path, files="file", group="user")
    assert not {*data.examples["train"].also["group"]} & {*data.examples["test"].also["group"]}
    (tmp_path / "t3.csv").unlink()
    with pytest.raises(UserError, match="t3.csv: no such file"):
        read(path, files="file")


# ---------------------------------------------------------------- frames of pandas


def test_the_numbers_of_the_rows_of_a_frame_are_no_channel() -> None:
    frame = trips()
    data = table(frame[frame.trip != "t3"], inputs=None)
    assert data.inputs.columns == SENSORS
    assert read(frame.set_index("trip")) == read(frame)


@pytest.mark.parametrize(
    "kind", ["int8", "float32", "Int64", "Float64", "float64[pyarrow]", "string", "category"]
)
def test_numbers_of_any_type_of_pandas_are_numbers(kind: str) -> None:
    values = pd.Series([1, 2, 3, 4, 5, 7]).astype(str if kind == "string" else int)
    frame = long([0.0] * 3, [0.0] * 3).assign(x=values.astype(kind))
    assert [row[1] for row in read(frame, series="s", time=None, inputs=None)] == [
        [[1.0], [2.0], [3.0]],
        [[4.0], [5.0], [7.0]],
    ]


def test_a_gap_is_one_whatever_it_is_written_as(tmp_path: Path) -> None:
    gaps = [None, NAN, pd.NA]
    frames = [long([1.0, 2.0, 3.0]).astype({"x": "Float64"}) for _ in gaps]
    for frame, gap in zip(frames, gaps, strict=True):
        frame.loc[1, "x"] = pd.NA if gap is None else gap
    files = []
    for gap in ("", "NA", "null", "nan"):
        (tmp_path / f"a{gap}.csv").write_text(f"s,x,label\na,1,b\na,{gap},b\na,3,b\n")
        files.append(str(tmp_path / f"a{gap}.csv"))
    for given_as in (*frames, *files):
        [(_, values, _)] = read(given_as, series="s", time=None, inputs=["x"])
        assert np.isnan(values[1][0]) and [values[0], values[2]] == [[1.0], [3.0]]


def test_names_that_no_row_has_are_not_asked_for() -> None:
    frame = trips().assign(trip=lambda f: f.trip.astype("category"))
    frame = frame[frame.trip != "t3"]
    labels = frame.groupby("trip", observed=True)[["label"]].first().reset_index()
    found = read(frame.drop(columns="label"), labels=labels)
    assert len(found) == 11


def test_a_column_that_nothing_reads_may_hold_anything() -> None:
    for wrong in ("x", "inf"):
        note = ["1"] * (len(trips()) - 1) + [wrong]
        assert read(trips().assign(note=note)) == read(trips())


# ---------------------------------------------------------------- inputs


def test_channels_are_all_numbers_that_are_not_named_otherwise() -> None:
    data = table(trips(), inputs=None, group="user")
    assert data.inputs.columns == SENSORS
    assert data.notes == ["channels: ax, ay (set data.inputs to choose)"]
    others = [trips(seed=n).assign(trip=lambda f, n=n: f"{n} " + f.trip) for n in (1, 2)]
    files = table(trips(), *others, inputs=None)
    left_out = "left out: user (4 texts, such as 'u0': name it in data.inputs to read it)"
    assert files.notes == [*data.notes, left_out]


def test_the_channels_of_a_file_are_those_of_training() -> None:
    frame, new = trips(), trips(seed=1)
    shuffled = new.assign(extra=1.0)[["ay", "extra", "ax", "time", "label", "trip"]]
    expected = steps_of(table(frame, new, new, inputs=None), "test")
    found = steps_of(table(frame, new, shuffled, inputs=None), "test")
    assert all(map(np.array_equal, expected, found))
    with pytest.raises(UserError, match="data.test in memory has no column 'ay': set data.inputs"):
        table(frame, new, new.drop(columns="ay"), inputs=None)
    for inputs in (None, SENSORS):
        with pytest.raises(UserError, match="data.test in memory: row 1 has 'q' as 'ax', which"):
            table(frame, new, new.assign(ax="q"), inputs=inputs)


def test_texts_are_a_channel_for_each_one_that_training_has() -> None:
    frame, numbers = trips().drop(columns="user"), trips().trip.str[1:].astype(int)
    kinds = frame.assign(kind=np.where(numbers == 4, "new", np.where(numbers % 2, "B", "A")))
    kinds["split"] = np.where(numbers == 4, "test", np.where(numbers < 3, "validation", "train"))
    data = table(kinds, inputs=["ax", "kind"], split="split")
    assert data.inputs.categories == [None, ["A", "B"]]
    raw = data.examples["train"].inputs[0]
    assert steps_of(data)[0][:, 1:].tolist() == [[0, 1]] * len(raw)  # t3
    assert steps_of(data, "test")[0][:, 1:].tolist() == [[0, 0]] * 5
    [note] = notes(data)
    assert "kind has 'new', which was not in training (A, B)" in note
    # a file of which all texts look like numbers has texts
    odd = kinds.drop(columns="split").assign(kind="7")
    data = table(kinds[numbers != 4], odd, odd, inputs=["ax", "kind"])
    assert not np.concatenate(steps_of(data, "test"))[:, 1:].any()


@pytest.mark.parametrize("level", [0.1, 1e8, -3.0])
def test_a_channel_at_any_level_is_standardised(level: float) -> None:
    frame = trips().assign(ax=lambda f: f.ax + level, ay=level)
    data = table(frame)
    raw = np.concatenate([each.numbers for each in data.examples["train"].inputs])
    expected = (raw[:, 0] - raw[:, 0].mean()) / (raw[:, 0] - level).std()
    found = np.concatenate(steps_of(data))
    assert found[:, 0] == pytest.approx(expected, abs=1e-4)
    assert not found[:, 1].any()


def test_other_units_are_a_note() -> None:
    frame, new = trips(), trips(seed=1).assign(trip=lambda f: "new " + f.trip)
    other = new.assign(ax=new.ax * 1000, trip="other " + new.trip)
    data = table(frame, new, other)
    [note] = notes(data)
    assert "of the values of ax lie further than 5 deviations" in note
    assert note.startswith("data.test in memory: ")


# ---------------------------------------------------------------- targets


def test_a_label_that_varies_in_a_series_is_one_for_each_step() -> None:
    frame = trips()
    assert table(frame).per == "sequence"
    varies = frame.assign(label=np.where(frame.ax > 0, "up", "down"))
    data = table(varies)
    assert data.per == "step"
    assert read(varies)[0][2] == varies.label[:4].tolist()
    assert "a label for each step" in data.summary[0]
    assert table(frame, per="step").per == "step"
    with pytest.raises(UserError, match=r"series t0 has 2 values of 'label' \(up, down\)"):
        table(varies, per="sequence")


def test_an_empty_label_of_a_step_is_not_learned() -> None:
    labels = ["a", None, "b", "a", NAN, " ", "b"]
    frame = long([1.0] * 7, [2.0] * 7, [3.0] * 7).assign(label=labels * 3)
    data = table(frame, series="s", time=None, inputs=["x"])
    assert data.datasets["train"].targets[0].tolist() == [0, -100, 1, 0, -100, -100, 1]
    assert data.spec["classes"] == ["a", "b"]


@pytest.mark.parametrize("label", [None, NAN, "", " "])
def test_a_series_without_a_label_is_refused(tmp_path: Path, label: Any) -> None:
    frame = trips()
    frame.loc[frame.trip == "t5", "label"] = label
    row = 1 + (frame.trip == "t5").argmax()
    frame.to_csv(tmp_path / "trips.csv", index=False)
    for given_as in (frame, str(tmp_path / "trips.csv")):
        with pytest.raises(UserError, match=f"row {row} has no 'label': fill it"):
            table(given_as)


def test_values_are_for_each_series_or_for_each_step() -> None:
    frame = trips().assign(weight=lambda f: f.trip.str[1:].astype(float), speed=lambda f: f.ax * 2)
    assert table(frame, value_columns=["weight"]).per == "sequence"
    found = read(frame, value_columns=["weight"])
    assert [target for *_, target in found] == [[float(n)] for n in range(12)]
    by_step = read(frame, value_columns=["weight", "speed"])
    assert by_step[1][2] == frame[["weight", "speed"]][4:9].to_numpy().tolist()
    for columns in (["speed", "weight"], ["weight", "speed"]):
        with pytest.raises(UserError, match="series t0 has 4 values of 'speed'"):
            table(frame, value_columns=columns, per="sequence")


def test_gaps_in_values_are_one_value_in_an_error() -> None:
    frame = trips().assign(speed=[NAN, NAN, 1.0, NAN] + [1.0] * (len(trips()) - 4))
    with pytest.raises(UserError, match=r"series t0 has 2 values of 'speed' \(nan, 1.0\)"):
        table(frame, value_columns=["speed"], per="sequence")


@pytest.mark.parametrize("kind", [int, float, bool, str, "category"])
def test_labels_of_any_type_have_the_names_that_a_file_has(kind: Any) -> None:
    frame = trips().assign(label=lambda f: (f.trip.str[1:].astype(int) % 2).astype(kind))
    names = ["false", "true"] if kind is bool else ["0", "1"]
    assert table(frame).spec["classes"] == names


def test_a_second_table_says_what_a_series_is() -> None:
    frame = trips()
    once = frame.groupby("trip")[["label", "user"]].first().reset_index()
    once = once.assign(age=np.arange(12.0), kind=[*"xyz"] * 4, much=2.0).sample(
        frac=1, random_state=0
    )
    bare, age = frame[["trip", "time", *SENSORS]], dict(zip(once.trip, once.age, strict=True))
    assert read(bare, labels=once) == read(frame)
    data = table(
        bare, labels=once, inputs=["ax", "age", "kind"], group="user", weight_column="much"
    )
    train = data.examples["train"]
    assert [each.numbers[:, 1].tolist() for each in train.inputs] == [
        [age[each.name]] * len(each) for each in train.inputs
    ]
    assert data.inputs.categories[2] == ["x", "y", "z"]
    assert not {*train.also["group"]} & {*data.examples["test"].also["group"]}
    assert data.datasets["train"].weights.tolist() == [2.0] * len(train)
    assert table(bare, labels=once, inputs=None).inputs.columns == ["ax", "ay", "age", "much"]
    with pytest.raises(UserError, match="rows 1 and 13 are both of series"):
        table(bare, labels=pd.concat([once, once[:1]]))
    with pytest.raises(UserError, match="data.labels in memory has no row for series t5 of"):
        table(bare, labels=once[once.trip != "t5"])
    with pytest.raises(UserError, match="data.labels has a row for each series: set data.series"):
        table(as_lists(bare, ["time", *SENSORS]), series=None, labels=once)


def test_splits_may_be_said_and_weights_must_be_numbers() -> None:
    frame, number = trips(), trips().trip.str[1:].astype(int)
    split = np.where(number < 6, "train", np.where(number < 9, "validation", "test"))
    data = table(frame.assign(split=split), split="split")
    assert [len(data.examples[s]) for s in ("train", "validation", "test")] == [6, 3, 3]
    for weight in (-1, 1e308):  # whose loss would be infinite
        said = re.escape(f"row 1 has {weight:g} as 'w': give a weight from 0 to 1e+15")
        with pytest.raises(UserError, match=said):
            table(frame.assign(w=weight), weight_column="w")
    with pytest.raises(UserError, match="series t0 has 4 values of 'ax' .*: one is needed"):
        table(frame, group="ax")


def test_a_column_that_may_say_whose_a_series_is_and_is_in_several_splits_is_a_note() -> None:
    each = [trips(5, seed).drop(columns="user").assign(who=f"p{seed}") for seed in range(8)]
    frame = pd.concat([f.assign(trip=f.trip + f.who) for f in each], ignore_index=True)
    for column in ("who", "group", "split", "weight"):  # whatever it is called
        named = frame.rename(columns={"who": column})
        first, *_ = found = notes(table(named))
        assert len(found) == 3
        assert first.startswith(f"5 of 5 values of {column!r} (100.00 %) of the validation split")
        assert first.endswith(f"set data.group={column} for scores of new ones")
    assert not notes(table(frame, group="who"))


# ---------------------------------------------------------------- gaps, by hand

GAPS = [
    [NAN, 1.0, NAN, 4.0, NAN],
    [2.0, 3.0, NAN, NAN, 5.0],
    [NAN, NAN],  # a sensor that was off
    [6.0],
]
FILLED: dict[str, list[Any]] = {
    "interpolate": [[1, 1, 2.5, 4, 4], [2, 3, 11 / 3, 13 / 3, 5], None, [6]],  # None: refused
    "last": [[NAN, 1, 1, 4, 4], [2, 3, 3, 3, 5], [NAN, NAN], [6]],
    "mark": GAPS,
}


@pytest.mark.parametrize("missing", ["interpolate", "last", "mark"])
@pytest.mark.parametrize("scale", ["split", "series", "both", "none"])
def test_gaps_are_filled_as_by_hand(missing: Any, scale: Any) -> None:
    pairs = [*zip(GAPS, FILLED[missing], strict=True)]
    raw, filled = zip(*(pair for pair in pairs if pair[1] is not None), strict=True)
    encoder = Series(missing=missing, scale=scale)
    encoder.fit([np.array(each)[:, None] for each in raw])
    known = np.concatenate([np.array(each, float) for each in filled])
    mean, deviation = np.nanmean(known), np.nanstd(known)
    for each, full in zip(raw, filled, strict=True):
        values = np.array(full, float)
        own = values[~np.isnan(values)]
        own_deviation = own.std() if len(own) and own.std() else 1.0
        by_split = np.nan_to_num((values - mean) / deviation)
        by_itself = np.nan_to_num((values - (own.mean() if len(own) else 0)) / own_deviation)
        columns = {
            "split": [by_split],
            "series": [by_itself],
            "both": [by_split, by_itself],
            "none": [np.where(np.isnan(values), mean, values)],
        }[scale]
        marks = [np.isnan(each)] if missing == "mark" else []
        [found] = encoder.encode([np.array(each)[:, None]], "x")
        assert found.numpy() == pytest.approx(np.stack([*columns, *marks], 1), abs=1e-6)


def test_a_channel_without_any_value_is_refused() -> None:
    options: dict[str, Any] = {"series": "s", "time": None, "inputs": ["x"]}
    off = long(*[[1.0, 2.0]] * 8, [NAN, NAN])
    with pytest.raises(UserError, match="series s8 has a channel without any value .*=mark"):
        table(off, **options, missing="interpolate", split_seed=1)
    nowhere = long(*[[NAN, NAN]] * 8)
    with pytest.raises(UserError, match="every value of x is missing in training"):
        table(nowhere, **options, missing="mark")


def test_only_channels_with_gaps_in_training_are_marked() -> None:
    encoder = Series(missing="mark")
    encoder.fit([np.array([[1.0, 2.0], [NAN, 4.0]])])
    [found] = encoder.encode([np.array([[NAN, NAN]])], "x")
    assert encoder.num_inputs == 3
    assert found.tolist() == [[0.0, 0.0, 1.0]]


def test_three_series_are_enough_and_one_is_too_few() -> None:
    three = long([1.0], [2.0, 3.0], [4.0]).assign(label=["a", "b", "b", "a"])
    own = table(three, three, three, series="s", time=None, inputs=["x"])
    assert [len(own.datasets[split]) for split in own.datasets] == [3, 3, 3]
    with pytest.raises(UserError, match="cannot cut a test split from .*; give data.test"):
        table(three[:1], series="s", time=None, inputs=["x"])


# ---------------------------------------------------------------- arrays

X = [np.random.default_rng(n).normal(size=(4 + n % 3, 2)).astype(np.float32) for n in range(12)]
Y = ["ab"[n % 2] for n in range(12)]


def arrays(inputs: Any, targets: Any = Y, *also: Any, **options: Any) -> SeriesTable:
    data = SeriesTable((inputs, targets, *also), **options)
    data.setup()
    return data


@pytest.mark.parametrize(
    "kind",
    [
        lambda x: x,
        lambda x: [each.astype(np.float64) for each in x],
        lambda x: [each.tolist() for each in x],
        lambda x: [torch.tensor(each) for each in x],
        lambda x: torch.nested.nested_tensor([torch.tensor(e) for e in x], layout=torch.jagged),
        lambda x: [pd.DataFrame(each) for each in x],
        lambda x: [pd.DataFrame(each[:, ::-1], columns=[1, 0])[[n % 2, 1 - n % 2]]
                   for n, each in enumerate(x)],
    ],
)  # fmt: skip
def test_arrays_of_any_kind_are_the_same_series(kind: Callable[[Any], Any]) -> None:
    expected, found = arrays(X), arrays(kind(X))
    for split in ("train", "validation", "test"):
        assert found.examples[split].targets == expected.examples[split].targets
        by_name = np.argsort(found.inputs.columns or [])
        for one, other in zip(steps_of(expected, split), steps_of(found, split), strict=True):
            assert np.array_equal(one, other[:, by_name])


def test_one_array_of_all_series_is_them() -> None:
    x = np.arange(60.0).reshape(12, 5)
    for each in (x[..., None], torch.tensor(x)[..., None], [*x]):
        data = arrays(each)
        assert sorted(
            int(raw.numbers[0, 0]) for s in data.examples.values() for raw in s.inputs
        ) == [*range(0, 60, 5)]


def test_targets_of_arrays_are_labels_numbers_or_those_of_steps() -> None:
    assert arrays(X, np.array([0, 1] * 6)).spec["classes"] == ["0", "1"]
    assert arrays(X, np.arange(12.0), value_columns=["label"]).spec["values"] == ["label"]
    steps = [["up" if step > 0 else None for step in each[:, 0]] for each in X]
    steps[0] = ["down"] * 4
    assert arrays(X, steps, split_seed=3).per == "step"
    by_group = arrays(X, Y, {"who": [f"u{n % 4}" for n in range(12)]}, group="who")
    who = [{*by_group.examples[split].also["group"]} for split in ("train", "test")]
    assert not who[0] & who[1]


@pytest.mark.parametrize(
    ("inputs", "targets", "said"),
    [
        (X, Y[:-1], "12 inputs and 11 of 'label'"),
        (X, [*Y[:-1], NAN], "row 12 has no 'label': fill it"),
        (X, [*Y[:-1], None], "row 12 has no 'label': fill it"),
        (X, np.array([1.0, 2.0] * 5 + [1.0, NAN]), "row 12 has no 'label': fill it"),
        (X, [1, "a"] * 6, "give the path of a file, .* or .X, y.: .*'a'"),
        (X, [["a", "b"]] * 12, "row 1 has 4 of 'channel 1' and 2 of 'label'"),
        ([x.T for x in X], Y, r"series 2 has shape \(2, 5\), not \(steps, 4\): steps come"),
        ([*X[:-1], X[-1][:, :1]], Y, r"series 12 has shape .* 1\), not \(steps, 2\)"),
        ([*X[:-1], X[-1][:0]], Y, r"series 12 has shape \(0, 2\), not \(steps, 2\)"),
        (np.zeros((12, 3, 2, 2)), Y, r"series 1 has shape \(3, 2, 2\)"),
        ([1.0] * 12, Y, r"series 1 has shape \(\)"),
        ([["a", "b"]] * 12, Y, "give the path of a file, .*could not convert string"),
        ([*map(pd.DataFrame, X[:-1]), pd.DataFrame(X[-1][:, :1])], Y, "12 has no column '1'"),
        ([], [], " in memory has no rows"),
        ([*X[:-1], X[-1] * np.inf], Y, "row 12 has -?inf as 'channel 1', which is not a finite"),
    ],
)  # fmt: skip
def test_arrays_that_cannot_be_series_are_refused(inputs: Any, targets: Any, said: str) -> None:
    with pytest.raises(UserError, match=f"data.train.*{said}"):
        arrays(inputs, targets)


def test_what_is_not_two_arrays_is_refused() -> None:
    for wrong in ((X,), (X, Y, Y)):
        with pytest.raises(UserError, match=r"data.train: give the path of a file, .* or \(X, y\)"):
            SeriesTable(wrong)


# ---------------------------------------------------------------- the same data


def test_a_fingerprint_is_of_numbers_and_targets() -> None:
    frame = trips().assign(kind="A", stage=lambda f: np.where(f.ax > 0, "up", "down"))
    usual = table(frame, inputs=["ax", "kind"], label_column="stage").fingerprint

    def changed(**columns: Any) -> bool:
        data = table(frame.assign(**columns), inputs=["ax", "kind"], label_column="stage")
        return data.fingerprint != usual

    middle = len(frame) // 2
    assert changed(ax=frame.ax.where(frame.index != middle, 7.0))
    assert changed(kind=frame.kind.where(frame.index != middle, "B"))
    assert changed(stage=frame.stage.where(frame.index != middle, "else"))
    assert changed(time=-frame.time)  # another order
    # but not of what the network does not read
    assert not changed(time=frame.time * 10 + 5, ay=0.0)


# ---------------------------------------------------------------- a finished run


@pytest.fixture(scope="module")
def run_of_trips(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        frame = trips().assign(kind=lambda f: np.where(f.user == "u1", "A", "B"))
        words = ("data.series=trip", "data.time=time", "data.inputs=[ax,ay,kind]")
        yield run_of_series(tmp_path_factory.mktemp("runs") / "run", frame, *words)


def new_trips() -> pd.DataFrame:
    return trips(3, seed=9).assign(kind="A")


def test_predictions_name_series_and_need_no_labels(run_of_trips: Run) -> None:
    def predict(inputs: Any) -> list[dict[str, Any]]:
        """Without the rows of the file, which differ."""
        return [{**row, "source_row": None} for row in run_of_trips.predict(inputs)]

    new = new_trips()
    expected = predict(new)
    assert [row["series"] for row in expected] == ["t0", "t1", "t2"]
    others = [
        new[new.columns[::-1]],
        new.drop(columns=["label", "user"]),
        new.assign(label=""),
        new.assign(label=[None, "a"] + [None] * 13),
        new.sample(frac=1, random_state=0).sort_values("trip", kind="stable"),
    ]
    for other in others:
        assert predict(other) == expected
    alone = [each for _, each in new.groupby("trip")]
    assert predict(alone) == expected
    without_names = predict([each[["kind", "ay", "ax"]] for each in alone])
    assert without_names == [
        {key: value for key, value in row.items() if key != "series"} for row in expected
    ]


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (lambda new: [new[:4].assign(kind=None)], "inputs: series t0 has 4 missing values"),
        (lambda new: [new], "inputs in memory: row 1 is of series t0 and t1: give each row, or"),
        (lambda new: new.rename(columns={"trip": "tirp"}), "'trip', which this run reads"),
        (lambda new: new.assign(ax=[np.inf, *new.ax[1:]]), "row 1 has inf as 'ax'"),
        (lambda new: new.assign(ax=[np.nan, *new.ax[1:]]), "series t0 has 1 missing value"),
    ],
)  # fmt: skip
def test_new_tables_that_lack_something_are_refused(
    run_of_trips: Run, frame: Callable[[pd.DataFrame], Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        [*run_of_trips.predict(frame(new_trips()))]


def test_a_text_that_training_never_saw_is_said_once(run_of_trips: Run) -> None:
    data: Any = run_of_trips.data
    doubts, frame = data.inputs.doubts, new_trips()
    for new in (frame.assign(kind="Z"), [frame[:4].assign(kind="Z")]):
        doubts.clear()
        [*run_of_trips.predict(new)]
        [note] = run_of_trips.data.doubts
        assert note.startswith("inputs: kind has 'Z', which was not in training (A, B)")
    doubts.clear()


def test_a_doubt_is_logged_once_and_never_of_later_inputs(
    run_of_trips: Run, caplog: pytest.LogCaptureFixture
) -> None:
    run_of_trips.data.inputs.doubts.clear()
    odd, fine = new_trips().assign(kind="Q"), new_trips()
    for frame in (odd, fine, odd):
        [*run_of_trips.predict(frame)]
    assert [note.split("(")[0] for note in caplog.messages] == [
        "inputs: kind has 'Q', which was not in training "
    ]
    run_of_trips.data.inputs.doubts.clear()


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of Lightning's test loop
def test_evaluated_rows_of_training_are_a_note(run_of_trips: Run) -> None:
    frame = trips().assign(kind=lambda f: np.where(f.user == "u1", "A", "B"))
    run_of_trips.evaluate(file=frame)
    notes = list(run_of_trips.data.notes)
    assert any(note.startswith("10 of 12 series (83.33 %) of the evaluated") for note in notes)


def test_new_series_need_a_second_table_for_what_they_lack_alone(tmp_path: Path) -> None:
    frame = trips()
    once = frame.groupby("trip")[["label"]].first().reset_index().assign(age=np.arange(12.0))
    words = ("data.series=trip", "data.inputs=[ax,age]")
    run = run_of_series(tmp_path / "run", frame.drop(columns="label"), *words, labels=once)
    new = frame[["trip", "time", "ax"]].assign(trip="new " + frame.trip)
    assert len([*run.predict(new.assign(age=1.0))]) == 12
    with pytest.raises(UserError, match="has no row for series new t0 of inputs in memory"):
        [*run.predict(new)]


def test_columns_with_brackets_are_found_by_their_names(tmp_path: Path) -> None:
    frame = trips().rename(columns={"ax": "ax [g]", "ay": "ay [g]"})
    run = run_of_series(tmp_path / "run", frame, "data.series=trip", "data.time=time")
    with pytest.raises(UserError, match=r"has no column 'ax \[g\]'"):
        [*run.predict(trips().rename(columns={"ax": "ax [m]", "ay": "ay [m]"}))]
    with pytest.raises(UserError, match=r"has shape \(2, 4\), not \(steps, 2\): steps come first"):
        [*run.predict([np.zeros((2, 4))])]


@pytest.mark.parametrize("missing", ["last", "mark"])
@pytest.mark.parametrize("named", [True, False])
def test_a_stream_of_a_table_is_the_table(tmp_path: Path, missing: str, named: bool) -> None:
    frame = trips().assign(stage=lambda f: np.where(f.ay > 0, "up", "down"))
    frame.loc[[0, 1, 6, 9, 10, 21], "ax"] = NAN
    frame.loc[frame.trip == "t2", "ay"] = NAN
    words = ["model=tagger", "model.encoder.bidirectional=false", f"data.missing={missing}"]
    words += ["data.label_column=stage", "data.inputs=[ax,ay]"]
    path = str(tmp_path / "trips.parquet")
    if named:
        frame.to_parquet(path)
        words += ["data.series=trip", "data.time=time"]
    else:  # each row begins anew
        as_lists(frame, ["ax", "ay", "stage"]).drop(columns="trip").to_parquet(path)
    run = run_of_series(tmp_path / "run", path, *words)
    whole = [*run.predict(pd.read_parquet(path))]
    by_step = [*streamed(run.stream(), run.data.read_steps(path))]

    def shares(rows: list[dict[str, Any]]) -> np.ndarray:
        """The probabilities of all tags at all steps, `(N, C)`."""
        return np.concatenate([np.transpose([*row["probabilities"].values()]) for row in rows])

    probabilities = shares(whole)
    assert shares(by_step) == pytest.approx(probabilities)
    assert [row.get("series") for row in by_step] == (
        frame.trip.tolist() if named else [None] * len(frame)
    )
    if named:
        assert [row["time"] for row in by_step] == [[time] for time in frame.time]
    stream, [first] = run.stream(), [*run.data.read_inputs(path)][:1]  # some steps a call
    found = [p for a, b in ((0, 1), (1, 3), (3, 4)) for p in stream([first.part(a, b)])]
    assert shares(found) == pytest.approx(probabilities[:4])


# ---------------------------------------------------------------- commands

VALUES = "data.value_columns=[label]"


def numbered(f: pd.DataFrame) -> pd.DataFrame:
    """With another number at each step."""
    return f.assign(label=np.arange(len(f)) * 1.1)


def of_series(f: pd.DataFrame) -> pd.DataFrame:
    """With a number for each series."""
    return f.assign(label=f.trip.str[1:].astype(float))


WRONG: list[tuple[Callable[[pd.DataFrame], pd.DataFrame], tuple[str, ...], str]] = [
    (lambda f: f, ("data.series=tirp",), "has no column 'tirp'.*did you mean trip"),
    (lambda f: f, ("data.series=null",), "so set data.series: choose one of label, trip, user"),
    (lambda f: f, ("data.label_column=lable",), "no column 'lable'.*did you mean label"),
    (lambda f: f, ("data.inputs=[ax,az]",), "no column 'az': set data.inputs"),
    (lambda f: f, ("data.inputs=[ax,label]",), "'label' is what the model is to predict"),
    (lambda f: f, ("data.group=usr",), "no column 'usr': set data.group.*did you mean user"),
    (lambda f: f.assign(user="me"), ("data.group=user",), "all of it is of one group, 'me'"),
    (lambda f: f[f.trip == "t1"], (), "cannot cut a test split"),
    (lambda f: f.assign(ax=["q", *f.ax[1:]]), (), "row 1 has 'q' as 'ax'"),
    (lambda f: f.assign(ax=["inf", *f.ax[1:]]), (), "row 1 has inf as 'ax'"),
    (lambda f: f.assign(time=0), (), r"series t0: time 0 stands twice \(rows 1, 2\)"),
    (lambda f: f.assign(time="noon"), (), "row 1 has 'noon' as 'time'"),
    (lambda f: f[:0], (), "trips.csv has no rows"),
    (lambda f: f.assign(label=f.ax > 0), (), "series t0 has 2 values of 'label'.*model=tagger"),
    (lambda f: f.assign(label=f.ax > 0), ("data.per=sequence",), "2 values.*leave out data.per="),
    (lambda f: f, ("model=tagger",), "is the same at all steps of each series.*data.per=step"),
    (numbered, (), "choose model=tagger or model=regressor model.head=every_step 'data.value_co"),
    (numbered, ("model=tagger",), "tags are different numbers, .* set model=regressor model.head"),
    (numbered, (VALUES, "model=tagger"), "choose model=regressor model.head=every_step$"),
    (numbered, (VALUES, "model=regressor"), "choose model=regressor model.head=every_step$"),
    (numbered, ("model=regressor",), "choose model=regressor model.head=every_step 'data.value_"),
    (
        lambda f: f,
        ("model=regressor",),
        "is the same at all steps of each series: choose model=classifier$",
    ),
    (
        of_series,
        ("model=regressor",),
        "choose model=regressor .data.value_columns=.label.. or model=classifier$",
    ),
    (
        of_series,
        (VALUES, "model=regressor", "model.head=every_step"),
        "=every_step data.per=step or model=regressor with a head for each sequence$",
    ),
    (lambda f: f, ("data.folds=3", "data.fold=3"), "must be below data.folds=3"),
    (lambda f: f.set_axis(["trip", "ax", "label", "time", "ax", "ay"], axis=1), (), "two columns"),
    (lambda f: f.assign(ax="q", ay="r"), (), "has no column with numbers: set data.inputs"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_a_wrong_table_is_one_line_and_nothing_is_written(
    tmp_path: Path, refused: Refused, number: int
) -> None:
    change, words, said = WRONG[number]
    skip_where_deleted(" ".join([*words, said]))
    change(trips()).to_csv(tmp_path / "trips.csv", index=False)
    usual = ["data=series", "data.train=trips.csv", "data.series=trip", "data.time=time"]
    given_keys = {word.split("=")[0] for word in words}
    usual = [word for word in usual if word.split("=")[0] not in given_keys]
    line = refused("train.py", *usual, *words, "trainer=cpu", "folder=run")
    assert re.search(said, line), line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("make", "deleted", "has", "cure"),
    [
        (
            numbered,
            "tag",
            "a tag for each step, which no task here learns",
            "model=regressor model.head=every_step 'data.value_columns=[label]'",
        ),
        (numbered, "value", "a tag for each step", "model=tagger"),
        (
            lambda f: f.assign(label=f.ax > 0),
            "tag",
            "a tag for each step, which no task here learns",
            "other data",
        ),
    ],
)
def test_the_model_of_a_deleted_task_is_not_among_those_to_choose(
    tmp_path: Path,
    refused: Refused,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[pd.DataFrame], pd.DataFrame],
    deleted: str,
    has: str,
    cure: str,
) -> None:
    skip_where_deleted("model=tagger model=regressor")
    make(trips()).to_csv(tmp_path / "trips.csv", index=False)
    monkeypatch.delitem(TARGETS, deleted)
    words = ("data=series", "data.train=trips.csv", "data.series=trip", "data.time=time")
    line = refused("train.py", *words, "trainer=cpu", "folder=run")
    assert f"trips.csv has {has}, and SequenceClassifier learns a class for each" in line
    assert line.rstrip().endswith(f": choose {cure}"), line


def test_numbers_as_classes_are_no_reason_to_name_a_deleted_task(
    tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_where_deleted("model=regressor")
    numbered(trips()).to_csv(tmp_path / "trips.csv", index=False)
    words = ("data=series", "data.train=trips.csv", "data.series=trip", "model=tagger")
    assert "classes: to predict a number, set model=regressor" in refused("train.py", *words)
    monkeypatch.delitem(TARGETS, "value")
    assert refused("train.py", *words).endswith("too many to be classes")


def test_rows_with_lists_that_do_not_fit_are_one_line(tmp_path: Path, refused: Refused) -> None:
    rows = {
        '{"ax": [1, 2], "ay": [1], "label": "a"}': "row 2 has 2 of 'ax' and 1 of 'ay'",
        '{"ax": [], "ay": [], "label": "a"}': "row 2 has no steps",
        '{"ax": [1, "q"], "ay": [1, 2], "label": "a"}': "row 2 has 'q' as 'ax'",
    }
    for row, said in rows.items():
        good = '{"ax": [1, 2], "ay": [1, 2], "label": "b"}\n'
        (tmp_path / "x.jsonl").write_text(good + row + "\n" + good * 4)
        line = refused("train.py", "data=series", "data.train=x.jsonl", "folder=run")
        assert f"x.jsonl: {said}" in line


def test_a_file_of_the_archive_has_no_groups(tmp_path: Path) -> None:
    (tmp_path / "x.ts").write_text("@problemName x\n@classLabel true a b\n@data\n1,2:a\n1,3:b\n")
    with pytest.raises(UserError, match="x.ts has no columns: leave data.group out"):
        SeriesTable(str(tmp_path / "x.ts"), group="user").setup()


def test_a_command_predicts_a_table_by_its_series(tmp_path: Path, script: Script) -> None:
    trips().to_csv(tmp_path / "trips.csv", index=False)
    words = ("data=series", "data.train=trips.csv", "data.series=trip", "data.time=time")
    quick = ("trainer=cpu", "trainer.max_steps=2", "baseline=false", "folder=run")
    script("train.py", *words, *quick, "model.encoder.bidirectional=false")
    ask = ("predict.py", "run=run", "accelerator=cpu")
    rows = [*map(json.loads, script(*ask, "input=trips.csv").stdout.splitlines())]
    assert [row["series"] for row in rows] == [f"t{n}" for n in range(12)]
    lines = trips().to_json(orient="records", lines=True)
    piped = [*map(json.loads, script(*ask, "input=-", stdin=lines).stdout.splitlines())]
    assert piped == [{k: v for k, v in row.items() if k != "source_row"} for row in rows]
    steps = script(*ask, "input=trips.csv", "stream=true").stdout.splitlines()
    last = {row["series"]: row["label"] for row in map(json.loads, steps)}
    assert last == {row["series"]: row["label"] for row in rows}


# ---------------------------------------------------------------- what training knows of the test


def mixed(count: int) -> pd.DataFrame:
    """Series with columns of which some can't be channels."""
    random = np.random.default_rng(0)
    number = np.repeat(np.arange(count), 5)
    random_texts = random.choice(["u", "v", "w"], len(number))
    return pd.DataFrame(
        {
            "trip": [f"t{n}" for n in number],
            "label": np.where(number % 2, "a", "b"),
            "split": np.where(
                number % 5 < 3, "train", np.where(number % 5 == 3, "validation", "test")
            ),
            "x": random.normal(size=len(number)),
            "kind": pd.Series(random_texts, dtype=object),
            "constant": 5,
            "empty": np.nan,
            "counts": np.tile(np.arange(5), count),
        }
    )


def training_of(frame: pd.DataFrame, **options: Any) -> tuple[SeriesTable, dict[str, Any], Tensor]:
    data = SeriesTable(frame, series="trip", missing="mark", **options)
    data.setup()
    batch = next(iter(data.train_dataloader()))
    return data, data.spec, batch.inputs


@pytest.mark.parametrize("count", [30, 600])
@pytest.mark.parametrize(
    "options", [{}, {"split": "split"}, {"folds": 3, "fold": 1}, {"inputs": ["x", "kind"]}], ids=str
)
@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("constant", range(10_000)),  # which is left out, because it is the same everywhere
        ("empty", [1.5]),
        ("empty", ["z"]),
        ("counts", [-7]),
        ("x", [1e9, np.nan]),  # which has no gap in training
        ("kind", ["new", "newer"]),
        ("kind", ["3.5"]),
    ],
)
def test_what_rows_of_other_splits_hold_changes_nothing_in_training(
    column: str, values: Sequence[Any], options: dict[str, Any], count: int
) -> None:
    frame = mixed(count)
    data, spec, inputs = training_of(frame, **options)
    training = {series.name for series in data.examples["train"].inputs}
    rows = np.flatnonzero(~frame.trip.isin(training))
    assert 0 < len(rows) < len(frame) / 2
    changed_values = frame[column].astype(object)
    changed_values[rows] = list(islice(cycle(values), len(rows)))
    if isinstance(values[0], str):
        changed_values = changed_values.where(changed_values.isna(), changed_values.astype(str))
    _, changed_spec, changed_inputs = training_of(
        frame.assign(**{column: changed_values}), **options
    )
    assert changed_spec == spec
    assert torch.equal(changed_inputs, inputs)


def test_a_table_that_is_read_again_after_a_refusal_has_each_column_once(tmp_path: Path) -> None:
    path = tmp_path / "words.csv"
    path.write_text("trip,word,label\na,up,x\na,up,x\nb,down,y\nb,down,y\n")
    data = SeriesTable(str(path), series="trip")
    for _ in range(2):
        with pytest.raises(UserError, match="has no column with numbers"):
            data.read()
    assert [role.column for role in data.column_roles] == ["trip", "word", "label"]
