"""Which role each column of a table has, and what a user is told of their data before a
training."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from seqmodels.data import Examples, SeriesTable, Text
from seqmodels.data.columns import Columns
from seqmodels.data.examples import digest, repeated
from seqmodels.data.roles import channels_line, left_out_line, roles_of
from seqmodels.data.steps import Steps, in_order, steps_of_rows
from seqmodels.errors import UserError
from tests.conftest import Script

SERIES, STEPS = 40, 5
NOISE = np.random.default_rng(0).normal(size=SERIES * STEPS).round(6)


def frame(**columns: Any) -> pd.DataFrame:
    """Series of noise, with a label each; `columns` has values of series or of steps."""
    series = np.repeat(np.arange(SERIES), STEPS)
    table = pd.DataFrame({"s": [f"s{n}" for n in series], "x": NOISE, "label": series % 2})
    for name, values in columns.items():
        is_by_series = len(values) == SERIES
        table[name] = np.repeat(np.asarray(values), STEPS) if is_by_series else values
    return table


def told(given: Any, **options: Any) -> tuple[list[str], str]:
    """The channels, and what is left out."""
    data = SeriesTable(given, **{"series": "s", **options})
    data.setup()
    left_out = [note for note in data.notes if note.startswith("left out: ")]
    return data.inputs.columns or [], left_out[0] if left_out else ""


def left_out(values: Any, starts: tuple[int, ...] = (0, 3, 6)) -> str:
    """What is said of one column, beside a channel."""
    table = Columns(pa.table({"c": values}), "x.csv")
    steps = Steps(table, np.array(starts), [], None)
    return left_out_line(roles_of(steps, {}))


def test_whole_numbers_that_name_a_person_are_no_channel_and_a_note_if_they_are_in_two_splits() -> (
    None
):
    given = frame(patient=np.arange(SERIES) % 8)
    columns, said = told(given)
    assert columns == ["x"]
    assert said == (
        "left out: patient (whole numbers, the same at all steps of a series: name it in "
        "data.group if it says whose a series is, or in data.inputs to read it)"
    )
    data = SeriesTable(given, series="s")
    data.setup()
    assert any(
        note.endswith("set data.group=patient for scores of new ones") for note in data.notes
    )
    assert told(given, inputs=["x", "patient"])[0] == ["x", "patient"]
    assert told(given, group="patient")[0] == ["x"]


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "Unnamed: 12", "__index_level_0__"])
def test_an_index_that_pandas_wrote_is_no_channel(tmp_path: Path, name: str) -> None:
    given = frame().sample(frac=1, random_state=0).sort_values("s", kind="stable")
    given.insert(0, name, np.arange(len(given))[::-1] * 3)
    given.to_csv(tmp_path / "x.csv", index=False)
    columns, said = told(str(tmp_path / "x.csv"))
    assert columns == ["x"] and "an index" in said


def test_a_counter_of_rows_or_of_steps_is_no_channel() -> None:
    count = SERIES * STEPS
    given = frame(row=np.arange(count) + 7.0, step=np.tile(np.arange(STEPS), SERIES))
    for shuffled in (given, given.sample(frac=1, random_state=0).sort_values("s", kind="stable")):
        shuffled = shuffled.assign(row=np.arange(count) + 7)  # of the file
        columns, said = told(shuffled, time="step")
        assert columns == ["x"] and said == "left out: row (counts the rows)"
    said = "left out: row (counts the rows); step (counts the steps: data.time=step sorts by it)"
    assert told(given)[1] == said


def test_a_counter_in_each_recording_counts_its_steps(tmp_path: Path) -> None:
    for name in "abcd":
        recording = pd.DataFrame({"x": NOISE[:5], "t": range(5)})
        recording.to_csv(tmp_path / f"{name}.csv", index=False)
    files = pd.DataFrame({"file": [f"{name}.csv" for name in "abcd"], "label": [0, 1, 0, 1]})
    files.to_csv(tmp_path / "all.csv", index=False)
    channels, line = told(str(tmp_path / "all.csv"), series=None, files="file")
    assert channels == ["x"] and "t (counts the steps: data.time=t sorts by it)" in line


def test_an_id_beside_lists_is_no_channel() -> None:
    for ids in (np.arange(SERIES), np.random.default_rng(0).permutation(SERIES)):
        rows = {"id": ids, "x": [[*x] for x in NOISE.reshape(SERIES, STEPS)]}
        columns, said = told({**rows, "label": np.arange(SERIES) % 2}, series=None)
        assert columns == ["x"] and "id (" in said


def test_whole_numbers_of_a_second_table_stay_channels_and_are_said() -> None:
    random = np.random.default_rng(0)
    people = pd.DataFrame(
        {"s": [f"s{n}" for n in range(SERIES)], "age": random.integers(9, 90, SERIES)}
    )
    data = SeriesTable(frame(), series="s", labels=people)
    data.setup()
    assert data.inputs.columns == ["x", "age"]
    assert "channels: age (of data.labels in memory), x (set data.inputs to choose)" in data.notes


def test_numbers_that_vary_or_are_not_whole_or_are_booleans_are_channels() -> None:
    whole = np.random.default_rng(0).integers(0, 9, SERIES * STEPS)
    given = frame(
        count=whole, weight=np.arange(SERIES) + 0.5, on=NOISE > 0, male=np.arange(SERIES) % 2 == 0
    )
    assert told(given) == (["x", "count", "weight", "on", "male"], "")


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet", "memory"])
def test_a_boolean_is_a_channel_of_numbers_from_every_file(tmp_path: Path, ending: str) -> None:
    given, path = frame(on=NOISE > 0), tmp_path / f"x.{ending}"
    if ending == "csv":
        given.to_csv(path, index=False)
    elif ending == "jsonl":
        given.to_json(path, orient="records", lines=True)
    else:
        given.to_parquet(path)
    data = SeriesTable(given if ending == "memory" else str(path), series="s")
    examples = data.read()["train"]
    found = np.concatenate([series.numbers for series in examples.inputs])
    assert np.array_equal(found, np.stack([NOISE, NOISE > 0], axis=1))


LEFT_OUT: list[tuple[Any, str]] = [
    (["walk", "run", "walk", "sit", "run", "sit"],
     "3 texts, such as 'walk': name it in data.inputs to read it"),
    ([f"a{n}" for n in range(1900)], "1,900 different texts, such as 'a0'"),
    (["err", "1", "err", "err", "2.5", None],
     "60 % texts, such as 'err': 'data.na_values=[err]' makes gaps of these"),
    (["a", "b", "c", "d", "1", "2"], "67 % texts, such as 'a'"),
    (["1,234.5", "12,000.1", "5,100,200", "1,000.0", "2,000.0", "3,000.0"],
     "numbers with a comma between thousands, such as '1,234.5': write them without"),
    (["0,26", "1.234,5", "7", "1,5", "2,5", "3,5"],
     "numbers with a decimal comma, such as '0,26': set 'data.decimal=\",\"'"),
    (pd.date_range("2024", periods=6), "times: name it in data.time"),
    (pd.to_timedelta(range(6), "s"), "times: name it in data.time"),
    ([f"2024-01-0{n} 10:00" for n in range(1, 7)], "times: name it in data.time"),
    ([f"{n}:30" for n in range(6)], "times: name it in data.time"),
    ([None] * 6, "no value"),
    ([np.nan] * 6, "no value"),
    ([""] * 6, "no value"),
    ([7] * 6, "the same everywhere"),
    (pa.array([{"id": 1}] * 6), "neither numbers nor texts"),
    (pa.array([b"a"] * 6), "neither numbers nor texts"),
    (pa.array([[("k", 1)]] * 6, pa.map_(pa.string(), pa.int64())), "neither numbers nor texts"),
    (pa.array([[1, 2]] * 6), "lists that are not its steps"),
    ([4, 4, 4, np.nan, np.nan, np.nan],
     "whole numbers, the same at all steps of a series: name it in data.group if it says whose a "
     "series is, or in data.inputs to read it"),
    ([1, 2, 3, 1, 2, 3], "counts the steps: data.time=c sorts by it"),
    ([9, 10, 11, 12, 13, 14], "counts the rows"),
]  # fmt: skip


@pytest.mark.parametrize(("values", "reason"), LEFT_OUT, ids=[reason for _, reason in LEFT_OUT])
def test_what_is_left_out_is_said_with_its_reason(values: Any, reason: str) -> None:
    starts = (0, 3, 6) if len(values) == 6 else (0, len(values))
    assert left_out(values, starts) == f"left out: c ({reason})"


@pytest.mark.parametrize(
    "values",
    [
        ["1", "2.5", "oops", "4"],  # which an error names by its row
        [1.0, 2.0, np.nan, 4.0, 5.0, 6.0],
        [1, 1, 1, 2, 2, 3],
        [3, 3, 3],  # one step a series: nothing says that it names a person
        [1, 2],
    ],
)
def test_what_is_not_surely_something_else_is_a_channel(values: Any) -> None:
    starts = (0, 3, 6) if len(values) == 6 else tuple(range(len(values) + 1))
    assert left_out(values, starts) == ""
    assert left_out([4, 5, 9], (0, 2, 3)) == ""  # one difference makes no counter


@pytest.mark.parametrize("name", ["time", "Timestamp", "time (s)"])
def test_a_column_with_the_name_of_times_is_no_channel_unless_it_is_named(name: str) -> None:
    given = frame(**{name: np.tile(np.arange(STEPS) / 2, SERIES)})
    columns, said = told(given)
    assert columns == ["x"]
    assert said == f"left out: {name} (times: name it in data.time, or in data.inputs to read it)"
    assert told(given, inputs=["x", name])[0] == ["x", name]


def test_with_inputs_all_else_is_left_out_without_reasons() -> None:
    given = frame(a=NOISE, kind=["u", "v"] * (SERIES // 2))
    assert told(given, inputs=["x"]) == (["x"], "left out: a, kind")


def test_channels_of_arrays_are_channels_whatever_they_hold() -> None:
    arrays = [
        np.stack([np.arange(4.0), np.full(4, n), x[:4]], axis=1)
        for n, x in enumerate(NOISE.reshape(SERIES, STEPS))
    ]
    data = SeriesTable((arrays, ["a", "b"] * (SERIES // 2)))
    data.setup()
    assert data.inputs.num_channels == 3 and not any("left out" in note for note in data.notes)
    lists = {"m": [array.tolist() for array in arrays], "label": ["a", "b"] * (SERIES // 2)}
    assert told(lists, series=None) == (["m[0]", "m[1]", "m[2]"], "")


def test_a_table_without_any_channel_is_refused_with_the_reasons() -> None:
    with pytest.raises(
        UserError,
        match=r"has no column with numbers: set data.inputs; left out: "
        r"kind \(2 texts, such as 'u': name it in data.inputs to read it\)",
    ):
        told(frame(kind=["u", "v"] * (SERIES // 2)).drop(columns="x"))


def test_the_same_column_twice_in_inputs_is_refused() -> None:
    with pytest.raises(UserError, match="^data.inputs names the column 'x' twice: name it once"):
        SeriesTable(frame(), series="s", inputs=["x", "x"])


def test_a_column_that_is_no_category_is_refused_as_one() -> None:
    dates = pd.date_range("2024", periods=1000, freq="h").astype(str)
    given = pd.DataFrame({"s": np.repeat(np.arange(100), 10), "x": 0.5, "date": dates})
    given["label"] = given.s % 2
    with pytest.raises(
        UserError,
        match=r"^data.inputs: date has 640 different texts in 640 training "
        "steps: write numbers, or leave it out",
    ):
        told(given, inputs=["x", "date"])
    few = given.assign(date=[f"c{n % 80}" for n in range(1000)])
    assert told(few, inputs=["x", "date"])[0] == ["x", "date"]


def test_a_hint_of_a_group_is_of_a_few_names_that_all_series_have() -> None:
    def hints(names: list[Any]) -> list[str]:
        data = SeriesTable(frame(who=names), series="s")
        data.setup()
        return [note for note in data.notes if "data.group=who" in note]

    users = [f"u{n % 8}" for n in range(SERIES)]
    assert hints(users)
    assert not hints([f"u{n % 24}" for n in range(SERIES)])  # 60 % of the series
    assert not hints([None, *users[1:]])


def test_a_rule_needs_no_data_module() -> None:
    table = Columns(
        pa.table({"s": ["a", "a", "b"], "x": [0.5, 1.5, 2.5], "k": ["u", "u", "v"]}), "x"
    )
    steps = in_order(steps_of_rows(table, "s"), None)
    roles = roles_of(steps, {"s": "series"})
    assert [(role.column, role.role) for role in roles] == [
        ("s", "series"), ("x", "channel"), ("k", "left out"),
    ]  # fmt: skip
    assert channels_line(roles) == "channels: x (set data.inputs to choose)"


# ---------------------------------------------------------------- notes of splits


def table(path: Path, *texts: str) -> str:
    rows = [f"{text},{'ab'[n % 2]}\n" for n, text in enumerate(texts)]
    path.write_text("text,label\n" + "".join(rows))
    return str(path)


def long(text: str) -> np.ndarray:
    """Numbers that differ where no print of them shows it."""
    return np.where(np.arange(4000) == 2000, ord(text), 0).reshape(-1, 2)


KINDS = [str, list, long, lambda text: torch.tensor(long(text)), lambda text: [long(text), "x"]]


@pytest.mark.parametrize("kind", [*KINDS, lambda text: pd.DataFrame(long(text))])
def test_rows_of_two_splits_are_counted_whatever_they_hold(kind: Callable[[str], Any]) -> None:
    parts = {"train": "abb", "validation": "c", "test": "bddd"}
    splits = {
        split: Examples([kind(letter) for letter in letters], [*letters], "made")
        for split, letters in parts.items()
    }
    assert repeated(splits) == [
        "1 of 4 rows (25.00 %) of the test split are in the train split, too"
    ]


def test_equal_rows_of_two_splits_with_other_targets_are_counted() -> None:
    """A row that stands twice in the first split, with two targets, contradicts neither."""
    train = Examples([*"aabcd"], [*"xyxxx"], "made")
    test = Examples([*"aabbcd", "new"], [*"xyxzzx", "z"], "made")
    assert repeated({"train": train, "test": test}, target_word="label") == [
        "6 of 7 rows (85.71 %) of the test split are in the train split, too, with another label: 2"
    ]
    numbers = [np.array([1.0, np.nan]), np.array([2.0, 0.5])]
    splits = {"train": Examples([*"ab"], numbers, "made")}
    splits["validation"] = Examples([*"ab"], numbers[::-1], "made")
    splits["test"] = Examples([*"ba"], [number.copy() for number in numbers[::-1]], "made")
    first, second, third = repeated(splits)
    assert "too, with another target: 2;" in first and "too, with another target: 2;" in third
    assert "another" not in second


def test_a_hash_is_of_numbers_in_their_shape() -> None:
    rows = [
        long("a"),
        long("a").reshape(-1, 4),
        long("a").astype(float),
        long("b"),
        long("a").tolist(),
    ]
    assert len({digest([row]) for row in rows}) == len(rows)
    assert digest([long("a")]) == digest([long("a").copy()])


def test_the_same_file_twice_and_tokens_that_are_mostly_unknown_are_noted(tmp_path: Path) -> None:
    train = table(tmp_path / "train.csv", "a b", "b c", "c d", "d e")
    data = Text(train, table(tmp_path / "test.csv", "a x y", "b x"), train)
    data.setup()
    new, same = data.notes
    assert new.startswith(f"{tmp_path}/test.csv: 3 of 5 tokens (60.00 %) are unknown to the model")
    assert same.startswith("4 of 4 rows (100.00 %) of the test split are in the train split")
    assert same.endswith("are they the same file?")


def test_a_run_says_so_and_a_finished_one_counts_what_is_new(
    script: Script, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train = table(tmp_path / "train.csv", *["a b", "b c", "c d", "d e"] * 9)
    quick = ("trainer.max_steps=1", "baseline=false", "trainer=cpu")
    done = script("train.py", "data=text", f"data.train={train}", "folder=run", *quick)
    assert "of the test split are in the train split, too" in done.stdout + done.stderr
    (tmp_path / "new.csv").write_text("text,label\na b,a\nb c,new\nc x,b\n")
    with caplog.at_level(logging.WARNING):
        scored = script("evaluate.py", "run=run", "file=new.csv", "accelerator=cpu")
    said = caplog.text + scored.stderr
    assert "new.csv: 1 of 3 labels (33.33 %) were never seen in training, such as 'new'" in said
    assert "unknown to the model" not in said
    known = "2 of 3 rows (66.67 %) of the evaluated split are in the train split, too"
    assert known in said
    caplog.clear()
    Path(train).unlink()
    again = script("evaluate.py", "run=run", "file=new.csv", "accelerator=cpu")
    assert known not in caplog.text + again.stderr
