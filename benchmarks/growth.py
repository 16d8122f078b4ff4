"""How `packing=auto` compares with packed rows as sequences, batches and networks grow.

    python benchmarks/growth.py
    python benchmarks/growth.py --seconds 3 --output /tmp/growth.md

One size grows, the others stay as they are. Writes a table, and a picture beside it. The last rows
show the physical limit: the multiplications of an LSTM alone, beside one bare product as large, by
`@`, and by oneDNN if that is faster. Where Keras and JAX are installed (`pip install -e
".[benchmarks]"`), their LSTM, compiled, takes turns too.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib.pyplot as plt
import torch
from packing import Shape, check_equal, inference, training_step
from report import Noise, default_output, heading, machine_lines, parsed, row, write
from torch import Tensor

from seqmodels.nn.vocabulary import product as by_onednn

CPU = torch.device("cpu")
# 32 rows of 100 steps, the shortest a quarter as long, 64 units
CENTRE = Shape("lstm", False, 32, 100, 64, 64, 25)
SIZES = {
    "time": (10, 30, 100, 300, 1000, 3000, 10_000),
    "batch": (1, 4, 16, 64, 256, 1024),
    "hidden": (8, 32, 128, 512, 1024),
}
NAMES = {"time": "steps T", "batch": "rows B", "hidden": "units H"}


def grown(cell: str, axis: str, size: int) -> Shape:
    """The centre with one other size; few rows where sequences are long or networks wide."""
    changed: dict[str, Any] = {axis: size}
    if axis == "time":
        rows = 32 if size <= 1000 else 8 if size <= 3000 else 2
        changed |= {"shortest": max(size // 4, 1), "batch": rows}
    if axis == "hidden":
        changed |= {"features": size, "time": 30 if size > 128 else 100, "shortest": 8}
    return replace(CENTRE, cell=cell, **changed)


def turns(ways: Sequence[Callable[[], object]], budget: float) -> list[list[float]]:
    """The seconds of each way in each turn, until the budget is spent; at least three turns, unless
    one takes ten times as long."""
    for way in ways:
        way()  # warm up
    found: list[list[float]] = []
    end = time.perf_counter() + budget
    while (now := time.perf_counter()) < end or (len(found) < 3 and now < end + 9 * budget):
        turn = []
        for way in ways:
            started = time.perf_counter()
            way()
            turn.append(time.perf_counter() - started)
        found.append(turn)
    return found


def batch_for(shape: Shape) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    lengths = shape.lengths()
    inputs = torch.randn(shape.batch, shape.time, shape.features)
    return inputs.requires_grad_(), lengths


def ratios(shape: Shape, budget: float) -> list[list[float]]:
    """Packed over auto in each turn, of a training step and of inference."""
    inputs, lengths = batch_for(shape)
    ways = [shape.encoder("packed"), shape.encoder("auto")]
    ways[1].load_state_dict(ways[0].state_dict())
    check_equal(ways, inputs, lengths)
    found = []
    for step in (training_step, inference):
        calls = [lambda way=way: step(way, inputs, lengths) for way in ways]  # noqa: B023
        found.append([packed / auto for packed, auto in turns(calls, budget)])
    return found


def spread(values: Sequence[float]) -> str:
    """Median, lowest and highest."""
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def limits(shape: Shape, budget: float) -> list[list[str]]:
    """Rows with the billions of operations a second of an LSTM's products, and of a bare one."""
    inputs, lengths = batch_for(shape)
    encoder = shape.encoder("auto")
    x = torch.randn(int(lengths.sum()), shape.features + shape.hidden)
    w = torch.randn(shape.features + shape.hidden, 4 * shape.hidden)
    operations = 2 * len(x) * w.numel()
    ways: dict[str, tuple[Callable[[], object], int]] = {
        "an LSTM's products in inference": (lambda: inference(encoder, inputs, lengths), 1),
        "an LSTM's products in a training step": (
            lambda: training_step(encoder, inputs, lengths),
            3,  # the gradients by the inputs and by the weights are products of that size too
        ),
        "a bare product of that size": (lambda: x @ w, 1),
        "the same by oneDNN, where that is faster": (lambda: by_onednn(x, w), 1),
    }
    if importlib.util.find_spec("keras") and importlib.util.find_spec("jax"):
        for name, call in keras_ways(shape, inputs, lengths).items():
            ways[f"Keras on JAX, {name}"] = (call, 3 if "training" in name else 1)
    else:
        print('without Keras on JAX, which is not installed: pip install -e ".[benchmarks]"')
    seconds = zip(*turns([call for call, _ in ways.values()], budget), strict=True)
    return [
        [f"{name}, {shape}", spread([operations * count / s / 1e9 for s in each])]
        for (name, (_, count)), each in zip(ways.items(), seconds, strict=True)
    ]


def keras_ways(shape: Shape, inputs: Tensor, lengths: Tensor) -> dict[str, Callable[[], object]]:
    """Keras's LSTM on the same rows, masked, compiled by JAX: inference and a training step."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import jax
    import keras

    layer = keras.layers.LSTM(shape.hidden, return_sequences=True, zero_output_for_mask=True)
    x = jax.numpy.asarray(inputs.detach().numpy())
    mask = jax.numpy.asarray((torch.arange(shape.time) < lengths.unsqueeze(1)).numpy())
    layer.build(x.shape)
    weights = [variable.value for variable in layer.trainable_variables]
    fixed = [variable.value for variable in layer.non_trainable_variables]

    def run(weights: Any, x: Any) -> Any:
        return layer.stateless_call(weights, fixed, x, mask=mask)[0]

    infer = jax.jit(run)
    train = jax.jit(jax.grad(lambda w, x: (run(w, x) ** 2).sum(), argnums=(0, 1)))
    return {
        "inference": lambda: jax.block_until_ready(infer(weights, x)),
        "a training step": lambda: jax.block_until_ready(train(weights, x)),
    }


def draw(found: dict[tuple[str, str], list[list[float]]], sizes: Any, path: Path) -> None:
    """A panel for each size that grows: the medians of both cells, in training and inference."""
    figure, panels = plt.subplots(1, len(sizes), figsize=(12, 3.6), sharey=True, squeeze=False)
    for panel, axis in zip(panels[0], sizes, strict=True):
        for (cell, grows), medians in found.items():
            if grows == axis:
                for values, stage, line in zip(
                    zip(*medians, strict=True), ("training", "inference"), "-:", strict=True
                ):
                    colour = "tab:blue" if cell == "lstm" else "tab:orange"
                    label = f"{cell.upper()}, {stage}"
                    panel.plot(sizes[axis], values, line, color=colour, marker=".", label=label)
        panel.axhline(1, color="grey", linewidth=0.8)
        panel.set(xscale="log", yscale="log", xlabel=NAMES[axis])
    panels[0][0].set_ylabel("packed / auto")
    panels[0][0].legend()
    figure.savefig(path, bbox_inches="tight")
    print(f"written: {path}")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", default=1.5, type=float, help="for each ratio")
    parser.add_argument("--largest", default=10_000, type=int, help="leave out larger sizes")
    parser.add_argument("--threads", type=int, help="default: as PyTorch chooses")
    arguments = parsed(parser, argv, seconds=0.01, largest=10)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    warnings.filterwarnings("ignore", ".*not supported with oneDNN")
    sizes = {a: [n for n in each if n <= arguments.largest] for a, each in SIZES.items()}
    found: dict[tuple[str, str], list[list[float]]] = {}
    table = heading(["shape", "packed / auto: training", "inference", "others' cores"])
    print(*table, sep="\n")
    with Noise() as noise:
        for cell, axis in product(("lstm", "gru"), sizes):
            for size in sizes[axis]:
                shape = grown(cell, axis, size)
                with Noise() as others:
                    both = ratios(shape, arguments.seconds)
                found.setdefault((cell, axis), []).append([median(each) for each in both])
                table.append(row([str(shape), *map(spread, both), str(others)]))
                print(table[-1], flush=True)
        limit = heading(["products", "billions of operations a second"])
        wide = min(128, arguments.largest)
        shape = replace(CENTRE, batch=64, features=wide, hidden=wide)
        limit += [row(cells) for cells in limits(shape, 4 * arguments.seconds)]
    print(*limit, sep="\n")
    output = arguments.output or default_output("growth", CPU)
    write(
        output,
        [
            "# `packing=auto` against `packing=packed` as sizes grow",
            "",
            *machine_lines(CPU, noise),
            "",
            "Medians of alternating turns, with the lowest and the highest: above 1, `auto` is "
            "faster.",
            "",
            *table,
            "",
            *limit,
        ],
    )
    draw(found, sizes, output.with_suffix(".svg"))


if __name__ == "__main__":
    main()
