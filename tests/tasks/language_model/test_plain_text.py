"""Text files for a language model: they are read exactly, or one line says what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from seqmodels.errors import UserError
from seqmodels.tasks.language_model import PlainText, StreamDataModule
from tests.data.test_targets import has_the_defaults_of


def test_a_text_file_of_two_splits_is_noted_by_its_bytes(tmp_path: Path) -> None:
    def notes(**files: Any) -> list[str]:
        data = PlainText(**files, tokenizer="char")
        data.setup()
        return list(data.notes)

    names = [tmp_path / f"{name}.txt" for name in ("one", "two", "copy", "same_size")]
    for name, letter in zip(names, "abac", strict=True):
        name.write_text(f"{letter} line\n" * 500)
    one, two, copy, other = map(str, names)
    assert notes(train=one, validation=other, test=[two, copy]) == [
        "3,500 of 7,000 bytes (50.00 %) of the test split are in the train split, too: a file is "
        "in both"
    ]
    assert notes(train=one, validation=other, test=two) == []
    assert notes(train=[one, two, other]) == []  # splits are cut from it
    [note] = notes(train=one, test=one, validation=two)
    assert note.startswith("3,500 of 3,500 bytes (100.00 %) of the test split are in the train")


def test_the_names_of_special_tokens_are_text_like_any_other(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("x [PAD] [UNK] y\n" * 40)
    for level in ("word", "char", "byte", "bpe"):
        data = PlainText(str(path), tokenizer=level, evaluation_streams=1)
        data.setup()
        ids = data.tokens["train"].ids[1:]
        assert data.text_of(ids.tolist()).startswith("x [PAD] [UNK] y\n") and ids.min() > 1
        assert min(data.ids_of("x [PAD] [UNK] y")) > 1


def test_a_batch_of_texts_for_a_language_model_begins_with_the_start(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_text("abc\n" * 50)
    data = PlainText(str(path), tokenizer="char", evaluation_streams=1)
    data.setup()
    batch = data.batch_of(["ab", "", "c?ab"])
    assert batch.lengths.tolist() == [3, 1, 5] and batch.targets is None
    assert batch.inputs[:, 0].tolist() == [0, 0, 0]
    assert batch.inputs[0, 1:3].tolist() == data.ids_of("ab")
    assert batch.inputs[2, 2] == 1  # `?` is unknown
    assert (data.per, data.target) == ("step", "next_token")
    with pytest.raises(UserError, match="^book.txt has no labels to predict: use python "):
        data.read_inputs("x.txt")


def test_brackets_in_a_name_are_part_of_it_unless_wildcards_find_more(tmp_path: Path) -> None:
    for name in ("train1.txt", "train[1].txt", "train*.txt"):
        (tmp_path / name).write_text(name)
    for name in ("train[1].txt", "train*.txt"):
        [text] = PlainText(str(tmp_path / name)).read()["train"]
        assert bytes(text).decode() == name
    assert len(PlainText(str(tmp_path / "train?*.txt")).read()["train"]) == 3
    (tmp_path / "train[1].txt").unlink()
    with pytest.raises(UserError, match="no such file; did you mean train1.txt"):
        PlainText(str(tmp_path / "train[1].txt")).read()


def test_what_is_not_a_file_is_refused(tmp_path: Path) -> None:
    for path in ("/dev/zero", str(tmp_path)):
        with pytest.raises(UserError, match="name a file in it|no such file"):
            PlainText(train=path).setup()


def test_shared_configuration_has_the_defaults_of_the_signature() -> None:
    has_the_defaults_of("streams", StreamDataModule)
