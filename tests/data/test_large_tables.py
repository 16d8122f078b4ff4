"""A large table is read and encoded once, into files that later runs map; nothing half is kept."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from seqmodels.data import Text, TokenizerOptions
from seqmodels.data.columns import Column, distinct
from seqmodels.data.text_files import TextFiles
from seqmodels.data.token_ids import encoded, train
from seqmodels.data.token_rows import TokenRows
from seqmodels.data.tokenizer import train_tokenizer
from seqmodels.errors import UserError
from tests.data.test_reading_any import ODD, csv_bytes, odd_text


@pytest.fixture
def table(tmp_path: Path) -> Path:
    chance = random.Random(0)
    pairs = [(f"some {odd_text(chance)} .", chance.choice("abc")) for _ in range(400)]
    path = tmp_path / "texts.csv"
    path.write_bytes(csv_bytes(pairs, chance))
    return path


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is a large one."""
    monkeypatch.setattr("seqmodels.data.text.LARGE", 0)


def kept(tmp_path: Path) -> list[str]:
    return sorted(str(path) for path in (tmp_path / "cache").rglob("*"))


def content(data: Text) -> list[object]:
    data.setup()
    loaders = (data.train_dataloader(), data.val_dataloader(), data.test_dataloader())
    batches = [
        [batch.inputs.tolist(), batch.lengths.tolist(), batch.targets.tolist()]
        for loader in loaders
        for batch in loader
        if isinstance(batch.targets, torch.Tensor)
    ]
    return [data.spec, data.fingerprint, batches, data.baselines()]


@pytest.mark.parametrize(
    "options",
    [
        {"lowercase": True, "min_count": 2},
        {"tokenizer": "space", "max_length": 3, "keep": "end"},
        {"tokenizer": "bpe", "vocabulary_size": 300, "max_length": 9},
        {"tokenizer": "char", "num_workers": 2},
    ],
    ids=str,
)
def test_a_large_table_gives_what_a_small_one_gives(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, object]
) -> None:
    def make() -> Text:
        return Text(str(table), **options)  # type: ignore[arg-type]

    expected = content(make())
    assert not any("/tables/" in name or "/sequences/" in name for name in kept(tmp_path))
    monkeypatch.setattr("seqmodels.data.text.LARGE", 0)
    assert content(make()) == expected
    files = kept(tmp_path)
    assert any("/tables/" in name for name in files)

    def batches(*_: object) -> Iterator[object]:
        raise AssertionError("read again")

    monkeypatch.setattr(TextFiles, "batches", batches)
    assert content(make()) == expected and kept(tmp_path) == files


@pytest.mark.usefixtures("large")
def test_another_content_or_tokenizer_is_encoded_anew(table: Path) -> None:
    first = content(Text(str(table)))
    assert content(Text(str(table), lowercase=True))[0] != first[0]
    table.write_bytes(table.read_bytes().replace(b"some", b"none"))
    assert content(Text(str(table)))[1] != first[1]


def chunked(texts: Sequence[str], most: int) -> pa.ChunkedArray:
    starts = range(0, len(texts), most)
    return pa.chunked_array([pa.array(texts[n : n + most], pa.large_string()) for n in starts])


@pytest.mark.parametrize("level", ["word", "space", "char"])
@pytest.mark.parametrize("lowercase", [False, True])
def test_words_and_characters_are_learned_and_encoded_as_by_the_library(
    level: str, lowercase: bool
) -> None:
    chance = random.Random(level)
    odd = [" ", "  ", "x,y", "\x1c", "a\u00a0b", "\u3000", "İI", "Σς", "e\u0301"]
    words = [word for word in [*ODD, *odd] if word not in ("[PAD]", "[UNK]")]
    texts = [" ".join(chance.choices(words, k=chance.randrange(9))) for _ in range(900)]
    for options in (
        TokenizerOptions(level, lowercase),  # type: ignore[arg-type]
        TokenizerOptions(level, lowercase, 30, 40),  # type: ignore[arg-type]
    ):
        tokenizer = train(texts, options)
        assert tokenizer.to_str() == train_tokenizer(texts, options).to_str()
        column = Column(chunked(texts, 300)).take(np.random.default_rng(0).permutation(900))
        for some in (texts, column, texts[:1], column[-5:]):
            found = [*zip(*encoded(some, tokenizer, options), strict=True)]
            ids, counts, blank = (np.concatenate(each).tolist() for each in found)
            expected = [encoding.ids for encoding in tokenizer.encode_batch_fast([*some])]
            assert counts == [*map(len, expected)]
            assert ids == [*chain.from_iterable(expected)]
            assert blank == [not text or text.isspace() for text in some]


def test_a_text_may_hold_the_names_of_special_tokens() -> None:
    tokenizer = train(["[UNK] a [PAD]"], TokenizerOptions("space"))
    assert tokenizer.get_vocab() == {"[PAD]": 0, "[UNK]": 1, "a": 2}


def test_parts_that_are_forgotten_are_encoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqmodels.data.token_ids.MOST_PARTS", 3)
    options = TokenizerOptions()
    tokenizer = train(["a b c d e"], options)
    monkeypatch.setattr("seqmodels.data.columns.BLOCK", 1)  # each text by itself
    texts = ["a b c d e", "e d", "c x a"]
    for text, (ids, *_) in zip(texts, encoded(texts, tokenizer, options), strict=True):
        assert ids.tolist() == tokenizer.encode(text).ids


def test_columns_and_tokens_are_sequences() -> None:
    texts = Column(chunked(["a", "é", "ß"], 2))
    labels = Column(chunked(["x", "y", "x"], 1).dictionary_encode())
    for rows, expected in ((texts, ["a", "é", "ß"]), (labels, ["x", "y", "x"])):
        assert list(rows) == expected and rows[-1] == expected[-1] and len(rows) == 3
        assert list(rows[1:]) == expected[1:] and list(rows.take(np.array([2, 0]))[:1]) == [
            expected[2]
        ]
        assert list(rows[:0]) == []
        with pytest.raises(IndexError):
            rows[3]
    assert {name: rows.tolist() for name, rows in distinct(labels).items()} == {
        "x": [0, 2],
        "y": [1],
    }
    assert [*distinct(labels[1:2])] == ["y"] and distinct([]) == {}
    tokens = TokenRows(np.array([5, 6, 7], np.uint16), np.array([0, 2, 3]))
    assert [row.tolist() for row in tokens] == [[5, 6], [7]] == [r.tolist() for r in tokens[:]]
    assert tokens.lengths.tolist() == [2, 1]


def test_texts_are_read_and_encoded_without_pandas(table: Path) -> None:
    code = (
        "import sys; from seqmodels.data import Text; Text(sys.argv[1]).setup(); "
        "assert 'pandas' not in sys.modules  # which takes a third of a second and 40 MB"
    )
    subprocess.run([sys.executable, "-c", code, str(table)], check=True)


# ---------------------------------------------------------------- faults


@pytest.mark.usefixtures("large")
def test_a_cache_that_cannot_be_written_ends_in_one_line(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match="the cache .* cannot be written: .*; make room, or set"):
        Text(str(table)).setup()


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("kind", ["tables", "sequences"])
def test_a_full_disk_keeps_no_half_of_a_table(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    opened: Callable[..., object] = Path.open

    def full(path: Path, mode: str = "r", *arguments: object, **options: object) -> object:
        if kind in path.parts and "w" in mode:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return opened(path, mode, *arguments, **options)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(UserError, match="cannot be written: No space left on device; make room"):
        Text(str(table)).setup()
    assert not [file for file in kept(tmp_path) if kind in Path(file).parent.parts]


@pytest.mark.parametrize("limit", [0, 1 << 30])
def test_a_table_that_changes_while_it_is_read_is_refused(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr("seqmodels.data.text.LARGE", limit)
    read = TextFiles.batches

    def changing(*arguments: object) -> Iterator[object]:
        yield from read(*arguments)  # type: ignore[arg-type]
        os.utime(table, ns=(1, 1))

    monkeypatch.setattr(TextFiles, "batches", changing)
    with pytest.raises(UserError, match=r"texts\.csv changed while it was read: start again"):
        Text(str(table)).setup()
    assert not [file for file in kept(tmp_path) if Path(file).is_file()]


def test_a_row_that_would_fill_the_memory_is_named(table: Path) -> None:
    with table.open("a") as file:
        file.write(f"{'ab, ' * 2_500_000},a\n".replace(", ", " "))
    with pytest.raises(UserError, match=r"text \d+ has 2,500,000 tokens, more than 100,000: set"):
        Text(str(table), validation=str(table), test=str(table)).setup()
    data = Text(str(table), max_length=20)
    data.setup()
    assert max(int(part.lengths.max()) for part in data.datasets.values()) == 20
