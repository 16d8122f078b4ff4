"""Time series: of the archive and of files, scaled, folded and saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seqmodels.data import UEA, Series
from seqmodels.data.inputs import load_inputs
from seqmodels.errors import UserError


def test_japanese_vowels_has_the_published_shape() -> None:
    data = UEA("JapaneseVowels")
    data.setup()
    parts = data.datasets
    assert len(parts["train"]) + len(parts["validation"]) == 270 and len(parts["test"]) == 370
    lengths = torch.cat([part.lengths for part in parts.values()])
    assert (int(lengths.min()), int(lengths.max())) == (7, 29)
    assert data.spec["num_inputs"] == 12
    assert data.spec["classes"] == [str(n) for n in range(1, 10)]
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
    data = UEA("PLAID", fold=10)
    data.setup()
    raw = [len(x) for part in data.examples.values() for x in part.inputs]
    assert (len(raw), min(raw), max(raw), len(data.spec["classes"])) == (1074, 100, 1344, 11)
    series = data.examples["train"].inputs[0]
    assert len(data.datasets["train"].sequences[0]) == -(-len(series) // 10)


def test_folding_puts_steps_side_by_side() -> None:
    encoder = Series(fold=3, scale="none")
    series = np.arange(8.0).reshape(4, 2)
    encoder.fit([series])
    [encoded] = encoder.encode([series], "x")
    assert encoded.tolist() == [[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], [6.0, 7.0, 6.0, 7.0, 6.0, 7.0]]
    assert encoder.num_inputs == 6


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
    encoder = Series(scale="series")
    encoder.fit([np.ones((4, 2)), np.ones((3, 2))])
    assert encoder.encode([np.ones((2, 2))], "x")[0].tolist() == [[0.0] * 2] * 2


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
    encoder = Series(fold=2, scale="series")
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


def test_files_of_your_own_are_read_anew(tmp_path: Path) -> None:
    (tmp_path / "Mine").mkdir()
    for value in ("1.5", "2.5"):
        for split in ("TRAIN", "TEST"):
            (tmp_path / "Mine" / f"Mine_{split}.ts").write_text(
                f"@problemName Mine\n@classLabel true A b\n@data\n{value},1.0:A\n0.5,0.5:b\n"
            )
        found = UEA("Mine", folder=str(tmp_path)).read()
        assert found["train"].inputs[0].tolist() == [[float(value)], [1.0]]
        assert found["test"].targets == ["A", "b"]
    with pytest.raises(UserError, match="Yours_TRAIN.ts: no such file"):
        UEA("Yours", folder=str(tmp_path)).setup()


def test_series_files_are_read_one_by_one(tmp_path: Path) -> None:
    data = UEA("JapaneseVowels")
    path = tmp_path / "new.jsonl"
    path.write_text('[[1, 2], [3, null]]\n{"series": [[5, 6]], "label": 3}\n')
    (first, no_label), (second, label) = data.read_file(str(path))
    assert first.shape == (2, 2) and np.isnan(first[1, 1]) and no_label is None
    assert second.tolist() == [[5, 6]] and label == "3"
    path.write_text('[[1, 2]]\n{"values": 1}\n')
    with pytest.raises(UserError, match="line 2 is no series, such as"):
        list(data.read_file(str(path)))


# ---------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[[1, 2], [3]]", "line 1 is no series, .*inhomogeneous shape"),
        ("[]", r"line 1 is no series, .*: it has shape \(0,\)"),
        ("[1, 2]", r"line 1 is no series, .*: it has shape \(2,\)"),
        ('[[1, "x"]]', "line 1 is no series, .*could not convert string to float"),
        ("[[1, 2]", "line 1 is not JSON: "),
    ],
)
def test_what_is_not_a_series_is_refused(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(line)
    with pytest.raises(UserError, match=rf"a\.jsonl: .*{message}"):
        list(UEA("JapaneseVowels").read_file(str(path)))


HEAD = "@problemName x\n@timeStamps false\n@univariate false\n@classLabel true Standing walking\n"


def ts(tmp_path: Path, content: str) -> list[tuple[Any, Any]]:
    (tmp_path / "a.ts").write_text(content)
    return [*UEA("JapaneseVowels").read_file(str(tmp_path / "a.ts"))]


def test_a_ts_file_keeps_the_case_of_its_labels(tmp_path: Path) -> None:
    rows = ts(tmp_path, f"# words\n{HEAD}@DATA\n1,?:3,4: Standing\n\n-2e1,4:5:walking\n")
    (first, one), (second, other) = rows
    assert np.array_equal(first, [[1, 3], [np.nan, 4]], equal_nan=True) and one == "Standing"
    assert np.array_equal(second, [[-20, 5], [4, np.nan]], equal_nan=True) and other == "walking"
    unlabelled = HEAD.replace("true Standing walking", "false")
    assert [label for _, label in ts(tmp_path, f"{unlabelled}@data\n1,2:3,4\n")] == [None]


def test_a_run_is_evaluated_with_the_labels_that_the_archive_writes(tmp_path: Path) -> None:
    data = UEA("BasicMotions")
    data.setup()
    assert data.spec["classes"] == ["Badminton", "Running", "Standing", "Walking"]
    series = data.examples["test"].inputs[0].tolist()
    (tmp_path / "new.jsonl").write_text(json.dumps({"series": series, "label": "Standing"}))
    [batch] = data.file_loader(str(tmp_path / "new.jsonl"))
    assert batch.targets.tolist() == [2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"{HEAD}@data\n1,2:3,4\n", "line 6 has no label after its last channel"),
        (
            f"{HEAD}@data\n1,2:3,x:a\n",
            "line 6 is not a series: could not convert string to float: ",
        ),
        (
            f"{HEAD.replace('false', 'true')}@data\n(0,1),(1,3):a\n",
            "has time stamps: write the val",
        ),
        (HEAD, "is not a .ts file: it has no line @data"),
    ],
)
def test_what_is_not_a_ts_file_is_refused(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(UserError, match=rf"a\.ts:? {message}"):
        ts(tmp_path, content)


@pytest.mark.parametrize("name", ["JapaneseVowels", "ItalyPowerDemand", "Tecator", "BasicMotions"])
def test_the_archive_is_read_as_sktime_reads_it(name: str) -> None:
    from sktime.datasets import load_UCR_UEA_dataset

    table, labels = load_UCR_UEA_dataset(name, split="train", return_X_y=True)
    read = UEA(name).read()["train"]
    assert [label.lower() for label in read.targets] == [*map(str, labels)]  # which lowers them
    for series, row in zip(read.inputs, table.itertuples(index=False), strict=True):
        assert np.array_equal(series, np.stack([*row], axis=1))


def test_series_keep_their_labels_and_refuse_what_float32_cannot_hold(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"series": [[1, 1e300]], "label": 1.10}\n[[1, 1e999]]\n')
    data = UEA("JapaneseVowels")
    (huge, label), (infinite, _) = data.read_file(str(path))
    assert label == "1.10"
    data.inputs.load({"mean": [0.0, 0.0], "deviation": [1.0, 1.0], "folded": 1})
    with pytest.raises(UserError, match="a: series 1 has a value too far from the training values"):
        data.inputs.encode([huge], "a")
    with pytest.raises(UserError, match="a: series 1 has an infinite value; correct it"):
        data.inputs.encode([infinite], "a")
