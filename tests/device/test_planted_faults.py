"""Each fault of these would be found: planted one at a time, a test of this folder must fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from seqmodels.callbacks.weight_averages import EMA
from seqmodels.engine import resume
from seqmodels.engine.contract import Sums
from seqmodels.errors import UserError
from seqmodels.nn import encoder as encoders
from seqmodels.nn.encoder import RecurrentEncoder, RNNOutput
from tests.device import test_runs, test_steps
from tests.device.cases import BY_NAME, compare_with_cpu, small_batch, two_layer_task

pytestmark = pytest.mark.device


def reads(fault: Callable[[Tensor, RNNOutput], Any]) -> Callable[..., Any]:
    """An encoder of which something is done with the output."""
    forward = RecurrentEncoder.forward

    def faulty(self: RecurrentEncoder, *given: Any, **options: Any) -> RNNOutput:
        states = forward(self, *given, **options)
        fault(states.output, states)
        return states

    return faulty


IN_A_STEP: dict[str, Callable[[Tensor, RNNOutput], Any]] = {
    "made on the CPU": lambda x, states: x + torch.ones(1, 1, 1),
    "item": lambda x, states: x.sum().item(),
    "a decision": lambda x, states: bool(x.any()),
    "blocking copy": lambda x, states: torch.ones(1, 1, 1).to(x.device),
    "copy of pageable memory": lambda x, states: torch.ones(9).to(x.device, non_blocking=True),
    "index of booleans": lambda x, states: x[states.mask],
    "index on the CPU": lambda x, states: x[torch.tensor([0, 1])],
    "a list as an index": lambda x, states: x[:, [0, 1]],
    "new tensor": lambda x, states: x.new_tensor([1.0, 2.0]),
    "nonzero": lambda x, states: states.mask.nonzero(),
}


@pytest.fixture(autouse=True)
def pretended(device: torch.device) -> None:
    if device.type == "cuda":
        pytest.skip("faults are planted on the pretended device")


@pytest.mark.parametrize("fault", IN_A_STEP)
def test_in_a_step(fault: str, device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RecurrentEncoder, "forward", reads(IN_A_STEP[fault]))
    task = two_layer_task(BY_NAME["SequenceClassifier"], "last_hidden", {})
    with pytest.raises((AssertionError, RuntimeError), match=r"wait|on the CPU"):
        compare_with_cpu(task, small_batch(task), device)


def test_another_result(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    real = RecurrentEncoder.forward

    def faulty(self: RecurrentEncoder, *given: Any) -> RNNOutput:
        states = real(self, *given)
        factor = 1.0 if states.output.device.type == "cpu" else 1.01
        return RNNOutput.of({k: factor * v for k, v in states.tensors.items()}, states.lengths)

    monkeypatch.setattr(RecurrentEncoder, "forward", faulty)
    task = two_layer_task(BY_NAME["SequenceClassifier"], "last_hidden", {})
    with pytest.raises(AssertionError):
        compare_with_cpu(task, small_batch(task), device)


def test_a_batch_that_stays_on_the_device(
    files: Path, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seqmodels.engine.Task.ready", lambda task, batch: batch.to(device))
    with pytest.raises(RuntimeError, match="device"):
        test_runs.test_a_run_from_its_first_step_to_its_uses("classification", files, device)


def test_an_average_that_waits(
    files: Path, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EMA, "on_train_batch_end", WeightAveraging.on_train_batch_end)
    with pytest.raises(AssertionError, match="weight_averaging"):
        test_runs.test_a_run_from_its_first_step_to_its_uses("texts", files, device)


RESUMES: dict[str, tuple[Any, str, Any]] = {
    "random numbers that nobody restores": (resume, "set_random_state", lambda *_: None),
    "dropout of cuDNN": (RecurrentEncoder, "_drops_by_layer", lambda *_: False),
    "sums that stay on the CPU": (Sums, "on", lambda sums, device: sums),
    "a state that stays on the CPU": (
        BY_NAME.get("LanguageModel"),
        "restore_process_state",
        lambda task, state: task.carried.update(train=tuple(state["carried"])),
    ),
}


@pytest.mark.parametrize("fault", RESUMES)
def test_of_a_resume(
    fault: str, files: Path, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, name, faulty = RESUMES[fault]
    kind = "classification" if "sums" in fault else "language model"
    if not test_runs.existing(kind):
        pytest.skip("the task is deleted")
    monkeypatch.setattr(owner, name, faulty)
    with pytest.raises((AssertionError, UserError)):
        test_runs.test_a_resumed_training_is_the_whole_one(kind, files, device)


def test_autocast_that_is_left_to_cudnn(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoders, "recurrent_dtype", lambda _: None)
    with pytest.raises(AssertionError):
        test_steps.test_autocast_to_bfloat16_never_makes_float16(
            test_steps.LENGTHS, "padded", True, device, monkeypatch
        )


def test_lengths_that_travel_for_each_module(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seqmodels.batch.keep_on_device", lambda *_: None)
    with pytest.raises(AssertionError):
        test_steps.test_a_batch_travels_once(device)
