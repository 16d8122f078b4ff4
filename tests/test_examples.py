"""`examples/`: wrong heads that are refused, and a task, data and a head of your own that work."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from seqmodels.compare.comparison import compare
from seqmodels.errors import UserError
from seqmodels.heads import build_head
from seqmodels.nn.encoder import RecurrentEncoder
from seqmodels.nn.outputs import ClassOutput
from seqmodels.plugins import import_module
from seqmodels.runs import train
from tests.conftest import ROOT, Config, Refused, Script, result_of

MODULE = "examples.classic_mistakes"
FINDINGS = {
    "padded_last_step": "padding_leak",
    "padded_last_step_of_both": "padding_leak",
    "backward_only": "unread_direction",
}


@pytest.fixture(autouse=True)
def mistakes(modules_of_their_own: None) -> None:
    import_module(MODULE, "imports")


@pytest.mark.parametrize(("head", "finding"), FINDINGS.items())
def test_a_mistake_is_what_tutorials_write_and_is_refused(
    config: Config, head: str, finding: str
) -> None:
    with pytest.raises(UserError, match=f"model.head={head}: {finding}: .*refuse=false") as raised:
        train(config(f"imports=[{MODULE}]", f"model.head={head}"))
    assert "padding=<value>" not in str(raised.value)  # an option that only the audit has
    B, T, F, H = 3, 7, 5, 4  # noqa: N806
    encoder = RecurrentEncoder(F, H, num_layers=2, bidirectional=head != "padded_last_step")
    wrong = build_head(head, encoder, lambda width: ClassOutput(width, 2))
    inputs, lengths = torch.randn(B, T, F), torch.tensor([7, 4, 2])
    output, _ = encoder.rnn(inputs)
    packed = nn.utils.rnn.pack_padded_sequence(inputs, lengths, batch_first=True)
    _, (h_n, _) = encoder.rnn(packed)
    # the backward one is at least told the lengths
    written = h_n[-1] if head == "backward_only" else output[:, -1]
    torch.testing.assert_close(wrong.select(encoder(inputs, lengths)), written)


@pytest.mark.slow
def test_a_head_of_ones_own_lies_where_the_script_is_called(
    script: Script, refused: Refused, tmp_path: Path
) -> None:
    (tmp_path / "my_heads.py").write_text(
        "from seqmodels.heads import Head\n"
        "class First(Head, name='first'):\n"
        "    reads = ('output',)\n"
        "    def select(self, states):\n"
        "        return states.output[:, 1:2].sum(1)\n"
    )
    quick = ("model.encoder.hidden_size=16", "trainer.max_epochs=1", "trainer=cpu")
    script("train.py", "imports=[my_heads]", "model.head=first", "folder=run", *quick)
    swept = script("train.py", "-m", "imports=[my_heads]", "model.head=first,max_pool", *quick)
    assert "1 of 2: model.head=first: test/accuracy" in swept.stdout
    assert swept.stderr == ""  # what the audit warns of is in the job's own log
    [log] = tmp_path.glob("runs/*/*head-first_*/train.log")
    assert "unread_step" in log.read_text()
    assert "model.head=first: choose" in refused("evaluate.py", "run=run")
    script("evaluate.py", "run=run", "imports=my_heads")
    line = refused("train.py", "imports=[my_haeds]", "model.head=first", "folder=other", *quick)
    assert "error: imports=my_haeds: ModuleNotFoundError: No module named" in line
    assert not (tmp_path / "other").exists()


# ---------------------------------------------------------------- your own task, data and head

QUICK = ("trainer=cpu", "model.encoder.hidden_size=8", "baseline=false")
EXAMPLES = ("--config-dir", str(ROOT / "examples" / "configs"))
SIZES = {  # lines: what a person writes must stay this little
    "regression.py": 40,
    "waves.py": 30,
    "needle.py": 65,
    "reversal.py": 40,
    "top_pool.py": 25,
    "lion.py": 23,
    "inverse_root.py": 8,
    "kappa.py": 22,
    "minimal_gru.py": 21,
    "configs/data/example_waves.yaml": 6,
    "python_syntax.py": 70,
    "labels/__init__.py": 125,
    "serve_onnx.py": 155,
}


@pytest.mark.parametrize(("file", "most"), SIZES.items())
def test_what_you_write_is_little(file: str, most: int) -> None:
    assert len((ROOT / "examples" / file).read_text().splitlines()) <= most


@pytest.mark.usefixtures("examples_importable")
def test_a_head_beside_its_task_is_found_without_an_import(script: Script, tmp_path: Path) -> None:
    (tmp_path / "my_task.py").write_text(
        "from examples.regression import Regression\n"
        "from seqmodels.heads import Head\n"
        "class First(Head, name='first'):\n"
        "    reads = ('output',)\n"
        "    def select(self, states):\n"
        "        return states.output[:, 1:2].sum(1)\n"
        "class Mine(Regression):\n"
        "    pass\n"
    )
    own = (*EXAMPLES, "model=example_regression", "model._target_=my_task.Mine", "model.head=first")
    allowed = "allowed_targets=[my_task.Mine,examples.waves.Waves]"
    quick = ("data=example_waves", "data.size=40", "trainer.max_epochs=1", allowed, *QUICK)
    for name, arguments in (
        ("train.py", quick),
        ("explain.py", (f"folder={tmp_path / 'pictures'}", allowed)),
    ):
        script(name, *own, "imports=[]", *arguments)


@pytest.mark.usefixtures("examples_importable")
def test_the_regression_gives_numbers_in_their_own_units(script: Script, tmp_path: Path) -> None:
    done = script(
        "train.py",
        *EXAMPLES,
        "model=example_regression",
        "data=example_waves",
        "data.size=300",
        "trainer=cpu",
        "model.encoder.hidden_size=64",
        "model.dropout=0.0",
        "trainer.max_epochs=25",
        "folder=run",
    )
    assert re.search(r"logits +\(B, K\) +\(\d+, 1\) +the values", done.stdout)
    result = result_of(tmp_path / "run")
    # cycles for every 100 steps: from 2 to 10
    assert result["metrics"]["test/mae"] < 0.4 * result["baselines"]["test/mae"]["training mean"]
    assert result["metrics"]["test/r2"] > 0.7


@pytest.mark.usefixtures("examples_importable")
def test_the_head_is_a_head_that_the_audit_lets_pass(script: Script, tmp_path: Path) -> None:
    own = ("imports=[examples.top_pool]", "model.head=top_pool", "+model.head_options.k=2")
    done = script("train.py", *own, *QUICK, "trainer.max_epochs=1", "folder=run")
    assert re.search(r"output .*head: \d+% of the steps, 100%", done.stdout)
    explained = script("explain.py", *own[:2], "folder=pictures")
    assert "output -> top_pool" in explained.stdout


@pytest.mark.usefixtures("examples_importable")
def test_what_you_learn_with_is_one_word_each_and_resumes(script: Script, tmp_path: Path) -> None:
    imports = "imports=[examples.lion,examples.inverse_root,examples.kappa,examples.minimal_gru]"
    words = (
        *("model.optimizer._target_=examples.lion.Lion", "~model.optimizer.fused"),
        *("scheduler=none", "+model.scheduler._target_=examples.inverse_root.InverseRoot"),
        *("model._target_=examples.kappa.Classifier", "model.encoder.cell=mgu"),
    )
    script("train.py", imports, *words, *QUICK, "trainer.max_epochs=1", "folder=r")
    script("train.py", imports, "resume=r", "trainer.max_epochs=2")
    assert "test/kappa" in result_of(tmp_path / "r")["metrics"]
    (tmp_path / "new.jsonl").write_text(json.dumps([[0.5] * 12] * 7))
    predicted = script("predict.py", imports, "run=r", "input=new.jsonl")
    assert '"label"' in predicted.stdout, predicted.stderr


@pytest.mark.parametrize("position", ["start", "middle", "end"])
def test_needles_are_where_they_should_be(position: Any) -> None:
    from examples.needle import Needle

    def read(seed: int = 0) -> Any:
        data = Needle(position=position, length=40, needles=2, sizes=(30, 9, 9), split_seed=seed)
        return data.read()

    for split, count in (("train", 30), ("validation", 9), ("test", 9)):
        part = read()[split]
        assert len(part) == count and part.inputs == read()[split].inputs != read(1)[split].inputs
        for text, label in zip(part.inputs, part.targets):
            words = text.split()
            assert 30 <= len(words) <= 40
            at = [n for n, word in enumerate(words) if word.startswith("needle")]
            assert [words[n] for n in at] == [f"needle{label}"] * 2
            start = {"start": 0, "middle": (len(words) - 2) // 2, "end": len(words) - 2}[position]
            assert at == [start, start + 1]
    assert read()["train"].inputs[:9] != read()["test"].inputs


@pytest.mark.usefixtures("examples_importable")
def test_a_study_of_the_examples_trains(script: Script, refused: Refused, tmp_path: Path) -> None:
    own = (*EXAMPLES, "experiment=study_needle", "data.length=12", "data.sizes=[40,8,8]")
    script("train.py", *own, "trainer=cpu", "trainer.max_epochs=1", "folder=run")
    result = result_of(tmp_path / "run")
    assert result["data"] == "needle, start of 12" and result["baselines"] == {}
    line = refused("train.py", *own, "data.length=4")
    assert "data.length=4 leaves no room for filler: increase it" in line


def test_lion_moves_by_the_sign_of_its_momentum() -> None:
    from examples.lion import Lion

    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer, momentum = Lion([weight], lr=0.1, weight_decay=0.5), torch.zeros(2)
    for slope in (3.0, -1.0):
        before = weight.detach().clone()

        def closure(slope: float = slope) -> torch.Tensor:
            optimizer.zero_grad()
            loss = slope * weight.sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        direction = torch.sign(0.9 * momentum + 0.1 * slope)
        torch.testing.assert_close(weight.detach(), before - 0.1 * (direction + 0.5 * before))
        momentum = 0.99 * momentum + 0.01 * slope


@pytest.mark.usefixtures("examples_importable")
def test_a_kind_of_target_of_your_own_touches_one_folder(
    script: Script, refused: Refused, tmp_path: Path
) -> None:
    configs = ("--config-dir", str(ROOT / "examples" / "labels" / "configs"))
    quick = ("trainer=cpu", "trainer.max_epochs=4", "model.encoder.hidden_size=16")
    own = (*configs, *quick, "model=labels", "data=headlines", "data.size=200")
    learn, imported = ("model.optimizer.lr=0.03", "model.dropout=0.0"), "imports=[examples.labels]"
    measured = "model.metrics={auroc:{_target_:torchmetrics.AUROC,task:multilabel,num_labels:3}}"
    for seed in (0, 1):
        done = script("train.py", *own, *learn, measured, f"seed={seed}", f"folder=runs/{seed}")
        assert re.search(r"logits +\(B, K\) +\(32, 3\) +of each label", done.stdout)
    script("train.py", "resume=runs/0", imported, "trainer.max_epochs=6")
    result = json.loads((tmp_path / "runs" / "0" / "result.json").read_text())
    assert result["metric"] == "f1" and result["metrics"]["test/f1"] > 0.8
    assert result["metrics"]["test/auroc"] > 0.9
    assert "auroc" in script("evaluate.py", "run=runs/0", imported).stdout
    assert compare([str(tmp_path / "runs")]).metric == "validation/f1"
    explained = script("explain.py", *configs, "model=labels", "folder=pictures")
    assert "of each label" in explained.stdout
    wrong = refused("train.py", *configs, *quick, "model=labels", "folder=runs/2")
    assert (
        "JapaneseVowels has a class for each sequence, and Labeller learns any number of labels "
        "for each sequence: choose data and model that fit, such as model=labels data=headlines"
    ) in wrong


def test_a_label_that_training_never_saw_is_an_error() -> None:
    from examples.labels import Labels

    labels = Labels()
    labels.fit([["b"], [], ["a", "b"]], "train")
    assert labels.encode([["a"], []], "test").tolist() == [[1.0, 0.0], [0.0, 0.0]]
    with pytest.raises(UserError, match="test: training never saw the label c: leave it out"):
        labels.encode([["c"]], "test")
