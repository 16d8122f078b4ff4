"""Recurrent cells by name: PyTorch's own, and yours, of which you write one step. And the state
that they carry, in PyTorch's own layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.device import on_device
from seqmodels.padding import last_step

CELLS: dict[str, Callable[..., Any]] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}

State = Tensor | tuple[Tensor, ...]
"""`h`, or for LSTM `(h, c)`, each `(L*D, B, ...)`: what PyTorch's own modules take and return."""


def parts_of(state: State) -> tuple[Tensor, ...]:
    """`(h,)` or `(h, c)`."""
    return (state,) if isinstance(state, Tensor) else state


def state_of(*parts: Tensor) -> State:
    """The state that has these parts."""
    return parts if len(parts) > 1 else parts[0]


class Cell(nn.Module):
    """One step of a recurrent network, with the interface of `nn.GRUCell`: a subclass with a name,
    made from `input_size` and `hidden_size`, whose `forward` turns `x` `(B, F)` and `h` `(B, H)`
    into the next `h`:

        class Elman(Cell, name="elman"):
            def __init__(self, input_size, hidden_size):
                super().__init__()
                self.h = nn.Linear(input_size + hidden_size, hidden_size)

            def forward(self, x, h):
                return self.h(torch.cat([x, h], dim=1)).tanh()

    A cell of several states names them, `h` first, then `c` if there is one, and takes and returns
    a tuple: `states = ("h", "c")`, as in `nn.LSTMCell`. They are as wide as `h` unless `__init__`
    sets `self.widths`, such as `{"c": 2 * hidden_size}`. A subclass of PyTorch's cells works as it
    is: `class Mine(Cell, nn.LSTMCell, name="mine")`.
    """

    states: ClassVar[tuple[str, ...]] = ("h",)
    widths: Mapping[str, int] = MappingProxyType({})

    def __init_subclass__(cls, *, name: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if issubclass(cls, nn.LSTMCell) and "states" not in vars(cls):
            cls.states = ("h", "c")
        if cls.states[0] != "h" or "c" in cls.states[2:]:
            raise ValueError(f"{cls.__name__}.states is {cls.states}: h comes first, then c")
        if name is None:  # a common base of several cells
            return
        known: Any = CELLS.get(name)
        if known is not None and not made_again(cls, getattr(known, "args", [known])[0]):
            raise ValueError(f"two cells are called {name!r}")
        CELLS[name] = partial(SteppedRNN, cls)

    def output(self, state: State) -> Tensor:
        """What the next layer, and `output`, get of a state: `h`, unless you override it."""
        return parts_of(state)[0]

    def parallel(self, steps: Tensor, state: State) -> State | None:
        """Each state after each step, `(B, T, ...)`, of `steps` `(B, T, F)`, all at once: override
        it for a cell whose gates don't read its state. None: step by step."""
        return None


def made_again(one: type, other: type) -> bool:
    """Whether the same lines made both classes, as when a notebook's cell runs twice."""
    return (one.__module__, one.__qualname__) == (other.__module__, other.__qualname__)


class SteppedRNN(nn.Module):
    """Runs a `Cell` as `nn.LSTM` and `nn.GRU` run theirs: layers, directions, dropout between
    layers, rows of different lengths.

    Args:
        cell: called for each layer and direction with `input_size` and `hidden_size`.
        locked_dropout: the dropout between layers drops the same features at all steps of a row.
    """

    batch_first, proj_size = True, 0

    def __init__(
        self,
        cell: type[Cell],
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bidirectional: bool = False,
        dropout: float = 0.0,
        locked_dropout: bool = False,
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bidirectional, self.dropout = bidirectional, dropout
        self.locked_dropout, self.output_size = locked_dropout, hidden_size
        suffixes = ("", "_reverse") if bidirectional else ("",)
        self.names = [f"l{layer}{suffix}" for layer in range(num_layers) for suffix in suffixes]
        for number, name in enumerate(self.names):
            above = number >= len(suffixes)  # the first layer
            made = cell(len(suffixes) * self.output_size if above else input_size, hidden_size)
            self.add_module(name, made)
            sizes = {f"{state}_n": made.widths.get(state, hidden_size) for state in cell.states}
            zeros = [torch.zeros(1, size) for size in sizes.values()]
            with torch.no_grad():
                self.output_size = made.output(state_of(*zeros)).shape[1]
        self.state_sizes = sizes  # by the names in `RNNOutput.finals`

    def forward(
        self, inputs: Tensor, hx: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """`output`, zero at padding, and the final states, as `nn.LSTM(batch_first=True)` gives
        them for packed rows. `lengths`: on the CPU; None: no row is padded."""
        (batch, time), device = inputs.shape[:2], inputs.device
        lengths = torch.full((batch,), time) if lengths is None else lengths
        step = torch.arange(time, device=device)
        last = on_device(lengths, device).unsqueeze(1) - 1
        valid = (step <= last).unsqueeze(2)  # (B, T, 1)
        ragged = valid if bool((lengths < time).any()) else None
        # what a direction reads: after a row's end, its last step again, so that neither padding
        # nor zeros, which a cell may divide by, can spoil a gradient
        places, first = torch.minimum(step, last), torch.arange(batch, device=device) * time
        orders = [(first.unsqueeze(1) + x).flatten() for x in (places, last - places)]
        zeros = (inputs.new_zeros(len(self.names), batch, n) for n in self.state_sizes.values())
        states = zip(*(zeros if hx is None else parts_of(hx)), strict=True)
        finals: list[tuple[Tensor, ...]] = []
        for layer in range(self.num_layers):
            if layer:
                kept = inputs[:, :1] if self.locked_dropout else inputs
                inputs = inputs * F.dropout(torch.ones_like(kept), self.dropout, self.training)
            outputs = []
            for direction in range(len(self.names) // self.num_layers):
                cell = self.get_submodule(self.names[len(finals)])
                steps, state = _read(inputs, orders[direction]), next(states)
                output, final = _run(cell, steps, state, ragged, last)
                outputs.append(_read(output, orders[direction]))
                finals.append(final)
            inputs = torch.cat(outputs, dim=2)
        parts = (torch.stack(part) for part in zip(*finals, strict=True))
        return inputs.masked_fill(~valid, 0.0), state_of(*parts)


def _read(rows: Tensor, order: Tensor) -> Tensor:
    return rows.flatten(0, 1).index_select(0, order).view_as(rows)


def _run(
    cell: Any, steps: Tensor, state: tuple[Tensor, ...], valid: Tensor | None, last: Tensor
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The output of each step, `(B, T, H)`, and the state of each row after its own last one,
    `last` `(B, 1)`."""
    if (made := cell.parallel(steps, state_of(*state))) is not None:
        return cell.output(made), tuple(last_step(p, last.squeeze(1) + 1) for p in parts_of(made))
    outputs = []
    for number, x in enumerate(steps.unbind(1)):
        made = parts_of(cell(x, state_of(*state)))
        if valid is not None:
            parts = zip(made, state, strict=True)
            made = tuple(torch.where(valid[:, number], *pair) for pair in parts)
        state = made
        outputs.append(cell.output(state_of(*state)))
    return torch.stack(outputs, dim=1), state


Recurrent = nn.RNNBase | SteppedRNN
