"""`data=pairs`: pairs of texts are read, encoded, batched, decoded, and wrong ones are named."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from sacrebleu.metrics import BLEU

from seqmodels.batch import PairBatch
from seqmodels.data import TokenizerOptions
from seqmodels.errors import UserError
from seqmodels.tasks.seq2seq import PairDataModule, Pairs, TextDecoder
from seqmodels.tasks.seq2seq.text_targets import TextTargets

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


def tsv(path: Path, rows: Iterable[tuple[str, ...]], header: str | None = "source\ttarget") -> str:
    lines = ["\t".join(row) for row in rows]
    path.write_text("\n".join([header, *lines] if header else lines) + "\n", encoding="utf-8")
    return str(path)


def made(tmp_path: Path, **options: Any) -> Pairs:
    given = {"target_tokenizer": "space", "batch_size": 3, **options}
    data = Pairs(
        tsv(tmp_path / "train.tsv", WORDS),
        tsv(tmp_path / "validation.tsv", WORDS[:4]),
        tsv(tmp_path / "test.tsv", WORDS[2:9]),
        **given,
    )
    data.setup()
    return data


def rows(data: PairDataModule, batches: Iterable[Any]) -> list[tuple[str, str]]:
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


def test_training_has_each_pair_as_an_example(tmp_path: Path) -> None:
    data = made(tmp_path)
    batches = [*data.train_dataloader()]
    assert sorted(rows(data, batches)) == sorted(WORDS)
    assert all(batch.references is None for batch in batches)


def test_evaluation_has_each_source_once_with_all_its_references(tmp_path: Path) -> None:
    data = made(tmp_path)
    batches = [*data.test_dataloader()]
    assert sorted(rows(data, batches)) == sorted([WORDS[2], WORDS[3], WORDS[5], WORDS[6], WORDS[7]])
    references = {
        source: references
        for batch in batches
        for (source, _), references in zip(rows(data, [batch]), batch.references)
    }
    assert references["new"] == ("n uu", "n j uu") and references["we"] == ("w ii",)
    assert data.split_sizes == {"train": 9, "validation": 4, "test": 5}


def test_splits_cut_from_training_never_share_a_source(tmp_path: Path) -> None:
    pairs = [(f"s{n % 40}", f"t{n}") for n in range(100)]
    data = Pairs(tsv(tmp_path / "train.tsv", pairs), validation_fraction=0.25, test_fraction=0.25)
    data.setup()
    sources = {split: set(part.inputs) for split, part in data.examples.items()}
    assert [len(found) for found in sources.values()] == [22, 8, 10]
    assert len(set.union(*sources.values())) == 40
    assert len(rows(data, data.train_dataloader())) == sum(
        3 if int(source[1:]) < 20 else 2 for source in sources["train"]
    )


def test_sources_that_given_splits_share_with_training_are_counted(tmp_path: Path) -> None:
    data = made(tmp_path)
    tsv(tmp_path / "test.tsv", [("low", "l oʊ"), ("ew", "j uu")])
    data = Pairs(*data.paths.values())
    data.setup()
    counts = [note.partition(" rows")[0] for note in data.notes]
    assert counts == ["4 of 4", "1 of 2", "1 of 2"]  # the test with training and with validation


def test_several_processes_evaluate_each_source_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = made(tmp_path)
    alone = rows(data, data.test_dataloader())
    found = []
    for rank in range(2):
        monkeypatch.setattr(Pairs, "process", (rank, 2))
        found += rows(data, data.test_dataloader())
    assert sorted(found) == sorted(alone)


# ---------------------------------------------------------------- files


def test_pairs_are_read_from_lists_and_from_files_without_a_header(tmp_path: Path) -> None:
    lists = {s: tuple(t for source, t in WORDS if source == s) for s, _ in WORDS}
    lines = [
        json.dumps({"source": s, "target": ts if len(ts) > 1 else ts[0]}) for s, ts in lists.items()
    ]
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines))
    tsv(tmp_path / "pairs.tsv", WORDS, header=None)
    for name, columns in (("pairs.jsonl", None), ("pairs.tsv", ["source", "target"])):
        data = Pairs(columns=columns)
        examples = data.examples_of(data.read_file(str(tmp_path / name)), name)
        assert dict(zip(examples.inputs, examples.targets)) == lists


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.tsv", "source\ttarget\na\tb\n \tb\n", "the source of row 2 is empty"),
        ("x.tsv", "source\ttarget\na\t\n", "the target of row 1 is empty"),
        ("x.tsv", "a\tb\nc\td\n", "row 1 has no column 'source': set data.source_column"),
        ("x.tsv", "source\tgoal\na\tb\n", "row 1 has no column 'target': set data.target_column"),
        ("x.jsonl", '{"source": "a", "target": []}', "the target of row 1 is empty"),
        ("x.jsonl", '{"source": "a", "target": ["a", null]}', "the target of row 1 is empty"),
        ("x.jsonl", '{"source": "a", "target": null}', "the target of row 1 is empty"),
    ],
)
def test_wrong_files_are_one_line_with_file_and_row(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=f"{name}: {message}"):
        Pairs(str(tmp_path / name)).setup()


def test_sources_to_predict_for_are_a_column_or_plain_lines(tmp_path: Path) -> None:
    data = made(tmp_path)
    lines = tmp_path / "new.txt"
    lines.write_text("low\nrow\n")
    assert [*data.read_inputs(str(lines))] == ["low", "row"]
    assert [*data.read_inputs(tsv(tmp_path / "new.tsv", [("we",)], header="source"))] == ["we"]
    batch = data.batch_of(["row", "lower"])
    assert batch.targets is None and batch.lengths.tolist() == [3, 5]
    with pytest.raises(
        UserError, match="new.txt: row 1 has no column 'target': set data.target_column"
    ):
        data.file_loader(str(lines))


def test_another_file_is_evaluated_by_source(tmp_path: Path) -> None:
    data = made(tmp_path)
    [batch] = data.file_loader(tsv(tmp_path / "more.tsv", [WORDS[8], WORDS[0], WORDS[7]]))
    assert batch.references == [("l oʊ",), ("ɹ aʊ", "ɹ oʊ")] or batch.references == [
        ("ɹ aʊ", "ɹ oʊ"),
        ("l oʊ",),
    ]


# ---------------------------------------------------------------- symbols


def test_a_text_to_write_may_be_spelled_like_the_padding(tmp_path: Path) -> None:
    train = tsv(tmp_path / "train.tsv", [*WORDS, ("pad", "[PAD] a [UNK]")])
    data = Pairs(train, train, train, target_tokenizer="space")
    data.setup()
    written = data.datasets["train"].targets
    assert written[len(written) - 1].tolist()[::2] == [11, 12]  # words, and not the end
    assert written.count(0) == 0


def test_the_summary_counts_pairs_and_symbols_that_training_lacks_are_a_token_and_noted(
    tmp_path: Path,
) -> None:
    train = tsv(tmp_path / "train.tsv", WORDS)
    path = tsv(tmp_path / "test.tsv", [("low", "l oʊ"), ("lox", "l ɒ k")])
    data = Pairs(train, path, path, target_tokenizer="space")
    data.setup()
    [line] = data.summary
    sizes = [f"{split} 2 pairs of 2 sources" for split in ("validation", "test")]
    assert line == f"train.tsv: train 11 pairs of 9 sources, {', '.join(sizes)}"
    [batch] = data.test_dataloader()
    assert batch.references == [("l oʊ",), ("l ɒ k",)]
    target_text = TextDecoder(data.spec["target_preprocessor"])
    assert target_text.texts(batch.targets.clamp(min=0)) == ["l oʊ", "l [UNK] [UNK]"]
    data.file_loader(tsv(tmp_path / "wrong.tsv", [("λόγος", "l oʊ")]))
    assert any("wrong.tsv: 5 of 5 tokens" in note for note in data.notes)


@pytest.mark.parametrize(
    "level, text",
    [
        ("char", "Größe:  1 "),
        ("word", "it's  a test, isn't it?"),
        ("byte", "naïve ☃"),
        ("bpe", "new newer\tnewest"),
        ("space", "n uu ə"),
    ],
)
def test_decoding_gives_a_target_again_from_plain_values_alone(level: str, text: str) -> None:
    keep = level == "word"
    targets = TextTargets(TokenizerOptions(level, keep_whitespace=keep))
    raw = [(text, "other"), ("another one",)]
    targets.fit(raw, "x")
    [ids, *_] = targets.encode(raw, "x")
    decode = TextDecoder(json.loads(json.dumps(targets.spec["target_preprocessor"])))
    assert decode([*ids.tolist(), targets.spec["end"], 5, 3]) == text
    assert decode.texts(torch.tensor([ids.tolist(), [0] * len(ids)])) == [text, ""]
    assert targets.references(raw)[0][0] == text


def test_blanks_between_symbols_are_one_blank_in_references() -> None:
    targets = TextTargets(TokenizerOptions("space"))
    assert targets.references([(" a  b", "a b ", "c")]) == [("a b", "c")]


def test_both_sides_may_share_a_vocabulary(tmp_path: Path) -> None:
    data = made(tmp_path, target_tokenizer="char", shared_vocabulary=True)
    spec = data.spec
    assert spec["shared"] and spec["num_targets"] == spec["num_inputs"]
    assert spec["preprocessor"]["fitted"] == spec["target_preprocessor"]["fitted"]
    assert sorted(rows(data, data.train_dataloader())) == sorted(WORDS)
    with pytest.raises(UserError, match="^data.shared_vocabulary=true needs the same tokens on"):
        made(tmp_path, shared_vocabulary=True)


def test_sources_are_truncated_and_targets_are_not(tmp_path: Path) -> None:
    data = made(tmp_path, max_length=2, lowercase=True)
    found = rows(data, data.train_dataloader())
    assert ("lo", "l oʊ ə") in found and max(len(source) for source, _ in found) == 2


def test_a_spec_restores_both_sides(tmp_path: Path) -> None:
    data = made(tmp_path, min_count=2)
    spec = json.loads(json.dumps(data.spec))
    again = Pairs(*data.paths.values(), batch_size=3)
    again.use_spec(spec)
    assert again.spec == data.spec
    again.setup()
    for old, new in zip(data.train_dataloader(), again.train_dataloader(), strict=True):
        assert torch.equal(old.inputs, new.inputs)
        assert torch.equal(old.targets, new.targets)
    with pytest.raises(UserError, match="does not fit its 99 different targets"):
        again.use_spec({**spec, "num_targets": 99})


# ---------------------------------------------------------------- baselines


def test_baselines_copy_the_source_or_take_the_most_frequent_target(tmp_path: Path) -> None:
    data = Pairs(
        tsv(
            tmp_path / "train.tsv",
            [("aaab", "a b"), ("cccd", "c"), ("cccd", "d"), ("z", "a b"), ("zz", "aab")],
        ),
        tsv(tmp_path / "validation.tsv", [("aab", "aab")]),
        tsv(tmp_path / "test.tsv", [("ccd", "c d e"), ("ccd", "c"), ("xab", "a b c d")]),
        target_tokenizer="space",
    )
    data.setup()
    found = data.baselines()
    copy, often = "copy of the source", "most frequent target"
    assert found["validation/exact_match"] == {copy: 1.0, often: 0.0}
    assert found["test/exact_match"] == {copy: 0.0, often: 0.0}
    # copies: 1 of 1 from "c", and 4 of 4; "a b": 2 of 1, and 2 of 4
    assert found["test/symbol_error_rate"] == {copy: 1.0, often: 4 / 5}


def test_baselines_of_prose_have_bleu_by_sacrebleu(tmp_path: Path) -> None:
    train = [("it is", "un chien court ."), ("so it is", "un chien court ."), ("a", "le chat")]
    test = [("the cat sat on a hat", "le chat est là ."), ("un chien court", "un chien court !")]
    files = [tsv(tmp_path / f"{name}.tsv", rows) for name, rows in zip("abc", (train, test, test))]
    data = Pairs(*files, source_tokenizer="word", target_tokenizer="word")
    data.setup()
    found, right = data.baselines()["test/bleu"], [[target for _, target in test]]
    for name, texts in (
        ("copy of the source", [source for source, _ in test]),
        ("most frequent target", ["un chien court ."] * 2),
    ):
        assert 100 * found[name] == pytest.approx(BLEU().corpus_score(texts, right).score, abs=1e-6)
