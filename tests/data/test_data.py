from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer

from seqmodels.data import UEA, Examples, SequenceDataModule, Series, Text, TokenizerOptions, Tokens
from seqmodels.data.examples import cut_off
from seqmodels.data.inputs import load_inputs
from seqmodels.data.loading import LengthBatchSampler, SequenceDataset, SequenceLoader, available
from seqmodels.data.tokenizer import train_tokenizer
from seqmodels.errors import UserError

# ---------------------------------------------------------------- splits


def test_cut_is_stratified_seeded_and_complete() -> None:
    examples = Examples(list(range(100)), ["a"] * 80 + ["b"] * 20, "made up")
    rest, off = cut_off(examples, 0.25, 3, "validation", examples.targets)
    assert sorted([*rest.inputs, *off.inputs]) == list(range(100))
    assert off.targets.count("a") == 20 and off.targets.count("b") == 5
    assert cut_off(examples, 0.25, 3, "validation", examples.targets)[1].inputs == off.inputs
    assert cut_off(examples, 0.25, 4, "validation", examples.targets)[1].inputs != off.inputs
    assert all(examples.targets[i] == label for i, label in zip(off.inputs, off.targets))


def test_a_cut_without_strata_is_random_seeded_and_complete() -> None:
    examples = Examples(list(range(100)), [[n, n] for n in range(100)], "made up")
    rest, off = cut_off(examples, 0.3, 3, "test")
    assert sorted([*rest.inputs, *off.inputs]) == list(range(100)) and len(off) == 30
    assert off.inputs != list(range(70, 100))
    assert all(target == [i, i] for i, target in zip(off.inputs, off.targets))
    assert cut_off(examples, 0.3, 3, "test")[1].inputs == off.inputs
    assert cut_off(examples, 0.3, 4, "test")[1].inputs != off.inputs


def test_splits_of_labelled_data_never_change() -> None:
    # published numbers of runs depend on these splits
    data = UEA("JapaneseVowels")
    data.setup()
    assert data.fingerprint == "115cd2872c7a328c"


def test_cut_never_empties_a_class() -> None:
    examples = Examples(list(range(12)), ["common"] * 10 + ["pair"] * 2, "made up")
    rest, off = cut_off(examples, 0.9, 0, "test", examples.targets)
    assert set(rest.targets) == {"common", "pair"} == set(off.targets)


def test_cut_refuses_what_it_cannot_do() -> None:
    with pytest.raises(UserError, match="no class has two examples; give data.test"):
        cut_off(Examples([1, 2], ["a", "b"], "x"), 0.5, 0, "test", ["a", "b"])
    with pytest.raises(UserError, match="test split from x: there are fewer than two examples; gi"):
        cut_off(Examples([1], ["a"], "x"), 0.5, 0, "test")


# ---------------------------------------------------------------- batches

LENGTHS = torch.randint(1, 60, (203,), generator=torch.Generator().manual_seed(0))


def sampler(**options: object) -> LengthBatchSampler:
    arguments = {"lengths": LENGTHS, "batch_size": 8, "shuffle": True, "seed": 1, "pool": 10}
    return LengthBatchSampler(**{**arguments, **options})  # type: ignore[arg-type]


def test_training_batches_hold_every_sample_once() -> None:
    batches = list(sampler())
    assert sorted(index for batch in batches for index in batch) == list(range(203))
    assert len(batches) == len(sampler()) == 26


def test_training_order_is_a_function_of_seed_and_epoch() -> None:
    first, again, other_seed = sampler(), sampler(), sampler(seed=2)
    assert list(first) == list(again) != list(other_seed)
    again.set_epoch(1)
    assert list(first) != list(again)


def test_samples_of_similar_length_share_batches() -> None:
    def fill(batches: list[list[int]]) -> float:
        padded = sum(len(b) * int(LENGTHS[b].max()) for b in batches)
        return float(LENGTHS.sum()) / padded

    assert fill(list(sampler(pool=1))) < 0.65
    assert fill(list(sampler(pool=26))) > 0.9


@pytest.mark.parametrize("world_size", [2, 3, 7])
def test_processes_share_training_batches_evenly(world_size: int) -> None:
    shares = [list(sampler(rank=rank, world_size=world_size)) for rank in range(world_size)]
    assert len({len(share) for share in shares}) == 1
    assert len(shares[0]) == len(sampler(rank=0, world_size=world_size))
    assert {index for share in shares for batch in share for index in batch} == set(range(203))


@pytest.mark.parametrize("world_size", [1, 2, 5])
def test_processes_share_evaluation_samples_exactly_once(world_size: int) -> None:
    parts = [sampler(shuffle=False, rank=r, world_size=world_size) for r in range(world_size)]
    indices = [index for part in parts for batch in part for index in batch]
    assert sorted(indices) == list(range(203))
    assert all(len(list(part)) == len(part) for part in parts)


def test_every_process_has_something_to_evaluate() -> None:
    for samples, world_size in ((10, 8), (7, 7), (54, 4)):
        few = {"lengths": LENGTHS[:samples], "shuffle": False, "world_size": world_size}
        parts = [list(sampler(batch_size=64, rank=r, **few)) for r in range(world_size)]
        assert all(parts)
        assert sorted(i for part in parts for batch in part for i in batch) == list(range(samples))
    with pytest.raises(UserError, match="2 examples are too few to evaluate with 3 processes"):
        sampler(lengths=LENGTHS[:2], shuffle=False, world_size=3)


def loader(**options: object) -> SequenceLoader:
    sequences = [torch.full((int(n),), i) for i, n in enumerate(LENGTHS)]
    return SequenceLoader(SequenceDataset(sequences, torch.arange(203)), sampler(), **options)


def test_batches_are_padded_with_their_own_targets() -> None:
    for batch in loader():
        assert batch.targets is not None
        for row, length, target in zip(batch.inputs, batch.lengths, batch.targets):
            assert length == LENGTHS[target]
            assert (row[:length] == target).all() and (row[length:] == 0).all()


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_goes_on_in_the_middle_of_an_epoch(workers: int) -> None:
    whole, broken_off, resumed = (loader(num_workers=workers) for _ in range(3))
    for each in (whole, broken_off):
        each.batch_sampler.set_epoch(4)
    expected = [batch.targets.tolist() for batch in whole]
    iterator = iter(broken_off)
    seen = [next(iterator).targets.tolist() for _ in range(10)]
    resumed.load_state_dict(broken_off.state_dict())
    seen += [batch.targets.tolist() for batch in resumed]
    assert seen == expected
    assert len([*resumed]) == 26  # the pass after that is a whole one


def test_loader_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    list(loader())
    assert torch.equal(torch.get_rng_state(), before)


def test_available_groups_what_is_there_and_keeps_the_order() -> None:
    groups = list(available(range(10), most=4))
    assert [item for _, group in groups for item in group] == list(range(10))
    assert all(first == group[0] + 1 and len(group) <= 4 for first, group in groups)


def test_available_raises_what_the_source_raised_after_what_came_before() -> None:
    def source():
        yield 1
        raise UserError("broken")

    seen = []
    with pytest.raises(UserError, match="broken"):
        for _, group in available(source(), most=4):
            seen += group
    assert seen == [1]


# ---------------------------------------------------------------- text

TEXTS = ["The cat sat.", "the dog, the DOG!", "a cat"]


def ids(tokenizer: Tokenizer, text: str) -> list[str]:
    return tokenizer.encode(text).tokens


def test_word_tokenizer_splits_words_and_punctuation() -> None:
    tokenizer = train_tokenizer(TEXTS, TokenizerOptions("word", lowercase=True))
    assert ids(tokenizer, "The cat, a bird!") == ["the", "cat", ",", "a", "[UNK]", "!"]
    assert tokenizer.token_to_id("[PAD]") == 0 and tokenizer.token_to_id("[UNK]") == 1


def test_word_tokenizer_drops_rare_words() -> None:
    tokenizer = train_tokenizer(TEXTS, TokenizerOptions("word", lowercase=True, min_count=2))
    assert ids(tokenizer, "the dog sat") == ["the", "dog", "[UNK]"]


def test_char_tokenizer_keeps_every_character() -> None:
    tokenizer = train_tokenizer(["ab\n", "é c"], TokenizerOptions("char"))
    assert ids(tokenizer, "aé\nz b") == ["a", "é", "\n", "[UNK]", " ", "b"]


@pytest.mark.parametrize("level", ["byte", "bpe"])
def test_byte_level_tokenizers_know_every_text(level: str) -> None:
    tokenizer = train_tokenizer(TEXTS * 50, TokenizerOptions(level, vocabulary_size=300))
    text = "naïve 😀\n\ttext"
    encoding = tokenizer.encode(text)
    assert 1 not in encoding.ids and tokenizer.decode(encoding.ids) == text
    if level == "byte":
        assert len(encoding.ids) == len(text.encode()) and tokenizer.get_vocab_size() == 258
    else:
        assert len(tokenizer.encode("the dog").ids) < 7


@pytest.mark.parametrize("level", ["word", "char", "byte", "bpe"])
def test_tokens_survive_saving(level: str) -> None:
    encoder = Tokens(TokenizerOptions(level, lowercase=True), max_length=3, keep="end")
    encoder.fit(TEXTS)
    loaded = load_inputs(json.loads(json.dumps(encoder.state())))
    for old, new in zip(encoder.encode(TEXTS, "x"), loaded.encode(TEXTS, "x")):
        assert torch.equal(old, new)
    assert loaded.state() == encoder.state()


def test_the_saved_form_of_inputs_stays_loadable() -> None:
    # checkpoints hold exactly this
    options = {
        "tokenizer": "word",
        "lowercase": True,
        "min_count": 1,
        "vocabulary_size": 30_000,
        "max_length": 2,
        "keep": "end",
        "keep_whitespace": False,
    }
    fitted = train_tokenizer(TEXTS, TokenizerOptions("word", lowercase=True)).to_str()
    tokens = load_inputs({"kind": "tokens", "options": options, "fitted": fitted})
    assert tokens.kind == "tokens"
    assert tokens.state()["options"] == options
    [encoded] = tokens.encode(["The DOG sat"], "x")
    assert tokens.tokenizer.decode(encoded.tolist()) == "dog sat"
    with pytest.raises(UserError, match="inputs are 'token': choose .* did you mean tokens"):
        load_inputs({"kind": "token", "options": {}, "fitted": ""})


def test_long_texts_are_truncated_at_the_chosen_end_and_counted() -> None:
    for keep, expected in (("start", "a b"), ("end", "c d")):
        encoder = Tokens(max_length=2, keep=keep)
        encoder.fit(["a b c d"])
        rows = encoder.encode(["a b c d", "a"], "test.csv")
        long, short = rows
        assert encoder.tokenizer.decode(long.tolist()) == expected
        assert len(short) == 1
        assert rows.truncated == 1


def test_a_run_says_what_its_encoding_does_not_keep(tmp_path: Path) -> None:
    for split, rows in {"train": ["a b,x", "b a,y"], "test": ["a b c,x", "z,y"]}.items():
        (tmp_path / f"{split}.csv").write_text("\n".join(["text,label", *rows]))
    paths = [str(tmp_path / f"{split}.csv") for split in ("train", "test", "test")]
    data = Text(*paths, max_length=2)
    data.setup()
    part = "2 (3 tokens, 33.33 % unknown, 1 truncated)"
    [line] = data.summary
    assert line == (
        f"train.csv: train 2 (4 tokens, 0.00 % unknown), validation {part}, test {part}"
    )


def test_csv_reads_quotes_commas_and_words_that_look_like_numbers(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text('text,label\n"a, ""b""",007\nNone,7\n12,7\nx,007\n')
    [text] = [Text(str(path))]
    examples = text.read()["train"]
    assert list(examples.inputs) == ['a, "b"', "None", "12", "x"]
    assert list(examples.targets) == ["007", "7", "7", "007"]


def test_tsv_without_header_takes_quotes_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "sms.tsv"
    path.write_text('ham\tso "quoted\nspam\t"win\nham\tit""s\n')
    data = Text(str(path), columns=["label", "text"])
    assert list(data.read()["train"].inputs) == ['so "quoted', '"win', 'it""s']


def test_other_encodings(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_bytes("text,label\ncafé,a\n".encode("latin-1"))
    assert list(Text(str(path), encoding="latin-1").read()["train"].inputs) == ["café"]
    with pytest.raises(UserError, match=r"train\.csv cannot be read: .*utf-8.*set data.encoding"):
        Text(str(path)).read()


@pytest.mark.parametrize("ending", ["jsonl", "parquet", "csv", "tsv"])
def test_every_file_form_gives_the_same_examples(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"train.{ending}"
    frame = pd.DataFrame({"review": ["good one", "bad one"], "stars": ["5", "1"]})
    if ending == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    elif ending == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if ending == "tsv" else ",")
    examples = Text(str(path), text_column="review", label_column="stars").read()["train"]
    assert list(examples.inputs) == ["good one", "bad one"]
    assert list(examples.targets) == ["5", "1"]


def test_hub_data_sets_are_read_with_their_splits_and_label_names(tmp_path: Path) -> None:
    import datasets

    folder = tmp_path / "on_the_hub"
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])}
    )
    for split, labels in (("train", [1, 0, 1]), ("test", [0, 1])):
        rows = {"text": [f"{split} {n}" for n in labels], "label": labels}
        (folder / "data").mkdir(parents=True, exist_ok=True)
        datasets.Dataset.from_dict(rows, features).to_parquet(
            folder / "data" / f"{split}-00000-of-00001.parquet"
        )
    parts = Text(hub=str(folder)).read()
    assert list(parts["train"].targets) == ["pos", "neg", "pos"]
    assert list(parts["test"].inputs) == ["test 0", "test 1"]
    assert "validation" not in parts


def test_missing_splits_are_cut_from_training_the_same_for_every_seed(reviews: Path) -> None:
    one, two = (Text(str(reviews), seed=seed) for seed in (0, 1))
    one.setup()
    two.setup()
    assert {split: len(part) for split, part in one.datasets.items()} == {
        "train": 38,
        "validation": 10,
        "test": 12,
    }
    assert one.fingerprint == two.fingerprint
    other = Text(str(reviews), split_seed=1)
    other.setup()
    assert other.fingerprint != one.fingerprint


def test_tokens_are_learned_from_the_training_split_alone(tmp_path: Path) -> None:
    for name, word in (("train", "seen"), ("test", "unseen")):
        rows = "".join(f"{word} {n},{'ab'[n % 2]}\n" for n in range(10))
        (tmp_path / f"{name}.csv").write_text("text,label\n" + rows)
    data = Text(str(tmp_path / "train.csv"), test=str(tmp_path / "test.csv"))
    data.setup()
    assert data.inputs.tokenizer.token_to_id("seen") is not None
    assert data.inputs.tokenizer.token_to_id("unseen") is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("txt,label\na,b\n", r"no column 'text': set data.text_column.* did you mean txt"),
        ("text,lable\na,b\n", r"no column 'label': set data.label_column.* did you mean lable"),
        ("text,label\na,x\n ,y\n", r"the text of row 2 is empty; remove the row or fill it"),
        ("text,label\na,x\n,y\n", r"the text of row 2 is empty"),
        ("text,label\na,x\nb,\n", r"row 2 has no label"),
        ("text,label\n", r"train\.csv has no rows"),
        ("text,label\na,x\nb,x\nc,x\nd,x\n", r"every label is 'x'; a classifier needs at least"),
    ],
)
def test_bad_files_are_named_with_the_place(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "train.csv"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        Text(str(path)).setup()


def test_a_label_never_seen_in_training_is_named(tmp_path: Path, reviews: Path) -> None:
    test = tmp_path / "test.csv"
    test.write_text("text,label\na film,goood\n")
    with pytest.raises(
        UserError,
        match=r"test.csv: 1 of 1 labels .*such as 'goood' of example 1: .* did you mean good",
    ):
        Text(str(reviews), test=str(test)).setup()


def test_absent_and_unknown_files(tmp_path: Path, reviews: Path) -> None:
    with pytest.raises(UserError, match=r"review\.csv: no such file; did you mean reviews\.csv"):
        Text(str(reviews.with_name("review.csv"))).setup()
    with pytest.raises(UserError, match=r"nowhere/train\.csv: no such file, and no folder"):
        Text(str(tmp_path / "nowhere" / "train.csv")).setup()
    with pytest.raises(UserError, match=r"unknown ending '\.xlsx'"):
        Text(str(tmp_path / "train.xlsx")).setup()
    with pytest.raises(UserError, match="give either data.train=<file> or data.hub=<name>"):
        Text().setup()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokenizer": "wrod"}, "data.tokenizer=wrod: input should"),
        ({"keep": "middle"}, "data.keep=middle: input should"),
        ({"max_length": 0}, "data.max_length=0: input should"),
        ({"batch_size": 0}, "data.batch_size=0: input should"),
    ],
)
def test_bad_options_are_named(reviews: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Text(str(reviews), **options).setup()  # type: ignore[arg-type]


# ---------------------------------------------------------------- series


def test_japanese_vowels_has_the_published_shape() -> None:
    data = UEA("JapaneseVowels")
    data.setup()
    parts = data.datasets
    assert len(parts["train"]) + len(parts["validation"]) == 270 and len(parts["test"]) == 370
    lengths = torch.cat([part.lengths for part in parts.values()])
    assert (int(lengths.min()), int(lengths.max())) == (7, 29)
    assert data.spec["num_inputs"] == 12
    assert data.classes == [str(n) for n in range(1, 10)]
    counts = torch.bincount(parts["validation"].targets)
    assert (counts == 6).all()  # stratified


def test_channels_are_standardised_by_the_training_split_alone() -> None:
    data = UEA("JapaneseVowels")
    data.setup()
    steps = torch.cat(list(data.datasets["train"].sequences))
    assert torch.allclose(steps.mean(0), torch.zeros(12), atol=1e-5)
    assert torch.allclose(steps.std(0, correction=0), torch.ones(12), atol=1e-5)
    raw = np.concatenate(data.examples["train"].inputs)
    test = torch.from_numpy((data.examples["test"].inputs[5] - raw.mean(0)) / raw.std(0)).float()
    assert torch.allclose(data.datasets["test"].sequences[5], test, atol=1e-5)


def test_plaid_lies_inside_sktime_with_its_published_shape() -> None:
    data = UEA("PLAID", downsample=10)
    data.setup()
    raw = [len(x) for part in data.examples.values() for x in part.inputs]
    assert (len(raw), min(raw), max(raw), len(data.classes)) == (1074, 100, 1344, 11)
    series = data.examples["train"].inputs[0]
    assert len(data.datasets["train"].sequences[0]) == -(-len(series) // 10)


def test_downsampling_averages_windows() -> None:
    encoder = Series(downsample=3)
    encoder.fit([np.array([[-1.0], [-1.0], [-1.0], [1.0], [1.0], [1.0]])])  # mean 0, deviation 1
    [encoded] = encoder.encode([np.arange(8.0).reshape(8, 1)], "x")
    assert encoded.tolist() == [[1.0], [4.0], [6.5]]


def test_folding_puts_steps_side_by_side() -> None:
    encoder = Series(fold=3, scale="none")
    series = np.arange(8.0).reshape(4, 2)
    encoder.fit([series])
    [encoded] = encoder.encode([series], "x")
    assert encoded.tolist() == [[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], [6.0, 7.0, 6.0, 7.0, 6.0, 7.0]]
    assert encoder.num_inputs == 6


def test_a_series_by_its_own_scale_keeps_its_amplitude_beside_it() -> None:
    random = np.random.default_rng(0)
    small = random.normal(5, 2, (7, 3))
    large = 100 + 10 * small
    hidden, shown = Series(scale="series"), Series(scale="series", add_scale=True)
    for encoder in (hidden, shown):
        encoder.fit([small, large])
    first, second = hidden.encode([small, large], "x")
    torch.testing.assert_close(first, second)
    torch.testing.assert_close(first.mean(dim=0), torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(first.std(dim=0, correction=0), torch.ones(3))
    first_with, second_with = shown.encode([small, large], "x")
    assert shown.num_inputs == 9 and torch.equal(first_with[:, :3], first)
    # two values, standardised: one deviation below the mean and one above
    assert torch.equal(first_with[:, 3:], torch.full((7, 6), -1.0))
    assert torch.equal(second_with[:, 3:], torch.full((7, 6), 1.0))


def test_series_in_both_scales_are_those_in_each_side_by_side() -> None:
    series = [np.random.default_rng(0).normal(3, 2, (n, 3)) for n in (5, 8)]
    by_split, by_itself, both = (Series(scale=scale) for scale in ("split", "series", "both"))
    for encoder in (by_split, by_itself, both):
        encoder.fit(series)
    saved = load_inputs(both.state())
    assert saved.num_inputs == 6
    for *alone, together in zip(*(e.encode(series, "x") for e in (by_split, by_itself, saved))):
        assert torch.equal(torch.cat(alone, dim=1), together)
    folded = Series(scale="both", fold=2)
    folded.fit(series)
    assert folded.encode(series, "x")[0].shape == (3, folded.num_inputs)


def test_folding_by_itself_leaves_the_longest_series_short_enough() -> None:
    for longest, folded in ((7, 1), (160, 1), (161, 2), (1344, 9)):
        encoder = Series(fold="auto", scale="none")
        encoder.fit([np.zeros((3, 2)), np.zeros((longest, 2))])
        assert encoder.num_inputs == 2 * folded
        encoded = load_inputs(encoder.state()).encode([np.zeros((longest, 2))], "x")
        assert encoded[0].shape == (-(-longest // folded), 2 * folded)


def test_a_constant_series_stays_finite() -> None:
    encoder = Series(scale="series", add_scale=True)
    encoder.fit([np.ones((4, 2)), np.ones((3, 2))])
    assert encoder.encode([np.ones((2, 2))], "x")[0].tolist() == [[0.0] * 6] * 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fold": 0}, "data.fold=0: input should"),
        ({"fold": "outo"}, "data.fold=outo: input should"),
        ({"scale": "serie"}, "data.scale=serie: input should"),
    ],
)
def test_a_wrong_option_of_series_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Series(**options)


def test_missing_values_are_named_or_interpolated() -> None:
    series = np.array([[0.0, 1.0], [np.nan, 1.0], [4.0, 1.0]])
    encoder = Series()
    encoder.fit([np.array([[-1.0, -1.0], [1.0, 1.0]])])  # mean 0, deviation 1
    with pytest.raises(UserError, match=r"set x: series 2 has 1 missing value; set data.missing="):
        encoder.encode([np.zeros((2, 2)), series], "set x")
    with pytest.raises(UserError, match=r"set x: series 1 has 4 missing values; set data.missing="):
        encoder.encode([np.full((2, 2), np.nan)], "set x")
    filling = Series(missing="interpolate")
    filling.load(encoder.state()["fitted"])
    [filled] = filling.encode([series], "set x")
    assert filled[:, 0].tolist() == [0.0, 2.0, 4.0]
    with pytest.raises(UserError, match="has a channel without any value to interpolate from"):
        filling.encode([np.full((3, 2), np.nan)], "set x")


def test_series_survive_saving() -> None:
    encoder = Series(downsample=2, fold=2, scale="series", add_scale=True)
    series = [np.random.default_rng(0).normal(3, 2, (n, 3)) for n in (5, 8)]
    encoder.fit(series)
    saved = load_inputs(json.loads(json.dumps(encoder.state())))
    for old, new in zip(encoder.encode(series, "x"), saved.encode(series, "x")):
        assert torch.equal(old, new)
    with pytest.raises(UserError, match="series 7 has 2 channels, not 3"):
        saved.encode([np.zeros((4, 2))], "x", first=7)


def test_training_series_have_the_same_channels() -> None:
    with pytest.raises(UserError, match="the training split: series 2 has 2 channels, not 3"):
        Series().fit([np.zeros((4, 3)), np.zeros((4, 2))])


def test_an_unknown_set_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sktime.datasets

    def absent(*args: object, **kwargs: object) -> None:
        raise RuntimeError("no\nnetwork")

    monkeypatch.setattr(sktime.datasets, "load_UCR_UEA_dataset", absent)
    with pytest.raises(
        UserError, match="data.name=JapaneseVowls: .*nor available.*no network.*check"
    ):
        UEA("JapaneseVowls").setup()


def test_the_archive_is_parsed_once_and_nobody_can_change_it() -> None:
    first, again = UEA("BasicMotions").read(), UEA("BasicMotions").read()
    assert all(a is b for a, b in zip(first["train"].inputs, again["train"].inputs))
    with pytest.raises(ValueError, match="read-only"):
        first["train"].inputs[0][0] = 1.0


def test_a_folder_of_yours_is_read_anew(tmp_path: Path) -> None:
    (tmp_path / "Mine").mkdir()
    for value in ("1.5", "2.5"):
        for split in ("TRAIN", "TEST"):
            (tmp_path / "Mine" / f"Mine_{split}.ts").write_text(
                f"@problemName Mine\n@timeStamps false\n@univariate true\n@classLabel true a b\n"
                f"@data\n{value},1.0:a\n0.5,0.5:b\n"
            )
        found = UEA("Mine", folder=str(tmp_path)).read()
        assert found["train"].inputs[0].tolist() == [[float(value)], [1.0]]


def test_series_files_are_read_one_by_one(tmp_path: Path) -> None:
    data = UEA("JapaneseVowels")
    path = tmp_path / "new.jsonl"
    path.write_text('[[1, 2], [3, null]]\n{"series": [[5, 6]], "label": 3}\n')
    (first, no_label), (second, label) = data.read_file(str(path))
    assert first.shape == (2, 2) and np.isnan(first[1, 1]) and no_label is None
    assert second.tolist() == [[5, 6]] and label == "3"
    path.write_text('[[1, 2]]\n{"values": 1}\n')
    with pytest.raises(UserError, match="line 2: not a series in JSON, such as"):
        list(data.read_file(str(path)))


# ---------------------------------------------------------------- data of your own


def test_new_data_is_one_small_class() -> None:
    class Parity(SequenceDataModule):
        def read(self):
            texts = ["a " * n for n in range(1, 41)]
            return {"train": Examples(texts, [str(n % 2) for n in range(1, 41)], "parity")}

    data = Parity(Tokens(), batch_size=5)
    data.setup()
    assert max(len(batch) for batch in data.train_dataloader()) == 5
    with pytest.raises(NotImplementedError, match="Parity must define read_file"):
        data.read_file("x")
