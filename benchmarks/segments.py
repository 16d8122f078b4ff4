"""What `segment` costs and saves as rows grow: a training step of a row in segments beside the
whole row.

    python benchmarks/segments.py
    python benchmarks/segments.py --longest 20000 --output /tmp/segments.md

Every step runs in a process of its own with one thread, because a process keeps the memory of its
largest step. The ways take turns. Memory is what a step needs beyond the imports and the inputs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median

import torch
from report import Noise, default_output, heading, machine_lines, parsed, row, write
from torch import nn

from seqmodels.batch import SequenceBatch
from seqmodels.device import subnormals_as_zero
from seqmodels.heads import HEADS, build_head
from seqmodels.network import Network
from seqmodels.nn.encoder import RecurrentEncoder
from seqmodels.nn.outputs import ClassOutput

ROWS, FEATURES, UNITS, CLASSES = 4, 8, 128, 3
LENGTHS = (5_000, 20_000, 100_000)
SEGMENT = 1_000


@dataclass(frozen=True)
class Way:
    """A network, the steps of its rows, and the steps of a segment (None: whole rows)."""

    cell: str
    head: str
    layers: int
    two: bool
    time: int
    segment: int | None

    @property
    def title(self) -> str:
        layers = "" if self.layers == 1 else f", {self.layers} layers"
        directions = ", two directions" if self.two else ""
        return f"{self.cell} {self.head}{layers}{directions}, T {self.time:,}"


NETWORKS = (
    ("lstm", "last_hidden", 1, False),
    ("lstm", "concat_pool", 1, False),
    ("lstm", "attention_pool", 1, False),
    ("lstm", "max_attention_pool", 1, False),
    ("lstm", "concat_pool", 2, False),
    ("lstm", "concat_pool", 1, True),
    ("lstm", "concat_pool", 2, True),
    ("gru", "concat_pool", 1, False),
    ("rnn", "concat_pool", 1, False),
)


@dataclass(frozen=True)
class Cost:
    """Of a training step: megabytes, processor seconds, and the size of the gradient."""

    memory: float
    seconds: float
    norm: float


def ways(longest: int) -> Iterator[tuple[Way, Way]]:
    """Each network on rows of each length: whole, and in segments."""
    for network in NETWORKS:
        for length in LENGTHS:
            if length <= longest:
                yield Way(*network, length, None), Way(*network, length, SEGMENT)


def peak() -> float:
    """The largest memory of this process so far, in megabytes."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def cost(way: Way) -> Cost:
    """The memory of a first training step in this process, and the time of a second one."""
    torch.manual_seed(0)
    two = way.two or bool(HEADS[way.head].requires_bidirectional)
    encoder = RecurrentEncoder(
        FEATURES, UNITS, way.layers, cell=way.cell, bidirectional=two, segment=way.segment
    )
    head = build_head(way.head, encoder, partial(ClassOutput, num_classes=CLASSES))
    network = Network(nn.Identity(), encoder, head)
    inputs = torch.randn(ROWS, way.time, FEATURES)
    lengths = torch.full((ROWS,), way.time)
    short = SequenceBatch(inputs[:, :50], lengths.clamp(max=50), torch.arange(ROWS) % CLASSES)
    # What a first call initialises, rows in segments too, is initialised here.
    if way.segment:
        encoder.segment = 20
    network.score(short).loss.backward()
    network.zero_grad()
    encoder.segment = way.segment
    batch = SequenceBatch(inputs, lengths, torch.arange(ROWS) % CLASSES)
    before = peak()
    take_step(network, batch)
    memory = peak() - before
    network.zero_grad()
    started = time.process_time()
    take_step(network, batch)
    seconds = time.process_time() - started
    gradients = [weight.grad.flatten() for weight in network.parameters()]
    return Cost(memory, seconds, float(torch.cat(gradients).norm()))


def take_step(network: Network, batch: SequenceBatch) -> None:
    with subnormals_as_zero():
        network.score(batch).loss.backward()


def in_a_process(way: Way) -> Cost:
    """What `cost` returns in a new process."""
    command = [sys.executable, __file__, "--way", json.dumps(asdict(way))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return Cost(**json.loads(done.stdout))


def compared(whole: Way, parts: Way, rounds: int) -> list[str]:
    """A line of the table."""
    with Noise() as noise:
        pairs = [(in_a_process(whole), in_a_process(parts)) for _ in range(rounds)]
    of_whole, of_parts = pairs[0]
    ratio = median(of_part.seconds / of_all.seconds for of_all, of_part in pairs)
    difference = abs(of_parts.norm / of_whole.norm - 1)
    return [
        whole.title,
        f"{of_whole.memory:,.0f}",
        f"{of_parts.memory:,.0f}",
        f"{ratio:.2f}",
        f"{difference:.0e}",
        str(noise),
    ]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--longest", type=int, default=LENGTHS[-1], help="of the rows, in steps")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way takes its turn")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    arguments = parsed(parser, argv, longest=LENGTHS[0], rounds=1)
    if arguments.way:
        print(json.dumps(asdict(cost(Way(**json.loads(arguments.way))))))
        return
    pairs = list(ways(arguments.longest))
    if arguments.smoke:
        pairs = pairs[:1]
    columns = ("network", "whole, MB", "segments, MB", "time, ratio", "gradient", "others")
    table = heading(columns)
    with Noise() as noise:
        for whole, parts in pairs:
            table.append(row(compared(whole, parts, arguments.rounds)))
            print(table[-1], flush=True)
    lines = [
        "# Rows in segments",
        "",
        f"A training step of {ROWS} rows with {FEATURES} features and {UNITS} units, in segments "
        f"of {SEGMENT:,} steps, beside whole rows. Memory is what comes on top of the imports and "
        "the inputs; time is that of the processor, the median of the rounds; gradient is how far "
        "the norms of both gradients are apart, as a share.",
        "",
        *machine_lines(torch.device("cpu"), noise),
        "",
        *table,
    ]
    write(arguments.output or default_output("segments", torch.device("cpu")), lines)


if __name__ == "__main__":
    main()
