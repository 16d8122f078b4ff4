"""Windows of series: cut in time, scaled by training, read from tables as others write them, with
mistakes in them."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import Ridge

from seqmodels.data.examples import SPLITS
from seqmodels.data.sources import as_file
from seqmodels.data.tables import Tables
from seqmodels.errors import UserError
from seqmodels.tasks.forecasting import Windows
from seqmodels.tasks.forecasting.series import read_series
from seqmodels.tasks.forecasting.windows import SCALES

W, H = 7, 3  # window and horizon
Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """`write("t,y", "1,0.5", ...)`: a CSV file of these lines."""

    def written(*lines: str) -> str:
        (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
        return str(tmp_path / "table.csv")

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


def restored(data: Windows, split: str, rows: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Inputs `(B, W, C)` and targets `(B, H, K)` in their own units."""
    dataset = data.datasets[split]
    batch, names = dataset.__getitems__(rows), data.spec["series"]
    series = [names.index(dataset.row_name(row).get("series", "")) for row in rows]
    mean, deviation = (torch.tensor(data.spec[k])[series].unsqueeze(1) for k in SCALES[1:3])
    count = len(data.targets)
    assert batch.targets is not None
    targets = batch.targets.view(len(batch), -1, count)[:, -H:]
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
        inputs, targets = restored(data, split, range(len(dataset)))
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
    strided = windows(two_series, series="id", stride=4).datasets["train"]
    assert strided.starts.tolist() == [*range(0, 27, 4), *range(60, 99, 4)]


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


# ---------------------------------------------------------------- times and gaps


def test_what_is_missing_repeats_the_last_known_value_and_is_not_scored(write: Write) -> None:
    start, there = datetime(2011, 3, 26, 20), [n for n in range(100) if n not in (70, 71, 83)]
    times = [f"{start + timedelta(hours=n):%Y/%m/%d %H:%M}" for n in there]
    lines = [f"{time},{'NA' if n == 50 else 10 * n}" for n, time in zip(there, times)]
    data = windows(write("t,y", *lines), time="t", missing="last", stride=1)
    assert data.notes == ["4 of 100 values are missing and repeat the last known one"]
    [series] = data.series
    assert series.values[[50, 70, 71, 83], 0].tolist() == [490, 690, 690, 820]
    inputs, targets = restored(data, "validation", [0, 11])  # of 60 .. 79
    np.testing.assert_allclose(inputs[1, -2:, 0], [690, 690], rtol=1e-5)  # 70
    assert np.isnan(targets[1, :, 0]).tolist() == [True, False, False]  # 71, 72, 73
    baselines = data.compute_baselines().scores
    errors = [  # of the last value that is read, for every known value that is forecast
        abs(series.values[at, 0] - series.values[origin, 0])
        for origin in range(60 - 1, 80 - H)
        for at in range(origin + 1, origin + 1 + H)
        if series.is_known[at, 0]
    ]
    assert baselines["validation/mae"]["naive"] == pytest.approx(np.mean(errors), rel=1e-5)


def test_a_gap_at_the_beginning_is_the_mean_of_training_and_never_what_comes_later(
    write: Write,
) -> None:
    values = [*range(5, 65)]
    lines = [f"{'NA' if n < 9 else y},{y}" for n, y in enumerate(values)]
    data = windows(write("y,x", *lines), missing="last", inputs=["x"], stride=1)
    inputs, targets = restored(data, "train", [0])
    np.testing.assert_allclose(inputs[0, :, 0], np.mean(values[9:36]), rtol=1e-5)
    np.testing.assert_allclose(inputs[0, :, 1], values[:W], rtol=1e-5)
    assert np.isnan(targets[0, :, 0]).tolist() == [True, True, False]
    later = windows(write("y,x", *lines[:40], *(f"{y},{y}" for y in range(20))), missing="last")
    assert np.isnan(later.series[0].values[:9]).all()


@pytest.mark.parametrize("dead", [slice(36, 48), slice(48, 60)])
def test_a_split_without_a_known_target_is_refused(write: Write, dead: slice) -> None:
    lines = [f"{'' if n in range(60)[dead] else n % 5}" for n in range(60)]
    split = "validation" if dead.start == 36 else "test"
    message = f"no y is known in the {split} split; there is nothing to compare with"
    with pytest.raises(UserError, match=f"table.csv: {message}"):
        windows(write("x,y", *(f"1,{line}" for line in lines)), missing="last")


def test_a_column_that_is_constant_in_training_is_read_as_its_difference(write: Write) -> None:
    constant = [*[0.1, float(np.nextafter(0.1, 1))] * 20, *[0.12] * 20]
    lines = [f"{n % 7},{x}" for n, x in enumerate(constant)]
    data = windows(write("y,x", *lines), target=["y", "x"])
    batch = data.datasets["test"].__getitems__([3])
    assert batch.inputs[0, -1, 1].item() == pytest.approx(0.02, rel=1e-5)
    assert data.spec["deviation"][0][1] == data.spec["naive_error"][0][1] == 1


# ---------------------------------------------------------------- series that training never saw


def new_series(values: np.ndarray, **more: np.ndarray) -> str:
    """A file of `c`, which training never saw, and more series."""
    tables = {"c": values, **more}
    ids = np.repeat([*tables], [*map(len, tables.values())])
    y, x = np.concatenate([*tables.values()]).T
    return as_file({"id": ids, "y": y, "x": x}, "table")


def test_each_forecast_of_a_new_series_is_scaled_by_the_steps_before_it(two_series: str) -> None:
    data = windows(two_series, inputs=["x"], series="id", period=2, missing="last")
    values = np.random.default_rng(0).normal(size=(30, 2)) * [4, 0.1] + [50, -7]
    values[3, 0] = np.nan
    known = np.stack([np.arange(1010, 1040.0), -np.arange(1010, 1040.0)], axis=1)
    batch = next(iter(data.file_loader(new_series(values, a=known))))
    assert len(batch) == 2 * (30 - W - H + 1) and batch.scale is not None
    filled = values.copy()
    filled[3, 0] = values[2, 0]
    for row in range(30 - W - H + 1):
        so_far, ahead = values[: row + W], values[row + W : row + W + H, 0]
        mean, deviation = np.nanmean(so_far, axis=0), np.nanstd(so_far, axis=0)
        naive = np.nanmean(np.abs(so_far[2:] - so_far[:-2]), axis=0)
        expected = (filled[row : row + W] - mean) / deviation
        np.testing.assert_allclose(batch.inputs[row], expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(
            batch.targets[row][-H:], (ahead - mean[0]) / deviation[0], rtol=1e-4
        )
        scale = np.stack([mean, deviation, naive])[:, :1]
        np.testing.assert_allclose(batch.scale[row], scale, rtol=1e-9)
    of_training = [data.spec[name][0][0] for name in SCALES[1:]]
    assert batch.scale[-1, :, 0].tolist() == of_training
    assert data.notes[-1] == "training never saw c: scaled by the steps before each forecast"


def test_what_is_read_of_a_new_series_does_not_depend_on_what_comes_later(two_series: str) -> None:
    data = windows(two_series, inputs=["x"], series="id")
    values = np.random.default_rng(0).normal(size=(40, 2))
    later = values.copy()
    later[20:] = 1e4
    first, second = (next(iter(data.file_loader(new_series(each)))) for each in (values, later))
    before = 20 - W + 1  # windows that end there
    assert torch.equal(first.inputs[:before], second.inputs[:before])
    assert torch.equal(first.scale[:before], second.scale[:before])
    assert not torch.equal(first.scale[before], second.scale[before])


def test_the_end_of_a_new_series_is_read_as_evaluation_reads_it(two_series: str) -> None:
    data = windows(two_series, inputs=["x"], series="id")
    values = np.random.default_rng(0).normal(size=(30, 2)).cumsum(axis=0)
    evaluated = next(iter(data.file_loader(new_series(values))))
    [raw] = data.read_inputs(new_series(values[:-H]))
    assert data.doubts
    for given in (raw, values[:-H]):
        batch = data.batch_of([given])
        torch.testing.assert_close(batch.inputs[0], evaluated.inputs[-1])
        torch.testing.assert_close(batch.scale[0], evaluated.scale[-1])


def test_a_new_series_of_one_value_is_read_as_its_difference(two_series: str) -> None:
    data = windows(two_series, inputs=["x"], series="id")
    values = np.full((20, 2), 0.1)
    values[-1] = 0.3
    batch = next(iter(data.file_loader(new_series(values))))
    assert batch.scale[0, 1:].tolist() == [[1.0], [1.0]] and not batch.inputs[0].any()
    assert batch.targets[-1].tolist() == pytest.approx([0, 0, 0.2])


def test_a_new_series_without_a_known_value_before_its_forecast_is_refused(two_series: str) -> None:
    data = windows(two_series, inputs=["x"], series="id", missing="last")
    values = np.ones((30, 2))
    values[:W, 1] = np.nan
    with pytest.raises(UserError, match="no 'x' of c is known before the first forecast"):
        data.file_loader(new_series(values))
    assert [*data.read_inputs(new_series(values))]  # whose forecast comes later


@pytest.mark.parametrize(
    ("times", "after", "period"),
    [
        (["1949-11", "1949-12", "1950-01"], ["1950-02-01 00:00:00", "1950-03-01 00:00:00"], 12),
        (["2023-11-30", "2023-12-31", "2024-01-31"], ["2024-02-29 00:00:00"], 12),
        (["2024-02-27", "2024-02-28"], ["2024-02-29 00:00:00", "2024-03-01 00:00:00"], 7),
        # of business days, a week has five
        ([f"2024-02-{day:02d}" for day in (1, 2, *range(5, 10))], ["2024-02-12 00:00:00"], 5),
        (["2010/01/01 22:00", "2010/01/01 23:00"], ["2010-01-02 00:00:00"], 24),
        (["2024-03-31T01:00+01:00", "2024-03-31T03:00+02:00"], ["2024-03-31 02:00:00+00:00"], 24),
    ],
)
def test_times_go_on_in_the_same_steps_of_which_a_day_or_a_year_is_a_period(
    write: Write, times: list[str], after: list[str], period: int
) -> None:
    file = write("t,y", *(f"{time},{n}" for n, time in enumerate(times)))
    [series] = read_series(file, {"y": "data.target"}, "t")
    assert series.after(len(after)) == after
    assert series.values.flatten().tolist() == [*range(len(times))]
    assert series.usual_period == period


@pytest.mark.parametrize(
    ("options", "lines", "message"),
    [
        ({}, ["t,y", "1,1", "2,", "3,3"], "row 2 has no 'y': .*data.missing=last"),
        ({"time": "t"}, ["t,y", "1949,1", "1949,2"], "1949-01-01 00:00:00 is not after the row"),
        ({"time": "t"}, ["t,y", "2013,1", "2013.5,2"], "row 2 has '2013.5' as 't': write times as"),
        (
            {"time": "t", "missing": "last"},
            ["t,y", *(f"2024-01-0{day},1" for day in (1, 2, 3, 4)), "2024-01-05 12:00,4"],
            "2024-01-05 12:00:00 is no multiple of the usual step",
        ),
        ({"horizon": 90}, ["y", *map(str, range(80))], "too few: .* 7 . 90 steps, and has 48"),
        ({"horizon": 20}, ["y", *map(str, range(80))], "have 16 and 16: lower .*data.horizon or"),
    ],
)
def test_a_mistake_in_a_file_is_named(
    write: Write, options: dict, lines: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=f"table.csv.*{message}"):
        windows(write(*lines), **options)


def test_ids_are_texts_in_the_order_in_which_series_begin(write: Write) -> None:
    frame = pd.DataFrame({"id": ["07", "7", "07", "1"], "y": [1, 2, 3, 4]})
    table = write("id,y", *(f"{name},{y}" for name, y in frame.to_numpy()))
    sorted_ids = as_file(frame.astype({"id": "category"}), "table")
    for file in (table, sorted_ids):
        found = read_series(file, {"y": "data.target"}, series="id")
        values = {each.name: each.values.flatten().tolist() for each in found}
        assert [*values.items()] == [("07", [1, 3]), ("7", [2]), ("1", [4])]


def test_a_line_of_standard_input_is_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"1.5\nNA\n3\n\n")))
    [series] = read_series("-", {"y": "data.target"}, fill=True)
    assert series.values.flatten().tolist() == [1.5, 1.5, 3, 3]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"")))
    with pytest.raises(UserError, match="standard input has no rows"):
        read_series("-", {"y": "data.target"})


# ---------------------------------------------------------------- baselines


def test_baselines_equal_those_by_hand(write: Write) -> None:
    random, steps, P = np.random.default_rng(1), np.arange(300), 11  # noqa: N806
    y = np.sin(2 * np.pi * steps / P) + random.normal(0, 0.3, 300) + steps / 100
    x = random.normal(size=300)
    file = write("y,x", *(f"{a},{b}" for a, b in zip(y.tolist(), x.tolist())))
    data = windows(file, inputs=["x"], window=5, period=P)  # longer than the window
    found = data.compute_baselines().scores

    places = {"train": (0, 180), "validation": (180, 240), "test": (240, 300)}

    def cut(split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The windows `(N, 5)`, what follows them `(N, H)`, and that a period earlier."""
        start, stop = places[split]
        origins = range(max(start, P), stop - H + 1)
        parts = [(y[o - 5 : o], y[o : o + H], y[o - P : o - P + H]) for o in origins]
        read, ahead, before = map(np.stack, zip(*parts, strict=True))
        return read, ahead, before

    def linear(strength: float, split: str) -> np.ndarray:
        # of all windows of the training; standardised: regularised as much, a deviation is a unit
        read, ahead = (np.stack([y[o + a : o + b] for o in range(5, 180 - H + 1)])
                       for a, b in ((-5, 0), (0, H)))  # fmt: skip
        model = Ridge(strength * len(read) * y[:180].var())
        model.fit(read - read[:, -1:], ahead - read[:, -1:])
        read, _, _ = cut(split)
        return model.predict(read - read[:, -1:]) + read[:, -1:]

    def of_validation(strength: float) -> float:
        return float(np.square(linear(strength, "validation") - cut("validation")[1]).sum())

    best, scale = min(np.logspace(-4, 1, 6), key=of_validation), np.abs(y[P:180] - y[: 180 - P])
    for split in ("validation", "test"):
        read, ahead, before = cut(split)
        made = {"naive": read[:, -1:], f"seasonal naive, period {P}": before}
        made["linear"] = linear(best, split)
        assert found[f"{split}/rmse"].keys() == made.keys()
        for name, forecast in made.items():
            mae, mse = np.abs(forecast - ahead).mean(), np.square(forecast - ahead).mean()
            for metric, value in {
                "rmse": np.sqrt(mse),
                "mae": mae,
                "standardised_mse": mse / y[:180].var(),
                "standardised_mae": mae / y[:180].std(),
                "mase": mae / scale.mean(),
            }.items():
                assert found[f"{split}/{metric}"][name] == pytest.approx(value, 1e-4)


def test_of_several_series_and_columns_each_baseline_is_scaled_by_its_own(write: Write) -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(2, 2, 60)).cumsum(2) * np.array([[[1.0], [50.0]], [[9.0], [2.0]]])
    rows = [f"{'pq'[s]},{y},{x}" for s in range(2) for y, x in values[s].T.tolist()]
    data = windows(write("id,y,x", *rows), target=["y", "x"], series="id", period=2)
    errors = [
        np.abs(of[o : o + H] - of[o - 1]) / np.abs(of[2:36] - of[:34]).mean()
        for of in values.reshape(4, 60)
        for o in range(48, 60 - H + 1)
    ]
    expected = pytest.approx(np.mean(errors), rel=1e-5)
    assert data.compute_baselines().scores["test/mase"]["naive"] == expected


def test_the_same_table_has_other_baselines_with_other_targets(two_series: str) -> None:
    ways: list[dict[str, object]] = [{"inputs": ["x"]}, {"target": ["y", "x"]}]
    one, both = (windows(two_series, series="id", **how) for how in ways)
    assert one.fingerprint == both.fingerprint and one.baselines() != both.baselines()


def test_arrays_are_read_as_the_end_of_a_table_is() -> None:
    frame = pd.DataFrame({"y": [float(n % 7) for n in range(60)], "x": [n / 9 for n in range(60)]})
    data = Windows(frame, "y", inputs=["x"], window=7, horizon=2)
    data.setup()
    [expected] = data.read_inputs(as_file(frame, "table"))
    found = data.batch_of([frame.to_numpy()]).inputs
    torch.testing.assert_close(found, data.batch_of([expected]).inputs)


@pytest.mark.parametrize("values", [None, 3.5, [1.0] * 7, np.ones((7, 3)), np.ones((6, 2))])
def test_an_array_of_another_shape_is_refused_with_the_right_one(values: Any) -> None:
    frame = pd.DataFrame({"y": [float(n % 7) for n in range(60)], "x": [n / 9 for n in range(60)]})
    data = Windows(frame, "y", inputs=["x"], window=7, horizon=2)
    data.setup()
    with pytest.raises(UserError, match=r"series 1 has shape .*: give an array \(7, 2\) .* y, x"):
        data.batch_of([values])


@pytest.mark.parametrize("name", ["datetime", "date", "timestamp"])
def test_sites_under_each_other_are_no_single_series(tmp_path: Path, name: str) -> None:
    times = [f"2024-01-{1 + n // 24:02} {n % 24:02}:00" for n in range(200)]
    rows = [f"{site},{time},{n % 24}" for site in "abc" for n, time in enumerate(times)]
    path = tmp_path / "energy.csv"
    path.write_text(f"site,{name},kwh\n" + "\n".join(rows) + "\n")
    columns = {"kwh": "data.target"}
    with pytest.raises(UserError, match=rf"energy.csv: {name}: 2024-01-01 00:00:00 is not after "
                       "the row before: .*of several series, set data.series"):  # fmt: skip
        read_series(str(path), columns)
    assert [len(series) for series in read_series(str(path), columns, series="site")] == [200] * 3
    assert len(read_series(str(path), columns, time=None, series="site")) == 3
    one = tmp_path / "one.csv"
    one.write_text(
        f"{name},due,kwh\n" + "\n".join(f"{t},{times[-n]},1" for n, t in enumerate(times))
    )
    assert len(read_series(str(one), columns)) == 1  # other dates may go back


# ---------------------------------------------------------------- tables as others write them


def test_forecasts_read_files_in_the_same_way(tmp_path: Path) -> None:
    kwh = [f"{hour % 24},5" if hour % 50 else "-99" for hour in range(400)]
    text = "kwh;\n" + "".join(f"{value};\n" for value in kwh)
    path = str(tmp_path / "a.csv")
    Path(path).write_text(text)
    options: dict[str, Any] = {"separator": ";", "decimal": ",", "missing": "last"}
    data = Windows(path, "kwh", horizon=2, window=4, na_values=[-99], **options)
    data.setup()
    assert (~data.series[0].is_known).sum() == 8
    assert "8 of 400 values are missing" in data.notes[0]
    with pytest.raises(UserError, match="is separated by ';', not by ',': set 'data.separator"):
        Windows(path, "kwh", horizon=2, window=4).setup()


def test_decimal_commas_and_values_that_stand_for_nothing_are_read(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("t;kwh\n" + "".join(f"01.0{d}.24;{d},5\n" for d in range(1, 9)))
    [series] = read_series(
        str(tmp_path / "b.csv"), {"kwh": "data.target"}, tables=Tables(separator=";", decimal=",")
    )
    assert series.values[:, 0].tolist() == [day + 0.5 for day in range(1, 9)]


def test_numbers_that_may_stand_for_nothing_are_said() -> None:
    random = np.random.default_rng(0)
    pressure = random.uniform(850, 1020, 400)
    pressure[random.random(400) < 0.3] = 0
    windows = Windows(pd.DataFrame({"pressure": pressure}), "pressure", horizon=2, window=4)
    windows.setup()
    assert "of pressure are 0, and all others lie between 85" in windows.notes[0]
    with pytest.raises(UserError, match="data.na_values: data.file in memory has no column 'z'"):
        Windows(pd.DataFrame({"x": pressure}), "x", na_values={"z": 0}).setup()
