"""Text files as token ids on disk."""

from __future__ import annotations

import csv
import itertools
import json
import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqmodels.data import SPLITS, Text, TokenizerOptions, file_pieces
from seqmodels.data.file_pieces import Piece, cut_off, fingerprint, sample, size, texts, whole
from seqmodels.data.token_ids import token_ids
from seqmodels.data.tokenizer import LEVELS, load_tokenizer, train_tokenizer
from seqmodels.errors import UserError
from seqmodels.tasks.language_model import PlainText, PythonSource, corpus

TEXT = "Grüße an Zoë,  und an 東京!\n\tdef f(x): return x\r\n\n" * 7


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# ---------------------------------------------------------------- reading in blocks


@pytest.mark.parametrize("block", [1, 2, 3, 7, 64, 1 << 18])
def test_blocks_put_together_are_the_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(file_pieces, "BLOCK", block)  # cuts through characters of several bytes
    path = written(tmp_path, "a.txt", TEXT + "no newline at the end")
    read = list(texts([whole(path)]))
    assert "".join(read) == TEXT + "no newline at the end"
    assert all(text.endswith("\n") for text in read[:-1]) or block <= 64


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_one_file_is_cut_at_the_end_of_a_line(tmp_path: Path, fraction: float) -> None:
    path = written(tmp_path, "a.txt", TEXT)
    rest, off = whole(path).cut_off(fraction)
    assert "".join(texts([rest])) + "".join(texts([off])) == TEXT
    assert "".join(texts([rest])).endswith("\n")
    assert len(off) == pytest.approx(fraction * len(TEXT.encode()), abs=40)


def test_several_files_are_cut_whole_and_by_seed(tmp_path: Path) -> None:
    part = [whole(written(tmp_path, f"{n}.txt", "x" * (n + 1))) for n in range(40)]
    rest, off = cut_off(part, 0.25, 0)
    assert sorted([*rest, *off], key=lambda piece: piece.stop) == part
    assert size(off) == pytest.approx(0.25 * size(part), rel=0.05)
    assert cut_off(part, 0.25, 0)[1] == off != cut_off(part, 0.25, 1)[1]


def test_a_cut_leaves_something_on_both_sides(tmp_path: Path) -> None:
    part = [whole(written(tmp_path, f"{n}.txt", "x" * 100)) for n in range(2)]
    assert [len(side) for side in cut_off(part, 0.01, 0)] == [1, 1]


# ---------------------------------------------------------------- several stretches of one file


def cut_of(path: Path, stretches: int = 10) -> dict[str, list[Piece]]:
    data = PlainText(
        str(path), tokenizer="byte", evaluation_streams=1, validation_stretches=stretches
    )
    data.setup()
    return {split: list(part) for split, part in data.texts.items()}


def test_validation_is_cut_from_evenly_spread_stretches_and_test_is_the_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = [f"{number} is a line of this book\n" for number in range(60_000)]
    path = written(tmp_path, "book.txt", "".join(lines))
    with caplog.at_level(logging.INFO):
        splits = cut_of(path)
    total = path.stat().st_size
    assert [len(splits[split]) for split in splits] == [10, 10, 1]
    assert splits["test"][0].stop == total
    assert size(splits["test"]) == pytest.approx(0.05 * total, abs=40)
    assert size(splits["validation"]) == pytest.approx(0.05 * 0.95 * total, abs=400)
    # by turns, without a gap, and never in the middle of a line
    order = sorted((piece for part in splits.values() for piece in part), key=lambda p: p.start)
    assert order[:-1:2] == splits["train"] and order[1::2] == splits["validation"]
    assert order[0].start == 0
    assert all(a.stop == b.start for a, b in itertools.pairwise(order))
    for piece in order:
        content = "".join(texts([piece]))
        assert content.endswith("\n") and content[: content.index(" ")].isdecimal()
    gaps = np.diff([piece.start for piece in splits["validation"]])
    assert gaps.min() > 0.99 * gaps.max()
    assert (
        "data: cut from train: test (its end), validation (10 stretches, evenly spread)"
        in caplog.text
    )


def test_a_short_file_gives_fewer_stretches(tmp_path: Path) -> None:
    for kilobytes, stretches in ((20, 1), (200, 2), (500, 5)):
        path = written(tmp_path, f"{kilobytes}.txt", "x" * 99 + "\n")
        path.write_text(("x" * 99 + "\n") * 10 * kilobytes)
        validation = cut_of(path)["validation"]
        assert len(validation) == stretches
        assert stretches == 1 or min(map(len, validation)) > 4000


def test_one_stretch_is_the_end_as_it_was_before_there_were_several(tmp_path: Path) -> None:
    path = written(tmp_path, "book.txt", "a line of a book\n" * 20_000)
    rest, test = whole(path).cut_off(0.05)
    train, validation = rest.cut_off(0.05)
    assert cut_of(path, 1) == {"train": [train], "validation": [validation], "test": [test]}


def test_a_text_without_line_ends_is_cut_into_stretches_too(tmp_path: Path) -> None:
    path = written(tmp_path, "book.txt", "é" * 300_000)
    splits = cut_of(path)
    assert [len(splits[split]) for split in splits] == [6, 6, 1]
    assert all(set("".join(texts([piece]))) == {"é"} for part in splits.values() for piece in part)
    assert min(len(piece) for piece in splits["validation"]) > 4000


def test_other_stretches_are_other_data(tmp_path: Path) -> None:
    path = str(written(tmp_path, "book.txt", "a line of a book\n" * 20_000))
    found = set()
    for stretches in (1, 2, 3):
        data = PlainText(path, tokenizer="byte", validation_stretches=stretches)
        data.setup()
        found.add(data.fingerprint)
    assert len(found) == 3


def test_fingerprint_follows_content_and_cut_not_names(tmp_path: Path) -> None:
    a, b = written(tmp_path, "a.txt", TEXT), written(tmp_path, "b.txt", TEXT)
    of = lambda *part: fingerprint({"train": list(part)})  # noqa: E731
    assert of(whole(a)) == of(whole(b)) != of(whole(a), whole(b))
    assert of(*whole(a).cut_off(0.5)) != of(whole(a))
    assert of(Piece(a, 0, 10)) != of(Piece(a, 0, 11))


def test_other_encodings_and_their_mistakes(tmp_path: Path) -> None:
    path = written(tmp_path, "latin.txt", "é".encode("latin-1") * 900)
    data = PlainText(str(path), encoding="latin-1", tokenizer="char", evaluation_streams=1)
    data.setup()
    assert data.tokens["train"].num_bytes == 2 * len(data.tokens["train"])  # in UTF-8
    with pytest.raises(UserError, match=r"latin.txt cannot be read: .*; set data.encoding"):
        PlainText(str(path)).setup()
    with pytest.raises(UserError, match="Python has no such encoding"):
        PlainText(str(path), encoding="latin-99")
    with pytest.raises(UserError, match="data.encoding=utf-16: convert the files to utf-8"):
        PlainText(str(path), encoding="utf-16")


# ---------------------------------------------------------------- tokens


@pytest.mark.parametrize("level", sorted({*LEVELS} - {"space"}))  # which drops whitespace
@given(extra=st.text(st.sampled_from("ab Z_9é東\n\t.,'\"()"), max_size=60))
@settings(max_examples=30, deadline=None)
def test_what_is_encoded_decodes_to_the_same_text(level: str, extra: str) -> None:
    # every character and word of `extra` is in the vocabulary
    options = TokenizerOptions(level, vocabulary_size=600, keep_whitespace=True)
    tokenizer = train_tokenizer([TEXT, extra], options)
    assert tokenizer.decode(tokenizer.encode(extra).ids) == extra


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("level", LEVELS)
@given(read=st.lists(st.text(max_size=30), max_size=40), more=st.text())
@settings(max_examples=30, deadline=None)
def test_ids_of_blocks_are_those_of_the_library(
    level: str, lowercase: bool, read: list[str], more: str
) -> None:
    options = TokenizerOptions(level, lowercase, keep_whitespace=True, vocabulary_size=600)
    tokenizer = train_tokenizer([TEXT, more[::2]], options)
    blocks = [text for text in [TEXT, more, *read] if text]
    made = list(token_ids(iter(blocks), tokenizer, level))
    assert [content.decode() for content, _ in made] == blocks
    expected = [encoding.ids for encoding in tokenizer.encode_batch(blocks)]
    assert [ids.tolist() for _, ids in made] == expected


def test_bytes_and_characters_are_not_encoded_by_the_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("by the library")

    monkeypatch.setattr("seqmodels.data.token_ids._by_library", fail)
    for level in ("byte", "char"):
        tokenizer = train_tokenizer([TEXT], TokenizerOptions(level, keep_whitespace=True))
        [(content, ids)] = token_ids([TEXT], tokenizer, level)
        assert content == TEXT.encode()
        assert len(ids) == len(content if level == "byte" else TEXT)


def test_every_character_and_byte_has_the_id_of_the_library() -> None:
    every = "".join(chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000)
    for level in ("byte", "char"):
        options = TokenizerOptions(level, keep_whitespace=True)
        tokenizer = train_tokenizer([every[:1000]], options)
        for text in (every[:5000], every[-5000:], every[60_000:70_000]):
            [(_, ids)] = token_ids([text], tokenizer, level)
            assert ids.tolist() == tokenizer.encode(text).ids


def test_bytes_that_a_stranger_has_merged_are_encoded_by_the_library() -> None:
    options = TokenizerOptions("byte", keep_whitespace=True)
    saved = json.loads(train_tokenizer([], options).to_str())
    saved["model"]["vocab"]["ab"] = 258
    saved["model"]["merges"] = [["a", "b"]]
    tokenizer = load_tokenizer(json.dumps(saved), options)
    [(_, ids)] = token_ids(["ab"], tokenizer, "byte")
    assert ids.tolist() == [258]


def test_large_texts_teach_the_tokens_by_a_sample_that_is_evenly_spread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = written(tmp_path, "a.txt", "".join(f"w{n:07} w{n:07}\n" for n in range(60_000)))
    monkeypatch.setattr(file_pieces, "SAMPLED", 4000)
    some = sample([whole(path)], 100_000)
    assert len(some) == 25 and size(some) == pytest.approx(100_000, rel=0.02)
    gaps = np.diff([piece.start for piece in some])
    assert gaps.min() > 0.98 * gaps.max()
    assert all(text.endswith("\n") for text in texts(some))
    assert sample([whole(path)], path.stat().st_size) == [whole(path)]
    of_files = sample([whole(written(tmp_path, f"{n}.txt", "a b\n" * 100)) for n in range(9)], 800)
    assert len({piece.path for piece in of_files}) == 9

    monkeypatch.setattr(corpus, "LEARNED", 100_000)
    data = PlainText(str(path), tokenizer="word", evaluation_streams=1)
    with caplog.at_level(logging.INFO):
        data.setup()
    learned = {word.strip() for word in data.vocabulary.get_vocab()}
    assert 5000 < len(learned) < 7000
    assert "word tokens are learned from " in caplog.text


def test_a_line_of_ten_megabytes_is_encoded_like_any_other(tmp_path: Path) -> None:
    long = "é" * 5_000_000
    data = PlainText(
        str(written(tmp_path, "a.txt", f"a\n{long}\nb\n" * 2)),
        tokenizer="char",
        evaluation_streams=1,
        validation_stretches=1,
    )
    data.setup()
    read = "".join(data.text_of(data.tokens[split].ids[1:].tolist()) for split in SPLITS)
    assert read == f"a\n{long}\nb\n" * 2


def test_words_hold_the_space_before_them() -> None:
    tokenizer = train_tokenizer(["if x:\n    y = f(x)"], TokenizerOptions(keep_whitespace=True))
    tokens = tokenizer.encode("if x:\n    y = f(x)").tokens
    assert tokens == ["if", " x", ":", "\n   ", " y", " =", " f", "(", "x", ")"]


@pytest.mark.parametrize(
    ("level", "size", "dtype"), [("byte", 258, np.uint16), ("char", 30, np.uint8)]
)
def test_tokens_take_the_smallest_integers(
    tmp_path: Path, level: str, size: int, dtype: type
) -> None:
    data = PlainText(str(written(tmp_path, "a.txt", TEXT)), tokenizer=level, evaluation_streams=1)
    data.setup()
    train = data.tokens["train"]
    assert isinstance(train.ids, np.memmap) and train.ids.dtype == dtype
    assert abs(data.spec["num_inputs"] - size) <= 5
    everything = b"".join(
        data.text_of(data.tokens[split].ids[1:].tolist()).encode()
        for split in ("train", "validation", "test")
    )
    assert everything == TEXT.encode()
    assert sum(part.num_bytes for part in data.tokens.values()) == len(TEXT.encode())


def test_tokens_are_encoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(written(tmp_path, "a.txt", TEXT))
    first = PlainText(path, tokenizer="char", evaluation_streams=1)
    first.setup()

    def fail(*_: object) -> None:
        raise AssertionError("encoded again")

    with monkeypatch.context() as patch:
        patch.setattr(corpus, "_write", fail)
        again = PlainText(path, tokenizer="char", evaluation_streams=1)
        again.setup()
        later = PlainText(path, tokenizer="char", evaluation_streams=1)
        later.use_spec(first.spec)  # as a finished run does
        later.setup()
        assert later.tokens["train"].ids.filename == first.tokens["train"].ids.filename
        with pytest.raises(AssertionError, match="encoded again"):
            PlainText(path, tokenizer="byte", evaluation_streams=1).setup()
    written(tmp_path, "a.txt", "Ω\n" + TEXT)
    changed = PlainText(path, tokenizer="char", evaluation_streams=1)
    changed.setup()
    assert changed.fingerprint != first.fingerprint
    # a finished run keeps its own vocabulary, whatever the file holds by now
    kept = PlainText(path, tokenizer="char", evaluation_streams=1)
    kept.use_spec(first.spec)
    kept.setup()
    assert kept.spec["tokenizer"] == first.spec["tokenizer"] != changed.spec["tokenizer"]


def test_a_broken_encoding_leaves_no_half_cache(tmp_path: Path) -> None:
    written(tmp_path, "1.txt", TEXT)
    written(tmp_path, "2.txt", TEXT.encode() + b"\xff")
    with pytest.raises(UserError, match="2.txt cannot be read"):
        PlainText(str(tmp_path / "*.txt")).setup()
    assert list((tmp_path / "cache" / "seqmodels" / "tokens").iterdir()) == []


def test_unknown_tokens_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train = written(tmp_path, "train.txt", "a b c\n" * 20)
    test = written(tmp_path, "test.txt", "a é b !\n" * 20)
    data = PlainText(str(train), str(test), str(test), tokenizer="char", evaluation_streams=1)
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
    data = PlainText([str(tmp_path / "**" / "*.txt"), str(other)], str(other), str(other))
    assert [piece.path.name for piece in data.read()["train"]] == ["1.txt", "2.txt", "c.md"]


def test_a_hub_data_set_is_read_from_a_local_folder(tmp_path: Path) -> None:
    rows = "\n".join(f'{{"body": "line {n}"}}' for n in range(50))
    for split in ("train", "validation", "test"):
        written(tmp_path, f"set/{split}.jsonl", rows)
    data = PlainText(hub=str(tmp_path / "set"), text_column="body", evaluation_streams=2)
    data.setup()
    assert data.text_of(data.tokens["test"].ids[1:12].tolist()).startswith("line 0\nline 1\n")
    with pytest.raises(UserError, match="has no column 'text': set data.text_column; .*body"):
        PlainText(hub=str(tmp_path / "set")).setup()
    with pytest.raises(UserError, match="data.hub=.*nowhere"):
        PlainText(hub=str(tmp_path / "nowhere")).setup()


ROWS = [('a "fine", film', "good"), ("dull,\nall of it", "bad"), ("", "bad"), ("é 東", "good")]


def table(folder: Path, ending: str, column: str = "text") -> Path:
    path = folder / f"rows.{ending}"
    frame = [{column: text, "label": label, "stars": 5} for text, label in ROWS * 30]
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist(frame), path)
    elif ending == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in frame))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, frame[0], delimiter="\t" if ending == "tsv" else ",")
            writer.writeheader()
            writer.writerows(frame)
    return path


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_a_column_of_a_table_is_read_as_one_text_after_the_other(
    tmp_path: Path, ending: str
) -> None:
    path = str(table(tmp_path, ending, "review"))
    files = {"train": path, "validation": path, "test": path}
    options = {"tokenizer": "char", "evaluation_streams": 1, "quoting": True}
    data = PlainText(**files, text_column="review", **options)
    data.setup()
    expected = "".join(f"{text}\n" for text, _ in ROWS) * 30
    for split, tokens in data.tokens.items():  # neither labels nor other columns
        assert data.text_of(tokens.ids[1:].tolist()) == expected, split
    assert data.title == f"rows.{ending}"
    plain = str(written(tmp_path, "a.txt", expected))
    same = PlainText(plain, plain, plain, tokenizer="char")
    same.setup()
    assert data.fingerprint == same.fingerprint
    loader = data.file_loader(path)  # as evaluate.py file=... does
    assert sum(int(batch.lengths.sum()) for batch in loader) == len(expected)


def test_tables_are_read_as_a_classifier_reads_them(tmp_path: Path) -> None:
    path = written(tmp_path, "a.tsv", 'good\tgr\u00fc\u00df "a\n'.encode("latin-1") * 50)
    how = {"columns": ["label", "text"], "encoding": "latin-1"}
    texts_of_classifier = [text for text, _ in Text(str(path), **how).read_file(str(path))]
    data = PlainText(str(path), text_column="text", tokenizer="char", evaluation_streams=1, **how)
    data.setup()
    read = "".join(text for split in SPLITS for text in texts(data.texts[split]))
    assert read == "".join(f"{text}\n" for text in texts_of_classifier) == 'grüß "a\n' * 50


def test_missing_splits_are_cut_between_the_texts_of_a_table(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", "text\n" + "".join(f"t{n} of n\n" for n in range(50_000)))
    data = PlainText(str(path), text_column="text", tokenizer="byte", evaluation_streams=1)
    data.setup()
    assert len(data.texts["validation"]) == 6
    cut = [line for s in SPLITS for part in texts(data.texts[s]) for line in part.splitlines()]
    assert sorted(cut) == sorted(f"t{n} of n" for n in range(50_000))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "txet,label\nx,y\n", "a.csv: row 1 has no column 'text': .* did you mean txet"),
        ("a.jsonl", '{"text": null}\n', "a.jsonl: row 1 has no text; remove the row or fill it"),
        ("a.jsonl", '{"text": ["x"]}\n', "a.jsonl: the text of row 1 is a list"),
        ("a.md", "x\n", "a.md: unknown ending '.md'"),
    ],
)
def test_a_table_that_cannot_be_read_is_named(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    data = PlainText(str(written(tmp_path, name, content)), text_column="text")
    with pytest.raises(UserError, match=message) as caught:
        data.setup()
    assert "\n" not in str(caught.value)


def test_a_table_without_a_column_is_plain_text_and_the_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = table(tmp_path, "csv")
    data = PlainText(str(path), tokenizer="byte", evaluation_streams=1)
    data.setup()
    assert sum(part.num_bytes for part in data.tokens.values()) == path.stat().st_size
    assert "rows.csv is read as plain text: to read one column of it, set data.text_column" in (
        caplog.text
    )


def test_python_source_is_real_code_split_by_file() -> None:
    data = PythonSource(vocabulary_size=300)
    parts = {"train": data.read()["train"]}
    parts["train"], parts["test"] = cut_off(parts["train"], 0.05, 0)
    names = {split: {piece.path for piece in part} for split, part in parts.items()}
    assert not names["train"] & names["test"]
    assert 5e6 < size(parts["train"]) < 5e7
    assert any(path.name == "argparse.py" for path in names["train"] | names["test"])
    assert not any("test" in path.parts for path in names["train"])
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
        ({"train": "x", "columns": ["text"]}, "data.columns and .* are for tables: set data.text"),
        ({"train": "x", "validation_stretches": 0}, "data.validation_stretches=0: input should"),
        ({"train": "x", "window": 0}, "data.window=0: input should"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, options: dict, message: str) -> None:
    written(tmp_path, "empty.txt", "")
    written(tmp_path, "short.txt", "a b\n" * 10)
    options = {k: v.format(tmp=tmp_path) if isinstance(v, str) else v for k, v in options.items()}
    with pytest.raises(UserError, match=message):
        data = PlainText(**{"tokenizer": "char", **options})
        data.setup()
        data.train_dataloader()
        data.val_dataloader()
