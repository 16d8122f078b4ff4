"""A network is a plain `nn.Module`, which anybody trains, audits, exports and quantises."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from seqmodels import Network, RecurrentEncoder, SequenceBatch
from seqmodels.audit import audit
from seqmodels.batch import UNSEEN_TARGET
from seqmodels.dataflow import attribute
from seqmodels.export.graph import make_graph
from seqmodels.heads import build_head
from seqmodels.nn.outputs import ClassOutput

B, T, F, H, C = 4, 7, 5, 6, 3
LENGTHS = torch.tensor([7, 2, 5, 1])


def network(
    head: str = "concat_pool", embedding: nn.Module | None = None, **options: Any
) -> Network:
    torch.manual_seed(0)
    encoder = RecurrentEncoder(F, H, bidirectional=head != "last_hidden", **options)
    built_head = build_head(head, encoder, partial(ClassOutput, num_classes=C))
    return Network(embedding or nn.Identity(), encoder, built_head)


WITHOUT = """
import sys
from functools import partial
import torch
import seqmodels.nn, seqmodels.heads, seqmodels.network, seqmodels.audit
from seqmodels import Network, RecurrentEncoder, SequenceBatch
from seqmodels.heads import build_head
from seqmodels.nn.outputs import ClassOutput
encoder = RecurrentEncoder(5, 6, bidirectional=True)
head = build_head("max_pool", encoder, partial(ClassOutput, num_classes=3))
network = Network(torch.nn.Identity(), encoder, head)
batch = SequenceBatch(torch.randn(2, 4, 5), torch.tensor([4, 2]), torch.tensor([0, 2]))
network.score(batch).loss.backward()
seqmodels.audit.audit(network, batch.inputs, batch.lengths)
print(sorted({"lightning", "hydra", "omegaconf", "pandas", "torchmetrics"} & {*sys.modules}))
"""


def test_it_is_trained_and_audited_without_lightning_hydra_and_pandas() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_its_loss_is_the_mean_cross_entropy_of_known_classes() -> None:
    model = network()
    targets = torch.tensor([0, UNSEEN_TARGET, 2, 1])
    batch = SequenceBatch(torch.randn(B, T, F), LENGTHS, targets)
    logits = model(batch.inputs, LENGTHS)
    expected = nn.functional.cross_entropy(logits[[0, 2, 3]], targets[[0, 2, 3]])
    torch.testing.assert_close(model.score(batch).loss, expected)


@pytest.mark.parametrize("head", ["last_hidden", "concat_pool", "attention_pool"])
def test_a_loop_of_plain_pytorch_learns(head: str) -> None:
    model = network(head)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    inputs, targets = torch.randn(B, T, F), torch.tensor([0, 1, 2, 1])
    losses = []
    for _ in range(30):
        loss = model.score(SequenceBatch(inputs, LENGTHS, targets)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.1 * losses[0]
    assert model(inputs, LENGTHS).argmax(dim=1).equal(targets)


def test_an_embedding_of_pytorch_reads_tokens() -> None:
    model = network(embedding=nn.Embedding(11, F))
    assert model(torch.randint(11, (B, T)), LENGTHS).shape == (B, C)


def test_one_that_carries_a_state_goes_on_from_it() -> None:
    torch.manual_seed(0)
    encoder = RecurrentEncoder(F, H)
    head = build_head("every_step", encoder, partial(ClassOutput, num_classes=C))
    model = Network(nn.Identity(), encoder, head, carries_state=True)
    inputs, whole = torch.randn(B, T, F), torch.full((B,), T)
    logits, _ = model(inputs, whole)
    first, state = model(inputs[:, :3], torch.full((B,), 3))
    second, _ = model(inputs[:, 3:], torch.full((B,), T - 3), state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), logits)


def test_the_audit_takes_it_and_finds_a_padded_step() -> None:
    model = network()
    assert audit(model, torch.randn(B, T, F), LENGTHS).findings == []

    class LastStep(nn.Module):
        def forward(self, inputs: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
            output, _ = model.encoder.rnn(inputs)
            return output[:, -1]

    wrong = LastStep()
    wrong.model = model
    assert "padding_leak" in audit(wrong, torch.randn(B, T, F), LENGTHS).names


@pytest.mark.parametrize("example", [(3, 5), (6, 2), (2, 2), (17, 9)])  # rows, steps
def test_onnxruntime_gives_its_logits(example: tuple[int, int], tmp_path: Path) -> None:
    model = network().eval()
    inputs = torch.randn(B, T, F)
    feed = {"inputs": inputs.numpy(), "lengths": LENGTHS.numpy()}
    [logits] = session_of(make_graph(model, torch.randn(*example, F)), tmp_path).run(None, feed)
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(logits), model(inputs, LENGTHS))


@pytest.mark.parametrize("example", [(3, 5), (6, 2)])
def test_a_graph_carries_the_state_of_any_number_of_rows(
    example: tuple[int, int], tmp_path: Path
) -> None:
    model = network("last_hidden").eval()
    graph = make_graph(model, torch.randn(*example, F), stream=True)
    session = session_of(graph, tmp_path)
    inputs, state = torch.randn(B, T, F), torch.zeros(1, B, H).numpy()
    carried = {"h_0": state, "c_0": state}
    for chunk in inputs.split(3, dim=1):
        lengths = torch.full((B,), chunk.shape[1]).numpy()
        feed = {"inputs": chunk.numpy(), "lengths": lengths, **carried}
        logits, h_n, c_n = session.run(None, feed)
        carried = {"h_0": h_n, "c_0": c_n}
    with torch.no_grad():
        whole = model(inputs, torch.full((B,), T))
    torch.testing.assert_close(torch.from_numpy(logits), whole)


def session_of(graph: Any, folder: Path) -> Any:
    onnxruntime = pytest.importorskip("onnxruntime")
    (folder / "model.onnx").write_bytes(graph.model_proto.SerializeToString())
    return onnxruntime.InferenceSession(folder / "model.onnx")


def test_its_steps_are_attributed() -> None:
    model = network().double().eval()
    inputs = torch.randn(B, T, F, dtype=torch.float64)
    attributions = attribute(model, inputs, LENGTHS, 1)
    with torch.no_grad():
        gained = model(inputs, LENGTHS) - model(torch.zeros_like(inputs), LENGTHS)
    sums = torch.stack([row.double().sum() for row in attributions])
    torch.testing.assert_close(sums, gained[:, 1], atol=1e-4, rtol=1e-4)


def test_its_next_steps_are_read_from_what_it_carries() -> None:
    model = network("last_hidden").eval()
    inputs = torch.randn(B, T, F)
    with torch.no_grad():
        _, carried = model.carry(SequenceBatch(inputs[:, :3], torch.full((B,), 3)))
        states, _ = model.carry(SequenceBatch(inputs[:, 3:], torch.full((B,), T - 3)), carried)
        whole = model(inputs, torch.full((B,), T))
    torch.testing.assert_close(model.head(states), whole)


@pytest.mark.filterwarnings("ignore")  # PyTorch is about to move it to a package of its own
def test_its_linear_layers_are_quantised() -> None:
    model = network().eval()
    quantization = pytest.importorskip("torch.ao.quantization")
    quantised = quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    inputs = torch.randn(B, T, F)
    assert "quantized" in type(quantised.head.output.project).__module__
    with torch.no_grad():
        expected = model(inputs, LENGTHS)
        torch.testing.assert_close(quantised(inputs, LENGTHS), expected, atol=0.05, rtol=0.1)
