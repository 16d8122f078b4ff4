"""Everything that only an accelerator can show, by one command, in at most nine minutes.

    python benchmarks/accelerator.py                   # the accelerator that PyTorch finds
    python benchmarks/accelerator.py --only a,c --minutes 4
    python benchmarks/accelerator.py --device pretend  # its way to the end, on the tests' device
    python benchmarks/accelerator.py --device cpu --smoke

Each part runs in a process of its own, until it ends or its share of the time is over; what earlier
parts leave of theirs, later ones may use. Every line goes to the results file at once, so that a
machine that is taken away loses nothing. The last table says of each aim whether it was reached.

With `--smoke` the parts run one after the other in this process, on sizes that show nothing else;
on the pretended device, whose times mean nothing, they have these sizes too.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import torch
from accelerator_parts import Line, described, device_named
from report import default_output, heading, machine_lines, parsed, row


@dataclass(frozen=True)
class Part:
    """A part of the run.

    Args:
        functions: in `accelerator_parts`; if one fails, the others still run.
        seconds: its share of nine minutes.
        aims: what it can show, by the name that its lines use.
    """

    title: str
    functions: tuple[str, ...]
    seconds: float
    aims: dict[str, str]


PARTS = {
    "a": Part(
        "Versions, precisions, and one command of each task",
        ("commands.versions", "commands.autocasts", "commands.commands"),
        60,  # of which the first imports from a cold disk take most; the rest is done in 20
        {
            "bf16": "under bfloat16 autocast, the recurrent network doesn't compute in float16",
            "commands": "a command of each task trains, tests and writes predictions.csv",
        },
    ),
    "b": Part(
        "The same numbers again, and after a resume",
        ("equality.resumes",),
        110,
        {
            "repeat": "with deterministic=true, two trainings of one seed are equal, bit for bit",
            "resume": "with deterministic=true, a resumed training is the whole one, bit for bit",
        },
    ),
    "c": Part(
        "A training step of the encoder",
        ("encoders.ways_of_bf16", "encoders.widths", "encoders.paddings"),
        120,
        {"padded": "padded rows are at least as fast as packed ones"},
    ),
    "d": Part(
        "`trainer.fit` against loops on `nn.LSTM` by hand",
        ("trainings.streams", "trainings.ragged"),
        70,
        {
            "streams": "on rows of one length, trainer.fit has 0.97 of the speed of cuDNN by hand",
            "ragged": "on ragged rows, trainer.fit has 0.97 of the speed of loops by hand",
        },
    ),
    "e": Part(
        "A word language model, and the memory of its loss",
        ("trainings.words",),
        60,
        {"memory": "linear_cross_entropy takes less memory than the plain loss"},
    ),
    "f": Part(
        "What a training step waits for, and copies",
        ("waits.waits",),
        40,
        {"waits": "no training step waits for the device"},
    ),
    "g": Part(
        "Tests that need the device",
        ("suite.tests",),
        80,
        {"tests": "the tests marked `device` pass"},
    ),
}


@dataclass
class Results:
    """The results file, written anew after every line."""

    path: Path
    head: list[str]
    parts: list[Part]
    lines: list[str] = field(default_factory=list)
    aims: dict[str, tuple[str, str]] = field(default_factory=dict)  # by name: the verdict, and why
    screen: TextIO = field(default_factory=lambda: sys.stdout)  # as it was before a part's prints

    def add(self, line: Line) -> None:
        if isinstance(line, str):
            self.lines.append(line)
            print(line, file=self.screen, flush=True)
        else:
            name, reached, found = line
            verdicts = {True: "reached", False: "not reached", None: "not measured"}
            self.aims[name] = verdicts[reached], found
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("\n".join([*self.head, "", *self.lines, "", *self.table()]) + "\n")

    def table(self) -> list[str]:
        """Of every aim of the parts, also of those that they didn't come to."""
        lines = ["## Aims", "", *heading(["", "aim", "found"])]
        for name, aim in (pair for part in self.parts for pair in part.aims.items()):
            verdict, found = self.aims.get(name, ("not measured", "its part didn't come to it"))
            lines.append(row([verdict, aim, found]))
        return lines


def found(name: str) -> Callable[..., Any]:
    """The function of this name, which is imported late: a part needs few of them."""
    module, _, function = name.rpartition(".")
    return getattr(importlib.import_module(module), function)


def in_this_process(part: Part, options: argparse.Namespace) -> Iterator[Line]:
    """The part's lines, and why what failed did.

    Raises:
        RuntimeError: at the end, if something failed.
    """
    failed = []
    with device_named(options.device) as options.where:
        for name in part.functions:
            torch.manual_seed(0)
            try:
                yield from found(f"accelerator_parts.{name}")(options)
            except Exception as error:  # noqa: BLE001 (the others still run)
                traceback.print_exc()
                failed.append(name)
                yield f"\n{name} failed: {described(error)}"
            yield ""
    if failed:
        raise RuntimeError(f"{', '.join(failed)} failed")


def in_a_process(letter: str, seconds: float, options: argparse.Namespace) -> Iterator[Line]:
    """The part's lines as they come, until it ends or the time is over.

    Raises:
        RuntimeError: if it failed.
    """
    command = [sys.executable, __file__, f"--part={letter}", f"--device={options.device}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    killed = threading.Event()

    def kill() -> None:
        killed.set()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # also processes that it has started

    timer = threading.Timer(seconds, kill)
    timer.start()
    try:
        assert process.stdout is not None
        for line in process.stdout:
            try:
                made = json.loads(line)
                yield made if isinstance(made, str) else tuple(made)
            except (ValueError, TypeError):  # cut off, or printed by a library
                yield line.rstrip("\n")
        status = process.wait()
        if killed.is_set():
            yield f"\nstopped: its time was over after {seconds:.0f} s\n"
        elif status:
            yield f"\nended with status {status}\n"
            raise RuntimeError(f"part {letter} failed")
    finally:
        timer.cancel()
        kill()


def show_part(options: argparse.Namespace) -> None:
    """Prints a part's lines as JSON, for the process that started this one."""
    out = sys.stdout
    with contextlib.redirect_stdout(io.StringIO()):
        for line in in_this_process(PARTS[options.part], options):
            print(json.dumps(line), file=out, flush=True)


def show_job(options: argparse.Namespace) -> None:
    """Does what `accelerator_parts.job` asks for, and prints what it returns."""
    with contextlib.redirect_stdout(io.StringIO()), device_named(options.device) as options.where:
        # without its wrapper, which would start a process again
        made = found(options.job).__wrapped__(options, **json.loads(options.given))
    print(json.dumps(made))


def run(letters: Sequence[str], options: argparse.Namespace, results: Results) -> bool:
    """Runs the parts; whether none of them failed."""
    started, passed, failed = time.perf_counter(), 0.0, False
    whole = sum(PARTS[letter].seconds for letter in letters)
    for letter in letters:
        part = PARTS[letter]
        passed += part.seconds
        end = started + 60 * options.minutes * passed / whole
        results.add(f"## {letter}. {part.title}\n")
        if options.smoke:
            lines = in_this_process(part, options)
        else:
            lines = in_a_process(letter, max(end - time.perf_counter(), 0.0), options)
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # tables of tensors, and of results
                for line in lines:
                    results.add(line)
        except Exception as error:  # noqa: BLE001 (the other parts still run)
            failed = True
            results.add(f"failed: {described(error)}")
        results.add(f"{time.perf_counter() - started:.0f} s after the start.\n")
    return not failed


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", help="cuda, mps, cpu or pretend; default: what is there")
    parser.add_argument("--minutes", default=9.0, type=float, help="at most, of all parts together")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, by their letters: a,c")
    for name in ("--part", "--job", "--given"):  # of the processes that this one starts
        parser.add_argument(name, help=argparse.SUPPRESS)
    options = parsed(parser, argv)
    if options.device is None:
        here = torch.accelerator.current_accelerator(check_available=True)
        options.device = here.type if here else "cpu"
    options.small = options.smoke or options.device == "pretend"
    if options.part or options.job:
        show_part(options) if options.part else show_job(options)
        return
    letters = options.only.split(",")
    if unknown := {*letters} - PARTS.keys():
        parser.error(f"--only: no part {min(unknown)!r}; there are {', '.join(PARTS)}")
    # parts have sessions of their own, so they would outlive this process
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    host = torch.device("cuda" if options.device == "cuda" else "cpu")
    title = ["# What an accelerator shows", "", *machine_lines(host), f"- device: {options.device}"]
    path = options.output or default_output("accelerator", host)
    results = Results(path, title, [PARTS[letter] for letter in letters])
    passed = run(letters, options, results)
    print(*results.table(), f"written: {results.path}", sep="\n")
    if not passed:
        sys.exit(1)


if __name__ == "__main__":
    main()
