"""Cuts by whole groups, splits that a column names, folds, and how much rows and classes count."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import LeaveOneGroupOut

from seqmodels.data import Examples, Text
from seqmodels.data.examples import cut_off, folds_of
from seqmodels.errors import UserError
from tests.engine.costing import NAMES, batch_of, task_of

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
    batch = batch_of(name, task)
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
