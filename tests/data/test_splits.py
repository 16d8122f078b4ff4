"""Splits and their batches: cuts by class and by whole groups, splits that a column names, folds,
and how much rows and classes count. tests/tasks/test_data_contract.py has what all data
promise."""

from __future__ import annotations

import json
from collections import Counter
from itertools import chain
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import LeaveOneGroupOut

from seqmodels.data import UEA, Examples, Text
from seqmodels.data.examples import cut_off, folds_of
from seqmodels.data.loading import LengthBatchSampler, SequenceDataset, SequenceLoader
from seqmodels.errors import UserError
from tests.engine.costing import NAMES, partly_known, task_of

ROWS = [
    {"text": f"word{n} is here", "label": "ab"[n % 2], "who": f"u{n % 8}", "much": 1 + n % 3}
    for n in range(64)
]


def data_of(tmp_path: Path, rows: list[dict[str, Any]] = ROWS, **options: Any) -> Text:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Text(str(path), **options)


def whose(data: Text, column: str = "who") -> dict[str, set[Any]]:
    by_text = {row["text"]: row[column] for row in ROWS}
    return {split: {by_text[t] for t in each.inputs} for split, each in data.examples.items()}


@pytest.mark.parametrize(
    ("count", "options", "validation", "noted"),
    [
        (59, {}, 1, True),
        (3, {}, 1, True),
        (60, {}, 6, False),
        (40, {"group": "who"}, 5, True),  # a whole group
        (40, {"validation": None}, 40, False),  # a file of its own is not cut
    ],
)
def test_an_automatic_validation_is_one_example_of_few(
    count: int, options: dict[str, Any], validation: int, noted: bool, tmp_path: Path
) -> None:
    file = tmp_path / "validation.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS[:count]))
    files = {name: str(file) for name in ("test", *options) if name != "group"}
    groups = {"group": "who"} if "group" in options else {}
    data = data_of(tmp_path, ROWS[:count], validation_fraction="auto", **files, **groups)
    data.setup()
    assert len(data.datasets["validation"]) == validation
    assert any("says next to nothing" in note for note in data.notes) == noted


# ---------------------------------------------------------------- groups


@given(
    groups=st.lists(st.integers(0, 12), min_size=2, max_size=60).filter(lambda g: len({*g}) > 1),
    share=st.floats(0.05, 0.95),
)
def test_no_cut_divides_a_group(groups: list[int], share: float) -> None:
    labels = ["ab"[n % 2] for n in range(len(groups))]
    examples = Examples([*range(len(groups))], labels, "x", {"group": [*map(str, groups)]})
    rest, off = cut_off(examples, share, 3, "test", labels)
    assert len(rest) and len(off) and sorted([*rest.inputs, *off.inputs]) == examples.inputs
    assert not {*rest.also["group"]} & {*off.also["group"]}
    assert cut_off(examples, share, 3, "test", labels)[1] == off


@pytest.mark.parametrize("strata", [None, ["a", "a", "b"]])
def test_a_cut_that_leaves_nothing_is_refused(strata: list[str] | None) -> None:
    examples = Examples(["x", "y", "z"], ["a", "a", "b"], "rows.csv", {})
    with pytest.raises(UserError, match=r"^cannot cut 1 of rows\.csv off for the test split: noth"):
        cut_off(examples, 1.0, 0, "test", strata)


@pytest.mark.parametrize("share", [0.1, 0.2, 0.4])
def test_a_cut_by_groups_is_near_its_share_with_even_classes(share: float) -> None:
    random = np.random.default_rng(0)
    groups, labels = random.integers(0, 40, 2000).astype(str), random.choice([*"aaaabb"], 2000)
    examples = Examples([*labels], [*labels], "x", {"group": groups.tolist()})
    _, off = cut_off(examples, share, 0, "test", labels.tolist())
    assert len(off) == pytest.approx(2000 * share, rel=0.15)
    assert Counter(off.targets)["b"] / len(off) == pytest.approx((labels == "b").mean(), abs=0.05)


def test_a_cut_by_groups_may_be_a_little_larger_than_asked() -> None:
    examples = Examples([*"abcdefghijkl"], [""] * 12, "x", {"group": [*"aaaabbbbcccc"]})
    for seed in range(5):
        _, off = cut_off(examples, 0.6, seed, "test")  # 7.2 of 12: 8 are nearer than 4
        assert len(off) == 8


@pytest.mark.parametrize("count", [5, 20, 40])
def test_another_seed_cuts_other_groups_off_however_few_there_are(count: int) -> None:
    groups = [str(n % count) for n in range(200)]
    labels = ["ab"[n % 3 % 2] for n in range(200)]
    examples = Examples(labels, labels, "x", {"group": groups})
    cut = [cut_off(examples, 0.2, seed, "test", labels)[1].also["group"] for seed in range(12)]
    assert len({frozenset(off) for off in cut}) > 2


def test_a_group_is_in_one_split_of_a_file(tmp_path: Path) -> None:
    data = data_of(tmp_path, group="who")
    data.setup()
    groups = whose(data)
    assert sorted(name for each in groups.values() for name in each) == [f"u{n}" for n in range(8)]
    assert not data.notes
    with pytest.raises(UserError, match="no column 'whom': set data.group; .* mean who?"):
        data_of(tmp_path, group="whom").setup()
    one = [{**row, "who": "me"} for row in ROWS]
    with pytest.raises(UserError, match="all of it is of one group, 'me'.*give data.test"):
        data_of(tmp_path, one, group="who").setup()


def test_groups_that_two_files_share_are_a_note(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(r) + "\n" for r in ROWS[:10:3]))
    data = data_of(tmp_path, ROWS[11:], group="who", test=str(tmp_path / "test.jsonl"))
    data.setup()
    groups = whose(data)
    both = groups["train"] & groups["test"]
    start = f"{len(both)} of 4 groups ({25 * len(both)}.00 %) of the test split are in the train"
    assert both and any(note.startswith(start) for note in data.notes)


# ---------------------------------------------------------------- a column, folds


def test_a_column_says_which_split_a_row_is_of(tmp_path: Path) -> None:
    rows = [{**row, "split": ("train", "train", "test")[n % 3]} for n, row in enumerate(ROWS)]
    data = data_of(tmp_path, rows, split="split")
    data.setup()
    assert data.examples["test"].inputs == [row["text"] for row in ROWS[2::3]]
    assert len(data.examples["validation"]) == round(0.2 * 43)
    rows[7]["split"] = "tset"
    with pytest.raises(UserError, match=r"rows.jsonl: a split is 'tset': .*did you mean test\?"):
        data_of(tmp_path, rows, split="split").setup()


def test_leaving_one_group_out_is_what_scikit_learn_does(tmp_path: Path) -> None:
    by_hand = LeaveOneGroupOut().split(ROWS, groups=[row["who"] for row in ROWS])
    for fold, (_, test) in enumerate(by_hand):
        for seed in (0, 1):
            data = data_of(tmp_path, group="who", folds=8, fold=fold, split_seed=seed)
            data.setup()
            assert data.examples["test"].inputs == [ROWS[n]["text"] for n in test]
            assert not whose(data)["train"] & whose(data)["validation"]


@pytest.mark.parametrize("groups", [None, [str(n % 7) for n in range(50)]])
def test_folds_are_every_example_once_with_even_classes(groups: list[str] | None) -> None:
    labels = ["aab"[n % 3] for n in range(50)]
    also = {} if groups is None else {"group": groups}
    folds = folds_of(Examples(labels, labels, "x", also), 5, 0, labels)
    assert sorted(np.concatenate(folds).tolist()) == [*range(50)]
    if groups is None:
        assert {Counter(labels[n] for n in fold)["b"] for fold in folds} == {3, 4}
    else:
        assert sum(len({groups[n] for n in fold}) for fold in folds) == 7
    with pytest.raises(UserError, match="x: .* are too few for 51 folds"):
        folds_of(Examples(labels, labels, "x", also), 51, 0, labels)


def test_a_fold_outside_of_folds_is_refused(tmp_path: Path) -> None:
    for options, said in (({"folds": 5, "fold": 5}, "below data.folds=5"), ({"fold": 1}, "0 with")):
        with pytest.raises(UserError, match=f"data.fold={options['fold']}: .* must be {said}"):
            data_of(tmp_path, **options)
    path = str(tmp_path / "rows.jsonl")
    data_of(tmp_path)
    with pytest.raises(UserError, match="leave data.test out"):
        Text(path, None, path, folds=2).setup()


# ---------------------------------------------------------------- weights


@pytest.mark.parametrize("name", [n for n in NAMES if n in ("classes", "a CRF", "values", "tags")])
def test_a_row_that_counts_twice_is_as_two_rows_in_the_loss(name: str) -> None:
    from dataclasses import replace

    task = task_of(name)
    batch = partly_known(task)
    twice = torch.tensor([0, 0, 1, 2, 2, 2, 4, 6])
    parts = {part: getattr(batch, part)[twice] for part in ("inputs", "lengths", "targets")}
    found = []
    weights = torch.tensor([2.0, 1, 3, 0, 1, 0, 1])
    for each in (replace(batch, weights=weights), replace(batch, **parts)):
        task.zero_grad()
        task.score(each).loss.backward()
        found.append(torch.cat([p.grad.flatten() for p in task.parameters() if p.grad is not None]))
    torch.testing.assert_close(*found)


def test_a_hash_of_each_split_says_which_of_them_another_seed_changes(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS[:9]))
    files = {"test": str(tmp_path / "test.jsonl")}
    first, second = (data_of(tmp_path, split_seed=seed, **files) for seed in (0, 1))
    first.setup(), second.setup()
    pairs = first.fingerprints.items() & second.fingerprints.items()
    assert [split for split, _ in pairs] == ["test"] and len(first.fingerprints) == 3
    assert first.fingerprint != second.fingerprint


def test_weights_of_a_column_come_with_their_rows(tmp_path: Path) -> None:
    data = data_of(tmp_path, weight_column="much", batch_size=7)
    data.setup()
    for batch in data.train_dataloader():
        rows = [data.examples["train"].inputs[n] for n in batch.rows.tolist()]
        assert batch.weights.tolist() == [1 + int(text.split()[0][4:]) % 3 for text in rows]
    with pytest.raises(UserError, match="row 5 has -1 as 'much': give a weight from 0 to 1"):
        rows = [{**row, "much": -1 if n == 4 else 1} for n, row in enumerate(ROWS)]
        data_of(tmp_path, rows, weight_column="much").setup()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("balanced", [10 / 3 / 2, 10 / 3 / 7, 10 / 3]),
        ({"c": 5.0}, [1.0, 1.0, 5.0]),
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]),
    ],
)
def test_classes_weigh_by_number_by_name_or_balanced(given: Any, expected: list[float]) -> None:
    from seqmodels.nn.outputs import ClassOptions

    data = {"classes": ["a", "b", "c"], "counts": [2, 7, 1]}
    assert ClassOptions(class_weights=given).weights_of(data) == pytest.approx(expected)
    with pytest.raises(UserError, match="class_weights.cc: choose one of a, b, c"):
        ClassOptions(class_weights={"cc": 1.0}).weights_of(data)


# ---------------------------------------------------------------- cuts by class, and batches


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
