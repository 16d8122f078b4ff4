"""`RecurrentEncoder` with packing=packed against packing=padded, in training and inference.

    python benchmarks/packing.py
    python benchmarks/packing.py --device cuda --repeats 50
    python benchmarks/packing.py --only lstm --output /tmp/packing.md

The two variants take turns, A B A B, so that a busy machine slows both equally. A training step is
forward, a loss that depends on every part of `output` and `h_n`, and backward to the weights and
the inputs; inference is forward alone. Before timing, the script checks that both give the same
results.
"""

from __future__ import annotations

import argparse
import gc
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import torch
from report import Noise, default_output, heading, machine_lines, parsed, row, synchronize, write
from torch import Tensor, nn

from seqmodels.nn.encoder import RecurrentEncoder, RNNOutput

SAMPLE_SECONDS = 0.03  # one sample is as many calls as fill this


@dataclass(frozen=True)
class Shape:
    """One row of the table: the network, and a batch whose lengths are uniform in a range."""

    cell: str
    bidirectional: bool
    batch: int
    time: int
    features: int
    hidden: int
    shortest: int
    layers: int = 1
    projection: int = 0

    def __str__(self) -> str:
        network = [self.cell.upper(), "2 directions" if self.bidirectional else "1 direction"]
        if self.layers > 1:
            network.append(f"{self.layers} layers")
        if self.projection:
            network.append(f"proj_size {self.projection}")
        batch = f"B{self.batch} T{self.time} F{self.features} H{self.hidden}"
        return f"{', '.join(network)}, {batch}, lengths {self.shortest}..{self.time}"

    def encoder(self, packing: str) -> RecurrentEncoder:
        return RecurrentEncoder(
            self.features,
            self.hidden,
            self.layers,
            cell=self.cell,
            bidirectional=self.bidirectional,
            proj_size=self.projection,
            packing=packing,
        )

    def lengths(self) -> Tensor:
        lengths = torch.randint(self.shortest, self.time + 1, (self.batch,))
        lengths[0] = self.time
        return lengths


SHAPES = (
    Shape("lstm", True, 64, 100, 128, 128, 25),  # the headline
    Shape("lstm", False, 64, 100, 128, 128, 25),
    Shape("lstm", True, 64, 100, 128, 128, 25, layers=2),
    Shape("lstm", True, 64, 200, 256, 256, 50),
    Shape("lstm", True, 64, 400, 64, 64, 1),
    Shape("lstm", True, 16, 29, 12, 128, 7),
    Shape("lstm", False, 16, 29, 12, 128, 7),
    Shape("lstm", True, 64, 100, 128, 128, 25, projection=64),
    Shape("gru", True, 64, 100, 128, 128, 25),
    Shape("gru", False, 64, 100, 128, 128, 25),
    Shape("rnn", True, 64, 100, 128, 128, 25),
)


@dataclass(frozen=True)
class Timing:
    """Median milliseconds of both ways, and packed over padded: median and quartiles of pairs."""

    packed: float
    padded: float
    ratios: list[float]

    def cells(self) -> list[str]:
        ordered = sorted(self.ratios)
        low, high = ordered[len(ordered) // 4], ordered[-1 - len(ordered) // 4]
        ratio = f"{median(ordered):.2f} ({low:.2f} to {high:.2f})"
        return [f"{self.packed:.2f}", f"{self.padded:.2f}", ratio]


def loss_of(states: RNNOutput) -> Tensor:
    return states.output.square().sum() + states.h_n.square().sum()


def training_step(encoder: RecurrentEncoder, inputs: Tensor, lengths: Tensor) -> None:
    encoder.zero_grad(set_to_none=True)
    inputs.grad = None
    loss_of(encoder(inputs, lengths)).backward()


def inference(encoder: RecurrentEncoder, inputs: Tensor, lengths: Tensor) -> None:
    with torch.inference_mode():
        encoder(inputs, lengths)


def check_equal(encoders: Sequence[RecurrentEncoder], inputs: Tensor, lengths: Tensor) -> None:
    """Raises AssertionError if the ways differ in a result or a gradient."""
    found: list[list[Tensor]] = []
    for encoder in encoders:
        training_step(encoder, inputs, lengths)
        assert inputs.grad is not None
        states = encoder(inputs, lengths)
        gradients = [p.grad for p in encoder.parameters() if p.grad is not None]
        found.append([states.output.detach(), states.h_n.detach(), inputs.grad, *gradients])
    tight = inputs.device.type == "cpu"  # a GPU may multiply with TF32
    for a, b in zip(*found, strict=True):
        scale = float(a.abs().max())
        torch.testing.assert_close(a, b, rtol=0, atol=scale * (1e-4 if tight else 1e-2))


def chosen(shape: Shape, inputs: Tensor, lengths: Tensor, step: Callable[..., None]) -> str:
    """What `packing=auto` picks: packed, if `encoder.rnn` is called (with packed rows)."""
    encoder = shape.encoder("auto").to(inputs.device)
    calls: list[nn.Module] = []
    encoder.rnn.register_forward_pre_hook(lambda module, _: calls.append(module))
    step(encoder, inputs, lengths)
    return "packed" if calls else "padded"


def seconds(call: Callable[[], None], count: int, device: torch.device) -> float:
    """Seconds of one call, averaged over `count` calls."""
    synchronize(device)
    started = time.perf_counter()
    for _ in range(count):
        call()
    synchronize(device)
    return (time.perf_counter() - started) / count


def compare(
    packed: Callable[[], None], padded: Callable[[], None], repeats: int, device: torch.device
) -> Timing:
    ways, counts = (packed, padded), []
    for way in ways:
        seconds(way, 2, device)  # warm up
        counts.append(max(1, round(SAMPLE_SECONDS / seconds(way, 2, device))))
    gc.collect()
    gc.disable()
    try:
        pairs = [
            [1000 * seconds(way, n, device) for way, n in zip(ways, counts, strict=True)]
            for _ in range(repeats)
        ]
    finally:
        gc.enable()
    a, b = zip(*pairs, strict=True)
    return Timing(median(a), median(b), [x / y for x, y in pairs])


def measure(shape: Shape, repeats: int, device: torch.device) -> list[str]:
    """A row of the table."""
    torch.manual_seed(0)
    ways = [shape.encoder("packed").to(device), shape.encoder("padded").to(device)]
    ways[1].load_state_dict(ways[0].state_dict())
    lengths = shape.lengths()
    inputs = torch.randn(shape.batch, shape.time, shape.features, device=device)
    inputs.requires_grad_()  # as behind an embedding
    check_equal(ways, inputs, lengths)
    cells = [str(shape)]
    for step in (training_step, inference):
        a, b = (lambda way=way: step(way, inputs, lengths) for way in ways)  # noqa: B023
        cells += [*compare(a, b, repeats, device).cells(), chosen(shape, inputs, lengths, step)]
    return cells


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cpu", type=torch.device, help="cpu, cuda, cuda:1")
    parser.add_argument("--repeats", default=21, type=int, help="pairs of samples in each row")
    parser.add_argument("--threads", type=int, help="default: as PyTorch chooses")
    parser.add_argument("--only", default="", help="only rows whose name contains this")
    arguments = parsed(parser, argv, repeats=1, only="1 direction, B16")
    device: torch.device = arguments.device

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    warnings.filterwarnings("ignore", ".*not supported with oneDNN")

    columns = ["shape"]
    for stage in ("train", "infer"):
        columns += [f"{stage}: packed ms", "padded ms", "packed / padded", "auto"]
    table = heading([*columns, "others' cores"])
    print(*table, sep="\n")
    with Noise() as noise:
        for shape in SHAPES:
            if arguments.only.lower() in str(shape).lower():
                with Noise() as others:
                    cells = measure(shape, arguments.repeats, device)
                table.append(row([*cells, str(others)]))
                print(table[-1], flush=True)
    explanation = (
        f"Medians of {arguments.repeats} alternating samples; the ratio is the median over the "
        "pairs, with its quartiles: above 1, padded is faster. `auto` is what packing=auto chose."
    )
    write(
        arguments.output or default_output("packing", device),
        [
            "# `packing=packed` against `packing=padded`",
            "",
            *machine_lines(device, noise),
            "",
            explanation,
            "",
            *table,
        ],
    )


if __name__ == "__main__":
    main()
