"""Whatever a file says is read exactly, or one line names the file, the place and what to do."""

from __future__ import annotations

import io
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seqmodels.data import UEA, Classes, Text, Values
from seqmodels.data.text_files import TextFiles
from seqmodels.errors import UserError
from tests.data.test_reading_any import csv_bytes, read_back

# ---------------------------------------------------------------- mistakes, one line each

GOOD = b"text,label\na b,x\nc d,y\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "a.csv is empty"),
        ("a.csv", b"text,label\n", "a.csv has no rows"),
        ("a.csv", b"text,label\na,x\nb,c,y\n", r"row 2 has 3 fields, but there are 2 columns \(te"),
        ("a.csv", b"text,label\na,x\nb\n", "row 2 has 1 field.*, but there are 2 columns"),
        (
            "a.csv",
            b"text,label\na,x,1\nb,y,2\n",
            "row 1 has 3 fields.*; put fields that hold commas",
        ),
        ("a.tsv", b"text\tlabel\na\tb\tx\n", "row 1 has 3 fields.*; remove extra tabs"),
        ("a.csv", b"text,label\na,x\n\nb,y\n", "row 2 is a blank line; remove it"),
        ("a.csv", b"text,label,text\na,x,b\n", "two columns are called 'text'; rename one"),
        ("a.csv", b'text,label\n"a,x\nb,y\n', "row 1 is wrongly quoted .*none closes it"),
        ("a.csv", b'text,label\na,x\n"b"c,y\n', "row 2 is wrongly quoted"),
        (
            "a.csv",
            b"text,label\na,x\n\xff,y\n",
            "a.csv cannot be read: line 3 is not utf-8 .*data.enc",
        ),
        ("a.csv", b"text,label\na,x\nb\0,y\n", "line 3 holds a NUL .* set data.encoding"),
        ("a.csv", GOOD.decode().encode("utf-16"), "line 1 is not utf-8 .*set data.encoding"),
        ("a.csv", GOOD.decode().encode("utf-16-le"), "line 1 holds a NUL .* set data.encoding"),
        ("a.csv", b"text,label\na,x\nb, \n", "row 2 has no label; remove it or label it"),
        (
            "a.csv",
            b"# by hand\ntext,label\na,x\n",
            "row 1 has 2 f.*: if line 1 is a comment, remov",
        ),
        ("a.jsonl", b'{"text": "a", "label": [1]}', "the label of row 1 is a list; convert it"),
        ("a.jsonl", b'{"text": {"b": 1}, "label": 1}', "the text of row 1 is an object; convert"),
        (
            "a.jsonl",
            b'{"text": "a", "label": NaN}',
            "line 1 is not JSON .NaN is not a JSON value; wr",
        ),
        ("a.jsonl", b'{"text": "a", "label": null}', "row 1 has no label"),
        (
            "a.jsonl",
            b'{"text": "a", "label": 1, "label": 2}',
            "line 1 .*key 'label' stands there tw",
        ),
        ("a.jsonl", b'{"text": "\\ud800", "label": 1}', "text of row 1 holds half of a surrogate"),
        ("a.jsonl", b'{"text": "a", "label": 1}\n"b"\n', "line 2 is not a JSON object, such as"),
        ("a.jsonl", b'{"text": "a", "label": 1}{"text": "b"}', "line 1 is not JSON .Extra data at"),
        ("a.jsonl", b'{"text": "a", "label": 1}\n{"text": "b"}', "row 2 has no column 'label'"),
        ("a.jsonl", b"\xff", "line 1 is not utf-8 text .*; save it as utf-8"),
        ("a.jsonl", b"[" * 100_000, "a.jsonl: row 1 is not JSON"),
        (
            "a.json",
            b'[{"text": "a", "label": 1} {"text": "b"}]',
            "a comma or a closing ] is missing",
        ),
        ("a.json", b'[{"text": "a", "label": 1}', "a comma or a closing ] is missing after row 1"),
        ("a.json", b'[{"text": "a", "label": 1}] []', "there is text after the closing ]"),
        ("a.json", b'[{"text": "a", "label": 1},]', "row 2 is not JSON"),
        ("a.parquet", b"PAR1 no more", "a.parquet cannot be read: "),
    ],
)
def test_what_cannot_be_read_exactly_is_refused_in_one_line(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        Text(str(path)).setup()
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([[1], [2]]), "column 'label' holds values of type list"),
        (pa.array([b"a", b"b"]), "column 'label' holds values of type binary"),
        (pa.array([0, 1], pa.timestamp("s")), "column 'label' holds values of type timestamp"),
        (pa.array([{"a": 1}, {"a": 2}]), "column 'label' holds values of type struct"),
        (pa.array(["a", None]), "row 2 has no label"),
        (pa.array([1.0, float("nan")]), "row 2 has no label"),
    ],
)
def test_parquet_columns_that_hold_no_labels_are_refused(
    tmp_path: Path, column: pa.Array, message: str
) -> None:
    pq.write_table(pa.table({"text": ["a", "b"], "label": column}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=rf"a\.parquet: .*{message}"):
        Text(str(tmp_path / "a.parquet")).read()


def test_a_mistake_in_a_file_ends_a_script_with_one_line(tmp_path: Path, script: Callable) -> None:
    (tmp_path / "a.csv").write_text("text,label\na,x\nb,c,y\n")
    done = script("train.py", "data=text", "data.train=a.csv", "trainer=cpu", status=2)
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("error: a.csv: row 2 has 3 fields")
    assert "Traceback" not in done.stderr


# ---------------------------------------------------------------- labels


def labels_of(path: Path) -> list[str]:
    return [label for _, label in read_back(path)]


def test_labels_are_the_text_that_stands_in_the_file(tmp_path: Path) -> None:
    big, odd = 9_007_199_254_740_993, ["1", "1.0", "1e0", "true", "True", "nan", "2020-01-02", "-0"]
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "".join(f"x,{label}\n" for label in [*odd, str(big), "007"]))
    assert labels_of(path) == [*odd, str(big), "007"]
    path = tmp_path / "a.jsonl"
    values = ["1", '"1"', "1.0", "1e0", "true", '"True"', '"nan"', '"2020-01-02"', "-0", str(big)]
    path.write_text("".join(f'{{"text": "x", "label": {value}}}\n' for value in values))
    assert labels_of(path) == [value.strip('"') for value in values]
    path = tmp_path / "a.parquet"
    for column, expected in (
        (pa.array([big, big + 1, -1]), [str(big), str(big + 1), "-1"]),
        (pa.array([True, False]), ["true", "false"]),
        (pa.array([1.0, 0.1]), ["1.0", "0.1"]),
        (pa.array(["a", "b"]).dictionary_encode(), ["a", "b"]),
    ):
        pq.write_table(pa.table({"text": ["x"] * len(column), "label": column}), path)
        assert labels_of(path) == expected


def test_a_float_of_32_bits_is_the_shortest_text_that_gives_it_again(tmp_path: Path) -> None:
    for bits in (pa.float16(), pa.float32(), pa.float64()):
        labels = pa.array([0.1, 1, None, 2.5]).cast(bits)
        pq.write_table(pa.table({"text": list("abcd"), "label": labels}), tmp_path / "a.parquet")
        found = [label for _, label in TextFiles().pairs(str(tmp_path / "a.parquet"))]
        assert found == ["0.1", "1.0", None, "2.5"]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.txt"])
def test_carriage_returns_end_lines_where_nothing_else_does(tmp_path: Path, name: str) -> None:
    lines = {
        "a.csv": "text,label\na b,x\nc,y\n",
        "a.tsv": "text\tlabel\na b\tx\nc\ty\n",
        "a.jsonl": '{"text": "a b"}\n{"text": "c"}\n',
        "a.txt": "a b\nc\n",
    }[name]
    (tmp_path / name).write_bytes(lines.replace("\n", "\r").encode())
    assert [*TextFiles().texts(str(tmp_path / name))] == ["a b", "c"]


def test_the_order_of_classes_does_not_depend_on_the_order_of_sets() -> None:
    numbers = [str(number) for number in range(40)]
    for seed in range(20):  # nan is neither less nor more than a number
        labels = ["nan", "NaN", "inf", "b", *numbers]
        random.Random(seed).shuffle(labels)
        classes = Classes()
        classes.fit(labels, "x")
        assert list(classes.names) == [*numbers, "inf", "NaN", "b", "nan"]


def test_numbers_of_classes_stand_for_their_names(tmp_path: Path) -> None:
    import datasets

    names = datasets.ClassLabel(names=["neg", "pos"])
    features = datasets.Features({"text": datasets.Value("string"), "label": names})
    folder = tmp_path / "set"
    folder.mkdir()
    for labels in ([1, 0], [1, -1]):
        rows = {"text": ["a", "b"], "label": labels}
        datasets.Dataset.from_dict(rows, features).to_parquet(folder / "train.parquet")
        for data in (Text(hub=str(folder)), Text(str(folder / "train.parquet"))):
            if -1 in labels:
                with pytest.raises(UserError, match=r"train\.parquet: row 2 has no label"):
                    data.read()
            else:
                assert list(data.read()["train"].targets) == ["pos", "neg"]


def test_evaluation_refuses_the_empty_labels_that_training_refuses(tmp_path: Path) -> None:
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    train.write_text("text,label\n" + "".join(f"word {n},{n}.5\n" for n in range(20)))
    test.write_text("text,label\na,1\nb,\n")
    data = Text(str(train), targets=Values(["score"]))
    data.setup()
    with pytest.raises(UserError, match=r"test\.csv: example 2 has no label"):
        data.file_loader(str(test))
    test.write_text("text,label\na,1_000\n")
    with pytest.raises(UserError, match=r"test\.csv: row 1 has '1_000' as 'score', which is not a"):
        data.file_loader(str(test))


# ---------------------------------------------------------------- lines and paths

LINES = ["a\rb", "c\x0bd", "e\x0cf", "g\x1ch", "i\x85j", "k\u2028l", "m\ufeffn", '"o', "p\tq"]


def test_lines_are_the_same_from_a_file_and_from_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for encoding, end in (("utf-8", "\n"), ("utf-8-sig", "\r\n"), ("utf-16", "\n")):
        content = end.join(LINES).encode(encoding)
        (tmp_path / "a.txt").write_bytes(content)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), "ascii"))
        files = TextFiles(encoding=encoding.removesuffix("-sig"))
        for source in (str(tmp_path / "a.txt"), "-"):
            assert [text for text, _ in files.pairs(source)] == LINES


def test_lines_of_standard_input_are_read_as_soon_as_they_are_there(tmp_path: Path) -> None:
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


def test_a_long_field_and_a_field_across_blocks_are_read(tmp_path: Path) -> None:
    pairs = [("é" * 300_000, "a"), ("x,\r\n\n" * 100_000 + ".", "b")]
    (tmp_path / "a.csv").write_bytes(csv_bytes(pairs, random.Random(0)))
    assert read_back(tmp_path / "a.csv") == pairs


def test_brackets_and_wildcards_in_a_name_are_part_of_it(tmp_path: Path) -> None:
    for name, text in (("train1", "wrong"), ("train[1]", "right"), ("train*", "star")):
        (tmp_path / f"{name}.csv").write_text(f"text,label\n{text},a\n")
    assert read_back(tmp_path / "train[1].csv") == [("right", "a")]
    assert read_back(tmp_path / "train*.csv") == [("star", "a")]
    for name in ("train[1]", "train*"):
        (tmp_path / f"{name}.csv").unlink()
        with pytest.raises(UserError, match="no such file; did you mean train1.csv"):
            read_back(tmp_path / f"{name}.csv")


def test_what_is_not_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    for name, message in (
        ("folder.csv", "folder.csv is a folder: name a file in it"),
        ("pipe.csv", "pipe.csv is a pipe or a device: save its content"),
        ("x" * 300 + ".csv", "File name too long"),
        ("nul\0.csv", "is not a path: embedded null byte"),
    ):
        with pytest.raises(UserError, match=message):
            read_back(tmp_path / name)


def test_names_of_columns_beside_a_header_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(GOOD)
    with pytest.raises(UserError, match=r"a\.csv has a header: set data\.columns=null"):
        Text(str(tmp_path / "a.csv"), columns=["text", "label"]).read()
    with pytest.raises(UserError, match="data.columns: two columns are called 'text'"):
        Text(str(tmp_path / "a.csv"), columns=["text", "text"]).read()


@pytest.mark.parametrize("encoding", ["latin-99", "hex", "undefined"])
def test_what_is_not_an_encoding_is_refused(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.csv").write_bytes(GOOD)
    with pytest.raises(UserError, match=f"data.encoding={encoding}: Python has no such encod"):
        Text(str(tmp_path / "a.csv"), encoding=encoding).setup()


# ---------------------------------------------------------------- folders of a hub


def test_files_of_a_hub_folder_are_read_as_they_are_now(tmp_path: Path) -> None:
    folder, path = tmp_path / "set", tmp_path / "set" / "train.csv"
    folder.mkdir()
    for label in ("007", "7"):  # an equally large file, changed at the same time
        path.write_text(
            f"text,label\nNone,{label:>3}\n".replace(" ", "0" if label == "007" else " ")
        )
        assert list(Text(hub=str(folder)).read()["train"].targets) == [f"{label:>3}"]
    path.write_text("text,label\na,b,x\n")
    with pytest.raises(UserError, match=r"train\.csv: row 1 has 3 fields"):
        Text(hub=str(folder)).read()
    (tmp_path / "set[1]").mkdir()
    with pytest.raises(UserError, match="rename the folder; its path must not hold"):
        Text(hub=str(tmp_path / "set[1]")).read()


# ---------------------------------------------------------------- series


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[[1, 2], [3]]", "line 1: not a series in JSON, .*the steps are not equally long"),
        ("[]", "line 1: not a series in JSON, .*there are no steps"),
        ('[["1", 2]]', "line 1: not a series"),
        ("[[true, 2]]", "line 1: not a series in JSON, .*True is not a number"),
        ("[[NaN, 2]]", "line 1 is not JSON .NaN is not a JSON value"),
        ('{"series": [[1, 2]], "label": {"a": 1}}', "the label of row 1 is an object"),
        ('{"series": [[1, 2]], "series": [[2, 3]]}', "the key 'series' stands there twice"),
    ],
)
def test_what_is_not_a_series_is_refused(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(line)
    with pytest.raises(UserError, match=rf"a\.jsonl: .*{message}"):
        list(UEA("JapaneseVowels").read_file(str(path)))


def test_a_channel_of_a_ts_file_is_not_taken_for_a_label(tmp_path: Path) -> None:
    head = "@timestamps false\n@univariate false\n@dimensions 2\n@classLabel true a b\n@data\n"
    path = tmp_path / "a.ts"
    path.write_text(f"@problemName x\n{head}1,2:3,4:a\n")
    [(series, label)] = UEA("JapaneseVowels").read_file(str(path))
    assert series.tolist() == [[1, 3], [2, 4]] and label == "a"
    path.write_text(f"@problemName x\n{head}1,2:3,4\n")
    with pytest.raises(UserError, match=r"a\.ts: series 1 has no label after its last channel"):
        list(UEA("JapaneseVowels").read_file(str(path)))


@pytest.mark.parametrize("name", ["JapaneseVowels", "ItalyPowerDemand", "Tecator"])
def test_the_archive_is_read_as_sktime_reads_it(name: str) -> None:
    from sktime.datasets import load_UCR_UEA_dataset

    table, labels = load_UCR_UEA_dataset(name, split="train", return_X_y=True)
    read = UEA(name).read()["train"]
    assert [*read.targets] == [*map(str, labels)]
    for series, row in zip(read.inputs, table.itertuples(index=False), strict=True):
        assert np.array_equal(series, np.stack([*row], axis=1))


def test_time_stamps_and_missing_values_of_ts_files(tmp_path: Path) -> None:
    head = "@problemName x\n@timeStamps {}\n@univariate true\n@classLabel true A b\n@data\n"
    path = tmp_path / "a.ts"
    path.write_text(f"# words\n{head.format('false')}1,?:A\n\n-2e1,4:b\n")
    (first, one), (second, other) = UEA("JapaneseVowels").read_file(str(path))
    assert np.array_equal(first, [[1], [np.nan]], equal_nan=True) and (one, other) == ("a", "b")
    assert second.tolist() == [[-20], [4]]
    path.write_text(f"{head.format('true')}(0,1),(1,3):a\n")
    [(series, label)] = UEA("JapaneseVowels").read_file(str(path))
    assert series.tolist() == [[1], [3]] and label == "a"
    path.write_text(f"{head.format('false')}1,x:a\n")
    with pytest.raises(UserError, match=r"a\.ts is not a \.ts file: could not convert string"):
        list(UEA("JapaneseVowels").read_file(str(path)))


def test_series_keep_their_labels_and_refuse_what_float32_cannot_hold(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"series": [[1, 1e300]], "label": 1.10}\n[[1, 1e999]]\n')
    data = UEA("JapaneseVowels")
    (huge, label), (infinite, _) = data.read_file(str(path))
    assert label == "1.10"
    scales = {"scale_mean": [0.0] * 4, "scale_deviation": [1.0] * 4, "folded": 1}
    data.inputs.load({"mean": [0.0, 0.0], "deviation": [1.0, 1.0], **scales})
    with pytest.raises(UserError, match="a: series 1 has a value too far from the training values"):
        data.inputs.encode([huge], "a")
    with pytest.raises(UserError, match="a: series 1 has an infinite value; correct it"):
        data.inputs.encode([infinite], "a")
