"""The wrong heads of `examples/`: refused unless told otherwise, and wrong in the way they say."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig
from torch import nn

from seqmodels.errors import UserError
from seqmodels.heads import build_head
from seqmodels.imports import import_module
from seqmodels.nn.encoder import RecurrentEncoder
from seqmodels.nn.outputs import Classes
from seqmodels.runs import train
from tests.conftest import Script

MODULE = "examples.classic_mistakes"
FINDINGS = {
    "padded_last_step": "padding_leak",
    "padded_last_step_of_both": "padding_leak",
    "backward_only": "unread_direction",
}


@pytest.fixture(autouse=True)
def mistakes(scratch_registry: None) -> Iterator[None]:
    import_module(MODULE, "imports")
    yield
    del sys.modules[MODULE]


@pytest.mark.parametrize(("head", "finding"), FINDINGS.items())
def test_a_mistake_is_refused_unless_told_otherwise(
    config: Callable[..., DictConfig], head: str, finding: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(UserError, match=f"model.head={head}: {finding}: .*refuse=false to train"):
        train(config(f"imports=[{MODULE}]", f"model.head={head}"))
    told = config(f"imports=[{MODULE}]", f"model.head={head}", "callbacks.dataflow.refuse=false")
    assert train(told)["status"] == "completed"
    assert f"{head}: {finding}" in caplog.text


@pytest.mark.parametrize("head", FINDINGS)
def test_a_mistake_is_what_tutorials_write(head: str) -> None:
    B, T, F, H = 3, 7, 5, 4  # noqa: N806
    encoder = RecurrentEncoder(F, H, num_layers=2, bidirectional=head != "padded_last_step")
    wrong = build_head(head, encoder, lambda width: Classes(width, 2))
    rnn = nn.LSTM(F, H, 2, batch_first=True, bidirectional=encoder.bidirectional)
    rnn.load_state_dict(encoder.rnn.state_dict())
    inputs, lengths = torch.randn(B, T, F), torch.tensor([7, 4, 2])
    output, (h_n, _) = rnn(inputs)
    selected = wrong.select(encoder(inputs, lengths))
    if head == "backward_only":  # which is at least told the lengths
        packed = nn.utils.rnn.pack_padded_sequence(inputs, lengths, batch_first=True)
        _, (h_n, _) = rnn(packed)
        torch.testing.assert_close(selected, h_n[-1])
    else:
        torch.testing.assert_close(selected, output[:, -1])


@pytest.mark.slow
def test_a_head_of_ones_own_lies_where_the_script_is_called(script: Script, tmp_path: Path) -> None:
    (tmp_path / "my_heads.py").write_text(
        "from seqmodels.heads import Head\n"
        "class First(Head, name='first'):\n"
        "    reads = ('output',)\n"
        "    def select(self, states):\n"
        "        return states.output[:, 0]\n"
    )
    quick = ("model.encoder.hidden_size=16", "trainer.max_epochs=1", "trainer=cpu")
    done = script("train.py", "imports=[my_heads]", "model.head=first", "folder=run", *quick)
    assert done.returncode == 0, done.stderr
    swept = script("train.py", "-m", "imports=[my_heads]", "model.head=first,max_pool", *quick)
    assert swept.returncode == 0 and "0_first: test/accuracy" in swept.stdout
    assert swept.stderr == ""  # what the audit warns of is in the job's own log
    [log] = tmp_path.glob("runs/*/0_first/train.log")
    assert "unread_step" in log.read_text()
    without = script("evaluate.py", "run=run")
    assert without.returncode == 2 and "unknown model.head=first" in without.stderr
    assert script("evaluate.py", "run=run", "imports=my_heads").returncode == 0
    absent = script("train.py", "imports=[my_haeds]", "model.head=first", "folder=other", *quick)
    assert absent.returncode == 2 and len(absent.stderr.splitlines()) == 1
    assert "error: imports=my_haeds: ModuleNotFoundError: No module named" in absent.stderr
    assert not (tmp_path / "other").exists()
