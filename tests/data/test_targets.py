"""Targets: encoded, batched, and what simple baselines read and make of them."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

from seqmodels.data import (
    SPLITS,
    Classes,
    Examples,
    SequenceDataModule,
    Series,
    SeriesTable,
    Tags,
    Text,
    TokenizerOptions,
    Tokens,
    Values,
)
from seqmodels.data.baseline_features import nearest_neighbour, step_windows
from seqmodels.errors import UserError
from tests.conftest import ROOT
from tests.shipped import exported, skip_where_deleted
from tests.summaries import summary_of


class Made(SequenceDataModule):
    """Examples that a test gives, split by split; read and set up."""

    def __init__(self, splits: Mapping[Any, Any], *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.splits = splits
        self.setup()

    def read(self) -> Mapping[Any, Examples]:
        return {split: Examples(*part, f"{split}.json") for split, part in self.splits.items()}


def test_classes_are_numbers_in_numeric_order_then_names() -> None:
    numbers = [str(number) for number in range(40)]
    classes = Classes()
    classes.fit(["nan", "b", *sorted(numbers), "2"], "x")
    counts = [1 + (number == "2") for number in numbers]
    assert classes.spec == {"classes": [*numbers, "b", "nan"], "counts": [*counts, 1, 1]}
    assert classes.encode(["b", "2", "10", "new"], "x").tolist() == [40, 2, 10, -1]
    classes.fit([*np.array([0.1, 1, 2.5], np.float32)], "x")  # numbers of any width
    assert classes.encode([2.5, np.float64(0.1), "1.0"], "x").tolist() == [2, 0, 1]


@pytest.mark.parametrize("none", [None, math.nan, np.float32("nan"), " "])
def test_an_example_without_a_label_is_refused(none: Any) -> None:
    splits = {"train": (["a", "b", "c"], ["x", none, "y"])}
    with pytest.raises(UserError, match=r"^train\.json: example 2 has no label"):
        Made(splits, Tokens(), Classes())
    data = Made({**splits, "train": (["a", "b"] * 9, ["x", "y "] * 9)}, Tokens(), Classes())
    assert data.spec["classes"] == ["x", "y"]
    with pytest.raises(UserError, match="^new.csv: example 1 has no label"):
        data.read_file = lambda path: iter([("a", none)])  # type: ignore[method-assign]
        data.file_loader("new.csv")


def test_labels_that_are_all_numbers_are_noted_if_they_are_many() -> None:
    skip_where_deleted("model=regressor")
    for labels, noted in (
        ([*range(30)], True),
        ([*range(9)] * 5, False),
        (["a", *range(30)], False),
    ):
        classes = Classes()
        classes.fit(labels, "train.csv")
        expected = "train.csv: the 30 labels are all numbers, and each is a class: to predict a num"
        assert classes.note.startswith(expected) if noted else not classes.note


@pytest.mark.parametrize(
    ("targets", "labels", "said"),
    [
        (
            Classes(),
            [*range(30)],
            "30 of 30 labels are different numbers, .* set model=regressor$",
        ),
        (Classes(), [*range(30)] * 2, ""),
        (Classes(), [f"a{n}" for n in range(30)], ""),
        (Classes(), [*range(20)], ""),
        (
            Tags(),
            [[0.5 * n, None] for n in range(30)],
            "30 of 30 tags are different numbers, .* set model=regressor model.head=every_step$",
        ),
        (Tags(), [["0", "1"], [*range(30)] * 2], ""),
    ],
)
def test_different_numbers_are_no_classes(targets: Any, labels: list[Any], said: str) -> None:
    skip_where_deleted(said)
    refusal = pytest.raises(UserError, match=f"^train.csv: {said}") if said else nullcontext()
    with refusal:
        targets.check_training(labels, "train.csv")


def test_inputs_and_targets_are_as_many() -> None:
    with pytest.raises(UserError, match="^train.json: there are 3 inputs and 2 targets"):
        Examples(["a", "b", "c"], ["x", "y"], "train.json")


# ---------------------------------------------------------------- a class for each step

TAGGED = {
    "train": (["ab a", "b", "aab"], [["V", "C", "S", "V"], ["C"], ["V", "V", "C"]]),
    "validation": (["ba"], [["C", "V"]]),
    "test": (["a b", "bc"], [["V", "S", "C"], ["V", "V"]]),
}


def tagged(test: Any = TAGGED["test"]) -> Made:
    exported("Tagger")  # whose target it is
    tags = Tags()
    return Made({**TAGGED, "test": test}, Tokens(TokenizerOptions("char")), tags, batch_size=3)


def test_tags_are_padded_with_minus_100_beside_their_tokens() -> None:
    data = tagged()
    assert data.spec["classes"] == ["C", "S", "V"]
    [batch] = data.split_loader("train")
    assert batch.lengths.tolist() == [1, 3, 4]  # sorted by length
    assert batch.targets.tolist() == [[0, -100, -100, -100], [2, 2, 0, -100], [2, 0, 1, 2]]
    # test steps: a V, space S, b C; b V, c V. Most frequent tag of training: V (4 of 8). Of each
    # token: a V, b C, space S; c is unknown, so V. Correct: V.., V, V = 3 of 5; all but `b V` = 4
    shares = {"most frequent tag": 3 / 5, "most frequent tag of each token": 4 / 5}
    found = data.baselines().scores["test/accuracy"]
    assert {name: found[name] for name in shares} == pytest.approx(shares)
    with pytest.raises(UserError, match="example 2 has 2 steps once encoded and 1 tags"):
        tagged((["b", "ab"], [["C"], ["V"]]))
    with pytest.raises(UserError, match="2 of 3 tags .*: choose one of C, S, V"):
        tagged((["bab"], [["C", "Vv", "x"]]))


def test_a_step_whose_tag_is_not_known_is_left_out() -> None:
    test = (["a b", "bc"], [["V", None, "C"], [math.nan, "V"]])
    data = tagged(test)
    [batch] = data.split_loader("test")
    assert batch.targets.tolist() == [[-100, 2, -100], [2, -100, 0]]
    assert data.spec["classes"] == ["C", "S", "V"]
    found = data.compute_baselines().scores
    assert found["test/accuracy"]["most frequent tag"] == pytest.approx(2 / 3)


def test_of_spans_that_training_never_saw_beginnings_are_told_from_insides() -> None:
    tags = Tags()
    tags.fit([["B-x", "O"], ["B-y", "I-x"]], "x")
    assert tags.spec["classes"] == ["B-x", "B-y", "I-x", "O"]
    new = [["O", "I-z", "I-z", "B-z", "I-x", "z"]]
    assert tags.encode(new, "new")[0].tolist() == [3, -3, -2, -3, 2, -1]


# ---------------------------------------------------------------- values


def test_values_are_standardised_by_the_training_split_and_restored() -> None:
    values = Values(["height", "weight", "constant"])
    values.fit([[1.0, "10", 7], [3.0, None, 7], [None, "30", 7.0]], "x")
    assert values.spec == {
        "values": ["height", "weight", "constant"],
        "mean": [2.0, 20.0, 7.0],
        "deviation": [1.0, 10.0, 1.0],
    }
    encoded = values.encode([[4, "nan", 8], ["", 0, 7]], "x")
    expected = torch.tensor([[2.0, math.nan, 1.0], [math.nan, -2.0, 0.0]])
    torch.testing.assert_close(encoded, expected, equal_nan=True)
    restored = torch.tensor([[4.0, math.nan, 8.0], [math.nan, 0.0, 7.0]])
    torch.testing.assert_close(values.restore(encoded), restored.double(), equal_nan=True)
    single = Values()
    single.fit(["1.5", 2.5, None], "x")
    constant = Values()
    constant.fit([0.1] * 6, "x")  # whose deviation is not 0, but for rounding
    assert constant.encode([0.1, 0.2], "x").flatten().tolist() == pytest.approx([0.0, 0.1])
    assert single.encode([2, np.float32(1.5), "1e0"], "x").tolist() == [[0.0], [-1.0], [-2.0]]
    with pytest.raises(UserError, match="^new.csv: every value is missing"):  # none to evaluate
        single.encode([None, ""], "new.csv")


@pytest.mark.parametrize(
    ("rows", "per", "key"),
    [
        ([[1, 2], [1, "tall"]], "sequence", "row 2 has 'tall' as 'b', which is not a finite"),
        ([[1, 2], "5"], "sequence", r"row 2 must have 2 values \(a, b\), but has 1"),
        ([[1, None], [2, ""]], "sequence", "every 'b' is missing"),
        ([[[1, 2]], [[1, 2], [3, "inf"]]], "step", "example 2, step 2 has 'inf' as 'b'"),
    ],
)
def test_wrong_values_are_named_with_file_row_and_value(rows: Any, per: Any, key: str) -> None:
    with pytest.raises(UserError, match=f"^new.csv: {key}"):
        Values(["a", "b"], per=per).fit(rows, "new.csv")


def test_values_of_steps_are_standardised_together_and_padded_with_nan() -> None:
    exported("Regressor")  # beside which the kind of target is registered
    series = [np.zeros((n, 2)) + np.arange(n)[:, None] for n in (2, 4)]
    targets = [[[0, "5"], [4, None]], np.array([[4.0, 7.0], [0.0, 7.0], [2.0, 5.0], [2.0, 7.0]])]
    splits = dict.fromkeys(SPLITS, (series, targets))
    data = Made(splits, Series(), Values(["a", "b"], per="step"), batch_size=2)
    found = data.spec
    assert (found["mean"], found["deviation"][0]) == ([2.0, 6.2], pytest.approx(math.sqrt(8 / 3)))
    [batch] = data.split_loader("test")
    own = data.targets.restore(batch.targets)  # type: ignore[attr-defined]
    expected = np.full((2, 4, 2), np.nan)
    expected[0, :2], expected[1] = [[0, 5], [4, np.nan]], targets[1]
    torch.testing.assert_close(own.float(), torch.tensor(expected).float(), equal_nan=True)


def test_columns_of_numbers_are_values_or_classes(tmp_path: Path) -> None:
    exported("Regressor")  # beside which the kind of target is registered
    path, rows = tmp_path / "train.csv", [f"word{n % 3} x,{-n % 4},{n + 0.5}" for n in range(60)]
    path.write_text("\n".join(["text,label,up", *rows[:7], "word1 x,1,", *rows[8:]]))
    classes, values = Text(str(path)), Text(str(path), value_columns=["up", "label"])
    for data in (classes, values):
        data.setup()
    assert classes.spec["classes"] == [*"0123"]
    assert "ridge regression on tf-idf" in values.baselines().scores["test/rmse"]
    assert "logistic regression on tf-idf" in classes.baselines().scores["test/accuracy"]
    found = [batch.targets[batch.rows == 7] for batch in values.file_loader(str(path))]
    [own] = values.targets.restore(torch.cat(found)).tolist()
    assert math.isnan(own[0]) and own[1] == pytest.approx(1)
    path.write_text("\n".join(["text,label,up", *rows[:20], "word1 x,inf,1", *rows]))
    with pytest.raises(UserError, match="row 21 has inf as 'label'"):  # before a split is cut off
        Text(str(path), value_columns=["up", "label"]).setup()


def test_baselines_of_values_are_in_their_own_units() -> None:
    exported("Regressor")  # beside which the kind of target is registered
    random, splits = np.random.default_rng(0), {}
    for split, size in zip(SPLITS, (40, 7, 11)):
        series = [random.normal(size=(3 + n % 4, 2)) for n in range(size)]
        drift = [None if n % 5 == 0 else x[:, 1].mean() for n, x in enumerate(series)]
        splits[split] = series, [[100 + 10 * x[:, 0].mean(), d] for x, d in zip(series, drift)]
    data = Made(splits, Series(), Values(["level", "drift"]), batch_size=8)
    found = data.baselines().scores

    def table(split: str) -> tuple[np.ndarray, np.ndarray]:  # by hand
        inputs = np.array([*map(summary_of, splits[split][0])])
        return inputs, np.array(splits[split][1], dtype=float)

    (inputs, values), (test_inputs, test_values) = table("train"), table("test")
    errors = {"training mean": np.nanmean(values, 0) - test_values}
    mean, deviation = inputs.mean(0), inputs.std(0)
    predictions = np.zeros_like(test_values)
    for k in range(2):
        known = ~np.isnan(values[:, k])
        model = Ridge().fit(((inputs - mean) / deviation)[known], values[known, k])
        predictions[:, k] = model.predict((test_inputs - mean) / deviation)
    errors["ridge regression on channel statistics"] = predictions - test_values
    assert set(found["test/rmse"]) == set(errors)
    for name, error in errors.items():
        assert found["test/rmse"][name] == pytest.approx(np.sqrt(np.nanmean(error**2)), rel=1e-5)
        assert found["test/mae"][name] == pytest.approx(np.nanmean(np.abs(error)), rel=1e-5)
        known = ~np.isnan(test_values)
        r2 = [r2_score(v[k], (v + e)[k]) for v, e, k in zip(test_values.T, error.T, known.T)]
        assert found["test/r2"][name] == pytest.approx(np.mean(r2), rel=1e-5)


# ---------------------------------------------------------------- configuration


def test_shared_configuration_has_the_defaults_of_the_signature() -> None:
    shared = OmegaConf.load(ROOT / "configs" / "data" / "shared" / "sequences.yaml")
    parameters = inspect.signature(SequenceDataModule).parameters
    for key, value in OmegaConf.to_container(shared).items():  # type: ignore[union-attr]
        assert key == "seed" or parameters[key].default == value


# ---------------------------------------------------------------- what baselines read


def test_windows_are_scaled_by_the_training_alone() -> None:
    random = np.random.default_rng(0)
    frames = [
        pd.DataFrame(
            {
                "s": np.repeat([*"abcd"], 9),
                "x": random.normal(level, 3, 36),
                "label": [*"abc"] * 12,
            }
        )
        for level in (1, 50, -90)
    ]
    data = SeriesTable(*frames, series="s", scale="none")
    data.setup()
    _, features, _ = step_windows(data)
    assert np.allclose(features["train"].mean(0), 0, atol=1e-6)
    assert np.allclose(features["train"].std(0), 1, atol=1e-6)
    assert features["test"].mean() < -20  # deviations of the training


def test_a_series_is_normalised_by_itself_and_its_shifted_copy_is_its_nearest() -> None:
    random = np.random.default_rng(0)
    train = [torch.tensor(random.normal(size=(12, 2)).cumsum(0)) for _ in range(10)]
    far = [100 * number + (2 + number) * series for number, series in enumerate(train)]
    labels = np.arange(10)
    splits: dict[Any, Any] = {"train": train, "validation": far, "test": far[::-1]}
    named = {"train": labels, "validation": labels, "test": labels[::-1]}
    predictions = nearest_neighbour(splits, named)["nearest neighbour, z-normalised"]
    assert predictions["validation"].tolist() == labels.tolist()
    assert predictions["test"].tolist() == labels[::-1].tolist()
