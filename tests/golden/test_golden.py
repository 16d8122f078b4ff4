"""The first ten training losses and the final metrics of each task and of four kinds of data, as
they were: a change of the code that is not meant to change a training must not change these.

A file holds them in float32 and in float64. On the CPU and with the PyTorch that wrote it they are
compared to the last bit; elsewhere in float64, where rounding hardly grows, to 1e-6, and in float32
to 1e-3. Write the files again after a change that is meant to alter a training:

    pytest tests/golden --write-golden
"""

from __future__ import annotations

import platform
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from seqmodels import compose, train
from tests.in_process import WITHOUT_LOCAL
from tests.shipped import skip_where_deleted

FOLDER = Path(__file__).parent
STEPS = 10
TOLERANCES = {"32-true": 1e-3, "64-true": 1e-6}  # on another CPU, or with another PyTorch

Numbers = dict[str, list[float]]  # by name: one for each of TOLERANCES


def write_texts(folder: Path) -> None:
    lines = ["text,label"]
    for row in range(60):
        label, word = (("good", "fine"), ("bad", "dull"))[row % 2]
        filler = " ".join(["and", "then", "some"][: row % 4] * (1 + row % 3))
        lines.append(f"a {word} film {filler},{label}")
    (folder / "texts.csv").write_text("\n".join(lines) + "\n")


def write_steps(folder: Path) -> None:
    """A long table: a row for each step of 48 series, which have 4 to 11 steps."""
    noise = random.Random(0)
    lines = ["trip,second,speed,height,activity,effort"]
    for trip in range(48):
        activity = ("walk", "run", "ride")[trip % 3]
        speed = 1.0 + trip % 3
        for second in range(4 + trip % 8):
            speed += noise.gauss(0, 0.3)
            height = noise.gauss(10, 4)
            lines.append(f"{trip},{second},{speed:.3f},{height:.2f},{activity},{trip % 3 + 0.5}")
    (folder / "steps.csv").write_text("\n".join(lines) + "\n")


def write_hours(folder: Path) -> None:
    """A table with a row for each hour, to forecast."""
    noise = random.Random(1)
    lines = ["time,load,warmth"]
    for hour in range(400):
        load = 5 + 2 * ((hour % 24) > 8) + noise.gauss(0, 0.4)
        time = f"2024-01-{1 + hour // 24:02} {hour % 24:02}:00"
        lines.append(f"{time},{load:.3f},{noise.gauss(15, 3):.2f}")
    (folder / "hours.csv").write_text("\n".join(lines) + "\n")


def write_tags(folder: Path) -> None:
    """Texts with a tag for each word."""
    lines = []
    for row in range(40):
        lines += ["the DET", f"{('cat', 'dog', 'bird')[row % 3]} NOUN"]
        lines += ["really ADV"] * (row % 4)
        lines += [f"{('sleeps', 'runs')[row % 2]} VERB", ""]
    (folder / "tags.txt").write_text("\n".join(lines) + "\n")


def write_pairs(folder: Path) -> None:
    """Words, and each of them backwards."""
    letters = random.Random(2)
    lines = ["source\ttarget"]
    for row in range(60):
        word = "".join(letters.choices("abcde", k=3 + row % 5))
        lines.append(f"{word}\t{word[::-1]}")
    (folder / "pairs.tsv").write_text("\n".join(lines) + "\n")


def write_book(folder: Path) -> None:
    """A plain text."""
    words = random.Random(3)
    sentences = []
    for _ in range(400):
        subject = words.choice(["the king", "a ship", "her brother"])
        sentences.append(f"{subject} {words.choice(['came', 'left', 'stayed'])} at night.")
    (folder / "book.txt").write_text("\n".join(sentences) + "\n")


def write_nothing(folder: Path) -> None:
    """The data set is one that a library ships."""


LONG_TABLE = ("data=series", "data.train=steps.csv", "data.series=trip", "data.time=second")
CASES: dict[str, tuple[Callable[[Path], None], Sequence[str]]] = {
    "classification_bundled_series": (write_nothing, ["data.batch_size=9"]),
    "classification_text": (
        write_texts,
        ["experiment=text_classification", "data.train=texts.csv", "model.embedding.size=8"],
    ),
    "classification_table_of_series": (
        write_steps,
        [*LONG_TABLE, "data.label_column=activity", "model.head=bidirectional_concat"],
    ),
    "regression": (
        write_steps,
        [
            "model=regressor",
            *LONG_TABLE,
            "data.value_columns=[effort]",
            "data.inputs=[speed,height]",
        ],
    ),
    "tagging": (write_tags, ["experiment=tagging", "data.train=tags.txt"]),
    "forecasting_windows": (
        write_hours,
        [
            "model=forecaster",
            "data=windows",
            "data.file=hours.csv",
            "data.target=load",
            "data.time=time",
            "data.horizon=6",
            "data.window=24",
        ],
    ),
    "language_model": (
        write_book,
        [
            "model=language_model",
            "data=text_lm",
            "data.train=book.txt",
            "data.tokenizer=char",
            "data.batch_size=4",
            "data.evaluation_streams=2",
            "model.embedding.size=8",
        ],
    ),
    "seq2seq": (write_pairs, ["model=seq2seq", "data=pairs", "data.train=pairs.tsv"]),
}
SHORT_TRAINING = (
    "trainer=cpu",
    "trainer.max_epochs=-1",
    f"trainer.max_steps={STEPS}",
    "trainer.max_time=null",
    "trainer.enable_progress_bar=false",
    "model.encoder.hidden_size=8",
    "callbacks.predictions=null",
    "baseline=false",
    *WITHOUT_LOCAL,
)


class Losses(Callback):
    """Keeps the loss of each training step."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *_: Any
    ) -> None:
        self.losses.append(float(outputs["loss"]))


def numbers_of_training(folder: Path, words: Sequence[str], precision: str) -> dict[str, float]:
    """The losses and metrics of a short training, by name."""
    recorder = Losses()
    run_folder = f"folder={folder / precision}"
    config = compose(*words, *SHORT_TRAINING, f"trainer.precision={precision}", run_folder)
    result = train(config, callbacks=[recorder])
    assert len(recorder.losses) == STEPS
    numbers = {f"loss {step}": loss for step, loss in enumerate(recorder.losses)}
    return numbers | result["metrics"]


def machine() -> str:
    """The CPU, as far as it decides about rounding, and the release of PyTorch."""
    cpu = platform.machine()
    cpu_file = Path("/proc/cpuinfo")
    if cpu_file.is_file():
        pattern = r"^(?:vendor_id|cpu family|model)\s*: (.*)$"
        cpu = " ".join(re.findall(pattern, cpu_file.read_text(), re.MULTILINE)[:3])
    return f"{cpu}, torch {torch.__version__.partition('+')[0]}"


def as_text(numbers: Numbers) -> str:
    lines = [f"# {machine()}", f"# {', '.join(TOLERANCES)}"]
    lines += [f"{name}: {', '.join(map(repr, values))}" for name, values in numbers.items()]
    return "\n".join(lines) + "\n"


def read_golden(path: Path) -> tuple[str, Numbers]:
    """The machine that wrote the file, and its numbers."""
    head, _, *lines = path.read_text().splitlines()
    numbers: Numbers = {}
    for line in lines:
        name, _, values = line.partition(": ")
        numbers[name] = [float(value) for value in values.split(", ")]
    return head.removeprefix("# "), numbers


@pytest.mark.parametrize("case", CASES)
def test_a_training_is_what_it_was(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    write_data, words = CASES[case]
    skip_where_deleted(" ".join(words))
    monkeypatch.chdir(tmp_path)
    write_data(tmp_path)
    by_precision = [numbers_of_training(tmp_path, words, precision) for precision in TOLERANCES]
    numbers = {name: [run[name] for run in by_precision] for name in by_precision[0]}
    path = FOLDER / f"{case}.txt"
    if pytestconfig.getoption("--write-golden"):
        path.write_text(as_text(numbers))
    writer, golden = read_golden(path)
    assert numbers.keys() == golden.keys()
    for name, values in numbers.items():
        for value, expected, tolerance in zip(values, golden[name], TOLERANCES.values()):
            if writer == machine():
                tolerance = 0.0
            assert value == pytest.approx(expected, rel=tolerance, abs=tolerance), name
