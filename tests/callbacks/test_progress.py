"""The progress bar, as a terminal of 80 columns shows it."""

from __future__ import annotations

import io
import re

import lightning.pytorch as pl
import pytest
import rich
import torch
from lightning.pytorch.demos.boring_classes import BoringModel
from rich.console import Console

from seqmodels.callbacks.early_stopping import EarlyStopping
from seqmodels.callbacks.progress import LiveProgressBar
from seqmodels.screen import MANY, duration, show_progress


class Named(BoringModel):
    """Logs one metric of that name to the bar."""

    def __init__(self, metric: str, value: float) -> None:
        super().__init__()
        self.metric, self.value = metric, value

    def on_validation_epoch_end(self) -> None:
        self.log(self.metric, torch.tensor(self.value), prog_bar=True)


def screen(
    monkeypatch: pytest.MonkeyPatch,
    model: pl.LightningModule,
    seconds: float = 0.0,
    **options: int,
) -> list[str]:
    """The lines that a training writes to a terminal of 80 columns."""
    shown = Console(file=io.StringIO(), force_terminal=True, width=80, height=24)
    monkeypatch.setattr(rich, "_console", shown)
    monkeypatch.setattr(
        "lightning.pytorch.callbacks.progress.rich_progress.reconfigure", lambda: None
    )
    pl.Trainer(
        accelerator="cpu",
        limit_train_batches=12,
        limit_val_batches=2,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        callbacks=[LiveProgressBar(seconds)],
        **options,  # type: ignore[arg-type]
    ).fit(model)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.file.getvalue())  # type: ignore[attr-defined]
    return [line.rstrip() for line in re.split(r"[\r\n]+", plain) if line.strip()]


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec")
@pytest.mark.parametrize(
    ("metric", "value", "shown"),
    [
        ("validation/accuracy", 0.593, "accuracy: 0.593"),
        ("validation/bits_per_byte", 2.345, "bits_per_byte: 2.345"),
        ("validation/perplexity", 31.2345, "perplexity: 31.235"),
    ],
)
def test_it_takes_one_line_of_80_columns(
    monkeypatch: pytest.MonkeyPatch, metric: str, value: float, shown: str
) -> None:
    torch.manual_seed(0)  # with other weights, the loss has more digits
    lines = screen(monkeypatch, Named(metric, value), max_epochs=2)
    assert max(map(len, lines)) <= 80
    assert all(line.startswith(("Epoch ", "Validation ")) for line in lines)
    epochs = [line for line in lines if line.startswith("Epoch")]
    assert re.match(r"Epoch 0/1 .*━ \d+/12 ", epochs[0])
    last = epochs[-1]
    assert last.startswith("Epoch 1/1 ") and last.endswith(shown)
    assert re.search(r"━━━ 12/12 (\d\d:\d\d|--:--) \d+\.\d\dit/s loss: \d+\.\d{3} ", last)


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec")
@pytest.mark.parametrize(("seconds", "reads"), [(0.0, 24), (1e9, 2)])
def test_between_two_updates_no_loss_is_read(
    monkeypatch: pytest.MonkeyPatch, seconds: float, reads: int
) -> None:
    read = []

    class Loss(torch.Tensor):  # of a device, which each read waits for
        def __float__(self) -> float:
            read.append(self)
            return self.item()

    class OnAnotherDevice(BoringModel):
        def training_step(self, batch: torch.Tensor, batch_idx: int) -> dict[str, object]:
            return {"loss": super().training_step(batch, batch_idx)["loss"].as_subclass(Loss)}

    screen(monkeypatch, OnAnotherDevice(), seconds, max_epochs=2)
    assert len(read) == reads  # at the end of each epoch, at least


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec")
def test_epochs_without_a_limit_are_counted_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = screen(monkeypatch, BoringModel(), max_epochs=-1, max_steps=12)
    assert re.match(r"Epoch 0  +━", lines[0])


LINE = (
    r"epoch \d+, step [\d,]+ of 2,400, [\d,.]+ steps/s, about \d+ s left",
    r"(validation|test), batch \d of 2",
)


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec")
@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_without_a_terminal_it_prints_lines_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], seconds: float
) -> None:
    monkeypatch.setattr("seqmodels.callbacks.progress.SECONDS", seconds)

    class OnAnotherDevice(BoringModel):  # whose values cannot be read
        def training_step(self, batch: torch.Tensor, batch_idx: int) -> dict[str, object]:
            class Loss(torch.Tensor):
                def __float__(self) -> float:
                    raise AssertionError("waits for the device")

            return {"loss": super().training_step(batch, batch_idx)["loss"].as_subclass(Loss)}

    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=200,
        max_steps=2400,
        limit_train_batches=12,
        limit_val_batches=2,
        limit_test_batches=2,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        callbacks=[LiveProgressBar(seconds=0.0), Stop()],
    )
    trainer.fit(model := OnAnotherDevice())
    trainer.test(model, verbose=False)
    lines = capsys.readouterr().out.splitlines()
    if seconds:
        assert lines == []
        return
    assert len(lines) == 12 + 2 + 2
    assert re.fullmatch(LINE[0], lines[0]) and lines[0].startswith("epoch 0, step 1 of 2,400, ")
    assert all(re.fullmatch(LINE[0], line) for line in lines[:12])
    assert all(re.fullmatch(LINE[1], line) for line in lines[12:])
    assert lines[-1] == "test, batch 2 of 2"


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec")
def test_the_time_left_is_at_most_what_early_stopping_leaves(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("seqmodels.callbacks.progress.SECONDS", 0.0)
    pl.Trainer(
        accelerator="cpu",
        max_epochs=50,
        limit_train_batches=2,
        limit_val_batches=1,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        callbacks=[LiveProgressBar(seconds=0.0), EarlyStopping("train/loss", patience=0)],
    ).fit(Named("train/loss", 1.0))
    lines = capsys.readouterr().out.splitlines()
    steps = [line for line in lines if line.startswith("epoch")]
    assert len(steps) == 4 and all(re.search(r", at most \d+ s left$", line) for line in steps)


class Stop(pl.Callback):
    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        trainer.should_stop = trainer.global_step == 12


def test_long_work_shows_a_bar_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for terminal, amount in ((False, MANY), (True, MANY - 1), (True, MANY)):
        monkeypatch.setattr("sys.stderr.isatty", lambda seen=terminal: seen)
        with show_progress("long work", amount) as done:
            done(amount // 2)
        assert ("long work" in capsys.readouterr().err) == (terminal and amount == MANY)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (99, "99 s"), (720, "12 min"), (9000, "2.5 h")]
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text
