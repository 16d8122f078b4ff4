"""The progress of a training, as a terminal of 80 columns and a log file show it."""

from __future__ import annotations

import io
import re
from typing import Any

import lightning.pytorch as pl
import pytest
import rich
import torch
from lightning.pytorch.demos.boring_classes import BoringModel
from rich.console import Console

from seqmodels.callbacks.progress import LiveProgressBar
from seqmodels.screen import MANY, show_progress

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec"),
]


class OnADevice(BoringModel):
    """Counts how often its loss is read, which waits for the device; logs a metric to the bar."""

    def __init__(self, metric: str = "validation/accuracy", value: float = 0.593) -> None:
        super().__init__()
        self.metric, self.value, self.reads = metric, value, 0

    def on_validation_epoch_end(self) -> None:
        self.log(self.metric, torch.tensor(self.value), prog_bar=True)

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> dict[str, object]:
        model = self

        class Loss(torch.Tensor):
            def __float__(self) -> float:
                model.reads += 1
                return self.item()

        return {"loss": super().training_step(batch, batch_idx)["loss"].as_subclass(Loss)}


def train(model: pl.LightningModule, seconds: float = 0.0, **options: Any) -> pl.Trainer:
    """For 12 batches an epoch."""
    options |= {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    options |= {"limit_train_batches": 12, "limit_val_batches": 2, "limit_test_batches": 2}
    bar = LiveProgressBar(seconds)
    trainer = pl.Trainer(accelerator="cpu", callbacks=[bar], **options)
    trainer.fit(model)
    return trainer


def screen(monkeypatch: pytest.MonkeyPatch, model: Any, **options: Any) -> list[str]:
    """The lines that a training writes to a terminal of 80 columns."""
    shown = Console(file=io.StringIO(), force_terminal=True, width=80, height=24)
    monkeypatch.setattr(rich, "_console", shown)
    where = "lightning.pytorch.callbacks.progress.rich_progress.reconfigure"
    monkeypatch.setattr(where, lambda: None)
    train(model, **options)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.file.getvalue())  # type: ignore[attr-defined]
    return [line.rstrip() for line in re.split(r"[\r\n]+", plain) if line.strip()]


@pytest.mark.parametrize(
    ("metric", "value", "shown"),
    [
        ("validation/accuracy", 0.593, "accuracy: 0.593"),
        ("validation/perplexity", 31.2345, "perplexity: 31.235"),
    ],
)
def test_it_takes_one_line_of_80_columns(
    monkeypatch: pytest.MonkeyPatch, metric: str, value: float, shown: str
) -> None:
    torch.manual_seed(0)  # with other weights, the loss has more digits
    lines = screen(monkeypatch, OnADevice(metric, value), max_epochs=2)
    assert max(map(len, lines)) <= 80
    assert all(line.startswith(("Epoch ", "Validation ")) for line in lines)
    first, *_, last = [line for line in lines if line.startswith("Epoch")]
    assert re.match(r"Epoch 0/1 .*━ \d+/12 ", first)
    assert last.startswith("Epoch 1/1 ") and last.endswith(shown)
    assert re.search(r"━━━ 12/12 (\d\d:\d\d|--:--) \d+\.\d\dit/s loss: \d+\.\d{3} ", last)


def test_epochs_without_a_limit_are_counted_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = screen(monkeypatch, BoringModel(), max_epochs=-1, max_steps=12)
    assert re.match(r"Epoch 0  +━", lines[0])


@pytest.mark.parametrize(("seconds", "reads"), [(0.0, 24), (1e9, 2)])
def test_between_two_updates_no_loss_is_read(
    monkeypatch: pytest.MonkeyPatch, seconds: float, reads: int
) -> None:
    model = OnADevice()
    screen(monkeypatch, model, seconds=seconds, max_epochs=2)
    assert model.reads == reads  # at the end of each epoch, at least


def test_without_a_terminal_it_prints_a_line_after_each_validation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = OnADevice()
    train(model, max_epochs=2, val_check_interval=6).test(model, verbose=False)
    lines = [
        f"epoch {step > 12:d}, step {step}: validation/accuracy 59.30 %" for step in (6, 12, 18, 24)
    ]
    assert capsys.readouterr().out.splitlines() == lines and model.reads == 0


def test_long_work_shows_a_bar_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for terminal, amount in ((False, MANY), (True, MANY - 1), (True, MANY)):
        monkeypatch.setattr("sys.stderr.isatty", lambda seen=terminal: seen)
        with show_progress("long work", amount) as done:
            done(amount // 2)
        assert ("long work" in capsys.readouterr().err) == (terminal and amount == MANY)
