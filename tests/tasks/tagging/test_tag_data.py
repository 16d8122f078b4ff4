"""`data=tags`: words and tags from files, exactly as they stand there."""

from __future__ import annotations

import io
import json
import sys
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

COLUMNS = "-DOCSTART- -X- O\n\nthe DT B\ncat NN I\n\n# NN B\nsat VB O\n\n\n"
TEXTS = [(["the", "cat"], ["B", "I"]), (["#", "sat"], ["B", "O"])]


def written(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def column_file(path: Path, texts: int = 60, longest: int = 9, seed: int = 0) -> str:
    """Words whose tags are their first letters."""
    random, lines = np.random.default_rng(seed), list[str]()
    for _ in range(texts):
        for number in random.integers(0, 40, random.integers(1, longest + 1)):
            lines.append(f"{'ab'[number % 2]}{number} x {'AB'[number % 2]}")
        lines.append("")
    return written(path, "\n".join(lines))


def read(path: str, **options: Any) -> list[tuple[list[str], list[str]]]:
    return [*TaggedText(**options).read_file(path)]


def inputs(path: str, **options: Any) -> list[list[str]]:
    return [*TaggedText(**options).read_inputs(path)]


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", ["", "\n"])
def test_column_files_have_a_word_and_its_tag_per_line(tmp_path: Path, end: str, last: str) -> None:
    path = tmp_path / "train.txt"
    path.write_bytes((COLUMNS.rstrip() + last).replace("\n", end).encode())
    assert read(str(path)) == TEXTS


def test_a_file_of_another_encoding_is_refused_without_a_key_that_tags_lack(tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_bytes("the O\ncafé O\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"line 2 is not utf-8 text \(.*\); save it as utf-8$"):
        read(str(path))


def test_columns_have_names_and_any_order(tmp_path: Path) -> None:
    path = written(tmp_path / "a.conll", "1\tB\tthe\n2\tI\tcat\n\n1\tB\t#\n2\tO\tsat\n")
    names = {"columns": ["id", "tag", "form"], "token_column": "form", "tag_column": "tag"}
    assert read(path, **names) == TEXTS


def test_tabs_separate_where_there_are_some_and_other_spaces_belong_to_words(
    tmp_path: Path,
) -> None:
    path = written(tmp_path / "a.tsv", "New York\tB\n10\u00a0000 \t O\n \t \nx O\n")
    assert read(path) == [(["New York", "10\u00a0000"], ["B", "O"]), (["x"], ["O"])]
    path = written(tmp_path / "b.txt", "10\u00a0000  x  O \n")
    assert read(path) == [(["10\u00a0000"], ["O"])]


def conllu(*rows: str) -> str:
    """Lines of CoNLL-U from `id form upos`, and an xpos, feats and deprel for each."""
    lines = []
    for number, form, upos in (row.split() for row in rows):
        empty = upos == "_"
        rest = ["_", "_", "_", "_", "_", "_"] if empty else f"x{upos} Case=Nom 0 root _ _".split()
        lines.append("\t".join([number, form, form.lower(), upos, *rest]))
    return "\n".join(lines) + "\n"


CONLLU = (
    "# newdoc\n# text = Vámonos al mar\n"
    + conllu("1-2 Vámonos _", "1 Vamos VERB", "2 nos PRON", "3-4 al _", "3 a ADP", "4 # SYM")
    + conllu("4.1 fue _", "5 mar NOUN")
    + "\n# text = sí\n"
    + conllu("1 sí INTJ")
)


def test_conllu_has_words_only_and_its_columns_by_name(tmp_path: Path) -> None:
    path = written(tmp_path / "a.conllu", CONLLU)
    words = [["Vamos", "nos", "a", "#", "mar"], ["sí"]]
    tags = [["VERB", "PRON", "ADP", "SYM", "NOUN"], ["INTJ"]]
    assert read(path) == [*zip(words, tags, strict=True)]
    assert [[*map("x{}".format, row)] for row in tags] == [
        t for _, t in read(path, tag_column="xpos")
    ]
    assert read(path, tag_column="feats")[1] == (["sí"], ["Case=Nom"])
    assert read(path, token_column="lemma", tag_column="deprel")[1] == (["sí"], ["root"])
    data = TaggedText(path)
    assert [*data.read_inputs(path)] == words  # to predict for
    with pytest.raises(
        UserError, match=r"data\.tag_column=pos is not in data.columns: choose one of deprel"
    ):
        read(path, tag_column="pos")
    broken = written(tmp_path / "c.conllu", "1\tThe\tDT\n")
    with pytest.raises(UserError, match=r"c\.conllu: line 1 is .*: .* as many columns, 10; "):
        read(broken)


def test_lists_in_json(tmp_path: Path) -> None:
    rows = [{"tokens": ["New York", "2"], "tags": ["B", "O"]}, {"tokens": ["x"], "tags": ["O"]}]
    want = [(row["tokens"], row["tags"]) for row in rows]
    lines = "".join(json.dumps(row) + "\n" for row in rows).replace('"2"', "2")
    assert read(written(tmp_path / "a.jsonl", lines)) == want
    renamed = written(tmp_path / "b.json", lines.replace("tags", "pos").replace("tokens", "words"))
    assert read(renamed, token_column="words", tag_column="pos") == want


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
        ("a.txt", "a A\n", {"columns": ["x", "y", "z"]}, "line 1 is .* columns, 3"),
        ("a.txt", "a\tA\n\tB\n", {}, r"line 2 is \['', 'B'\]"),
        ("a.txt", "a\tA\nb\t\n", {}, r"line 2 is \['b', ''\]"),
        ("a.txt", "a A\n", {"tag_column": "ner"}, "tag_column=ner is not in data.columns"),
        ("a.json", '{"tokens": ["a"]}', {}, "row 1 has no column 'tags': set data.tag_column"),
        ("a.json", '{"tokens": [], "tags": []}', {}, "row 1: tokens must be a list"),
        ("a.json", '{"tokens": "a", "tags": []}', {}, "row 1: tokens must be a list"),
        ("a.json", '{"tokens": ["a", ""], "tags": []}', {}, "the token of row 1 is empty"),
        ("a.json", '{"tokens": ["a"], "tags": [null]}', {}, "the tag of row 1 is empty"),
    ],
)
def test_a_mistake_is_named_with_its_place(
    tmp_path: Path, name: str, content: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read(written(tmp_path / name, content), **options)


@pytest.mark.parametrize("content", ["", "\n\n-DOCSTART- x\n"])
def test_a_file_without_a_word_is_one_line(tmp_path: Path, content: str) -> None:
    path = written(tmp_path / "a.txt", content)
    with pytest.raises(UserError, match="is empty|cannot cut a test split from"):
        TaggedText(path).setup()
    data = TaggedText(column_file(tmp_path / "train.txt"))
    data.setup()
    with pytest.raises(UserError, match=r"a\.txt is empty"):
        data.file_loader(path)


# ---------------------------------------------------------------- inputs to predict for


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "the cat\n#\tsat\n"),
        ("a.conll", "the DT B\ncat NN I\n\n# NN B\nsat VB O\n"),
        ("a.conll", "the DT\ncat NN\n\n# NN\nsat VB\n"),
        ("a.conll", "the\ncat\n\n#\nsat\n"),
        ("a.jsonl", '{"tokens": ["the", "cat"]}\n{"tokens": ["#", "sat"], "tags": ["B", "O"]}'),
    ],
)
def test_a_file_to_predict_for_has_tags_or_none(tmp_path: Path, name: str, content: str) -> None:
    assert inputs(written(tmp_path / name, content)) == [["the", "cat"], ["#", "sat"]]


def test_a_file_to_predict_for_has_its_words_where_training_has_them(tmp_path: Path) -> None:
    names = {"columns": ["id", "word", "tag"], "token_column": "word"}
    for content in ("1 the B\n2 cat I\n", "1 the\n2 cat\n", "the\ncat\n"):
        assert inputs(written(tmp_path / "new.conll", content), **names) == [["the", "cat"]]
    new = written(tmp_path / "new.conll", "the B\n")
    with pytest.raises(UserError, match=r"new\.conll: line 1 is \['the', 'B'\]: each line needs"):
        inputs(new, columns=["tag", "id", "word"], token_column="word", tag_column="tag")


def test_each_line_of_plain_text_is_a_text(tmp_path: Path) -> None:
    new = written(tmp_path / "new.txt", "Hello\nWorld\nStop\n")
    assert inputs(new) == [["Hello"], ["World"], ["Stop"]]
    new = written(tmp_path / "new.txt", "two words\r\nand three  more\n10\u00a0000")
    assert inputs(new) == [["two", "words"], ["and", "three", "more"], ["10\u00a0000"]]
    new = written(tmp_path / "new.txt", "a B\nb I\n\nc B\n")  # a file to learn from
    with pytest.raises(UserError, match=r"new\.txt: line 3 has no words, but each line is a text"):
        inputs(new)


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


def test_pre_trained_vectors_go_by_word(tmp_path: Path) -> None:
    path = written(tmp_path / "a.vec", "a 1 2\nb 3 4\nnew 5 6\n")
    words = Words(vectors=path, vocabulary="vectors", min_count=1)
    words.fit([["b", "b", "c"]])
    assert words.vectors is not None and words.own_spec == {"vector_size": 2, "num_trained": 4}
    ids = words.encode([["b", "new", "a", "z"]], "made")[0]
    torch.testing.assert_close(words.vectors[ids[:3]], torch.tensor([[3.0, 4], [5, 6], [1, 2]]))
    assert ids[3] == 1
    assert load_inputs(words.state()).own_spec == words.own_spec


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


# ---------------------------------------------------------------- the data module


def test_a_tag_that_training_lacks_is_noted_with_its_place(tmp_path: Path) -> None:
    train = column_file(tmp_path / "train.txt")
    test = written(tmp_path / "test.txt", "a1 x A\na2 x I-X\n")
    data = TaggedText(train, test=test, min_count=2)
    data.setup()
    assert any("1 of 2 tags (50.00 %)" in note and "'I-X' of" in note for note in data.notes)


def test_what_a_checkpoint_knows_encodes_and_reads_the_same(tmp_path: Path) -> None:
    train = column_file(tmp_path / "train.txt")
    data = TaggedText(train, characters=True, batch_size=5)
    data.setup()
    spec = json.loads(json.dumps(data.spec))
    assert spec["num_characters"] == data.inputs.own_spec["num_characters"]
    again = TaggedText(train, characters=True, batch_size=5)
    again.use_spec(spec)
    assert again.spec == data.spec
    for one, other in zip(again.file_loader(train), data.file_loader(train), strict=True):
        assert torch.equal(one.inputs, other.inputs) and torch.equal(one.targets, other.targets)
    new = written(tmp_path / "new.conll", "a1 x\nb2 x\n")
    assert [*again.read_inputs(new)] == [["a1", "b2"]]
    assert len(again.batch_of([["a1", "zz"]])) == 1


def test_baselines_of_tags_follow_the_vocabulary(tmp_path: Path) -> None:
    train = column_file(tmp_path / "train.txt", texts=200)
    found = []
    for options in ({}, {"characters": True}, {"min_count": 10_000}):
        data = TaggedText(train, **options)
        data.setup()
        found.append(data.baselines()["test/accuracy"]["most frequent tag of each token"])
    assert found[:2] == [1.0] * 2 and found[2] < 0.7


# ---------------------------------------------------------------- a run


@pytest.mark.slow
def test_a_run_with_all_options_predicts_whole_texts(script: Script, tmp_path: Path) -> None:
    train = column_file(tmp_path / "train.txt", texts=120, longest=20)
    vectors = written(tmp_path / "words.vec", "a0 1 2\nb1 3 4\nbb 5 6\n")
    given = ("model=tagger", "data=tags", f"data.train={train}")
    given = (*given, f"data.vectors={vectors}", "data.vocabulary=vectors", "data.characters=true")
    quick = ("trainer=cpu", "model.encoder.hidden_size=16", "trainer.max_epochs=8", "folder=run")
    done = script("train.py", *given, "model.optimizer.lr=0.01", *quick)
    assert "words, characters" in done.stdout and "truncated_direction" not in done.stderr
    metrics = result_of(tmp_path / "run")["metrics"]
    assert metrics["test/accuracy"] > 0.95
    words = ["a0", "b1"] * 8 + ["bb999"]
    (tmp_path / "new.txt").write_text(" ".join(words) + "\na2\n")
    predicted = script("predict.py", "run=run", "input=new.txt")
    rows = [json.loads(line) for line in predicted.stdout.splitlines()]
    assert [row["tokens"] for row in rows] == [words, ["a2"]]
    assert rows[0]["tags"] == ["A", "B"] * 8 + ["B"] and rows[1]["tags"] == ["A"]
    scored = script("evaluate.py", "run=run", f"file={train}")
    assert "accuracy" in scored.stdout
