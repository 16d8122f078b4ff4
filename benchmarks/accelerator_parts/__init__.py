"""What the parts of `accelerator.py` share.

A part yields lines of its section, and what it found of its aims. It may be stopped after any line,
so what matters most comes first, and each line as soon as it is known.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[2]

Options = argparse.Namespace
"""Of `accelerator.py`, with the device as `where`."""
Line = str | tuple[str, bool | None, str]
"""A line of a section; or an aim, whether it is reached (None: it can't be judged), and what was
found."""


@dataclass(frozen=True)
class Sizes:
    """What is measured; the defaults are for an accelerator."""

    hidden: tuple[int, ...] = (128, 512, 1024)
    time: tuple[int, ...] = (128, 16, 1024)
    batch: int = 64
    repeats: int = 7  # timed steps
    rounds: int = 3  # of `trainer.fit` and loops
    rows: str = ""  # of `fit.py`: those with this in their name
    train: int = 2000  # sequences of an epoch of `fit.py`
    windows: int = 50  # of `language_model.py`, after those that warm up
    vocabulary: int = 33_000


SMALL = Sizes((8,), (5,), 4, 1, 1, "tiny", 64, 1, 50)


def sizes(options: Options) -> Sizes:
    return SMALL if options.small else Sizes()


def judged(options: Options, reached: bool) -> bool | None:
    """None for times and memory of sizes that show nothing."""
    return None if options.small else reached


def tried(measure: Callable[[], str]) -> str:
    """A cell of a table: what is measured, or why it can't be."""
    try:
        return measure()
    except RuntimeError as error:
        return described(error)


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


PRECISIONS = {
    "fp32": (torch.float32, False),
    "TF32": (torch.float32, True),
    "bf16": (torch.bfloat16, True),
    "fp16": (torch.float16, True),
}


@contextlib.contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    flags = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [flag.allow_tf32 for flag in flags]
    try:
        for flag in flags:
            flag.allow_tf32 = allowed
        yield
    finally:
        for flag, value in zip(flags, before, strict=True):
            flag.allow_tf32 = value


def job(function: Callable[..., Any]) -> Callable[..., Any]:
    """Runs the function in a process of its own, in the current folder; with `--smoke`, in this
    one, because a process takes seconds to start."""
    name = f"{function.__module__}.{function.__name__}"

    @wraps(function)
    def run(options: Options, **arguments: Any) -> Any:
        if options.smoke:
            return function(options, **arguments)
        script = Path(__file__).parents[1] / "accelerator.py"
        given = [f"--job={name}", f"--device={options.device}", f"--given={json.dumps(arguments)}"]
        done = subprocess.run([sys.executable, script, *given], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError((done.stderr.strip().splitlines() or ["no error"])[-1])
        return json.loads(done.stdout.splitlines()[-1])

    return run


def described(error: BaseException) -> str:
    """The error in one line, with the innermost line of this project."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if str(ROOT) in f.filename]
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}".partition("\n")[0][:150].replace("|", "/") + where


@contextlib.contextmanager
def device_named(name: str) -> Iterator[torch.device]:
    if name != "pretend":
        yield torch.device(name)
        return
    sys.path.insert(0, str(ROOT))
    from tests.device.pretended import install

    with install() as device:
        yield device
