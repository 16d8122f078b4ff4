"""Shared by all benchmarks: describe the machine, measure its noise, format tables."""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch

RESULTS = Path(__file__).parent / "results"
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


def parsed(
    parser: argparse.ArgumentParser, argv: Sequence[str] | None, **smallest: Any
) -> argparse.Namespace:
    """The arguments, `--output` and `--smoke` among them.

    Args:
        smallest: with `--smoke`, the defaults: a size that shows nothing but that it runs.
    """
    where = "default: benchmarks/results/<script>-<machine>.md"
    parser.add_argument("--output", type=Path, help=where)
    parser.add_argument("--smoke", action="store_true", help="show only that it runs, in seconds")
    if parser.parse_known_args(argv)[0].smoke:
        parser.set_defaults(**smallest)
    return parser.parse_args(argv)


def processor_name() -> str:
    """The model name of the CPU."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def default_output(name: str, device: torch.device) -> Path:
    """`results/<name>-<short machine name>.md`."""
    if device.type == "cuda":
        machine = torch.cuda.get_device_name(device)
    else:
        machine = f"{processor_name()}-{os.cpu_count()}-cores"
    return RESULTS / f"{name}-{re.sub(r'[^a-z0-9]+', '-', machine.lower()).strip('-')}.md"


def synchronize(device: torch.device) -> None:
    """Waits until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


class Noise:
    """Measures how many cores other processes used inside the `with` block, on average (Linux)."""

    def __enter__(self) -> Self:
        self._before = self._sample()
        self.others: float | None = None
        return self

    def __exit__(self, *_: object) -> None:
        after = self._sample()
        if self._before is not None and after is not None:
            busy, own, wall = (b - a for a, b in zip(self._before, after, strict=True))
            self.others = max(busy - own, 0.0) / wall

    @staticmethod
    def _sample() -> tuple[float, float, float] | None:
        try:
            fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
        except OSError:
            return None
        user, nice, system, _, _, irq, softirq, steal = (int(field) for field in fields[:8])
        busy = (user + nice + system + irq + softirq + steal) / _TICKS
        times = os.times()
        own = times.user + times.system + times.children_user + times.children_system
        return busy, own, time.perf_counter()

    def __str__(self) -> str:
        return "unknown" if self.others is None else f"{self.others:.2f}"


def machine_lines(
    device: torch.device, noise: Noise | None = None, packages: Sequence[str] = ()
) -> list[str]:
    """The head of a results file; `noise` is what disturbed the times in it."""
    lines = [
        f"- date: {datetime.date.today().isoformat()}",
        f"- CPU: {processor_name()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        f"- versions: Python {platform.python_version()}, "
        + ", ".join([f"torch {torch.__version__}", *packages]),
    ]
    if noise is not None:
        lines.append(
            f"- noise: other processes used {noise} of {os.cpu_count()} cores on average; "
            "for each row, see its last column"
        )
    if device.type == "cuda":
        name, cudnn = torch.cuda.get_device_name(device), torch.backends.cudnn.version()
        lines.insert(2, f"- GPU: {name}, CUDA {torch.version.cuda}, cuDNN {cudnn}")
    return lines


def heading(columns: Sequence[str]) -> list[str]:
    """The first two lines of a markdown table: the first column is text, the others numbers."""
    return [row(columns), row(["---", *["---:"] * (len(columns) - 1)])]


def row(cells: Sequence[str]) -> str:
    """A line of a markdown table."""
    return f"| {' | '.join(cells)} |"


def write(path: Path, lines: Sequence[str]) -> None:
    """Writes a results file and prints its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    print(f"written: {path}")
