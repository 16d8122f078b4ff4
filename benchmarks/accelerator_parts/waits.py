"""What the host waits for in a training step, and what it copies, by line."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from report import heading, row
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils._python_dispatch import TorchDispatchMode

from accelerator_parts import Line, Options, described
from accelerator_parts.commands import COMMANDS, command, small_files
from seqmodels import compose
from seqmodels.runs import train

FIRST, LAST = 5, 15  # steps that are watched, of the first epoch
WAITING = {name: name for name in ("equal", "masked_select", "nonzero", "unique_dim", "_unique2")}
WAITING |= {"_local_scalar_dense": "item"}
FREE = "copy to the device"
NO_OPERATOR = "no operator"
MOST_LINES = 25  # of a task
CALLS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy")


def asked_by() -> str:
    """The two innermost lines of this package or Lightning: many copies are made by one function.
    A backward pass on a GPU has neither."""
    lines: list[str] = []
    frame: Any = sys._getframe(2)
    while frame is not None and len(lines) < 2:
        for package in ("/seqmodels/", "/lightning/"):
            _, found, file = frame.f_code.co_filename.rpartition(package)
            if found:
                lines.append(f"{file}:{frame.f_lineno}")
        frame = frame.f_back
    return ", ".join(lines) or "backward"


class Watch(TorchDispatchMode):
    """Counts what the host waits for, and copies to the device, by the line that asks. On CUDA it
    labels each operator with that line, too: the profiler's own stacks cost far more."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device, self.found = device, Counter[tuple[str, str]]()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        options, name, line = kwargs or {}, function._overloadpacket.__name__, asked_by()
        if what := self.what(name, args, options):
            self.found[what, line] += 1
        if self.device.type != "cuda":
            return function(*args, **options)
        with record_function(f"{name} @ {line}"):
            return function(*args, **options)

    def what(self, name: str, args: Any, options: Any) -> str | None:
        here = [x for x in args if isinstance(x, Tensor) and x.device.type == self.device.type]
        if name in ("_to_copy", "copy_"):
            return self.copies(name, args, options)
        if name == "index" and here and any(_is_mask(index) for index in args[1]):
            return "index by a mask"
        return WAITING.get(name) if here else None

    def copies(self, name: str, args: Any, options: Any) -> str | None:
        """What kind of copy between the host and the device this is, if it is one."""
        if name == "copy_":
            target, source, free = (*args, options.get("non_blocking", False))[:3]
            to = target.device
        else:
            source, free = args[0], options.get("non_blocking", False)
            to = torch.device(options.get("device") or source.device)
        if to.type == source.device.type:
            return None
        if to.type == "cpu":
            return "copy to the CPU"
        pinned = to.type != "cuda" or source.is_pinned()  # elsewhere nothing knows of it
        waits = "" if free and pinned else ", waiting" if not free else ", pageable"
        return f"{FREE}{waits}"


def _is_mask(index: Any) -> bool:
    return index is not None and index.dtype is torch.bool


class Watching(Callback):
    """Watches the steps of a training from `FIRST` to `LAST`."""

    def __init__(self, device: torch.device) -> None:
        self.watch = Watch(device)
        activities = [ProfilerActivity.CPU, ProfilerActivity.CUDA]
        self.profile = profile(activities=activities) if device.type == "cuda" else None
        self.open = contextlib.ExitStack()

    def on_train_batch_start(self, trainer: Any, task: Any, batch: Any, number: int) -> None:
        if trainer.current_epoch == 0 and number == FIRST:
            if self.profile is not None:
                self.open.enter_context(self.profile)
            self.open.enter_context(self.watch)
        if number == LAST:
            self.open.close()

    def on_exception(self, *_: Any) -> None:
        self.open.close()

    def calls(self) -> Counter[tuple[str, str]]:
        """What CUDA was asked for, by the operator and line inside which it was."""
        events = self.profile.events() if self.profile is not None else []
        events = [event for event in events if event.device_type == DeviceType.CPU]
        labels = [event for event in events if " @ " in event.name]
        starts, ends = (
            np.array([getattr(event.time_range, end) for event in labels])
            for end in ("start", "end")
        )
        found = Counter[tuple[str, str]]()
        for event in events:
            if event.name.startswith(CALLS):
                around = (starts <= event.time_range.start) & (ends >= event.time_range.end)
                inner = np.where(around, starts, -1).argmax() if around.any() else None
                found[event.name, NO_OPERATOR if inner is None else labels[inner].name] += 1
        return found


def waits(options: Options) -> Iterator[Line]:
    if options.where.type == "cpu":
        yield "Nothing waits on a CPU: these are reads, most of them of the lengths.\n"
    yield from heading(["task, what the host asks for", "by", "in a step"])
    lines, tasks = dict[str, None](), [*COMMANDS][: 1 if options.smoke else None]
    for task in tasks:
        try:
            found = watched(options, task)
        except Exception as error:  # noqa: BLE001 (the other tasks still run)
            yield row([f"{task}: failed", described(error), ""])
            lines[f"{task} failed"] = None
            continue
        lines |= dict.fromkeys(line for what, line in found if waits_for(what, line))
        ordered = sorted(found.items(), key=lambda each: (not waits_for(*each[0]), -each[1]))
        for (what, line), count in ordered[:MOST_LINES]:
            yield row([f"{task}: {what}", f"`{line}`", f"{count / (LAST - FIRST):.1f}"])
    if options.where.type == "cpu":
        yield "waits", None, "a CPU has nothing to wait for"
    else:
        yield "waits", not lines, "; ".join([*lines][:5]) or f"in {len(tasks)} tasks"


def waits_for(what: str, line: str) -> bool:
    # the profiler itself waits for the device when it starts and when it ends
    own = line == NO_OPERATOR and what == "cudaDeviceSynchronize"
    return not (own or what == FREE or what.startswith("cudaMemcpyAsync"))


def watched(options: Options, task: str) -> Counter[tuple[str, str]]:
    watching = Watching(options.where)
    with small_files():
        words = command(options, task, "trainer.max_steps=16", "folder=run")
        train(compose(*words), words, callbacks=[watching])
    return watching.watch.found + watching.calls()
