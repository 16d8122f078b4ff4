"""Arguments are checked once, in the same words however an object is made."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import get_object
from omegaconf import OmegaConf

from seqmodels.arguments import NonNegativeFraction
from seqmodels.checking import Checker
from seqmodels.errors import UserError
from seqmodels.instantiate import instantiate
from seqmodels.launch.checks import check_settings
from seqmodels.plain_values import flattened
from seqmodels.signatures import arguments
from seqmodels.tasks.classification import Needle, SequenceClassifier
from tests.conftest import ROOT, Config, command
from tests.shipped import lacks


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
    and not lacks(target)
)
OPTIMIZERS = [f"torch.optim.{name}" for name in torch.optim.__all__ if name[0].isupper()]


@pytest.mark.parametrize("target", ["lightning.pytorch.Trainer", *CONFIGURED, *OPTIMIZERS])
def test_each_argument_takes_its_default(target: str) -> None:
    cls = get_object(target)
    takes = arguments(cls)
    assert takes is not None
    parameters = inspect.signature(cls).parameters.values()
    named = {p.name: p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    assert named.keys() <= takes["properties"].keys()
    assert {name for name, p in named.items() if p.default is p.empty} <= {*takes["needs"]}
    for name, parameter in named.items():
        if isinstance(parameter.default, int | float | str | None):
            assert not problems(parameter.default, takes["properties"][name])


def problems(value: Any, part: Any, key: str = "x") -> list[str]:
    return [problem.text for problem in Checker().problems(value, part, key)]


def test_options_that_are_passed_on_are_those_of_the_base() -> None:
    takes = arguments(Needle)
    assert takes is not None and not takes["additionalProperties"]
    assert "pool" in takes["properties"] and "inputs" not in takes["properties"]
    assert problems(0, takes["properties"]["pool"])


OWN_TASK = """
from typing import Any, Literal
from seqmodels.tasks.classification import SequenceClassifier

Strength = Literal["weak", "strong"]

class Own(SequenceClassifier):
    def __init__(self, *args, strength: Strength = "weak", depth: int | None = None, **options):
        super().__init__(*args, **options)
"""


@pytest.fixture
def own_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[Any]:
    (tmp_path / "own_task.py").write_text(OWN_TASK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    own: type[Any] = importlib.import_module("own_task").Own
    return own


SPEC = {"inputs": "features", "num_inputs": 3, "classes": ["a", "b"]}
MODEL = {"encoder": {"hidden_size": 3}, "head": "max_pool", "_recursive_": False}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("strength", "strng", "model.strength=strng: choose one of strong, weak; did you mean st"),
        ("depth", 1.5, "model.depth=1.5: set it to a whole number, or null"),
        ("dropout", 1.0, "model.dropout=1.0: set it to a number of at least 0 and less than 1"),
        ("encoder", {"hidden_size": 0}, "model.encoder.hidden_size=0: set it to a whole number"),
        ("encoder", {"hiden_size": 3}, "model.encoder.hidden_size must be given"),
        ("strenth", "weak", "model.strenth is not a key of the configuration: did you mean model"),
        ("data", {}, "model.data is not a key of the configuration"),
        ("optimizer", {"_target_": "torch.optim.SGD", "lr": -1}, "model.optimizer.lr=-1: set it"),
    ],
)
def test_a_class_of_your_own_is_checked_where_it_is_built(
    own_task: type[Any], key: str, value: Any, message: str
) -> None:
    config = {"_target_": "own_task.Own", **MODEL, key: value}
    with pytest.raises(UserError) as caught:
        instantiate(config, key="model", data=SPEC, allowed_targets=["own_task."])
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dropout", 1.0),
        ("embedding", {"size": 0}),
        ("encoder", {"hidden_size": 3, "packing": "pakced"}),
        ("encoder", {"hidden_size": 3, "cell": "lsmt"}),
        ("encoder", {"hidden_size": True}),
        ("output", {"class_weights": "balancd"}),
        ("head_options", {"size": 3}),
    ],
)
def test_every_road_says_the_same(
    own_task: type[Any], refused: Refused, name: str, value: Any
) -> None:
    options = {**MODEL, name: value}
    said = []
    for cls in (SequenceClassifier, own_task):  # a notebook
        with pytest.raises(UserError) as caught:
            cls(SPEC, **{key: v for key, v in options.items() if key != "_recursive_"})
        said.append(str(caught.value))
    for named in (
        "seqmodels.tasks.classification.SequenceClassifier",
        "own_task.Own",
    ):  # a run folder
        config = {"_target_": named, **options}
        with pytest.raises(UserError) as caught:
            instantiate(config, key="model", data=SPEC, allowed_targets=["own_task."])
        said.append(str(caught.value))
    leaves = flattened({name: value}).items()
    words = [f"++model.{key}={str(leaf).lower()}" for key, leaf in leaves]
    said.append(refused("train.py", "model.head=max_pool", *words).removeprefix("error: "))
    assert {*said} == {said[0]} and len(said) == 5


@pytest.mark.parametrize("value", [True, "0.5", None, float("nan"), -0.1, 1, 2**70, [0.5], {}])
def test_a_share_is_a_number_from_0_up_to_1(value: Any) -> None:
    def f(x: NonNegativeFraction) -> None: ...

    takes = arguments(f)
    assert takes is not None
    share = takes["properties"]["x"]
    assert problems(value, share) and not problems(0, share) and not problems(0.5, share)


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
    config: Config, word: str, key: str, text: str
) -> None:
    composed = config(word)
    check_settings(composed, [word], "train")
    assert OmegaConf.select(composed, key) == text
