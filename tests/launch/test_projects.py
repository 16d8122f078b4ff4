"""An installed project announces itself: its names work everywhere; those of a stranger do not."""

from __future__ import annotations

from pathlib import Path

import pytest

import seqmodels
from seqmodels.errors import UserError
from seqmodels.instantiate import allowed_class
from seqmodels.nn.encoder import RecurrentEncoder
from seqmodels.plugins import project_configs, project_packages
from seqmodels.runs import load_run
from tests.conftest import Refused, Script

HEADS = """
from seqmodels import Cell, Head

class First(Head, name="windy_first"):
    reads = ("output",)

    def select(self, states):
        return states.output[:, 1:2].sum(1)

class Sum(Cell, name="windy_cell"):
    def __init__(self, input_size, hidden_size):
        super().__init__()

    def forward(self, x, h):
        return h + x.sum(dim=1, keepdim=True)
"""
TASKS = """
from seqmodels.tasks.classification import SequenceClassifier

class Mine(SequenceClassifier):
    pass
"""
EXPERIMENT = """# @package _global_
defaults:
  - override /trainer: cpu
model: {_target_: windy.tasks.Mine, head: windy_first, encoder: {hidden_size: 8}}
trainer: {max_epochs: 1, limit_train_batches: 2, limit_val_batches: 1, limit_test_batches: 1}
baseline: false
"""


def install(site: Path, package: str, **files: str) -> Path:
    """Puts a package onto a folder of the path, with what pip writes beside it."""
    info = site / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[seqmodels]\n{package} = {package}\n")
    (site / package / "configs" / "experiment").mkdir(parents=True)
    for name, text in files.items():
        (site / package / f"{name}.py").write_text(text)
    return site / package


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that packages are installed to."""
    (tmp_path / "site").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "site")
    return tmp_path / "site"


@pytest.fixture
def windy(site: Path) -> Path:
    package = install(site, "windy", __init__="from windy import heads\n", heads=HEADS, tasks=TASKS)
    (package / "configs" / "experiment" / "windy.yaml").write_text(EXPERIMENT)
    return package


@pytest.mark.slow
@pytest.mark.usefixtures("windy")
def test_its_names_work_everywhere(script: Script, refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "new.jsonl").write_text("[[0,1,2,3,4,5,6,7,8,9,10,11]]\n")
    script("train.py", "-m", "experiment=windy", "model.head=windy_first", "hydra.sweep.dir=sweep")
    [run] = (tmp_path / "sweep").glob("*/")
    predicted = script("predict.py", f"run={run}", "input=new.jsonl", "accelerator=cpu")
    assert '"label"' in predicted.stdout
    script("train.py", f"resume={run}", "trainer.max_epochs=2")
    explained = script("explain.py", "model._target_=windy.tasks.Mine", "model.head=windy_first")
    assert "windy_first" in explained.stdout
    task = load_run(run).task  # as in a notebook
    assert type(task).__name__ == "Mine" and task.network.head.name == "windy_first"
    assert "did you mean windy?" in refused("train.py", "experiment=wndy")


@pytest.mark.usefixtures("windy")
def test_its_cells_are_found_in_python_too() -> None:
    assert RecurrentEncoder(2, 3, cell="windy_cell").cell == "windy_cell"


def test_a_project_without_an_import_costs_nothing(site: Path) -> None:
    package = install(site, "windy", __init__="raise SystemExit('imported')\n")
    assert project_packages() == ["windy"] and project_configs() == [package / "configs"]


def test_its_files_come_before_ours(windy: Path) -> None:
    (windy / "configs" / "experiment" / "tagging.yaml").write_text(EXPERIMENT)  # we have one, too
    assert seqmodels.compose("experiment=tagging").model.head == "windy_first"


def test_a_project_that_cannot_be_imported_is_one_line(site: Path) -> None:
    install(site, "windy", __init__="import nowhere\n")
    with pytest.raises(UserError, match="installed project windy, .*ModuleNotFoundError"):
        allowed_class({"_target_": "torch.nn.Linear"})
