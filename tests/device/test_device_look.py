"""A run on a device compares its first and its largest batch with the CPU, once."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from seqmodels import compose
from seqmodels.runs import train
from seqmodels.runs.checkpoint import read_checkpoint
from tests.device.pretended import Device
from tests.device.test_runs import SMALL

pytestmark = pytest.mark.device
QUICK = (*SMALL, "callbacks.dataflow=null", "callbacks.pictures=null", "trainer.max_epochs=1")


@pytest.fixture(autouse=True)
def pretended(device: torch.device) -> None:
    if device.type == "cuda":
        pytest.skip("faults are planted on the pretended device")


def weights(folder: str, *words: str) -> dict[str, Any]:
    words = (*QUICK, *words, f"folder={folder}")
    train(compose(*words), words)
    return read_checkpoint(Path(folder, "checkpoints", "last.ckpt"))["state_dict"]


def test_a_training_is_the_same_with_and_without_a_look(files: Path, caplog: Any) -> None:
    options = ("model.encoder.num_layers=2", "model.encoder.dropout=0.3")
    looked = weights("looked", *options)
    plain = weights("plain", *options, "callbacks.device_look=null")
    assert all(torch.equal(looked[name], plain[name]) for name in plain)
    assert "seqmodels device" not in caplog.text


def test_a_fault_is_one_line_and_the_run_goes_on(
    files: Path, caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(op: Any, *given: Any) -> Any:
        output, *states = op(*given)
        return [1.01 * output, *states]

    monkeypatch.setattr(Device, "kernel", staticmethod(faulty))
    with caplog.at_level(logging.WARNING):
        assert weights("run")
    said = [r.getMessage() for r in caplog.records if "seqmodels device" in r.getMessage()]
    assert said and said[0].startswith("on pretend:0, the first batch differs from the CPU by 0.0")
    assert len(said) <= 2


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("out of memory\nTried 2 GiB"), TypeError("no float64")]
)
def test_a_look_that_fails_is_one_line_and_the_training_is_the_same(
    error: Exception, files: Path, caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any, **__: Any) -> None:
        raise error

    plain = weights("plain", "callbacks.device_look=null")
    monkeypatch.setattr("seqmodels.callbacks.device_look.first_look", failing)
    with caplog.at_level(logging.WARNING):
        looked = weights("looked")
    assert all(torch.equal(looked[name], plain[name]) for name in plain)
    [line] = [r.getMessage() for r in caplog.records if "seqmodels device" in r.getMessage()]
    assert line.startswith("the first batch could not be compared with the CPU on pretend:0 (")
    assert type(error).__name__ in line and "\n" not in line


def test_a_run_on_a_cpu_does_nothing(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("it looks")

    monkeypatch.setattr("seqmodels.callbacks.device_look.first_look", never)
    assert weights("run", "trainer=cpu")


@pytest.fixture
def looked_sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches that are looked at."""
    sizes: list[int] = []

    def look(network: Any, batch: Any, *_: Any) -> tuple[float, float]:
        sizes.append(batch.inputs.shape[0] * batch.inputs.shape[1])
        return 0.0, 1.0

    monkeypatch.setattr("seqmodels.callbacks.device_look.first_look", look)
    return sizes


class Sizes(Callback):
    """The sizes of all batches that are trained on."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, *_: Any) -> None:
        self.sizes.append(batch.inputs.shape[0] * batch.inputs.shape[1])


def test_the_first_and_the_largest_batch_of_the_first_epoch_are_looked_at_once(
    files: Path, looked_sizes: list[int]
) -> None:
    callback = Sizes()
    words = (*QUICK, "trainer.max_epochs=2", "data.batch_size=3", "folder=run")
    train(compose(*words), words, callbacks=[callback])
    sizes_of_epoch = callback.sizes[: len(callback.sizes) // 2]
    assert sizes_of_epoch[0] < max(sizes_of_epoch)  # Else there is nothing to see.
    assert looked_sizes == [sizes_of_epoch[0], max(sizes_of_epoch)]


def test_a_batch_that_takes_a_cpu_too_long_is_not_looked_at(
    files: Path, looked_sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seqmodels.callbacks.device_look.MOST_SECONDS", 0.0)
    assert weights("run")
    assert looked_sizes == []
