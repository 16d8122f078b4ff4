"""Tokens that spaces separate, with an end token for each line: Penn Treebank and its like."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqmodels.data import TokenizerOptions
from seqmodels.data.inputs import load_inputs
from seqmodels.data.tokenizer import Tokenizer
from seqmodels.data.tokens import Tokens
from seqmodels.errors import UserError
from seqmodels.runs import load_run, train
from seqmodels.tasks.language_model import LanguageModel, PlainText, corpus
from seqmodels.tasks.language_model.generation import write
from tests.conftest import Config

TREEBANK = " no it was n't black monday \n but <unk> did $ N million \n \n = = Title = = \n"
SPACE = TokenizerOptions("space", keep_whitespace=True)


def standard(text: str) -> list[str]:
    """The usual loop over such data, with the line end as the name of the end token."""
    return [token for line in text.splitlines() for token in [*line.split(), "\n"]]


def named(tokenizer: Tokenizer, text: str) -> list[str]:
    return [tokenizer.tokens[number] for number in tokenizer.encode([text])[0]]


def data_of(folder: Path, train: str, test: str | None = None, **options: object) -> PlainText:
    for name, text in (("train.txt", train), ("test.txt", test or train)):
        (folder / name).write_bytes(text.encode())
    paths = [str(folder / name) for name in ("train.txt", "test.txt", "test.txt")]
    data = PlainText(*paths, tokenizer="space", evaluation_streams=1, **options)
    data.setup()
    return data


@pytest.mark.parametrize(
    "text",
    [
        TREEBANK,
        "a\tb\r\n\x0cc  d\r\n",  # tabs, form feeds and carriage returns separate too
        "\n\n a\n",
        "10\u00a0000 a\u3000b \u2028 東京 \n",  # other whitespace is part of a token
    ],
)
def test_tokens_are_what_spaces_separate_and_each_line_ends_with_one(text: str) -> None:
    tokenizer = Tokenizer.learn([text], SPACE)
    lines = text.replace("\r", "").replace("\x0c", " ").replace("\t", " ").split("\n")[:-1]
    expected = [t for line in lines for t in [*(w for w in line.split(" ") if w), "\n"]]
    assert named(tokenizer, text) == expected


@given(st.text(st.sampled_from("ab<'é \n\t\r\f"), max_size=80))
@settings(max_examples=100, deadline=None)
def test_the_count_is_the_standard_one(text: str) -> None:
    text = "".join(f"{line}\n" for line in text.replace("\r", "\r ").split("\n"))
    ends = text.count("\n")
    tokens = named(Tokenizer.learn([text], SPACE), text)
    assert len(tokens) == len(text.split()) + ends and tokens.count("\n") == ends


def test_a_last_line_without_an_end_has_no_end_token() -> None:
    assert named(Tokenizer.learn(["a b\nb"], SPACE), "a b\nb") == ["a", "b", "\n", "b"]


def test_decoding_gives_tidy_lines() -> None:
    tokenizer = Tokenizer.learn([TREEBANK], SPACE)
    tidy = "no it was n't black monday\nbut <unk> did $ N million\n\n= = Title = =\n"
    assert tokenizer.decode(tokenizer.encode([TREEBANK])[0].tolist()) == tidy
    assert tokenizer.decode(tokenizer.encode(["\n it \n\n"])[0].tolist()) == "\nit\n\n"
    assert tokenizer.decode([]) == ""


def test_ids_go_from_frequent_to_rare(tmp_path: Path) -> None:
    data = data_of(tmp_path, TREEBANK + "was was was was was \n")
    counts = torch.bincount(torch.from_numpy(data.tokens["train"].ids[1:].astype(int)))[2:]
    assert counts.tolist() == sorted(counts.tolist(), reverse=True)


def test_names_of_special_tokens_are_words_like_any_other(tmp_path: Path) -> None:
    data = data_of(tmp_path, "x [PAD] [UNK] <unk> y\n" * 9)
    assert int(data.tokens["train"].ids[1:].min()) > 1
    assert data.text_of(data.ids_of("x [PAD] [UNK] <unk> y")) == "x [PAD] [UNK] <unk> y"


def test_the_log_says_that_line_ends_count(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        data_of(tmp_path, TREEBANK)
    count = len(standard(TREEBANK))
    assert f"train {count} tokens with line ends of {len(TREEBANK)} bytes, 0.00 %" in caplog.text


def test_unknown_tokens_are_charged_for_their_own_bytes_only(tmp_path: Path) -> None:
    data = data_of(tmp_path, "a bb ccc\n" * 9, "  a é \t bb 東京 n't \r\n\r\n ccc \n")
    assert data.tokens["test"].unknown == 3
    assert data.tokens["test"].unknown_bytes == len("é東京n't".encode())
    assert data.tokens["test"].num_bytes == len("  a é \t bb 東京 n't \r\n\r\n ccc \n".encode())
    assert data.tokens["train"].unknown_bytes == 0
    # by rank, as a smaller vocabulary makes them
    small = data_of(tmp_path, "a a a bb bb ccc\n" * 9, vocabulary_size=5)
    assert small.tokens["train"].unknown_bytes == 9 * len("ccc")


def test_a_line_longer_than_a_block_is_not_cut_in_a_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "BLOCK", 16)
    text = " ".join(f"word{number}" for number in range(200)) + " \n"
    data = data_of(tmp_path, text)
    tokens = [data.vocabulary.tokens[i] for i in data.tokens["train"].ids[1:]]
    assert tokens == standard(text)


def test_text_without_a_token_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the train split of train.txt has 0 tokens, too few"):
        data_of(tmp_path, " \t ", "a\n").train_dataloader()


# ---------------------------------------------------------------- generation


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("", ["a", " b", "\n", "c"]),
        ("c", [" a", " b", "\n", "c"]),
        ("b\n", ["a", " b", "\n", "c"]),
        ("c unseen", [" a", " b", "\n", "c"]),
    ],
)
def test_a_space_comes_between_tokens_and_none_beside_line_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prompt: str, expected: list[str]
) -> None:
    data = data_of(tmp_path, "a b\nc\n" * 9)
    made = iter(data.ids_of("a b\nc"))
    monkeypatch.setattr("seqmodels.tasks.language_model.generation.draw", lambda *_: next(made))
    task = LanguageModel(data.spec, {"hidden_size": 2})
    assert list(write(task, data, prompt, 4)) == expected


def test_a_prompt_of_mostly_unknown_tokens_is_refused(tmp_path: Path) -> None:
    data = data_of(tmp_path, "a ab abc\n" * 9)
    with pytest.raises(UserError, match="prompt: 'b', 'c' are not in the vocabulary"):
        data.ids_of("a b c\nc")


def test_a_token_of_a_prompt_that_training_never_saw_is_read_as_unknown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = data_of(tmp_path, "a ab abc\n" * 9)
    [a, unknown, ab] = data.ids_of("a b ab")
    assert unknown == 1 and min(a, ab) > 1
    assert caplog.messages == ["prompt: 'b' is not in the vocabulary: read as the unknown token"]


def test_a_run_writes_lines_of_tokens(
    config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "seqmodels.tasks.language_model.sample")
    (tmp_path / "text.txt").write_text(" it was n't <unk> \n but he did \n" * 300)
    settings = config(
        "experiment=word_lm",
        f"data.train={tmp_path / 'text.txt'}",
        "data.batch_size=4",
        "data.evaluation_streams=2",
        *(f"model.{place}=0.0" for place in ("dropout", "embedding.dropout", "encoder.dropout")),
        "model.embedding.noise=0.0",
        "model.optimizer.lr=0.03",
        "trainer.precision=32-true",
        "trainer.max_epochs=12",
        "callbacks.sample.prompt=but he",
    )
    result = train(settings)
    assert result["metrics"]["test/perplexity"] < 1.5
    assert "but he did\nit was n't <unk>\n" in caplog.text
    run = load_run(tmp_path / "run")
    made = "".join(run.generate("but he", 7, "cpu", temperature=0.0))
    assert made == " did\nit was n't <unk>\n"


# ---------------------------------------------------------------- a tokenizer from elsewhere


@pytest.mark.parametrize("level", ["word", "space", "char", "byte", "bpe"])
def test_tokens_may_have_the_tokenizer_of_a_language_model(tmp_path: Path, level: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text("The cat sat.\nA dog  ran\n" * 40)
    lm = PlainText(str(path), tokenizer=level, lowercase=True, evaluation_streams=1)
    lm.setup()
    spec = json.loads(json.dumps(lm.spec))
    learned = Tokenizer.load(spec["tokenizer"])
    tokens = Tokens(learned.options, max_length=50)
    tokens.load(learned.fitted())
    assert tokens.num_inputs == spec["num_inputs"]
    texts = ["The cat ran", "A dog  sat.\nThe cat"]
    for text, ids in zip(texts, tokens.encode(texts, "x"), strict=True):
        assert ids.tolist() == lm.vocabulary.encode([text])[0].tolist()  # at the start of a line
        assert ids.tolist()[-1] != lm.ids_of("\n")[-1]  # which does not end
    loaded = load_inputs(json.loads(json.dumps(tokens.state())))
    assert loaded.state() == tokens.state()
    for old, new in zip(tokens.encode(texts, "x"), loaded.encode(texts, "x"), strict=True):
        assert torch.equal(old, new)
    for empty in ("", " ", " \n\n"):
        with pytest.raises(UserError, match="x: text 2 is empty"):
            loaded.encode(["the cat", empty], "x")
