"""The times of steps: dates of any year, durations, large whole numbers, and `data.elapsed`: the
time since the step before as a channel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from seqmodels.data import SeriesTable
from seqmodels.data.columns import Columns
from seqmodels.data.times import is_called_time, length_of_time, looks_like_times, times_of
from seqmodels.errors import UserError
from seqmodels.launch.commands.predict import streamed
from seqmodels.runs import Run
from tests.make import run_of_series


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


# ---------------------------------------------------------------- the time since the step before


SERIES = 24


def visits(kind: str = "dates") -> pd.DataFrame:
    """Series whose label says whether their steps are far apart."""
    random, rows = np.random.default_rng(0), list[dict[str, Any]]()
    for number in range(SERIES):
        gaps = random.integers(1, 9, 4 + number % 3) * (1 + 50 * (number % 2))
        for at in np.cumsum(gaps):
            row = {"s": f"s{number}", "at": int(at), "x": random.normal().__round__(4)}
            rows.append({**row, "label": ["near", "far"][number % 2]})
    table = pd.DataFrame(rows)
    if kind == "dates":
        table["at"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(table["at"], "min")
    if kind == "durations":
        table["at"] = pd.to_timedelta(table["at"], "min")
    return table


def by_hand(table: pd.DataFrame) -> np.ndarray:
    """Of each step, in order."""
    apart = table.groupby("s", sort=False)["at"].diff()
    seconds = apart if apart.dtype == float else apart.dt.total_seconds()
    return np.log1p(seconds.fillna(0).to_numpy())


@pytest.mark.parametrize("kind", ["dates", "durations", "numbers"])
@pytest.mark.parametrize("inputs", [None, ["x"]])
def test_elapsed_is_the_logarithm_of_the_time_since_the_step_before(kind: str, inputs: Any) -> None:
    table = visits(kind)
    shuffled = table.sample(frac=1, random_state=1).sort_values("s", kind="stable")
    for given in (table, shuffled):
        data = SeriesTable(given, series="s", time="at", inputs=inputs, elapsed=True)
        examples = data.read()["train"]
        assert examples.inputs[0].columns == ["x", "elapsed"]
        found = {raw.name: raw.numbers for raw in examples.inputs}
        numbers = np.concatenate([found[name] for name in table.s.unique()])
        assert np.array_equal(numbers, np.stack([table.x, by_hand(table)], axis=1))
    assert any("elapsed (since the at before)" in note for note in data.notes) is (inputs is None)


def test_elapsed_needs_times_and_a_name_that_is_free() -> None:
    with pytest.raises(
        UserError, match="^data.elapsed needs the times of the steps: set data.time"
    ):
        SeriesTable(visits(), series="s", elapsed=True)
    with pytest.raises(UserError, match="has a column 'elapsed', which data.elapsed adds: rename"):
        SeriesTable(visits().assign(elapsed=0), series="s", time="at", elapsed=True).setup()


def test_a_note_of_uneven_steps_names_elapsed_unless_it_is_set() -> None:
    table = visits().query("label == 'near'").reset_index(drop=True)
    table["label"] = np.where(table.s.isin(["s0", "s2", "s4", "s6", "s8"]), "a", "b")
    last = table.groupby("s").tail(1).index[0]
    table.loc[last, "at"] += pd.Timedelta("9 days")
    for elapsed, count in ((False, 1), (True, 0)):
        data = SeriesTable(table, series="s", time="at", inputs=["x"], elapsed=elapsed)
        data.setup()
        notes = [note for note in data.notes if "steps of at differ" in note]
        assert len(notes) == count
    data = SeriesTable(table, series="s", time="at", inputs=["x"])
    data.setup()
    [note] = [note for note in data.notes if "steps of at differ" in note]
    assert "the longest 9" in note and " days (series s0)" in note
    assert note.endswith("resample, or set data.elapsed=true")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "run"
    words = ("data.series=s", "data.time=at", "data.elapsed=true", "model.head=last_hidden")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return run_of_series(folder, visits(), *words, "model.encoder.bidirectional=false")


def frames() -> list[pd.DataFrame]:
    return [steps.drop(columns="label") for _, steps in visits().groupby("s", sort=False)]


def test_a_table_and_a_list_of_frames_are_predicted_alike(run: Run) -> None:
    assert run.data.spec["elapsed"] == "at"
    expected = list(run.predict(visits()))
    shuffled = [frame.sample(frac=1, random_state=0) for frame in frames()]
    assert list(run.predict(frames())) == list(run.predict(shuffled)) == expected
    with pytest.raises(UserError, match="no column 'at'"):
        list(run.predict([frame.drop(columns="at") for frame in frames()]))


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of Lightning's test loop
def test_an_evaluation_scores_what_is_predicted(run: Run) -> None:
    labels = visits().groupby("s", sort=False).label.first().tolist()
    is_right = [row["label"] == y for row, y in zip(run.predict(visits()), labels, strict=True)]
    found = run.evaluate(file=visits().sample(frac=1, random_state=3))["file/accuracy"]
    assert found == pytest.approx(np.mean(is_right))


def test_a_stream_reads_the_time_since_the_step_that_it_has_read_last(run: Run) -> None:
    expected = {row["series"]: row["probabilities"] for row in run.predict(visits())}
    last = {}
    raw = [*run.data.read_inputs(run.config["data"]["train"])]
    for row in streamed(
        run.stream(), (each.part(n, n + 1) for each in raw for n in range(len(each)))
    ):
        last[row["series"]] = row["probabilities"]
    stream = run.stream()
    for frame in frames()[:4]:
        for part in (frame[:1], frame[1:3], frame[3:]):
            [row] = stream([part])
        assert row["probabilities"] == pytest.approx(expected[row["series"]], abs=1e-6)
        stream.reset()
    for name, probabilities in expected.items():
        assert last[name] == pytest.approx(probabilities, abs=1e-6)
    stream([frames()[0]])
    with pytest.raises(UserError, match="is not after that of the step before"):
        stream([frames()[0]])


def test_an_export_says_which_column_has_the_times_and_the_example_reads_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.conftest import ROOT

    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import serve_onnx

    model = serve_onnx.Model(run.export(tmp_path / "export"))
    assert json.loads((tmp_path / "export" / "model.json").read_text())["data"]["elapsed"] == "at"
    rows = [{"x": frame.x.tolist(), "at": [*map(str, frame["at"])]} for frame in frames()]
    expected = list(run.predict(visits()))
    for row, prediction in zip(model.predict(rows), expected, strict=True):
        assert row["probabilities"] == pytest.approx(prediction["probabilities"], abs=1e-5)
    for at, said in (
        ([], "no list 'at'"),
        ([1, 1], "a time that is not after"),
        (["a"], "'a' as a"),
    ):
        with pytest.raises(ValueError, match=said):
            model.predict([{"x": [0.5] * len(at), "at": at or 1}])
