"""What a table of long series costs in memory: the peak of each stage of its way, and of a whole
run, beside the size of its numbers in float32.

    python benchmarks/long_rows.py
    python benchmarks/long_rows.py --steps 1000000 --output /tmp/long_rows.md

Every file is read in a process of its own, because a process keeps what it once needed. Memory is
what comes on top of the same stages of a file with 500 steps in each series.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from pyarrow import csv, parquet
from report import Noise, default_output, heading, machine_lines, parsed, row, write

from seqmodels import compose, train
from seqmodels.data import SeriesTable

SERIES, SHORT_STEPS, LONG_STEPS = 10, 500, 100_000
KINDS = ("csv", "parquet", "lists")
STAGES = ("read", "fit", "encode", "batch")
BATCH_SIZE = 1


def write_table(kind: str, num_steps: int, path: Path) -> None:
    """Writes series with one channel: a row for each step, or for each series with lists."""
    random = np.random.default_rng(0)
    values = random.normal(size=SERIES * num_steps).round(5)
    names = [f"series {number}" for number in range(SERIES)]
    labels = ["walk", "run"] * (SERIES // 2)
    if kind == "lists":
        ends = np.arange(SERIES + 1) * num_steps
        lists = pa.LargeListArray.from_arrays(ends, pa.array(values.astype(np.float32)))
        parquet.write_table(pa.table({"x": lists, "label": labels}), path)
        return
    table = pa.table(
        {
            "series": np.repeat(names, num_steps),
            "time": np.tile(np.arange(num_steps) / 100, SERIES),
            "x": values,
            "label": np.repeat(labels, num_steps),
        }
    )
    if kind == "csv":
        csv.write_csv(table, path)
    else:
        parquet.write_table(table, path)


def megabytes(name: str) -> float:
    """A size of this process in megabytes: `VmRSS` is now, `VmHWM` the peak since `forget_peak`."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


class Peaks(dict[str, float]):
    """The peak of each stage, since the stage before it."""

    def note(self, stage: str) -> None:
        gc.collect()
        self[stage] = max(megabytes("VmHWM"), self.get(stage, 0.0))
        forget_peak()


def read_table(kind: str, path: str) -> Peaks:
    """Reads a table up to its first batch."""
    peaks = Peaks()
    columns = {} if kind == "lists" else {"series": "series", "time": "time"}
    data = SeriesTable(path, batch_size=BATCH_SIZE, **columns)

    def noting(stage: str, function: Any) -> Any:
        def noted(*arguments: Any) -> Any:
            result = function(*arguments)
            peaks.note(stage)
            return result

        return noted

    data.read = noting("read", data.read)  # type: ignore[method-assign]
    data.inputs.fit = noting("fit", data.inputs.fit)  # type: ignore[method-assign]
    data.encode = noting("encode", data.encode)  # type: ignore[method-assign]
    forget_peak()
    data.setup()
    next(iter(data.train_dataloader()))
    peaks.note("batch")
    return peaks


def read_both(kind: str, folder: Path) -> dict[str, float]:
    """The peaks of a long table, beyond what the process has after a short one."""
    read_table(kind, str(table_path(folder, kind, is_long=False)))
    gc.collect()
    before = megabytes("VmRSS")
    peaks = read_table(kind, str(table_path(folder, kind, is_long=True)))
    return {stage: peak - before for stage, peak in peaks.items()}


def run_peak(kind: str, folder: Path, *, is_long: bool) -> float:
    """The peak of a whole run with one step, its validation, test and pictures."""
    path = table_path(folder, kind, is_long=is_long)
    words = [
        "data=series",
        f"data.train={path}",
        f"data.batch_size={BATCH_SIZE}",
        "model.encoder.hidden_size=8",
        "trainer=cpu",
        "trainer.max_steps=1",
        f"folder={folder / path.stem}_{kind}_run",
    ]
    if kind != "lists":
        words += ["data.series=series", "data.time=time"]
    train(compose(*words), words)
    return megabytes("VmHWM")


def table_path(folder: Path, kind: str, *, is_long: bool) -> Path:
    ending = "csv" if kind == "csv" else "parquet"
    return folder / f"{'long' if is_long else 'short'}_{kind}.{ending}"


def in_a_process(kind: str, stages: str, folder: Path) -> Any:
    """What `figure` prints in a new process."""
    command = [sys.executable, __file__, "--figure", kind, stages, str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def figure(kind: str, stages: str, folder: Path) -> Any:
    torch.set_num_threads(1)
    if stages == "reading":
        return read_both(kind, folder)
    return run_peak(kind, folder, is_long=stages == "long run")


def compared(kind: str, num_steps: int, folder: Path) -> list[str]:
    """A line of the table."""
    write_table(kind, SHORT_STEPS, table_path(folder, kind, is_long=False))
    write_table(kind, num_steps, table_path(folder, kind, is_long=True))
    with Noise() as noise:
        peaks = in_a_process(kind, "reading", folder)
        run = in_a_process(kind, "long run", folder) - in_a_process(kind, "short run", folder)
    float32_size = 4 * SERIES * num_steps / 2**20
    sizes = [peaks[stage] for stage in STAGES]
    ratios = [f"{size / float32_size:.1f}" for size in [*sizes, run]]
    return [kind, *ratios, str(noise)]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=LONG_STEPS, help="of each long series")
    parser.add_argument("--figure", nargs=3, help=argparse.SUPPRESS)
    arguments = parsed(parser, argv, steps=2_500)
    if arguments.figure:
        kind, stages, folder = arguments.figure
        print(json.dumps(figure(kind, stages, Path(folder))))
        return
    kinds = KINDS[:1] if arguments.smoke else KINDS
    table = heading(("file", *STAGES, "whole run", "others"))
    with Noise() as noise, tempfile.TemporaryDirectory() as folder:
        for kind in kinds:
            table.append(row(compared(kind, arguments.steps, Path(folder))))
            print(table[-1], flush=True)
    lines = [
        "# Long rows",
        "",
        f"The peak of memory of {SERIES} series with {arguments.steps:,} steps and one channel, "
        f"divided by the size of their numbers in float32 "
        f"({4 * SERIES * arguments.steps / 2**20:,.0f} MB), on top of the same with "
        f"{SHORT_STEPS} steps. The whole run has batches of {BATCH_SIZE} and 8 units, and is "
        "compared with a whole short run, so that what it imports after reading hides a part of "
        "what reading needed.",
        "",
        *machine_lines(torch.device("cpu"), noise),
        "",
        *table,
    ]
    write(arguments.output or default_output("long-rows", torch.device("cpu")), lines)


if __name__ == "__main__":
    main()
