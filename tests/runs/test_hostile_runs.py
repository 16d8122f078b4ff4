"""Mutated run folders and checkpoints: no code runs, nothing hangs, and every error is one line."""

from __future__ import annotations

import io
import os
import random
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from seqmodels.compare.comparison import compare
from seqmodels.compare.page import write_comparison
from seqmodels.compare.tables import comparison_table
from seqmodels.errors import UserError
from seqmodels.launch.readable_errors import error_line
from seqmodels.runs import load_run, train
from seqmodels.runs.report import metrics_table
from seqmodels.screen import Screen, visible_line
from tests.conftest import ROOT
from tests.runs.hostile import CANARY, Watch, copy_case, spoil
from tests.shipped import lacks

pytestmark = pytest.mark.pictures  # which show what a run folder says

SECONDS = 30  # for one case; the slowest takes two on an idle machine
WATCH = Watch()
OPERATIONS = ("predict", "evaluate", "generate", "compare", "resume")


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        return compose("train", ["trainer.enable_progress_bar=false", "trainer=cpu", *overrides])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A classifier and a language model, each trained for one epoch of two."""
    folder = tmp_path_factory.mktemp("runs")
    rows = [f"a {w} film,{w}" for w in ("fine", "dull") for _ in range(20)]
    (folder / "texts.csv").write_text("\n".join(["text,label", *rows]))
    (folder / "code.txt").write_text("def f(x):\n    return x\n\n" * 60)
    small = ("model.encoder.hidden_size=4", "trainer.max_epochs=1", "baseline=false")
    texts = ("data=text", f"data.train={folder / 'texts.csv'}", "model.embedding.size=4")
    code = ("model=language_model", "data=text_lm", f"data.train={folder / 'code.txt'}")
    code += (
        "data.tokenizer=char",
        "data.batch_size=2",
        "data.window=8",
        "data.evaluation_streams=2",
    )
    made = {}
    for name, own in {"classifier": texts, "language_model": code}.items():
        if lacks(" ".join(own)):
            continue
        made[name] = folder / name
        train(composed(f"folder={folder / name}", *own, *small))
    return made


def use(operation: str, run: Path, chance: random.Random) -> None:
    """What a script does with a run folder."""
    screen = Screen(file=io.StringIO(), force_terminal=True)
    if operation == "compare":
        comparison = compare([str(run.parent)], different_data=True)
        screen.print(comparison_table(comparison, screen))
        write_comparison(comparison, run.parent / "comparison")
    elif operation == "resume":
        train(composed(f"resume={run}"), ["trainer.max_epochs=2"])
    else:
        loaded = load_run(run, chance.choice(("best", "last")))
        if operation == "evaluate":
            screen.print(metrics_table(loaded.evaluate(accelerator="cpu"), str(run)))
        elif operation == "predict":
            screen.print(str(list(loaded.predict(["a fine film"], accelerator="cpu"))))
        else:
            screen.print("".join(loaded.generate("def ", 5, accelerator="cpu")))


def problem(run: Path, case: Path, seed: int) -> str | None:
    """What is wrong with the way that this case is read; None if nothing is."""
    chance = random.Random(seed)
    folder = copy_case(run, case)
    os.chdir(case)
    operation = chance.choice(OPERATIONS)
    done = spoil(folder, chance)
    with WATCH.over(case, SECONDS) as seen:
        ended = None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                use(operation, folder, chance)
        except UserError as error:
            line = visible_line(f"error: {error_line(error)}")
            if not line.isprintable() or "Traceback" in line:
                ended = f"an error of several lines: {line}"
        except BaseException as error:
            ended = f"{type(error).__name__}: {error}"
            if isinstance(error, KeyboardInterrupt):
                raise
    if (case / "outside").read_text() != "mine":
        seen.append("a file outside of the folder has changed")
    if seen or ended:
        return f"seed {seed}, {operation}, {run.name}: {done}\n  {ended}; {seen}"
    return None


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / f"{CANARY}.py").write_text("class Task: ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "case").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "case"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "case"))
    # the library counts what it reads, over the network
    monkeypatch.setattr("datasets.config.HF_UPDATE_DOWNLOAD_COUNTS", False)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path / "case")
    yield


def fuzz(runs: dict[str, Path], tmp_path: Path, seeds: range) -> list[str]:
    names = sorted(runs)
    problems = []
    for seed in seeds:
        if found := problem(runs[names[seed % len(names)]], tmp_path / "case", seed):
            problems.append(found)
    return problems


def test_hostile_runs_are_refused_in_one_line(
    runs: dict[str, Path], canary: None, tmp_path: Path
) -> None:
    problems = fuzz(runs, tmp_path, range(25))
    assert not problems, "\n".join(problems)


@pytest.mark.long
@pytest.mark.parametrize("part", range(20))
def test_two_thousand_hostile_runs_are_refused_in_one_line(
    runs: dict[str, Path], canary: None, tmp_path: Path, part: int
) -> None:
    problems = fuzz(runs, tmp_path, range(100 * part, 100 * part + 100))
    assert not problems, "\n".join(problems)
