"""What a class takes, read from its source, is what it takes when it is imported."""

from __future__ import annotations

import inspect
import subprocess
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from seqmodels.launch.checks import check_settings
from seqmodels.launch.keys import TrainKeys
from seqmodels.signatures.checking import find_problems
from seqmodels.signatures.ranges import Built, Share
from seqmodels.signatures.reading import signature
from tests.conftest import ROOT, Script, command


def targets(node: Any) -> set[str]:
    """The classes that a configuration names."""
    if not isinstance(node, dict):
        return set()
    own = {node["_target_"]} if isinstance(node.get("_target_"), str) else set()
    return own.union(*map(targets, node.values()))


CONFIGURED = sorted(
    target
    for file in (ROOT / "configs").rglob("*.yaml")
    if "hydra" not in file.parts and "wandb" not in file.name and "mlflow" not in file.name
    for target in targets(OmegaConf.to_container(OmegaConf.load(file), resolve=False))
    if not target.startswith(("seqmodels.launch.", "lightning.pytorch.loggers."))
)
OPTIMIZERS = [f"torch.optim.{name}" for name in torch.optim.__all__ if name[0].isupper()]


@pytest.mark.parametrize("target", ["lightning.pytorch.Trainer", *CONFIGURED, *OPTIMIZERS])
def test_the_source_says_what_the_class_says(target: str) -> None:
    read = signature(target)
    parameters = inspect.signature(get_object(target)).parameters.values()
    named = {p.name: p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    assert read is not None and named.keys() <= read.hints.keys()
    required = {name for name, p in named.items() if p.default is p.empty}
    assert required <= read.required
    if not any(p.kind == p.VAR_KEYWORD for p in parameters):
        assert named.keys() == read.hints.keys() and required == read.required
    defaults = {n: p.default for n, p in named.items() if p.default is not p.empty}
    plain = {n: v for n, v in defaults.items() if isinstance(v, int | float | str | None)}
    assert not [p for n, v in plain.items() for p in find_problems(v, read.hints[n], n)]


def test_options_that_are_passed_on_are_those_of_the_base() -> None:
    read = signature("seqmodels.data.Needle")
    assert read is not None and "pool" in read.hints and "inputs" not in read.hints
    assert find_problems({"pool": 0}, dict[str, read.hints["pool"]], "data")  # type: ignore[name-defined]


OWN_TASK = """
raise RuntimeError("this module must not be imported")

from typing import Literal
from seqmodels.tasks import SequenceClassifier

Strength = Literal["weak", "strong"]

class Own(SequenceClassifier):
    def __init__(self, *args, strength: Strength = "weak", depth: int | None = None, **options):
        super().__init__(*args, **options)
"""


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("strength", "strng", "model.strength=strng: choose one of strong, weak; did you mean st"),
        ("depth", 1.5, "model.depth=1.5: set it to a whole number, or null"),
        ("dropout", 1.0, "model.dropout=1.0: set it to a number of at least 0 and less than 1"),
        ("encoder", {"hidden_size": 0}, "model.encoder.hidden_size=0: set it to a whole number"),
    ],
)
def test_a_class_of_your_own_is_checked_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, value: Any, message: str
) -> None:
    (tmp_path / "own_task.py").write_text(OWN_TASK)
    monkeypatch.chdir(tmp_path)
    model = {"_target_": "own_task.Own", "encoder": {"hidden_size": 3}, "head": "max_pool"}
    hint = typing.Annotated[dict[str, Any], Built("data")]
    assert find_problems(model, hint, "model") == []
    [problem] = find_problems({**model, key: value}, hint, "model")
    assert problem.text.startswith(message)


@pytest.mark.parametrize("value", [True, "0.5", None, float("nan"), -0.1, 1, 2**70, [0.5], {}])
def test_a_share_is_a_number_from_0_up_to_1(value: Any) -> None:
    assert find_problems(value, Share, "x")
    assert not find_problems(0, Share, "x") and not find_problems(0.5, Share, "x")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["seed=[]"], "seed=[]: set it to a whole number"),
        (["trainer.max_epochs="], "trainer.max_epochs=: set it to a whole number"),
        (["trainer.gradient_clip_val=-1"], "trainer.gradient_clip_val=-1: set it to a number of"),
        (
            ["trainer.val_check_interval=0"],
            "trainer.val_check_interval=0: choose one of auto, or a whole number",
        ),
        (["trainer.val_check_interval=00:01:00:00"], "trainer.val_check_interval=00:01:00:00: ch"),
        (
            ["trainer.val_check_interval=true", "debug=fast"],
            "trainer.val_check_interval=true: ch",
        ),
        (["trainer.max_steps=nan"], "trainer.max_steps=nan: set it to a whole number"),
        (["model.embedding_size=0"], "model.embedding_size=0: set it to a whole number of at le"),
        (["model.optimizer.lr=fast"], "model.optimizer.lr=fast: set it to a number"),
        (["model.encoder.cell=lsmt"], "model.encoder.cell=lsmt: choose one of gru, lstm, rnn; did"),
        (["+model.head_options.size=3"], "model.head_options.size: head 'last_hidden' has no su"),
        (["+trainer.epochs=3"], "trainer.epochs is not a key of the configuration"),
        (["imports=null"], "imports=null: set it to a list"),
        (["-m", "seed=0,x"], "seed=x: set it to a whole number"),
        (["=2"], "cannot compose a configuration from =2: "),
        (["--cfg", "all of it"], "argument --cfg/-c: invalid choice"),
        (["data=text", "data.train=2020"], "2020: "),  # the file, not the number
        (["data=text", "data.train=1e3"], "1e3: "),
        (["data=text", "data.train=007"], "007: "),
    ],
)
def test_a_wrong_setting_is_one_line(
    script: Script, tmp_path: Path, words: list[str], message: str
) -> None:
    done = script("train.py", *words)
    [line] = done.stderr.splitlines()
    assert done.returncode == 2 and line.startswith(f"error: {message}")
    assert not list((tmp_path / "runs").glob("*/*"))


def test_a_wrong_setting_is_found_before_anything_slow_is_imported(tmp_path: Path) -> None:
    code = f"""
import runpy, sys
sys.argv = ["train.py", "model.encoder.dropout=2"]
try:
    runpy.run_path({command("train.py")[1]!r}, run_name="__main__")
except SystemExit as end:
    assert end.code == 2
print(*sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "model.encoder.dropout=2: set it to" in done.stderr
    assert not {"torch", "lightning", "numpy"} & set(done.stdout.split())


@pytest.mark.parametrize(
    ("word", "key", "text"),
    [
        ("task_name=${seed}", "task_name", "0"),
        ("task_name=${model.dropout}", "task_name", "0.3"),
        ("tags=[a,${seed}]", "tags.1", "0"),
        ("task_name=007", "task_name", "007"),
    ],
)
def test_a_number_that_a_text_interpolates_is_text(
    config: Callable[..., DictConfig], word: str, key: str, text: str
) -> None:
    composed = config(word)
    check_settings(composed, [word], TrainKeys)
    assert OmegaConf.select(composed, key) == text
