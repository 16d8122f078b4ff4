"""A training step on an accelerator computes what the CPU does, and never waits for its device."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from seqmodels.engine import Task
from seqmodels.heads import HEADS
from seqmodels.nn.cell import CELLS
from seqmodels.plugins import import_module
from tests.device.cases import BY_NAME, PAIRS, batch_for, compare_with_cpu, made, of_tasks

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
    ("Seq2Seq", "attention", NOISE),
    ("LanguageModel", "softmax", NOISE),
]


@pytest.mark.parametrize(("kind", "head"), PAIRS, ids=lambda x: getattr(x, "__name__", x))
def test_each_head_of_each_task(kind: type[Task], head: str, device: torch.device) -> None:
    two = HEADS[head].requires_bidirectional is not False and not kind.contract_for(head).causal
    task = made(kind, head, {"bidirectional": two})
    compare_with_cpu(task, batch_for(task), device)


@pytest.mark.filterwarnings("ignore:LSTM with projections")  # of the CPU
@pytest.mark.parametrize("ragged", [True, False], ids=["ragged", "equal"])
@pytest.mark.parametrize("encoder", NETWORKS, ids=lambda x: "-".join(map(str, x.values())))
def test_each_network(encoder: dict[str, Any], ragged: bool, device: torch.device) -> None:
    if encoder["cell"] not in CELLS:
        import_module(f"examples.{encoder['cell']}", "imports")
    task = made(BY_NAME["SequenceClassifier"], "concat_pool", encoder)  # reads h_n and output
    compare_with_cpu(task, batch_for(task, ragged=ragged), device)


@pytest.mark.parametrize(("kind", "head", "options"), of_tasks(OPTIONS), ids=str)
def test_options_of_one_task(
    kind: str, head: str, options: dict[str, Any], device: torch.device
) -> None:
    task = made(BY_NAME[kind], head, {}, **options)
    compare_with_cpu(task, batch_for(task), device)


@pytest.mark.parametrize("ragged", [True, False], ids=["ragged", "equal"])
@pytest.mark.parametrize(("kind", "head", "options"), of_tasks(RANDOM), ids=str)
def test_what_is_random_does_not_wait(
    kind: str, head: str, options: dict[str, Any], ragged: bool, device: torch.device
) -> None:
    task = made(BY_NAME[kind], head, {"dropout": 0.4}, **options)
    compare_with_cpu(task, batch_for(task, ragged=ragged), device, random=True)
