"""`examples/which_head`: what it trains, what it hides, and what it makes of the runs."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser

from seqmodels.batch import SequenceBatch
from seqmodels.errors import UserError
from tests.conftest import ROOT

FOLDER = ROOT / "examples" / "which_head"

pytestmark = pytest.mark.usefixtures("examples_importable", "modules_of_their_own")


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("study")


@pytest.fixture
def answers(study: ModuleType) -> ModuleType:
    return importlib.import_module("answers")


def test_sets_are_a_table_or_a_folder_and_their_files_lie_beside_them(
    study: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").touch()
    (tmp_path / "table.yaml").write_text("mine: {experiment: which_head_texts, data.train: a.csv}")
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets" / "mine.yaml").write_text(
        "experiment: which_head_texts\ndata.train: ../a.csv"
    )
    expected = {"experiment": "which_head_texts", "data.train": tmp_path / "a.csv"}
    for place in ("table.yaml", "sets"):
        assert study.read_sets([str(tmp_path / place)]) == {"mine": expected}
    named = study.read_sets([str(FOLDER / file) for file in ("sets.yaml", "archive.yaml")])
    assert [words["data.name"] for words in named.values()] == [*named] and len(named) == 15
    assert study.jobs("wrong", expected, ["mean_pool"]) == (["padded_mean"], {})
    assert study.jobs("fifth", expected, ["a"])[1]["data._target_"].endswith("FifthOfTexts")


def test_a_path_with_a_comma_is_one_file_of_a_sweep(study: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a, b.csv").touch()
    (tmp_path / "table.yaml").write_text("mine: {data.train: 'a, b.csv', data.length: 5}")
    words = study.as_words(study.read_sets([str(tmp_path / "table.yaml")])["mine"])
    file, length = OverridesParser.create().parse_overrides(words)
    assert file.value() == str(tmp_path / "a, b.csv") and not file.is_sweep_override()
    assert length.value() == 5


@pytest.mark.parametrize(("kind", "hides"), [(torch.float32, 0), (torch.int64, 1)])
def test_a_quarter_of_each_series_is_hidden_and_no_padding(
    study: ModuleType, kind: torch.dtype, hides: int
) -> None:
    lengths, times = torch.tensor([9, 5]), torch.zeros(2, 9)
    for quarter in range(4):
        inputs = torch.full((2, 9, 3), 5.0) if kind is torch.float32 else torch.full((2, 9), 5)
        batch = SequenceBatch(inputs, lengths)
        study.Hidden(quarter).on_test_batch_start(None, None, batch, 0)
        hidden = (batch.inputs == hides).reshape(2, 9, -1).all(2)
        assert hidden.any(1).all() and hidden.sum() <= 5
        times += hidden
    assert times.tolist() == [[1] * 9, [1] * 5 + [0] * 4]


def add_runs(place: Path, piece: str, accuracies: dict[str, dict[str, float]], probes: Any) -> None:
    """Two seeds of each set and head, a hundredth apart."""
    for name, of_set in accuracies.items():
        for (head, accuracy), seed in product(of_set.items(), (0, 1)):
            folder = place / piece / name / f"{head}_{seed}"
            folder.mkdir(parents=True)
            config = {"seed": seed, "model": {"head": head}, "data": {"name": name}}
            config["data"] |= {"tokenizer": "word"} if name > "set_3" else {}
            scored = {"test/accuracy": accuracy + seed / 100}
            result = {"status": "completed", "data": "train.csv", "fingerprint": f"{name}"}
            result |= {"head": head, "seed": seed, "config": config, "metric": "accuracy"}
            result["examples"] = {"train": 10 - int(name[-1])}
            (folder / "result.json").write_text(json.dumps({**result, "metrics": scored}))
            (folder / "probe.json").write_text(json.dumps(probes(name, head, scored)))


def test_each_question_is_answered_from_the_folders(answers: ModuleType, tmp_path: Path) -> None:
    names = [f"set_{n}" for n in range(6)]  # of 1 to 6 steps
    heads = {name: {"mean_pool": 0.9 - n / 10, "max_pool": 0.65} for n, name in enumerate(names)}

    def probe(name: str, head: str, scored: dict[str, float]) -> dict[str, Any]:
        accuracy, lost = scored["test/accuracy"], 0.2 if head == "max_pool" else 0.1
        quarter = 3 if name < "set_4" else 0  # where the evidence is
        hidden = [accuracy - lost * (n == quarter) for n in range(4)]
        return {"hidden": hidden, "length": 1 + int(name[-1])}

    add_runs(tmp_path, "heads", heads, probe)
    less = {name: {head: score - 0.2 for head, score in of.items()} for name, of in heads.items()}
    add_runs(tmp_path, "fifth", less, lambda *_: {})
    wrong = {name: {"padded_mean": of["mean_pool"] - 0.05} for name, of in heads.items()}
    tests = lambda *_: {"one by one": 0.1, "all in one": 0.2}  # noqa: E731
    add_runs(tmp_path, "wrong", wrong, tests)
    text = "\n".join(answers.report(tmp_path))
    assert "| max_pool | 6 | 1.50 | 65.50 | 3 |" in text  # over all sets
    # sets by the names of the study
    assert re.search(r"\*\*set_3\*\*\n\n(\|.*\n)+\| max_pool \| 2 \| 65.50", text)
    for line in (
        "| head | series (4) | texts (2) | short (3) | long (3) | small (3) | large (3) |",
        "| mean_pool | 1.25 | 2.00 | 1.00 | 2.00 | 2.00 | 1.00 |",
        "| max_pool | 6.67 | 0.00 | 0.00 | 13.33 |",
        "| head | most in quarter 1 (2) | most in quarter 4 (4) |",
        "| max_pool | 1.00 | 1.75 |",
        "| mean_pool | 1.50 | 1.50 | -20.00 |",
        "| set_0 | -5.00 | -80.50 | -70.50 |",
        "| *median* | -5.00 | -55.50 | -45.50 |",
    ):
        assert line in text, line
    assert (tmp_path / "ranks.png").is_file() and (tmp_path / "sets.png").is_file()


def test_an_unknown_set_is_named(study: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="Gunpoint is no data set: .*GunPoint"):
        study.main.__wrapped__("Gunpoint")


@pytest.mark.long
def test_a_small_study_is_finished_by_the_same_command(tmp_path: Path) -> None:
    rows = [f"{'good' if n % 2 else 'bad'} text {n % 7},{n % 2}" for n in range(60)]
    for name in ("one", "two"):
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *rows]))
    words = [f"{n}: {{experiment: which_head_texts, data.train: {n}.csv}}" for n in ("one", "two")]
    (tmp_path / "mine.yaml").write_text("\n".join(words))
    names = ["GunPoint", "ItalyPowerDemand", "BasicMotions", "JapaneseVowels", "one", "two"]
    command = [sys.executable, str(FOLDER / "study.py"), *names, "sets=mine.yaml", "output=made"]
    command += ["heads=[bidirectional_concat,mean_pool]", "seeds=1", "steps=2"]

    def study() -> str:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return (tmp_path / "made" / "results.md").read_text()

    first = study()
    results = [*(tmp_path / "made").glob("*/*/*/result.json")]
    assert len(results) == 6 * (2 + 2 + 2)
    for title in ("which data", "evidence", "size of training", "price of the mistake"):
        assert title in first
    lost, *kept = sorted(results)
    before = {file: file.stat().st_mtime_ns for file in kept}
    lost.unlink()
    study()
    assert lost.is_file() and before == {file: file.stat().st_mtime_ns for file in kept}
