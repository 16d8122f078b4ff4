"""Sequences per second of a whole `trainer.fit`, against an equivalent plain PyTorch loop.

    python benchmarks/fit.py
    python benchmarks/fit.py --pairs 7 --epochs 4
    python benchmarks/fit.py --device cuda --output /tmp/fit.md

`trainer.fit` runs this package as `configs/` ships it (trainer, optimiser, checkpoints, metrics
file), without the progress bar, regularisation and schedule. The plain loop is what you would write
by hand with `nn.LSTM`, `pack_padded_sequence` and a `DataLoader` of random batches. Both train the
same model from the same weights on the same sequences, with the same batch size, optimiser,
clipping and number of epochs, and validate after each epoch. A third loop, by hand over this
package's own model and batches, and Lightning with nothing but that model, show how much of the
difference is due to Lightning, and how much to the run folder. The plain loops save no checkpoints
and write no files, which favours them. All take turns in one process that keeps its freed memory
(`keep_memory`), as a run of this package does; the plain loops gain from that too.
"""

from __future__ import annotations

import argparse
import gc
import logging
import math
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from omegaconf import DictConfig
from report import Noise, default_output, heading, machine_lines, parsed, row, synchronize, write
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence
from torch.utils.data import DataLoader

from seqmodels import compose
from seqmodels.batch import SequenceBatch
from seqmodels.data import SequenceDataModule
from seqmodels.data.examples import SPLITS, Examples
from seqmodels.data.tokens import Tokens
from seqmodels.instantiate import instantiate
from seqmodels.machine import keep_memory
from seqmodels.runs.metrics_file import MetricsFile
from seqmodels.tasks.classification import SequenceClassifier

CLASSES, TELLING, SHARE = 4, 20, 0.15  # classes; keywords of each; their share in a sequence


@dataclass(frozen=True)
class Setting:
    """One row: a model, and data with lengths that are uniform in a range."""

    title: str
    head: str
    hidden: int = 128
    embedding: int = 128
    batch_size: int = 64
    shortest: int = 25
    longest: int = 100
    train: int = 2000
    validation: int = 200
    vocabulary: int = 1000  # with padding and unknown
    epochs: int | None = None  # None: as the command line says

    @property
    def bidirectional(self) -> bool:
        return self.head == "bidirectional_concat"

    @property
    def steps(self) -> int:
        return -(-self.train // self.batch_size)


SETTINGS = (
    Setting("LSTM 128, 2 directions, bidirectional_concat", "bidirectional_concat"),  # the headline
    Setting("LSTM 128, 1 direction, last_hidden", "last_hidden"),
    Setting(
        "tiny: LSTM 8, lengths 5..10, last_hidden",
        "last_hidden",
        hidden=8,
        embedding=8,
        batch_size=16,
        shortest=5,
        longest=10,
        train=4800,
    ),
)


class Made(SequenceDataModule):
    """Random words; some are keywords of the class."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(Tokens(), batch_size=setting.batch_size)
        self.setting = setting

    def read(self) -> Mapping[Any, Examples]:
        random, words = np.random.default_rng(0), self.setting.vocabulary - 2
        parts = {}
        for split in SPLITS:
            size = self.setting.train if split == "train" else self.setting.validation
            labels = random.integers(CLASSES, size=size)
            texts = []
            for label in labels:
                length = random.integers(self.setting.shortest, self.setting.longest + 1)
                sequence = random.integers(CLASSES * TELLING, words, size=length)
                telling = random.random(length) < SHARE
                sequence[telling] = label * TELLING + random.integers(TELLING, size=telling.sum())
                texts.append(" ".join(f"w{word}" for word in sequence))
            parts[split] = Examples(texts, [str(label) for label in labels], f"made {split}")
        return parts


class PlainClassifier(nn.Module):
    """The model that you would write by hand."""

    def __init__(self, vocabulary: int, setting: Setting) -> None:
        super().__init__()
        self.bidirectional = setting.bidirectional
        self.embedding = nn.Embedding(vocabulary, setting.embedding)
        self.lstm = nn.LSTM(
            setting.embedding, setting.hidden, batch_first=True, bidirectional=setting.bidirectional
        )
        self.linear = nn.Linear(setting.hidden * (2 if setting.bidirectional else 1), CLASSES)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(
            self.embedding(tokens), lengths, batch_first=True, enforce_sorted=False
        )
        _, (h_n, _) = self.lstm(packed)
        return self.linear(torch.cat([h_n[0], h_n[1]], dim=1) if self.bidirectional else h_n[0])

    def copy_weights(self, task: SequenceClassifier) -> None:
        self.embedding.load_state_dict(task.network.embedding.state_dict())
        self.lstm.load_state_dict(task.network.encoder.rnn.state_dict())
        self.linear.load_state_dict(task.network.head.output.project.state_dict())


class BareTask(pl.LightningModule):
    """The plain loop over this package's own model, as Lightning runs it."""

    def __init__(self, model: nn.Module, options: Mapping[str, Any]) -> None:
        super().__init__()
        self.model, self.options = model, options

    def training_step(self, batch: SequenceBatch) -> Tensor:
        return F.cross_entropy(self.model(batch), batch.targets)

    def validation_step(self, batch: SequenceBatch) -> None:
        F.cross_entropy(self.model(batch), batch.targets)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.model.parameters(), **self.options)


def collate(samples: Sequence[tuple[Tensor, int]]) -> tuple[Tensor, Tensor, Tensor]:
    sequences, labels = zip(*samples, strict=True)
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    return pad_sequence(sequences, batch_first=True), lengths, torch.tensor(labels)


@dataclass(frozen=True)
class Fitted:
    """A finished training: its seconds, and the losses of its last epoch."""

    seconds: float
    train_loss: float
    validation_loss: float
    accuracy: float


class Runner:
    """Prepares, untimed, what a setting needs: data, configuration, initial weights."""

    def __init__(self, setting: Setting, epochs: int, device: torch.device) -> None:
        self.setting, self.epochs, self.device = setting, setting.epochs or epochs, device
        self.data = Made(setting)
        self.data.setup()
        self.config = self._config()
        torch.manual_seed(0)
        self.initial = self._task().state_dict()

    def _config(self) -> DictConfig:
        overrides = [
            "folder=unused",
            f"trainer={'cpu' if self.device.type == 'cpu' else 'gpu'}",
            f"trainer.max_epochs={self.epochs}",
            "trainer.enable_progress_bar=false",
            "callbacks.progress=null",
            f"model.head={self.setting.head}",
            f"model.encoder.hidden_size={self.setting.hidden}",
            f"model.embedding.size={self.setting.embedding}",
            "model.dropout=0.0",  # nothing random, so that both loops learn the same
            "model.embedding.noise=0.0",
            "model.output.label_smoothing=0.0",
            "model.scheduler=null",
        ]
        return compose(*overrides)

    def _task(self) -> SequenceClassifier:
        return instantiate(self.config.model, data=self.data.spec)

    def _initial_task(self) -> SequenceClassifier:
        task = self._task()
        task.load_state_dict(self.initial)
        return task

    def by_trainer(self) -> Fitted:
        """`trainer.fit`."""
        task = self._initial_task()
        with tempfile.TemporaryDirectory() as folder:
            config = self.config.copy()
            config.folder = folder
            table = MetricsFile(folder)
            callbacks = [instantiate(c) for c in config.callbacks.values() if c is not None]
            trainer: pl.Trainer = instantiate(
                config.trainer,
                callbacks=[table, *callbacks],
                logger=[table],
                default_root_dir=folder,
            )
            gc.collect()
            started = time.perf_counter()
            trainer.fit(task, datamodule=self.data)
            synchronize(self.device)
            seconds = time.perf_counter() - started
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        return Fitted(
            seconds,
            metrics["train/loss"],
            metrics["validation/loss"],
            metrics["validation/accuracy"],
        )

    def by_hand(self) -> Fitted:
        """The plain loop."""
        model = PlainClassifier(self.data.inputs.num_inputs, self.setting)
        model.copy_weights(self._initial_task())
        model.to(self.device)
        train, validation = (
            DataLoader(
                list(zip(dataset.sequences, dataset.targets.tolist(), strict=True)),
                batch_size=self.setting.batch_size,
                shuffle=split == "train",
                collate_fn=collate,
                pin_memory=self.device.type == "cuda",
            )
            for split in ("train", "validation")
            if (dataset := self.data.datasets[split]).targets is not None
        )
        return self._loop(model, train, validation)

    def by_hand_with_our_model(self) -> Fitted:
        """The plain loop over this package's own model and batches."""
        task = self._initial_task().to(self.device)
        return self._loop(task, self.data.train_dataloader(), self.data.val_dataloader())

    def by_bare_lightning(self) -> Fitted:
        """Lightning without metrics, logs, checkpoints and files; the losses are not measured."""
        task = BareTask(self._initial_task(), self._optimizer_options)
        trainer = pl.Trainer(
            accelerator="cpu" if self.device.type == "cpu" else "gpu",
            max_epochs=self.epochs,
            gradient_clip_val=self.config.trainer.gradient_clip_val,
            num_sanity_val_steps=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        loaders = self.data.train_dataloader(), self.data.val_dataloader()
        gc.collect()
        started = time.perf_counter()
        trainer.fit(task, *loaders)
        synchronize(self.device)
        return Fitted(time.perf_counter() - started, math.nan, math.nan, math.nan)

    @property
    def _optimizer_options(self) -> dict[str, Any]:
        return {k: v for k, v in self.config.model.optimizer.items() if k != "_target_"}

    def _loop(self, model: nn.Module, train: Iterable[Any], validation: Iterable[Any]) -> Fitted:
        clip, device = self.config.trainer.gradient_clip_val, self.device

        def forward(batch: Any) -> tuple[Tensor, Tensor]:
            if isinstance(batch, SequenceBatch):
                batch = batch.to(device)
                return model(batch), batch.targets
            tokens, lengths, targets = batch
            logits = model(tokens.to(device, non_blocking=True), lengths)
            return logits, targets.to(device, non_blocking=True)

        gc.collect()
        started = time.perf_counter()
        optimizer = torch.optim.AdamW(model.parameters(), **self._optimizer_options)
        for _ in range(self.epochs):
            model.train()
            total, count = torch.zeros((), device=device), 0
            for batch in train:
                logits, targets = forward(batch)
                loss = F.cross_entropy(logits, targets)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), clip)
                optimizer.step()
                total += loss.detach() * len(targets)
                count += len(targets)
            train_loss = total.item() / count
            model.eval()
            total, right, count = torch.zeros_like(total), torch.zeros_like(total), 0
            with torch.inference_mode():
                for batch in validation:
                    logits, targets = forward(batch)
                    total += F.cross_entropy(logits, targets, reduction="sum")
                    right += (logits.argmax(dim=1) == targets).sum()
                    count += len(targets)
            validation_loss, accuracy = total.item() / count, right.item() / count
        return Fitted(time.perf_counter() - started, train_loss, validation_loss, accuracy)


COLUMNS = (
    "setting",
    "trainer.fit, samples/s",
    "plain loop, samples/s",
    "ratio",
    "lowest and highest of the pairs",
    "our model by hand, samples/s",
    "our model by bare Lightning, samples/s",
    "ms a step: fit, plain, ours by hand, ours by bare Lightning",
    "loss (train, validation) and accuracy: fit",
    "plain",
    "others' cores",
)


def take_turns(
    setting: Setting, epochs: int, pairs: int, device: torch.device
) -> tuple[Runner, list[list[Fitted]]]:
    """After a warm-up, each round: `trainer.fit`, the plain loop, and our model by hand and by bare
    Lightning."""
    runner = Runner(setting, epochs, device)
    for each in _ways(Runner(setting, 1, device)):
        each()
    return runner, [[way() for way in _ways(runner)] for _ in range(pairs)]


def _ways(runner: Runner) -> Sequence[Callable[[], Fitted]]:
    by_hand = (runner.by_hand, runner.by_hand_with_our_model)
    return (runner.by_trainer, *by_hand, runner.by_bare_lightning)


def measure(setting: Setting, epochs: int, pairs: int, device: torch.device) -> list[str]:
    """A row of the table."""
    runner, rounds = take_turns(setting, epochs, pairs, device)
    fit, plain, ours, bare = (
        [fitted.seconds for fitted in way] for way in zip(*rounds, strict=True)
    )
    samples, steps = setting.train * runner.epochs, setting.steps * runner.epochs
    ratios = sorted(b / a for a, b in zip(fit, plain, strict=True))

    def quality(fitted: Fitted) -> str:
        losses = f"{fitted.train_loss:.3f}, {fitted.validation_loss:.3f}"
        return f"{losses}; {100 * fitted.accuracy:.1f} %"

    return [
        f"{setting.title}, B{setting.batch_size}, "
        f"{runner.epochs} epochs of {setting.train} sequences",
        f"{samples / median(fit):,.0f}",
        f"{samples / median(plain):,.0f}",
        f"{median(ratios):.2f}",
        f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
        f"{samples / median(ours):,.0f}",
        f"{samples / median(bare):,.0f}",
        ", ".join(f"{1000 * median(times) / steps:.2f}" for times in (fit, plain, ours, bare)),
        quality(rounds[-1][0]),
        quality(rounds[-1][1]),
    ]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cpu", type=torch.device, help="cpu or cuda")
    parser.add_argument("--pairs", default=5, type=int, help="how often the loops take turns")
    parser.add_argument("--epochs", default=4, type=int)
    parser.add_argument("--threads", type=int, help="default: as PyTorch chooses")
    parser.add_argument("--only", default="", help="only rows whose name contains this")
    parser.add_argument("--train", type=int, help="sequences of an epoch, for all rows")
    arguments = parsed(parser, argv, pairs=1, epochs=1, only="tiny", train=32)
    device: torch.device = arguments.device

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    keep_memory()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", category=UserWarning)  # Lightning's hints
    warnings.filterwarnings("ignore", ".*LeafSpec")

    table = heading(COLUMNS)
    print(*table, sep="\n")
    with Noise() as noise:
        for setting in SETTINGS:
            if arguments.only.lower() in setting.title.lower():
                if arguments.train:
                    setting = replace(setting, train=arguments.train)
                with Noise() as others:
                    cells = measure(setting, arguments.epochs, arguments.pairs, device)
                table.append(row([*cells, str(others)]))
                print(table[-1], flush=True)
    packages = [f"lightning {pl.__version__}"]
    write(
        arguments.output or default_output("fit", device),
        [
            "# `trainer.fit` against a plain PyTorch loop",
            "",
            *machine_lines(device, noise, packages),
            "",
            f"Medians of {arguments.pairs} rounds in which the loops take turns, validation passes "
            "included; the ratio is the median over the rounds: above 1, `trainer.fit` is faster. "
            "`trainer.fit` also writes checkpoints, metrics and their file; the loops do not.",
            "",
            *table,
        ],
    )


if __name__ == "__main__":
    main()
