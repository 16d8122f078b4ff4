"""`examples/`: wrong heads that are refused, a task, data and a head of your own that work, and
cells against computations of their own."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

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


# ---------------------------------------------------------------- cells


B, T, F, H = 3, 200, 5, 4
CELLS = ("slstm", "minlstm", "layer_norm_lstm")


@pytest.fixture
def cells(modules_of_their_own: None) -> None:
    for name in CELLS:
        import_module(f"examples.{name}", "imports")


with_cells = pytest.mark.usefixtures("cells")


def built(cell: str, **options: Any) -> tuple[RecurrentEncoder, Tensor]:
    torch.manual_seed(0)
    encoder = RecurrentEncoder(F, H, cell=cell, **options).double()
    return encoder, torch.randn(B, T, F, dtype=torch.float64)


@with_cells
def test_slstm_is_its_equations_without_a_stabiliser() -> None:
    encoder, inputs = built("slstm")
    found, gates = encoder(inputs), encoder.rnn.l0.gates  # type: ignore[union-attr]
    h = c = n = torch.zeros(B, H, dtype=torch.float64)
    for step, x in enumerate(inputs.unbind(1)):
        i, f, z, o = gates(torch.cat([x, h], dim=1)).chunk(4, dim=1)
        c = f.sigmoid() * c + i.exp() * z.tanh()
        n = f.sigmoid() * n + i.exp()
        h = o.sigmoid() * c / n
        torch.testing.assert_close(found.output[:, step], h, rtol=1e-10, atol=1e-10)
    m = found.finals["m_n"][0, 0].exp()
    torch.testing.assert_close(found.finals["n_n"][0, 0] * m, n)


@with_cells
def test_slstm_stays_finite_where_its_exponentials_would_not() -> None:
    encoder, inputs = built("slstm")
    states = encoder(1e3 * inputs.requires_grad_())
    assert bool(states.output.isfinite().all()) and bool((states.output.abs() <= 1).all())
    states.output.sum().backward()
    assert inputs.grad is not None and bool(inputs.grad.isfinite().all())


@with_cells
@pytest.mark.parametrize("windows", [1, 2, 7])
def test_minlstm_at_once_is_minlstm_step_by_step(
    windows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, inputs = built("minlstm", num_layers=2)
    found, state = [], None
    for window in inputs.tensor_split(windows, dim=1):
        states = encoder(window, None, state)
        found.append(states.output)
        state = states.state
    monkeypatch.setattr(type(encoder.rnn.l0), "parallel", lambda *_: None)
    wanted = encoder(inputs)
    torch.testing.assert_close(torch.cat(found, dim=1), wanted.output, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(state, wanted.state, rtol=1e-6, atol=1e-6)


@with_cells
def test_minlstm_is_its_definition() -> None:
    encoder, inputs = built("minlstm")
    cell: Any = encoder.rnn.l0
    h = torch.zeros(B, H, dtype=torch.float64)
    for x in inputs.unbind(1):
        f, i, candidate = cell.gates(x).chunk(3, dim=1)
        f, i = f.sigmoid(), i.sigmoid()
        positive = torch.where(candidate >= 0, candidate + 0.5, candidate.sigmoid())
        h = (f * h + i * positive) / (f + i)
    torch.testing.assert_close(encoder(inputs).h_n[0, 0], h)


@with_cells
def test_layer_norm_lstm_is_its_equations() -> None:
    encoder, inputs = built("layer_norm_lstm")
    cell: Any = encoder.rnn.l0
    for norm in (cell.norm_x, cell.norm_h, cell.norm_c):
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)

    def normed(values: Tensor, norm: torch.nn.LayerNorm) -> Tensor:
        centered = values - values.mean(1, keepdim=True)
        deviation = (centered.square().mean(1, keepdim=True) + norm.eps).sqrt()
        return centered / deviation * norm.weight + norm.bias

    h = c = torch.zeros(B, H, dtype=torch.float64)
    for x in inputs.unbind(1):
        of_x, of_h = x @ cell.of_x.weight.T, h @ cell.of_h.weight.T
        i, f, g, o = (normed(of_x, cell.norm_x) + normed(of_h, cell.norm_h)).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * normed(c, cell.norm_c).tanh()
    torch.testing.assert_close(encoder(inputs).h_n[0, 0], h)


@with_cells
@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_explains_and_trains(cell: str, script: Script) -> None:
    words = (f"imports=[examples.{cell}]", f"model.encoder.cell={cell}")
    quick = ("model.encoder.hidden_size=8", "trainer=cpu", "trainer.fast_dev_run=true")
    script("train.py", *words, *quick)
    assert "h_n" in script("explain.py", *words).stdout
