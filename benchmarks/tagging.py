"""Training steps of a tagger with `model.output.kind=crf` against `model.output.kind=classes`.

    python benchmarks/tagging.py
    python benchmarks/tagging.py --device cuda --tags 50 200

Both train the same bidirectional LSTM on the same batches of made-up tags. A step is what training
does of each batch: the loss, the decision for the metrics, the gradient and the optimiser's update.
The two take turns, step by step, in one process that keeps its freed memory, as a run does.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

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

from seqmodels.batch import SequenceBatch
from seqmodels.data.loading import collate
from seqmodels.machine import keep_memory
from seqmodels.tasks.tagging import Tagger

VOCABULARY, BATCH, SHORTEST, LONGEST = 5000, 32, 20, 30
BATCHES = 8  # different ones

COLUMNS = (
    "setting",
    "classes, tokens/s",
    "crf, tokens/s",
    "crf / classes, time a token",
    "quartiles of the pairs",
    "others' cores",
)


class Training:
    """A tagger and its optimiser."""

    def __init__(self, kind: str, hidden: int, tags: int, device: torch.device) -> None:
        torch.manual_seed(0)
        classes = [str(tag) for tag in range(tags)]
        data = {"inputs": "tokens", "num_inputs": VOCABULARY, "classes": classes}
        task = Tagger(data, {"hidden_size": hidden}, output={"kind": kind})
        self.task = task.to(device).train()
        self.optimizer = torch.optim.AdamW(self.task.parameters(), lr=1e-3, fused=True)
        self.device = device

    def step(self, batch: SequenceBatch) -> float:
        """Its seconds."""
        synchronize(self.device)
        started = time.perf_counter()
        self.optimizer.zero_grad()
        self.task.step(batch).score.loss.backward()
        self.optimizer.step()
        synchronize(self.device)
        return time.perf_counter() - started


def batches(tags: int, device: torch.device) -> list[SequenceBatch]:
    random = torch.Generator().manual_seed(0)
    made = []
    for _ in range(BATCHES):
        lengths = torch.randint(SHORTEST, LONGEST + 1, (BATCH,), generator=random)
        tokens, targets = (
            [torch.randint(most, (int(n),), generator=random) for n in lengths]
            for most in (VOCABULARY, tags)
        )
        made.append(collate(tokens, targets=targets).to(device))
    return made


def measure(hidden: int, tags: int, pairs: int, device: torch.device) -> list[str]:
    """A row of the table."""
    data = batches(tags, device)
    trainings = [Training(kind, hidden, tags, device) for kind in ("classes", "crf")]
    rounds = []
    for number in range(-BATCHES, pairs):  # the first ones are not counted
        pair = [training.step(data[number % BATCHES]) for training in trainings]
        if number >= 0:
            rounds.append(pair)
    tokens = sum(int(batch.lengths.sum()) for batch in data) / BATCHES
    setting = f"LSTM {hidden}, 2 directions, {tags} tags, B{BATCH}, lengths {SHORTEST}..{LONGEST}"
    return [setting, *compared(rounds, tokens)]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cpu", type=torch.device, help="cpu or cuda")
    parser.add_argument("--pairs", default=200, type=int, help="how often the two take turns")
    parser.add_argument("--hidden", default=[128, 256], type=int, nargs="+")
    parser.add_argument("--tags", default=[50], type=int, nargs="+")
    parser.add_argument("--threads", type=int, help="default: as PyTorch chooses")
    arguments = parsed(parser, argv, pairs=2, hidden=[4], tags=[3])
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    keep_memory()
    table = heading(COLUMNS)
    print(*table, sep="\n")
    with Noise() as noise:
        for tags in arguments.tags:
            for hidden in arguments.hidden:
                with Noise() as others:
                    cells = measure(hidden, tags, arguments.pairs, arguments.device)
                table.append(row([*cells, str(others)]))
                print(table[-1], flush=True)
    write(
        arguments.output or default_output("tagging", arguments.device),
        [
            "# A tagger with a CRF against one without",
            "",
            *machine_lines(arguments.device, noise),
            "",
            f"Medians of {arguments.pairs} pairs of training steps (loss, decision, gradient, "
            "update) on the same batch.",
            "",
            *table,
        ],
    )


if __name__ == "__main__":
    main()
