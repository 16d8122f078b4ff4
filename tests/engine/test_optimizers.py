"""Optimisers and schedulers by name: what drops out, what is refused, what a resume continues."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from torch.nn import Parameter
from torch.optim.lr_scheduler import ReduceLROnPlateau

from seqmodels.errors import UserError
from seqmodels.runs.keys import check_config
from seqmodels.runs.metrics_file import read_metrics
from tests.conftest import Config, Refused, Script
from tests.runs.resumed import resumes
from tests.shipped import lacks

QUICK = (
    *("trainer=cpu", "baseline=false", "callbacks.dataflow=null", "model.encoder.hidden_size=4"),
    *("trainer.max_epochs=2", "trainer.limit_train_batches=5", "trainer.limit_val_batches=2"),
    *("trainer.limit_test_batches=1", "callbacks.pictures=null"),
)
OPTIMIZERS = ("adam", "nadam", "sgd", "rmsprop")
PLATEAU = "plateau model.scheduler.patience=0"
MINE = ("--config-dir=mine", "experiment=mine")
SCHEDULERS = ("cosine", "linear_warmup", PLATEAU, "none")


def plain(config: DictConfig, key: str) -> Any:
    return OmegaConf.to_container(OmegaConf.select(config, key))


# what a configuration is composed of


@pytest.mark.parametrize(
    ("words", "key"),
    [
        ("model.optimizer._target_=torch.optim.RMSprop", "model.optimizer.fused"),
        ("experiment=span_tagging data.train=x model=classifier", "model.output.kind"),
    ],
)
def test_an_argument_that_another_class_left_is_refused_with_the_key_that_leaves_it_out(
    words: str, key: str, config: Config
) -> None:
    if lacks(words):
        pytest.skip("the task of this recipe is deleted")
    with pytest.raises(
        UserError, match=rf"^{key} is not an argument of .*or leave it out with ~{key}"
    ):
        check_config(config(*words.split()))
    check_config(config(*words.split(), f"~{key}"))


def test_a_file_of_ones_own_is_checked_as_the_command_line_is(
    script: Script, refused: Refused, tmp_path: Path
) -> None:
    folder = tmp_path / "mine" / "experiment"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /optimizer: sgd\n"
        "model: {optimizer: {lr: 0.5, momentm: 0.9}}\n"
    )
    line = refused("train.py", *MINE)
    assert "model.optimizer.momentm is not an argument of SGD: did you mean" in (line)
    shown = script("train.py", *MINE, "~model.optimizer.momentm", "--cfg", "job")
    assert "lr: 0.5\n    momentum: 0.9" in shown.stdout  # the experiment's own, and the file's


@pytest.mark.parametrize("word", ["optimizer=adm", "optimizer=null", "+model.optimizer.lr=1"])
def test_hydras_own_errors_stay(word: str, config: Config) -> None:
    with pytest.raises((HydraException, ValueError)):
        config(word)


# one line for each mistake

TORCH = "model.optimizer._target_=torch.optim."
BARE_SCHEDULE = [f"~model.scheduler.{name}" for name in ("rise", "start", "end")]
BARE = "~model.optimizer.fused ~model.optimizer.weight_decay"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("optimizer=sgd model.optimizer.momentum=-1", "Invalid momentum value: -1"),
        ("+model.optimizer.betas=2", "+model.optimizer.betas=2: input should"),
        ("model.optimizer.fused=true optimizer=rmsprop", "model.optimizer.fused is not a key"),
        (f"{TORCH}Lyon", "torch.optim.Lyon cannot be found"),
        (f"{TORCH}Muon ~model.optimizer.fused", "Muon only supports 2D parameters"),
        ("scheduler=plateau model.scheduler.factor=2", "Factor should be < 1.0"),
    ],
)
def test_each_mistake_is_one_line(
    words: str, message: str, refused: Refused, tmp_path: Path
) -> None:
    line = refused("train.py", *QUICK, *words.split(), "folder=run")
    assert message.removeprefix("+") in line
    assert not (tmp_path / "run").exists()


# training and resume


@pytest.mark.parametrize(
    "words",
    [
        *map("optimizer={} scheduler={}".format, OPTIMIZERS, SCHEDULERS),
        f"{TORCH}Adafactor ~model.optimizer.fused",
        f"{TORCH}ASGD ~model.optimizer.fused",
        f"{TORCH}Rprop {BARE}",
    ],
)
def test_a_resumed_run_is_the_uninterrupted_one(words: str, script: Script, tmp_path: Path) -> None:
    resumes(script, tmp_path, *QUICK, *words.split(), step=7)


# a plateau


def test_a_plateau_lowers_the_rate_by_the_loss_of_each_validation(
    script: Script, tmp_path: Path
) -> None:
    """As PyTorch's own would, from the values that the run has logged."""
    words = ("optimizer=sgd", f"scheduler={PLATEAU}", "trainer.max_epochs=6", "folder=run")
    script("train.py", *QUICK, *" ".join(words).split(), "model.optimizer.lr=0.5")
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    optimizer = torch.optim.SGD([Parameter(torch.zeros(2))], lr=0.5)
    expected = ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
    found = []
    for row in rows:
        expected.step(row["validation/loss"])
        found.append((row["learning_rate"], optimizer.param_groups[0]["lr"]))
    assert all(logged == own for logged, own in found) and found[-1][0] < 0.5


# classes of one's own


def test_imports_are_trust_enough(script: Script, refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "my_learning.py").write_text(
        "from torch.optim import SGD\n"
        "from torch.optim.lr_scheduler import ExponentialLR\n"
        "from seqmodels.tasks.classification import SequenceClassifier\n\n\n"
        "class Classifier(SequenceClassifier):\n    pass\n\n\n"
        "class Mine(SGD):\n    def __init__(self, params, lr=0.1):\n"
        "        super().__init__(params, lr=lr)\n\n\n"
        "class Decay(ExponentialLR):\n    def __init__(self, optimizer, gamma=0.9):\n"
        "        super().__init__(optimizer, gamma)\n"
    )
    words = (
        *("model.optimizer._target_=my_learning.Mine", *BARE.split(), *BARE_SCHEDULE),
        "model.scheduler._target_=my_learning.Decay",
        "model._target_=my_learning.Classifier",
    )
    assert "add imports=[my_learning]" in refused("train.py", *QUICK, *words, "folder=run")
    script("train.py", *QUICK, *words, "imports=[my_learning]", "folder=run")
    script("evaluate.py", "run=run", "imports=[my_learning]")
    script("train.py", "resume=run", "imports=[my_learning]", "trainer.max_epochs=3")
    assert "my_learning.Mine is not allowed" in refused("evaluate.py", "run=run")
