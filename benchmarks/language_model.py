"""Tokens per second of training a word language model: `trainer.fit` against a plain loop.

    python benchmarks/language_model.py
    python benchmarks/language_model.py --rounds 5 --threads 1
    python benchmarks/language_model.py --device cuda --output /tmp/language_model.md

The plain loop follows PyTorch's examples/word_language_model: `batchify`, `get_batch`,
`repackage_hidden`, `log_softmax`, `NLLLoss`, `p.data.add_`. `trainer.fit` trains this package's
`LanguageModel` with the trainer that `configs/` ships. Both train the same model (2 layers of LSTM,
an untied softmax over all words) from the same weights, on the same streams cut into the same
windows, carry the state, use the same SGD and clipping, and draw nothing at random. So float32
losses must agree to rounding, and bfloat16 losses show what the speed costs.

Each variant runs in its own process, because `keep_memory` acts on the whole process;
`seqmodels.runs.train` calls it, and both `trainer.fit` variants here do too. The plain loop runs
twice, unchanged and with `keep_memory`, to show how much of the gain comes from keeping memory. The
rest comes from the optimiser (`fused` as shipped, against `p.data.add_`), the loss, and Lightning's
own work. At the default sizes, the package computes all training logits at once, as the plain loop
does, but on a CPU makes their gradient in the same matrix. The plain loop reads each loss with
`item()`, as that example does, which on a GPU waits at every step. The variants take turns, so a
busy machine slows all of them equally.

The clock runs from the eleventh window to the end of training. It leaves out process start, the
start of `fit`, validation and checkpoints; `fit` logs its epoch, the plain loop writes nothing. The
training loss is what each variant reports for its windows, in its own precision; the final
validation loss is computed the same way for all, by hand and in float32. On a CPU, peak memory is
that of the whole process, including some hundreds of MiB for imported packages, which are the same
in all; on a GPU, that of PyTorch's tensors.

A second table measures the loss alone, forward and backward: its time, and what it adds to the peak
memory of a process that already holds inputs, weights and gradients.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from omegaconf import DictConfig
from report import Noise, default_output, heading, machine_lines, parsed, row, synchronize, write
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels import compose
from seqmodels.instantiate import instantiate
from seqmodels.machine import fastest_precision, keep_memory
from seqmodels.nn.vocabulary import linear_cross_entropy
from seqmodels.runs.metrics_file import MetricsFile
from seqmodels.runs.trainer import quieten_lightning
from seqmodels.tasks.language_model import LanguageModel
from seqmodels.tasks.language_model.corpus import TokenFile
from seqmodels.tasks.language_model.streams import StreamDataModule

WIDTH, LAYERS, BATCH, WINDOW = 200, 2, 20, 35
LEARNING_RATE, CLIP = 2.0, 0.25
WARM_UP = 10  # windows before the clock starts
VALIDATION_WINDOWS = 20
SUCCESSORS, FOLLOWING = 4, 0.5  # words that often follow a word; how often one of them does
LOSS_REPEATS = 3


@dataclass(frozen=True)
class Training:
    """One way to train: by hand where `precision` is None, by `trainer.fit` otherwise."""

    title: str
    keeps_memory: bool
    precision: str | None = None


@dataclass(frozen=True)
class Loss:
    """One way to compute the loss of `(features, weight, bias, targets)`."""

    title: str
    keeps_memory: bool
    function: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def plain_loss(features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    return F.nll_loss(F.log_softmax(F.linear(features, weight, bias), dim=1), targets)


PLAIN = Training("plain loop", False)
KEPT = Training("plain loop, memory kept", True)
FIT = Training("trainer.fit, float32", True, "32-true")
HALF = Training("trainer.fit, bf16", True, "bf16-mixed")
PLAIN_LOSS = Loss("log_softmax, nll_loss", False, plain_loss)
LOSSES = (
    PLAIN_LOSS,
    Loss("log_softmax, nll_loss, memory kept", True, plain_loss),
    Loss("linear_cross_entropy", False, linear_cross_entropy),
    Loss("linear_cross_entropy, memory kept", True, linear_cross_entropy),
)


class Made(StreamDataModule):
    """Words with Zipf's frequencies; the previous word determines half of them."""

    def __init__(self, vocabulary: int, windows: int) -> None:
        super().__init__(
            tokenizer="word", batch_size=BATCH, window=WINDOW, evaluation_streams=BATCH
        )
        self.num_words = vocabulary
        self.random = np.random.default_rng(0)
        words = np.arange(1, vocabulary)  # 0 is the start
        self.cumulative = np.cumsum(1 / words)
        self.successors = self._draw((vocabulary, SUCCESSORS)).tolist()
        self.tokens = {  # `setup` then has nothing to do
            "train": self._make(windows * WINDOW * BATCH),
            "validation": self._make(VALIDATION_WINDOWS * WINDOW * BATCH),
        }

    def _draw(self, shape: tuple[int, ...]) -> np.ndarray:
        at = self.random.random(shape) * self.cumulative[-1]
        return 1 + np.searchsorted(self.cumulative[:-1], at, side="right")

    def _make(self, size: int) -> TokenFile:
        ids = [0]
        follows = self.random.random(size) < FOLLOWING
        which = self.random.integers(SUCCESSORS, size=size)
        for fresh, following, number in zip(
            self._draw((size,)).tolist(), follows.tolist(), which.tolist(), strict=True
        ):
            ids.append(self.successors[ids[-1]][number] if following else fresh)
        made = np.array(ids, np.min_scalar_type(self.num_words - 1))
        return TokenFile(made, num_bytes=size)  # Each word counts as one byte.

    @property
    def spec(self) -> dict[str, Any]:
        return {
            "inputs": "tokens",
            "num_inputs": self.num_words,
            "window": self.window,
        }


Hidden = tuple[Tensor, Tensor]


class PlainModel(nn.Module):
    """The model that you would write by hand."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.encoder = nn.Embedding(vocabulary, WIDTH)
        self.rnn = nn.LSTM(WIDTH, WIDTH, LAYERS)
        self.decoder = nn.Linear(WIDTH, vocabulary)

    def forward(self, tokens: Tensor, hidden: Hidden) -> tuple[Tensor, Hidden]:
        output, hidden = self.rnn(self.encoder(tokens), hidden)
        decoded = self.decoder(output).view(-1, self.vocabulary)
        return F.log_softmax(decoded, dim=1), hidden

    def init_hidden(self) -> Hidden:
        zeros = self.decoder.weight.new_zeros(LAYERS, BATCH, WIDTH)
        return zeros, zeros.clone()

    def copy_weights(self, task: LanguageModel) -> None:
        self.encoder.load_state_dict(task.network.embedding.state_dict())
        self.rnn.load_state_dict(task.network.encoder.rnn.state_dict())
        self.decoder.load_state_dict(task.network.head.output.project.state_dict())


def batchify(tokens: TokenFile, device: torch.device) -> tuple[Tensor, Tensor]:
    """Inputs and targets, `(steps, streams)` each: the streams of `StreamDataset`."""
    ids = torch.from_numpy(tokens.ids.astype(np.int64))
    inputs, targets = (part.view(BATCH, -1).t().contiguous() for part in (ids[:-1], ids[1:]))
    return inputs.to(device), targets.to(device)


def get_batch(streams: tuple[Tensor, Tensor], start: int) -> tuple[Tensor, Tensor]:
    inputs, targets = streams
    return inputs[start : start + WINDOW], targets[start : start + WINDOW].reshape(-1)


def repackage_hidden(hidden: Hidden) -> Hidden:
    return hidden[0].detach(), hidden[1].detach()


def train_by_hand(
    model: PlainModel, tokens: TokenFile, device: torch.device
) -> tuple[float, list[float]]:
    """Seconds after the warm-up, and the loss of every window."""
    streams, criterion = batchify(tokens, device), nn.NLLLoss()
    losses: list[float] = []
    started = 0.0
    model.train()
    hidden = model.init_hidden()
    gc.collect()
    for number, start in enumerate(range(0, len(streams[0]), WINDOW)):
        if number == WARM_UP:
            synchronize(device)
            started = time.perf_counter()
        inputs, targets = get_batch(streams, start)
        model.zero_grad()
        hidden = repackage_hidden(hidden)
        output, hidden = model(inputs, hidden)
        loss = criterion(output, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        for p in model.parameters():
            assert p.grad is not None
            p.data.add_(p.grad, alpha=-LEARNING_RATE)
        losses.append(loss.item())
    synchronize(device)
    return time.perf_counter() - started, losses


def evaluate_by_hand(model: PlainModel, tokens: TokenFile, device: torch.device) -> float:
    streams, losses = batchify(tokens, device), []
    model.eval()
    hidden = model.init_hidden()
    with torch.no_grad():
        for start in range(0, len(streams[0]), WINDOW):
            inputs, targets = get_batch(streams, start)
            output, hidden = model(inputs, hidden)
            losses.append(F.nll_loss(output, targets).item())
    return mean(losses)


class Clock(pl.Callback):
    """Seconds after the warm-up, and the loss of every window."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.started, self.seconds = device, 0.0, 0.0
        self.losses: list[Tensor] = []

    def on_train_batch_start(self, *arguments: Any) -> None:
        if len(self.losses) == WARM_UP:
            synchronize(self.device)
            self.started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, task: pl.LightningModule, outputs: Any, *arguments: Any
    ) -> None:
        self.losses.append(outputs["loss"].detach())

    def on_train_end(self, *arguments: Any) -> None:
        synchronize(self.device)
        self.seconds = time.perf_counter() - self.started


def composed(device: torch.device, precision: str) -> DictConfig:
    overrides = [
        "folder=unused",
        "experiment=language_model",
        f"trainer={'cpu' if device.type == 'cpu' else 'gpu'}",
        f"trainer.precision={precision}",
        f"trainer.gradient_clip_val={CLIP}",
        "trainer.max_epochs=1",
        "trainer.limit_val_batches=0",
        "trainer.enable_progress_bar=false",
        "+trainer.enable_checkpointing=false",
        "model.head=softmax",
        f"model.embedding.size={WIDTH}",
        f"model.encoder.hidden_size={WIDTH}",
        f"model.encoder.num_layers={LAYERS}",
        "model.dropout=0.0",  # nothing random, so that both ways learn the same
        "model.optimizer._target_=torch.optim.SGD",
        f"model.optimizer.lr={LEARNING_RATE}",
        "model.optimizer.weight_decay=0.0",
        "model.scheduler=null",
    ]
    return compose(*overrides)


def train_by_trainer(
    task: LanguageModel, config: DictConfig, data: Made, device: torch.device
) -> tuple[float, list[float]]:
    """Seconds after the warm-up, and the loss of every window."""
    clock = Clock(device)
    with tempfile.TemporaryDirectory() as folder:
        trainer: pl.Trainer = instantiate(
            config.trainer,
            callbacks=[clock],
            logger=[MetricsFile(folder)],
            default_root_dir=folder,
        )
        gc.collect()
        trainer.fit(task, datamodule=data)
    return clock.seconds, torch.stack(clock.losses).tolist()


def peak_memory(device: torch.device) -> float:
    """The peak so far in MiB: of the process, or on a GPU of PyTorch's tensors."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


@dataclass(frozen=True)
class Trained:
    """What the process of one training reports."""

    seconds: float  # after the warm-up
    losses: list[float]  # of every window
    validation_loss: float
    peak: float  # MiB, before the validation
    others: float | None = None  # cores that other processes used meanwhile


@dataclass(frozen=True)
class LossCost:
    """What the process of one loss reports."""

    seconds: float
    added: float  # MiB on top of inputs, weights and gradients
    others: float | None = None


def measure_training(way: Training, vocabulary: int, windows: int, device: torch.device) -> Trained:
    data = Made(vocabulary, windows)
    config = composed(device, way.precision or "32-true")
    torch.manual_seed(0)
    task: LanguageModel = instantiate(config.model, data=data.spec)
    model = PlainModel(vocabulary) if way.precision is None else None
    if model is not None:
        model.copy_weights(task)
        del task
        seconds, losses = train_by_hand(model.to(device), data.tokens["train"], device)
        peak = peak_memory(device)
    else:
        seconds, losses = train_by_trainer(task, config, data, device)
        peak = peak_memory(device)
        model = PlainModel(vocabulary)
        model.copy_weights(task)
    validation_loss = evaluate_by_hand(model.to(device), data.tokens["validation"], device)
    return Trained(seconds, losses, validation_loss, peak)


def measure_loss(way: Loss, vocabulary: int, tokens: int, device: torch.device) -> LossCost:
    torch.manual_seed(0)

    def given(steps: int, words: int) -> list[Tensor]:
        shapes = ((steps, WIDTH), (words, WIDTH), (words,))
        made = [torch.randn(shape, device=device).mul_(0.1).requires_grad_() for shape in shapes]
        for tensor in made:
            # write to it, because memory counts from its first use
            tensor.grad = torch.ones_like(tensor).zero_()
        return [*made, torch.randint(words, (steps,), device=device)]

    way.function(*given(16, 100)).backward()  # warm up: the first call initialises libraries
    arguments = given(tokens, vocabulary)
    synchronize(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    before = peak_memory(device)
    way.function(*arguments).backward()
    synchronize(device)
    added = peak_memory(device) - before
    gc.collect()
    times = []
    for _ in range(LOSS_REPEATS):
        started = time.perf_counter()
        way.function(*arguments).backward()
        synchronize(device)
        times.append(time.perf_counter() - started)
    return LossCost(median(times), added)


def work(way: Training | Loss, arguments: argparse.Namespace) -> Trained | LossCost:
    """Runs in the child process."""
    quieten_lightning()
    if way.keeps_memory:
        keep_memory()
    if isinstance(way, Training):
        return measure_training(way, arguments.vocabulary, arguments.windows, arguments.device)
    return measure_loss(way, arguments.loss_vocabulary, arguments.loss_tokens, arguments.device)


def in_a_process(way: Training | Loss, arguments: argparse.Namespace) -> dict[str, Any]:
    """Runs `work` in a child process and returns its result."""
    if arguments.smoke:  # eight processes take most of a minute to start
        return {**asdict(work(way, arguments)), "others": None}
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, __file__, "--way", way.title, "--result", str(result)]
        for name in ("device", "windows", "vocabulary", "loss_vocabulary", "loss_tokens"):
            command += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
        if arguments.threads:
            command += ["--threads", str(arguments.threads)]
        with Noise() as noise:
            subprocess.run(command, check=True)
        return {**json.loads(result.read_text()), "others": noise.others}


def training_round(ways: Sequence[Training], arguments: argparse.Namespace) -> dict[str, Trained]:
    found = {}
    for way in ways:
        found[way.title] = trained = Trained(**in_a_process(way, arguments))
        print(f"  {way.title}: {trained.seconds:.2f} s", flush=True)
    return found


def loss_round(ways: Sequence[Loss], arguments: argparse.Namespace) -> dict[str, LossCost]:
    found = {}
    for way in ways:
        found[way.title] = cost = LossCost(**in_a_process(way, arguments))
        print(f"  {way.title}: {cost.seconds:.3f} s", flush=True)
    return found


def with_range(values: Sequence[float], digits: int = 2) -> str:
    middle, low, high = (f"{of(values):,.{digits}f}" for of in (median, min, max))
    return f"{middle} ({low} to {high})"


def cores(found: Sequence[Trained | LossCost]) -> str:
    known = [one.others for one in found if one.others is not None]
    return f"{median(known):.2f}" if known else "unknown"


def training_table(rounds: Sequence[dict[str, Trained]], windows: int) -> list[str]:
    loops = [way.title for way in (PLAIN, KEPT) if way.title in rounds[0]]
    columns = ("way", "tokens/s", *(f"ratio to {loop}" for loop in loops), "training loss")
    lines = heading(
        [
            *columns,
            "validation loss",
            "validation loss, relative to plain",
            "peak MiB",
            "others' cores",
        ],
    )
    plain = [found[PLAIN.title] for found in rounds]
    reference = median(one.validation_loss for one in plain)
    for title in rounds[0]:
        ours = [found[title] for found in rounds]
        validation = median(one.validation_loss for one in ours)
        tokens = (windows - WARM_UP) * WINDOW * BATCH
        cells = [
            title,
            with_range([tokens / one.seconds for one in ours], 0),
            *(with_range([f[loop].seconds / f[title].seconds for f in rounds]) for loop in loops),
            f"{median(mean(one.losses) for one in ours):.4f}",
            f"{validation:.4f}",
            f"{validation / reference - 1:+.1e}",
            f"{median(one.peak for one in ours):,.0f}",
            cores(ours),
        ]
        lines.append(row(cells))
    return lines


def largest_difference(rounds: Sequence[dict[str, Trained]]) -> float:
    """The largest difference in a window's loss: plain loop and float32 `trainer.fit`."""
    return max(
        abs(a - b)
        for found in rounds
        for a, b in zip(found[PLAIN.title].losses, found[FIT.title].losses, strict=True)
    )


def loss_table(rounds: Sequence[dict[str, LossCost]]) -> list[str]:
    columns = ("loss", "added MiB", "plain / this, memory", "ms", "plain / this, time")
    lines = heading([*columns, "others' cores"])
    plain = [found[PLAIN_LOSS.title] for found in rounds]
    for title in rounds[0]:
        ours = [found[title] for found in rounds]
        pairs = list(zip(plain, ours, strict=True))
        cells = [
            title,
            f"{median(one.added for one in ours):,.0f}",
            f"{median(a.added / b.added if b.added else float('inf') for a, b in pairs):.2f}",
            f"{1000 * median(one.seconds for one in ours):,.0f}",
            with_range([a.seconds / b.seconds for a, b in pairs]),
            cores(ours),
        ]
        lines.append(row(cells))
    return lines


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cpu", type=torch.device, help="cpu or cuda")
    parser.add_argument("--rounds", default=5, type=int, help="how often the ways take turns")
    parser.add_argument("--windows", default=120, type=int, help=f"the first {WARM_UP} warm up")
    parser.add_argument("--vocabulary", default=20_000, type=int)
    parser.add_argument("--loss-vocabulary", default=33_000, type=int, help="of the second table")
    parser.add_argument("--loss-tokens", default=5_600, type=int, help="of the second table")
    parser.add_argument("--threads", type=int, help="default: as PyTorch chooses")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    tiny = {"vocabulary": 50, "loss_vocabulary": 50, "loss_tokens": 70}
    arguments = parsed(parser, argv, rounds=1, windows=WARM_UP + 1, **tiny)
    if arguments.windows <= WARM_UP:
        parser.error(f"--windows must be more than {WARM_UP}, which are not timed")
    if arguments.vocabulary < 3:
        parser.error("--vocabulary must be at least 3")
    return arguments


def main(argv: Sequence[str] | None = None) -> None:
    arguments = options(argv)
    device: torch.device = arguments.device
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.way:
        [way] = [w for w in (PLAIN, KEPT, FIT, HALF, *LOSSES) if w.title == arguments.way]
        arguments.result.write_text(json.dumps(asdict(work(way, arguments))))
        return

    trainings, losses, left_out = [PLAIN, KEPT, FIT, HALF], list(LOSSES), []
    if fastest_precision(device.type) != HALF.precision:
        trainings.remove(HALF)
        left_out = [f"{HALF.title} is left out: this machine does not compute in bfloat16.", ""]
    if device.type == "cuda":  # `keep_memory` does not act on a GPU's memory
        trainings.remove(KEPT)
        losses = [way for way in LOSSES if not way.keeps_memory]
    if left_out:
        print(left_out[0])
    with Noise() as noise:
        trained, costs = [], []
        for number in range(arguments.rounds):
            print(f"round {number + 1} of {arguments.rounds}", flush=True)
            trained.append(training_round(trainings, arguments))
            costs.append(loss_round(losses, arguments))
    difference = (
        f"Largest difference of a window's training loss between {PLAIN.title} and {FIT.title}: "
        f"{largest_difference(trained):.1e}, of {arguments.windows} windows."
    )
    body = [
        *training_table(trained, arguments.windows),
        "",
        *left_out,
        difference,
        "",
        f"## The loss alone: {arguments.loss_tokens:,} tokens, {arguments.loss_vocabulary:,} words",
        "",
        *loss_table(costs),
    ]
    print(*body, sep="\n")
    write(
        arguments.output or default_output("language-model", device),
        [
            "# A word language model by `trainer.fit` and by a plain PyTorch loop",
            "",
            *machine_lines(device, noise, [f"lightning {pl.__version__}"]),
            "",
            f"{arguments.vocabulary:,} words, {LAYERS} layers of LSTM {WIDTH}, untied softmax, "
            f"B{BATCH}, windows of {WINDOW}, {arguments.windows} of them, the last "
            f"{arguments.windows - WARM_UP} timed. Medians of {arguments.rounds} rounds in which "
            "the ways take turns, each in a process of its own, with the lowest and highest; a "
            "ratio is of one round: above 1, faster than that loop. `memory kept`: with "
            "`seqmodels.machine.keep_memory`, as both `trainer.fit` here.",
            "",
            *body,
        ],
    )


if __name__ == "__main__":
    main()
