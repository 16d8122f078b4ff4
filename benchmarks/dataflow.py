"""What it costs to show which tensor a model reads: the audit alone, and a run's callback."""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from report import Noise, default_output, heading, machine_lines, parsed, row, write
from torch.utils.data import DataLoader

from seqmodels.audit import audit
from seqmodels.batch import SequenceBatch
from seqmodels.dataflow import Dataflow
from seqmodels.engine import Task
from seqmodels.runs.trainer import quieten_lightning
from seqmodels.tasks.classification import SequenceClassifier
from seqmodels.tasks.language_model import LanguageModel

SGD = {"_target_": "torch.optim.SGD", "lr": 0.1}


def classifier(rows: int, time: int, head: str, **encoder: Any) -> tuple[Task, SequenceBatch]:
    """Of 12 features and 9 classes, on rows of a third of `time` to all of it."""
    data = {"inputs": "features", "num_inputs": 12, "classes": list("abcdefghi")}
    options = {"bidirectional": None, **encoder}
    lengths = torch.linspace(time, time / 3, rows).long()
    batch = SequenceBatch(torch.randn(rows, time, 12), lengths, torch.randint(9, (rows,)))
    return SequenceClassifier(data, options, head, optimizer=SGD), batch


def language_model(
    rows: int, window: int, vocabulary: int, head: str = "softmax", **encoder: Any
) -> tuple[Task, SequenceBatch]:
    tokens = torch.randint(vocabulary, (rows, window))
    batch = SequenceBatch(tokens, torch.full((rows,), window), tokens)
    return LanguageModel({"num_inputs": vocabulary}, encoder, head, optimizer=SGD), batch


CASES: dict[str, Callable[[], tuple[Task, SequenceBatch]]] = {
    "classifier, B4 T20 H64": lambda: classifier(4, 20, "last_hidden", hidden_size=64),
    "classifier, B16 T26 H128": lambda: classifier(16, 26, "last_hidden", hidden_size=128),
    "classifier, B64 T50 H256, 2 directions": lambda: classifier(
        64, 50, "max_pool", hidden_size=256, bidirectional=True
    ),
    "classifier, B64 T500 H256, 2 layers, 2 directions": lambda: classifier(
        64, 500, "attention_pool", hidden_size=256, num_layers=2, bidirectional=True
    ),
    "language model, B16 T64 H512 V4096": lambda: language_model(
        16, 64, 4096, "tied_softmax", hidden_size=512
    ),
    "language model, B64 T128 H512 V90, 2 layers": lambda: language_model(
        64, 128, 90, hidden_size=512, num_layers=2
    ),
    "language model, B20 T35 H200 V33000, 2 layers": lambda: language_model(
        20, 35, 33_000, hidden_size=200, num_layers=2
    ),
    "language model, B20 T35 H650 V33000, 2 layers": lambda: language_model(
        20, 35, 33_000, "tied_softmax", hidden_size=650, num_layers=2
    ),
}


class Timed(Dataflow):
    """The callback, and how long it took."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        started = time.perf_counter()
        super().on_fit_start(trainer, pl_module)
        self.before = time.perf_counter() - started

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        started = time.perf_counter()
        super().on_fit_end(trainer, pl_module)
        self.after = time.perf_counter() - started


def measure(make: Callable[[], Any], repeats: int, device: torch.device) -> list[str]:
    """Medians in seconds: an audit; the callback before the first step, and after the last."""
    task, batch = make()
    kind, causal = ("per_step", True) if task.contract.per == "step" else ("sequence", False)
    samples: list[tuple[float, float, float]] = []
    for _ in range(repeats):
        started = time.perf_counter()
        found = audit(task.to(device).as_function(), batch.inputs, batch.lengths, kind, causal)
        audited = time.perf_counter() - started
        assert not found.findings
        callback = Timed()
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            trainer = pl.Trainer(
                accelerator="gpu" if device.type == "cuda" else device.type,
                max_steps=1,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                default_root_dir=folder,
                callbacks=[callback],
            )
            trainer.fit(task, DataLoader([batch], batch_size=None))  # type: ignore[arg-type]
        samples.append((audited, callback.before, callback.after))
    return [f"{statistics.median(column):.2f}" for column in zip(*samples, strict=True)]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cpu", type=torch.device, help="cpu, cuda, mps")
    parser.add_argument("--repeats", default=3, type=int)
    parser.add_argument("--only", default="", help="only rows whose name contains this")
    arguments = parsed(parser, argv, repeats=1, only="B4")
    device: torch.device = arguments.device
    quieten_lightning()

    columns = ["model", "audit, s", "before the first step, s", "after the last, s"]
    table = heading([*columns, "others' cores"])
    with Noise() as noise:
        for name, make in CASES.items():
            if arguments.only.lower() not in name.lower():
                continue
            with Noise() as others:
                cells = measure(make, arguments.repeats, device)
            table.append(row([name, *cells, str(others)]))
            print(table[-1], flush=True)
    write(
        arguments.output or default_output("dataflow", device),
        [
            "# What it costs to show which tensor a model reads",
            "",
            *machine_lines(device, noise),
            "",
            f"Medians of {arguments.repeats}. Before the first step, the callback traces, audits "
            "and draws; between that and the end of the training it does nothing.",
            "",
            *table,
        ],
    )


if __name__ == "__main__":
    main()
