"""Check that a model reads each direction of the recurrent networks in it, at its end."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils.hooks import RemovableHandle

from seqmodels.audit.probe import Probe
from seqmodels.nn.cell import Recurrent, parts_of, state_of

POSITIONS = ("start", "middle", "end")
MOST_DRAWS = 24  # of random weights, before something counts as unread


class StatesRead:
    """Which states in the last layer of a recurrent network reach the logits.

    A direction has three positions: its `start`, where it has seen only one step; its `end`, where
    it has seen all steps, with `h_n` and `c_n`; and the `middle`.
    """

    def __init__(self, name: str, rnn: Recurrent) -> None:
        self.name, self.rnn = name, rnn
        self.directions = ("forward", "backward") if rnn.bidirectional else ("forward",)
        self.read: set[tuple[str, str]] = set()  # (direction, position), if it reaches a logit
        self.called = False  # whether the model ran the network on rows with a middle

    def __str__(self) -> str:
        return label_of(self.name, self.rnn)

    def unread(self) -> list[str]:
        """Evidence for each direction that reaches no logit."""
        return [
            f"{self}: no change of the last layer's {direction} states moves a logit"
            for direction in self.directions
            if direction not in {read for read, _ in self.read}
        ]

    def truncated(self) -> list[str]:
        """Evidence for each direction that is read at its start but not in its middle. The only
        direction of a network may be read at its end instead.

        A pooling reads the middle as well, so this is a wrong index.
        """
        return [
            f"{self}: {direction} is read at step {start}, where it has seen only one step, and at "
            "no step between there and its end"
            for direction, start in (("forward", "0"), ("backward", "length - 1"))
            if (direction, "start") in self.read
            and (direction, "middle") not in self.read
            and (self.rnn.bidirectional or ("forward", "end") not in self.read)
            and direction in self.directions
        ]


def label_of(path: str, network: nn.Module) -> str:
    """What a message calls a network, such as `LSTM 'encoder.rnn'`."""
    class_name = type(network).__name__
    return f"{class_name} {path!r}" if path else class_name


def states_read(probe: Probe) -> list[StatesRead]:
    """Adds noise to each position of each direction in turn, and checks whether any logit changes.

    Tries again with random weights where nothing changes: a unit may be saturated, or a maximum may
    lie at another step.
    """
    found = {
        id(part): StatesRead(name, part)
        for module in probe.modules
        for name, part in module.named_modules()
        if isinstance(part, Recurrent)
    }
    for network in found.values():
        for draw in range(1 + MOST_DRAWS):
            with probe.random_weights() if draw else nullcontext():
                _read(probe, network)
            if not network.called or not (network.unread() or network.truncated()):
                break
    return [network for network in found.values() if network.called]


def _read(probe: Probe, network: StatesRead) -> None:
    inputs = probe.sampler.batch(probe.full)
    before = probe.rows(inputs, probe.full)
    for direction, position, size in product(network.directions, POSITIONS, (1.0, 10.0)):
        if (direction, position) not in network.read:
            with _with_noise(network, direction, position, size):
                after = probe.rows(inputs, probe.full)
            if not all(map(torch.equal, before, after)):
                network.read.add((direction, position))


def _with_noise(network: StatesRead, direction: str, position: str, size: float) -> RemovableHandle:
    """A hook: noise at one position of the last layer's `output`, `h_n` and `c_n`."""
    count, number = len(network.directions), network.directions.index(direction)
    generator = torch.Generator().manual_seed(0)

    def noise(tensor: Tensor) -> Tensor:
        return size * torch.randn(tensor.shape, generator=generator).to(tensor)

    def change(output: Any, parts: list[Tensor]) -> Any:
        data = output.data if isinstance(output, PackedSequence) else output
        seen, length = _steps_seen(network.rnn, output, direction)
        where = {"start": seen == 0, "middle": (seen > 0) & (seen < length - 1)}
        here = where.get(position, seen == length - 1) & (length > 2)  # else there is no middle
        network.called |= bool((length > 2).any())
        half = torch.arange(data.shape[-1]) // (data.shape[-1] // count) == number
        data = data + noise(data) * (here.unsqueeze(-1) & half).to(data)
        for part in parts if position == "end" else ():  # (L*D, B, H)
            part[number - count] += noise(part[number - count])
        return output._replace(data=data) if isinstance(output, PackedSequence) else data

    return hook(network.rnn, change)


def hook(rnn: Recurrent, change: Callable[[Any, list[Tensor]], Any]) -> RemovableHandle:
    """Makes a network return the output that `change` gives of its output and final states,
    `(L*D, B, H)` each, which it may change in place."""

    def changed(module: Recurrent, arguments: Any, result: tuple[Any, Any]) -> tuple[Any, Any]:
        parts = [part.clone() for part in parts_of(result[1])]
        return change(result[0], parts), state_of(*parts)

    return rnn.register_forward_hook(changed)


def _steps_seen(
    rnn: Recurrent, output: Tensor | PackedSequence, direction: str
) -> tuple[Tensor, Tensor]:
    """How many steps the direction has seen before each step of `output`, and the row's length;
    both broadcast against `output` without its last dimension."""
    if isinstance(output, PackedSequence):
        counts = output.batch_sizes
        step = torch.arange(len(counts)).repeat_interleave(counts)
        row = torch.cat([torch.arange(int(count)) for count in counts])
        length = (counts.unsqueeze(1) > torch.arange(int(counts[0]))).sum(dim=0)[row]
    else:
        axis = 1 if output.dim() == 3 and rnn.batch_first else 0
        shape = [1] * (output.dim() - 1)
        shape[axis] = -1
        step = torch.arange(output.shape[axis]).view(shape)
        length = torch.tensor(output.shape[axis])
    return (step if direction == "forward" else length - 1 - step), length
