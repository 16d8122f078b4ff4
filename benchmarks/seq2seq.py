"""Writing texts in batches against one by one, and training steps against a plain PyTorch loop.

    python benchmarks/seq2seq.py
    python benchmarks/seq2seq.py --device cuda --hidden 512

Decoding: the same model writes for the same sources, in batches and one by one, greedily and with a
beam of 5. It is untrained, so it seldom writes the end token, and all texts are about as long.

Training: a `Seq2Seq` against an encoder-decoder of the same size in plain PyTorch, with
`pack_padded_sequence`, the same attention and the same batches. A step is the loss, the gradient
and the optimiser's update. The two take turns, step by step, in one process that keeps its freed
memory, as a run does.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
from report import (
    Noise,
    compared,
    default_output,
    heading,
    machine_lines,
    parsed,
    row,
    synchronize,
    write,
)
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seqmodels.batch import PairBatch, SequenceBatch
from seqmodels.data.loading import collate
from seqmodels.machine import keep_memory
from seqmodels.tasks.seq2seq import Seq2Seq
from seqmodels.tasks.seq2seq.pair_batches import teacher_forced

SOURCES, TARGETS, EMBEDDING = 60, 40, 128  # tokens of each side, and the width of both embeddings
START, END, LONGEST = 0, 2, 20
BATCHES, BATCH = 8, 64  # different ones, to train on
DECODED = 128  # sources in a batch, to decode

DECODING = ("decoding", "in batches, sources/s", "one by one, sources/s", "ratio", "others' cores")
TRAINING = (
    "training",
    "seqmodels, pairs/s",
    "plain PyTorch, pairs/s",
    "plain / seqmodels, time a step",
    "quartiles of the pairs",
    "others' cores",
)


def model(hidden: int, device: torch.device) -> Seq2Seq:
    torch.manual_seed(0)
    sizes = {"num_inputs": SOURCES, "num_targets": TARGETS, "longest": LONGEST}
    data = {"inputs": "tokens", "start": START, "end": END, **sizes}
    encoder = {"hidden_size": hidden, "bidirectional": True}
    return Seq2Seq(data, encoder, embedding={"size": EMBEDDING}, longest=LONGEST).to(device)


class Plain(nn.Module):
    """The same network as people write it: one LSTM on a packed sequence, and another one."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        wide = 2 * hidden
        self.read, self.written = (nn.Embedding(n, EMBEDDING) for n in (SOURCES, TARGETS))
        self.encoder = nn.LSTM(EMBEDDING, hidden, batch_first=True, bidirectional=True)
        self.decoder = nn.LSTM(EMBEDDING, wide, batch_first=True)
        self.to_key = nn.Linear(wide, wide, bias=False)
        self.combine, self.project = nn.Linear(2 * wide, wide), nn.Linear(wide, TARGETS)

    def loss(self, batch: PairBatch) -> Tensor:
        packed = pack_padded_sequence(
            self.read(batch.inputs), batch.lengths, batch_first=True, enforce_sorted=False
        )
        output, final = self.encoder(packed)
        output, _ = pad_packed_sequence(output, batch_first=True)
        start = tuple(torch.cat([part[0], part[1]], dim=-1)[None] for part in final)
        decoded, _ = self.decoder(self.written(batch.target.inputs), start)
        scores = decoded @ self.to_key(output).transpose(1, 2)
        weights = scores.masked_fill(~batch.mask[:, None], -torch.inf).softmax(dim=-1)
        features = self.combine(torch.cat([weights @ output, decoded], dim=-1)).tanh()
        targets = batch.target.targets
        assert targets is not None
        return F.cross_entropy(self.project(features).flatten(0, 1), targets.flatten())


def pairs(device: torch.device) -> list[PairBatch]:
    random = torch.Generator().manual_seed(0)

    def texts(size: int) -> list[Tensor]:
        lengths = torch.randint(5, LONGEST, (BATCH,), generator=random).tolist()
        return [torch.randint(3, size, (n,), generator=random) for n in lengths]

    sides = ((collate(texts(SOURCES)), teacher_forced(texts(TARGETS))) for _ in range(BATCHES))
    made = (PairBatch.of(*each) for each in sides)
    return [pair.to(device) for pair in made]


def seconds(work: Callable[[], object], device: torch.device) -> float:
    synchronize(device)
    started = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - started


def decode(task: Seq2Seq, sources: Sequence[Tensor], size: int, beam: int) -> None:
    for first in range(0, len(sources), size):
        batch: SequenceBatch = collate(sources[first : first + size]).to(task.device)
        task.write(task.encode(batch), beam=beam).tokens.cpu()


@torch.inference_mode()
def measure_decoding(hidden: int, count: int, beam: int, device: torch.device) -> list[str]:
    """A row of the table: the best of three in batches, because that is short."""
    task = model(hidden, device).eval()
    random = torch.Generator().manual_seed(1)
    lengths = torch.randint(5, LONGEST, (count,), generator=random).tolist()
    sources = [torch.randint(3, SOURCES, (n,), generator=random) for n in lengths]
    decode(task, sources[:DECODED], DECODED, beam)  # not counted
    together = min(seconds(partial(decode, task, sources, DECODED, beam), device) for _ in range(3))
    alone = seconds(partial(decode, task, sources, 1, beam), device)
    how = "greedy" if beam == 1 else f"beam {beam}"
    setting = f"{how}, LSTM {hidden}, 2 directions, {count:,} sources"
    speeds = [f"{count / each:,.0f}" for each in (together, alone)]
    return [setting, *speeds, f"{alone / together:.1f}"]


def measure_training(hidden: int, rounds: int, device: torch.device) -> list[str]:
    """A row of the table."""
    data = pairs(device)
    task, plain = model(hidden, device).train(), Plain(hidden).to(device)
    losses: list[Callable[[PairBatch], Tensor]] = [lambda b: task.step(b).score.loss, plain.loss]
    optimizers = [torch.optim.AdamW(m.parameters(), lr=1e-3, fused=True) for m in (task, plain)]

    def step(number: int, batch: PairBatch) -> None:
        optimizers[number].zero_grad()
        losses[number](batch).backward()
        optimizers[number].step()

    taken = []
    for turn in range(-BATCHES, rounds):  # the first ones are not counted
        batch = data[turn % BATCHES]
        both = [seconds(partial(step, number, batch), device) for number in (0, 1)]
        if turn >= 0:
            taken.append(both)
    setting = f"LSTM {hidden}, 2 directions, attention, B{BATCH}, lengths 5..{LONGEST - 1}"
    return [setting, *compared(taken, BATCH)]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cpu", type=torch.device, help="cpu or cuda")
    parser.add_argument("--hidden", default=[128, 256], type=int, nargs="+")
    parser.add_argument("--sources", default=1000, type=int, help="how many to decode")
    parser.add_argument("--beams", default=[1, 5], type=int, nargs="+")
    parser.add_argument("--pairs", default=100, type=int, help="how often two trainings take turns")
    parser.add_argument("--threads", type=int, help="default: as PyTorch chooses")
    given = parsed(parser, argv, hidden=[4], sources=4, beams=[2], pairs=2)
    if given.threads:
        torch.set_num_threads(given.threads)
    keep_memory()

    def table(columns: Sequence[str], works: Sequence[Callable[[], list[str]]]) -> list[str]:
        lines = heading(columns)
        print(*lines, sep="\n")
        for work in works:
            with Noise() as others:
                cells = work()
            lines.append(row([*cells, str(others)]))
            print(lines[-1], flush=True)
        return lines

    device = given.device
    with Noise() as noise:
        decoding = table(
            DECODING,
            [
                partial(measure_decoding, h, given.sources, b, device)
                for h in given.hidden
                for b in given.beams
            ],
        )
        training = table(
            TRAINING,
            [partial(measure_training, h, given.pairs, device) for h in given.hidden],
        )
    write(
        given.output or default_output("seq2seq", device),
        [
            "# Sequence to sequence: decoding in batches, and training",
            "",
            *machine_lines(device, noise),
            "",
            f"Batches of {DECODED} sources against one by one, up to {LONGEST} tokens each.",
            "",
            *decoding,
            "",
            f"Medians of {given.pairs} pairs of training steps (loss, gradient, update) on the "
            "same batch.",
            "",
            *training,
        ],
    )


if __name__ == "__main__":
    main()
