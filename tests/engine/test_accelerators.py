"""A training step never waits for its device, and mixes no devices.

PyTorch's `meta` device stands for an accelerator that is not there: its tensors have no values, so
whatever would wait for one (`item`, `bool`, `nonzero`, a copy to the CPU) is an error, and so is an
operation on tensors of two devices. Only copies to the device need a look of their own.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from seqmodels.batch import PADDING_TARGET, PairBatch, SequenceBatch
from seqmodels.dataflow.explain import example_batch
from seqmodels.engine import Task
from seqmodels.heads import HEADS
from seqmodels.padding import valid_steps
from seqmodels.tasks import TASKS
from tests.networks import fits

META = torch.device("meta")
REGULARISED: dict[str, Any] = {
    "dropout": 0.3,
    "locked_dropout": True,
    "embedding": {"noise": 0.2, "dropout": 0.2},
}
OPTIONS: list[tuple[str, str, dict[str, Any]]] = [
    ("Tagger", "every_step", {"output": {"kind": "crf"}}),
    ("Regressor", "mean_pool", {"output": {"quantiles": [0.1, 0.5, 0.9]}}),
    ("SequenceClassifier", "max_pool", {"output": {"label_smoothing": 0.1}, "window": 3}),
    ("Forecaster", "last_hidden", {"norm": None, "segment": 2}),
    ("SequenceClassifier", "concat_pool", {"embedding": {"convolutions": [3, 2], "channels": 4}}),
    ("Forecaster", "concat_pool", {"output": {"quantiles": [0.1, 0.5, 0.9]}}),
]


class NoBlockingCopies(TorchDispatchMode):
    """Refuses copies between devices that the host waits for."""

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        options = kwargs or {}
        name = function._overloadpacket.__name__
        if name == "copy_":
            source, device, free = args[1], args[0].device, (*args, False)[2]
        else:
            source, device = (*args, None)[0], options.get("device")
            free = name != "_to_copy" or options.get("non_blocking")
        if not free and device is not None and source.device != torch.device(device):
            where = [f for f in traceback.extract_stack() if "/seqmodels/" in f.filename][-1]
            raise AssertionError(f"a copy that waits: {where.filename}:{where.lineno} {where.line}")
        return function(*args, **options)


def made(task: type[Task], head: str, between: float = 0.2, **options: Any) -> Task:
    """A small one, with this dropout between its two layers."""
    data = {**task.contract.kind.example, "longest": 4}
    encoder = {"hidden_size": 16, "num_layers": 2, "dropout": between}
    return task(data, encoder, head, **options)


def batch_for(task: Task) -> SequenceBatch:
    """Rows of different lengths where the task has them, with targets."""
    same = task.contract.stateful or "horizon" in task.hparams["data"]
    batch = example_batch(task, *(() if same else (3, 2)))
    if isinstance(batch, PairBatch):
        target = batch.target
        with_targets = SequenceBatch(target.inputs, target.lengths, target.inputs)
        return PairBatch.of(batch, with_targets, [("a",)] * len(batch))
    inputs, lengths, kind = batch.inputs, batch.lengths, task.contract.target
    padding = ~valid_steps(lengths, inputs.shape[1])
    rows, steps = inputs.shape[:2]
    by_step = task.contract.per == "step"
    if kind == "forecast":
        series = torch.zeros(rows, dtype=torch.int64)
        return SequenceBatch(inputs, lengths, torch.randn(rows, 2), series=series)
    if kind == "value":
        values = torch.randn(rows, steps, 1).masked_fill(padding.unsqueeze(-1), torch.nan)
        return SequenceBatch(inputs, lengths, values if by_step else values[:, 0])
    classes = torch.randint(3, (rows, steps)).masked_fill(padding, PADDING_TARGET)
    return SequenceBatch(inputs, lengths, classes if by_step else classes[:, 0])


PAIRS = [(task, head) for task in TASKS for head in HEADS if fits(head, task)]


@pytest.fixture(autouse=True)
def no_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    """`meta` has none."""
    real = torch.autocast

    def autocast(kind: str, *args: Any, **options: Any) -> Any:
        if kind == "meta":
            return contextlib.nullcontext()
        return real(kind, *args, **options)

    monkeypatch.setattr(torch, "autocast", autocast)


def every_step(task: Task, batch: SequenceBatch) -> None:
    with NoBlockingCopies():
        there = batch.to(META, non_blocking=True)
        task.train()
        loss = task.training_step(there)
        loss.backward()
        task.eval()
        if not isinstance(batch, PairBatch):  # whose validation writes texts, until each has ended
            with torch.no_grad():
                task.validation_step(there)
    assert loss.device == META


@pytest.mark.parametrize(("kind", "head"), PAIRS, ids=lambda x: getattr(x, "__name__", x))
def test_a_step_does_not_wait_for_its_device(kind: type[Task], head: str) -> None:
    task = made(kind, head, **REGULARISED)
    every_step(task.to(META), batch_for(task))


@pytest.mark.parametrize(
    ("kind", "head", "options"),
    [(kind, *rest) for name, *rest in OPTIONS for kind in TASKS if kind.__name__ == name],
)
def test_nor_with_options_of_one_task(kind: type[Task], head: str, options: dict[str, Any]) -> None:
    task = made(kind, head, **options)
    every_step(task.to(META), batch_for(task))


@pytest.mark.parametrize(
    "fault",
    [lambda x: x.sum().item(), lambda x: x + torch.ones(1, 1, 1).to(x.device)],
    ids=["item", "blocking copy"],
)
def test_what_waits_is_seen(fault: Callable[[torch.Tensor], Any]) -> None:
    task = made(TASKS[0], next(head for kind, head in PAIRS if kind is TASKS[0]))

    def waiting(module: Any, given: Any, states: Any) -> None:
        fault(states.output)

    task.encoder.register_forward_hook(waiting)
    with pytest.raises((AssertionError, RuntimeError)):
        every_step(task.to(META), batch_for(task))


@pytest.mark.cuda
@pytest.mark.parametrize(("kind", "head"), PAIRS, ids=lambda x: getattr(x, "__name__", x))
def test_a_gpu_computes_what_the_cpu_does_and_is_not_waited_for(
    kind: type[Task], head: str
) -> None:
    torch.manual_seed(0)
    # nothing random, which differs between devices
    task = made(kind, head, 0.0, dropout=0.0, embedding={"dropout": 0.0}).train()
    batch = batch_for(task)
    losses, gradients = [], []
    for device in (torch.device("cpu"), torch.device("cuda")):
        task.to(device)
        there = batch.to(device, non_blocking=True)
        for mode in ("default", "error"):  # the first call initialises libraries, and may wait
            task.zero_grad()
            if device.type == "cuda":
                torch.cuda.set_sync_debug_mode(mode)
            try:
                loss = task.training_step(there)
                loss.backward()
            finally:
                if device.type == "cuda":
                    torch.cuda.set_sync_debug_mode("default")
        losses.append(loss.detach().cpu())
        gradients.append(
            {n: p.grad.cpu().clone() for n, p in task.named_parameters() if p.grad is not None}
        )
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-3, atol=1e-4)  # TF32 has 10 bits
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-2, atol=1e-2 * scale)
