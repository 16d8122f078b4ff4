"""How should a network read a long row? The same command finishes a study that was cut off.

    python examples/long_series/study.py                      # a needle, and two real sets
    python examples/long_series/study.py sets=[ACSF1]         # or others of the archive
    python examples/long_series/print_tables.py                     # the tables of what is done

Decided before the first run, on another seed: the needle's height, the rate and the numbers of
steps, so that `max_pool` learns from the whole row. After five runs of 1,000 steps, what took too
long was left out: `bidirectional_concat`, nine tenths of longer rows, heads at 100,000 steps.

- **Needle.** A row is noise of four channels, independent and standard normal. In ten steps, at a
  place that is the same for all rows, one channel is higher by 3, and which one is the class:
  guessing gets 25 %. The place is the start, the middle, or nine tenths of the row.
- **Network.** One LSTM of 16 units and one direction, a head, Adam with rate 0.01, gradients
  clipped at 1. No row is seen twice. All ways train for the same number of steps, on the same rows,
  and are tested on the same others; see `LENGTHS`. The ways that read fewer steps cost less, so
  they are also trained for ten times the steps.
- **Ways.** Segments, cut gradients and windows have the same steps: a quarter of a row, and 1,000
  at most. A window is random in training; in a test, all of them are read. `stack` is the library's
  `auto`, which leaves at most 160 steps; convolutions leave at most 640. The whole row is read up
  to 10,000 steps.
- **Real sets.** ACSF1 and PLAID, the longest that sktime brings (1,460 and up to 1,344 steps), or
  others of the archive, with their official test split; channels scaled by training and by row; the
  last weights are tested.
- **Measured.** A run is a process. Its memory is the peak of what it holds, less what it held after
  the imports and a first tiny step; its seconds are those of the processor, of training and test.
"""

import json
import math
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import chain, islice, product, repeat, starmap
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from ways import WAYS, build_network

from seqmodels.arguments import Name
from seqmodels.batch import SequenceBatch
from seqmodels.data import Series
from seqmodels.data.series import UEA
from seqmodels.errors import UserError, choices
from seqmodels.launch.command_line import Names, command
from seqmodels.network import Network

FOLDER = Path(__file__).parent
HEADS = ("last_hidden", "mean_pool", "max_pool", "concat_pool", "attention_pool")
PLACES = {"start": 0.0, "middle": 0.5, "nine tenths": 0.9}
CHANNELS = 4
# How many steps the class shows, and by how much.
NEEDLE, HEIGHT = 10, 3.0
RATE = 0.01
REAL_WAYS = ("segment", "stack", "window", "whole")
REAL_HEADS = ("last_hidden", "concat_pool")
REAL_ROWS, REAL_BATCHES, REAL_SEEDS = 16, 200, 3
IMPORTED_ONCE = ["seqmodels.data.series", "seqmodels.launch.command_line", "seqmodels.network"]
# The longest segment and window; rows have at least four.
LONGEST_SEGMENT = 1000


class Length(NamedTuple):
    """How rows of so many steps are learned.

    Args:
        rows: in a batch.
        batches: how many are learned.
        tested: how many rows are tested.
        heads_of_more: the heads that cheap ways train for ten times the steps, with one seed and
            the needle in the middle.
    """

    rows: int
    batches: int
    tested: int
    seeds: int
    places: tuple[str, ...]
    heads: tuple[str, ...]
    ways: tuple[str, ...]
    heads_of_more: tuple[str, ...]


ALL_WAYS = tuple(WAYS)
NOT_WHOLE = ALL_WAYS[:-1]
TWO_HEADS = ("last_hidden", "max_pool")
LENGTHS = {
    1_000: Length(8, 200, 200, 2, ("start", "middle", "nine tenths"), HEADS, ALL_WAYS, ()),
    10_000: Length(8, 60, 200, 2, ("start", "middle"), HEADS, ALL_WAYS, TWO_HEADS),
    100_000: Length(4, 40, 64, 1, ("start", "middle"), TWO_HEADS, NOT_WHOLE, ("max_pool",)),
}
CHEAP_WAYS = ("stack", "window", "convolution")
MORE = 10


class Run(NamedTuple):
    """One line of the results, without what was measured.

    Args:
        data: `needle`, or the name of a set.
        steps: of a row; of a set, 0, because they differ.
        place: of the needle; of a set, empty.
        batches: how many it learns.
    """

    data: str
    steps: int
    place: str
    way: str
    head: str
    seed: int
    batches: int


def runs_of_needle(steps: int) -> list[Run]:
    length = LENGTHS[steps]
    runs = []
    settings = product(range(length.seeds), length.places, length.ways, length.heads)
    for seed, place, way, head in settings:
        runs.append(Run("needle", steps, place, way, head, seed, length.batches))
    for way, head in product(CHEAP_WAYS, length.heads_of_more):
        runs.append(Run("needle", steps, "middle", way, head, 0, MORE * length.batches))
    return runs


def runs_of_set(name: str) -> list[Run]:
    settings = product(range(REAL_SEEDS), REAL_WAYS, REAL_HEADS)
    return [Run(name, 0, "", way, head, seed, REAL_BATCHES) for seed, way, head in settings]


# ---------------------------------------------------------------- the data


def segment_size(steps: int) -> int:
    return min(LONGEST_SEGMENT, steps // 4)


def needle_batches(
    run: Run, rows: int, random: np.random.Generator
) -> Iterator[tuple[list[np.ndarray], np.ndarray]]:
    """Rows `(T, C)` and their classes, without end."""
    start = int(PLACES[run.place] * run.steps)
    stop = start + NEEDLE
    while True:
        classes = random.integers(CHANNELS, size=rows)
        inputs = random.standard_normal((rows, run.steps, CHANNELS), dtype=np.float32)
        inputs[np.arange(rows), start:stop, classes] += HEIGHT
        yield list(inputs), classes


class Data(NamedTuple):
    """Batches of training, without end, and those of the test.

    Args:
        channels, classes: how many there are; folded rows have more channels.
        longest: the steps of the longest row that is read.
    """

    training: Iterator[SequenceBatch]
    test: Iterator[SequenceBatch]
    channels: int
    classes: int
    longest: int


def needle_data(run: Run) -> Data:
    length = LENGTHS[run.steps]
    encoder = Series(stack="auto" if run.way == "stack" else 1, scale="none")
    example, _ = next(needle_batches(run, 1, np.random.default_rng(run.seed)))
    encoder.fit(example)

    def encoded(rows: list[np.ndarray], classes: np.ndarray) -> SequenceBatch:
        inputs = torch.stack(encoder.encode(rows, "needle"))
        lengths = torch.full((len(rows),), inputs.shape[1])
        return SequenceBatch(inputs, lengths, torch.from_numpy(classes))

    training, test = [
        starmap(encoded, needle_batches(run, length.rows, np.random.default_rng([run.seed, split])))
        for split in range(2)
    ]
    tested_batches = length.tested // length.rows
    channels = CHANNELS * encoder.stacked
    return Data(training, islice(test, tested_batches), channels, CHANNELS, run.steps)


def real_data(run: Run) -> Data:
    stack = "auto" if run.way == "stack" else 1
    data = UEA(run.data, stack=stack, scale="both", batch_size=REAL_ROWS, seed=run.seed)
    data.setup()
    training = chain.from_iterable(repeat(data.train_dataloader()))
    classes = len(data.spec["classes"])
    longest = int(data.datasets["train"].lengths.max())
    test = iter(data.test_dataloader())
    return Data(training, test, data.spec["num_inputs"], classes, longest)


# ---------------------------------------------------------------- train, and measure


def learn(network: Network, batches: Iterator[SequenceBatch]) -> None:
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    network.train()
    for batch in batches:
        loss = network.score(batch).loss
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()


@torch.no_grad()
def accuracy(network: Network, batches: Iterator[SequenceBatch]) -> float:
    """The share of rows whose class is right, in %."""
    network.eval()
    num_right = 0
    num_rows = 0
    for batch in batches:
        predicted = network(batch.inputs, batch.lengths).argmax(dim=1)
        num_right += int((predicted == batch.targets).sum())
        num_rows += len(batch)
    return 100 * num_right / num_rows


def peak_memory() -> float:
    """The most that this process has held, in MiB; where there is no /proc, nan."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return math.nan
    for line in status.read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return math.nan


def take_first_step() -> None:
    """PyTorch's first step of all holds some 30 MiB, which do not depend on the rows."""
    network = build_network("whole", "last_hidden", CHANNELS, CHANNELS, steps=2, size=2)
    inputs = torch.zeros(1, 2, CHANNELS)
    batch = SequenceBatch(inputs, torch.tensor([2]), torch.tensor([0]))
    learn(network, iter([batch]))


def train_run(run: Run) -> dict[str, Any]:
    """What a run measures, with its setting."""
    torch.set_num_threads(1)
    take_first_step()
    memory_before = peak_memory()
    seconds_before = time.process_time()
    torch.manual_seed(run.seed)
    data = needle_data(run) if run.data == "needle" else real_data(run)
    network = build_network(
        run.way,
        run.head,
        data.channels,
        data.classes,
        steps=data.longest,
        size=segment_size(data.longest),
    )
    learn(network, islice(data.training, run.batches))
    percentage = accuracy(network, data.test)
    # Linux counts pages to within some dozens, so that a peak may seem to fall.
    memory_after = max(memory_before, peak_memory())
    return {
        **run._asdict(),
        "accuracy": round(percentage, 2),
        "MiB": round(memory_after - memory_before, 1),
        "seconds": round(time.process_time() - seconds_before, 2),
    }


def train_alone(run: Run) -> dict[str, Any]:
    """The same in a process of its own, whose memory begins with what the imports hold."""
    context = get_context("forkserver")
    context.set_forkserver_preload(IMPORTED_ONCE)  # All processes begin as copies of one.
    with ProcessPoolExecutor(1, context) as pool:
        return pool.submit(train_run, run).result()


# ---------------------------------------------------------------- the study


def read_results(file: Path) -> list[dict[str, Any]]:
    """The lines of a file; none, if it is missing."""
    if not file.is_file():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def setting_of(result: dict[str, Any]) -> Run:
    return Run(*[result[name] for name in Run._fields])


@command
def main(
    *steps: str,
    sets: Names = ("ACSF1", "PLAID"),
    output: Name = str(FOLDER / "results.jsonl"),
) -> None:
    """Train what is left of the study, and add a line for each run to the results.

    Args:
        steps: only needles in rows of so many steps, such as 1000; none: all.
        sets: data sets of the archive; []: none.
        output: the file of the results.
    """
    for number in steps:
        if number not in map(str, LENGTHS):
            raise UserError(f"{number} steps: {choices(number, map(str, LENGTHS))}")
    runs = []
    for name in sets:
        runs += runs_of_set(name)
    for number in LENGTHS:
        if not steps or str(number) in steps:
            runs += runs_of_needle(number)
    runs.sort(key=lambda run: run.seed)  # One seed of each setting comes first.
    file = Path(output)
    completed = {setting_of(result) for result in read_results(file)}
    for run in runs:
        if run in completed:
            continue
        result = train_alone(run)
        with file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(result) + "\n")
        print(*result.values(), flush=True)


if __name__ == "__main__":
    main()
