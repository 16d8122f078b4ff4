"""The same numbers in a second training, and after a resume."""

from __future__ import annotations

import itertools
import math
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from report import heading, row

from accelerator_parts import Line, Options, described, job
from accelerator_parts.commands import command, small_files
from seqmodels import compose
from seqmodels.machine import one_thread
from seqmodels.runs import train
from seqmodels.runs.checkpoint import read_checkpoint


class Copy(Callback):
    """Copies the run folder after a step, as if the training had been killed after it."""

    def __init__(self, step: int, to: str) -> None:
        self.step, self.to = step, to

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == self.step:
            folder = Path(trainer.default_root_dir)
            trainer.save_checkpoint(folder / "checkpoints" / "last.ckpt")
            shutil.copytree(folder, self.to)


@job
def training(options: Options, words: list[str], cut: str | None = None, after: int = 0) -> None:
    with one_thread():  # others run beside it
        train(compose(*words), words, callbacks=[Copy(after, cut)] if cut else [])


def difference(one: str, other: str) -> float:
    """The largest between the last weights of two runs; 0 if they are equal to the bit."""
    left, right = (
        read_checkpoint(Path(run, "checkpoints", "last.ckpt"))["state_dict"] for run in (one, other)
    )
    # by PyTorch, whose maximum of a nan is nan
    apart = [(left[name] - right[name]).abs().max().float() for name in left]
    return float(torch.stack(apart).max())


def three_trainings(
    options: Options, task: str, deterministic: str
) -> tuple[dict[str, float], str]:
    """How far the weights of a second training, and of a resumed one, are from the first's; and why
    that is not known."""
    steps = 8 if options.small else 40
    words = command(
        options,
        task,
        "model.encoder.dropout=0.3",  # on rows of one length, cuDNN draws it itself
        f"trainer.deterministic={deterministic}",
        f"trainer.max_steps={steps}",
    )
    first, again, cut = (f"{task}-{deterministic}-{which}" for which in ("first", "again", "cut"))
    try:
        training(options, words=[*words, f"folder={first}"], cut=cut, after=steps // 2)
        training(options, words=[*words, f"folder={again}"])
        training(options, words=[f"resume={cut}", "paths.cache=cache"])
        return {"repeat": difference(first, again), "resume": difference(first, cut)}, ""
    except Exception as error:  # noqa: BLE001 (the other trainings still run)
        return {"repeat": math.nan, "resume": math.nan}, described(error)


def resumes(options: Options) -> Iterator[Line]:
    half = 4 if options.small else 20
    yield f"{2 * half} steps twice, and {half} + {half}; a process each.\n"
    columns = ["deterministic", "twice differ by", "resumed differs by", "failed"]
    yield from heading(["two layers with dropout", *columns])
    # rows of one length, and ragged ones
    cases = [*itertools.product(("true", "null"), ("language model", "classification"))]
    cases = cases[:1] if options.smoke else cases
    equal: dict[str, dict[str, bool]] = {"repeat": {}, "resume": {}}
    with small_files(), ThreadPoolExecutor(max((os.cpu_count() or 1) // 4, 1)) as pool:
        # signals have their handlers in the main thread only
        run = map if options.smoke else pool.map
        for (deterministic, task), (differences, failed) in zip(
            cases, run(lambda case: three_trainings(options, case[1], case[0]), cases), strict=True
        ):
            cells = [f"{each:.1e}" for each in differences.values()]
            yield row([task, deterministic, *cells, failed])
            for name, apart in differences.items() if deterministic == "true" else ():
                equal[name][task] = apart == 0
                said = (f"{t}: {'equal' if same else 'differs'}" for t, same in equal[name].items())
                yield name, all(equal[name].values()), ", ".join(said)
