"""Short trainings and generations in one process for hours: do memory, open files or threads grow?

python benchmarks/soak.py                 # two hours
python benchmarks/soak.py --minutes 10
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from report import default_output, heading, machine_lines, parsed, row, write

from seqmodels import compose
from seqmodels.runs import load_run, train

QUICK = ["trainer=cpu", "trainer.max_epochs=1", "trainer.enable_progress_bar=false"]
HEADS = ["last_hidden", "mean_pool", "bidirectional_concat", "attention_pool"]
WARM_UP = 5  # rounds: every import, cache and lazily built table has been used by then
GROWTH = 0.02  # of the memory, at most
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Held:
    """What the process holds after a round.

    Args:
        memory: resident, in bytes.
        files: the open file descriptors.
        threads: of Python and of all libraries.
    """

    seconds: float
    memory: int
    files: int
    threads: int


def held(started: float) -> Held:
    gc.collect()
    return Held(
        seconds=time.perf_counter() - started,
        memory=int(Path("/proc/self/statm").read_text().split()[1]) * PAGE,
        files=len(os.listdir("/proc/self/fd")),  # noqa: PTH208 (iterdir would hold one more)
        threads=len(list(Path("/proc/self/task").iterdir())),
    )


def a_round(number: int, folder: Path) -> None:
    """Train and evaluate a classifier; train and evaluate a language model, and let it write."""
    text = folder / "text.txt"
    if not text.is_file():
        words = random.Random(0)
        text.write_text(
            "\n".join(" ".join(words.choices(["ab", "cd", "e", "fgh"], k=12)) for _ in range(800))
        )
    runs = {
        "classifier": [
            f"model.head={HEADS[number % len(HEADS)]}",
            "model.encoder.hidden_size=16",
        ],
        "language_model": [
            "model=language_model",
            "data=text_lm",
            f"data.train={text}",
            "data.tokenizer=char",
            "data.batch_size=8",
            "model.encoder.hidden_size=16",
        ],
    }
    for name, overrides in runs.items():
        path = folder / name
        shutil.rmtree(path, ignore_errors=True)
        config = compose(f"folder={path}", f"seed={number}", *QUICK, *overrides)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            train(config)
            run = load_run(path)
            run.evaluate(accelerator="cpu")
            if name == "language_model":
                "".join(run.generate("ab", 100, "cpu", seed=number))


def soak(go_on: Callable[[int, float], bool]) -> Iterator[Held]:
    """What the process holds after each round, as long as `go_on(rounds, seconds)`."""
    started, rounds = time.perf_counter(), 0
    with tempfile.TemporaryDirectory() as folder:
        while go_on(rounds, time.perf_counter() - started):
            a_round(rounds, Path(folder))
            rounds += 1
            yield held(started)


def report(rounds: Sequence[Held], minutes: float) -> list[str]:
    """A results file: what changed, and about 20 rounds."""
    base, last = rounds[:WARM_UP][-1], rounds[-1]
    shown = sorted({*range(0, len(rounds), max(len(rounds) // 20, 1)), len(rounds) - 1})
    return [
        f"# {minutes:g} minutes of short trainings in one process",
        "",
        f"{len(rounds)} rounds. Each trains, tests, loads and evaluates a classifier and a "
        "language model, and has the second write 100 characters; every fourth reads its data in a "
        f"process of its own. From round {WARM_UP} to the last, memory changed by "
        f"{last.memory / base.memory - 1:+.2%}, open files by {last.files - base.files:+d} and "
        f"threads by {last.threads - base.threads:+d}.",
        "",
        *machine_lines(torch.device("cpu")),
        "",
        *heading(["round", "minutes", "resident MiB", "open files", "threads"]),
        *(
            row(
                [
                    str(number + 1),
                    f"{rounds[number].seconds / 60:.1f}",
                    f"{rounds[number].memory / 2**20:.1f}",
                    str(rounds[number].files),
                    str(rounds[number].threads),
                ]
            )
            for number in shown
        ),
    ]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--rounds", type=int, default=WARM_UP + 1, help="at least")
    options = parsed(parser, argv, minutes=0, rounds=1)
    rounds: list[Held] = []
    for each in soak(lambda done, seconds: done < options.rounds or seconds < 60 * options.minutes):
        rounds.append(each)
        print(
            f"{len(rounds)} rounds, {each.seconds / 60:.1f} min: {each.memory / 2**20:.1f} MiB, "
            f"{each.files} files, {each.threads} threads",
            file=sys.stderr,
        )
    write(
        options.output or default_output("soak", torch.device("cpu")),
        report(rounds, options.minutes),
    )
    base, last = rounds[:WARM_UP][-1], rounds[-1]
    if last.memory > base.memory * (1 + GROWTH):
        sys.exit("error: the memory has grown")
    if last.files > base.files or last.threads > base.threads:
        sys.exit("error: files or threads are left")


if __name__ == "__main__":
    main()
