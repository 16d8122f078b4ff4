"""A training step of the encoder: precisions, widths, padded against packed rows."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import Any

import torch
from report import heading, row, synchronize
from torch import Tensor, nn

from accelerator_parts import (
    PRECISIONS,
    Line,
    Options,
    autocast,
    described,
    judged,
    name_of,
    sizes,
    tf32,
    tried,
)
from seqmodels.nn.encoder import RecurrentEncoder

WAYS = ("dense", "padded", "packed")


def by_hand(rnn: nn.RNNBase, inputs: Tensor, dtype: torch.dtype) -> Tensor:
    """One layer in one direction, called outside of autocast with copies of its weights."""
    weights = [*rnn.parameters()]
    # in one piece of memory; else cuDNN copies them again
    flat = torch.cat([weight.flatten() for weight in weights]).to(dtype)
    parts = flat.split([weight.numel() for weight in weights])
    views = [part.view_as(weight) for part, weight in zip(parts, weights, strict=True)]
    state = inputs.new_zeros(1, len(inputs), rnn.hidden_size, dtype=dtype)
    is_lstm = rnn.mode == "LSTM"
    call, start = (torch.lstm, (state, state)) if is_lstm else (torch.gru, state)
    with torch.autocast(inputs.device.type, enabled=False):
        # bias, layers, dropout between them, training, two directions, batch first
        return call(inputs.to(dtype), start, views, True, 1, 0.0, True, False, True)[0]


def step_time(
    options: Options, module: nn.Module, forward: Callable[[], Any], precision: str
) -> tuple[float, float, torch.dtype]:
    """Of a training step: median milliseconds, the peak of memory in MiB (CUDA), and the dtype of
    the output, which `forward` gives, or PyTorch's first or the encoder's."""
    device, times = options.where, []
    dtype, fast = PRECISIONS[precision]
    for number in range(sizes(options).repeats + 2):  # two warm up
        if number == 2 and device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        synchronize(device)
        started = time.perf_counter()
        module.zero_grad()
        with tf32(fast):
            with autocast(device, dtype):
                made = forward()
            output = made[0] if isinstance(made, tuple) else getattr(made, "output", made)
            output.float().square().mean().backward()
        synchronize(device)
        times.append(time.perf_counter() - started)
    on_cuda = device.type == "cuda"
    peak = torch.cuda.max_memory_allocated(device) / 2**20 if on_cuda else math.nan
    return 1000 * median(times[2:]), peak, output.dtype


def ways_of_bf16(options: Options) -> Iterator[Line]:
    """What a `RecurrentEncoder` could do under bfloat16 autocast, and what it does."""
    size = sizes(options)
    yield f"A step under bfloat16 autocast, ms (dtype of the output); T{size.time[0]}.\n"
    ways = ("nn.LSTM, nn.GRU", "by hand, bfloat16", "by hand, float32 (TF32)", "RecurrentEncoder")
    yield from heading(["one direction, one length", *ways])
    for hidden, cell in itertools.product(size.hidden, ("lstm", "gru")):
        encoder = RecurrentEncoder(hidden, hidden, cell=cell).to(options.where)
        inputs = torch.randn(size.batch, size.time[0], hidden, device=options.where)
        calls: list[Callable[[], Any]] = [
            partial(encoder.rnn, inputs),
            partial(by_hand, encoder.rnn, inputs, torch.bfloat16),
            partial(by_hand, encoder.rnn, inputs, torch.float32),
            partial(encoder, inputs),
        ]
        cells = [tried(partial(bf16_step, options, encoder, call)) for call in calls]
        yield row([f"{cell} {hidden}, B{size.batch}", *cells])


def bf16_step(options: Options, module: nn.Module, forward: Callable[[], Any]) -> str:
    ms, _, dtype = step_time(options, module, forward, "bf16")
    return f"{ms:.2f} ({name_of(dtype)})"


def widths(options: Options) -> Iterator[Line]:
    """Padded rows have a column more, which leaves the width that tensor cores like."""
    size = sizes(options)
    hidden, steps, more = size.hidden[0], size.time[0], (0, 1, 8, 128)
    yield f"A step of an LSTM {hidden} by the width of its inputs, ms; T{steps}.\n"
    yield from heading(["precision", *(str(hidden + each) for each in more)])

    def measure(precision: str, width: int) -> str:
        rnn = nn.LSTM(width, hidden, batch_first=True).to(options.where)
        inputs = torch.randn(size.batch, steps, width, device=options.where)
        forward = partial(by_hand, rnn, inputs, PRECISIONS[precision][0])
        return f"{step_time(options, rnn, forward, precision)[0]:.2f}"

    for precision in PRECISIONS:
        cells = [tried(partial(measure, precision, hidden + each)) for each in more]
        yield row([precision, *cells])


def paddings(options: Options) -> Iterator[Line]:
    """Padded and packed rows, and dense ones, as if no row were shorter, which is wrong; for as
    long as there is time."""
    size = sizes(options)
    columns = [f"{way} ms" for way in WAYS] + ["packed / padded", "dense / padded"]
    memory = f"peak MiB: {', '.join(WAYS)}"
    yield from heading(["rows of T/4..T steps", "precision", *columns, memory])
    ratios: list[float] = []
    for steps, hidden, cell, directions, precision in itertools.product(
        size.time, size.hidden, ("lstm", "gru"), (1, 2), PRECISIONS
    ):
        title = f"{cell}, {directions} directions, B{size.batch} T{steps} H{hidden}"
        try:
            found = padding(options, steps, hidden, cell, directions, precision)
        except RuntimeError as error:
            yield row([title, precision, described(error), *[""] * 5])
            continue
        dense, padded, packed = (ms for ms, *_ in found)
        times = [f"{ms:.2f}" for ms in (dense, padded, packed, packed / padded, dense / padded)]
        yield row([title, precision, *times, ", ".join(f"{peak:.0f}" for _, peak, _ in found)])
        ratios.append(packed / padded)
        slower = sum(ratio < 0.95 for ratio in ratios)
        said = f"slower in {slower} of {len(ratios)} rows, at worst {min(ratios):.2f}"
        yield "padded", judged(options, not slower), said


def padding(
    options: Options, steps: int, hidden: int, cell: str, directions: int, precision: str
) -> list[tuple[float, float, torch.dtype]]:
    """Milliseconds and MiB of each of `WAYS`."""
    torch.manual_seed(0)
    lengths = torch.randint(max(steps // 4, 1), steps + 1, (sizes(options).batch,))
    lengths[0] = steps
    inputs = torch.randn(len(lengths), steps, hidden, device=options.where)
    two = {"cell": cell, "bidirectional": directions == 2}
    padded, packed = (
        RecurrentEncoder(hidden, hidden, **two, packing=way).to(options.where)
        for way in ("padded", "packed")
    )
    forwards = (partial(padded.rnn, inputs), partial(padded, inputs, lengths))
    found = [step_time(options, padded, forward, precision) for forward in forwards]
    if options.where.type == "mps":  # PyTorch issue 102911
        return [*found, (math.nan, math.nan, torch.float32)]
    return [*found, step_time(options, packed, partial(packed, inputs, lengths), precision)]
