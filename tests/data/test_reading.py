"""What a file says is read as it stands there, or one line names the file, the place and what to
do."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqmodels.data import Text, Values
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

# what readers take for something else, and any characters but NUL and halves of pairs
ODD = 'None nan null NA true 007 1.0 1e5 -0 2020-01-02 " "" , ; a,b # \\n [PAD] {} \ufeffx =1+1'
TEXTS = st.one_of(
    st.sampled_from([*ODD.split(" "), " x", "x" * 3000]),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=9),
).filter(str.strip)
quickly = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
endings = pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "json", "parquet"])


def written(rows: Pairs, ending: str, choose: Any) -> bytes:
    """The rows as a file, in one of the ways in which they are written elsewhere."""
    records = [{"text": text, "more": [{}, None, 1.5], "label": label} for text, label in rows]
    end = choose(st.sampled_from(["\n", "\r\n"]))
    if ending in ("csv", "tsv"):
        made, separator = io.StringIO(newline=""), "," if ending == "csv" else "\t"
        quoting = choose(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
        writer = csv.writer(made, delimiter=separator, quoting=quoting, lineterminator=end)
        writer.writerows([("text", "label"), *rows])
        return made.getvalue().encode(choose(st.sampled_from(["utf-8", "utf-8-sig"])))
    if ending == "parquet":
        table, sink = pa.Table.from_pylist([{**row, "more": 1} for row in records]), io.BytesIO()
        if choose(st.booleans()):
            table = table.set_column(0, "text", table["text"].dictionary_encode())
        pq.write_table(table, sink, row_group_size=3)
        return sink.getvalue()
    ascii_only = choose(st.booleans())
    if ending == "json":
        return json.dumps(records, ensure_ascii=ascii_only, indent=1).encode()
    return end.join(json.dumps(row, ensure_ascii=ascii_only) for row in records).encode()


@endings
@quickly
@given(rows=st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=9), data=st.data())
def test_any_text_comes_back(ending: str, tmp_path: Path, rows: Pairs, data: Any) -> None:
    if ending in ("csv", "tsv"):  # outside of quotes, a carriage return ends a line
        rows = [(text.replace("\r", "x"), label.replace("\r", "x")) for text, label in rows]
    path = file(tmp_path, f"a.{ending}", written(rows, ending, data.draw))
    assert read_back(path, quoting=True) == rows


@endings
@quickly
@given(content=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_in_one_line(
    ending: str, tmp_path: Path, content: bytes
) -> None:
    table = ending in ("csv", "tsv")
    good = b"text,label\na b,x\n" if table else b'{"text": "a", "label": "b"}\n'
    for each in (content, good + content):
        try:
            read_back(file(tmp_path, f"a.{ending}", each))
        except UserError as error:
            assert "\n" not in str(error)


def test_quotes_enclose_fields_in_csv_and_none_in_tsv_and_a_header_may_be_given(
    tmp_path: Path,
) -> None:
    long = "é,\n\n" * 1_000_000 + "."  # a field of megabytes
    fields = f'text,label\n"a, ""b""\nc",x\n"win",y\n"{long}",z\n'
    found = [('a, "b"\nc', "x"), ("win", "y"), (long, "z")]
    assert read_back(file(tmp_path, "a.csv", fields)) == found
    bare = file(tmp_path, "a.tsv", 'ham\tso "quoted\tx\nspam\t"win\tx\nham\tit""s\tx\n')
    found = read_back(bare, columns=["label", "text", "n"])
    assert found == [('so "quoted', "ham"), ('"win', "spam"), ('it""s', "ham")]


def test_numbers_of_json_stand_as_in_the_file(tmp_path: Path) -> None:
    values = ["1", '"1"', "1.0", "1e0", "true", '"True"', '"nan"', "-0", "9007199254740993"]
    rows = "".join(f'{{"text": "x", "label": {value}}}\n' for value in values)
    found = [label for _, label in read_back(file(tmp_path, "a.jsonl", rows))]
    assert found == [value.strip('"') for value in values]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([9007199254740993, -1]), ["9007199254740993", "-1"]),
        (pa.array([True, False]), ["true", "false"]),
        (pa.array([0.1, 2.5], pa.float32()), ["0.1", "2.5"]),
        (pa.array([1, 2]).dictionary_encode(), ["1", "2"]),
        (pa.array([0, 86400], pa.timestamp("s")), ["1970-01-01 00:00:00", "1970-01-02 00:00:00"]),
        (pa.array([[1], [2]]), "the label of row 1 is not a text"),
        (pa.array([b"a", b"\xff"]), "cannot be read after row 0: .*UTF8"),
        (pa.array(["a", None]), "the label of row 2 is empty"),
        (pa.array([1.5, float("nan")]), "the label of row 2 is empty"),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_values_of_parquet_are_texts_or_refused(
    tmp_path: Path, column: pa.Array, expected: list[str] | str
) -> None:
    path = str(tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": ["a", "b"], "label": column}), path)
    if isinstance(expected, list):
        assert [label for _, label in read_back(path)] == expected
        return
    with pytest.raises(UserError, match=rf"a\.parquet.*{expected}"):
        read_back(path)


def test_lists_of_parquet_and_json_are_lists_of_texts(tmp_path: Path) -> None:
    rows = [{"a": ["x", None, "y"]}, {"a": []}, {"a": None}, {"a": ["z"]}]
    for kind in (pa.list_(pa.string()), pa.large_list(pa.string())):
        column, path = pa.array([row["a"] for row in rows], kind), tmp_path / "a.parquet"
        pq.write_table(pa.table({"a": column}), path)
        assert [row.values for row in Tables().rows(str(path), ["a"])] == rows
    path = file(tmp_path, "a.jsonl", "\n".join(map(json.dumps, [*rows, {"a": [1, True]}])))
    found = [row.values for row in Tables().rows(path, ["a"])]
    assert found == [*rows, {"a": ["1", "true"]}]


def test_rows_in_memory_are_a_file_of_the_cache(tmp_path: Path) -> None:
    rows = [{"text": "a b", "label": 7, "more": None}, {"text": "c", "label": 8, "more": 1}]
    path = as_file(rows, "data.train")
    for table in (rows, path, pa.Table.from_pylist(rows), pd.DataFrame(rows)):
        assert read_back(as_file(table, "data.train")) == [("a b", "7"), ("c", "8")]
    assert as_file(rows, "data.train") == path == as_file(path, "data.train")
    assert Path(path).is_relative_to(tmp_path / "cache")
    for wrong in (7, [("a", "b")], {"text": ["a"], "label": ["x", "y"]}, {"text": [1, "a"]}, None):
        with pytest.raises(UserError, match="^data.train: give the path of a file"):
            as_file(wrong, "data.train")


# ---------------------------------------------------------------- mistakes, one line each


@pytest.mark.parametrize(
    ("name", "content", "key"),
    [
        ("a.csv", b"", "Empty CSV file"),
        ("a.csv", b"text,label\na,x\nb\n", "Row #3: Expected 2 columns, got 1: b"),
        ("a.csv", b"text,label\na,x\n\nb,y\n", "the text of row 2 is empty"),
        ("a.csv", b"text,label\na,x\nb, \n", "the label of row 2 is empty"),
        ("a.csv", b"text,label,text\na,x,b\n", "two columns are called 'text'"),
        ("a.csv", b"txt,label\na,x\n", "no column 'text': set data.text_column; .*mean txt"),
        ("a.csv", b"text,label\na,x\nb,x\nc,x\nd,x\n", "every label is 'x'"),
        ("a.jsonl", b'{"text": "a", "label": [1]}', "the label of row 1 is not a text"),
        ("a.jsonl", b'{"text": "\\ud800", "label": 1}', "after row 0: .*surrogates"),
        ("a.jsonl", b'{"text": "a", "label": 1}\n"b"\n', "after row 1: b is not a JSON object"),
        ("a.jsonl", b'{"text": "a", "label": 1}\n{"text": "b"}', "row 2 has no column 'label'"),
        ("a.jsonl", b'{"text": "a"}\n\xff', r"line 2 is not utf-8 text \([^;]*\); save"),
        ("a.jsonl", b"[" * 100_000, "after row 0"),
        ("a.json", b'[{"text": "a", "label": 1} {"text": "b"}]', "Expecting ',' delimiter"),
        ("a.parquet", b"PAR1 no more", "after row 0: "),
        ("a.xlsx", b"x", "unknown ending '.xlsx': choose one of .csv, "),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(
    tmp_path: Path, name: str, content: bytes, key: str
) -> None:
    path = file(tmp_path, name, content)
    with pytest.raises(UserError, match=key) as caught:
        Text(path).setup()
    assert path in str(caught.value) and "\n" not in str(caught.value)


def test_a_mistake_in_a_file_ends_a_script_with_one_line(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "a.csv").write_text("text,label\na,x\nb,c,y\n")
    line = refused("train.py", "data=text", "data.train=a.csv", "trainer=cpu")
    assert line.startswith("error: a.csv cannot be read after row 0: CSV parse error: ")


def test_evaluation_refuses_what_training_refuses(tmp_path: Path) -> None:
    rows = "".join(f"word {n},{n}.5\n" for n in range(20))
    data = Text(file(tmp_path, "train.csv", "text,label\n" + rows), targets=Values(["score"]))
    data.setup()
    for row, message in (("b,", "the label of row 2 is empty"), ("b,1_0", "row 2 has '1_0'")):
        with pytest.raises(UserError, match=rf"test\.csv: {message}"):
            data.file_loader(file(tmp_path, "test.csv", f"text,label\na,1\n{row}\n"))


def test_the_line_that_is_no_text_is_named_however_far_it_is(tmp_path: Path) -> None:
    for number in (1, 700, 2999):
        lines = [b"x" * 50] * 3000
        lines[number - 1] = b"caf\xe9"
        path = file(tmp_path, "a.txt", b"\n".join(lines))
        with pytest.raises(UserError, match=f"line {number} is not utf-8 text .*data.encoding"):
            [*Text().read_inputs(path)]
        table = file(tmp_path, "a.csv", b"text,label\n" + b"\n".join(b"%b,a" % b for b in lines))
        with pytest.raises(UserError, match=f"line {number + 1} is not utf-8 text"):
            read_back(table)
        assert read_back(table, encoding="latin-1")[number - 1] == ("café", "a")
    with pytest.raises(UserError, match="latin-99"):
        read_back(table, encoding="latin-99")


def test_what_is_not_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    file(tmp_path, "train.csv", "text,label\na,x\n")
    os.mkfifo(tmp_path / "pipe.csv")
    for name, message in (
        ("folder.csv", "folder.csv: no such file, but a folder"),
        ("pipe.csv", "pipe.csv: no such file"),
        ("trian.csv", "trian.csv: no such file; did you mean train.csv?"),
        ("x" * 300 + ".csv", "no such file"),
        ("nul\0.csv", "no such file"),
    ):
        with pytest.raises(UserError, match=message):
            read_back(str(tmp_path / name))
    with pytest.raises(UserError, match="data.train=<file> or data.hub=<name>"):
        Text().setup()
    for name in ("train1", "train[1]", "train*"):  # no wildcards
        file(tmp_path, f"{name}.csv", f"text,label\n{name},a\n")
        assert read_back(str(tmp_path / f"{name}.csv")) == [(name, "a")]


# ---------------------------------------------------------------- other sources


def test_a_data_set_of_the_hub_has_its_splits_and_the_names_of_its_classes(tmp_path: Path) -> None:
    import datasets

    names = datasets.ClassLabel(names=["neg", "pos"])
    features = datasets.Features({"text": datasets.Value("string"), "label": names})
    folder = tmp_path / "set"
    (folder / "data").mkdir(parents=True)
    train, test = (folder / "data" / f"{split}-0.parquet" for split in ("train", "test"))
    for path, labels in ((train, [1, 0, 1]), (test, [0, -1])):
        rows = {"text": ["some", "more", "texts"][: len(labels)], "label": labels}
        datasets.Dataset.from_dict(rows, features).to_parquet(path)
    with pytest.raises(UserError, match="label of row 2 is empty"):
        Text(hub=str(folder)).read()
    test.unlink()
    found = Text(hub=str(folder)).read()
    assert [*found] == ["train"] and list(found["train"].targets) == ["pos", "neg", "pos"]
    train.rename(test)
    with pytest.raises(UserError, match=r"data.hub=.*has no train split, only test"):
        Text(hub=str(folder)).read()
    with pytest.raises(UserError, match="data.hub=.*nowhere "):
        Text(hub=str(tmp_path / "nowhere")).read()


LINES = ["a b", "c\x0bd", "e\x0cf", "g\x1ch", "i\x85j", "k\u2028l", "m\ufeffn", '"o', "p\tq"]


def test_lines_are_the_same_from_a_file_and_from_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = (("utf-8", "\n"), ("utf-8-sig", "\r\n"), ("utf-16", "\n"), ("utf-8", "\r"))
    for encoding, end in ways:
        content = end.join(LINES).encode(encoding)
        path = file(tmp_path, "a.txt", content)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), "ascii"))
        for source in (path, "-"):
            data = Text(encoding=encoding.removesuffix("-sig"))
            assert [*data.read_inputs(source)] == LINES
        assert not sys.stdin.closed
    with pytest.raises(UserError, match=r"a\.txt: the text of row 2 is empty"):
        [*Text().read_inputs(file(tmp_path, "a.txt", "one\n\n"))]


def test_lines_of_standard_input_are_read_as_soon_as_they_are_there() -> None:
    code = "from seqmodels.files import read_lines\n"
    code += "for line in read_lines('-'): print(line.upper(), flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        for line in ("a", "b"):
            process.stdin.write(f"{line}\n")
            process.stdin.flush()
            assert process.stdout.readline() == f"{line.upper()}\n"
