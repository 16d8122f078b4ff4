"""`examples/long_series`: ways to read a long row, what a run measures, and the page's tables."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from seqmodels.batch import SequenceBatch
from tests.conftest import ROOT
from tests.pages import read

FOLDER = ROOT / "examples" / "long_series"
WAYS = ("segment", "stack", "window", "convolution", "truncated", "whole")


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(FOLDER)
    study = importlib.import_module("study")
    heads = ("last_hidden", "concat_pool")
    short = study.Length(2, 3, 4, 1, ("start", "middle"), heads, WAYS, ("concat_pool",))
    monkeypatch.setattr(study, "LENGTHS", {60: short})
    return study


@pytest.fixture
def ways(study: ModuleType) -> ModuleType:
    return sys.modules["ways"]


@pytest.mark.parametrize("place", ["start", "middle", "nine tenths"])
def test_the_class_is_told_at_one_place_alone(study: ModuleType, place: str) -> None:
    run = study.Run("needle", 500, place, "whole", "max_pool", 0, 3)
    rows, classes = next(study.needle_batches(run, 400, np.random.default_rng(0)))
    start = {"start": 0, "middle": 250, "nine tenths": 450}[place]
    inputs = np.stack(rows)
    inputs[np.arange(400), start : start + 10, classes] -= 3
    # Without the needle, all is noise.
    assert inputs.shape == (400, 500, 4) and {*classes} == {0, 1, 2, 3}
    assert abs(inputs.mean(axis=0)).max() < 0.3 and abs(inputs.std(axis=0) - 1).max() < 0.2


def test_all_ways_learn_from_the_same_rows_and_are_tested_on_others(study: ModuleType) -> None:
    data = [
        study.needle_data(study.Run("needle", 60, "middle", way, "max_pool", seed, 3))
        for way, seed in (("whole", 0), ("window", 0), ("whole", 1))
    ]
    first, same, other = [next(data_of_run.training) for data_of_run in data]
    tests = [torch.cat([batch.inputs for batch in data_of_run.test]) for data_of_run in data]
    assert torch.equal(first.inputs, same.inputs) and torch.equal(tests[0], tests[1])
    assert len(tests[0]) == 4 and not torch.equal(first.inputs, other.inputs)
    assert not torch.equal(first.inputs, tests[0][:2])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("head", ["last_hidden", "attention_pool"])
def test_each_way_trains_and_is_measured(study: ModuleType, way: str, head: str) -> None:
    run = study.Run("needle", 60, "middle", way, head, 0, 3)
    result = study.train_run(run)
    again = study.train_run(run)
    assert study.setting_of(result) == run and result["accuracy"] == again["accuracy"]
    assert result["accuracy"] in (0, 25, 50, 75, 100)
    assert result["seconds"] > 0 and (result["MiB"] >= 0 or sys.platform != "linux")


def test_a_peak_of_memory_that_seems_to_fall_is_no_memory_less_than_none(
    study: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    for peaks, expected in (([700.0, 699.9], 0), ([700.0, 712.5], 12.5)):
        monkeypatch.setattr(study, "peak_memory", iter(peaks).__next__)
        run = study.Run("needle", 60, "middle", "whole", "last_hidden", 0, 1)
        assert study.train_run(run)["MiB"] == expected


def test_a_real_set_is_read_in_each_of_its_ways(study: ModuleType) -> None:
    for way in study.REAL_WAYS:
        result = study.train_run(study.Run("ItalyPowerDemand", 0, "", way, "concat_pool", 0, 2))
        assert 0 < result["accuracy"] <= 100


def gradients(ways: ModuleType, way: str, head: str, inputs: torch.Tensor) -> list[torch.Tensor]:
    """The gradients of all weights, then that of the inputs."""
    torch.manual_seed(0)
    network = ways.build_network(way, head, 4, 4, steps=60, size=15).double()
    inputs = inputs.clone().requires_grad_()
    targets = torch.arange(len(inputs))
    batch = SequenceBatch(inputs, torch.full((len(inputs),), 60), targets)
    network.score(batch).loss.backward()
    return [*[weight.grad for weight in network.parameters()], inputs.grad]


@pytest.mark.parametrize("head", ["last_hidden", "mean_pool", "max_pool", "attention_pool"])
def test_gradients_of_segments_are_exact_and_cut_ones_are_not(ways: ModuleType, head: str) -> None:
    inputs = torch.randn(3, 60, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole = gradients(ways, "whole", head, inputs)
    exact = gradients(ways, "segment", head, inputs)
    cut = gradients(ways, "truncated", head, inputs)
    torch.testing.assert_close(exact, whole, rtol=1e-9, atol=1e-12)
    differences = [(one - other).abs().max() for one, other in zip(cut, whole, strict=True)]
    assert max(differences) > 1e-5
    if head == "last_hidden":  # Only the last segment learns.
        steps_with_gradient = cut[-1].abs().sum(dim=(0, 2)).nonzero().flatten()
        assert steps_with_gradient.tolist() == [*range(45, 60)]


def test_convolutions_leave_few_steps(ways: ModuleType) -> None:
    for steps, steps_left in ((60, 15), (640, 160), (1_000, 250), (10_000, 625), (100_000, 390)):
        convolutions = ways.strided_convolutions(4, steps)
        assert convolutions(torch.zeros(2, 4, steps)).shape == (2, 16, steps_left)


def test_a_study_trains_what_is_left(
    study: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "results.jsonl"
    trained = []

    def train(run):
        trained.append(run)
        return {**run._asdict(), "accuracy": 50.0, "MiB": 1.0, "seconds": 2.0}

    monkeypatch.setattr(study, "train_alone", train)
    monkeypatch.setattr(sys, "argv", ["study.py", "sets=[ACSF1]", f"output={file}"])
    study.main()
    lines = file.read_text().splitlines(keepends=True)
    # two places, six ways and two heads; three cheap ways with more steps; 3 seeds of the set
    assert len({*trained}) == len(trained) == len(lines) == 2 * 6 * 2 + 3 + 3 * 4 * 2
    file.write_text("".join(lines[:5] + lines[7:]))
    expected = trained[5:7]
    trained.clear()
    study.main()
    assert trained == expected
    assert sorted(file.read_text().splitlines(keepends=True)) == sorted(lines)

    monkeypatch.setattr(sys, "argv", ["study.py", "70"])
    with pytest.raises(SystemExit) as end:
        study.main()
    assert end.value.code == 2


def test_tables_are_means_of_what_was_measured(study: ModuleType) -> None:
    report = importlib.import_module("print_tables")
    results = [
        {**study.Run("needle", 60, place, "stack", "max_pool", seed, 3)._asdict(), **measured}
        for place, seed, measured in [
            ("start", 0, {"accuracy": 50.0, "MiB": 1, "seconds": 1}),
            ("start", 1, {"accuracy": 71.0, "MiB": 3, "seconds": 3}),
            ("middle", 0, {"accuracy": 25.0, "MiB": 6, "seconds": 8}),
        ]
    ]
    results.append({**results[0], "head": "last_hidden"})
    needle, more, real = report.tables(results)
    assert needle[2:] == ["| 60 | `data.stack=auto` | 50 / – | – | 60 / 25 | – | – | 2 | 2.0 |"]  # noqa: RUF001
    assert len(more) == len(real) == 2


def test_the_page_shows_what_was_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    report = importlib.import_module("print_tables")
    monkeypatch.setattr(sys, "argv", ["print_tables.py"])
    report.main()
    printed_tables = capsys.readouterr().out.strip().split("\n\n")
    page = read(ROOT / "docs" / "long_series.md")
    assert len(printed_tables) == 3
    for table in printed_tables:
        assert len(table.splitlines()) > 2 and f"\n\n{table}\n\n" in page
    assert re.search(r"^python examples/long_series/print_tables.py", page, re.MULTILINE)
