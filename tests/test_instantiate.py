"""An object is built only of what is allowed, whatever name leads to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from seqmodels.errors import UserError
from seqmodels.instantiate import instantiate


def test_allowed_classes_are_made_with_their_arguments() -> None:
    config = OmegaConf.create({"_target_": "torch.nn.Linear", "in_features": 3})
    layer = instantiate(config, out_features=2)
    assert isinstance(layer, nn.Linear) and layer.weight.shape == (2, 3)
    nested = {"_target_": "torch.nn.ModuleDict", "modules": {"a": {"_target_": "torch.nn.ReLU"}}}
    assert isinstance(instantiate(nested)["a"], nn.ReLU)
    optimizer = instantiate({"_target_": "torch.optim.SGD", "lr": 0.5}, params=layer.parameters())
    assert optimizer.defaults["lr"] == 0.5
    # arguments do not pass through the configuration language
    held = instantiate(
        {"_target_": "torch.nn.ParameterDict"}, parameters={"${seed}": torch.ones(1)}
    )
    assert [*held] == ["${seed}"]


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "torch.hub.load",
        "torch.nn.modules.module.torch.load",  # an alias through an allowed module
        "torch.optim.lr_scheduler.partial",
        "seqmodels.runs.environment.subprocess.run",
        "seqmodels.instantiate.instantiate",  # functions are not allowed, ours neither
        "seqmodels.tasks.classification.SequenceClassifier.load_from_checkpoint",  # nor are methods
        "torch.nn.functional.linear",
        "stranger.Model",  # whose module is not even imported
    ],
)
def test_everything_else_is_refused(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stranger.py").write_text("raise SystemExit('this code ran')")
    monkeypatch.syspath_prepend(tmp_path)
    for config in (
        {"_target_": target, "_partial_": True},
        {"_target_": "torch.nn.Sequential", "layer": {"_target_": target}},
        {"_target_": "torch.nn.Sequential", "layers": [[{"_target_": target}]]},
    ):
        with pytest.raises(UserError, match=r"_target_=.* is not allowed.*allowed_targets="):
            instantiate(config)


def test_more_targets_can_be_allowed_by_name_or_prefix() -> None:
    config = {"_target_": "datetime.timedelta", "days": 2}
    for allowed in ("datetime.timedelta", "datetime."):
        assert instantiate(config, allowed_targets=[allowed]).days == 2
    for other in ("datetime.time", "datetime"):
        with pytest.raises(UserError, match="not allowed"):
            instantiate(config, allowed_targets=[other])


# ---------------------------------------------------------------- what a build needn't check again

OWN = """
from threading import Thread

from seqmodels.tasks.classification import SequenceClassifier

class Looser(SequenceClassifier):
    def __init__(self, *args, dropout: float = 0.5, **options):
        super().__init__(*args, dropout=dropout, **options)

class Changing(SequenceClassifier):
    def __init__(self, *args, **options):
        super().__init__(*args, **{**options, "dropout": 2.0})

class ByHand(SequenceClassifier):
    def __init__(self, *args, inside: bool = False, **options):
        if not inside:
            ByHand(*args, inside=True, **{**options, "dropout": 2.0})
        super().__init__(*args, **options)

class InThread(SequenceClassifier):
    def __init__(self, data, **options):
        super().__init__(data, **options)
        self.errors = []
        thread = Thread(target=self.build_another, args=(data, options))
        thread.start()
        thread.join()

    def build_another(self, data, options):
        try:
            SequenceClassifier(data, **{**options, "dropout": 2.0})
        except ValueError as error:
            self.errors.append(str(error))
"""
SPEC = {"inputs": "features", "num_inputs": 3, "classes": ["a", "b"]}
MODEL = {"encoder": {"hidden_size": 3}, "head": "max_pool", "_recursive_": False}
MESSAGE = "model.dropout=2.0: input should be less than 1"


@pytest.fixture
def own_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_tasks.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)


def built(name: str, **values: Any) -> Any:
    config = {"_target_": f"own_tasks.{name}", **MODEL, **values}
    return instantiate(config, key="model", data=SPEC, allowed_targets=["own_tasks."])


@pytest.mark.usefixtures("own_tasks")
@pytest.mark.parametrize(
    ("name", "dropout"),
    [
        ("Looser", 2.0),  # its base takes less than it says
        ("Changing", 0.5),  # it gives its base something else
        ("ByHand", 0.5),  # it makes another of its class meanwhile
    ],
)
def test_what_a_build_has_not_checked_is_checked(name: str, dropout: float) -> None:
    with pytest.raises(UserError, match=f"^{MESSAGE}"):
        built(name, dropout=dropout)


@pytest.mark.usefixtures("own_tasks")
def test_what_another_thread_makes_during_a_build_is_checked() -> None:
    task = built("InThread", dropout=0.5)
    assert task.errors == [MESSAGE]
    assert not [name for name in vars(task) if "checked" in name]
