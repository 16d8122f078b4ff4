"""Text files as token ids on disk."""

from __future__ import annotations

import csv
import json
import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqmodels.data import SPLITS
from seqmodels.data.tokenizer import Tokenizer
from seqmodels.errors import UserError
from seqmodels.tasks.language_model import PlainText, PythonSource, corpus
from seqmodels.tasks.language_model.corpus import blocks, cut_off, fingerprint, read_text, size

TEXT = "Grüße an Zoë,  und an 東京!\n\tdef f(x): return x\r\n\n" * 7
SOME = st.text("ab\né東😀 ", max_size=60)


def written(folder: Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def view(text: str) -> memoryview:
    return memoryview(text.encode())


# ---------------------------------------------------------------- text in memory


@pytest.mark.parametrize("block", [4, 5, 7, 64])
@given(texts=st.lists(SOME, min_size=1, max_size=3))
def test_blocks_put_together_are_the_text(block: int, texts: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus, "BLOCK", block)  # cuts through characters of several bytes
        found = [*blocks([*map(view, texts)])]
    assert "".join(found) == "".join(texts)
    assert all(found)


def test_blocks_end_with_lines_where_there_are_some() -> None:
    text = "".join(f"{n} is a line\n" for n in range(100_000)) + "the end"
    found = [*blocks([view(text)])]
    assert len(found) > 4 and all(block.endswith("\n") for block in found[:-1])


@given(text=SOME.filter(lambda text: len(text) > 3), fraction=st.floats(0.05, 0.95))
def test_one_text_is_cut_between_characters(text: str, fraction: float) -> None:
    [rest], [off] = cut_off([view(text)], fraction, 0)
    assert str(rest, "utf-8") + str(off, "utf-8") == text


def test_one_text_is_cut_at_the_end_of_a_line_and_what_remains_again() -> None:
    text = "".join(f"{number} is a line of this book\n" for number in range(9_000))
    [rest], [off] = cut_off([view(text)], 0.1, 0)
    assert str(rest, "utf-8").endswith("\n")
    assert len(off) == pytest.approx(0.1 * len(text), abs=40)


def test_several_texts_are_cut_whole_and_by_seed() -> None:
    part = [view("x" * (n + 1)) for n in range(40)]
    rest, off = cut_off(part, 0.25, 0)
    assert sorted([*rest, *off], key=len) == part
    assert size(off) == pytest.approx(0.25 * size(part), rel=0.05)
    assert cut_off(part, 0.25, 0)[1] == off != cut_off(part, 0.25, 1)[1]
    assert [len(side) for side in cut_off([view("x" * 100)] * 2, 0.01, 0)] == [1, 1]


def test_fingerprint_follows_content_and_cut_not_names(tmp_path: Path) -> None:
    def of(*texts: memoryview) -> str:
        return fingerprint({"train": texts})

    a, b = (read_text(written(tmp_path, f"{name}.txt", TEXT)) for name in "ab")
    assert of(a) == of(b) != of(a, b) and of(a[:9], a[9:]) != of(a)
    assert read_text(written(tmp_path, "c.txt", b"\xef\xbb\xbf" + TEXT.encode())) == a


def test_what_is_not_utf_8_is_named_with_its_line(tmp_path: Path) -> None:
    for before in (0, 3, 40_000):
        content = b"a line\n" * before + b"caf\xe9\nb\n"
        path = written(tmp_path, "a.txt", content)
        with pytest.raises(UserError, match=rf"a\.txt: line {before + 1} is not utf-8 text .*save"):
            read_text(path)
    assert not (tmp_path / "cache").exists()


# ---------------------------------------------------------------- tokens


@pytest.mark.parametrize(
    ("level", "count", "dtype"), [("byte", 258, np.uint16), ("char", 30, np.uint8)]
)
def test_tokens_take_the_smallest_integers(
    tmp_path: Path, level: str, count: int, dtype: type
) -> None:
    data = PlainText(written(tmp_path, "a.txt", TEXT), tokenizer=level, evaluation_streams=1)
    data.setup()
    train = data.tokens["train"]
    assert isinstance(train.ids, np.memmap) and train.ids.dtype == dtype and train.ids[0] == 0
    assert abs(data.spec["num_inputs"] - count) <= 5
    parts = [data.tokens[split] for split in SPLITS]
    everything = b"".join(data.text_of(part.ids[1:].tolist()).encode() for part in parts)
    assert everything == TEXT.encode()
    assert sum(part.num_bytes for part in parts) == len(TEXT.encode())


def test_large_texts_teach_the_tokens_by_blocks_that_are_evenly_spread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "BLOCK", 1000)
    monkeypatch.setattr(corpus, "LEARNED", 100_000)
    text = "".join(f"w{n:07} w{n:07}\n" for n in range(60_000))
    data = PlainText(written(tmp_path, "a.txt", text), tokenizer="word", evaluation_streams=1)
    data.setup()
    learned = sorted({int(word[-7:]) for word in data.vocabulary.tokens if "w0" in word})
    assert 4000 < len(learned) < 6000 and max(np.diff(learned)) < 1000


def test_a_line_of_ten_megabytes_is_encoded_like_any_other(tmp_path: Path) -> None:
    text = f"a\n{'é' * 5_000_000}\nb\n" * 2
    data = PlainText(written(tmp_path, "a.txt", text), tokenizer="char", evaluation_streams=1)
    data.setup()
    assert "".join(data.text_of(data.tokens[s].ids[1:].tolist()) for s in SPLITS) == text


def test_tokens_are_learned_and_encoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, "a.txt", TEXT)

    def read(spec: dict | None = None, level: str = "char") -> PlainText:
        data = PlainText(path, tokenizer=level, evaluation_streams=1)
        if spec:  # as a finished run does
            data.use_spec(spec)
        data.setup()
        return data

    first = read()
    with monkeypatch.context() as patch:
        patch.setattr(Tokenizer, "encode", None)
        again, later = read(), read(first.spec)
        for data in (again, later):
            assert data.tokens["train"].ids.filename == first.tokens["train"].ids.filename
        with pytest.raises(TypeError):
            read(level="byte")
    written(tmp_path, "a.txt", "Ω\n" + TEXT)
    changed = read()
    assert changed.fingerprint != first.fingerprint
    # a finished run keeps its own vocabulary, whatever the file holds by now
    assert read(first.spec).spec["tokenizer"] == first.spec["tokenizer"]
    assert changed.spec["tokenizer"] != first.spec["tokenizer"]


def test_unknown_tokens_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train = written(tmp_path, "train.txt", "a b c\n" * 20)
    test = written(tmp_path, "test.txt", "a é b !\n" * 20)
    data = PlainText(train, test, test, tokenizer="char", evaluation_streams=1)
    with caplog.at_level(logging.INFO):
        data.setup()
    assert data.tokens["test"].unknown == 40 and data.tokens["train"].unknown == 0
    assert data.tokens["test"].unknown_bytes == 2 * 20 + 20  # "é" has two
    assert data.tokens["train"].unknown_bytes == 0
    assert "data: test 160 tokens of 180 bytes, 25.00 % unknown" in caplog.text


# ---------------------------------------------------------------- where text comes from


def test_globs_and_lists_are_read_in_order(tmp_path: Path) -> None:
    written(tmp_path, "b/2.txt", "22\n" * 30)
    written(tmp_path, "a/1.txt", "11\n" * 30)
    other = written(tmp_path, "c.md", "33\n" * 30)
    data = PlainText([str(tmp_path / "**" / "*.txt"), other], other, other)
    assert [bytes(text[:2]) for text in data.read()["train"]] == [b"11", b"22", b"33"]


def test_a_hub_data_set_is_read_from_a_local_folder(tmp_path: Path) -> None:
    rows = "\n".join(f'{{"body": "line {n}"}}' for n in range(50))
    for split in ("train", "validation", "test"):
        written(tmp_path, f"set/{split}.jsonl", rows)
    data = PlainText(hub=str(tmp_path / "set"), text_column="body", evaluation_streams=2)
    data.setup()
    assert data.text_of(data.tokens["test"].ids[1:12].tolist()).startswith("line 0\nline 1\n")
    with pytest.raises(UserError, match="has no column 'text': set data.text_column; .*body"):
        PlainText(hub=str(tmp_path / "set")).setup()


ROWS = [('a "fine", film', "good"), ("dull,\nall of it", "bad"), ("", "bad"), ("é 東\n", "good")]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_column_of_a_table_is_read_as_one_text_after_the_other(
    tmp_path: Path, ending: str
) -> None:
    path = tmp_path / f"rows.{ending}"
    frame = [{"review": text, "label": label, "stars": 5} for text, label in ROWS * 30]
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist(frame), path)
    elif ending == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in frame))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, frame[0])
            writer.writeheader()
            writer.writerows(frame)
    files = dict.fromkeys(SPLITS, str(path))
    data = PlainText(**files, text_column="review", tokenizer="char", evaluation_streams=1)
    data.setup()
    expected = "".join(f"{text.removesuffix(chr(10))}\n" for text, _ in ROWS) * 30
    for split, tokens in data.tokens.items():  # neither labels nor other columns
        assert data.text_of(tokens.ids[1:].tolist()) == expected, split
    assert data.title == f"rows.{ending}"
    loader = data.file_loader(str(path))  # as evaluate.py file=... does
    assert sum(int(batch.lengths.sum()) for batch in loader) == len(expected)


def test_python_source_is_real_code_split_by_file() -> None:
    data = PythonSource(vocabulary_size=300)
    train, test = cut_off(data.read()["train"], 0.05, 0)
    assert 5e6 < size(train) < 5e7 and size(test) == pytest.approx(0.05 * size(train), rel=0.2)
    assert any(b"class ArgumentParser" in bytes(text) for text in (*train, *test))
    assert data.title.startswith("source of Python 3.")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": "{tmp}/empty.txt"}, "the train split of empty.txt has no text"),
        ({"train": "{tmp}/absent.txt"}, "absent.txt: no such file"),
        ({"train": "{tmp}/*.nothing"}, "nothing: no file matches"),
        ({}, "give either data.train=<file or glob> or data.hub=<name>"),
        ({"train": "{tmp}/short.txt"}, "the train split of short.txt has .* tokens, too few"),
        (
            {"train": "{tmp}/short.txt", "batch_size": 1, "window": 2},
            "the validation split of short.txt has .* tokens, too few for 16 streams",
        ),
        ({"train": "x", "tokenizer": "words"}, "data.tokenizer=words: input should"),
        ({"train": "x", "window": 0}, "data.window=0: input should"),
        ({"train": "{tmp}/a.csv", "text_column": "text"}, "row 1 has no column 'text': .*txet"),
        ({"train": "{tmp}/a.jsonl", "text_column": "text"}, "row 1 has no text; remove the row or"),
        ({"train": "{tmp}/b.jsonl", "text_column": "text"}, "row 1 has no text; remove the row or"),
        ({"train": "{tmp}/a.md", "text_column": "text"}, "unknown ending '.md'"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, options: dict, message: str) -> None:
    written(tmp_path, "empty.txt", "")
    written(tmp_path, "short.txt", "a b\n" * 10)
    written(tmp_path, "a.csv", "txet,label\nx,y\n")
    written(tmp_path, "a.jsonl", '{"text": null}\n')
    written(tmp_path, "b.jsonl", '{"text": ["x"]}\n')
    written(tmp_path, "a.md", "x\n")
    options = {k: v.format(tmp=tmp_path) if isinstance(v, str) else v for k, v in options.items()}
    with pytest.raises(UserError, match=message) as caught:
        data = PlainText(**{"tokenizer": "char", **options})
        data.setup()
        data.train_dataloader()
        data.val_dataloader()
    assert "\n" not in str(caught.value)
