"""Targets: encoded, batched, saved, and what simple baselines make of them."""

from __future__ import annotations

import inspect
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from omegaconf import OmegaConf
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

from seqmodels.data import (
    UEA,
    Classes,
    Examples,
    SequenceDataModule,
    Series,
    TargetEncoder,
    Text,
    TokenizerOptions,
    Tokens,
    Values,
)
from seqmodels.errors import UserError
from seqmodels.instantiate import instantiate
from tests.conftest import ROOT
from tests.shipped import exported

CONFIGS = ROOT / "configs"


class Made(SequenceDataModule):
    """Examples that a test gives, split by split."""

    def __init__(self, splits: Mapping[Any, Examples], *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.splits = splits

    def read(self) -> Mapping[Any, Examples]:
        return self.splits


def examples(inputs: list[Any], targets: list[Any], source: str = "made.csv") -> Examples:
    return Examples(inputs, targets, source)


# ---------------------------------------------------------------- classes


def test_classes_are_numbers_in_numeric_order_then_names() -> None:
    classes = Classes()
    classes.fit(["b", "10", "2", "a", "2"], "x")
    assert classes.spec == {"classes": ["2", "10", "a", "b"]}
    assert classes.encode(["b", "2", "10"], "x").tolist() == [3, 0, 1]
    assert (classes.per, classes.target) == ("sequence", "class")


LABELLED = {
    "train": examples(["ab", "b", "ba", "aa"], ["bad", "good", "good", "bad"], "a.csv"),
    "validation": examples(["abb", "bb"], ["bad", "good"], "b.csv"),
    "test": examples(["bba", "bab", "aab", "aba"], ["good", "goood", "bad", "good"], "new.csv"),
}


def labelled(splits: Mapping[Any, Examples] = LABELLED) -> Made:
    return Made(splits, Tokens(TokenizerOptions("char")), Classes())


def test_a_class_that_training_never_saw_is_noted_with_number_and_share() -> None:
    data = labelled()
    data.setup()
    assert data.notes == [
        "new.csv: 1 of 4 labels (25.00 %) were never seen in training, such as 'goood' of exam"
        "ple 2: they count as wrong, and the loss leaves them out"
    ]
    assert data.datasets["test"].targets.tolist() == [1, -1, 0, 1]


def test_a_split_whose_classes_are_mostly_unseen_is_an_error_with_the_nearest() -> None:
    targets = ["goood", "goood", "bad", "x"]
    wrong = {**LABELLED, "test": examples(LABELLED["test"].inputs, targets, "new.csv")}
    message = (
        r"^new.csv: 3 of 4 labels \(75.00 %\) were never seen in training, such as 'goood' of exam"
        r"ple 1: choose one of bad, good; did you mean good\?$"
    )
    with pytest.raises(UserError, match=message):
        labelled(wrong).setup()


def test_labels_may_be_numbers_of_any_width() -> None:
    classes = Classes()
    classes.fit([*np.array([0.1, 1, 2.5], np.float32)], "x")
    assert classes.spec == {"classes": ["0.1", "1.0", "2.5"]}
    assert classes.encode([2.5, np.float64(0.1), "1.0"], "x").tolist() == [2, 0, 1]


# ---------------------------------------------------------------- tags

TAGGED = {
    "train": examples(["ab a", "b", "aab"], [["V", "C", "S", "V"], ["C"], ["V", "V", "C"]]),
    "validation": examples(["ba"], [["C", "V"]]),
    "test": examples(["a b", "bc"], [["V", "S", "C"], ["V", "V"]]),
}


def characters(splits: Mapping[Any, Examples] = TAGGED, **options: Any) -> Made:
    return Made(splits, Tokens(TokenizerOptions("char")), exported("Tags")(), **options)


def test_tags_are_padded_with_minus_100_beside_their_tokens() -> None:
    data = characters(batch_size=3)
    data.setup()
    assert data.spec["classes"] == ["C", "S", "V"]
    assert (data.per, data.target) == ("step", "tag")
    [batch] = data.split_loader("train")
    assert batch.lengths.tolist() == [1, 3, 4]  # sorted by length
    assert batch.targets.tolist() == [[0, -100, -100, -100], [2, 2, 0, -100], [2, 0, 1, 2]]
    assert batch.inputs.shape == (3, 4)


def test_a_tag_that_training_never_saw_is_noted_with_its_place() -> None:
    new = {**TAGGED, "test": examples(["ab", "bab"], [["V", "C"], ["C", "Vv", "C"]], "test.json")}
    data = characters(new)
    data.setup()
    assert data.notes == [
        "test.json: 1 of 5 tags (20.00 %) were never seen in training, such as 'Vv' of example 2 "
        "at step 2: they count as wrong, and the loss leaves them out"
    ]
    assert [each.tolist() for each in data.datasets["test"].targets] == [[2, 0], [0, -1, 0]]
    wrong = {**TAGGED, "test": examples(["bab"], [["C", "Vv", "x"]], "test.json")}
    with pytest.raises(UserError, match=r"2 of 3 tags .*: choose one of C, S, V; did you mean V"):
        characters(wrong).setup()


def test_of_spans_that_training_never_saw_beginnings_are_told_from_insides() -> None:
    tags = exported("Tags")()
    tags.fit([["B-x", "O"], ["B-y", "I-x"]], "x")
    assert tags.spec == {"classes": ["B-x", "B-y", "I-x", "O"]}
    new = [["O", "I-z", "I-z", "B-z", "I-x", "z"]]
    assert tags.encode(new, "new")[0].tolist() == [3, -3, -2, -3, 2, -1]
    restored = exported("Tags")()
    restored.load(tags.spec)
    assert restored.spec == tags.spec
    with pytest.raises(UserError, match="x: every tag is 'B-x'; tagging needs at least two tags"):
        exported("Tags")().fit([["B-x"]], "x")


@pytest.mark.parametrize(("tags", "count"), [(["V"], 1), (["V", "C", "S"], 3)])
def test_more_or_fewer_tags_than_steps_are_an_error_that_names_the_example(
    tags: list[str], count: int
) -> None:
    wrong = {**TAGGED, "test": examples(["b", "ab"], [["C"], tags], "test.json")}
    message = (
        f"^test.json: example 2 has 2 steps once encoded and {count} tags; each step needs one "
        "tag, so check data.tokenizer, data.max_length and data.fold$"
    )
    with pytest.raises(UserError, match=message):
        characters(wrong).setup()


def test_a_tagger_needs_two_tags() -> None:
    with pytest.raises(UserError, match="x: every tag is 'A'; tagging needs at least two tags"):
        exported("Tags")().fit([["A", "A"], ["A"]], "x")
    with pytest.raises(UserError, match="x: every tag is missing"):
        exported("Tags")().fit([[]], "x")


def test_baselines_of_tags_are_the_most_frequent_ones() -> None:
    data = characters()
    data.setup()
    # test steps: a V, space S, b C; b V, c V. Most frequent tag of training: V (4 of 8). Of each
    # token: a V, b C, space S; c is unknown, so V. Correct: V.., V, V = 3 of 5; all but `b V` = 4
    found = data.baselines()
    assert set(found) == {"validation/accuracy", "test/accuracy"}
    assert found["test/accuracy"] == {
        "most frequent tag": 3 / 5,
        "most frequent tag of each token": 4 / 5,
    }


def test_series_can_be_tagged_too() -> None:
    random = np.random.default_rng(0)
    splits = {
        split: examples([random.normal(size=(n, 2)) for n in (3, 5)], [["0", "1", "1"], ["1"] * 5])
        for split in ("train", "validation", "test")
    }
    data = Made(splits, Series(), exported("Tags")(), batch_size=2)
    data.setup()
    [batch] = data.split_loader("test")
    assert batch.inputs.shape == (2, 5, 2)
    assert batch.targets.tolist() == [[0, 1, 1, -100, -100], [1, 1, 1, 1, 1]]
    assert data.baselines()["test/accuracy"] == {"most frequent tag": 7 / 8}


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
    torch.testing.assert_close(values.restore(encoded), restored, equal_nan=True)
    assert (values.per, values.target) == ("sequence", "value")


def test_a_single_value_may_be_given_without_a_list() -> None:
    values = Values()
    values.fit(["1.5", 2.5, None], "x")
    assert values.encode([2, np.float32(1.5), "1e0"], "x").tolist() == [[0.0], [-1.0], [-2.0]]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([1, "tall"], "new.csv: row 2 has 'tall' as 'b', which is not a finite number"),
        (["inf", 1], "new.csv: row 2 has 'inf' as 'a', which is not a finite number"),
        ([1], r"new.csv: row 2 must have 2 values \(a, b\), but has 1"),
        ("5", r"new.csv: row 2 must have 2 values \(a, b\), but has 1"),
    ],
)
def test_wrong_values_are_named_with_file_row_and_value(row: Any, message: str) -> None:
    values = Values(["a", "b"])
    with pytest.raises(UserError, match=f"^{message}$"):
        values.fit([[1, 2], row], "new.csv")


def test_a_value_that_is_always_missing_is_an_error() -> None:
    with pytest.raises(UserError, match="x: every 'b' is missing; there is nothing to learn"):
        Values(["a", "b"]).fit([[1, None], [2, ""]], "x")


def test_an_evaluated_split_without_any_value_is_an_error() -> None:
    values = Values()
    values.fit([1, 2], "x")
    with pytest.raises(UserError, match="new.csv: every value is missing; there is"):
        values.encode([None, ""], "new.csv")


def test_values_of_steps_are_standardised_together_and_padded_with_nan() -> None:
    series = [np.zeros((n, 2)) + np.arange(n)[:, None] for n in (2, 4)]
    targets = [[[0, "5"], [4, None]], np.array([[4.0, 7.0], [0.0, 7.0], [2.0, 5.0], [2.0, 7.0]])]
    made = examples(series, targets)
    data = Made(dict.fromkeys(("train", "validation", "test"), made), Series(),
                Values(["a", "b"], per="step"), batch_size=2)  # fmt: skip
    data.setup()
    assert (data.per, data.target) == ("step", "value")
    found = data.spec
    assert (found["mean"], found["deviation"][0]) == ([2.0, 6.2], pytest.approx(math.sqrt(8 / 3)))
    [batch] = data.split_loader("test")
    assert batch.targets.shape == (2, 4, 2)
    own = data.targets.restore(batch.targets)
    expected = np.full((2, 4, 2), np.nan)
    expected[0, :2], expected[1] = [[0, 5], [4, np.nan]], targets[1]
    torch.testing.assert_close(own, torch.tensor(expected).float(), equal_nan=True)
    assert list(data.baselines()["test/mae"]) == ["training mean"]
    assert data.split_sizes == {}


def test_a_wrong_value_of_a_step_is_named_with_its_example_and_step() -> None:
    values = Values(["a", "b"], per="step")
    with pytest.raises(UserError, match="^x: example 2, step 3 has 'tall' as 'b', which is not a"):
        values.fit([[[1, 2]], [[1, 2], [3, 4], [5, "tall"]]], "x")
    with pytest.raises(UserError, match="^x: example 1, step 1 must have 2 values .a, b., but has"):
        values.fit([[1, 2]], "x")


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_columns_with_numbers_are_values(ending: str, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"text": f"word{n % 3} x", "up": n + 0.5, "down": -n} for n in range(30)
    ]
    rows[7]["up"] = None

    def write(name: str) -> Path:
        path = tmp_path / f"{name}.{ending}"
        if ending == "parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        elif ending == "jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        else:
            between = {"csv": ",", "tsv": "\t"}[ending]
            cells = [["" if v is None else str(v) for v in row.values()] for row in rows]
            lines = [[*rows[0]], *cells]
            path.write_text("".join(between.join(line) + "\n" for line in lines))
        return path

    path = write("train")
    data = Text(str(path), value_columns=["down", "up"])
    assert (data.per, data.target) == ("sequence", "value")
    data.setup()
    assert data.spec["values"] == ["down", "up"]
    [batch] = data.file_loader(str(path))
    own = data.targets.restore(batch.targets)  # type: ignore[attr-defined]
    pairs = sorted((-down, up) for down, up in own.tolist() if not math.isnan(up))
    expected = [(n, n + 0.5) for n in range(30) if n != 7]
    np.testing.assert_allclose(pairs, expected, atol=1e-5)
    assert len(list(data.read_inputs(str(path)))) == 30
    for wrong in ("inf", "nan(1)", "1_0") if ending != "parquet" else ():  # of one type
        rows[20]["down"] = wrong
        message = rf"wrong\.\w+: row 21 has '{re.escape(wrong)}' as 'down', which is not a finite"
        with pytest.raises(UserError, match=message):  # counted before validation is cut off
            Text(str(write("wrong")), value_columns=["down", "up"]).setup()
    with pytest.raises(UserError, match="no column .height.: set data.value_columns; choose"):
        Text(str(path), value_columns=["down", "height"]).setup()


def test_a_file_without_the_numbers_can_be_predicted_and_not_evaluated(tmp_path: Path) -> None:
    train, new = tmp_path / "train.csv", tmp_path / "new.csv"
    train.write_text("text,score\n" + "".join(f"word {n % 3},{n}\n" for n in range(20)))
    new.write_text("text\nword 1\n")
    data = Text(str(train), value_columns=["score"])
    data.setup()
    assert list(data.read_inputs(str(new))) == ["word 1"]
    with pytest.raises(UserError, match=r"new\.csv: row 1 has no column 'score'"):
        data.file_loader(str(new))


def regression(seed: int = 0) -> Made:
    random = np.random.default_rng(seed)
    splits = {}
    for split, size in (("train", 40), ("validation", 7), ("test", 11)):
        series = [random.normal(size=(3 + n % 4, 2)) for n in range(size)]
        targets = [[100 + 10 * x[:, 0].mean(), None if n % 5 == 0 else x[:, 1].mean()]
                   for n, x in enumerate(series)]  # fmt: skip
        splits[split] = examples(series, targets)
    return Made(splits, Series(), Values(["level", "drift"]), batch_size=8)


def test_batches_of_values_have_nan_where_one_is_missing() -> None:
    data = regression()
    data.setup()
    batches = list(data.split_loader("test"))
    targets = torch.cat([batch.targets for batch in batches])
    assert targets.shape == (11, 2) and targets.dtype == torch.float32
    assert int(targets[:, 1].isnan().sum()) == 3 and not targets[:, 0].isnan().any()


def test_baselines_of_values_are_in_their_own_units() -> None:
    data = regression()
    data.setup()
    found = data.baselines()

    def table(split: str) -> tuple[np.ndarray, np.ndarray]:  # by hand
        made = data.examples[split]
        inputs = np.array([np.r_[x.mean(0), x.std(0)] for x in made.inputs])
        return inputs, np.array(made.targets, dtype=float)

    (inputs, values), (test_inputs, test_values) = table("train"), table("test")
    errors = {"training mean": np.nanmean(values, 0) - test_values}
    mean, deviation = inputs.mean(0), inputs.std(0)
    predictions = np.zeros_like(test_values)
    for k in range(2):
        known = ~np.isnan(values[:, k])
        model = Ridge().fit(((inputs - mean) / deviation)[known], values[known, k])
        predictions[:, k] = model.predict((test_inputs - mean) / deviation)
    errors["ridge regression on channel means and deviations"] = predictions - test_values
    for name, error in errors.items():
        assert found["test/rmse"][name] == pytest.approx(np.sqrt(np.nanmean(error**2)), rel=1e-5)
        assert found["test/mae"][name] == pytest.approx(np.nanmean(np.abs(error)), rel=1e-5)
        known = ~np.isnan(test_values)
        r2 = [r2_score(v[k], (v + e)[k]) for v, e, k in zip(test_values.T, error.T, known.T)]
        assert found["test/r2"][name] == pytest.approx(np.mean(r2), rel=1e-5)
    assert set(found["test/rmse"]) == set(errors)


def test_a_label_column_of_numbers_can_be_values_or_classes(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text("text,label\n" + "".join(f"word{n % 3} x,{n % 4}.5\n" for n in range(60)))
    config = {"_target_": "seqmodels.data.Text", "train": str(path)}
    score = {"_target_": "seqmodels.data.Values", "names": ["score"]}
    values, classes = instantiate({**config, "targets": score}), instantiate(config)
    for data in (values, classes):
        data.setup()
    assert values.spec["values"] == ["score"] and classes.spec["classes"][0] == "0.5"
    both = ("validation", "test")
    assert set(values.baselines()) == {f"{s}/{m}" for s in both for m in ("rmse", "mae", "r2")}
    scores = ("accuracy", "macro_f1")
    assert set(classes.baselines()) == {f"{s}/{m}" for s in both for m in scores}
    assert "ridge regression on tf-idf" in values.baselines()["test/rmse"]


# ---------------------------------------------------------------- what a finished run encodes with


@pytest.mark.parametrize(
    ("made", "targets"),
    [(characters, lambda: exported("Tags")()), (regression, lambda: Values(["level", "drift"]))],
)
def test_a_spec_restores_inputs_and_targets(
    made: Callable[[], Made], targets: Callable[[], TargetEncoder]
) -> None:
    data = made()
    data.setup()
    spec = json.loads(json.dumps(data.spec))  # plain values
    again = Made(data.splits, Tokens(), targets(), batch_size=data.batch_size)
    again.use_spec(spec)
    assert again.spec == data.spec
    again.setup()
    for split in ("train", "test"):
        for old, new in zip(again.split_loader(split), data.split_loader(split)):
            assert torch.equal(old.inputs, new.inputs)
            torch.testing.assert_close(old.targets, new.targets, equal_nan=True)


def test_a_batch_of_raw_inputs_has_no_targets() -> None:
    data = characters()
    data.setup()
    batch = data.batch_of(["ab", "a", "ba b"])
    assert batch.lengths.tolist() == [2, 1, 4] and batch.targets is None
    assert data.inputs.tokenizer.decode(batch.inputs[2].tolist()) == "ba b"
    with pytest.raises(UserError, match="^new.txt: text 12 is empty"):
        data.batch_of(["a", ""], "new.txt", first=11)


def test_inputs_of_a_file_are_read_without_their_labels(tmp_path: Path, reviews: Path) -> None:
    lines = tmp_path / "new.txt"
    lines.write_text("a fine film\nand then\n")
    data = Text(str(reviews))
    assert list(data.read_inputs(str(lines))) == ["a fine film", "and then"]
    assert len(list(data.read_inputs(str(reviews)))) == 60
    lines.write_text("one\n\n")
    with pytest.raises(UserError, match="new.txt: the text of row 2 is empty"):
        list(data.read_inputs(str(lines)))


def test_labelled_files_evaluate_texts(reviews: Path, tmp_path: Path) -> None:
    data = Text(str(reviews))
    data.setup()
    path = tmp_path / "labelled.csv"
    path.write_text("text,label\na fine film,good\ndull,bad\n")
    [batch] = data.file_loader(str(path))
    assert sorted(batch.targets.tolist()) == [0, 1]
    lines = tmp_path / "new.txt"
    lines.write_text("a fine film\n")
    with pytest.raises(
        UserError, match="new.txt: row 1 has no column 'label': set data.label_column"
    ):
        data.file_loader(str(lines))


# ---------------------------------------------------------------- configuration


def test_data_sets_are_siblings() -> None:
    assert not issubclass(Text, UEA) and not issubclass(UEA, Text)


def has_the_defaults_of(name: str, module: type) -> None:
    """Asserts it of a file of `configs/data/shared`."""
    shared = OmegaConf.load(CONFIGS / "data" / "shared" / f"{name}.yaml")
    assert isinstance(shared, Mapping)
    parameters = inspect.signature(module).parameters
    assert {key: parameters[key].default for key in shared if key != "seed"} == {
        key: value for key, value in OmegaConf.to_container(shared).items() if key != "seed"
    }


def test_shared_configuration_has_the_defaults_of_the_signature() -> None:
    has_the_defaults_of("sequences", SequenceDataModule)
