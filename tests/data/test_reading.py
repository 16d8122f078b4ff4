"""What a file says is read as it stands there, or one line names the file, the place and what to
do."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqmodels.data import DataModule, SeriesTable, Text, Values
from seqmodels.data.columns import Columns, Names, texts_of
from seqmodels.data.sources import as_file
from seqmodels.data.tables import Tables
from seqmodels.errors import UserError
from seqmodels.files import read_lines
from tests.make import write_file
from tests.shipped import exported

Pairs = list[tuple[str, str]]


def read_back(given: Any, **options: Any) -> Pairs:
    examples = Text(given, **options).read()["train"]
    return list(zip(examples.inputs, examples.targets))


def texts(path: str, column: str) -> list[Any]:
    return texts_of(Tables().read(path, [column]).table[column].combine_chunks())


# ---------------------------------------------------------------- any text, in any format

# what readers take for something else, and any characters but NUL and halves of pairs
ODD = 'None nan null NA true 007 1.0 1e5 -0 2020-01-02 " "" , ; a,b # \\n [PAD] {} \ufeffx =1+1'
TEXTS = st.one_of(
    st.sampled_from([*ODD.split(" "), " x", "x" * 3000]),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=9),
).filter(str.strip)


def written(rows: Pairs, ending: str, end: str) -> bytes:
    """The rows as a file, in one of the ways in which they are written elsewhere."""
    records = [{"text": text, "more": [{}, None, 1.5], "label": label} for text, label in rows]
    if ending in ("csv", "tsv"):
        made = io.StringIO(newline="")
        writer = csv.writer(made, delimiter="," if ending == "csv" else "\t", lineterminator=end)
        writer.writerows([("text", "label"), *rows])
        return made.getvalue().encode("utf-8-sig" if end == "\r\n" else "utf-8")
    if ending == "parquet":
        sink = io.BytesIO()
        pq.write_table(
            pa.table({"text": [t for t, _ in rows], "label": [x for _, x in rows]}), sink
        )
        return sink.getvalue()
    if ending == "json":
        return json.dumps(records, indent=1).encode()
    return end.join(json.dumps(row, ensure_ascii=False) for row in records).encode()


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "json", "parquet"])
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=9),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_any_text_comes_back(ending: str, tmp_path: Path, rows: Pairs, end: str) -> None:
    if ending in ("csv", "tsv"):  # outside of quotes, a carriage return ends a line
        rows = [(text.replace("\r", "x"), label.replace("\r", "x")) for text, label in rows]
    path = write_file(tmp_path, f"a.{ending}", written(rows, ending, end))
    named = [(text, label.strip()) for text, label in rows]  # blanks are no part of a label
    assert read_back(path, quoting=True) == named


def test_quotes_enclose_fields_in_csv_and_none_in_tsv_and_a_header_may_be_given(
    tmp_path: Path,
) -> None:
    long = "é,\n\n" * 1_000_000 + "."  # a field of megabytes
    fields = f'text,label\n"a, ""b""\nc",x\n"win",y\n"{long}",z\n'
    found = [('a, "b"\nc', "x"), ("win", "y"), (long, "z")]
    assert read_back(write_file(tmp_path, "a.csv", fields)) == found
    bare = write_file(tmp_path, "a.tsv", 'ham\tso "quoted\tx\nspam\t"win\tx\nham\tit""s\tx\n')
    found = read_back(bare, columns=["label", "text", "n"])
    assert found == [('so "quoted', "ham"), ('"win', "spam"), ('it""s', "ham")]


def test_large_files_are_cut_between_rows_and_not_between_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seqmodels.data.separated.BLOCK", 4096)
    rows = [("a\n" * (n % 40) + "b", "x") for n in range(500)]
    content = "text,label\n" + "".join(f'"{text}",{label}\n' for text, label in rows)
    assert read_back(write_file(tmp_path, "a.csv", content)) == rows


def test_values_of_json_and_parquet_are_texts_lists_of_texts_or_missing(tmp_path: Path) -> None:
    values = ["1", '"1"', "1.0", "1e0", "true", '"True"', '"nan"', "-0", "9007199254740993"]
    expected = [*(value.strip('"') for value in values), None]
    rows = "".join(f'{{"a": {value}}}\n' for value in [*values, "null"])
    assert texts(write_file(tmp_path, "a.jsonl", rows), "a") == expected
    lists = '{"a": [1, true, null]}\n{"a": []}\n{"a": null}'
    assert texts(write_file(tmp_path, "b.jsonl", lists), "a") == [["1", "true", None], [], None]
    whole = write_file(tmp_path, "d.jsonl", f"[\n{rows.strip().replace(chr(10), ',')}]")
    assert texts(whole, "a") == expected
    columns = {
        "whole": (pa.array([9007199254740993, None]), ["9007199254740993", None]),
        "logical": (pa.array([True, False]), ["true", "false"]),
        "single": (pa.array([0.1, float("nan")], pa.float32()), ["0.1", None]),
        "named": (pa.array(["x", "y"]).dictionary_encode(), ["x", "y"]),
        "day": (
            pa.array([0, 86400], pa.timestamp("s")),
            [f"1970-01-0{n} 00:00:00" for n in (1, 2)],
        ),
        "list": (pa.array([["x", None], []]), [["x", None], []]),
    }
    table, path = pa.table({name: given for name, (given, _) in columns.items()}), tmp_path / "a"
    pq.write_table(table, path := path.with_suffix(".parquet"))
    for name, (_, wanted) in columns.items():
        assert texts(str(path), name) == wanted


def test_a_class_of_minus_one_is_none(tmp_path: Path) -> None:
    import datasets

    named = datasets.ClassLabel(names=["neg", "pos"])
    features = datasets.Features({"label": named, "tags": [named]})
    rows = {"label": [1, -1, 0], "tags": [[0, -1], [], [1]]}
    datasets.Dataset.from_dict(rows, features).to_parquet(path := str(tmp_path / "a.parquet"))
    assert texts(path, "label") == ["pos", None, "neg"]
    assert texts(path, "tags") == [["neg", None], [], ["pos"]]


def test_rows_in_memory_are_a_file_of_the_cache(tmp_path: Path) -> None:
    rows = [{"text": "a b", "label": 7, "more": None}, {"text": "c", "label": 8, "more": 1}]
    path = as_file(rows, "data.train")
    for table in (rows, path, pa.Table.from_pylist(rows), pd.DataFrame(rows)):
        assert read_back(as_file(table, "data.train")) == [("a b", "7"), ("c", "8")]
    assert as_file(rows, "data.train") == path and Path(path).is_relative_to(tmp_path / "cache")
    with pytest.raises(UserError, match="^data.train: give the path of a file"):
        as_file([("a", "b")], "data.train")


def test_rows_in_memory_may_lack_a_column_and_their_errors_name_the_key() -> None:
    rows = [{"text": "a"}, {"text": "b", "label": "x"}, {"label": "y", "text": "c"}]
    with pytest.raises(UserError, match="^data.train in memory: row 1 has no 'label': fill it"):
        read_back(rows)
    assert read_back([{**rows[0], "label": "x"}, *rows[1:]])[2] == ("c", "y")
    with pytest.raises(UserError, match="from data.train in memory: there are fewer|no class"):
        Text([{"text": "a", "label": "x"}]).setup()


# ---------------------------------------------------------------- mistakes, one line each


NESTED = "row {} has an object or a list in '{}': write a text or a number in its place$"


@pytest.mark.parametrize(
    ("name", "content", "key"),
    [
        ("a.csv", b"", "a.csv has no rows: the file is empty"),
        ("a.parquet", b"", "a.parquet has no rows: the file is empty"),
        ("a.jsonl", b"", "a.jsonl has no rows: the file is empty"),
        ("a.csv", b"text,label\n", "a.csv has no rows"),
        ("a.csv", b"text,label\na,x\nb\n", "Row #3: Expected 2 columns, got 1: b"),
        (
            "a.csv",
            b"text;label\na, b;x\n",
            r"is separated by ';', not by ',': set 'data.separator=\";\"'$",
        ),
        (
            "a.tsv",
            b"text,label\na,x\n",
            r"separated by ',', not by '\\t': set 'data.separator=\",\"'$",
        ),
        ("a.csv", b"text,label\na,x\nb, \n", "row 2 has no 'label': fill it"),
        ("a.csv", b"text,label,text\na,x,b\n", "two columns are called 'text'"),
        ("a.csv", b"txt,label\na,x\n", "no column 'text': set data.text_column; .*mean txt"),
        ("a.csv", b"text,label\na,x\nb,x\nc,x\nd,x\n", "every label is 'x'"),
        ("a.jsonl", b'{"text": "a", "label": [1]}', NESTED.format(1, "label")),
        ("a.jsonl", b'{"text": "a", "label": {"b": 1}}', NESTED.format(1, "label")),
        ("a.jsonl", b'{"text": "a", "label": 1}\n{"text": "b"}', "row 2 has no 'label': fill it"),
        ("a.jsonl", b'{"text": "a", "label": null}', "row 1 has no 'label': fill it"),
        *(
            ("a.jsonl", b'{"text": "a", "label": true}\n' + row, NESTED.format(2, column))
            for row, column in (
                (b'{"text": "b", "label": {"a": 1}}', "label"),
                (b'{"text": "b", "label": []}', "label"),
                (b'{"text": "b", "label": [1]}', "label"),
                (b'{"text": {"b": {"c": []}}, "label": 1}', "text"),
                (b'{"text": ["b"], "label": 1}', "text"),
            )
        ),
        ("a.jsonl", b'{"text": "a"}\n\xff', "line 2 is not utf-8 text"),
        ("a.parquet", b"PAR1 no more", "cannot be read: Parquet magic bytes not found"),
        ("a.xlsx", b"x", r"write it as a table: pandas.read_excel\('a.xlsx'\)"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(
    tmp_path: Path, name: str, content: bytes, key: str
) -> None:
    path = write_file(tmp_path, name, content)
    with pytest.raises(UserError, match=key) as caught:
        Text(path).setup()
    assert path in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("read", "row", "column"),
    [
        ("Pairs", '{"source": "a", "target": {"b": 1}}', "target"),
        ("Pairs", '{"source": "a", "target": [["b"]]}', "target"),
        ("TaggedText", '{"tokens": ["a"], "tags": [{"b": 1}]}', "tags"),
        ("TaggedText", '{"tokens": [["a"]], "tags": ["b"]}', "tokens"),
        (SeriesTable, '{"series": [[1], [2]], "label": {"b": 1}}', "label"),
        (partial(Text, value_columns=["n"]), '{"text": "a", "n": {"b": 1}}', "n"),
        (partial(Text, id="n"), '{"text": "a", "label": "b", "n": {"b": 1}}', "n"),
    ],
)
def test_an_object_where_a_text_or_a_number_belongs_is_refused(
    tmp_path: Path, read: Callable[[str], DataModule] | str, row: str, column: str
) -> None:
    path = write_file(tmp_path, "a.jsonl", row)
    if isinstance(read, str):
        read = exported(read)
    with pytest.raises(UserError, match=NESTED.format(1, column)):
        read(path).setup()


def test_an_object_in_a_column_that_nobody_reads_is_left_out(tmp_path: Path) -> None:
    rows = [f'{{"text": "{n} a", "label": {n % 2}, "n": {{}}}}' for n in range(20)]
    rows[7] = rows[7].replace("{}", '"x"')
    data = Text(write_file(tmp_path, "a.jsonl", "\n".join(rows)))
    assert {*data.read()["train"].targets} == {"0", "1"}


@pytest.mark.parametrize("series", [",".join(f"c{n}" for n in range(900_000)), "c\n" + "1" * 9**8])
def test_a_row_that_is_longer_than_a_block_is_one_line(tmp_path: Path, series: str) -> None:
    path = write_file(tmp_path, "long.csv", f"series,{series}\n")
    with pytest.raises(UserError, match=r"long\.csv: a row is longer than 4 MB: write the tab"):
        SeriesTable(path, series="series").setup()


def test_what_does_not_fit_into_memory_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_file(tmp_path, "large.csv", "text,label\na,x\n")
    data = Text(path)
    monkeypatch.setattr(Names, "texts", property(lambda names: bytes(1 << 60)))
    with pytest.raises(UserError, match=r"large\.csv: there is not enough memory to read it"):
        data.read()


def test_a_line_without_end_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(io.BytesIO):
        def read1(self, size: int | None = -1, /) -> bytes:
            raise MemoryError

    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(Endless()))
    with pytest.raises(UserError, match="standard input: there is not enough memory for line 1"):
        list(read_lines("-"))


def test_the_names_of_columns_are_asked_for_once_however_many_there_are() -> None:
    class Wide:
        times = 0

        @property
        def column_names(self) -> list[str]:
            self.times += 1
            return ["a", "b"]

    table = Wide()
    columns = Columns(cast(Any, table), "wide.csv")
    assert "a" in columns and "b" in columns and "c" not in columns
    columns.check("a", "data.inputs")
    assert table.times == 1


def test_blank_lines_are_no_rows_unless_a_row_is_a_single_value(tmp_path: Path) -> None:
    path = write_file(tmp_path, "a.csv", "text,label\n\na,x\n\nb,y\n\n\n")
    rows = [*Text(path).read_file(path)]
    assert [row[:2] for row in rows] == [("a", "x"), ("b", "y")]
    lines = write_file(tmp_path, "b.csv", "text\na\n\nb\n")
    with pytest.raises(UserError, match="row 2 has no 'text': fill it"):
        [*Text(lines).read_inputs(lines)]


def test_evaluation_refuses_what_training_refuses(tmp_path: Path) -> None:
    rows = "".join(f"word {n},{n}.5\n" for n in range(20))
    data = Text(write_file(tmp_path, "train.csv", "text,label\n" + rows), targets=Values(["score"]))
    data.setup()
    for row, message in (("b,", "row 2 has no 'label': fill it"), ("b,1_0", "row 2 has '1_0'")):
        with pytest.raises(UserError, match=rf"test\.csv: {message}"):
            data.file_loader(write_file(tmp_path, "test.csv", f"text,label\na,1\n{row}\n"))


def test_the_line_of_another_encoding_is_named_and_the_encoding_can_be_given(
    tmp_path: Path,
) -> None:
    lines = [b"text,label", *[b"x" * 50 + b",a"] * 3000]
    lines[2900] = b"caf\xe9,a"  # beyond the first block of the file
    path = write_file(tmp_path, "a.csv", b"\n".join(lines))
    with pytest.raises(UserError, match="line 2901 is not utf-8 text .*data.encoding"):
        read_back(path)
    assert read_back(path, encoding="latin-1")[2899] == ("café", "a")


# ---------------------------------------------------------------- other sources


def test_a_data_set_of_the_hub_has_its_splits_and_the_names_of_its_classes(tmp_path: Path) -> None:
    import datasets

    names = datasets.ClassLabel(names=["neg", "pos"])
    features = datasets.Features({"text": datasets.Value("string"), "label": names})
    for split, labels in (("train", [1, 0, 1]), ("test", [0, 1])):
        rows = {"text": ["some", "more", "texts"][: len(labels)], "label": labels}
        path = tmp_path / "set" / "data" / f"{split}-0.parquet"
        datasets.Dataset.from_dict(rows, features).to_parquet(path)
    found = Text(hub=str(tmp_path / "set")).read()
    assert list(found["train"].targets) == ["pos", "neg", "pos"]
    assert list(found["test"].targets) == ["neg", "pos"]
    with pytest.raises(UserError, match="data.hub=.*nowhere "):
        Text(hub=str(tmp_path / "nowhere")).read()


LINES = ["a b", "c\x0bd", "e\x0cf", "g\x1ch", "i\x85j", "k\u2028l", "m\ufeffn", '"o', "p\tq"]


def test_lines_are_the_same_from_a_file_and_from_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for encoding, end in (("utf-8", "\n"), ("utf-8-sig", "\r\n"), ("utf-16", "\n")):
        content = end.join(LINES).encode(encoding)
        path = write_file(tmp_path, "a.txt", content)
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content), "ascii"))
        for source in (path, "-"):
            data = Text(encoding=encoding.removesuffix("-sig"))
            assert [*data.read_inputs(source)] == LINES
