"""`data=pairs`: pairs of texts are read, encoded, batched, decoded, and wrong ones are named."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from seqmodels.batch import PairBatch
from seqmodels.data import TokenizerOptions
from seqmodels.tasks.seq2seq import PairDataModule, Pairs, TextDecoder
from seqmodels.tasks.seq2seq.pairs import TextTargets

Rows = list[tuple[str, str]]
WORDS = [
    ("low", "l oʊ"),
    ("lower", "l oʊ ə"),
    ("new", "n uu"),
    ("newer", "n uu ə"),
    ("new", "n j uu"),
    ("wow", "w aʊ"),
    ("we", "w ii"),
    ("row", "ɹ oʊ"),
    ("row", "ɹ aʊ"),
    ("ewe", "j uu"),
    ("lewer", "l uu ə"),
]  # 9 different sources


def tsv(path: Path, rows: Rows, header: str = "source\ttarget\n") -> str:
    lines = "".join("\t".join(row) + "\n" for row in rows)
    path.write_text(header + lines, encoding="utf-8")
    return str(path)


@pytest.fixture
def pairs_from_files(tmp_path: Path) -> Callable[..., Pairs]:
    """`pairs_from_files(test, min_count=2)`: pairs from files, with this test."""

    def make(
        test: Rows = WORDS[2:9], train: Rows = WORDS, validation: Rows = WORDS[:4], **options: Any
    ) -> Pairs:
        tables = {"train": train, "validation": validation, "test": test}
        files = [tsv(tmp_path / f"{name}.tsv", rows) for name, rows in tables.items()]
        data = Pairs(*files, **{"target_tokenizer": "space", "batch_size": 3, **options})
        data.setup()
        return data

    return make


def rows(data: PairDataModule, batches: Iterable[Any]) -> Rows:
    """Each source and target, decoded again, with what the decoder reads checked by hand."""
    found = []
    source_text = TextDecoder(data.spec["preprocessor"])
    target_text = TextDecoder(data.spec["target_preprocessor"])
    for batch in batches:
        assert isinstance(batch, PairBatch)
        for row, length in enumerate(batch.target.lengths.tolist()):
            read, written = batch.target.inputs[row].tolist(), batch.target.targets[row].tolist()
            assert read[0] == data.spec["start"] and written[length - 1] == data.spec["end"]
            assert read[1:length] == written[: length - 1]
            assert set(read[length:]) <= {0} and set(written[length:]) <= {-100}
            source = batch.inputs[row, : batch.lengths[row]].tolist()
            found.append((source_text(source), target_text(written[:length])))
    return found


# ---------------------------------------------------------------- batches


def test_training_has_each_pair_and_evaluation_each_source_with_all_its_references(
    pairs_from_files: Callable[..., Pairs], tmp_path: Path
) -> None:
    data = pairs_from_files()
    batches = [*data.train_dataloader()]
    assert sorted(rows(data, batches)) == sorted(WORDS)
    assert all(batch.references is None for batch in batches)
    batches = [*data.test_dataloader()]
    found = {s: r for batch in batches for (s, _), r in zip(rows(data, [batch]), batch.references)}
    expected = [WORDS[2], WORDS[3], WORDS[5], WORDS[6], WORDS[7]]  # the first target of each
    assert sorted(rows(data, batches)) == sorted(expected)
    assert found["new"] == ("n uu", "n j uu") and found["we"] == ("w ii",)
    assert data.split_sizes == {"train": 9, "validation": 4, "test": 5}
    [batch] = data.file_loader(tsv(tmp_path / "more.tsv", [WORDS[8], WORDS[0], WORDS[7]]))
    assert sorted(batch.references) == [("l oʊ",), ("ɹ aʊ", "ɹ oʊ")]


def test_splits_cut_from_training_never_share_a_source(tmp_path: Path) -> None:
    pairs = [(f"s{n % 40}", f"t{n}") for n in range(100)]
    data = Pairs(tsv(tmp_path / "train.tsv", pairs), validation_fraction=0.25, test_fraction=0.25)
    data.setup()
    sources = {split: set(part.inputs) for split, part in data.examples.items()}
    assert [len(found) for found in sources.values()] == [22, 8, 10]
    assert len(set.union(*sources.values())) == 40
    found = sorted(source for source, _ in rows(data, data.train_dataloader()))
    assert found == sorted(source for source, _ in pairs if source in sources["train"])


def test_sources_that_given_splits_share_with_training_are_counted(
    pairs_from_files: Callable[..., Pairs],
) -> None:
    data = pairs_from_files([("low", "l oʊ"), ("ew", "j uu")], min_count=1)
    counts = [note.partition(" rows")[0] for note in data.notes if " rows" in note]
    assert counts == ["4 of 4", "1 of 2", "1 of 2"]  # the test with training and with validation


# ---------------------------------------------------------------- files


def test_a_target_may_be_a_list_and_a_table_without_a_header(tmp_path: Path) -> None:
    tsv(tmp_path / "a.tsv", WORDS[2:3], header="")
    [row] = Pairs(columns=["source", "target"]).read_file(str(tmp_path / "a.tsv"))
    assert row[:2] == ("new", ("n uu",))
    lines = '{"source": "new", "target": ["n uu", "n j uu"]}\n{"source": "we", "target": "w ii"}'
    (tmp_path / "a.jsonl").write_text(lines)
    rows = [*Pairs().read_file(str(tmp_path / "a.jsonl"))]
    assert [row[:2] for row in rows] == [("new", ("n uu", "n j uu")), ("we", ("w ii",))]


# ---------------------------------------------------------------- symbols


def test_symbols_that_training_lacks_are_a_token_and_noted(
    pairs_from_files: Callable[..., Pairs], tmp_path: Path
) -> None:
    data = pairs_from_files([("low", "l oʊ"), ("lox", "l ɒ k")])
    [batch] = data.test_dataloader()
    assert batch.references == [("l oʊ",), ("l ɒ k",)]
    target_text = TextDecoder(data.spec["target_preprocessor"])
    assert target_text.texts(batch.targets.clamp(min=0)) == ["l oʊ", "l [UNK] [UNK]"]
    data.file_loader(tsv(tmp_path / "wrong.tsv", [("λόγος", "l oʊ")]))
    assert any("wrong.tsv: 5 of 5 tokens" in note for note in data.notes)


@pytest.mark.parametrize(
    ("level", "text"),
    [("word", "it's  a test, isn't it?"), ("byte", "naïve ☃"), ("bpe", "new newer\tnewest")],
)
def test_a_target_is_decoded_up_to_its_end(level: str, text: str) -> None:
    targets = TextTargets(TokenizerOptions(level, keep_whitespace=level == "word"))
    raw = [(text, "other"), ("another one",)]
    targets.fit(raw, "x")
    ids = targets.encode(raw, "x")[0].tolist()
    decode = TextDecoder(json.loads(json.dumps(targets.spec["target_preprocessor"])))
    assert decode([*ids, targets.spec["end"], 5, 3]) == text == targets.references(raw)[0][0]


# ---------------------------------------------------------------- baselines

COPY, OFTEN = "copy of the source", "most frequent target"
TABLE = f"{OFTEN} of each source token"


def test_baselines_copy_the_source_or_take_the_most_frequent_target(
    pairs_from_files: Callable[..., Pairs],
) -> None:
    train = [("aaab", "a b"), ("cccd", "c"), ("cccd", "d"), ("z", "a b"), ("zz", "aab")]
    test = [("ccd", "c d e"), ("ccd", "c"), ("xab", "a b c d")]
    found = pairs_from_files(test, train, [("aab", "aab")]).baselines().scores
    assert found["validation/exact_match"] == {COPY: 1.0, OFTEN: 0.0, TABLE: 0.0}
    assert found["test/exact_match"] == {COPY: 0.0, OFTEN: 0.0, TABLE: 0.0}
    # copies: 1 of 1 from "c", and 4 of 4; "a b": 2 of 1, and 2 of 4
    del found["test/symbol_error_rate"][TABLE]
    assert found["test/symbol_error_rate"] == {COPY: 1.0, OFTEN: 4 / 5}


def test_a_table_has_the_share_of_the_target_that_each_source_token_mostly_gets(
    pairs_from_files: Callable[..., Pairs],
) -> None:
    train = [
        ("ab", "x y"),
        ("ba", "y x"),
        ("aab", "x x y"),
        ("c", "p q"),
        ("cb", "p q y"),
        ("da", "x"),
    ]
    test = [("cab", "p q x y"), ("bda", "y x"), ("a?b", "x y"), ("bc", "p q")]
    found = pairs_from_files(test, train, test).baselines().scores
    assert found["test/exact_match"][TABLE] == 3 / 4
