"""Texts and lists of words as token ids: the same from the library, from memory and from disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import numpy as np
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
from seqmodels.errors import UserError

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
