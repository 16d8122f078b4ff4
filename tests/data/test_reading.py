"""What a file says is read as it stands there, or one line names the file, the place and what to
do."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqmodels.data import Classes, Text, Values
from seqmodels.data.sources import as_file
from seqmodels.data.tables import Tables
from seqmodels.errors import UserError
from tests.conftest import Refused

Pairs = list[tuple[str, str]]


def read_back(given: Any, **options: Any) -> Pairs:
    examples = Text(given, **options).read()["train"]
    return list(zip(examples.inputs, examples.targets))


def file(folder: Path, name: str, content: bytes | str) -> str:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(folder / name)


# ---------------------------------------------------------------- any text, in any format


def csv_bytes(pairs: Pairs, end: str, encoding: str, quoting: int) -> bytes:
    made = io.StringIO(newline="")
    writer = csv.writer(made, quoting=quoting, lineterminator=end)  # type: ignore[arg-type]
    writer.writerows([("text", "label"), *pairs])
    return made.getvalue().encode(encoding)


def json_bytes(pairs: Pairs, end: str, ascii_only: bool, one_list: bool) -> bytes:
    rows = [{"text": text, "other": [{}, None, 1.5], "label": label} for text, label in pairs]
    if one_list:
        return json.dumps(rows, ensure_ascii=ascii_only, indent=1).encode()
    return end.join(json.dumps(row, ensure_ascii=ascii_only) for row in rows).encode()


# what readers take for something else, and any characters but NUL and halves of pairs
ODD = [
    "None",
    "nan",
    "NaN",
    "null",
    "NA",
    "true",
    "007",
    "1.0",
    "1e5",
    "-0",
    "2020-01-02",
    '"',
    '""',
]
ANY = st.one_of(
    st.sampled_from(
        [*ODD, ",", ";", "a,b", "#", "\\n", "[PAD]", "{}", "\ufeffx", "=1+1", "x" * 3000]
    ),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=9),
).filter(str.strip)
PAIRS = st.lists(st.tuples(ANY, ANY), min_size=1, max_size=9)
ENDS = st.sampled_from(["\n", "\r\n"])
quickly = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@quickly
@given(PAIRS, ENDS, st.sampled_from(["utf-8", "utf-8-sig"]), st.sampled_from([0, 1]))
def test_any_text_comes_back_from_csv(
    tmp_path: Path, pairs: Pairs, end: str, encoding: str, quoting: int
) -> None:
    # outside of quotes, a carriage return ends a line
    pairs = [
        (text.replace("\r", "") or "a", label.replace("\r", "") or "b") for text, label in pairs
    ]
    pairs = [pair for pair in pairs if pair[0].strip() and pair[1].strip()] or [("a", "b")]
    content = csv_bytes(pairs, end, encoding, quoting)
    assert read_back(file(tmp_path, "a.csv", content)) == pairs


@quickly
@given(PAIRS, ENDS, st.booleans(), st.booleans())
def test_any_text_comes_back_from_json(
    tmp_path: Path, pairs: Pairs, end: str, ascii_only: bool, one_list: bool
) -> None:
    content = json_bytes(pairs, end, ascii_only, one_list)
    assert read_back(file(tmp_path, f"a.{'json' if one_list else 'jsonl'}", content)) == pairs


@quickly
@given(PAIRS, st.booleans())
def test_any_text_comes_back_from_parquet_and_from_memory(
    tmp_path: Path, pairs: Pairs, coded: bool
) -> None:
    table = pa.table({name: list(v) for name, v in zip(("text", "label"), zip(*pairs))})
    if coded:
        table = table.set_column(1, "label", table["label"].dictionary_encode())
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=3)
    assert read_back(str(tmp_path / "a.parquet")) == read_back(table) == pairs


@pytest.mark.parametrize("separator", [",", "\t"])
def test_texts_and_labels_are_read_as_they_stand(tmp_path: Path, separator: str) -> None:
    name = "a.csv" if separator == "," else "a.tsv"
    rows = ["text,label,n", "None,007,1", "12,7,2", "é ,x y,3"]
    path = file(tmp_path, name, "\n".join(rows).replace(",", separator))
    assert read_back(path) == [("None", "007"), ("12", "7"), ("é ", "x y")]
    bare = file(tmp_path, f"b{name}", "\n".join(rows[1:]).replace(",", separator))
    assert read_back(bare, columns=["text", "label", "n"]) == read_back(path)


def test_quotes_enclose_fields_in_csv_and_none_in_tsv(tmp_path: Path) -> None:
    fields = 'text,label\n"a, ""b""\nc",x\n"win",y\n'
    assert read_back(file(tmp_path, "a.csv", fields)) == [('a, "b"\nc', "x"), ("win", "y")]
    bare = file(tmp_path, "a.tsv", 'ham\tso "quoted\nspam\t"win\nham\tit""s\n')
    columns = ["label", "text"]
    assert [text for text, _ in read_back(bare, columns=columns)] == ['so "quoted', '"win', 'it""s']
    quoted = file(tmp_path, "b.tsv", 'text\tlabel\n"a\tb"\tx\n')
    assert read_back(quoted, quoting=True) == [("a\tb", "x")]


def test_numbers_of_json_stand_as_in_the_file(tmp_path: Path) -> None:
    big = "9007199254740993"
    values = ["1", '"1"', "1.0", "1e0", "true", '"True"', '"nan"', "-0", big]
    rows = "".join(f'{{"text": "x", "label": {value}}}\n' for value in values)
    found = [label for _, label in read_back(file(tmp_path, "a.jsonl", rows))]
    assert found == [value.strip('"') for value in values]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([9007199254740993, -1]), ["9007199254740993", "-1"]),
        (pa.array([True, False]), ["true", "false"]),
        (pa.array([1.5, 0.1]), ["1.5", "0.1"]),
        (pa.array([0.1, 2.5], pa.float32()), ["0.1", "2.5"]),
        (pa.array([1, 2]).dictionary_encode(), ["1", "2"]),
        (pa.array(["nan", "null"]), ["nan", "null"]),
        (pa.array([0, 86400], pa.timestamp("s")), ["1970-01-01 00:00:00", "1970-01-02 00:00:00"]),
    ],
    ids=str,
)
def test_values_of_parquet_are_texts(tmp_path: Path, column: pa.Array, expected: list[str]) -> None:
    pq.write_table(pa.table({"text": ["a", "b"], "label": column}), tmp_path / "a.parquet")
    assert [label for _, label in read_back(str(tmp_path / "a.parquet"))] == expected


def test_lists_of_parquet_and_json_are_lists_of_texts(tmp_path: Path) -> None:
    rows = [{"a": ["x", None, "y"]}, {"a": []}, {"a": None}, {"a": ["z"]}]
    for kind in (pa.list_(pa.string()), pa.large_list(pa.string())):
        pq.write_table(
            pa.table({"a": pa.array([r["a"] for r in rows], kind)}), tmp_path / "a.parquet"
        )
        lists = [row.values["a"] for row in Tables().rows(str(tmp_path / "a.parquet"), ["a"])]
        assert lists == [row["a"] for row in rows]
    path = file(tmp_path, "a.jsonl", "\n".join(map(json.dumps, [*rows, {"a": [1, True]}])))
    lists = [row.values["a"] for row in Tables().rows(path, ["a"])]
    assert lists == [*[row["a"] for row in rows], ["1", "true"]]


def test_rows_in_memory_are_a_file_of_the_cache(tmp_path: Path) -> None:
    rows = [{"text": "a b", "label": 7, "more": None}, {"text": "c", "label": 8, "more": 1}]
    frame = pd.DataFrame(rows)
    for table in (frame, rows, frame.to_dict("list"), pa.Table.from_pylist(rows)):
        assert read_back(table) == [("a b", "7"), ("c", "8")]
    path = as_file(rows, "data.train")
    assert as_file(rows, "data.train") == path == as_file(path, "data.train")
    assert as_file(Path(path), "data.train") == path
    assert Path(path).is_relative_to(tmp_path / "cache")
    for wrong in (7, [("a", "b")], {"text": ["a"], "label": ["x", "y"]}, {"text": [1, "a"]}, None):
        with pytest.raises(UserError, match="data.train: give the path of a file, a DataFrame, a "):
            as_file(wrong, "data.train")


# ---------------------------------------------------------------- mistakes, one line each

GOOD = b"text,label\na b,x\nc d,y\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "Empty CSV file"),
        ("a.csv", b"text,label\na,x\nb,c,y\n", r"Expected 2 columns, got 3: b,c,y"),
        ("a.csv", b"text,label\na,x\nb\n", "Row #3: Expected 2 columns, got 1: b"),
        ("a.tsv", b"text\tlabel\na\tb\tx\n", "Expected 2 columns, got 3"),
        ("a.csv", b"text,label\na,x\n\nb,y\n", "the text of row 2 is empty; remove the row or fil"),
        ("a.csv", b"text,label,text\na,x,b\n", "two columns are called 'text'; rename one"),
        ("a.csv", b"text,label\na,x\n\xff,y\n", "line 3 is not utf-8 .*set data.encoding"),
        (
            "a.csv",
            b"txt,label\na,x\n",
            r"row 1 has no column 'text': set data.text_column; .*mean txt",
        ),
        ("a.csv", b"text,label\na,x\nb, \n", "the label of row 2 is empty; remove the row or fill"),
        ("a.jsonl", b'{"text": "a", "label": [1]}', "the label of row 1 is not a text; convert it"),
        ("a.jsonl", b'{"text": {"b": 1}, "label": 1}', "the text of row 1 is not a text; convert"),
        ("a.jsonl", b'{"text": "a", "label": null}', "the label of row 1 is empty"),
        ("a.jsonl", b'{"text": "\\ud800", "label": 1}', "after row 0: .*surrogates not allowed"),
        (
            "a.jsonl",
            b'{"text": "a", "label": 1}\n"b"\n',
            "after row 1: b is not a JSON object, such",
        ),
        ("a.jsonl", b'{"text": "a", "label": 1}{"text": "b"}', "after row 0: Extra data"),
        ("a.jsonl", b'{"text": "a", "label": 1}\n{"text": "b"}', "row 2 has no column 'label'"),
        (
            "a.jsonl",
            b'{"text": "a", "label": 1}\n\xff',
            "line 2 is not utf-8 text .*; save it as ut",
        ),
        ("a.jsonl", b"[" * 100_000, "cannot be read after row 0"),
        ("a.json", b'[{"text": "a", "label": 1} {"text": "b"}]', "Expecting ',' delimiter"),
        ("a.parquet", b"PAR1 no more", "a.parquet cannot be read after row 0: "),
        ("a.txt", b"a b\n", "a.txt: row 1 has no column 'label': set data.label_column; "),
        ("a.xlsx", b"x", "unknown ending '.xlsx': choose one of .csv, "),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = file(tmp_path, name, content)
    with pytest.raises(UserError, match=message) as caught:
        Text(path).setup()
    assert path in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([[1], [2]]), "the label of row 1 is not a text; convert it"),
        (pa.array([b"a", b"\xff"]), "cannot be read after row 0: .*UTF8"),
        (pa.array([{"a": 1}, {"a": 2}]), "cannot be read after row 0: .*struct"),
        (pa.array(["a", None]), "the label of row 2 is empty"),
        (pa.array([1.5, float("nan")]), "the label of row 2 is empty"),
    ],
    ids=str,
)
def test_parquet_columns_that_hold_no_labels_are_refused(
    tmp_path: Path, column: pa.Array, message: str
) -> None:
    pq.write_table(pa.table({"text": ["a", "b"], "label": column}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=rf"a\.parquet.*{message}"):
        Text(str(tmp_path / "a.parquet")).read()


def test_a_mistake_in_a_file_ends_a_script_with_one_line(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "a.csv").write_text("text,label\na,x\nb,c,y\n")
    line = refused("train.py", "data=text", "data.train=a.csv", "trainer=cpu")
    assert line.startswith("error: a.csv cannot be read after row 0: CSV parse error: ")


@given(st.sampled_from(["csv", "tsv", "jsonl", "json", "parquet"]), st.binary(max_size=200))
@quickly
def test_any_bytes_are_read_or_refused_in_one_line(
    tmp_path: Path, ending: str, content: bytes
) -> None:
    good = GOOD if ending in ("csv", "tsv") else b'{"text": "a", "label": "b"}\n'
    for each in (content, good + content):
        try:
            read_back(file(tmp_path, f"a.{ending}", each))
        except UserError as error:
            assert "\n" not in str(error)


# ---------------------------------------------------------------- labels


def test_the_order_of_classes_does_not_depend_on_the_order_of_sets() -> None:
    numbers = [str(number) for number in range(40)]
    for seed in range(20):  # nan is neither less nor more than a number
        labels = ["nan", "NaN", "inf", "b", *numbers]
        random.Random(seed).shuffle(labels)
        classes = Classes()
        classes.fit(labels, "x")
        assert list(classes.names) == [*numbers, "inf", "NaN", "b", "nan"]


def test_a_data_set_of_the_hub_has_its_splits_and_the_names_of_its_classes(tmp_path: Path) -> None:
    import datasets

    names = datasets.ClassLabel(names=["neg", "pos"])
    features = datasets.Features({"text": datasets.Value("string"), "label": names})
    folder = tmp_path / "set"
    (folder / "data").mkdir(parents=True)
    for split, labels in (("train", [1, 0, 1]), ("test", [0, -1])):
        rows = {"text": [f"{split} {n}" for n in range(len(labels))], "label": labels}
        data = datasets.Dataset.from_dict(rows, features)
        data.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    expected = [("train 0", "pos"), ("train 1", "neg"), ("train 2", "pos")]
    assert read_back(str(folder / "data" / "train-00000-of-00001.parquet")) == expected
    with pytest.raises(UserError, match="label of row 2 is empty"):
        Text(hub=str(folder)).read()
    (folder / "data" / "test-00000-of-00001.parquet").unlink()
    assert [*Text(hub=str(folder)).read()] == ["train"]
    assert list(Text(hub=str(folder)).read()["train"].targets) == ["pos", "neg", "pos"]
    (folder / "data" / "train-00000-of-00001.parquet").rename(folder / "data" / "test-0.parquet")
    with pytest.raises(UserError, match=r"data.hub=.*has no train split, only test"):
        Text(hub=str(folder)).read()
    with pytest.raises(UserError, match="data.hub=.*nowhere "):
        Text(hub=str(tmp_path / "nowhere")).read()


def test_evaluation_refuses_the_empty_labels_that_training_refuses(tmp_path: Path) -> None:
    rows = "".join(f"word {n},{n}.5\n" for n in range(20))
    data = Text(file(tmp_path, "train.csv", "text,label\n" + rows), targets=Values(["score"]))
    data.setup()
    with pytest.raises(UserError, match=r"test\.csv: the label of row 2 is empty"):
        data.file_loader(file(tmp_path, "test.csv", "text,label\na,1\nb,\n"))
    with pytest.raises(UserError, match=r"test\.csv: row 1 has '1_000' as 'score', which is not a"):
        data.file_loader(file(tmp_path, "test.csv", "text,label\na,1_000\n"))


# ---------------------------------------------------------------- lines and paths

LINES = ["a b", "c\x0bd", "e\x0cf", "g\x1ch", "i\x85j", "k\u2028l", "m\ufeffn", '"o', "p\tq"]


def test_lines_are_the_same_from_a_file_and_from_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for encoding, end in (
        ("utf-8", "\n"),
        ("utf-8-sig", "\r\n"),
        ("utf-16", "\n"),
        ("utf-8", "\r"),
    ):
        content = end.join(LINES).encode(encoding)
        path = file(tmp_path, "a.txt", content)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), "ascii"))
        for source in (path, "-"):
            data = Text(encoding=encoding.removesuffix("-sig"))
            assert [*data.read_inputs(source)] == LINES
        assert not sys.stdin.closed


def test_lines_of_standard_input_are_read_as_soon_as_they_are_there() -> None:
    code = (
        "from seqmodels.files import read_lines\n"
        "for line in read_lines('-'): print(line.upper(), flush=True)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        for line in ("a", "b"):
            process.stdin.write(f"{line}\n")
            process.stdin.flush()
            assert process.stdout.readline() == f"{line.upper()}\n"


def test_the_line_that_is_no_text_is_named_however_far_it_is(tmp_path: Path) -> None:
    lines = [b"x" * 50] * 3000
    for number in (1, 700, 2999):
        broken = [*lines[: number - 1], b"caf\xe9", *lines[number:]]
        path = file(tmp_path, "a.txt", b"\n".join(broken))
        with pytest.raises(UserError, match=f"line {number} is not utf-8 text .*save it as utf-8"):
            [*Text().read_inputs(path)]
        csv = file(tmp_path, "a.csv", b"text,label\n" + b"\n".join(b"%b,a" % b for b in broken))
        with pytest.raises(UserError, match=f"line {number + 1} is not utf-8 text"):
            read_back(csv)
        assert read_back(csv, encoding="latin-1")[number - 1] == ("café", "a")


def test_an_encoding_is_advised_only_where_there_is_one_to_set(tmp_path: Path) -> None:
    for name, advised in (("a.txt", True), ("a.jsonl", False)):  # JSON is always UTF-8
        path = file(tmp_path, name, b'{"text": "caf\xe9"}')
        with pytest.raises(UserError, match="save it as utf-8") as caught:
            [*Text().read_inputs(path)]
        assert ("data.encoding" in str(caught.value)) == advised


def test_a_field_of_megabytes_is_read(tmp_path: Path) -> None:
    pairs = [("é" * 3_000_000, "a"), ("x,\n\n" * 1_000_000 + ".", "b")]
    assert read_back(file(tmp_path, "a.csv", csv_bytes(pairs, "\n", "utf-8", 0))) == pairs


def test_brackets_and_wildcards_in_a_name_are_part_of_it(tmp_path: Path) -> None:
    for name, text in (("train1", "wrong"), ("train[1]", "right"), ("train*", "star")):
        file(tmp_path, f"{name}.csv", f"text,label\n{text},a\n")
    assert read_back(str(tmp_path / "train[1].csv")) == [("right", "a")]
    assert read_back(str(tmp_path / "train*.csv")) == [("star", "a")]


def test_what_is_not_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    file(tmp_path, "train.csv", GOOD)
    os.mkfifo(tmp_path / "pipe.csv")
    for name, message in (
        ("folder.csv", "folder.csv: no such file, but a folder: name a file in it"),
        ("pipe.csv", "pipe.csv: no such file"),
        ("trian.csv", "trian.csv: no such file; did you mean train.csv?"),
        ("x" * 300 + ".csv", "no such file"),
        ("nul\0.csv", "no such file"),
    ):
        with pytest.raises(UserError, match=message):
            read_back(str(tmp_path / name))


def test_what_is_not_an_encoding_is_refused(tmp_path: Path) -> None:
    for path in (file(tmp_path, "a.csv", GOOD), file(tmp_path, "a.txt", b"a")):
        with pytest.raises(UserError, match="latin-99"):
            [*Text(encoding="latin-99").read_inputs(path)]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_a_file_without_labels_can_be_predicted_and_not_evaluated(
    tmp_path: Path, name: str, reviews: Path
) -> None:
    write: dict[str, Callable[[pd.DataFrame], object]] = {
        "a.csv": lambda f: f.to_csv(tmp_path / name, index=False),
        "a.jsonl": lambda f: f.to_json(tmp_path / name, orient="records", lines=True),
        "a.parquet": lambda f: f.to_parquet(tmp_path / name),
    }
    write[name](pd.DataFrame({"id": [1, 2], "text": ["a b", "c"]}))
    data = Text(str(reviews))
    data.setup()
    assert [*data.read_inputs(str(tmp_path / name))] == ["a b", "c"]
    with pytest.raises(
        UserError, match="no column 'label': set data.label_column; choose one of id"
    ):
        data.file_loader(str(tmp_path / name))
