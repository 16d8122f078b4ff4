"""The same numbers as on a CPU, in a second training, and after a resume."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from report import heading, row
from torch import Tensor

from accelerator_parts import Line, Options, described, job, judged, tf32
from accelerator_parts.commands import COMMANDS, command, small_files
from seqmodels import compose
from seqmodels.batch import SequenceBatch
from seqmodels.engine import Task
from seqmodels.errors import UserError
from seqmodels.heads import HEADS
from seqmodels.instantiate import instantiate
from seqmodels.machine import one_thread
from seqmodels.nn.encoder import RecurrentEncoder
from seqmodels.nn.ragged import MOST_STEPS
from seqmodels.runs import train
from seqmodels.runs.checkpoint import read_checkpoint

CELLS: dict[str, dict[str, Any]] = {
    "lstm": {},
    "gru": {"cell": "gru"},
    "rnn": {"cell": "rnn"},
    "proj_size": {"proj_size": 8},
}
NOTHING_RANDOM = ("model.dropout=0.0", "model.embedding.noise=0.0")
KINDS = ("loss", "gradients", "logits")
TOLERANCE = 1e-3  # of the largest number; TF32, which is off here, has three digits


def long_rows(options: Options) -> Iterator[Line]:
    steps = 1_000 if options.small else MOST_STEPS + 10
    encoder = RecurrentEncoder(2, 4).to(options.where)
    inputs = torch.randn(2, steps, 2, device=options.where)
    with torch.no_grad():
        whole = encoder(inputs).output[:, -1].cpu()
        first = encoder(inputs[:, : steps // 2])
        second = encoder(inputs[:, steps // 2 :], state=first.state).output[:, -1].cpu()
    apart = float((whole - second).abs().max())
    yield f"{steps:,} steps at once and in two halves differ by {apart:.1e}."
    yield "long", judged(options, apart < 1e-3), f"{apart:.1e}"


def computed(task: Task, batch: SequenceBatch) -> dict[str, dict[str, Tensor]]:
    """Loss, gradients and logits, on the CPU."""
    task.zero_grad()
    task.sums.clear()  # of another device
    loss = task.train().training_step(batch)
    loss.backward()
    named = task.named_parameters()
    gradients = {name: p.grad.cpu().clone() for name, p in named if p.grad is not None}
    with torch.no_grad():
        logits = task.eval()(batch)
    return {"loss": {"": loss.detach().cpu()}, "gradients": gradients, "logits": {"": logits.cpu()}}


def apart(here: dict[str, Tensor], there: dict[str, Tensor]) -> float:
    """The largest difference, relative to the largest number of its tensor. Of a tensor of nothing
    but rounding, such as the gradient of what a softmax cancels, to a share of all tensors'."""
    largest = {name: float(each.abs().max()) for name, each in here.items()}
    least = 1e-3 * max(largest.values())
    found = [
        float((there[name] - each).abs().max()) / max(largest[name], least)
        for name, each in here.items()
    ]
    return math.inf if any(map(math.isnan, found)) else max(found)


def against_cpu(options: Options) -> Iterator[Line]:
    yield from heading(["largest relative difference", *KINDS, "the worst cell"])
    found: dict[str, float] = {}
    for name in COMMANDS:
        with small_files():
            config = compose(*command(options, name, "model.head=any", *NOTHING_RANDOM))
            data = instantiate(config.data)
            data.setup()
            batch = next(iter(data.train_dataloader()))
        for head in HEADS:
            config.model.head, cells = head, dict[str, list[float]]()
            for cell, encoder in [*CELLS.items()][: 1 if options.smoke else None]:
                config.model.encoder = {"hidden_size": 16, "num_layers": 2, **encoder}
                with contextlib.suppress(UserError):  # this head doesn't fit this task or cell
                    task: Task = instantiate(config.model, data=data.spec)
                    if data.fits(task.contract.per, task.contract.target):
                        cells |= differences(options, cell, task, batch)
            if cells:
                worst = max(cells, key=lambda cell: max(cells[cell]))
                every = [max(each) for each in zip(*cells.values(), strict=True)]
                yield row([f"{name}, {head}", *(f"{each:.1e}" for each in every), worst])
                found[f"{name}, {head}"] = max(every)
    worst = max(found, key=lambda head: found[head])
    said = f"{len(found)} heads, at worst {found[worst]:.1e} ({worst})"
    yield "cpu", found[worst] < TOLERANCE, said


def differences(
    options: Options, cell: str, task: Task, batch: SequenceBatch
) -> dict[str, list[float]]:
    """By the cell, or why it failed: how far each of `KINDS` is from the CPU's."""
    try:
        here = computed(task, batch)
        with tf32(False):
            there = computed(deepcopy(task).to(options.where), batch.to(options.where))
        return {cell: [apart(here[kind], there[kind]) for kind in KINDS]}
    except RuntimeError as error:
        return {f"{cell}: {described(error)}": [math.inf] * len(KINDS)}


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
