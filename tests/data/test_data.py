from __future__ import annotations

from pathlib import Path

import pytest
import torch

from seqmodels.data import UEA, Examples, SequenceDataModule, Text, Tokens
from seqmodels.data.examples import cut_off
from seqmodels.data.loading import LengthBatchSampler, SequenceDataset, SequenceLoader
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
    assert data.fingerprint == "dd421031f0cdd58c"


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


def loader() -> SequenceLoader:
    sequences = [torch.full((int(n),), i) for i, n in enumerate(LENGTHS)]
    return SequenceLoader(SequenceDataset(sequences, torch.arange(203)), sampler())


def test_batches_are_padded_with_their_own_targets() -> None:
    for batch in loader():
        assert batch.targets is not None
        for row, length, target in zip(batch.inputs, batch.lengths, batch.targets):
            assert length == LENGTHS[target]
            assert (row[:length] == target).all() and (row[length:] == 0).all()


def test_loader_goes_on_in_the_middle_of_an_epoch() -> None:
    whole, broken_off, resumed = (loader() for _ in range(3))
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


# ---------------------------------------------------------------- text


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
    ids = data.inputs.tokenizer.ids
    assert "seen" in ids and "unseen" not in ids


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("txt,label\na,b\n", r"no column 'text': set data.text_column.* did you mean txt"),
        ("text,lable\na,b\n", r"no column 'label': set data.label_column.* did you mean lable"),
        ("text,label\na,x\n ,y\n", r"the text of row 2 is empty; remove the row or fill it"),
        ("text,label\na,x\n,y\n", r"the text of row 2 is empty"),
        ("text,label\na,x\nb,\n", r"the label of row 2 is empty"),
        ("text,label\n", r"no class has two examples|there are fewer than two"),
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
    with pytest.raises(UserError, match=r"nowhere/train\.csv: no such file"):
        Text(str(tmp_path / "nowhere" / "train.csv")).setup()
    with pytest.raises(UserError, match=r"unknown ending '\.xlsx'"):
        Text(str(tmp_path / "train.xlsx")).setup()
    with pytest.raises(UserError, match="give either data.train=<file> or data.hub=<name>"):
        Text().setup()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokenizer": "wrod"}, "data.tokenizer=wrod: input should"),
        ({"max_length": 0}, "data.max_length=0: input should"),
        ({"batch_size": 0}, "data.batch_size=0: input should"),
    ],
)
def test_bad_options_are_named(reviews: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Text(str(reviews), **options).setup()  # type: ignore[arg-type]


# ---------------------------------------------------------------- made and bundled data


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
