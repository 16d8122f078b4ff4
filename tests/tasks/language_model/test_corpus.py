"""Text files as token ids on disk, tokens that spaces separate, and windows of contiguous
streams."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seqmodels.batch import UNKNOWN_ID, SequenceBatch
from seqmodels.data import SPLITS
from seqmodels.data.loading import SequenceLoader
from seqmodels.data.tokenizer import Tokenizer
from seqmodels.errors import UserError
from seqmodels.tasks.language_model import LanguageModel, PlainText, corpus
from seqmodels.tasks.language_model.corpus import TokenFile, blocks, cut_off, size
from seqmodels.tasks.language_model.streams import StreamDataset, WindowSampler
from tests.make import write_file

TEXT = "Grüße an Zoë,  [PAD] 東京 [UNK]!\n\tdef f(x): return x\r\n\n" * 7
SOME = st.text("ab\né東😀 ", max_size=60)


def view(text: str) -> memoryview:
    return memoryview(text.encode())


def prepared_text(*files: Any, tokenizer: str = "char", **options: Any) -> PlainText:
    data = PlainText(*files, tokenizer=tokenizer, evaluation_streams=1, **options)
    data.setup()
    return data


def text_of(data: PlainText, split: str) -> str:
    return data.text_of(data.tokens[split].ids[1:].tolist())


# ---------------------------------------------------------------- text in memory


@pytest.mark.parametrize("block", [4, 7])
@given(texts=st.lists(SOME, min_size=1, max_size=3))
def test_blocks_put_together_are_the_text(block: int, texts: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus, "BLOCK", block)  # cuts through characters of several bytes
        found = [*blocks([*map(view, texts)])]
    assert "".join(found) == "".join(texts)
    assert all(found)


def test_one_text_is_cut_at_the_end_of_a_line_and_several_by_seed() -> None:
    lines = "".join(f"{number} is a line of this book\n" for number in range(2_000))
    [rest], [off] = cut_off([view(lines)], 0.3, 0)
    assert str(rest, "utf-8") + str(off, "utf-8") == lines
    assert str(rest, "utf-8").endswith("\n")
    assert len(off) == pytest.approx(0.3 * len(lines), abs=40)
    part = [view("x" * (n + 1)) for n in range(40)]
    rest, off = cut_off(part, 0.25, 0)
    assert sorted([*rest, *off], key=len) == part
    assert size(off) == pytest.approx(0.25 * size(part), rel=0.05)
    assert cut_off(part, 0.25, 0)[1] == off != cut_off(part, 0.25, 1)[1]


@pytest.mark.parametrize("sizes", [(900, 900), (900, 900, 900), (900,) * 12, (20, 900, 4_000)])
def test_few_files_are_cut_within_them(sizes: tuple[int, ...]) -> None:
    texts = [view("".join(f"{n} x\n" for n in range(size))) for size in sizes]
    for fraction in (0.05, 0.3):
        rest, off = cut_off(texts, fraction, 0)
        assert size(rest) + size(off) == size(texts)
        assert size(off) <= fraction * size(texts)
        assert size(off) == pytest.approx(fraction * size(texts), rel=0.5)


# ---------------------------------------------------------------- tokens


@pytest.mark.parametrize(
    ("level", "dtype"),
    [("byte", np.uint16), ("char", np.uint8), ("word", np.uint8), ("bpe", np.uint16)],
)
def test_tokens_are_the_text_in_the_smallest_integers(
    tmp_path: Path, level: str, dtype: type
) -> None:
    data = prepared_text(write_file(tmp_path, "a.txt", TEXT), tokenizer=level)
    parts = [data.tokens[split] for split in SPLITS]
    assert all(part.ids[0] == 0 and part.ids.dtype == dtype for part in parts)
    assert isinstance(parts[0].ids, np.memmap)
    assert int(parts[0].ids[1:].min()) > 1  # names of special tokens are text like any other
    assert "".join(text_of(data, split) for split in SPLITS) == TEXT
    assert sum(part.num_bytes for part in parts) == len(TEXT.encode())


def test_large_texts_teach_the_tokens_by_blocks_that_are_evenly_spread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "BLOCK", 1000)
    monkeypatch.setattr(corpus, "LEARNED", 100_000)
    text = "".join(f"w{n:07} w{n:07}\n" for n in range(60_000))
    data = prepared_text(write_file(tmp_path, "a.txt", text), tokenizer="word")
    learned = sorted({int(word[-7:]) for word in data.tokenizer.tokens if "w0" in word})
    # from the first line to the last one of the training, 90 % of the text
    assert 4000 < len(learned) < 6000 and max(np.diff([0, *learned, 54_000])) < 1000


def test_tokens_are_learned_and_encoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_file(tmp_path, "a.txt", TEXT)

    def read(spec: dict | None = None) -> PlainText:
        data = PlainText(path, tokenizer="char", evaluation_streams=1)
        if spec:  # as a finished run does
            data.use_spec(spec)
        data.setup()
        return data

    first = read()
    with monkeypatch.context() as patch:
        patch.setattr(Tokenizer, "encode", None)
        for data in (read(), read(first.spec)):
            assert data.tokens["train"].ids.filename == first.tokens["train"].ids.filename
    assert prepared_text(path, tokenizer="byte").spec["tokenizer"] != first.spec["tokenizer"]
    write_file(tmp_path, "a.txt", "Ω\n" + TEXT)
    changed = read()
    assert changed.fingerprint != first.fingerprint
    # a finished run keeps its own vocabulary, whatever the file holds by now
    assert read(first.spec).spec["tokenizer"] == first.spec["tokenizer"]
    assert changed.spec["tokenizer"] != first.spec["tokenizer"]


def test_unknown_tokens_are_counted_with_their_bytes(tmp_path: Path) -> None:
    train = write_file(tmp_path, "train.txt", "a b c\n" * 20)
    test = write_file(tmp_path, "test.txt", "a é b !\n" * 20)
    data = prepared_text(train, test, test)
    assert set(data.tokenizer.tokens[2:]) == set("abc \n")  # of the training
    unknown = {split: (of.num_unknown, of.unknown_bytes) for split, of in data.tokens.items()}
    assert unknown["test"] == (40, 2 * 20 + 20)  # "é" has two
    assert unknown["train"] == (0, 0)
    assert data.summary[2] == "test 160 tokens of 180 bytes, 37.5 % of all, 25.00 % unknown"


def test_a_batch_of_texts_begins_with_the_start(tmp_path: Path) -> None:
    data = prepared_text(write_file(tmp_path, "book.txt", "abc\n" * 50))
    batch = data.batch_of(["ab", "", "c?ab"])
    assert batch.lengths.tolist() == [3, 1, 5] and batch.targets is None
    assert batch.inputs[:, 0].tolist() == [0, 0, 0]
    assert batch.inputs[0, 1:3].tolist() == data.ids_of("ab")
    assert batch.inputs[2, 2] == 1  # `?` is unknown


def test_files_that_two_splits_share_are_noted(tmp_path: Path) -> None:
    one, two, copy, other = (
        write_file(tmp_path, f"{n}.txt", f"{letter} line\n" * 500)
        for n, letter in enumerate("abac")
    )
    [note] = prepared_text(one, other, [two, copy]).notes
    assert "1 of 2 files (50.00 %) of the test split are in the train split" in note
    assert prepared_text(one, other, two).notes == []


# ---------------------------------------------------------------- where text comes from


def test_globs_and_lists_are_read_in_order(tmp_path: Path) -> None:
    write_file(tmp_path, "b/2.txt", "22\n" * 30)
    write_file(tmp_path, "a/1.txt", "11\n" * 30)
    other = write_file(tmp_path, "c.md", "33\n" * 30)
    data = PlainText([str(tmp_path / "**" / "*.txt"), other], other, other)
    assert [bytes(text[:2]) for text in data.read()["train"]] == [b"11", b"22", b"33"]


def test_a_column_of_a_table_is_read_as_one_text_after_the_other(tmp_path: Path) -> None:
    rows = 'review,label\n"a ""fine"", film",good\n"dull,\nall of it",bad\n,bad\n"é 東\n\n",good\n'
    path = write_file(tmp_path, "rows.csv", rows)
    data = prepared_text(path, path, path, text_column="review")
    expected = (
        'a "fine", film\ndull,\nall of it\n\né 東\n\n'  # only one line end is that of its text
    )
    for split in SPLITS:  # neither labels nor other columns
        assert text_of(data, split) == expected
    loader = data.file_loader(path)  # as evaluate.py file=... does
    assert sum(int(batch.lengths.sum()) for batch in loader) == len(expected)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a b\n" * 10, "the train split of a.txt has .* tokens, too few for .*batch_size"),
        (b"a line\ncaf\xe9\nb\n", "a.txt cannot be read: line 2 is not utf-8"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = write_file(tmp_path, "a.txt", content)
    with pytest.raises(UserError, match=message):
        prepared_text(path).train_dataloader()


def test_a_prompt_of_which_half_is_known_is_read(tmp_path: Path) -> None:
    data = prepared_text(write_file(tmp_path, "a.txt", "ab\n" * 100), tokenizer="char")
    [known] = data.ids_of("a")
    assert data.ids_of("a@") == [known, UNKNOWN_ID]
    with pytest.raises(UserError, match="prompt: '@', 'é' are not in the vocabulary"):
        data.ids_of("é@a")


def test_a_table_of_texts_may_have_another_separator_and_encoding(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("wer;was\nich;schön, ja\ndu;gut\n".encode("cp1252"))
    path = str(tmp_path / "a.csv")
    data = PlainText(path, text_column="was", separator=";", encoding="cp1252")
    assert bytes(data.text(path)).decode() == "schön, ja\ngut\n"
    with pytest.raises(UserError, match="line 2 is not utf-8 text .*: set data.encoding=cp1252"):
        PlainText(path, text_column="was", separator=";").text(path)


# ---------------------------------------------------------------- tokens that spaces separate


TREEBANK = " no it was n't black monday \n but <unk> did $ N million \n \n = = Title = = \n"


def data_of(folder: Path, train: str, test: str | None = None, **options: object) -> PlainText:
    for name, text in (("train.txt", train), ("test.txt", test or train)):
        (folder / name).write_bytes(text.encode())
    paths = [str(folder / name) for name in ("train.txt", "test.txt", "test.txt")]
    data = PlainText(*paths, tokenizer="space", evaluation_streams=1, **options)
    data.setup()
    return data


@pytest.mark.parametrize("block", [16, 1 << 18])  # shorter than a line, and longer than the text
def test_tokens_are_those_of_the_usual_loop_from_frequent_to_rare(
    tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "BLOCK", block)
    data = data_of(tmp_path, TREEBANK * 9)
    ids = torch.from_numpy(data.tokens["train"].ids[1:].astype(int))
    usual = [token for line in TREEBANK.splitlines() for token in [*line.split(), "\n"]]
    assert [data.tokenizer.tokens[token] for token in ids] == usual * 9
    assert data.summary[0].startswith(f"train {9 * len(usual)} tokens with line ends of ")
    counts = torch.bincount(ids)[2:]
    assert counts.tolist() == sorted(counts.tolist(), reverse=True)


def test_unknown_tokens_are_charged_for_their_own_bytes_only(tmp_path: Path) -> None:
    test = "  a é \t bb 東京 n't \r\n\r\n ccc \n"
    data = data_of(tmp_path, "a bb ccc\n" * 9, test)
    assert data.tokens["test"].num_unknown == 3
    assert data.tokens["test"].unknown_bytes == len("é東京n't".encode())
    assert data.tokens["test"].num_bytes == len(test.encode())
    assert data.tokens["train"].unknown_bytes == 0
    # by rank, as a smaller vocabulary makes them
    small = data_of(tmp_path, "a a a bb bb ccc\n" * 9, vocabulary_size=5)
    assert small.tokens["train"].unknown_bytes == 9 * len("ccc")


# ---------------------------------------------------------------- streams


def numbered(count: int) -> TokenFile:
    """The tokens 1, 2, 3, ... after the start 0: a token is its own place."""
    return TokenFile(np.arange(count + 1, dtype=np.uint16), num_bytes=2 * count, num_unknown=0)


def windows(
    count: int, streams: int, window: int, *, drop_last: bool, rank: int = 0, world: int = 1
) -> list[SequenceBatch]:
    dataset = StreamDataset(
        numbered(count), streams, drop_last=drop_last, rank=rank, world_size=world
    )
    return list(SequenceLoader(dataset, WindowSampler(dataset.steps, window)))


def test_training_windows_are_those_of_a_hand_written_loop() -> None:
    # PyTorch's word language model: batchify, then get_batch
    tokens, streams, window = list(range(0, 104)), 5, 7
    steps = (len(tokens) - 1) // streams
    rows = [tokens[row * steps : (row + 1) * steps + 1] for row in range(streams)]
    batches = windows(103, streams, window, drop_last=True)
    for number, start in enumerate(range(0, steps, window)):
        stop = min(start + window, steps)
        assert batches[number].inputs.tolist() == [row[start:stop] for row in rows]
        assert batches[number].targets.tolist() == [row[start + 1 : stop + 1] for row in rows]
    assert len(batches) == number + 1
    assert [batch.continues for batch in batches] == [False, True, True]
    assert batches[1].to("meta").continues


@given(
    count=st.integers(1, 200),
    streams=st.integers(1, 9),
    window=st.integers(1, 12),
    world=st.integers(1, 3),
)
def test_evaluation_scores_every_token_exactly_once(
    count: int, streams: int, window: int, world: int
) -> None:
    if count < streams or streams < world:
        return
    scored: list[int] = []
    number = set()
    for rank in range(world):
        batches = windows(count, streams, window, drop_last=False, rank=rank, world=world)
        number.add(len(batches))
        for batch in batches:
            valid = batch.targets != -100
            assert torch.equal(valid, batch.mask)
            # each token is predicted from the one before it
            assert torch.equal(batch.inputs[valid] + 1, batch.targets[valid])
            scored.extend(batch.targets[valid].tolist())
    assert sorted(scored) == list(range(1, count + 1))
    assert len(number) == 1  # no process waits for another


def test_what_is_unknown_has_to_be_spelled_out() -> None:
    tokens = TokenFile(np.zeros(11, np.uint8), num_bytes=40, num_unknown=2, unknown_bytes=10)
    dataset = StreamDataset(tokens, 2, drop_last=False)
    assert dataset.tokens_per_byte == 0.25 and dataset.spelling_bits_per_byte == 2.0
    task = LanguageModel({"inputs": "tokens", "num_inputs": 5}, {"hidden_size": 2})
    metrics = task.metrics_of_loss(torch.tensor(2.0), dataset)
    assert float(metrics["bits_per_byte"]) == pytest.approx(2 / math.log(2) / 4 + 2)


def test_processes_share_the_streams_of_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("".join(map(chr, range(200, 403))))  # each another token
    files = [str(tmp_path / "a.txt")] * 3
    data = PlainText(*files, tokenizer="char", batch_size=2, evaluation_streams=4, window=5)
    data.setup()
    seen = []
    for rank in range(2):
        monkeypatch.setattr(PlainText, "process", (rank, 2))
        batches = [*data.train_dataloader()]
        assert {len(batch) for batch in batches} == {2}
        seen += [token for batch in batches for token in batch.targets.flatten().tolist()]
    # what fills no step of all streams is left out
    assert sorted(seen) == data.tokens["train"].ids[1:201].tolist()
