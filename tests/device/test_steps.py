"""A training step on an accelerator computes what the CPU does, in each precision, and never waits
for its device; and what a GPU and MPS need of copies and of types."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from seqmodels import device as devices
from seqmodels import load_run
from seqmodels.engine import Task
from seqmodels.heads import HEADS
from seqmodels.instantiate import instantiate
from seqmodels.nn.cell import CELLS
from seqmodels.nn.encoder import RecurrentEncoder
from seqmodels.nn.outputs import ClassOutput, Quantiles, ValueOutput
from seqmodels.plugins import import_module
from tests.conftest import Config, Refused
from tests.device.cases import (
    BY_NAME,
    PAIRS,
    compare_with_cpu,
    of_tasks,
    small_batch,
    train_step,
    two_layer_task,
)
from tests.device.pretended import Device, Seen
from tests.device.test_runs import RUNS, SMALL, existing, trained
from tests.make import batch_for

pytestmark = pytest.mark.device

NETWORKS: list[dict[str, Any]] = [
    {"cell": "lstm", "bidirectional": True},
    {"cell": "gru", "bidirectional": True, "num_layers": 1},
    {"cell": "rnn", "bidirectional": True},
    {"cell": "lstm", "proj_size": 8},
    {"cell": "gru", "bidirectional": False},
    {"cell": "layer_norm_lstm", "bidirectional": True},
    {"cell": "minlstm", "bidirectional": False},
    {"cell": "slstm", "bidirectional": True},
]
OPTIONS: list[tuple[str, str, dict[str, Any]]] = [
    ("Tagger", "every_step", {"output": {"kind": "crf"}}),
    ("Tagger", "every_step", {"output": {"class_weights": [1.0, 2.0, 3.0]}}),
    ("Tagger", "every_step", {"data": {"num_characters": 30}, "output": {"kind": "crf"}}),
    ("Tagger", "every_step", {"data": {"classes": ["O", "B-x", "I-x"]}}),
    ("SequenceClassifier", "max_pool", {"data": {"vector_size": 8, "num_trained": 5}}),
    ("SequenceClassifier", "concat_pool", {"embedding": {"convolutions": [3, 2], "channels": 4}}),
    ("SequenceClassifier", "max_pool", {"embedding": {"levels": 4}}),
    ("Regressor", "mean_pool", {"output": {"quantiles": [0.1, 0.5, 0.9]}}),
    ("Regressor", "every_step", {"output": {"error": "huber"}}),
    ("Forecaster", "last_hidden", {"norm": None, "segment": 2}),
    ("Forecaster", "concat_pool", {"output": {"quantiles": [0.1, 0.5, 0.9]}}),
    ("LanguageModel", "tied_softmax", {"embedding": {"size": 24}}),
    ("LanguageModel", "softmax", {"output": {"label_smoothing": 0.1}}),
]
NOISE: dict[str, Any] = {"dropout": 0.3, "embedding": {"noise": 0.2, "dropout": 0.2}}
RANDOM: list[tuple[str, str, dict[str, Any]]] = [
    ("Tagger", "every_step", NOISE),
    ("SequenceClassifier", "last_hidden", {**NOISE, "locked_dropout": True}),
    ("SequenceClassifier", "max_pool", {"window": 3}),
    ("SequenceClassifier", "attention_pool", {**NOISE, "encoder": {"segment": 3}}),
    ("Seq2Seq", "attention", NOISE),
    ("LanguageModel", "softmax", NOISE),
]


@pytest.mark.parametrize(("kind", "head"), PAIRS, ids=lambda x: getattr(x, "__name__", x))
def test_each_head_of_each_task(kind: type[Task], head: str, device: torch.device) -> None:
    two = HEADS[head].requires_bidirectional is not False and not kind.contract_for(head).causal
    task = two_layer_task(kind, head, {"bidirectional": two})
    compare_with_cpu(task, small_batch(task), device)


@pytest.mark.filterwarnings("ignore:LSTM with projections")  # of the CPU
@pytest.mark.parametrize("ragged", [True, False], ids=["ragged", "equal"])
@pytest.mark.parametrize("encoder", NETWORKS, ids=lambda x: "-".join(map(str, x.values())))
def test_each_network(encoder: dict[str, Any], ragged: bool, device: torch.device) -> None:
    if encoder["cell"] not in CELLS:
        import_module(f"examples.{encoder['cell']}", "imports")
    task = two_layer_task(
        BY_NAME["SequenceClassifier"], "concat_pool", encoder
    )  # reads h_n and output
    compare_with_cpu(task, small_batch(task, ragged=ragged), device)


@pytest.mark.parametrize("lengths", [[5, 5, 5], [2, 5, 3]], ids=str)
@pytest.mark.parametrize("two", [False, True], ids=["one direction", "two directions"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "layer_norm_lstm"])
def test_rows_in_segments(cell: str, two: bool, lengths: list[int], device: torch.device) -> None:
    if cell not in CELLS:
        import_module(f"examples.{cell}", "imports")
    encoder = {"cell": cell, "bidirectional": two, "segment": 2}
    task = two_layer_task(BY_NAME["SequenceClassifier"], "concat_pool", encoder)
    compare_with_cpu(task, batch_for(task, lengths), device)


@pytest.mark.parametrize(("kind", "head", "options"), of_tasks(OPTIONS), ids=str)
def test_options_of_one_task(
    kind: str, head: str, options: dict[str, Any], device: torch.device
) -> None:
    task = two_layer_task(BY_NAME[kind], head, {}, **options)
    compare_with_cpu(task, small_batch(task), device)


@pytest.mark.parametrize("ragged", [True, False], ids=["ragged", "equal"])
@pytest.mark.parametrize(("kind", "head", "options"), of_tasks(RANDOM), ids=str)
def test_what_is_random_does_not_wait(
    kind: str, head: str, options: dict[str, Any], ragged: bool, device: torch.device
) -> None:
    others = {name: option for name, option in options.items() if name != "encoder"}
    encoder = {"dropout": 0.4, **options.get("encoder", {})}
    task = two_layer_task(BY_NAME[kind], head, encoder, **others)
    compare_with_cpu(task, small_batch(task, ragged=ragged), device, random=True)


# ---------------------------------------------------------------- precisions


LENGTHS = torch.tensor([7, 4, 2])


@pytest.mark.parametrize("takes", [True, False])
@pytest.mark.parametrize("packing", ["padded", "packed"])
@pytest.mark.parametrize("lengths", [LENGTHS, torch.full((3,), 7)], ids=["ragged", "equal"])
def test_autocast_to_bfloat16_never_makes_float16(
    lengths: torch.Tensor,
    packing: str,
    takes: bool,
    device: torch.device,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if device.type == "cuda" and takes != devices.cudnn_takes_bfloat16():
        pytest.skip("this cuDNN decides")
    monkeypatch.setattr(devices, "cudnn_takes_bfloat16", lambda: takes)
    torch.manual_seed(0)
    encoder = RecurrentEncoder(5, 6, 2, bidirectional=True, packing=packing).to(device)  # type: ignore[arg-type]
    inputs = torch.randn(3, 7, 5)
    exact = encoder(inputs.to(device), lengths)
    with torch.autocast(device.type, torch.bfloat16):
        states = encoder(inputs.to(device), lengths)
        again = encoder(inputs.to(device), lengths, state=states.state)
    assert states.output.dtype == again.h_n.dtype == (torch.bfloat16 if takes else torch.float32)
    torch.testing.assert_close(states.output.float(), exact.output, rtol=0.02, atol=0.02)
    states.output.float().square().sum().backward()
    [weight] = [w for n, w in encoder.named_parameters() if n == "rnn.weight_hh_l0"]
    assert weight.grad is not None and weight.grad.dtype == torch.float32
    with torch.autocast(device.type, torch.float16):  # whose loss is scaled
        assert encoder(inputs.to(device), lengths).output.dtype == torch.float16


def test_a_batch_travels_once(device: torch.device) -> None:
    """Inputs, targets and lengths, whatever the layers and the head need of the lengths."""
    if device.type == "cuda":
        pytest.skip("only the pretended device counts copies")
    task = two_layer_task(BY_NAME["SequenceClassifier"], "concat_pool", {"bidirectional": True}).to(
        device
    )
    Seen.copies.clear()
    train_step(task, small_batch(task))
    assert sum(Seen.copies.values()) == 3, Seen.copies


@pytest.mark.parametrize(
    "task",
    [
        *existing("language model"),
        *(pytest.param(t, marks=pytest.mark.long) for t in existing("texts", "forecasting")),
    ],
)
def test_a_run_in_each_precision(task: str, files: Path, device: torch.device) -> None:
    words = ("trainer.max_epochs=1", "trainer.max_steps=4", "model.optimizer.fused=false")
    words += ("++callbacks.ema._target_=seqmodels.callbacks.weight_averages.EMA",)
    exact, _ = trained("exact", *RUNS[task], *SMALL, *words)
    inputs = {"forecasting": [torch.ones(24, 1).numpy()]}
    for precision in ("bf16-mixed", "16-mixed", "bf16-true", "64-true"):
        options = (*RUNS[task], *SMALL, *words, f"trainer.precision={precision}")
        result, waits = trained(precision, *options)
        # 16-mixed looks whether its scaled gradients are finite
        assert not waits.found or precision == "16-mixed"
        loss = result["metrics"]["test/loss"]
        assert loss == pytest.approx(exact["metrics"]["test/loss"], rel=0.02)
        run = load_run(precision)
        assert run.evaluate()["test/loss"] == pytest.approx(loss, rel=1e-2)
        assert len([*run.predict(inputs.get(task, ["w1 w2"]))]) == 1


@pytest.mark.parametrize("task", existing("texts", "tagging", "numbers", "recursive", "seq2seq"))
def test_mps_gets_no_float64_and_no_copy_that_it_could_corrupt(
    task: str, files: Path, monkeypatch: pytest.MonkeyPatch, device: torch.device
) -> None:
    if device.type == "cuda":
        pytest.skip("only the pretended device can stand for MPS")
    monkeypatch.setattr(devices, "MPS", device.type)
    monkeypatch.setattr(Device, "refused", (torch.float64,))
    monkeypatch.setattr(Device, "corrupts", True)
    result, _ = trained("run", *RUNS[task], *SMALL, "trainer.max_epochs=1")
    again = load_run("run").evaluate(accelerator="cpu")
    for name, score in again.items():
        assert result["metrics"][name] == pytest.approx(score, rel=1e-3, abs=1e-3), name


def test_float16_weights_are_refused(refused: Refused) -> None:
    line = refused("train.py", "trainer.precision=16-true")
    assert "trainer.precision=16-true: Adam's second moments vanish in float16" in line


def test_products_of_float32_are_as_the_run_says(config: Config) -> None:
    before = torch.get_float32_matmul_precision()
    try:
        for value in ("high", "highest"):
            instantiate(config(f"trainer.float32_matmul_precision={value}").trainer)
            assert torch.get_float32_matmul_precision() == value
    finally:
        torch.set_float32_matmul_precision(before)


def test_a_run_is_evaluated_with_the_products_that_it_trained_with(
    files: Path, device: torch.device
) -> None:
    before = torch.get_float32_matmul_precision()
    try:
        trained("run", *RUNS["texts"], *SMALL, "trainer.float32_matmul_precision=high")
        torch.set_float32_matmul_precision("highest")
        load_run("run").evaluate()
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_losses_and_units_keep_their_digits_in_every_precision(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    kinds: dict[str, Any] = {
        "classes": ClassOutput(4, 3, weights=[0.1, 0.7, 1.3]),
        "values": ValueOutput(4, 1, mean=[1234.5], deviation=[0.37]),
        "quantiles": Quantiles(4, 1, [0.1, 0.5, 0.9], mean=[1234.5], deviation=[0.37]),
    }
    if "Tagger" in BY_NAME:
        tagger = two_layer_task(BY_NAME["Tagger"], "every_step", {}, output={"kind": "crf"})
        kinds["tags"] = tagger.network.head.output
    for name, output in kinds.items():
        features = torch.randn(6, output.project.in_features).to(dtype)
        targets = torch.randint(3, (6,)) if name in ("classes", "tags") else torch.randn(6, 1)
        given = (features, targets) if name != "tags" else (features[None], targets[None])
        exact = copy.deepcopy(output).to(dtype).double()  # the same weights
        output.to(dtype)
        expected = exact.score(given[0].double(), given[1]).loss
        loss = output.score(*given).loss
        assert loss.dtype == torch.promote_types(dtype, torch.float32), name
        torch.testing.assert_close(loss.double(), expected.double(), rtol=0.02, atol=0.02)
        if name in ("values", "quantiles"):
            decided = output.decode(features).double()
            torch.testing.assert_close(
                decided, exact.decode(features.double()), rtol=2e-6, atol=0.01
            )
