"""One road for everything that may be X: a table, frames, arrays, JSON; and a second table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from seqmodels import compose, load_run, train
from seqmodels.data import SeriesTable
from seqmodels.data.sources import has_names, one_each, rows_of
from seqmodels.errors import UserError
from seqmodels.estimators import SequenceClassifier
from seqmodels.runs import Run
from tests.conftest import WITHOUT_LOCAL
from tests.make import run_of_series

SERIES = 24
WORDS = ("data.series=s", "data.time=at", "data.missing=mark", "data.inputs=[x,on,kind]")


def table(count: int = SERIES, seed: int = 0) -> pd.DataFrame:
    """Steps of numbers, booleans and texts, with gaps, in shuffled order."""
    random, rows = np.random.default_rng(seed), list[dict[str, Any]]()
    for number in range(count):
        for step in range(4 + number % 3):
            x = None if random.random() < 0.2 else random.normal()
            kind = random.choice(["u", "v ", "w", None])
            row = {"s": f"s{number}", "at": step, "x": x, "on": bool(random.random() < 0.5)}
            rows.append({**row, "kind": kind, "label": "ab"[number % 2]})
    frame = pd.DataFrame(rows).sample(frac=1, random_state=seed)
    return frame.sort_values("s", key=lambda s: s.str[1:].astype(int), kind="stable")


def frames(whole: pd.DataFrame) -> list[pd.DataFrame]:
    return [steps for _, steps in whole.groupby("s", sort=False)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        folder = tmp_path_factory.mktemp("runs") / "run"
        yield run_of_series(folder, table(), *WORDS)


def nested(whole: pd.DataFrame) -> pd.DataFrame:
    """A row for each series, with lists in its cells."""
    steps = whole.groupby("s", sort=False)[["at", "x", "on", "kind"]].agg(list).reset_index()
    return steps.assign(label=whole.groupby("s", sort=False).label.first().to_numpy())


ROADS = {
    "list of frames": frames,
    "frames by their index": lambda t: [f.set_index("at") for f in frames(t)],
    "nested frame": nested,
    "nested Series": lambda t: nested(t).assign(x=lambda n: n.x.map(pd.Series)),
    "list of dicts": lambda t: nested(t).to_dict("records"),
    "dict of columns": lambda t: {name: [*column] for name, column in nested(t).items()},
    "pyarrow": lambda t: pa.Table.from_pandas(t),
    "pyarrow, nested": lambda t: pa.Table.from_pandas(nested(t)),
}


@pytest.mark.parametrize("road", ROADS)
def test_every_road_gives_the_predictions_of_the_table_to_the_last_bit(run: Run, road: str) -> None:
    new = table(9, seed=5)
    expected = [{**row, "source_row": None} for row in run.predict(new)]
    found = [{**row, "source_row": None} for row in run.predict(ROADS[road](new))]
    assert found == expected


def test_an_estimator_trains_on_what_the_table_says_and_predicts_by_the_road_of_a_table() -> None:
    whole = table()
    given, y = frames(whole), whole.groupby("s", sort=False).label.first().to_numpy()
    given = [frame.drop(columns=["s", "label"]) for frame in given]
    options = {"data.inputs": ["x", "on", "kind"], "data.time": "at"}
    fast = {"max_epochs": 1, "hidden_size": 4, "missing": "mark", "random_state": 0}
    model = SequenceClassifier(**fast, options=options).fit(given, y)
    encoder = model.run_.data.inputs
    long = pd.concat([frame.assign(series=f"X[{n}]") for n, frame in enumerate(given)])
    data = SeriesTable(
        long.assign(label="a"), series="series", time="at", inputs=["x", "on", "kind"]
    )
    raw = [*data.read_inputs(data.paths["train"])]
    by_table = encoder.encode(raw, "x")
    [read] = [[*model.run_._rows(given, "X")]]
    by_frames = encoder.encode([row.raw for row in read], "x")
    assert all(map(torch.equal, by_table, by_frames)) and len(by_table) == SERIES
    assert (
        model.predict_proba(given).tolist()
        == model.predict_proba([*reversed(given)])[::-1].tolist()
    )


def test_frames_may_have_columns_that_others_lack_unless_they_are_learned_from() -> None:
    first, second = pd.DataFrame({"x": [1.5], "note": ["a"]}), pd.DataFrame({"x": [2.5]})
    assert rows_of([first, second], "X").column_names == ["x"]
    for pair in ([first, second], [second, first]):
        with pytest.raises(UserError, match=r"X: series \d has no column 'note'"):
            rows_of((pair, ["a", "b"]), "X")


@pytest.mark.parametrize("layout", ["arrays in a cell", "index of two levels", "array", "tensor"])
def test_series_of_several_channels_come_in_the_layouts_of_others(layout: str) -> None:
    arrays = [np.random.default_rng(n).normal(size=(5, 2)) for n in range(12)]
    index = pd.MultiIndex.from_product([range(12), range(5)])
    given = {
        "arrays in a cell": pd.DataFrame({"x": arrays}),
        "index of two levels": pd.DataFrame(
            np.concatenate(arrays), index=index, columns=["a", "b"]
        ),
        "array": np.stack(arrays),
        "tensor": torch.tensor(np.stack(arrays)),
    }
    data = SeriesTable((given[layout], ["a", "b"] * 6))
    data.setup()
    found = [raw.numbers for examples in data.examples.values() for raw in examples.inputs]
    by_first = sorted(found, key=lambda numbers: numbers[0, 0])
    expected = sorted(arrays, key=lambda numbers: numbers[0, 0])
    assert all(map(np.array_equal, by_first, expected))
    model = SequenceClassifier(max_epochs=1, hidden_size=4, random_state=0)
    assert model.fit(given[layout], ["a", "b"] * 6).predict(given[layout]).shape == (12,)


def test_what_has_names_is_told_from_what_has_none() -> None:
    frame = pd.DataFrame({"x": [1.0]})
    for given in (frame, [frame], pa.table({"x": [1.0]}), {"x": [1.0]}, [{"x": 1.0}]):
        assert has_names(given)
    for given in (np.ones((2, 3)), [np.ones(3)], ["a"], [[1.0]], {"x": "a"}, pd.Series([1.0])):
        assert not has_names(given)
    assert len(one_each(pd.DataFrame(np.ones((3, 4))))) == 3


def test_lists_of_lists_without_names_hold_the_channels_of_training(run: Run) -> None:
    numbers = table().drop(columns=["on", "kind"]).fillna(0.5).assign(y=lambda f: f["at"] + 0.25)
    data = SeriesTable(numbers, series="s", time="at")
    data.setup()
    assert data.inputs.columns == ["x", "y"]
    expected = [*data.read_inputs(data.paths["train"])]
    rows = [{"anything": raw.numbers.tolist(), "at": [*range(len(raw))]} for raw in expected]
    lists = [*SeriesTable.read_inputs(data, as_path(rows))]
    encoded = data.inputs.encode(expected, "x"), data.inputs.encode(lists, "x")
    assert all(map(torch.equal, *encoded))


def as_path(rows: Any) -> str:
    from seqmodels.data.sources import as_file

    return as_file(rows, "new")


# ---------------------------------------------------------------- JSON


def lines(folder: Path, *more: Any) -> str:
    """A file with 20 series, each with these further fields."""
    rows = []
    for number in range(20):
        x = np.random.default_rng(number).normal(size=4).round(3).tolist()
        rows.append({"x": x, "label": "ab"[number % 2], **more[number % len(more)]})
    path = folder / "x.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        ({"id": 1}, "neither numbers nor texts"),
        (["a", "b"], "lists that are not its steps"),
        ([{"k": 1}] * 4, "neither numbers nor texts"),
        ([[["a"]]] * 4, "lists that are not its steps"),
    ],
)
@pytest.mark.parametrize("inputs", [None, ["x"]])
def test_a_nested_field_that_nobody_names_is_left_out(
    tmp_path: Path, field: Any, reason: str, inputs: Any
) -> None:
    data = SeriesTable(lines(tmp_path, {"meta": field}), inputs=inputs)
    data.setup()
    assert data.inputs.columns == ["x"]
    said = "left out: meta" + ("" if inputs else f" ({reason})")
    assert said in data.notes


@pytest.mark.parametrize("inputs", [None, ["x"]])
def test_a_field_that_is_nested_in_some_rows_alone_is_left_out(tmp_path: Path, inputs: Any) -> None:
    data = SeriesTable(lines(tmp_path, {"meta": {"id": 1}}, {"meta": "none"}), inputs=inputs)
    data.setup()
    assert data.inputs.columns == ["x"]
    assert any(note.startswith("left out: meta") for note in data.notes)


def test_a_dict_for_each_column_is_refused_with_the_words_that_write_rows(tmp_path: Path) -> None:
    table().to_json(tmp_path / "x.json")
    with pytest.raises(UserError, match=r"x.json holds a dict for each column.*orient='records'"):
        SeriesTable(str(tmp_path / "x.json"), series="s").setup()


def test_a_nested_field_of_a_second_table_is_left_out() -> None:
    steps = pd.DataFrame({"s": np.repeat(np.arange(12), 3), "x": np.arange(36) ** 0.5})
    labels = [{"s": n, "label": "ab"[n % 2], "meta": {"id": n}, "tags": ["a"]} for n in range(12)]
    data = SeriesTable(steps, series="s", labels=labels)
    data.setup()
    assert data.inputs.columns == ["x"]
    assert any("meta (neither numbers nor texts)" in note for note in data.notes)


# ---------------------------------------------------------------- files and second tables


def recordings(folder: Path, **changes: Any) -> str:
    """A table that names a file for each series."""
    rows = []
    for number in range(12):
        steps = pd.DataFrame({"x": np.random.default_rng(number).normal(size=4), "y": 0.5})
        if number in changes.get("numbers", ()):
            steps = changes["change"](steps)
        steps.to_csv(folder / f"r{number}.csv", index=False)
        rows.append({"file": f"r{number}.csv", "label": "ab"[number % 2]})
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)
    return str(folder / "labels.csv")


def test_columns_of_recordings_count_by_their_names_and_a_text_is_named_with_its_file(
    tmp_path: Path,
) -> None:
    plain = SeriesTable(recordings(tmp_path), files="file").read()["train"]
    changed = recordings(tmp_path, numbers=[3, 7], change=lambda f: f[["y", "x"]])
    for one, other in zip(
        plain.inputs, SeriesTable(changed, files="file").read()["train"].inputs, strict=True
    ):
        assert one.columns == other.columns and np.array_equal(one.numbers, other.numbers)
    path = recordings(tmp_path, numbers=[5], change=lambda f: f.assign(x=[0.5, "err", 0.5, 0.5]))
    with pytest.raises(UserError, match="r5.csv: row 2 has 'err' as 'x', which is not a finite"):
        SeriesTable(path, files="file").read()
    path = recordings(tmp_path, numbers=[2], change=lambda f: f.drop(columns="y"))
    with pytest.raises(UserError, match="r2.csv has no column 'y', which .*r0.csv has: give all"):
        SeriesTable(path, files="file").read()
    assert SeriesTable(path, files="file", inputs=["x"]).read()["train"].inputs[0].columns == ["x"]


@pytest.fixture(scope="module")
def run_with_labels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        folder, whole = tmp_path_factory.mktemp("runs") / "run", table().fillna({"x": 0.0})
        people = whole.groupby("s")[["label"]].first().reset_index()
        people["age"] = np.arange(SERIES) % 7 + 0.5
        words = ("data.series=s", "data.time=at", "data.inputs=[x,age]", "trainer.max_steps=2")
        quick = ("trainer=cpu", "model.encoder.hidden_size=8", "baseline=false")
        config = compose(f"folder={folder}", "data=series", *words, *quick, *WITHOUT_LOCAL)
        train(config, data={"train": whole.drop(columns="label"), "labels": people})
        yield load_run(folder)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of Lightning's test loop
def test_a_file_with_its_own_columns_needs_no_second_table(run_with_labels: Run) -> None:
    new = table(6, seed=3).fillna({"x": 0.0}).assign(age=3.5, s=lambda f: "new " + f.s)
    assert len(list(run_with_labels.predict(new))) == 6
    assert "file/accuracy" in run_with_labels.evaluate(file=new)
    with pytest.raises(UserError, match="has no row for series new s0 of file in memory"):
        run_with_labels.evaluate(file=new.drop(columns="label"))
    with pytest.raises(UserError, match="has no row for series new s0 of inputs in memory"):
        list(run_with_labels.predict(new.drop(columns="age")))


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of Lightning's test loop
def test_a_file_that_lacks_the_labels_alone_takes_them_from_the_second_table(
    run_with_labels: Run,
) -> None:
    known = table().fillna({"x": 0.0}).drop(columns="label").assign(age=2.5)
    assert "file/accuracy" in run_with_labels.evaluate(file=known)


def test_a_label_that_a_second_table_lacks_is_named_with_its_file_and_row() -> None:
    steps = pd.DataFrame({"s": np.repeat([*"abcdefgh"], 3), "x": np.arange(24) ** 0.5})
    labels = pd.DataFrame({"s": [*"hgfedcba"], "label": [*"uv"] * 3 + [None, "u"]})
    with pytest.raises(UserError, match="^data.labels in memory: row 7 has no 'label': fill it"):
        SeriesTable(steps, series="s", labels=labels).setup()


# ---------------------------------------------------------------- what a table may mean


def test_channels_before_steps_are_a_note_and_an_estimator_warns_of_them() -> None:
    x = np.random.default_rng(0).normal(size=(20, 3, 50))
    data = SeriesTable((x, ["a", "b"] * 10))
    data.setup()
    said = "series of 3 steps and 50 channels: time comes first: (steps, channels)"
    assert f"data.train in memory: {said}" in data.notes
    with pytest.warns(UserWarning, match=r"series of 3 steps and 50 channels"):
        SequenceClassifier(max_epochs=1, hidden_size=4).fit(x, ["a", "b"] * 10)


def test_series_of_one_step_each_are_a_note() -> None:
    frame = pd.DataFrame({"id": range(20), "x": np.arange(20) ** 0.5, "label": ["a", "b"] * 10})
    data = SeriesTable(frame, series="id")
    data.setup()
    assert any("every series has 1 step: if a row is a whole series, set data.steps" in note
               for note in data.notes)  # fmt: skip


def test_an_estimator_warns_of_what_it_leaves_out_and_is_silent_about_arrays(
    recwarn: pytest.WarningsRecorder,
) -> None:
    fast = {"max_epochs": 1, "hidden_size": 4, "random_state": 0}
    noise = np.random.default_rng(0).normal(size=(12, 5))
    given = [pd.DataFrame({"noise": x, "on": x > 0, "c": ["u", "v"] * 2 + ["u"]}) for x in noise]
    y = ["a", "b"] * 6
    with pytest.warns(UserWarning, match=r"^left out: c \(2 texts, such as 'u': name it in data"):
        assert SequenceClassifier(**fast).fit(given, y).n_features_in_ == 2
    recwarn.clear()
    arrays = [np.stack([np.arange(5.0), np.full(5, n), x], axis=1) for n, x in enumerate(noise)]
    assert SequenceClassifier(**fast).fit(arrays, y).n_features_in_ == 3
    named = SequenceClassifier(**fast, options={"data.inputs": ["noise"]})
    assert named.fit(given, y).n_features_in_ == 1
    assert not [warning for warning in recwarn if warning.category is UserWarning]


def test_parts_of_the_same_recordings_in_two_splits_are_a_note() -> None:
    whole = table(12).fillna({"x": 0.0})
    halves = [part for n in (0, 1) for part in [whole[whole["at"] % 2 == n]]]
    data = SeriesTable(halves[0], halves[1], series="s", time="at", inputs=["x"])
    data.setup()
    assert any(
        "of 12 series" in note and "of the validation split have the name of one" in note
        for note in data.notes
    )
    data = SeriesTable(whole, series="s", time="at", inputs=["x"])
    data.setup()
    assert not any("have the name of one" in note for note in data.notes)


def test_a_scale_by_series_says_which_channels_it_makes_0() -> None:
    whole = table(12).fillna({"x": 0.0}).assign(age=lambda f: f.s.str[1:].astype(int) + 0.5)
    for scale, count in (("series", 1), ("both", 0), ("split", 0)):
        data = SeriesTable(whole, series="s", time="at", inputs=["x", "age"], scale=scale)
        data.setup()
        notes = [note for note in data.notes if "data.scale=series makes 0 of age" in note]
        assert len(notes) == count


def test_a_time_that_goes_back_within_a_series_is_a_note() -> None:
    whole = table(12).fillna({"x": 0.0}).rename(columns={"at": "time"})
    data = SeriesTable(whole, series="s")
    data.setup()
    [note] = [note for note in data.notes if "time goes back within series s0, at row " in note]
    assert note.endswith("set data.time=time to sort the steps by it")
    for sorted_rows in ({"time": "time"}, {}):
        given = whole if sorted_rows else whole.sort_values(["s", "time"])
        data = SeriesTable(given, series="s", **sorted_rows)
        data.setup()
        assert not any("goes back" in note for note in data.notes)


def test_weights_are_compared_as_numbers_and_a_label_in_one_step_may_be_repeated() -> None:
    whole = table(12).fillna({"x": 0.0})
    weights = np.where(np.arange(len(whole)) % 2, "1", "1.0")
    data = SeriesTable(whole.assign(w=weights), series="s", inputs=["x"], weight_column="w")
    data.setup()
    first = whole.assign(label=whole.label.where(~whole.s.duplicated()))
    data = SeriesTable(first, series="s", inputs=["x"])
    assert data.per == "step"
    assert data.mismatch.endswith("which is one for each series if you repeat it at each step")


def test_a_column_of_labels_that_a_validation_file_lacks_is_named() -> None:
    whole = table(12).fillna({"x": 0.0})
    data = SeriesTable(whole, whole.drop(columns="label"), series="s", inputs=["x"])
    with pytest.raises(UserError, match="^data.validation in memory has no column 'label'"):
        data.setup()


def test_series_whose_times_touch_are_two() -> None:
    steps = [{"s": "a", "at": n, "x": n**0.5, "label": "u"} for n in range(4)]
    steps += [{"s": "b", "at": n, "x": n**0.5, "label": "v"} for n in range(3, 7)]
    read = SeriesTable(steps, series="s", time="at", inputs=["x"]).read()["train"]
    assert [len(raw) for raw in read.inputs] == [4, 4]


@pytest.mark.parametrize(
    ("scale", "count"), [("split", 2), ("both", 2), ("none", 2), ("series", 0)]
)
def test_other_units_are_a_note_where_the_scale_is_not_of_each_series(
    scale: str, count: int
) -> None:
    whole = table(12).fillna({"x": 0.0}).assign(s=lambda f: f.s)
    new = whole.assign(x=whole.x * 1000 + 1e5, s="new " + whole.s)
    data = SeriesTable(whole, new, new, series="s", time="at", inputs=["x"], scale=scale)
    data.setup()
    said = [note for note in data.notes if "further than 5 deviations" in note]
    assert len(said) == count


def test_nanoseconds_in_a_csv_are_sorted_as_whole_numbers(tmp_path: Path) -> None:
    epoch = 1_700_000_000_000_000_000
    frame = pd.DataFrame(
        {"s": [*"aabbccdd"], "x": [1.5, 2, 4, 1, 2, 7, 1, 2], "label": [*"uv"] * 4}
    )
    frame["at"] = [epoch + 100 - 100 * (n % 2) for n in range(8)]
    frame.to_csv(tmp_path / "x.csv", index=False)
    data = SeriesTable(str(tmp_path / "x.csv"), series="s", time="at", inputs=["x"], per="step")
    [first, *_] = data.read()["train"].inputs
    assert first.numbers.tolist() == [[2.0], [1.5]]
    assert data.describe(first)["time"] == [epoch, epoch + 100]
