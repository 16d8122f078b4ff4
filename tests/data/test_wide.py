"""Wide tables: each row is a series, and its steps are columns."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from seqmodels import compose, load_run, train
from seqmodels.data import SeriesTable
from seqmodels.data.wide import numbered_columns
from seqmodels.errors import UserError

NAN = np.nan
STEPS = 12


def wide(count: int = 24, *, channels: str = "t", steps: int = STEPS) -> pd.DataFrame:
    """A row for each series, whose columns stand in the order of their texts."""
    random = np.random.default_rng(0)
    names = sorted(f"{channel}{step}" for channel in channels for step in range(steps))
    values = random.normal(size=(count, len(names))).round(3)
    labels = ["ab"[row % 2] for row in range(count)]
    ids = [f"s{row}" for row in range(count)]
    return pd.DataFrame(values, columns=names).assign(id=ids, label=labels)


def series_of(given: Any, **options: Any) -> list[list[Any]]:
    """The values of each series of a table, of one channel as a list."""
    examples = SeriesTable(given, **options).read()["train"]
    values = [raw.numbers for raw in examples.inputs]
    return [part[:, 0].tolist() if part.shape[1] == 1 else part.tolist() for part in values]


def refusal(given: Any, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        SeriesTable(given, **options).setup()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_numbered_columns_stand_in_the_order_of_their_numbers() -> None:
    names = [
        "t10",
        "t2",
        "label",
        "t1",
        "x_01",
        "x_002",
        "7",
        "400.5",
        "400.25",
        "t2x",
        "2020-02-01",
    ]
    assert numbered_columns(names) == {
        "t": ["t1", "t2", "t10"],
        "x_": ["x_01", "x_002"],
        "": ["7", "400.25", "400.5", "2020-02-01"],
    }
    assert numbered_columns(["a" + "9" * 5000, "a1"]) == {"a": ["a1", "a" + "9" * 5000]}


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet", "memory"])
@pytest.mark.parametrize("name", ["t{}", "t_{}", "t.{}", "t {:03}"])
def test_the_steps_of_a_row_are_its_numbered_columns(
    tmp_path: Path, ending: str, name: str
) -> None:
    table, path = wide(), tmp_path / f"a.{ending}"
    values = table[[f"t{step}" for step in range(STEPS)]].to_numpy().tolist()
    table = table.rename(columns={f"t{step}": name.format(step) for step in range(STEPS)})
    if ending == "csv":
        table.to_csv(path, index=False)
    elif ending == "jsonl":
        table.to_json(path, orient="records", lines=True)
    elif ending == "parquet":
        table.to_parquet(path)
    given = table if ending == "memory" else str(path)
    assert series_of(given, steps="t") == values
    assert series_of(given, steps="t", series="id") == values


def test_columns_that_are_listed_are_the_steps_in_this_order() -> None:
    table = wide()[["t3", "t1", "t2", "label"]]
    assert series_of(table, steps=["t2", "t3", "t1"]) == table[["t2", "t3", "t1"]].values.tolist()
    numbers = (
        table.drop(columns="label").set_axis(["0", "1", "2"], axis=1).assign(label=table.label)
    )
    assert series_of(numbers, steps=[2, 0, 1]) == table[["t2", "t3", "t1"]].values.tolist()
    assert series_of(numbers, steps="") == table[["t3", "t1", "t2"]].values.tolist()


def test_several_prefixes_are_several_channels() -> None:
    table = wide(channels="yx")
    x, y = (table[[f"{name}{step}" for step in range(STEPS)]].to_numpy() for name in "xy")
    assert series_of(table, steps=["y", "x"]) == np.stack([y, x], axis=2).tolist()


def test_lists_may_have_the_names_of_channels_in_the_place_of_their_columns() -> None:
    lists = pd.DataFrame({"x": [[1.0, 2.0]] * 4, "y": [[3.0, 4.0]] * 4, "label": list("abab")})
    assert series_of(lists, steps=["x_", "y."]) == [[[1.0, 3.0], [2.0, 4.0]]] * 4


def test_a_wide_table_is_the_long_one_of_its_cells() -> None:
    table = wide().assign(age=np.linspace(0.1, 9, 24))
    long = table.melt(["id", "label", "age"], [f"t{step}" for step in range(STEPS)], "step", "t")
    long = long.assign(step=long.step.str[1:].astype(int)).sort_values(["id", "step"])
    options: dict[str, Any] = {"series": "id", "inputs": ["t", "age"], "scale": "both"}
    read_wide, read_long = SeriesTable(table, steps="t", **options), SeriesTable(long, **options)
    by_name = []
    for data in (read_wide, read_long):
        examples = data.read()["train"]
        by_name.append({raw.name: raw.numbers.tolist() for raw in examples.inputs})
    assert by_name[0] == by_name[1]


def test_empty_cells_at_the_end_of_a_row_end_its_series_and_those_before_are_gaps() -> None:
    table = wide(channels="xy", steps=4)
    table.loc[0, ["x2", "x3", "y3"]] = NAN
    table.loc[1, ["x0", "y0", "x3"]] = NAN
    first, second, *others = series_of(table, steps=["x", "y"])
    assert np.array_equal(
        first,
        [
            *table.loc[0, ["x0", "y0"]].values.reshape(1, 2).tolist(),
            table.loc[0, ["x1", "y1"]].tolist(),
            [NAN, table.y2[0]],
        ],
        equal_nan=True,
    )
    assert len(second) == 4 and np.isnan(second[0]).all() and {*map(len, others)} == {4}
    data = SeriesTable(table, steps=["x", "y"], missing="mark")
    data.setup()
    note = "x is x0 to x3, y is y0 to y3: 4 steps; 1 of 24 rows end with empty cells, which are no"
    assert f"data.train in memory: {note} steps: they have 3 steps" in data.notes


def test_texts_are_steps_too() -> None:
    table = pd.DataFrame({f"e{step}": list("abab" * 5) for step in range(3)})
    table["label"] = table.e0
    table.loc[3, "e2"] = None
    table["e3"] = None  # which says nothing about its type
    examples = SeriesTable(table, steps="e", inputs=["e"]).read()["train"]
    assert [len(raw) for raw in examples.inputs][:5] == [3, 3, 3, 2, 3]


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ("u", "data.steps=u: data.train in memory has no columns u0, u1, ...: choose one of t"),
        (["t0", "u"], "has a column 't0' and none 'u': name columns, one for each step, or the"),
        (["t0", "t0"], "data.steps names the column 't0' twice"),
        (["t", "t_"], "data.steps=t_: data.train in memory has no columns t_0, t_1"),
        (["t", "t"], "data.steps names 't' twice"),
        (["t0", "label"], "row 1 has 'a' as 'label', which is not a finite number"),
    ],
)
def test_other_steps_are_refused(steps: Any, message: str) -> None:
    assert message in refusal(wide(), steps=steps)


def test_what_can_be_understood_in_two_ways_is_refused() -> None:
    table = wide()
    assert "'t1' and 't01' are the same step" in refusal(table.assign(t01=1.0), steps="t")
    renamed = table.rename(columns={"t0": "t_0", "t1": "t.1", "t2": "t_2"}).drop(
        columns=[f"t{step}" for step in range(3, STEPS)]
    )
    assert "has t_0 to t_2 and t.1: set data.steps=t_ or data.steps=t." in refusal(
        renamed, steps="t"
    )
    assert "has a column 't' beside t0 to t11, which become a channel of this name" in refusal(
        table.assign(t=1.0), steps="t"
    )
    two = wide(channels="xy").drop(columns="y3")
    assert "y has no column beside x3: give x, y as many steps" in refusal(two, steps=["x", "y"])
    assert "y has no column beside x3: give x, y as many steps" in refusal(two, steps=["y", "x"])
    assert "rows 1 and 3 are both of series s0, but with data.steps each row is one" in refusal(
        table.replace({"id": {"s2": "s0"}}), steps="t", series="id"
    )
    lists = pd.DataFrame({"t": [[1.0, 2.0]] * 4, "u": [[1.0, 2.0]] * 4, "label": list("abab")})
    assert "has lists in t, u, and data.steps is for" in refusal(lists, steps="t0")
    for key in ("time", "files"):
        assert f"each row is a series, and has no other steps: omit data.{key}" in refusal(
            table, steps="t", **{key: "id"}
        )


def test_a_text_and_a_row_without_a_value_are_named(tmp_path: Path) -> None:
    table = wide()
    table.assign(t3=["0.5"] * 6 + ["err"] * 18).to_csv(tmp_path / "a.csv", index=False)
    message = "row 7 has 'err' as 't3', which is not a finite number"
    assert message in refusal(str(tmp_path / "a.csv"), steps="t")
    table.loc[4, [f"t{step}" for step in range(STEPS)]] = NAN
    message = "row 5 has no value in t0 to t11: fill it, or remove the row"
    assert message in refusal(table, steps="t")


def test_a_table_that_looks_wide_is_told_of_the_key() -> None:
    assert "if each row is a series, set data.steps=t for t0 to t11; if each is a step" in refusal(
        wide()
    )
    assert "set data.steps=t for t0 to t3" in refusal(wide(steps=4))
    assert "data.steps" not in refusal(wide(steps=3))


def test_a_run_on_a_wide_table_predicts_and_evaluates_wide_tables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = wide(40, steps=5)
    words = ["data=series", "data.steps=t", "data.series=id", "trainer.max_epochs=1"]
    config = compose(*words, "baseline=false", "trainer.enable_progress_bar=false")
    train(config, data={"train": table, "test": table})
    run = load_run(config.folder)
    assert run.evaluate(file=table)["file/loss"] == run.evaluate()["test/loss"]
    shorter = table.head(2).drop(columns=["t4", "label"])  # and without the last step
    rows = list(run.predict(shorter))
    assert [row["series"] for row in rows] == ["s0", "s1"]

    lines = [
        json.dumps({f"t{step}": row[f"t{step}"] for step in range(4)})
        for _, row in shorter.iterrows()
    ]
    lines.append(json.dumps({"t": shorter.iloc[0][["t0", "t1", "t2", "t3"]].tolist()}))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("\n".join(lines).encode())))
    probabilities = [row["probabilities"]["a"] for row in run.predict([*run.data.read_inputs("-")])]
    expected = [row["probabilities"]["a"] for row in rows]
    assert probabilities == pytest.approx([*expected, expected[0]], abs=1e-6)
