"""Time series: of the archive and of files, scaled, stacked and saved."""

from __future__ import annotations

import io
import json
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seqmodels.data import UEA, Series, SeriesTable
from seqmodels.data.inputs import load_inputs
from seqmodels.data.series_inputs import mean_and_deviation
from seqmodels.errors import UserError

# ---------------------------------------------------------------- encoded


def test_channels_are_standardised_by_the_training_split_alone() -> None:
    data = UEA("JapaneseVowels")
    data.setup()
    raw = np.concatenate(data.examples["train"].inputs)
    for split in ("train", "test"):
        series, found = data.examples[split].inputs[5], data.datasets[split].sequences[5]
        expected = torch.from_numpy((series - raw.mean(0)) / raw.std(0)).float()
        assert torch.allclose(found, expected, atol=1e-5)


def test_stacking_puts_steps_side_by_side_and_repeats_the_last() -> None:
    encoder, series = Series(stack=3, scale="none"), np.arange(8.0).reshape(4, 2)
    encoder.fit([series])
    [encoded] = encoder.encode([series], "x")
    assert encoded.tolist() == [[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], [6.0, 7.0, 6.0, 7.0, 6.0, 7.0]]
    assert encoder.num_inputs == 6
    for longest, stacked in ((7, 1), (160, 1), (161, 2), (1344, 9)):  # the longest is short enough
        encoder = Series(stack="auto", scale="none")
        encoder.fit([np.zeros((3, 2)), np.zeros((longest, 2))])
        encoded = load_inputs(encoder.state()).encode([np.zeros((longest, 2))], "x")
        assert encoded[0].shape == (-(-longest // stacked), 2 * stacked)


def test_series_in_both_scales_are_those_in_each_side_by_side() -> None:
    series = [np.random.default_rng(0).normal(3, 2, (n, 3)) for n in (5, 8)]
    by_split, by_itself, both = (Series(scale=scale) for scale in ("split", "series", "both"))
    for encoder in (by_split, by_itself, both):
        encoder.fit(series)
    assert both.num_inputs == 6
    for *alone, together in zip(*(e.encode(series, "x") for e in (by_split, by_itself, both))):
        assert torch.equal(torch.cat(alone, dim=1), together)
        own = alone[1]
        assert torch.allclose(own.mean(0), torch.zeros(3), atol=1e-6)
        assert torch.allclose(own.std(0, correction=0), torch.ones(3), atol=1e-6)
    assert by_itself.encode([np.ones((2, 3))], "x")[0].tolist() == [[0.0] * 3] * 2  # constant


@pytest.mark.parametrize("constant", [0.1, 1e8 + 0.1, -7e-9])
def test_a_constant_is_one_however_its_sums_are_rounded(constant: float) -> None:
    for steps in (1, 3, 6, 12, 40, 99_999):
        values = np.full((steps, 2), [constant, 0.0])
        values[::2, 0] += np.spacing(constant)  # a last bit apart
        mean, deviation = mean_and_deviation(values)
        assert deviation.tolist() == [1, 1]
        assert mean == pytest.approx([constant, 0], rel=1e-15)
        encoder = Series(scale="both")
        encoder.fit([values])
        [encoded] = encoder.encode([values + 0.01], "x")
        assert encoded.abs().max() <= 0.0100001
    values = np.array([[1e8], [1e8 + 2], [np.nan], [1e8 + 4]])  # varies, at a large level
    mean, deviation = mean_and_deviation(values)
    assert (mean[0], deviation[0]) == (1e8 + 2, pytest.approx(np.std([0, 2, 4])))


def test_a_last_digit_of_float32_is_no_deviation() -> None:
    values = np.full((30, 1), 20.0, np.float32)
    values[::3] = np.nextafter(np.float32(20), np.float32(21))
    for missing in (0, 5):
        values[:missing] = np.nan
        encoder = Series(missing="mark")
        encoder.fit([values])
        [encoded] = encoder.encode([np.array([[21.0]])], "x")
        assert encoded[0, 0] == pytest.approx(1.0, abs=1e-5)
        by_itself = Series(scale="series", missing="mark")
        by_itself.fit([values])
        assert by_itself.encode([values], "x")[0][:, 0].abs().max() < 1e-5
    level = np.array([[1e6], [1e6 + 1], [1e6 + 3]])  # varies, though float32 holds it
    assert mean_and_deviation(level)[1] == pytest.approx(np.std([0, 1, 3]))


def test_missing_values_are_named_or_interpolated() -> None:
    series = np.array([[0.0, 1.0], [np.nan, 1.0], [4.0, 1.0], [np.nan, 1.0]])
    encoder, filling = Series(), Series(missing="interpolate")
    for each in (encoder, filling):
        each.fit([np.array([[-1.0, -1.0], [1.0, 1.0]])])  # mean 0, deviation 1
    with pytest.raises(UserError, match="set x: series 2 has 2 missing values; .*data.missing="):
        encoder.encode([np.zeros((2, 2)), series], "set x")
    [filled] = filling.encode([series], "set x")
    assert filled[:, 0].tolist() == [0.0, 2.0, 4.0, 4.0]


def test_what_cannot_be_encoded_is_refused() -> None:
    encoder = Series(missing="interpolate")
    encoder.fit([np.eye(3)])
    wrong = {
        r"shape \(4, 2\), not \(steps, 3\)": np.zeros((4, 2)),
        r"shape \(0, 3\)": np.zeros((0, 3)),
        "a channel without any value": np.full((4, 3), np.nan),
        "a value beyond those of float32": np.full((4, 3), np.inf),
        "a value beyond those of": np.full((4, 3), 1e300),
    }
    for key, series in wrong.items():
        with pytest.raises(UserError, match=f"^new.jsonl: series 7 has {key}"):
            encoder.encode([series], "new.jsonl", first=7)


# ---------------------------------------------------------------- the archive


def test_without_sktime_a_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacks(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("seqmodels.data.series.distribution", lacks)
    line = r"data\.name=PLAID needs its extra, pip install 'seqmodels-template\[archives\]'"
    with pytest.raises(UserError, match=line):
        UEA("PLAID").setup()


@pytest.mark.parametrize("name", ["JapaneseVowels", "ItalyPowerDemand", "Tecator", "BasicMotions"])
def test_the_archive_is_read_as_sktime_reads_it(name: str) -> None:
    from sktime.datasets import load_UCR_UEA_dataset

    for split, read in UEA(name).read().items():
        table, labels = load_UCR_UEA_dataset(name, split=split, return_X_y=True)
        assert [label.lower() for label in read.targets] == [*map(str, labels)]  # lowered there
        for series, row in zip(read.inputs, table.itertuples(index=False), strict=True):
            assert np.array_equal(series, np.stack([*row], axis=1))


# ---------------------------------------------------------------- files

HEAD = "@problemName x\n@timeStamps false\n@univariate false\n@classLabel true Standing walking\n"


def read_file(tmp_path: Path, name: str, content: str) -> list[tuple[Any, Any]]:
    """The series of a file as lists, with their labels."""
    (tmp_path / name).write_text(content)
    rows = UEA("BasicMotions").read_file(str(tmp_path / name))
    return [(np.where(np.isnan(series), "?", series).tolist(), label) for series, label, *_ in rows]


def test_series_are_read_as_they_stand_in_ts_and_json(tmp_path: Path) -> None:
    rows = f"# words\n{HEAD}@DATA\n1,?:3,4: Standing\n\n-2e1,4:5:walking\n"
    lines = '{"series": [[1, 3], [null, 4]], "label": "Standing"}\n'
    lines += '{"series": [[-20, 5], [4, null]], "label": "walking"}'
    for name, content in (("a.ts", rows), ("a.jsonl", lines)):
        assert read_file(tmp_path, name, content) == [
            ([["1.0", "3.0"], ["?", "4.0"]], "Standing"),
            ([["-20.0", "5.0"], ["4.0", "?"]], "walking"),
        ]
    unlabelled = HEAD.replace("true Standing walking", "false") + "@data\n1,2:3,4\n"
    assert read_file(tmp_path, "a.ts", unlabelled) == [([["1.0", "3.0"], ["2.0", "4.0"]], None)]
    (tmp_path / "a.jsonl").write_text("[[1,3],[2,4]]")
    [series] = UEA("BasicMotions").read_inputs(str(tmp_path / "a.jsonl"))
    assert series.numbers.tolist() == [[1.0, 3.0], [2.0, 4.0]]


@pytest.mark.parametrize(
    ("name", "content", "key"),
    [
        ("a.jsonl", '[[1, 2]]\n{"values": 1}', "row 2 has no steps"),
        ("a.jsonl", "[[1, 2]", "line 1 is not JSON: "),
        ("a.ts", f"{HEAD}@data\n1,2:3,4\n", "line 6 has no label"),
        ("a.ts", f"{HEAD}@data\n1,2:3,x:a\n", "line 6 is not a series: could not convert"),
        ("a.ts", f"{HEAD}@data\n1,2_0:a\n", "line 6 is not a series: '1,2_0' is no number"),
        ("a.jsonl", '[[1, 2]]\n[[1, "2_0"]]', r"row 2 has '2_0' as 'series\[1]'"),
        ("a.jsonl", "[[1, 2], [3, true]]", r"row 1 has 'true' as 'series\[1]'"),
        ("a.jsonl", "[[1, 2], [3]]", "row 1: series has steps of 2 channels and of others"),
        ("a.ts", f"{HEAD.replace('false', 'true')}@data\n(0,1),(1,3):a\n", "has time stamps"),
    ],
)
def test_what_is_not_a_series_is_refused(tmp_path: Path, name: str, content: str, key: str) -> None:
    with pytest.raises(UserError, match=f"{name}.*{key}"):
        read_file(tmp_path, name, content)


def test_files_of_your_own_are_read_anew(tmp_path: Path) -> None:
    for value in ("1.5", "2.5"):
        for split in ("TRAIN", "TEST"):
            rows = f"@problemName Mine\n@classLabel true A b\n@data\n{value},1.0:A\n0.5,0.5:b\n"
            (tmp_path / f"Mine_{split}.ts").write_text(rows)
        paths = {each.lower(): str(tmp_path / f"Mine_{each}.ts") for each in ("TRAIN", "TEST")}
        found = SeriesTable(**paths).read()
        assert found["train"].inputs[0].tolist() == [[float(value)], [1.0]]
        assert found["test"].targets == ["A", "b"]


def test_a_file_is_evaluated_with_the_labels_that_the_archive_writes(tmp_path: Path) -> None:
    data = UEA("BasicMotions")
    data.setup()
    assert data.spec["classes"] == ["Badminton", "Running", "Standing", "Walking"]
    series = data.examples["test"].inputs[0].tolist()
    (tmp_path / "new.jsonl").write_text(json.dumps({"series": series, "label": "Standing"}))
    [batch] = data.file_loader(str(tmp_path / "new.jsonl"))
    assert batch.targets.tolist() == [2]


def test_new_series_in_lists_need_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [f"{trip},{trip}.5,{'ab'[trip % 2]}\n" for trip in range(40) for _ in range(3)]
    (tmp_path / "trips.csv").write_text("trip,ax,label\n" + "".join(rows))
    data = SeriesTable(str(tmp_path / "trips.csv"), series="trip")
    data.setup()
    for new in ('{"ax": [1.5, 2.5]}', "[[1.5], [2.5]]"):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(new.encode())))
        [series] = data.read_inputs("-")
        assert series.numbers.tolist() == [[1.5], [2.5]] and not data.inputs.describe(series)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"1.5,2.5")))
    with pytest.raises(UserError, match="^standard input: line 1 is not JSON"):
        [*data.read_inputs("-")]


def test_a_channel_that_varies_in_one_series_alone_is_not_noted_as_constant() -> None:
    varying, constant = np.arange(6.0), np.full(6, 3.0)
    encoder = Series(scale="series")
    encoder.fit([np.stack([varying, constant], 1), np.stack([constant, constant], 1)])
    assert "0 of channel 2," in encoder.note
