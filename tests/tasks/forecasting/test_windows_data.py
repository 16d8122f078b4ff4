"""Windows of series: cut in time, scaled by training, read from tables with mistakes in them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from seqmodels.batch import SequenceBatch
from seqmodels.data.module import SPLITS
from seqmodels.data.sources import as_file
from seqmodels.errors import UserError
from seqmodels.tasks.forecasting import Forecaster, Windows
from seqmodels.tasks.forecasting.times import UNITS, clock, find_period, moment

W, H = 7, 3  # window and horizon
Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """`write("t,y", "1,0.5", ...)`: a CSV file of these lines."""

    def written(*lines: str, name: str = "table.csv") -> str:
        (tmp_path / name).write_text("\n".join(lines) + "\n")
        return str(tmp_path / name)

    return written


@pytest.fixture
def two_series(write: Write) -> str:
    """Rows of `a` and `b`, 60 and 80 of them, alternately: every number is there once."""
    rows = [("a", 1000 + n, -1000 - n) for n in range(60)]
    others = [("b", 5000 + n, -5000 - n) for n in range(80)]
    mixed = [row for n in range(80) for row in (*rows[n : n + 1], others[n])]
    return write("id,y,x", *(f"{i},{y},{x}" for i, y, x in mixed))


def windows(file: str, **options: object) -> Windows:
    data = Windows(file, **{"target": "y", "window": W, "horizon": H, **options})  # type: ignore[arg-type]
    data.setup()
    return data


def restored(data: Windows, batch: SequenceBatch) -> tuple[np.ndarray, np.ndarray]:
    """Inputs `(B, W, C)` and targets `(B, H, K)` in their own units."""
    assert batch.series is not None and batch.targets is not None
    mean = torch.tensor(data.spec["mean"])[batch.series].unsqueeze(1)
    deviation = torch.tensor(data.spec["deviation"])[batch.series].unsqueeze(1)
    count = len(data.targets)
    targets = batch.targets.view(len(batch), H, count)
    return (
        (batch.inputs * deviation + mean).numpy(),
        (targets * deviation[..., :count] + mean[..., :count]).numpy(),
    )


def test_every_step_of_a_split_is_forecast_and_none_of_another(two_series: str) -> None:
    data = windows(two_series, inputs=["x"], series="id", stride=1)
    read: dict[str, set[int]] = {}
    ahead: dict[str, set[int]] = {}
    for split in SPLITS:
        dataset = data.datasets[split]
        batch = dataset.__getitems__([*range(len(dataset))])
        inputs, targets = restored(data, batch)
        np.testing.assert_allclose(inputs[..., 1], -inputs[..., 0], rtol=1e-5)
        steps = np.concatenate([inputs[..., 0], targets[..., 0]], axis=1)
        np.testing.assert_allclose(np.diff(steps, axis=1), 1, atol=0.01)  # none is left out
        read[split] = {*inputs[..., 0].round().astype(int).flatten().tolist()}
        ahead[split] = {*targets[..., 0].round().astype(int).flatten().tolist()}
    # 60 % of each series, 20 %, 20 %: all of the later splits, and training after its first window
    assert ahead["train"] == {*range(1000 + W, 1036), *range(5000 + W, 5048)}
    assert ahead["validation"] == {*range(1036, 1048), *range(5048, 5064)}
    assert ahead["test"] == {*range(1048, 1060), *range(5064, 5080)}
    # windows read back over the border of their split, and never over that of their series
    assert read["test"] == {*range(1048 - W, 1060 - H), *range(5064 - W, 5080 - H)}
    assert len(data.datasets["train"]) == (36 - W - H + 1) + (48 - W - H + 1)
    assert len(data.datasets["test"]) == (12 - H + 1) + (16 - H + 1)


def test_a_stride_takes_every_other_window_of_each_series(two_series: str) -> None:
    all_of_them = windows(two_series, series="id").datasets["train"]
    some = windows(two_series, series="id", stride=4).datasets["train"]
    assert some.starts.tolist() == [*range(0, 27, 4), *range(60, 99, 4)]
    assert {*some.starts} < {*all_of_them.starts}


def test_values_are_in_memory_once(two_series: str) -> None:
    data = windows(two_series, inputs=["x"], series="id")
    assert data.datasets["train"].values is data.datasets["test"].values
    assert data.datasets["train"].values.shape == (140, 2)


def test_each_series_is_scaled_by_its_own_training_split(write: Write) -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(100, 2)) * [1, 50] + [7, -300]
    values[60:] += 1000  # after training
    rows = [f"{'pq'[c]},{values[n, c]}" for n in range(100) for c in range(2)]
    data = windows(write("id,y", *rows), series="id", period=4)
    np.testing.assert_allclose(data.spec["mean"], values[:60].mean(0)[:, None])
    np.testing.assert_allclose(data.spec["deviation"], values[:60].std(0)[:, None])
    naive = np.abs(values[4:60] - values[:56]).mean(0)
    np.testing.assert_allclose(data.spec["naive_error"], naive[:, None])
    first = data.datasets["train"].__getitems__([0])
    expected = (values[:W, 0] - values[:60, 0].mean()) / values[:60, 0].std()
    np.testing.assert_allclose(first.inputs[0, :, 0], expected, rtol=1e-5)


def test_targets_of_a_step_stand_side_by_side(two_series: str) -> None:
    data = windows(two_series, target=["x", "y"], series="id")
    batch = data.datasets["validation"].__getitems__([0])
    assert batch.targets is not None and batch.targets.shape == (1, H * 2)
    _, targets = restored(data, batch)
    np.testing.assert_allclose(targets[0], [[-1036 - h, 1036 + h] for h in range(H)], rtol=1e-5)


def test_a_batch_keeps_its_series_wherever_it_goes(two_series: str) -> None:
    batch = windows(two_series, series="id").datasets["test"].__getitems__([0, 12])
    assert batch.series is not None and batch.series.tolist() == [0, 1]
    for other in (batch.map(torch.Tensor.double), batch.to("meta")):
        assert other.series is batch.series
    with pytest.raises(ValueError, match=r"series must be \(2,\) int64, got \(3,\) torch.int64"):
        SequenceBatch(batch.inputs, batch.lengths, series=torch.zeros(3, dtype=torch.int64))


def test_a_run_encodes_as_its_spec_says_whatever_the_file(two_series: str, write: Write) -> None:
    first = windows(two_series, series="id")
    again = Windows(two_series, "y", window=W, horizon=H, series="id", period=9)
    again.use_spec(json.loads(json.dumps(first.spec)))
    again.setup()
    assert again.spec == first.spec
    assert again.fingerprint == first.fingerprint
    other = windows(write("y", *map(str, range(80)), name="other.csv"))
    assert other.fingerprint != first.fingerprint
    with pytest.raises(UserError, match="the checkpoint reads the columns y"):
        Windows(two_series, ["y", "x"]).use_spec(first.spec)


# ---------------------------------------------------------------- formats, times and gaps


def hours(count: int, start: str = "2011-03-26 20:00", skip: Sequence[int] = ()) -> list[str]:
    first = datetime.fromisoformat(start)
    return [f"{first + timedelta(hours=n):%Y/%m/%d %H:%M}" for n in range(count) if n not in skip]


def test_all_formats_give_the_same_windows(write: Write, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    times, values = hours(60), random.normal(size=60).round(6).tolist()
    rows = [*zip(times, values)]
    files = [write("t,y", *(f"{t},{y}" for t, y in rows))]
    files.append(write("t\ty", *(f"{t}\t{y}" for t, y in rows), name="table.tsv"))
    files.append(write(*(json.dumps({"t": t, "y": y}) for t, y in rows), name="table.jsonl"))
    stamps = pa.array([datetime.strptime(t, "%Y/%m/%d %H:%M") for t in times])
    pq.write_table(pa.table({"t": stamps, "y": values}), tmp_path / "table.parquet")
    files.append(str(tmp_path / "table.parquet"))
    prints = {windows(file, time="t").fingerprint for file in files}
    assert len(prints) == 1
    assert all(each.clock for each in windows(files[-1], time="t").read_inputs(files[-1]))


def test_what_is_missing_repeats_the_last_known_value_and_is_not_scored(write: Write) -> None:
    times = hours(100, skip=(70, 71, 83))
    values = {t: 10 * n for n, t in enumerate(hours(100)) if t in times}
    lines = [f"{t},{'NA' if n == 50 else y}" for n, (t, y) in enumerate(values.items())]
    data = windows(write("t,y", *lines), time="t", missing="last", stride=1)
    assert data.notes == ["4 of 100 values are missing and repeat the last known one"]
    [series] = data.series
    assert series.values[[50, 70, 71, 83], 0].tolist() == [490, 690, 690, 820]
    dataset = data.datasets["validation"]  # 60 .. 79
    inputs, targets = restored(data, dataset.__getitems__([0, 11]))
    np.testing.assert_allclose(inputs[1, -2:, 0], [690, 690], rtol=1e-5)  # 70
    assert np.isnan(targets[1, :, 0]).tolist() == [True, False, False]  # 71, 72, 73
    baselines = data.compute_baselines()
    errors = [  # of the last value that is read, for every known value that is forecast
        abs(series.values[at, 0] - series.values[origin, 0])
        for origin in range(60 - 1, 80 - H)
        for at in range(origin + 1, origin + 1 + H)
        if series.known[at, 0]
    ]
    assert baselines["validation/mae"]["naive"] == pytest.approx(np.mean(errors), rel=1e-5)


@pytest.mark.parametrize(
    ("times", "after"),
    [
        (["1", "2", "3"], [4, 5]),
        (["0.5", "1.0", "1.5"], [2, 2.5]),
        (["1949-11", "1949-12", "1950-01"], ["1950-02", "1950-03"]),
        (["2023-11-30", "2023-12-31", "2024-01-31"], ["2024-02-29", "2024-03-31"]),
        (["2023-01-15", "2023-04-15", "2023-07-15"], ["2023-10-15", "2024-01-15"]),
        (["2024-02-27", "2024-02-28"], ["2024-02-29", "2024-03-01"]),
        (["2010/01/01 22:00", "2010/01/01 23:00"], ["2010/01/02 00:00", "2010/01/02 01:00"]),
        (["2013-12-30T23:30:00Z", "2013-12-30T23:45:00Z"], ["2013-12-31T00:00:00Z"]),
        (["2024-01-01 00:00:00+02:00", "2024-01-01 06:00:00+02:00"], ["2024-01-01 12:00:00+02:00"]),
        (
            ["2024-03-30T00:00+01:00", "2024-03-31T00:00+01:00", "2024-04-01T00:00+02:00"],
            ["2024-04-02T00:00+02:00"],
        ),
        (
            ["2024-02-01 00:00+01:00", "2024-03-01 00:00+01:00", "2024-04-01 00:00+02:00"],
            ["2024-05-01 00:00+02:00"],
        ),
        (["2024-03-31T01:00:00+01:00", "2024-03-31T03:00:00+02:00"], ["2024-03-31T04:00:00+02:00"]),
    ],
)
def test_times_are_continued_as_the_file_writes_them(times: list[str], after: list[str]) -> None:
    found, places = clock([moment(t, "row") for t in times], times[-1], times.__getitem__)
    assert found.after(len(after)) == after
    assert places.tolist() == [*range(len(times))]


MISTAKES = [
    ({}, ["t,z", "1,2"], "has no column 'y': set data.target; choose one of t, z"),
    ({"inputs": ["tepm"]}, ["y,temp", "1,2"], "no column 'tepm': set data.inputs; .*mean temp"),
    ({"time": "at"}, ["y,t", "1,2"], "no column 'at': set data.time; choose one of t, y"),
    ({}, ["y", "1", "two"], r"row 2 has 'two' as 'y', which is not a finite number"),
    ({}, ["y", "1", "٣"], r"row 2 has '٣' as 'y', which is not a finite number"),
    ({"time": "t"}, ["t,y", "1,1", "٢,2"], r"row 2 has '٢' as its time"),
    ({"time": "t"}, ["t,y", "1,1", "1_0,2"], r"row 2 has '1_0' as its time"),
    ({}, ["y", "1", "inf"], r"row 2 has 'inf' as 'y', which is not a finite number"),
    ({}, ["t,y", "1,1", "2,", "3,3"], "row 2 has no 'y': fill it, or set data.missing=last"),
    ({}, ["t,y", "1,1", "2,nan"], "row 2 has no 'y': fill it, or set data.missing=last"),
    ({"series": "s"}, ["s,y", "a,1", ",2"], "row 2 has no 's'; fill it"),
    ({"time": "t"}, ["t,y", "2,1", "1,2"], "row 2, at 1.0, is earlier than the row before: sort"),
    ({"time": "t"}, ["t,y", "1,1", "1,2"], "row 2, at 1.0, is there twice: remove one.* in UTC"),
    ({"time": "t"}, ["t,y", "noon,1"], "row 1 has 'noon' as its time; write times as 2013-01-31"),
    ({"time": "t"}, ["t,y", "1,1", "2024-01-01,2"], "row 2, at .*, is a date, and the one before"),
    (
        {"time": "t"},
        ["t,y", "0,1", "1,2", "2,3", "3.5,4"],
        "row 4, at 3.5, is 1.5 after the row before, others are 1: make the steps equal",
    ),
    (
        {"time": "t", "series": "s"},
        ["s,t,y", *(f"a,{t},1" for t in hours(9, skip=[6]))],
        "row 7 of a, at 2011-03-27 03:00:00, comes after a gap: 1 row of equal steps is missing "
        "before it; add them, or set data.missing=last .* clocks went forward",
    ),
    (
        {"time": "t", "missing": "last"},
        ["t,y", "1,1", "2,2", "3,3", "1000,4"],
        "row 4, at 1000.0, comes after a gap: 996 rows .* before it; add them: more than half",
    ),
    ({"missing": "last"}, ["t,y", "1,", "2,"], "every 'y' is missing"),
    (
        {"validation_fraction": 0.05},
        ["y", *map(str, range(40))],
        "the validation split has 2 of 40 steps, and a horizon has 3: lower data.horizon, or",
    ),
    ({"horizon": 90}, ["y", *map(str, range(80))], "train split has 48 of 80 steps, .* has 97: lo"),
    ({"period": 70}, ["y", *map(str, range(100))], "data.period is 70, and the train split has 60"),
    ({}, ["y"], "has no rows"),
]


@pytest.mark.parametrize(
    ("options", "lines", "message"), MISTAKES, ids=[m[2][:40] for m in MISTAKES]
)
def test_a_mistake_in_a_file_is_one_line_that_names_it(
    write: Write, options: dict, lines: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        windows(write(*lines), **options)
    assert "\n" not in str(caught.value)
    assert "table.csv" in str(caught.value) or "data.period" in message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"missing": "drop"}, "data.missing=drop: input should"),
        ({"target": ["y", "x"], "inputs": ["y"]}, "column 'y' is named twice"),
        ({"horizon": 0}, "data.horizon=0: input should"),
        ({"test_fraction": 0.8, "validation_fraction": 0.3}, "leave nothing to train on"),
    ],
)
def test_a_wrong_option_is_named(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Windows("table.csv", **{"target": "y", **options})


def test_a_file_to_forecast_from_must_be_like_the_training_file(
    two_series: str, write: Write
) -> None:
    data = windows(two_series, series="id")
    short = write("id,y", *(f"a,{n}" for n in range(W - 1)), name="short.csv")
    with pytest.raises(UserError, match=f"short.csv: there are {W - 1} steps of a, too few: give"):
        next(data.read_inputs(short))
    with pytest.raises(UserError, match=f"short.csv: there are {W - 1} steps of a, too few: give"):
        data.file_loader(short)
    new = write("id,y", *(f"c,{n}" for n in range(20)), name="new.csv")
    with pytest.raises(UserError, match="series 'c' was not in training: choose one of a, b"):
        data.file_loader(new)
    with pytest.raises(UserError, match="series 'c' was not in training: choose one of a, b"):
        data.batch_of([*data.read_inputs(new)], new)
    with pytest.raises(UserError, match="unknown ending '.txt'"):
        next(data.read_inputs(write("1", name="a.txt")))


def test_series_of_different_steps_in_one_file_are_noted(write: Write) -> None:
    rows = [f"{name},{time},1" for name in "ab" for time in hours(60)]
    days = [f"c,2011-{n // 28 + 1:02}-{n % 28 + 1:02},1" for n in range(28)]
    file = write("s,t,y", *rows, *days)
    assert windows(file, time="t", series="s", window=2).notes == [
        "1 of 3 series (33.33 %) have another step than 1:00:00, such as 1 day: window, horizon "
        "and period count steps"
    ]
    assert windows(write("s,t,y", *rows), time="t", series="s", window=2).notes == []


def test_hours_weekdays_and_months_are_read_from_the_times(write: Write) -> None:
    times = hours(400)
    file = write("t,y", *(f"{t},{n % 5}" for n, t in enumerate(times)))
    data = windows(file, time="t", calendar=["hour", "weekday", "month"])
    assert data.columns == ["y", *(f"{u} {w}" for u in UNITS for w in ("sine", "cosine"))]
    at = pd.DatetimeIndex(times)
    turns = [at.hour / 24, at.dayofweek / 7, (at.month - 1 + (at.day - 1) / 31) / 12]
    angles = 2 * np.pi * np.stack([*turns], axis=1)
    expected = np.stack([np.sin(angles), np.cos(angles)], axis=2).reshape(400, 6)
    np.testing.assert_allclose(data.series[0].values[:, 1:], expected, atol=1e-9)
    [newest] = data.read_inputs(file)
    np.testing.assert_allclose(newest.values[:, 1:], expected[-W:], atol=1e-9)
    assert data.file_loader(file).dataset.values.shape == (400, 7)
    with pytest.raises(
        UserError, match=r"data.calendar=\['hour'\] is read from times: set data.time"
    ):
        windows(file, calendar=["hour"])
    numbers = write("t,y", *(f"{n},{n % 5}" for n in range(60)), name="numbers.csv")
    with pytest.raises(UserError, match="needs dates, and 't' has numbers: leave it out"):
        windows(numbers, time="t", calendar=["hour"])


def test_which_series_it_is_can_be_read(two_series: str) -> None:
    plain = windows(two_series, series="id")
    data = windows(two_series, series="id", identity=True)
    assert data.spec["num_inputs"] == plain.spec["num_inputs"] + 2 == 3
    for split in SPLITS:
        dataset = data.datasets[split]
        batch = dataset.__getitems__(range(len(dataset)))
        assert batch.series is not None and {*batch.series.tolist()} == {0, 1}
        which = torch.nn.functional.one_hot(batch.series, 2).unsqueeze(1).expand(-1, W, -1)
        assert torch.equal(batch.inputs[..., 1:], which.float())
        same = plain.datasets[split].__getitems__(range(len(dataset)))
        assert torch.equal(batch.inputs[..., :1], same.inputs)
        torch.testing.assert_close(batch.targets, same.targets, equal_nan=True)
    newest = [*data.read_inputs(two_series)]
    again = Windows(two_series, "y", series="id", identity=True, window=W, horizon=H)
    again.use_spec(json.loads(json.dumps(data.spec)))
    for each in (data, again):
        assert each.batch_of(newest).inputs[:, 0, 1:].tolist() == [[1, 0], [0, 1]]
    with pytest.raises(UserError, match="data.identity is of several series: set data.series"):
        windows(two_series, identity=True)


def promoted(known: int, ahead: int = 0, missing: str = "") -> list[str]:
    """Rows of two series whose `p` is known so many steps further than `y` and `x`."""
    return [
        f"{time},{name},{'' if n >= known else y + n},{'' if n >= known else -n},{p}"
        for name, y in (("a", 1000), ("b", 5000))
        for n, time in enumerate(hours(known + ahead))
        for p in [missing if n == known - 2 and missing else y + 10_000 + n]
    ]


COLUMNS = "t,id,y,x,p"
FUTURE = {"inputs": ["x"], "future_inputs": ["p"], "time": "t", "series": "id"}


@pytest.mark.parametrize("ahead", [0, 1, H, H + 2])
def test_what_is_known_in_advance_is_read_of_the_steps_to_forecast(
    write: Write, ahead: int
) -> None:
    file = write(COLUMNS, *promoted(60, ahead))
    data = windows(file, **FUTURE)
    plain = windows(write(COLUMNS, *promoted(60), name="plain.csv"), inputs=["x"], series="id")
    assert data.columns == ["y", "x", "p in 3 steps"] and data.notes == []
    for split in SPLITS:
        dataset = data.datasets[split]
        batch = dataset.__getitems__([*range(len(dataset))])
        same = plain.datasets[split].__getitems__([*range(len(dataset))])
        assert len(dataset) == len(plain.datasets[split])  # no window more or less
        torch.testing.assert_close(batch.inputs[..., :2], same.inputs)
        torch.testing.assert_close(batch.targets, same.targets)
        inputs, targets = restored(data, batch)
        np.testing.assert_allclose(inputs[..., 2], inputs[..., 0] + 10_000 + H, rtol=1e-5)
        np.testing.assert_allclose(inputs[:, -H:, 2], targets[..., 0] + 10_000, rtol=1e-5)
    name = data.datasets["test"].row_name(len(data.datasets["test"]) - 1)
    assert name == {"series": "b", "time": hours(60)[60 - H]}
    if ahead < H:
        with pytest.raises(UserError, match=f"p of a: {ahead} steps beyond the last .* give 3"):
            next(data.read_inputs(file))
        return
    newest = [*data.read_inputs(file)]
    rows = [*data.described(newest, [{"y": [0.0] * H}] * 2)]
    assert [row["time"] for row in rows] == [hours(60 + H)[60:]] * 2
    batch = data.batch_of(newest)
    mean, deviation = (torch.tensor(data.spec[key]) for key in ("mean", "deviation"))
    read = batch.inputs * deviation.unsqueeze(1) + mean.unsqueeze(1)
    expected = (
        10_000 + torch.arange(60 - W + H, 60 + H).view(1, -1) + torch.tensor([[1000], [5000]])
    )
    torch.testing.assert_close(read[..., 2], expected.float(), rtol=1e-5, atol=0.1)
    torch.testing.assert_close(read[:, -1, 0], torch.tensor([1059.0, 5059.0]))


def test_only_what_is_known_in_advance_may_stand_alone_at_the_end(write: Write) -> None:
    lines = promoted(60, H)
    with pytest.raises(UserError, match="row 61 of a has no 'y': fill it, or set data.missing"):
        windows(write(COLUMNS, *lines), inputs=["x", "p"], time="t", series="id")
    holes = write(COLUMNS, *promoted(60, H, missing="NA"), name="holes.csv")
    with pytest.raises(UserError, match="row 59 of a has no 'p': fill it, or set data.missing"):
        windows(holes, **FUTURE)
    data = windows(holes, **FUTURE, missing="last")
    assert data.notes == ["2 of 360 values are missing and repeat the last known one"]
    assert data.series[0].values[58 - H : 60 - H, 2].tolist() == [11_057, 11_059]
    with pytest.raises(UserError, match="column 'x' is named twice"):
        windows(holes, **{**FUTURE, "future_inputs": ["x"]})
    with pytest.raises(UserError, match="no column 'q': set data.future_inputs"):
        windows(holes, **{**FUTURE, "future_inputs": ["q"]})


# ---------------------------------------------------------------- period and baselines


@pytest.mark.parametrize("period", [7, 12, 24, 168])
def test_the_period_of_noisy_waves_is_found_whatever_their_trend(period: int) -> None:
    random, steps = np.random.default_rng(0), np.arange(12 * period + 300)
    wave = np.sin(2 * np.pi * steps / period) + random.normal(0, 0.5, len(steps))
    assert find_period([wave]) == period
    assert find_period([wave + 0.02 * steps, 3 * wave]) == period


def test_the_longer_of_two_periods_is_found() -> None:
    steps = np.arange(2000)
    day, week = np.sin(2 * np.pi * steps / 24), (steps // 24 % 7 >= 5).astype(float)
    assert find_period([day + 2 * week]) == 168


def test_what_does_not_repeat_has_no_period() -> None:
    random = np.random.default_rng(0)
    walks = [np.cumsum(random.normal(size=400)) for _ in range(20)]
    assert sum(find_period([walk]) > 1 for walk in walks) <= 1
    assert find_period([random.normal(size=1000)]) == 1
    assert find_period([np.arange(300.0)]) == find_period([np.ones(50)]) == 1
    assert find_period([np.arange(3.0)]) == 1


def test_baselines_equal_those_by_hand(write: Write) -> None:
    random, steps, P = np.random.default_rng(1), np.arange(300), 11  # noqa: N806
    y = np.sin(2 * np.pi * steps / P) + random.normal(0, 0.3, 300) + steps / 100
    x = random.normal(size=300)
    file = write("y,x", *(f"{a},{b}" for a, b in zip(y.tolist(), x.tolist())))
    data = windows(file, inputs=["x"], window=5)
    found = data.compute_baselines()
    assert data.period == P  # longer than the window

    places = {"validation": (180, 240), "test": (240, 300)}

    def cut(split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        start, stop = places[split]
        origins = np.arange(max(start, 5), stop - H + 1)
        read = np.stack([np.column_stack([y, x])[o - 5 : o] for o in origins])
        return origins, read, np.stack([y[o : o + H] for o in origins])

    scale = np.abs(y[P:180] - y[: 180 - P]).mean()

    options = {"base": "linear", "instance_norm": "last", "channel_independent": True}
    begun = Forecaster(data.spec, {"hidden_size": 3}, **options).eval()  # type: ignore[arg-type]
    begun.initialize(data)

    def linear(split: str) -> np.ndarray:
        windows = data.datasets[split]
        return begun.forecast(windows.__getitems__([*range(len(windows))]))[..., 0].detach().numpy()

    for split in ("validation", "test"):
        origins, read, ahead = cut(split)
        errors = {
            "naive": read[:, -1:, 0] - ahead,
            f"seasonal naive, period {P}": np.stack([y[o - P : o - P + H] for o in origins])
            - ahead,
            "linear": linear(split) - ahead,
        }
        for name, error in errors.items():
            assert found[f"{split}/rmse"][name] == pytest.approx(np.sqrt((error**2).mean()), 1e-4)
            assert found[f"{split}/mae"][name] == pytest.approx(np.abs(error).mean(), 1e-4)
            standard = np.square(error / y[:180].std()).mean()
            assert found[f"{split}/standardised_mse"][name] == pytest.approx(standard, 1e-4)
            assert found[f"{split}/mase"][name] == pytest.approx(np.abs(error).mean() / scale, 1e-4)


def test_the_same_table_has_other_baselines_with_other_targets(write: Write) -> None:
    y, x = np.random.default_rng(0).normal(size=(2, 100)).cumsum(1)
    file = write("y,x", *(f"{a},{b}" for a, b in zip(y, x)))
    one, both = (windows(file, **how) for how in ({"inputs": ["x"]}, {"target": ["y", "x"]}))
    assert one.fingerprint == both.fingerprint and one.baselines() != both.baselines()


def test_airports_have_three_series_with_gaps() -> None:
    from seqmodels.tasks.forecasting import AirportWeather

    data = AirportWeather(inputs=["dewp"], window=48)
    data.setup()
    assert data.scales is not None and list(data.scales.names) == ["EWR", "JFK", "LGA"]
    assert {len(each) for each in data.series} == {8730}  # hours
    assert data.period == 24
    with Path(data.file).open() as file:
        hours_there = sum(row["origin"] == "JFK" for row in csv.DictReader(file))
    assert int(data.series[1].known[:, 0].sum()) == hours_there


def test_series_are_read_from_memory_as_from_a_file(tmp_path: Path) -> None:
    days = pd.date_range("2024-01-01", periods=60, freq="D", name="day")
    frame = pd.DataFrame({"y": [float(n % 7) for n in range(60)]}, index=days)
    rows = [{"day": str(day.date()), "y": y} for day, y in frame.y.items()]
    frame.to_parquet(tmp_path / "rows.parquet")
    found = [
        Windows(given, "y", time="day", window=7, horizon=2)
        for given in (rows, frame, str(tmp_path / "rows.parquet"))
    ]
    for data in found:
        data.setup()
    assert len({data.fingerprint for data in found}) == 1


def test_arrays_are_read_as_the_end_of_a_table_is() -> None:
    frame = pd.DataFrame({"y": [float(n % 7) for n in range(60)], "x": [n / 9 for n in range(60)]})
    data = Windows(frame, "y", inputs=["x"], window=7, horizon=2)
    data.setup()
    [expected] = data.read_inputs(as_file(frame, "table"))
    arrays = [frame.to_numpy(), frame.to_numpy() + 1]
    found = data.batch_of(arrays).inputs
    torch.testing.assert_close(found[:1], data.batch_of([expected]).inputs)
    assert not found[1].equal(found[0])
    assert [*data.described(arrays, [{"y": [1.0, 2.0]}] * 2)] == [{"y": [1.0, 2.0]}] * 2
    for wrong in (arrays[0][:3], arrays[0][:, :1], np.full((7, 2), np.nan)):
        with pytest.raises(
            UserError, match=r"^here: series 2 has shape .*: give 7 known steps of y, x"
        ):
            data.batch_of([arrays[0], wrong], "here")
