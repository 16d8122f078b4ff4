"""Dropout and size that follow how often a training reads its text."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from itertools import chain, repeat
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.utilities.seed import isolate_rng

from seqmodels.engine.budget import batches_per_epoch, find_budget, seconds_used

LARGE, SMALL = 512, 256  # `hidden_size`; the small one reads the text three times as often
FEW = 3.0  # passes of the large one
PROBE = 2.0  # seconds in which to measure its speed
MEASURED = 50  # the part of the budget, one in so many, that shows a training's speed


def expected_passes(trainer: pl.Trainer) -> float | None:
    """How often a training reads its text by the end of its budget; `inf` if that never ends; None
    as long as time may end it and too little of it has passed to know the speed."""
    budget, done = find_budget(trainer, trainer.datamodule), trainer.global_step  # type: ignore[attr-defined]
    if budget.is_endless:
        return math.inf
    steps = [] if budget.steps is None else [budget.steps]
    if budget.seconds is not None:
        used = seconds_used(trainer)
        if budget.progress(done, used) < 1 / MEASURED:
            return None
        steps.append(round(done * budget.seconds / used))
    return min(steps) * trainer.accumulate_grad_batches / trainer.num_training_batches


def dropout_for(passes: float) -> float:
    """0.1 at one pass over the text, which can't learn it by heart, and 0.3 more at ten times as
    many; from 0 to 0.5. Perplexity at one: 4 % below that of 0.3; at ten: 3 % below that of 0.1."""
    return round(min(max(0.1 + 0.3 * math.log10(max(passes, 0.01)), 0.0), 0.5), 2)


def settle_size(model: Mapping[str, Any], trial: Any = None) -> tuple[dict[str, Any], str]:
    """`SMALL` for `encoder.hidden_size=auto` where time ends the training and leaves `LARGE` few
    passes over the text: in the time of one or two, perplexity of `SMALL` is 7 to 22 % lower."""
    if model["encoder"]["hidden_size"] != "auto":
        return {}, ""
    values = {"encoder": {"hidden_size": LARGE}}
    if trial is None:
        return values, ""
    build, trainer, data = trial
    budget = find_budget(trainer, data)
    why = "only trainer.max_time of a single process makes it smaller"
    if budget.seconds is not None and trainer.world_size == 1:
        batches = batches_per_epoch(trainer, data)
        with isolate_rng():
            passes = budget.seconds / seconds_per_batch(build(values), trainer, data) / batches
        planned = (budget.steps or math.inf) * trainer.accumulate_grad_batches / batches
        values["encoder"]["hidden_size"] = SMALL if passes < min(FEW, planned / 2) else LARGE
        why = f"{budget.seconds:g} s allow {passes:.2g} passes over the text with {LARGE}"
        why += f", and {planned:.2g} end the training" if planned < 2 * passes else ""
    return values, f"model.encoder.hidden_size=auto is {values['encoder']['hidden_size']}: {why}"


def seconds_per_batch(task: Any, trainer: pl.Trainer, data: pl.LightningDataModule) -> float:
    """The time of a training step, from a few, which change the task."""
    strategy, ends = trainer.strategy, list[float]()
    strategy.precision_plugin.convert_module(task).to(strategy.root_device)
    built = task.build_optimizers(trainer, data)
    optimizer = built["optimizer"] if isinstance(built, dict) else built
    for batch in chain.from_iterable(repeat(data.train_dataloader())):
        with strategy.precision_plugin.train_step_context():
            loss = task.step(batch.to(strategy.root_device)).loss
        loss.item()  # waits for the device and the step before
        ends.append(time.perf_counter())
        if len(ends) > 5 and ends[-1] - ends[0] > PROBE:
            break
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return (ends[-1] - ends[2]) / (len(ends) - 3)  # the first ones warm up
