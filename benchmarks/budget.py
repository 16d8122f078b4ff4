"""Steps per second of a training that time ends, with a huge plan against no plan by steps.

    python benchmarks/budget.py
    python benchmarks/budget.py --seconds 2 --rounds 1

Both train the same small classifier with OneCycleLR and `max_time`. One also has `max_epochs`, of
which time leaves nearly all: its schedule must follow the time, at no cost that grows with the
plan. The two take turns in one process, after one short training that warms it up.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from datetime import timedelta
from statistics import median

import lightning.pytorch as pl
import torch
from report import Noise, default_output, heading, machine_lines, parsed, row, write
from torch.utils.data import DataLoader

from seqmodels.batch import SequenceBatch
from seqmodels.runs.trainer import Trainer, quieten_lightning
from seqmodels.tasks.classification import SequenceClassifier

BATCHES = 1000  # per epoch
SCHEDULER = {
    "_target_": "torch.optim.lr_scheduler.OneCycleLR",
    "max_lr": 0.01,
    "total_steps": "total_steps",
}


class Made(pl.LightningDataModule):
    """Random series, the same batch in each step."""

    def train_dataloader(self) -> DataLoader:
        inputs, targets = torch.randn(16, 10, 8), torch.arange(16) % 4
        batch = SequenceBatch(inputs, torch.full((16,), 10), targets)
        return DataLoader([batch] * BATCHES, batch_size=None)  # type: ignore[arg-type]


def steps_per_second(max_epochs: int, seconds: float) -> float:
    torch.manual_seed(0)
    data = {"inputs": "features", "num_inputs": 8, "classes": ["a", "b", "c", "d"]}
    optimizer = {"_target_": "torch.optim.AdamW", "lr": 0.01}
    model = {"hidden_size": 16}
    task = SequenceClassifier(data, model, optimizer=optimizer, scheduler=SCHEDULER)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=max_epochs,
        max_time=timedelta(seconds=seconds),
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    started = time.perf_counter()
    trainer.fit(task, Made())
    return trainer.global_step / (time.perf_counter() - started)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", default=10.0, type=float, help="of each training")
    parser.add_argument("--rounds", default=5, type=int, help="how often the two take turns")
    parser.add_argument("--epochs", default=1_000_000, type=int, help="of the huge plan")
    arguments = parsed(parser, argv, seconds=0.3, rounds=1)
    torch.set_num_threads(1)  # fastest for a small model
    quieten_lightning()
    device = torch.device("cpu")
    steps_per_second(-1, arguments.seconds / 10)
    with Noise() as noise:
        rates = [
            [steps_per_second(epochs, arguments.seconds) for epochs in (-1, arguments.epochs)]
            for _ in range(arguments.rounds)
        ]
    none, huge = (f"{median(column):,.0f}" for column in zip(*rates, strict=True))
    ratio = f"{median(second / first for first, second in rates):.2f}"
    table = [
        *heading(["planned steps", "steps/s without", "steps/s with them", "with / without"]),
        row([f"{arguments.epochs * BATCHES:,}", none, huge, ratio]),
    ]
    print(*table, sep="\n")
    write(
        arguments.output or default_output("budget", device),
        [
            "# A time budget beside a huge plan by steps",
            "",
            *machine_lines(device, noise),
            "",
            f"Medians of {arguments.rounds} pairs of trainings of {arguments.seconds:g} s.",
            "",
            *table,
        ],
    )


if __name__ == "__main__":
    main()
