"""The times of steps: dates of any year, durations, and large whole numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from seqmodels.data import SeriesTable
from seqmodels.data.columns import Columns
from seqmodels.data.times import is_called_time, length_of_time, looks_like_times, times_of
from seqmodels.errors import UserError


def times(values: Any) -> Any:
    return times_of(Columns(pa.table({"t": values}), "x.csv"), "t")


@pytest.mark.parametrize("as_dates", [True, False])
def test_dates_of_every_year_keep_their_order(as_dates: bool) -> None:
    texts = ["0001-01-01", "1677-12-31", "2250-01-01", "2263-06-01", "2300-01-01", "9999-12-31"]
    values = pa.array(np.array(texts, "M8[us]")) if as_dates else texts
    found = times(values)
    assert (found.apart() > 0).all()
    assert found.texts() == [f"{text} 00:00:00" if "T" not in text else text for text in texts]


def test_whole_numbers_are_sorted_as_such() -> None:
    epoch = 1_700_000_000_000_000_000
    for values in ([epoch, epoch + 100, epoch + 200], [str(epoch), str(epoch + 100)]):
        found = times(values)
        assert found.values.dtype == np.int64 and (found.apart() == 100).all()
        assert found.texts()[1] == epoch + 100


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        (["00:00", "00:30", "1:02:03.5"], [0, 1800, 3723.5]),
        (["-1:30:00", "-0:00:01.5", "0:00"], [-5400, -1.5, 0]),
        (["0 days 00:00:01", "1 days 00:00:00", "-1 days +23:59:59"], [1, 86400, -1]),
        (pd.to_timedelta([0, 90, 1.5], "s"), [0, 90, 1.5]),
        (pa.array([0, 60, 3600], pa.time32("s")), [0, 60, 3600]),
    ],
)
def test_durations_are_times_in_seconds(values: Any, seconds: list[float]) -> None:
    found = times(values)
    assert found.values.tolist() == seconds and found.texts() == seconds
    assert found.quoted(7200.0) == "2 h"


def test_an_offset_in_some_times_alone_is_refused_with_the_first_of_each() -> None:
    with pytest.raises(
        UserError,
        match=r"x.csv: row 1 has '2020-01-01 00:00\+02:00' as 't', and "
        r"row 3 '2020-01-01 01:00': give all times an offset such as \+01:00, or",
    ):
        times(["2020-01-01 00:00+02:00", "2020-01-01 00:00Z", "2020-01-01 01:00"])


def test_times_with_an_offset_stand_with_one() -> None:
    frame = pd.DataFrame({"s": [*"aabbccdd"], "x": [1.5, 2, 4, 1, 2, 7, 1, 2]})
    frame["label"] = ["u", "v"] * 4
    frame["t"] = [f"2024-01-01 0{n}:00+01:00" for n in range(8)]
    data = SeriesTable(frame, series="s", time="t", inputs=["x"])
    [first, *_] = data.read()["train"].inputs
    assert data.describe(first)["time"] == [
        "2023-12-31 23:00:00+00:00",
        "2024-01-01 00:00:00+00:00",
    ]


def test_fractional_times_come_back() -> None:
    assert times([0.5, 1.0, 1.5]).texts() == [0.5, 1, 1.5]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["2020-01-01", "noon"], "row 2 has 'noon' as 't': write times as 2013"),
        (["00:00", None], "row 2 has no 't': fill it"),
        ([1.5, None], "row 2 has no 't': fill it"),
        ([1, None], "row 2 has no 't': fill it"),
        (pd.to_timedelta([1, None], "s"), "row 2 has no 't': fill it"),
        (pd.to_datetime(["2020-01-01", None]), "row 2 has no 't': fill it"),
        (["2024.5", "2025.5", "a"], "row 3 has 'a' as 't', which is not a finite"),
    ],
)
def test_what_is_no_time_is_refused_with_its_row(values: Any, said: str) -> None:
    with pytest.raises(UserError, match=f"^x.csv: {said}"):
        times(values)


def test_lengths_of_time_are_in_a_unit_that_a_person_reads() -> None:
    seconds = [0.5, 59.0, 60.0, 5400.0, 86_400.0, 172_800.0, 2_004_760.0]
    said = ["0.5 s", "59 s", "1 min", "1.5 h", "24 h", "2 days", "23.2 days"]
    assert [*map(length_of_time, seconds)] == said


def test_columns_with_times_are_known_by_their_type_texts_or_names() -> None:
    table = {"a": ["2024-01-01", "2024-01-02 10:00"], "b": ["0:30", "1:00"], "c": ["a", "2024"]}
    table |= {"d": pd.to_datetime(["2024-01-01"] * 2), "e": [20240101, 20240102]}
    columns = Columns(pa.table(table), "x.csv")
    assert [name for name in table if looks_like_times(columns, name)] == ["a", "b", "d"]
    names = ["time", "Date", "timestamp_ms", "Time (s)", "date_time", "sometime", "t", "period"]
    assert [*map(is_called_time, names)] == [True] * 5 + [False] * 3
