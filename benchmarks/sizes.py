"""Large files: seconds from the start to the end of five training steps, memory, and the cache.

python benchmarks/sizes.py                  # a million rows: a few minutes
python benchmarks/sizes.py --rows 10000000  # ten million: 700 MB of text, half an hour
python benchmarks/sizes.py --rows --text 1  # only a gigabyte of plain text, for language models
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from report import Noise, default_output, heading, machine_lines, parsed, row, write

TRAIN = Path(__file__).parents[1] / "scripts" / "train.py"
FIVE_STEPS = [
    *("trainer.max_steps=5", "baseline=false", "trainer.enable_progress_bar=false"),
    *("trainer.limit_val_batches=2", "trainer.limit_test_batches=2"),
]
WORDS = 50_000  # different ones, as frequent as Zipf's law says
MIB = 1 << 20


@dataclass(frozen=True)
class Case:
    """A training to measure, twice: with an empty cache, and with what the first one left there."""

    name: str
    overrides: Sequence[str]
    trainer: str = "cpu"


def tables(folder: Path, rows: int) -> Iterator[Case]:
    """Labelled texts in a CSV file."""
    path = folder / "texts.csv"
    write_table(path, rows)
    what = f"{rows:,} rows, {path.stat().st_size // MIB} MiB"
    data = [f"data.train={path}"]
    yield Case(f"{what}: data=text", ["data=text", *data])
    recipe = ["experiment=text_classification", *data]
    yield Case(f"{what}: experiment=text_classification", recipe)
    yield Case(f"{what}: trainer=ddp_sim", ["data=text", *data], trainer="ddp_sim")
    path.unlink()


def write_table(path: Path, rows: int) -> None:
    """A CSV file of texts of 4 to 17 words, a third of them quoted, with one of four labels."""
    random = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    made: dict[str, None] = {}
    while len(made) < WORDS:
        made["".join(letters[random.integers(26, size=random.integers(2, 9))])] = None
    words = np.array(list(made), dtype=object)
    shares = np.cumsum(1 / np.arange(1, WORDS + 1))
    with path.open("w") as file:
        file.write("text,label\n")
        for first in range(0, rows, 100_000):
            lengths = random.integers(4, 18, size=min(rows - first, 100_000))
            drawn = words[np.searchsorted(shares, random.random(lengths.sum()) * shares[-1])]
            labels, end = random.integers(4, size=len(lengths)), 0
            for length, label in zip(lengths.tolist(), labels.tolist(), strict=True):
                text, end = " ".join(drawn[end : end + length]), end + length
                if length % 3 == 0:
                    text = f'"{text.replace(" ", ", ", 1)}"'
                file.write(f"{text},label{label}\n")


def plain_text(folder: Path, gigabytes: int) -> Iterator[Case]:
    """Plain text for a language model."""
    path = folder / "text.txt"
    write_text(path, gigabytes * 1_000_000_000)
    data = ["experiment=language_model", "data=text_lm", f"data.train={path}"]
    for level in ("byte", "char", "word", "bpe"):
        yield Case(f"{gigabytes} GB of text: {level} tokens", [*data, f"data.tokenizer={level}"])
    path.unlink()


def write_text(path: Path, size: int) -> None:
    """Lines of words, some with letters of two bytes, and always more rare ones: a million
    different words in the first 100 MB."""
    random = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlucmfwypvbgkqjxz\u00e9\u00fc"))
    written = 0
    with path.open("wb") as file:
        while written < size:
            ranks = np.minimum(random.random(1_000_000) ** -4, 2**31).astype(np.int64)  # Zipf
            different, which = np.unique(ranks, return_inverse=True)
            codes = different * 2_654_435_761 % (1 << 32)  # rare words are no neighbours
            codes[different < 100] = different[different < 100]
            places = len(letters) ** np.arange(7)
            spelled = letters[codes[:, None] // places % len(letters)]
            spelled[codes[:, None] < places] = ""
            words = spelled.view("U7")[:, 0].tolist()
            ends = np.where(random.random(len(ranks)) < 0.05, "\n", " ").tolist()
            pairs = zip((words[index] for index in which.tolist()), ends, strict=True)
            block = "".join(f"{word}{end}" for word, end in pairs).encode()
            written += file.write(block)


@dataclass(frozen=True)
class Measured:
    """How a command went.

    Args:
        seconds: from its start to its end.
        memory: bytes of all its processes together, at their peak; shared ones once.
        others: cores that other processes used meanwhile.
    """

    seconds: float
    memory: int
    others: str


def measure(command: Sequence[str], folder: Path) -> Measured:
    """Runs a command in a folder; its caches are there too.

    Raises:
        SystemExit: with its last lines, if it fails.
    """
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    with Noise() as noise, (folder / "output").open("w+") as output:
        started, peak = time.perf_counter(), 0
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        while process.poll() is None:
            peak = max(peak, sum(map(memory, descendants(process.pid))))
            time.sleep(0.1)
        seconds = time.perf_counter() - started
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{(folder / 'output').read_text()[-2000:]}")
    return Measured(seconds, peak, str(noise))


def descendants(process: int) -> Iterator[int]:
    """A process and all that it has started (Linux)."""
    yield process
    with suppress(OSError):
        for task in Path(f"/proc/{process}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from descendants(int(child))


def memory(process: int) -> int:
    """Bytes that a process holds, with its part of what it shares (Linux)."""
    with suppress(OSError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    return 0


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def results(cases: Iterable[Case], folder: Path, times: int) -> Iterator[list[str]]:
    """The cells of each row: a case, first and again."""
    for number, case in enumerate(cases):
        place = folder / str(number)
        place.mkdir()
        for time_of in ("first", "again")[:times]:
            overrides = [f"trainer={case.trainer}", *FIVE_STEPS, *case.overrides]
            found = measure([sys.executable, str(TRAIN), *overrides], place)
            cells = [case.name, time_of, f"{found.seconds:.1f}", f"{found.memory / MIB:,.0f}"]
            yield [*cells, f"{size(place / 'cache' / 'seqmodels') / MIB:,.0f}", found.others]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="*", default=[1_000_000], help="of the tables")
    parser.add_argument("--text", type=int, nargs="*", default=[], help="gigabytes of plain text")
    parser.add_argument("--folder", type=Path, help="where to make the files (the temporary one)")
    parser.add_argument("--cases", type=int, help="only the first so many trainings of each size")
    parser.add_argument("--times", type=int, default=2, help="1: only with an empty cache")
    options = parsed(parser, argv, rows=[200], cases=1, times=1)
    cells: list[list[str]] = []
    sizes = [(tables, rows) for rows in options.rows] + [(plain_text, gb) for gb in options.text]
    for cases, how_large in sizes:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            chosen = islice(cases(Path(folder), how_large), options.cases)
            for each in results(chosen, Path(folder), options.times):
                print("  ".join(each), file=sys.stderr)
                cells.append(each)
    columns = ["training", "time", "seconds", "peak MiB", "cache MiB", "others' cores"]
    write(
        options.output or default_output("sizes", torch.device("cpu")),
        [
            "# Large files",
            "",
            "Each training takes five steps, and two batches of each other split; the seconds are "
            "those of the whole command. The memory is that of all its processes together.",
            "",
            *machine_lines(torch.device("cpu")),
            "",
            *heading(columns),
            *map(row, cells),
        ],
    )


if __name__ == "__main__":
    main()
