"""`examples/`: wrong heads that are refused, and a task, data and a head of your own that work."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from seqmodels.errors import UserError
from seqmodels.heads import build_head
from seqmodels.nn.encoder import RecurrentEncoder
from seqmodels.nn.outputs import ClassOutput
from seqmodels.plugins import import_module
from seqmodels.runs import train
from tests.conftest import ROOT, Config, Refused, Script, result_of
from tests.shipped import exported

MODULE = "examples.classic_mistakes"
QUICK = ("trainer=cpu", "model.encoder.hidden_size=8", "baseline=false", "trainer.max_epochs=1")
EXAMPLES = ("--config-dir", str(ROOT / "examples" / "configs"))
FINDINGS = {
    "padded_last_step": "padding_leak",
    "padded_last_step_of_both": "padding_leak",
    "padded_mean": "padding_leak",
    "backward_only": "unread_direction",
}
FIRST = """
from seqmodels.heads import Head
class First(Head, name='first'):
    reads = ('output',)
    def select(self, states):
        return states.output[:, 1:2].sum(1)
"""

pytestmark = pytest.mark.usefixtures("examples_importable", "modules_of_their_own")


@pytest.mark.parametrize(("head", "finding"), FINDINGS.items())
def test_a_mistake_is_what_tutorials_write_and_is_refused(
    config: Config, head: str, finding: str
) -> None:
    import_module(MODULE, "imports")
    with pytest.raises(UserError, match=f"model.head={head}: {finding}: .*refuse=false"):
        train(config(f"imports=[{MODULE}]", f"model.head={head}"))
    both = head != "padded_last_step"
    encoder = RecurrentEncoder(5, 4, num_layers=2, bidirectional=both)
    wrong = build_head(head, encoder, lambda width: ClassOutput(width, 2))
    assert str(wrong.__doc__).startswith(f"`{finding}`")
    inputs, lengths = torch.randn(3, 7, 5), torch.tensor([7, 4, 2])
    packed = nn.utils.rnn.pack_padded_sequence(inputs, lengths, batch_first=True)
    # the backward one is at least told the lengths
    written = encoder.rnn(inputs)[0][:, -1] if "padded" in head else encoder.rnn(packed)[1][0][-1]
    if head == "padded_mean":
        written = encoder.rnn(inputs)[0].mean(1)
    torch.testing.assert_close(wrong.select(encoder(inputs, lengths)), written)


def test_a_head_of_ones_own_lies_where_the_script_is_called(
    script: Script, refused: Refused, tmp_path: Path
) -> None:
    (tmp_path / "my_heads.py").write_text(FIRST)
    script("train.py", "imports=[my_heads]", "model.head=first", "folder=run", *QUICK)
    assert "model.head=first: choose" in refused("evaluate.py", "run=run")
    script("evaluate.py", "run=run", "imports=my_heads")


# ---------------------------------------------------------------- your own task, data and head


def test_the_regression_gives_numbers_in_their_own_units(script: Script, tmp_path: Path) -> None:
    exported("Regressor")  # beside which the kind of target is registered
    words = (*EXAMPLES, "model=example_regression", "data=example_waves", "data.size=300")
    learn = ("model.encoder.hidden_size=64", "model.dropout=0.0", "trainer.max_epochs=25")
    done = script("train.py", *words, *learn, "trainer=cpu", "folder=run")
    assert re.search(r"logits +\(B, K\) +\(\d+, 1\) +the values", done.stdout)
    result = result_of(tmp_path / "run")
    # cycles for every 100 steps: from 2 to 10
    assert result["metrics"]["test/mae"] < 0.4 * result["baselines"]["test/mae"]["training mean"]
    assert result["metrics"]["test/r2"] > 0.7


def test_the_head_is_a_head_that_the_audit_lets_pass(script: Script) -> None:
    own = ("imports=[examples.top_pool]", "model.head=top_pool", "+model.head_options.k=2")
    done = script("train.py", *own, *QUICK, "folder=run")
    assert re.search(r"output .*head: \d+% of the steps, 100%", done.stdout)


def test_what_you_learn_with_is_one_word_each_and_resumes(script: Script, tmp_path: Path) -> None:
    imports = "imports=[examples.lion,examples.inverse_root,examples.kappa,examples.minimal_gru]"
    words = (
        *("model.optimizer._target_=examples.lion.Lion", "~model.optimizer.fused"),
        *("scheduler=none", "+model.scheduler._target_=examples.inverse_root.InverseRoot"),
        *("model._target_=examples.kappa.Classifier", "model.encoder.cell=mgu"),
    )
    script("train.py", imports, *words, *QUICK, "folder=r")
    script("train.py", imports, "resume=r", "trainer.max_epochs=2")
    assert "test/kappa" in result_of(tmp_path / "r")["metrics"]
    (tmp_path / "new.jsonl").write_text(json.dumps([[0.5] * 12] * 7))
    predicted = script("predict.py", imports, "run=r", "input=new.jsonl")
    assert '"label"' in predicted.stdout, predicted.stderr


def test_a_study_of_the_examples_trains(script: Script, tmp_path: Path) -> None:
    own = (*EXAMPLES, "experiment=study_needle", "data.length=12", "data.sizes=[40,8,8]")
    script("train.py", *own, "trainer=cpu", "trainer.max_epochs=1", "folder=run")
    assert result_of(tmp_path / "run")["data"] == "needle, start of 12"


def test_lion_moves_by_the_sign_of_its_momentum() -> None:
    from examples.lion import Lion

    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer, momentum = Lion([weight], lr=0.1, weight_decay=0.5), torch.zeros(2)
    for slope in (3.0, -0.1):  # the momentum outweighs the second
        before = weight.detach().clone()
        weight.grad = torch.full((2,), slope)
        optimizer.step(lambda: None)
        direction = torch.sign(0.9 * momentum + 0.1 * slope)
        torch.testing.assert_close(weight.detach(), before - 0.1 * (direction + 0.5 * before))
        momentum = 0.99 * momentum + 0.01 * slope


def test_a_kind_of_target_of_your_own_touches_one_folder(
    script: Script, refused: Refused, tmp_path: Path
) -> None:
    configs = ("--config-dir", str(ROOT / "examples" / "labels" / "configs"), "model=labels")
    quick = ("trainer=cpu", "model.encoder.hidden_size=16", "trainer.max_epochs=4")
    learn = ("model.optimizer.lr=0.03", "model.dropout=0.0", "data=headlines", "data.size=200")
    measured = "model.metrics={auroc:{_target_:torchmetrics.AUROC,task:multilabel,num_labels:3}}"
    script("train.py", *configs, *quick, *learn, measured, "folder=run")
    imported = "imports=[examples.labels]"
    script("train.py", "resume=run", imported, "trainer.max_epochs=6")
    result = result_of(tmp_path / "run")
    assert result["metric"] == "f1" and result["metrics"]["test/f1"] > 0.8
    assert result["metrics"]["test/auroc"] > 0.9
    assert "auroc" in script("evaluate.py", "run=run", imported).stdout
    assert "of each label" in script("explain.py", *configs, "folder=pictures").stdout
    wrong = refused("train.py", *configs, *quick, "folder=other")
    assert "Labeller learns any number of labels" in wrong
    assert "choose model=classifier or model=labels data=headlines" in wrong
