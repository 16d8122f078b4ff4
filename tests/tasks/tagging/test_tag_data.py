"""`data=tags`: words and tags from files, exactly as they stand there."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seqmodels.data import Words
from seqmodels.data.inputs import load_inputs
from seqmodels.data.loading import collate
from seqmodels.errors import UserError
from seqmodels.tasks.tagging import TaggedText
from tests.conftest import Script, result_of

TEXTS = [(["the", "cat"], ["B", "I"]), (["#", "sat"], ["B", "O"])]
Write = Callable[[str, str], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """`write("a.txt", "the B")`: the path of a file."""

    def write(name: str, text: str) -> str:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8", newline="")
        return str(path)

    return write


@pytest.fixture
def train_file(write: Write) -> str:
    """Words whose tags are their first letters."""
    random, lines = np.random.default_rng(0), list[str]()
    for _ in range(120):
        for number in random.integers(0, 40, random.integers(1, 21)):
            lines.append(f"{'ab'[number % 2]}{number} x {'AB'[number % 2]}")
        lines.append("")
    return write("train.txt", "\n".join(lines))


def read(path: str, **options: Any) -> list[tuple[list[str], list[str]]]:
    return [*TaggedText(**options).read_file(path)]


def inputs(path: str, **options: Any) -> list[list[str]]:
    return [*TaggedText(**options).read_inputs(path)]


# ---------------------------------------------------------------- files

COLUMNS = "-DOCSTART- -X- O\n\nthe DT B\ncat NN I\n\n# NN B\nsat VB O"
NAMED = {"columns": ["id", "tag", "form"], "token_column": "form", "tag_column": "tag"}
LISTS = '{"words": ["the", "cat"], "pos": ["B", "I"]}\n{"words": ["#", "sat"], "pos": ["B", "O"]}\n'


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("a.txt", COLUMNS, {}),
        ("a.txt", COLUMNS.replace("\n", "\r\n") + "\r\n\r\n\r\n", {}),
        ("a.conll", "1\tB\tthe\n2\tI\tcat\n\n1\tB\t#\n2\tO\tsat\n", NAMED),
        ("a.json", LISTS, {"token_column": "words", "tag_column": "pos"}),
        ("a.jsonl", LISTS.replace("words", "tokens").replace("pos", "tags"), {}),
    ],
)
def test_a_file_has_words_and_tags(
    write: Write, name: str, content: str, options: dict[str, Any]
) -> None:
    assert read(write(name, content), **options) == TEXTS


def test_tabs_separate_where_there_are_some_and_other_spaces_belong_to_words(write: Write) -> None:
    path = write("a.tsv", "New York\tB\n10\u00a0000 \t O\n \t \nx O\n")
    assert read(path) == [(["New York", "10\u00a0000"], ["B", "O"]), (["x"], ["O"])]
    assert read(write("b.txt", "10\u00a0000  x  O \n")) == [(["10\u00a0000"], ["O"])]


def conllu(*rows: str) -> str:
    """Lines of CoNLL-U from `id form upos`, and an xpos, feats and deprel for each."""
    lines = []
    for number, form, upos in (row.split() for row in rows):
        rest = ["_"] * 6 if upos == "_" else f"x{upos} Case=Nom 0 root _ _".split()
        lines.append("\t".join([number, form, form.lower(), upos, *rest]))
    return "\n".join(lines) + "\n"


CONLLU = (
    "# newdoc\n# text = Vámonos al mar\n"
    + conllu("1-2 Vámonos _", "1 Vamos VERB", "2 nos PRON", "3-4 al _", "3 a ADP", "4 # SYM")
    + conllu("4.1 fue _", "5 mar NOUN")
    + "\n# text = sí\n"
    + conllu("1 sí INTJ")
)


def test_conllu_has_words_only_and_its_columns_by_name(write: Write) -> None:
    path = write("a.conllu", CONLLU)
    words = [["Vamos", "nos", "a", "#", "mar"], ["sí"]]
    tags = [["VERB", "PRON", "ADP", "SYM", "NOUN"], ["INTJ"]]
    assert read(path) == [*zip(words, tags, strict=True)]
    assert read(path, tag_column="xpos")[1] == (["sí"], ["xINTJ"])
    assert read(path, token_column="lemma", tag_column="deprel")[0][0][0] == "vamos"
    assert inputs(path) == words  # to predict for
    with pytest.raises(UserError, match=r"data\.tag_column=pos is not in .*: choose one of deprel"):
        read(path, tag_column="pos")


def test_class_numbers_of_hub_data_sets_become_names(tmp_path: Path) -> None:
    import datasets

    words, tags = datasets.Value("string"), datasets.ClassLabel(names=["O", "B-PER"])
    kinds = {"tokens": datasets.Sequence(words), "ner_tags": datasets.Sequence(tags)}
    (tmp_path / "hub").mkdir()
    for split, tags in (("train", [[1, 0], [0]]), ("test", [[1, 1]])):
        rows = {"tokens": [["x"] * len(t) for t in tags], "ner_tags": tags}
        made = datasets.Dataset.from_dict(rows, datasets.Features(kinds))
        made.to_parquet(tmp_path / "hub" / f"{split}.parquet")
    found = TaggedText(hub=str(tmp_path / "hub")).read()
    assert found["train"].targets == [["B-PER", "O"], ["O"]]
    assert found["test"].targets == [["B-PER", "B-PER"]]


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("a.txt", "\na\nb\n", {}, r"a.txt: line 2 is \['a'\]"),
        ("a.txt", "a A\n\nb c B\n", {}, "line 3 is .* as many columns, 2"),
        ("a.conllu", "1\tThe\tDT\n", {}, "line 1 is .* as many columns, 10; "),
        ("a.txt", "a\tA\n\tB\n", {}, r"line 2 is \['', 'B'\]"),
        ("a.txt", "a\tA\nb\t\n", {}, r"line 2 is \['b', ''\]"),
        ("a.txt", "a A\n", {"tag_column": "ner"}, "tag_column=ner is not in data.columns"),
        ("a.json", '{"tokens": ["a"]}', {}, "row 1 has no column 'tags': set data.tag_column"),
        ("a.json", '{"tokens": [], "tags": []}', {}, "row 1: tokens must be a list"),
        ("a.json", '{"tokens": ["a", ""], "tags": []}', {}, "the token of row 1 is empty"),
        ("a.json", '{"tokens": ["a"], "tags": [null]}', {}, "the tag of row 1 is empty"),
    ],
)
def test_a_mistake_is_named_with_its_place(
    write: Write, name: str, content: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read(write(name, content), **options)


def test_a_file_without_a_word_is_one_line(write: Write, train_file: str) -> None:
    data, empty = TaggedText(train_file), write("a.txt", "\n\n-DOCSTART- x\n")
    data.setup()
    with pytest.raises(UserError, match=r"a\.txt is empty"):
        data.file_loader(empty)
    with pytest.raises(UserError, match="is empty|cannot cut a test split from"):
        TaggedText(empty).setup()


# ---------------------------------------------------------------- inputs to predict for

WORD_SECOND = {"columns": ["id", "word", "tag"], "token_column": "word"}


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("a.txt", "the cat\r\n#\tsat", {}),  # a line is a text
        ("a.conll", COLUMNS, {}),
        ("a.conll", "the DT\ncat NN\n\n# NN\nsat VB\n", {}),  # without tags
        ("a.conll", "the\ncat\n\n#\nsat\n", {}),
        ("a.conll", "1 the\n2 cat\n\n1 #\n2 sat\n", WORD_SECOND),
        ("a.conll", "the\ncat\n\n#\nsat\n", WORD_SECOND),
        ("a.jsonl", '{"tokens": ["the", "cat"]}\n{"tokens": ["#", "sat"], "tags": ["B", "O"]}', {}),
    ],
)
def test_a_file_to_predict_for_has_tags_or_none(
    write: Write, name: str, content: str, options: dict[str, Any]
) -> None:
    assert inputs(write(name, content), **options) == [["the", "cat"], ["#", "sat"]]


def test_a_file_to_predict_for_that_is_of_another_kind_is_named(write: Write) -> None:
    with pytest.raises(UserError, match=r"new\.conll: line 1 is \['the', 'B'\]: each line needs"):
        inputs(write("new.conll", "the B\n"), columns=["tag", "id", "word"], token_column="word",
               tag_column="tag")  # fmt: skip
    with pytest.raises(UserError, match=r"new\.txt: line 3 has no words, but each line is a text"):
        inputs(write("new.txt", "a B\nb I\n\nc B\n"))  # a file to learn from


def test_standard_input_has_a_text_per_line(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = io.BytesIO(b"one two B\none\n-DOCSTART- x\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(lines))
    assert inputs("-") == [["one", "two", "B"], ["one"], ["-DOCSTART-", "x"]]


# ---------------------------------------------------------------- words


def test_each_word_is_one_step_whatever_it_holds() -> None:
    raw = [["New York", "[PAD]", "a", "a"], ["A", "[UNK]"]]
    words = Words(lowercase=True)
    words.fit(raw)
    first, second = words.encode(raw, "made")
    assert min(*first.tolist(), *second.tolist()) > 0  # which is padding
    assert first[2] == first[3] == second[0] and first[0] > 1
    assert words.encode([["new york", "z"]], "made")[0].tolist() == [int(first[0]), 1]


def test_pre_trained_vectors_go_by_word(write: Write) -> None:
    path = write("a.vec", "a 1 2\nb 3 4\nnew 5 6\n")
    words = Words(vectors=path, vocabulary="vectors", min_count=1)
    words.fit([["b", "b", "c"]])
    assert words.vectors is not None and words.own_spec == {"vector_size": 2, "num_trained": 4}
    ids = words.encode([["b", "new", "a", "z"]], "made")[0]
    torch.testing.assert_close(words.vectors[ids[:3]], torch.tensor([[3.0, 4], [5, 6], [1, 2]]))
    assert ids[3] == 1 and load_inputs(words.state()).own_spec == words.own_spec


def test_characters_stand_after_the_word_and_of_a_very_long_one_both_ends() -> None:
    raw = [["ab", "b"], ["a" * 12 + "b" * 500 + "c" * 12]]
    words = Words(characters=True)
    words.fit(raw)
    short, long = words.encode(raw, "made")
    a, b, c = (words.characters[letter] for letter in "abc")
    assert short[:, 1:].tolist() == [[a, b], [b, 0]]
    assert long[0, 1:].tolist() == [a] * 12 + [c] * 12
    batch = collate([short, long])
    assert batch.inputs.shape == (2, 2, 25) and batch.inputs[1, 1:].eq(0).all()
    assert torch.equal(batch.inputs[0, :, :3], short)


# ---------------------------------------------------------------- the data module, and a run


def test_a_tag_that_training_lacks_is_noted_with_its_place(write: Write, train_file: str) -> None:
    data = TaggedText(train_file, test=write("test.txt", "a1 x A\na2 x I-X\n"))
    data.setup()
    assert any("1 of 2 tags (50.00 %)" in note and "'I-X' of" in note for note in data.notes)


def test_baselines_of_tags_follow_the_vocabulary(train_file: str) -> None:
    found = []
    for options in ({}, {"characters": True}, {"min_count": 10_000}):
        data = TaggedText(train_file, **options)
        data.setup()
        found.append(data.baselines()["test/accuracy"]["most frequent tag of each token"])
    assert found[:2] == [1.0] * 2 and found[2] < 0.7


@pytest.mark.slow
def test_a_run_with_all_options_predicts_whole_texts(
    script: Script, write: Write, train_file: str, tmp_path: Path
) -> None:
    vectors = write("words.vec", "a0 1 2\nb1 3 4\nbb 5 6\n")
    given = ("model=tagger", "data=tags", f"data.train={train_file}", f"data.vectors={vectors}")
    words = ("data.vocabulary=vectors", "data.characters=true")
    quick = ("trainer=cpu", "model.encoder.hidden_size=16", "trainer.max_epochs=8", "folder=run")
    done = script("train.py", *given, *words, "model.optimizer.lr=0.01", *quick)
    assert "words, characters" in done.stdout and "truncated_direction" not in done.stderr
    assert result_of(tmp_path / "run")["metrics"]["test/accuracy"] > 0.95
    long = ["a0", "b1"] * 8 + ["bb999"]
    predicted = script("predict.py", "run=run", f"input={write('new.txt', ' '.join(long))}")
    [row] = map(json.loads, predicted.stdout.splitlines())
    assert row["tokens"] == long and row["tags"] == ["A", "B"] * 8 + ["B"]
    assert "accuracy" in script("evaluate.py", "run=run", f"file={train_file}").stdout
