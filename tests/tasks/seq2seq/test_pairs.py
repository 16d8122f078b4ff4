"""`data=pairs`: pairs of texts are read, encoded, batched, decoded, and wrong ones are named."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
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


def test_a_batch_offers_the_inputs_of_its_source_and_the_targets_of_its_target(
    tmp_path: Path,
) -> None:
    batch = next(iter(made(tmp_path).test_dataloader()))
    assert batch.targets is batch.target.targets and not batch.continues
    assert batch.mask.sum() == batch.lengths.sum()
    moved = batch.map(lambda tensor: tensor.clone()).to("cpu")
    assert moved.references == batch.references


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
    assert data.notes == [
        "4 of 4 rows (100.00 %) of the validation split are in the train split, too; are they the "
        "same file?",
        "1 of 2 rows (50.00 %) of the test split are in the train split, too",
        "1 of 2 rows (50.00 %) of the test split are in the validation split, too",
    ]


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


@pytest.mark.parametrize("format", ["csv", "jsonl", "jsonl with lists", "parquet", "no header"])
def test_all_formats_give_the_same_pairs(tmp_path: Path, format: str) -> None:
    path = tmp_path / "pairs.tsv"
    columns = None
    lists = {s: [t for source, t in WORDS if source == s] for s, _ in WORDS}
    if format == "csv":
        path = path.with_suffix(".csv")
        lines = ["source,target", *(f'"{s}","{t}"' for s, t in WORDS)]
        path.write_text("\n".join(lines), encoding="utf-8")
    elif format == "jsonl":
        path = path.with_suffix(".jsonl")
        path.write_text("\n".join(json.dumps({"source": s, "target": t}) for s, t in WORDS))
    elif format == "jsonl with lists":
        path = path.with_suffix(".jsonl")
        lines = [
            json.dumps({"source": s, "target": ts if len(ts) > 1 else ts[0]})
            for s, ts in lists.items()
        ]
        path.write_text("\n".join(lines))
    elif format == "parquet":
        path = path.with_suffix(".parquet")
        pq.write_table(pa.table({"source": [*lists], "target": [*lists.values()]}), path)
    else:
        columns = ["source", "target"]
        tsv(path, WORDS, header=None)
    data = Pairs(columns=columns)
    examples = data.examples_of(data.read_file(str(path)), str(path))
    assert dict(zip(examples.inputs, examples.targets)) == {s: tuple(t) for s, t in lists.items()}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("source\ttarget\na\tb\n \tb\n", "x.tsv: the source of row 2 is empty; remove the row"),
        ("source\ttarget\na\t\n", "x.tsv: the target of row 1 is empty; remove the row or fill it"),
        (
            "a\tb\nc\td\n",
            "x.tsv: row 1 has no column 'source': set data.source_column; choose one of a, b; if "
            "the file has no header, set data.columns",
        ),
        ("source\tgoal\na\tb\n", "x.tsv: row 1 has no column 'target': set data.target_column; "),
    ],
)
def test_wrong_files_are_one_line_with_file_and_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.tsv").write_text(content)
    with pytest.raises(UserError, match=f"^{message}[^\n]*$"):
        Pairs("x.tsv").setup()


@pytest.mark.parametrize("targets", [[], [""], ["a", None], None])
def test_an_empty_list_of_targets_is_an_error(tmp_path: Path, targets: Any) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"source": "a", "target": targets}))
    with pytest.raises(UserError, match="x.jsonl: the target of row 1 is empty"):
        Pairs(str(path)).setup()


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


def test_a_folder_of_the_hub_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    folder.mkdir()
    (folder / "train.jsonl").write_text(
        "\n".join(json.dumps({"source": s, "target": t}) for s, t in WORDS * 2)
    )
    (folder / "test.jsonl").write_text(json.dumps({"source": "row", "target": "ɹ oʊ"}))
    data = Pairs(hub=str(folder), target_tokenizer="space", validation_fraction=0.3)
    data.setup()
    assert data.split_sizes == {"train": 6, "validation": 3, "test": 1}
    [batch] = data.test_dataloader()
    assert batch.references == [("ɹ oʊ",)]


# ---------------------------------------------------------------- symbols


def test_symbols_that_training_never_saw_are_noted_with_number_and_share(tmp_path: Path) -> None:
    train = tsv(tmp_path / "train.tsv", WORDS)
    test = tsv(tmp_path / "test.tsv", [("lewi", "l oʊ ɒ"), ("lox", "l oʊ")])
    data = Pairs(train, train, test, target_tokenizer="space")
    data.setup()
    assert not any("unknown" in note for note in data.notes)
    wrong = tsv(tmp_path / "wrong.tsv", [("λόγος", "l oʊ")])
    data.file_loader(wrong)
    assert any(f"{wrong}: 5 of 5 tokens (100.00 %) are unknown" in note for note in data.notes)


@pytest.mark.parametrize("options", [{"min_count": 2}, {"vocabulary_size": 5}])
def test_a_model_that_has_learned_unknown_symbols_reads_them(
    tmp_path: Path, options: dict[str, int]
) -> None:
    batch = made(tmp_path, **options).batch_of(["loxe"])
    assert batch.inputs[0, 2] == 1


def test_a_text_to_write_may_be_spelled_like_the_padding(tmp_path: Path) -> None:
    train = tsv(tmp_path / "train.tsv", [*WORDS, ("pad", "[PAD] a [UNK]")])
    data = Pairs(train, train, train, target_tokenizer="space")
    data.setup()
    written = data.datasets["train"].targets
    assert written[len(written) - 1].tolist()[::2] == [11, 12]  # words, and not the end
    assert written.count(0) == 0


def test_the_summary_counts_pairs_and_sources_and_unknown_symbols_are_a_token(
    tmp_path: Path,
) -> None:
    path = tsv(tmp_path / "test.tsv", [("low", "l oʊ"), ("lox", "l ɒ k")])
    train = tsv(tmp_path / "train.tsv", WORDS)
    data = Pairs(train, path, path, target_tokenizer="space")
    data.setup()
    [line] = data.summary
    sizes = [f"{split} 2 pairs of 2 sources" for split in ("validation", "test")]
    assert line == f"train.tsv: train 11 pairs of 9 sources, {', '.join(sizes)}"
    [batch] = data.test_dataloader()
    assert batch.references == [("l oʊ",), ("l ɒ k",)]
    target_text = TextDecoder(data.spec["target_preprocessor"])
    assert target_text.texts(batch.targets.clamp(min=0)) == ["l oʊ", "l [UNK] [UNK]"]


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


def test_a_training_resumes_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    data = made(tmp_path)
    loader = data.train_dataloader()
    given = iter(loader)
    next(given)
    state = loader.state_dict()
    again = data.train_dataloader()
    again.load_state_dict(state)
    assert [len(batch) for batch in again] == [len(batch) for batch in given]


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
    rows = [("the cat sat on a mat", "le chat est ici ."), ("a dog ran", "un chien court .")]
    test = [("the cat sat on a hat", "le chat est là ."), ("un chien court", "un chien court !")]
    data = Pairs(
        tsv(tmp_path / "train.tsv", [*rows, ("so it is", "un chien court .")]),
        tsv(tmp_path / "validation.tsv", test),
        tsv(tmp_path / "test.tsv", test),
        source_tokenizer="word",
        target_tokenizer="word",
    )
    data.setup()
    found, right = data.baselines(), [[target for _, target in test]]
    made = {
        "copy of the source": [source for source, _ in test],
        "most frequent target": ["un chien court ."] * 2,
    }
    for name, texts in made.items():
        bleu = BLEU().corpus_score(texts, right).score
        assert 100 * found["test/bleu"][name] == pytest.approx(bleu, abs=1e-6)


def test_pairs_are_read_from_memory_as_from_a_file(tmp_path: Path) -> None:
    rows = [(f"{n}a", [f"a{n}", "b"]) for n in range(9)]
    frame = pd.DataFrame(rows, columns=["source", "target"])
    frame.to_parquet(tmp_path / "rows.parquet")
    found = [Pairs(given) for given in (frame, str(tmp_path / "rows.parquet"))]
    for data in found:
        data.setup()
    assert len({data.fingerprint for data in found}) == 1
