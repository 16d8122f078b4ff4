"""Recurrent cells by name: PyTorch's own, and yours, of which you write one step."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.nn.state import State, parts_of, state_of

CELLS: dict[str, Callable[..., Any]] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


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

    Set `has_cell_state = True` for a state that is a pair `(h, c)`, as in `nn.LSTMCell`. A subclass
    of PyTorch's cells works as it is: `class Mine(Cell, nn.LSTMCell, name="mine")`.
    """

    has_cell_state: ClassVar[bool] = False

    def __init_subclass__(cls, *, name: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.has_cell_state |= issubclass(cls, nn.LSTMCell)
        if name is None:  # a common base of several cells
            return
        known: Any = CELLS.get(name)
        if known is not None and not made_again(cls, getattr(known, "args", [known])[0]):
            raise ValueError(f"two cells are called {name!r}")
        CELLS[name] = partial(SteppedRNN, cls)


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
        self.locked_dropout, self.has_cell_state = locked_dropout, cell.has_cell_state
        suffixes = ("", "_reverse") if bidirectional else ("",)
        self.names = [f"l{layer}{suffix}" for layer in range(num_layers) for suffix in suffixes]
        widths = [input_size] * len(suffixes) + [hidden_size * len(suffixes)] * len(self.names)
        for name, width in zip(self.names, widths, strict=False):
            self.add_module(name, cell(width, hidden_size))

    def forward(
        self, inputs: Tensor, hx: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """`output`, zero at padding, and the final states, as `nn.LSTM(batch_first=True)` gives
        them for packed rows.

        Args:
            lengths: `(B,)` on the CPU, each in `1..T`; None means that no row is padded.
        """
        (batch, time), device = inputs.shape[:2], inputs.device
        lengths = torch.full((batch,), time) if lengths is None else lengths
        if bool(((lengths < 1) | (lengths > time)).any()):
            raise ValueError(f"lengths must lie in 1..{time}: {lengths.tolist()}")
        step = torch.arange(time, device=device)
        last = lengths.to(device, non_blocking=True).unsqueeze(1) - 1
        valid = (step <= last).unsqueeze(2)  # (B, T, 1)
        ragged = valid if bool((lengths < time).any()) else None
        # what a direction reads: after a row's end, its last step again, so that neither padding
        # nor zeros, which a cell may divide by, can spoil a gradient
        places, first = torch.minimum(step, last), torch.arange(batch, device=device) * time
        orders = [(first.unsqueeze(1) + x).flatten() for x in (places, last - places)]
        zeros = inputs.new_zeros(len(self.names), batch, self.hidden_size)
        start = (zeros, zeros) if self.has_cell_state else (zeros,)
        states = zip(*(start if hx is None else parts_of(hx)), strict=True)
        finals = []
        for layer in range(self.num_layers):
            if layer:
                kept = inputs[:, :1] if self.locked_dropout else inputs
                inputs = inputs * F.dropout(torch.ones_like(kept), self.dropout, self.training)
            outputs = []
            for direction in range(len(self.names) // self.num_layers):
                cell = self.get_submodule(self.names[len(finals)])
                output, final = _run(cell, _read(inputs, orders[direction]), next(states), ragged)
                outputs.append(_read(output, orders[direction]))
                finals.append(final)
            inputs = torch.cat(outputs, dim=2)
        final = state_of(*(torch.stack(part) for part in zip(*finals, strict=True)))
        return inputs.masked_fill(~valid, 0.0), final


def _read(rows: Tensor, order: Tensor) -> Tensor:
    return rows.flatten(0, 1).index_select(0, order).view_as(rows)


def _run(
    cell: nn.Module, steps: Tensor, state: tuple[Tensor, ...], valid: Tensor | None
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """`h` after each step, `(B, T, H)`, and the state of each row after its own last one."""
    outputs = []
    for number, x in enumerate(steps.unbind(1)):
        before, state = state, parts_of(cell(x, state_of(*state)))
        if valid is not None:
            parts = zip(state, before, strict=True)
            state = tuple(torch.where(valid[:, number], *pair) for pair in parts)
        outputs.append(state[0])
    return torch.stack(outputs, dim=1), state


Recurrent = nn.RNNBase | SteppedRNN
