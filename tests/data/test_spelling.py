"""The characters of the words of texts, beside the words."""

from __future__ import annotations

import csv
import json
import random
import re
from pathlib import Path

import pytest
import torch

from seqmodels import load_run
from seqmodels.audit import audit
from seqmodels.data import Tokens
from seqmodels.data.inputs import load_inputs
from seqmodels.data.loading import collate
from seqmodels.data.token_rows import TokenRows
from seqmodels.data.tokenizer import TokenizerOptions
from seqmodels.errors import UserError
from seqmodels.tasks.classification import SequenceClassifier
from seqmodels.tasks.classification.words import left_out
from tests.conftest import Script

READ = {"characters": "lstm", "character_options": {"hidden_size": 3, "embedding_size": 5}}
MOST = 24


def made_up(count: int, alphabet: str = "abAB'!", longest: int = 40) -> list[str]:
    chance = random.Random(count)
    words = ["".join(chance.choices(alphabet, k=chance.randint(1, longest))) for _ in range(count)]
    return [" ".join(chance.choices(words, k=chance.randint(1, 9))) for _ in range(count)]


def encoder_of(level: str = "word", **options: object) -> Tokens:
    how = TokenizerOptions(level, lowercase=True, min_count=2)
    return Tokens(how, characters=True, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("level", ["word", "space"])
@pytest.mark.parametrize("options", [{}, {"max_length": 3}, {"max_length": 3, "keep": "end"}])
def test_each_word_stands_before_its_own_characters(level: str, options: dict[str, object]) -> None:
    tokens = encoder_of(level, **options)
    tokens.fit(made_up(40))
    texts = made_up(37) + made_up(5, "abξ?")
    rows = tokens.encode(texts, "x")
    plain = Tokens(tokens.options, **options)  # type: ignore[arg-type]
    plain.load(tokens.tokenizer.to_str())
    words_alone = plain.encode(texts, "x")
    assert isinstance(rows, TokenRows) and rows.truncated == words_alone.truncated
    assert rows.count(1) == words_alone.count(1) > 0
    for text, row, ids in zip(texts, rows, words_alone, strict=True):
        assert torch.equal(row[:, 0], ids)
        words = text.split() if level == "space" else re.findall(r"\w+|[^\w\s]+", text)
        words = words[-len(ids) :] if options.get("keep") == "end" else words[: len(ids)]
        for word, given in zip(words, row[:, 1:].tolist(), strict=True):
            ends = word if len(word) <= MOST else word[:12] + word[-12:]
            known = [tokens.characters.get(letter, 1) for letter in ends]
            assert given == known + [0] * (len(given) - len(known))
    assert {*tokens.characters} == {*"abAB'! "} and tokens.num_characters == 9


def test_characters_survive_saving() -> None:
    tokens = encoder_of()
    tokens.fit(made_up(40))
    loaded = load_inputs(json.loads(json.dumps(tokens.state())))
    assert loaded.state() == tokens.state() and loaded.num_characters == tokens.num_characters == 9
    for old, new in zip(tokens.encode(["aB ξ"], "x"), loaded.encode(["aB ξ"], "x"), strict=True):
        assert torch.equal(old, new)


def test_the_name_of_padding_is_no_padding() -> None:
    tokens = encoder_of("space")
    tokens.fit(["[PAD] a a"])
    [row] = tokens.encode(["a [PAD] a"], "x")
    assert row[1, 0] == 1 and (row[1, 1:6] > 0).all()


def classifier(tokens: Tokens, **options: object) -> SequenceClassifier:
    torch.manual_seed(0)
    data = {"inputs": "tokens", "num_inputs": tokens.num_inputs, "classes": ["x", "y"]}
    data["num_characters"] = tokens.num_characters
    embedding = {"size": 6, **READ}
    sizes = {"hidden_size": 8, "bidirectional": True}
    return SequenceClassifier(data, sizes, "max_pool", embedding=embedding, **options).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("window", [None, 3])
def test_a_text_is_classified_as_if_alone(window: int | None) -> None:
    tokens = encoder_of()
    tokens.fit(made_up(40, "abAB"))
    batch = collate([*tokens.encode(made_up(11, "abAB"), "x")])
    model = classifier(tokens, window=window)
    assert len({*batch.lengths.tolist()}) > 3 and batch.inputs.shape[2] == 1 + MOST
    logits = model(batch)
    for row, length in enumerate(batch.lengths.tolist()):
        words = batch.inputs[row : row + 1, :length]
        words = words[..., : 1 + int((words[..., 1:] > 0).sum(dim=-1).max())]
        alone = model.as_function()(words, torch.tensor([length]))
        torch.testing.assert_close(alone, logits[row : row + 1])
    result = audit(model.as_function(), batch.inputs, batch.lengths, "sequence")
    assert not result.findings


def test_a_word_is_left_out_with_its_characters() -> None:
    tokens = encoder_of()
    tokens.fit(made_up(40))
    [words] = tokens.encode(["aab b'! Bab aab"], "x")
    model = classifier(tokens)
    label, _, counts = left_out(model, words)
    odds = []
    for some in (words, *(torch.cat([words[:n], words[n + 1 :]]) for n in range(len(words)))):
        logits = model.as_function()(some[None], torch.tensor([len(some)]))[0]
        odds.append(logits[label] - logits[1 - label])
    wanted = odds[0] - torch.stack(odds[1:])
    torch.testing.assert_close(counts, wanted, check_dtype=False, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("level", ["char", "byte", "bpe"])
def test_only_words_have_characters(level: str) -> None:
    with pytest.raises(UserError, match=f"data.tokenizer={level} makes other tokens: set data.tok"):
        encoder_of(level)


def test_a_run_reads_characters_beside_words(script: Script, reviews: Path, tmp_path: Path) -> None:
    given = ("data=text", "data.train=reviews.csv", "model.window=4", "trainer=cpu")
    given = (*given, "data.characters=true", "trainer.max_epochs=1", "baseline=false")
    error = script("train.py", *given, status=2).stderr
    assert "set model.embedding.characters=lstm, or data.characters=false" in error
    given = (*given, "model.embedding.characters=lstm", "folder=run")
    done = script("train.py", *given)
    assert "words, characters" in done.stdout
    assert ' title="+' in (tmp_path / "run" / "figures" / "words.html").read_text()
    lines = script("predict.py", "run=run", "input=reviews.csv").stdout.splitlines()
    rows = [json.loads(line) for line in lines if line.startswith("{")]
    texts = [row["text"] for row in csv.DictReader(reviews.read_text().splitlines())]
    found = load_run(tmp_path / "run").predict(texts)
    for row, other in zip(rows, found, strict=True):
        assert row["probabilities"] == pytest.approx(other["probabilities"], abs=1e-5)
