"""Splits and batches; what every kind of data promises stands in tests/tasks/test_data_contract."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from math import ceil
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seqmodels.data import UEA, Examples, Text
from seqmodels.data.examples import cut_off
from seqmodels.data.loading import LengthBatchSampler, SequenceDataset, SequenceLoader
from seqmodels.errors import UserError

# ---------------------------------------------------------------- splits


@given(
    labels=st.lists(st.sampled_from("aaab"), min_size=3, max_size=40), share=st.floats(0.01, 0.99)
)
def test_a_cut_takes_its_share_of_each_class_and_loses_nothing(
    labels: list[str], share: float
) -> None:
    targets = [f"{label}{n}" for n, label in enumerate(labels)]
    examples = Examples([*range(len(labels))], targets, "x")
    rest, off = cut_off(examples, share, 3, "test", labels)
    assert sorted([*rest.inputs, *off.inputs]) == examples.inputs
    assert [targets[n] for n in (*rest.inputs, *off.inputs)] == [*rest.targets, *off.targets]
    taken, sizes = Counter(labels[n] for n in off.inputs), Counter(labels)
    for name, count in sizes.items():  # one at least stays
        assert abs(taken[name] - share * count) <= 1 and taken[name] < count
    wanted = max(round(share * len(labels)), 1)
    assert len(off) == min(wanted, sum(min(n - 1, int(share * n) + 1) for n in sizes.values()))
    assert cut_off(examples, share, 3, "test", labels)[1] == off
    with pytest.raises(UserError, match="test split from x: .*; give data.test"):
        cut_off(examples, share, 3, "test", targets)  # each alone in its class


@pytest.mark.parametrize("of_each", [2, 3, 5])
def test_of_few_examples_a_class_no_more_is_cut_off_than_asked(of_each: int) -> None:
    labels = [str(n // of_each) for n in range(300 * of_each)]
    examples = Examples([*range(len(labels))], labels, "x")
    cuts = [cut_off(examples, 0.1, seed, "test", labels)[1] for seed in (0, 1)]
    for off in cuts:
        assert len(off) == 30 * of_each and max(Counter(off.targets).values()) == 1
        assert len({*map(int, off.targets)} & {*range(150)}) == pytest.approx(15 * of_each, abs=20)
    assert cuts[0].targets != cuts[1].targets


def test_a_cut_gives_what_is_left_to_the_classes_that_lack_most() -> None:
    labels = [*"a" * 10, *"b" * 27, *"c" * 12]
    off = cut_off(Examples(labels, labels, "x"), 0.1, 0, "test", labels)[1]
    assert Counter(off.targets) == {"a": 1, "b": 3, "c": 1}


def test_a_cut_is_random_by_its_own_seed_and_published_splits_never_change(reviews: Path) -> None:
    examples = Examples([*range(100)], [*range(100)], "x")
    cuts = [cut_off(examples, 0.3, seed, "test")[1].inputs for seed in (3, 4)]
    assert cuts[0] != cuts[1] and [*range(70, 100)] not in cuts
    published = UEA("JapaneseVowels")
    one, two, other = (Text(str(reviews), **of) for of in ({}, {"seed": 1}, {"split_seed": 1}))
    for data in (published, one, two, other):
        data.setup()
    assert published.fingerprint == "79c3b0b97de03cb2"
    assert one.fingerprint == "3fd4f5dfcee39994"
    assert one.split_sizes == {"train": 38, "validation": 10, "test": 12}
    assert one.fingerprint == two.fingerprint != other.fingerprint


# ---------------------------------------------------------------- batches

LENGTHS = torch.randint(1, 60, (203,), generator=torch.Generator().manual_seed(0))


def sampler(lengths: torch.Tensor = LENGTHS, **options: object) -> LengthBatchSampler:
    arguments = {"batch_size": 8, "shuffle": True, "seed": 1, "pool": 10}
    return LengthBatchSampler(lengths, **{**arguments, **options})  # type: ignore[arg-type]


@given(
    rows=st.integers(1, 203),
    batch_size=st.integers(1, 64),
    processes=st.integers(1, 7),
    pool=st.integers(1, 30),
)
def test_processes_train_alike_and_evaluate_each_row_once(
    rows: int, batch_size: int, processes: int, pool: int
) -> None:
    how = {"batch_size": batch_size, "pool": pool, "world_size": processes}
    shares = [sampler(LENGTHS[:rows], **how, rank=rank) for rank in range(processes)]
    batches = [[*share] for share in shares]
    steps = ceil(ceil(rows / batch_size) / processes)
    assert {*map(len, batches), *map(len, shares)} == {steps}
    trained = [*chain(*chain(*batches))]
    assert {*trained} == {*range(rows)} and (processes > 1 or len(trained) == rows)
    assert max(map(len, chain(*batches))) <= batch_size
    if rows < processes:
        with pytest.raises(UserError, match=f"{rows} examples are too few .*trainer.devices"):
            sampler(LENGTHS[:rows], **how, shuffle=False)
        return
    shares = [sampler(LENGTHS[:rows], **how, rank=n, shuffle=False) for n in range(processes)]
    assert [len([*share]) for share in shares] == [*map(len, shares)] and all(map(len, shares))
    assert sorted(chain(*chain(*shares))) == [*range(rows)]


def test_training_order_is_a_function_of_seed_and_epoch() -> None:
    first, again, other_seed = sampler(), sampler(), sampler(seed=2)
    assert list(first) == list(again) != list(other_seed)
    again.set_epoch(1)
    assert list(first) != list(again)


def test_samples_of_similar_length_share_batches() -> None:
    def fill(batches: LengthBatchSampler) -> float:
        padded = sum(len(batch) * int(LENGTHS[batch].max()) for batch in batches)
        return float(LENGTHS.sum()) / padded

    assert fill(sampler(pool=1)) < 0.65
    assert fill(sampler(pool=26)) > 0.9 < fill(sampler(shuffle=False))


def test_batches_are_padded_with_their_own_targets_without_global_random_numbers() -> None:
    sequences = [torch.full((int(n),), i) for i, n in enumerate(LENGTHS)]
    before = torch.get_rng_state()
    for batch in SequenceLoader(SequenceDataset(sequences, torch.arange(203)), sampler()):
        for row, length, target in zip(batch.inputs, batch.lengths, batch.targets):
            assert length == LENGTHS[target]
            assert (row[:length] == target).all() and (row[length:] == 0).all()
        assert batch.rows.equal(batch.targets)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_pass_that_is_resumed_at_its_end_leaves_the_next_one_whole() -> None:
    """Lightning makes both passes, and reads the second one alone."""
    dataset = SequenceDataset([torch.ones(length, 1) for length in range(1, 9)], torch.arange(8))
    loader = SequenceLoader(dataset, LengthBatchSampler(dataset.lengths, 2, shuffle=False))
    loader.load_state_dict({"epoch": 0, "given": 3})  # as trainer.limit_train_batches=3 ends it
    resumed, following = iter(loader), iter(loader)
    assert len([*following]) == 4 and len([*resumed]) == 1
    loader.load_state_dict({"epoch": 0, "given": 4})  # as a whole pass ends
    assert len([*loader]) == 4
