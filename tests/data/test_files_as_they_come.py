"""Tables as others write them: separators, decimals, encodings, and what stands for nothing."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser

from seqmodels.data import SeriesTable, Text
from seqmodels.data.columns import cure_of
from seqmodels.data.gaps import note_of_placeholders, placeholders, with_gaps
from seqmodels.data.tables import Tables
from seqmodels.errors import UserError
from tests.make import write_file

GERMAN = {"encoding": "cp1252", "separator": ";", "decimal": ","}


def of_engines() -> pd.DataFrame:
    """Four steps of each of ten tests."""
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "Prüfstand": np.repeat([f"s{number}" for number in range(10)], 4),
            "Druck": random.normal(3, 1, 40).round(2),
            "Temp": random.normal(30, 1, 40).round(1),
            "label": np.repeat(["a", "b"] * 5, 4),
        }
    )


def refusal(path: Any, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        SeriesTable(path, series="Prüfstand", **options).setup()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def values_of(given: Any, **options: Any) -> np.ndarray:
    examples = SeriesTable(given, **options).read()["train"]
    return np.concatenate([raw.numbers for raw in examples.inputs])


# ---------------------------------------------------------------- separators, decimals, encodings


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_a_table_of_another_country_is_the_same_table(
    tmp_path: Path, encoding: str, end: str, separator: str
) -> None:
    table = of_engines()
    text = table.to_csv(index=False, sep=separator, decimal=",", lineterminator=end)
    path = write_file(tmp_path, "a.csv", text.encode(encoding))
    options = {"encoding": encoding.removesuffix("-sig"), "separator": separator, "decimal": ","}
    read = values_of(path, series="Prüfstand", **options)
    assert read.tolist() == table[["Druck", "Temp"]].to_numpy().tolist()


def test_what_a_file_needs_is_said_in_words_that_a_shell_and_hydra_read(tmp_path: Path) -> None:
    content = of_engines().to_csv(index=False, sep=";", decimal=",", lineterminator="\r\n")
    path, options = write_file(tmp_path, "a.csv", content.encode("cp1252")), dict[str, Any]()
    message = refusal(path)
    assert "line 1 is not utf-8 text" in message and "by which it has 'Prüfstand;D" in message
    for _ in range(4):
        words = [word for word in shlex.split(message) if word.startswith("data.")]
        for word in words:
            word = word.rstrip(",:")
            override = OverridesParser.create().parse_override(word)
            options[override.key_or_group.removeprefix("data.")] = override.value()
        if options.keys() == GERMAN.keys():
            break
        message = refusal(path, **options)
    assert options == GERMAN
    assert len(values_of(path, series="Prüfstand", **options)) == 40


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"Pr\xfc;x\n", {"encoding": "utf-16"}, "line 1 is not utf-16 text"),
        (b"\xff\xfea\x00,\x00", {}, "set data.encoding=utf-16, or save it as utf-8"),
        (b"a;b\n", {"separator": ";;"}, "data.separator=;;: give one character, such as 'data.s"),
        (b"sep=;\na;b\n1;2\n", {}, "remove its first line, sep=;, and set 'data.separator=\";\"'"),
        (b"1;2;3,5\n2;3;4,5\n", {"columns": [*"pqr"]}, "is separated by ';', not by ','"),
        (b"a|b\n1|2\n", {}, "is separated by '|', not by ',': set 'data.separator=\"|\"'"),
        (b"Test 3\n\na,b\n1,2\n1,3\n1,4\n", {}, "its first line has 1 of 2 fields: remove what"),
        (b"1,-.5\n2,.4\n1,.3\n", {}, "its first line holds numbers: set data.columns"),
        (b'a,b\n"0,5","1,5"\n"0,5","2,5"\n', {}, "a holds numbers such as '0,5': set 'data.decim"),
    ],
)
def test_a_file_that_is_written_otherwise_is_refused(
    tmp_path: Path, content: bytes, options: dict[str, Any], message: str
) -> None:
    assert message in refusal(write_file(tmp_path, "a.csv", content), **options)


def test_fields_that_only_look_otherwise_are_read(tmp_path: Path) -> None:
    increasing = write_file(tmp_path, "a.csv", "400.5,401,label\n1,2,a\n2,3,b\n")
    assert len(Tables().read(increasing)) == 2
    wavelengths = write_file(tmp_path, "a.csv", "400.5,401.5\n1,2\n2,3\n")
    assert Tables().read(wavelengths).table.column_names == ["400.5", "401.5"]
    texts = write_file(tmp_path, "a.csv", 'text;label\nso;so\n"a;b";c\n')
    assert Tables().read(texts, ["text;label"]).table.column_names == ["text;label"]
    commas = write_file(tmp_path, "a.csv", 'x,place\n0.5,"1,5"\n1.5,"2,5"\n')
    assert len(Tables().read(commas, texts=[])) == 2


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("0,26", "train with 'data.decimal=\",\"'"),
        ("1,234", "train with 'data.decimal=\",\"' if it is 1.234, or write 1234"),
        ("1,234.5", "write numbers without separators of thousands, such as 1234.5"),
        ("-1.234,5", "write numbers without separators of thousands, such as -1234.5"),
        ("1 234 567", "write numbers without separators of thousands, such as 1234567"),
        ("1'234", "write numbers without separators of thousands, such as 1234"),
        ("0.26 °C", "write numbers without their unit"),
        ("err", "if it stands for nothing, train with 'data.na_values=[err]'"),
        ("?", "if it stands for nothing, train with 'data.na_values=[\"?\"]'"),
        ("x" * 30, "correct it, or leave it empty"),
    ],
)
def test_a_text_among_numbers_says_what_to_do(tmp_path: Path, text: str, cure: str) -> None:
    assert cure_of(text) == cure
    rows = "".join(f's{row},{row}.5,"{text if row == 6 else row}"\n' for row in range(9))
    message = refusal(write_file(tmp_path, "a.csv", f"Prüfstand,y,x\n{rows}"), label_column="y")
    assert f"row 7 has {text!r} as 'x', which is not a finite number: {cure}" in message


def test_a_point_among_decimal_commas_is_no_fraction(tmp_path: Path) -> None:
    for text in ("1.234", "1.234,5"):
        rows = "".join(f"s{row // 2};{row},5;a\n" for row in range(9)) + f"s9;{text};b\n"
        message = refusal(
            write_file(tmp_path, "a.csv", f"Prüfstand;x;label\n{rows}"), separator=";", decimal=","
        )
        assert f"row 10 has {text!r} as 'x'" in message and "without separators of thous" in message


def test_decimal_commas_count_wherever_numbers_are_read(tmp_path: Path) -> None:
    rows = "".join(f"text {row};{row},5;0,{row + 1};1.1\n" for row in range(20))
    path = write_file(tmp_path, "a.csv", f"text;score;weight;label\n{rows}")
    options: dict[str, Any] = {"separator": ";", "decimal": ",", "weight_column": "weight"}
    data = Text(path, value_columns=["score"], **options)
    rows_read = [*data.read_file(path)]
    assert rows_read[3][:2] == ("text 3", [3.5]) and rows_read[3][2]["weight"] == 0.4
    frame = pd.DataFrame({"s": list("aabb"), "x": ["0,5", "1,5", "1e-3", None], "label": "a"})
    assert values_of(frame, series="s", decimal=",", missing="mark", inputs=["x"])[
        :3, 0
    ].tolist() == [
        0.5,
        1.5,
        0.001,
    ]


def test_columns_that_a_file_names_itself_are_not_named_again(tmp_path: Path) -> None:
    rows = "good,pos\nbad,neg\n" * 5
    with pytest.raises(UserError, match="its first line, Text,label, looks like names of columns"):
        Text(
            write_file(tmp_path, "a.csv", f"Text,label\n{rows}"), columns=["text", "label"]
        ).setup()
    numbers = "a,0.5\nb,0.6\n" * 5
    message = refusal(write_file(tmp_path, "a.csv", f"id,val\n{numbers}"), columns=["s", "x"])
    assert "its first line, id,val, looks like names of columns: leave data.columns out" in message
    # Half of the names are enough, as of a text and an id that the file calls otherwise.
    with pytest.raises(UserError, match="its first line, text,no, looks like names of columns"):
        Tables(columns=["text", "id"]).read(write_file(tmp_path, "a.csv", "text,no\na,b\nc,d\n"))
    assert len(Tables(columns=["s", "x"]).read(write_file(tmp_path, "a.csv", numbers))) == 10


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("a.npz", 'read its arrays in Python: train(config, data={"train": (X, y)})'),
        ("a.npy", 'read its arrays in Python: train(config, data={"train": (X, y)})'),
        ("a.xlsx", "pandas.read_excel('a.xlsx').to_parquet('a.parquet')"),
        ("a.feather", "pandas.read_feather('a.feather').to_parquet('a.parquet')"),
        ("a.csv.gz", "unpack it, or write it as a table: pandas.read_csv('a.csv.gz')"),
        ("a.zip", "unpack it, or write it as a table: pandas.read_csv('a.zip')"),
        ("a.dat", "unknown ending '.dat': choose one of .csv, .json"),
        ("recordings", "a folder: write a table with a row for each of its files, and set data.fi"),
    ],
)
def test_another_file_is_told_which_way_exists(tmp_path: Path, name: str, advice: str) -> None:
    (tmp_path / "recordings").mkdir()
    if name != "recordings":
        write_file(tmp_path, name, b"x")
    message = refusal(str(tmp_path / name))
    assert message.startswith(f"{tmp_path / name}: ") and advice in message


def test_nan_of_json_is_a_gap_and_infinity_is_none(tmp_path: Path) -> None:
    rows = [{"s": f"s{n // 2}", "x": np.nan if n == 3 else n / 2, "label": "a"} for n in range(8)]
    path = write_file(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))
    values = values_of(path, series="s", missing="mark")[:, 0]
    assert np.array_equal(values, [row["x"] for row in rows], equal_nan=True)
    lists = '{"x": [1.5, NaN, 2], "label": "a"}\n{"x": [1, 2, 3], "label": "b"}'
    values = values_of(write_file(tmp_path, "b.jsonl", lists), missing="mark")
    assert np.isnan(values[1, 0]) and np.isnan(values).sum() == 1
    rows[3]["x"] = np.inf
    infinite = write_file(tmp_path, "c.jsonl", "\n".join(map(json.dumps, rows)))
    with pytest.raises(UserError, match="row 4 has 'Infinity' as 'x', which is not a finite n"):
        values_of(infinite, series="s")


# ---------------------------------------------------------------- what stands for nothing


def with_sentinels() -> tuple[pd.DataFrame, np.ndarray]:
    """A table with -99 and `err` in it, and the values of its two channels."""
    frame = pd.DataFrame({"s": np.repeat([*"abcd"], 3), "x": np.arange(12) / 2, "y": 0.5})
    frame["label"] = np.repeat(["a", "-99"] * 2, 3)
    values = frame[["x", "y"]].to_numpy().copy()
    values[[2, 7], [0, 1]] = np.nan
    frame.loc[2, "x"], frame.loc[7, "y"] = -99, -99
    return frame, values


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet", "memory", "lists", "wide"])
def test_values_that_stand_for_nothing_are_gaps_in_every_format(
    tmp_path: Path, ending: str
) -> None:
    frame, expected = with_sentinels()
    path, options = tmp_path / f"a.{ending}", {"series": "s", "missing": "mark"}
    if ending == "csv":
        frame.astype({"x": object}).replace({"x": {-99: "-99.00"}}).to_csv(path, index=False)
    elif ending == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    elif ending == "parquet":
        frame.astype({"x": np.float32}).to_parquet(path)
    elif ending == "lists":
        frame = frame.groupby("s").agg({"x": list, "y": list, "label": "first"}).reset_index()
    elif ending == "wide":
        frame["step"] = [0, 1, 2] * 4
        frame = frame.pivot(index=["s", "label"], columns="step").reset_index()
        frame.columns = [f"{name}{step}" for name, step in frame.columns]
        frame = frame.sort_values("s")
        options["steps"] = ["x", "y"]
    given = str(path) if path.exists() else frame
    for na_values in ([-99], ["-99", "?"], {"x": -99, "y": [-99.0, "err"]}, -99):
        read = values_of(given, **options, na_values=na_values)
        if ending == "wide":  # the last step of a series is never a gap of both
            assert read.shape == expected.shape
        assert np.array_equal(read, expected, equal_nan=True), na_values


def test_a_list_is_for_numbers_and_a_name_for_any_column() -> None:
    frame, _ = with_sentinels()
    options: dict[str, Any] = {"series": "s", "missing": "mark"}
    read = SeriesTable(frame, **options, na_values=[-99]).read()["train"]
    assert list(read.targets) == ["a", "-99", "a", "-99"]
    with pytest.raises(UserError, match="row 4 has no 'label': fill it"):
        SeriesTable(frame, **options, na_values={"label": "-99"}).setup()


def test_texts_that_stand_for_nothing_leave_numbers(tmp_path: Path) -> None:
    frame, expected = with_sentinels()
    texts = frame.astype(object).replace({-99: "err"}).assign(label=frame.label)
    path = write_file(tmp_path, "a.csv", texts.to_csv(index=False))
    for na_values in (["err"], {"x": "err", "y": "err"}):
        read = values_of(path, series="s", missing="mark", na_values=na_values)
        assert np.array_equal(read, expected, equal_nan=True)
    table = Tables(na_values=["err"]).read(path, texts=["s", "label"]).table
    assert table.schema.field("x").type == pa.float64()


def test_numbers_of_every_type_of_arrow_are_found() -> None:
    table = pa.table(
        {
            "half": pa.array([-999.9, 1.0], pa.float32()),
            "tiny": pa.array([255, 1], pa.uint8()),
            "whole": pa.array([-99, 1], pa.int64()),
            "none": pa.array([None, None], pa.null()),
            "name": pa.array(["-99", "b"]).dictionary_encode(),
            "lists": pa.array([[-99.0, 1.0], None], pa.list_(pa.float64(), 2)),
        }
    )
    read = with_gaps(table, [-999.9, -99, 255])
    assert read.to_pydict() == {
        "half": [None, 1.0],
        "tiny": [None, 1],
        "whole": [None, 1],
        "none": [None, None],
        "name": [None, "b"],
        "lists": [[None, 1.0], []],
    }


@pytest.mark.parametrize(
    ("number", "same", "others"),
    [
        (
            -99,
            ["-99", "-99.0", " -099. ", "-9.9e1", "-9.900e+01"],
            ["99", "-990", "-99.5", "-9.9e2"],
        ),
        (9999, ["9999", "+9999", "9999.00", "9.999E+03"], ["-9999", "99990", "9.999e-3"]),
        (-2147483648, ["-2147483648", "-2.147483648e+09"], ["-2.14748e+09"]),
        (0, ["0", "-0", "+0.0", "0.00e+00"], ["0.01", "00x"]),
    ],
)
def test_a_number_that_stands_for_nothing_does_so_however_it_is_written(
    number: float, same: list[str], others: list[str]
) -> None:
    assert {*map(float, same)} == {number}
    read = with_gaps(pa.table({"x": [*same, *others]}), number)
    assert read["x"].to_pylist() == [*[None] * len(same), *others]


# ---------------------------------------------------------------- is said


def ordinary(seed: int) -> np.ndarray:
    """A column in which every number is one."""
    random = np.random.default_rng(seed)
    count, scale = int(random.integers(50, 3000)), 10 ** random.uniform(-3, 4)
    columns = [
        random.normal(random.choice([0, 1, 10]) * scale, scale, count),
        random.uniform(0, scale, count),
        random.exponential(scale, count),
        random.lognormal(0, random.uniform(0.2, 3), count),
        random.standard_t(2, count) * scale,
        random.poisson(random.uniform(0.2, 100), count),
        random.negative_binomial(2, 0.05, count),
        random.zipf(2, count),
        random.integers(0, 2, count),
        random.choice([-1, 1], count),
        random.choice([-1, 0, 1], count),
        random.choice([0, 1, 2, 5], count),
        random.integers(1, 6, count),
        random.integers(18, 90, count),
        random.uniform(0, 100, count).round(1),
        np.clip(random.normal(50, 30, count), 0, 99).round(),
        np.maximum(random.normal(0, scale, count), 0),
        np.where(random.random(count) < 0.9, 0, random.normal(5, 1, count)),
        np.where(random.random(count) < 0.3, 0, random.gamma(2, 3, count)),
        np.cumsum(random.normal(size=count)),
        np.full(count, random.choice([0.0, 1.0, 5.0])),
        np.full(count, np.nan),
    ]
    return np.asarray(columns[seed % len(columns)], float)


def planted(seed: int) -> tuple[np.ndarray, float]:
    """A column in which a number that lies apart stands for nothing."""
    random = np.random.default_rng(seed)
    count, number = int(random.integers(100, 3000)), random.choice([-99, -999, -9999, 999, 9999])
    columns = [
        random.normal(20, 8, count).round(1),
        random.uniform(0, random.uniform(0.1, 40), count),
        random.exponential(5, count),
        random.integers(0, 100, count),
        random.integers(1, 6, count),
        random.normal(935, 30, count).clip(850, 1020).round(),
    ]
    values = np.asarray(columns[seed % len(columns)], float)
    if seed % len(columns) == 5:
        number = random.choice([0, -1, -99, 9999])
    where = random.choice(count, int(random.uniform(0.02, 0.5) * count), replace=False)
    values[where] = number
    return values, float(number)


def test_ordinary_columns_are_not_suspected_and_planted_numbers_are_found() -> None:
    assert sum(bool(placeholders(ordinary(seed))) for seed in range(220)) <= 1
    found = [placeholders(values) == [number] for values, number in map(planted, range(200))]
    assert np.mean(found) >= 0.95


def test_what_stands_for_nothing_repeats_and_is_not_most_of_a_column_of_zeros() -> None:
    values = np.linspace(850, 1020, 100)
    suspects = []
    for number, count in ((-99, 2), (-99, 3), (-99, 70), (0, 59), (0, 61)):
        column = values.copy()
        column[:count] = number
        suspects.append(placeholders(column))
    assert suspects == [[], [-99], [-99], [0], []]


def test_the_line_says_how_often_beside_what_and_which_key() -> None:
    random = np.random.default_rng(0)
    pressure = random.uniform(850, 1020, 1000).round()
    pressure[:400], pressure[400] = 0, np.nan
    line = note_of_placeholders(pressure, "pressure", "x.csv")
    assert line == (
        "x.csv: 40 % of pressure are 0, and all others lie between 850 and 1,020: if 0 stands for "
        "nothing, set 'data.na_values={pressure: 0}'"
    )
    pressure[500:520] = -999.9
    line = note_of_placeholders(pressure.astype(np.float32).astype(float), "p [hPa]", "x.csv")
    assert "are 0 and 2 % of p [hPa] are -999.9, and all others" in line
    assert "if 0 and -999.9 stand for nothing, set 'data.na_values=[0,-999.9]'" in line
    pressure[520] = 8.5  # a mistake between 0 and all others
    assert "nearly all others lie between 850 and" in note_of_placeholders(pressure, "p", "x.csv")


def test_a_run_says_it_of_its_training_table_once_a_column() -> None:
    random = np.random.default_rng(0)
    count = 400
    pressure = random.uniform(850, 1020, count)
    pressure[random.random(count) < 0.3] = 0
    frame = pd.DataFrame({"s": np.repeat(np.arange(40), 10), "pressure": pressure})
    frame["wind"] = np.where(random.random(count) < 0.1, -99, random.uniform(10, 160, count))
    frame["label"] = np.repeat(["a", "b"] * 20, 10)
    data = SeriesTable(frame, frame, frame, series="s")
    data.setup()
    said = [note for note in data.notes if "stands for nothing" in note]
    assert [note.split(" % of ")[1].split()[0] for note in said] == ["pressure", "wind"]
    named = SeriesTable(frame, series="s", na_values={"pressure": 0, "wind": -99}, missing="mark")
    named.setup()
    assert not any("stands for nothing" in note for note in named.notes)


def test_a_column_that_na_values_names_must_be_there() -> None:
    frame, _ = with_sentinels()
    message = "data.na_values: data.train in memory has no column 'z': choose one of label, s, x, y"
    with pytest.raises(UserError, match=message):
        SeriesTable(frame, series="s", na_values={"z": 0}).setup()
    texts = [{"text": "a", "label": "b"}]
    with pytest.raises(UserError, match="no column 'lable': choose one of label, text; did you"):
        Text(texts, na_values={"lable": "?"}).setup()


def test_arrays_have_the_same_gaps() -> None:
    frame, expected = with_sentinels()
    data = SeriesTable(frame, series="s", na_values={"x": -99, "y": ["-99"]}, missing="mark")
    data.setup()
    values = frame[["x", "y"]].to_numpy()
    batch = data.batch_of([values])
    assert torch.equal(batch.inputs, data.batch_of([expected]).inputs)
    assert torch.equal(batch.inputs, data.batch_of_steps([values], {}).inputs)
    assert batch.inputs[0, 2, 0] == 0 and frame.x[2] == -99  # the mean of training
