"""The progress of a training, as a terminal of 80 columns and a log file show it."""

from __future__ import annotations

import io
import re
import time
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import pytest
import rich
import torch
from lightning.pytorch.demos.boring_classes import BoringModel
from rich.console import Console

from seqmodels.callbacks import progress
from seqmodels.callbacks.progress import LiveProgressBar

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec"),
]


class OnADevice(BoringModel):
    """Counts how often its loss is read, which waits for the device; logs a metric to the bar."""

    reads = 0

    def on_validation_epoch_end(self) -> None:
        self.log("validation/accuracy", torch.tensor(0.593), prog_bar=True)

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> dict[str, object]:
        model = self

        class Loss(torch.Tensor):
            def __float__(self) -> float:
                model.reads += 1
                return self.item()

        return {"loss": super().training_step(batch, batch_idx)["loss"].as_subclass(Loss)}


def train(model: OnADevice, seconds: float, epochs: int, **options: Any) -> pl.Trainer:
    """For 12 batches an epoch."""
    parts = ("logger", "enable_checkpointing", "enable_model_summary")
    limits = {f"limit_{split}_batches": 2 for split in ("val", "test")}
    trainer = pl.Trainer(
        accelerator="cpu",
        callbacks=[LiveProgressBar(seconds)],
        max_epochs=epochs,
        limit_train_batches=12,
        num_sanity_val_steps=0,
        **dict.fromkeys(parts, False),
        **limits,
        **options,
    )
    trainer.fit(model)
    return trainer


@pytest.mark.parametrize(("seconds", "reads"), [(0.0, 24), (1e9, 2)])
def test_it_takes_one_line_and_between_two_updates_no_loss_is_read(
    monkeypatch: pytest.MonkeyPatch, seconds: float, reads: int
) -> None:
    torch.manual_seed(0)  # with other weights, the loss has more digits
    shown = Console(file=io.StringIO(), force_terminal=True, width=80, height=24)
    monkeypatch.setattr(rich, "_console", shown)
    where = "lightning.pytorch.callbacks.progress.rich_progress.reconfigure"
    monkeypatch.setattr(where, lambda: None)
    model = OnADevice()
    train(model, seconds, epochs=2)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.file.getvalue())  # type: ignore[attr-defined]
    lines = [line.rstrip() for line in re.split(r"[\r\n]+", plain) if line.strip()]
    assert max(map(len, lines)) <= 80
    assert all(line.startswith(("Epoch ", "Validation ")) for line in lines)
    last = [line for line in lines if line.startswith("Epoch")][-1]
    assert re.match(r"Epoch 1/1 .*━ 12/12 .* loss: \d+\.\d{3} accuracy: 0.593$", last)
    assert model.reads == reads  # at the end of each epoch, at least


def test_without_a_terminal_it_prints_a_line_after_each_validation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = OnADevice()
    train(model, 0.0, epochs=2, val_check_interval=6).test(model, verbose=False)
    lines = [
        f"epoch {step > 12:d}, step {step}: validation/accuracy 59.30 %" for step in (6, 12, 18, 24)
    ]
    assert capsys.readouterr().out.splitlines() == lines and model.reads == 0


def test_without_a_terminal_no_minute_passes_without_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    class Slow(OnADevice):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            nonlocal now
            now += 45.0 if self.training else 70.0
            return super().forward(batch)

    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now))
    train(model := Slow(), 0.0, epochs=2).test(model, verbose=False)
    lines = [
        re.sub(r"loss \d.\d{4}", "loss", line) for line in capsys.readouterr().out.splitlines()
    ]
    assert lines[:4] == [
        f"epoch 0, step {step} of 24, at most {left} min left: loss"
        for step, left in ((2, 16), (4, 15), (6, 14), (8, 12))
    ]
    assert lines[6:9] == [
        "validation: batch 1 of 2",
        "validation: batch 2 of 2",
        "epoch 0, step 12: validation/accuracy 59.30 %",
    ]
    assert lines[-2:] == ["test: batch 1 of 2", "test: batch 2 of 2"]
    assert model.reads == 12


def test_the_minutes_left_of_a_resumed_run_are_by_what_this_process_trained() -> None:
    bar = LiveProgressBar()
    bar._began_at = time.monotonic() - 600
    bar._share_at_start = 0.5
    bar._share_done = lambda trainer: 0.75  # type: ignore[method-assign]
    bar._budget = SimpleNamespace(steps=None)  # type: ignore[assignment]
    assert bar._rest(pl.Trainer(accelerator="cpu", logger=False)) == ", at most 10 min left"
