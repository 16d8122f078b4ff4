"""Versions, the precision of the recurrent call, and one command of each task."""

from __future__ import annotations

import contextlib
import csv
import itertools
import platform
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import lightning.pytorch as pl
import torch
from report import heading, row
from torch import Tensor, nn
from torch.nn import functional as F

from accelerator_parts import Line, Options, autocast, described, name_of, sizes, tried
from seqmodels import compose
from seqmodels.nn.encoder import RecurrentEncoder
from seqmodels.runs import train

COMMANDS = {
    "classification": "model=classifier model.head=max_pool data=japanese_vowels",
    "regression": "model=regressor data=text data.train=scores.csv data.value_columns=[score]",
    "tagging": "model=tagger data=tags data.train=tags.txt",
    "forecasting": "model=forecaster data=windows data.file=power.csv data.target=load "
    "data.horizon=4 data.window=24",
    "language model": "model=language_model data=text_lm data.train=book.txt data.tokenizer=char "
    "data.window=12 data.evaluation_streams=4",
    "seq2seq": "model=seq2seq data=pairs data.train=pairs.tsv",
}
SMALL_MODEL = "model.encoder.hidden_size=16 model.encoder.num_layers=2 data.batch_size=4"
FEW = ("trainer.max_steps=10", "trainer.limit_val_batches=3", "trainer.limit_test_batches=3")
QUIET = "baseline=false trainer.enable_progress_bar=false paths.cache=cache"


@contextlib.contextmanager
def small_files() -> Iterator[None]:
    """Within: the current folder is a temporary one, with the files of `COMMANDS`."""
    numbers = random.Random(0)
    texts = [[f"w{numbers.randrange(40)}" for _ in range(3 + n % 10)] for n in range(120)]
    joined = [" ".join(text) for text in texts]
    files = {
        "scores.csv": ["text,score", *(f"{text},{len(text)}" for text in joined)],
        "tags.txt": [line for text in texts for line in (*(f"{w} {w[:2]}" for w in text), "")],
        "pairs.tsv": ["source\ttarget", *(f"{text}\t{text[::-1]}" for text in joined)],
        "book.txt": joined * 3,
        "power.csv": ["load,other", *(f"{n % 12},{numbers.random():.3f}" for n in range(500))],
    }
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for name, lines in files.items():
            Path(name).write_text("\n".join(lines) + "\n")
        yield


def command(options: Options, task: str, *more: str) -> list[str]:
    """The words of a small training."""
    trainer = f"trainer={'cpu' if options.where.type == 'cpu' else 'gpu'}"
    return [*f"{COMMANDS[task]} {SMALL_MODEL} {QUIET}".split(), trainer, *more]


def versions(options: Options) -> Iterator[Line]:
    python = platform.python_version()
    yield f"- Lightning {pl.__version__}, torch {torch.__version__}, Python {python}"
    if options.where.type == "cuda":
        name, cudnn = torch.cuda.get_device_name(), torch.backends.cudnn.version()
        yield f"- {name}, CUDA {torch.version.cuda}, cuDNN {cudnn}"
    half = torch.zeros(1, dtype=torch.bfloat16, device=options.where)
    yield f"- cuDNN takes bfloat16: {torch.cudnn_is_acceptable(half)}"
    yield f"- chunked cross-entropy: {hasattr(nn, 'LinearCrossEntropyOptions')}"


def autocasts(options: Options) -> Iterator[Line]:
    """In which dtype the recurrent call runs, and how many gradients are too small for it."""
    yield from heading(["rows", "autocast", "output.dtype, weight_hh's gradients that are 0"])
    size, device = sizes(options), options.where
    width, steps = size.hidden[0], size.time[0]
    inputs = torch.randn(size.batch, steps, width, device=device)
    targets = torch.randint(1000, (size.batch * steps,), device=device)
    project = nn.Linear(width, 1000).to(device)
    encoder = RecurrentEncoder(width, width).to(device)
    ragged = torch.randint(1, steps + 1, (size.batch,))
    ways: dict[str, Callable[[], Tensor]] = {
        "RecurrentEncoder, one length": lambda: encoder(inputs).output,
        "RecurrentEncoder, ragged": lambda: encoder(inputs, ragged).output,
        "nn.LSTM": lambda: encoder.rnn(inputs)[0],
    }

    def measure(read: Callable[[], Tensor], dtype: torch.dtype) -> str:
        encoder.zero_grad()
        with autocast(device, dtype):
            output = read()
            loss = F.cross_entropy(project(output).flatten(0, 1), targets)
        loss.backward()
        zero = (encoder.rnn.weight_hh_l0.grad == 0).float().mean().item()
        return f"{name_of(output.dtype)}, {100 * zero:.2f} %"

    ours = []
    dtypes = (torch.bfloat16, torch.float16, torch.float32)
    for dtype, (name, read) in itertools.product(dtypes, ways.items()):
        found = tried(partial(measure, read, dtype))
        yield row([name, name_of(dtype), found])
        if dtype == torch.bfloat16 and name != "nn.LSTM":
            ours.append(found)
    right = all(found.startswith(("bfloat16,", "float32,")) for found in ours)
    yield "bf16", right, "; ".join(ours)


def commands(options: Options) -> Iterator[Line]:
    yield from heading(["command", "test/loss", "rows of predictions.csv", "seconds"])
    failed, tasks = [], [*COMMANDS][: 2 if options.smoke else None]
    for task in tasks:
        started = time.perf_counter()
        try:
            with small_files():
                words = command(options, task, *FEW, "folder=run")
                loss = f"{train(compose(*words), words)['metrics']['test/loss']:.3f}"
                with Path("run/predictions.csv").open(newline="") as file:
                    count = str(len([*csv.DictReader(file)]))
        except Exception as error:  # noqa: BLE001 (the other tasks still run)
            loss, count = described(error), "failed"
            failed.append(task)
        yield row([task, loss, count, f"{time.perf_counter() - started:.1f}"])
    said = f"failed: {', '.join(failed)}" if failed else f"{len(tasks)} tasks"
    yield "commands", not failed, said
