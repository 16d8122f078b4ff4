"""Find out which parts of an `nn.LSTM`, `nn.GRU` or `nn.RNN` inside a model are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from seqmodels.audit.probing import Probe

PLACES = ("start", "middle", "end")
MOST_DRAWS = 24  # of random weights, before something counts as unread


class Reading:
    """Which states in the last layer of a recurrent network reach the logits.

    A direction has three places: its `start`, where it has seen only one step; its `end`, where it
    has seen all steps, with `h_n` and `c_n`; and the `middle`.

    Args:
        name: of the network in the model; empty if it is the model.
        rnn: the network.

    Attributes:
        read: the (direction, place) pairs that reach a logit.
        called: whether the model ran the network on rows with a middle.
    """

    def __init__(self, name: str, rnn: nn.RNNBase) -> None:
        self.name, self.rnn = name, rnn
        self.directions = ("forward", "backward") if rnn.bidirectional else ("forward",)
        self.read: set[tuple[str, str]] = set()
        self.called = False

    def __str__(self) -> str:
        kind = type(self.rnn).__name__
        return f"{kind} {self.name!r}" if self.name else kind

    def unread(self) -> list[str]:
        """The directions that reach no logit at all."""
        return [d for d in self.directions if not any((d, place) in self.read for place in PLACES)]

    def truncated(self) -> list[str]:
        """The directions that are read at their start but not in their middle.

        A pooling reads the middle as well, so this is a wrong index.
        """
        if len(self.directions) == 1:
            return []
        return [
            direction
            for direction in self.directions
            if (direction, "start") in self.read and (direction, "middle") not in self.read
        ]


def readings(probe: Probe) -> list[Reading]:
    """Adds noise to each place of each direction in turn, and checks whether any logit changes.

    Tries again with random weights where nothing changes: a unit may be saturated, or a maximum may
    lie at another step.
    """
    lengths = [max(probe.lengths)] * len(probe.lengths)
    named = {
        id(part): (name, part)
        for module in probe.modules
        for name, part in module.named_modules()
        if isinstance(part, nn.RNNBase)
    }
    found = [Reading(name, rnn) for name, rnn in named.values()]
    for reading in found:
        _read(probe, reading, lengths)
        for _ in range(MOST_DRAWS):
            if not reading.called or not (reading.unread() or reading.truncated()):
                break
            with probe.random_weights():
                _read(probe, reading, lengths)
    return [reading for reading in found if reading.called]


def _read(probe: Probe, reading: Reading, lengths: Sequence[int]) -> None:
    inputs = probe.sampler.batch(lengths)
    before = probe.rows(inputs, lengths)
    for direction in reading.directions:
        for place in PLACES:
            for size in (1.0, 10.0):
                if (direction, place) in reading.read:
                    break
                with _changing(reading, direction, place, size):
                    after = probe.rows(inputs, lengths)
                if not all(map(torch.equal, before, after)):
                    reading.read.add((direction, place))


@contextmanager
def _changing(reading: Reading, direction: str, place: str, size: float) -> Iterator[None]:
    """Within: the network adds noise to one place of its last layer's `output`, `h_n` and `c_n`."""
    rnn, count = reading.rnn, len(reading.directions)
    number = reading.directions.index(direction)

    def noise(tensor: Tensor) -> Tensor:
        return size * torch.randn(tensor.shape, generator=generator).to(tensor)

    def hook(module: nn.Module, arguments: Any, result: tuple[Any, Any]) -> tuple[Any, Any]:
        output, final = result
        data = output.data if isinstance(output, PackedSequence) else output
        seen, length = _steps_seen(rnn, output, direction)
        where = {"start": seen == 0, "middle": (seen > 0) & (seen < length - 1)}
        here = where.get(place, seen == length - 1) & (length > 2)  # else there is no middle
        reading.called |= bool((length > 2).any())
        width = data.shape[-1] // count
        half = torch.arange(data.shape[-1]) // width == number
        data = data + noise(data) * (here.unsqueeze(-1) & half).to(data)
        if isinstance(output, PackedSequence):
            data = output._replace(data=data)
        if place == "end":
            final = tuple(final) if rnn.mode == "LSTM" else (final,)
            added = torch.zeros(final[0].shape[0])
            added[final[0].shape[0] - count + number] = 1.0
            scale = added.view(-1, *[1] * (final[0].dim() - 1))
            final = tuple(part + noise(part) * scale.to(part) for part in final)
            final = final if rnn.mode == "LSTM" else final[0]
        return data, final

    generator = torch.Generator().manual_seed(0)
    handle = rnn.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _steps_seen(
    rnn: nn.RNNBase, output: Tensor | PackedSequence, direction: str
) -> tuple[Tensor, Tensor]:
    """For each step of `output`: how many steps the direction has seen before it, and the length.

    Both broadcast against `output` without its last dimension.
    """
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
