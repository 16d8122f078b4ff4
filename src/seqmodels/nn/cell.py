"""Recurrent cells by name: PyTorch's own, and yours, of which you write one step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from seqmodels.errors import UserError, one_line
from seqmodels.nn.state import State, parts_of

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
        if name in CELLS:
            raise ValueError(f"two cells are called {name!r}")
        CELLS[name] = partial(SteppedRNN, cls)


class SteppedRNN(nn.Module):
    """Runs a `Cell` as `nn.LSTM` and `nn.GRU` run theirs: layers, directions, dropout between
    layers, padded or packed rows. A packed row takes only its own steps, in both directions.

    Args:
        cell: called for each layer and direction with `input_size` and `hidden_size`.
        locked_dropout: the dropout between layers drops the same features at all steps of a row.

    Raises:
        UserError: if the cell cannot take a step, or its step does not return a state.
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
            self.add_module(name, _checked(cell, width, hidden_size))

    def forward(
        self, inputs: Tensor | PackedSequence, hx: State | None = None
    ) -> tuple[Any, State]:
        """`output` and the final states in the layouts of `nn.LSTM(batch_first=True)`."""
        order = original = None  # of the rows, where they are packed
        if isinstance(inputs, PackedSequence):
            data, batch_sizes, order, original = inputs
            counts = batch_sizes.tolist()  # they lie on the CPU
        else:
            data, counts = inputs.transpose(0, 1).flatten(0, 1), [len(inputs)] * inputs.shape[1]
        zeros = data.new_zeros(len(self.names), counts[0], self.hidden_size)
        state = ((zeros, zeros) if self.has_cell_state else zeros) if hx is None else hx
        start = tuple(_reordered(part, order) for part in parts_of(state))
        data, parts = self._layers(data, counts, start)
        h_n, *c_n = (_reordered(part, original) for part in parts)
        final = (h_n, c_n[0]) if c_n else h_n
        if isinstance(inputs, PackedSequence):
            return inputs._replace(data=data), final
        return data.unflatten(0, (len(counts), -1)).transpose(0, 1), final

    def _layers(
        self, data: Tensor, counts: list[int], start: tuple[Tensor, ...]
    ) -> tuple[Tensor, list[Tensor]]:
        """`data` `(N, F)` holds the steps of all rows, time first; `counts`, how many rows each
        step has, the longest rows first."""
        directions, finals = 2 if self.bidirectional else 1, []
        for layer in range(self.num_layers):
            data = self._dropped(data, counts) if layer else data
            steps, outputs = data.split(counts), []
            for number in range(layer * directions, (layer + 1) * directions):
                name = self.names[number]
                first = [part[number] for part in start]
                backward = name.endswith("_reverse")
                output, final = _run(self.get_submodule(name), steps, first, backward)
                outputs.append(output)
                finals.append(final)
            data = torch.cat(outputs, dim=-1)
        return data, [torch.stack(part) for part in zip(*finals, strict=True)]

    def _dropped(self, data: Tensor, counts: list[int]) -> Tensor:
        if not (self.locked_dropout and self.training):
            return F.dropout(data, self.dropout, self.training)
        mask = F.dropout(torch.ones_like(data[: counts[0]]), self.dropout, self.training)
        return data * torch.cat([mask[:count] for count in counts])


def _run(
    cell: nn.Module, steps: Sequence[Tensor], start: list[Tensor], backward: bool
) -> tuple[Tensor, list[Tensor]]:
    """One layer, one direction: `h` after each step, `(N, H)`, and final `[h, c]` or `[h]`.

    Forward, the rows that have ended leave the batch; backward, they join it at their last step.
    """
    ordered = steps[::-1] if backward else steps
    state, outputs, ended = [part[: len(ordered[0])] for part in start], [], []
    for x in ordered:
        rows, before = len(x), len(state[0])
        if rows < before:
            ended.append([part[rows:] for part in state])
            state = [part[:rows] for part in state]
        elif rows > before:
            joining = zip(state, start, strict=True)
            state = [torch.cat([part, first[before:rows]]) for part, first in joining]
        state = [*parts_of(cell(x, tuple(state) if len(state) == 2 else state[0]))]
        outputs.append(state[0])
    ended.append(state)
    final = [torch.cat(parts) for parts in zip(*ended[::-1], strict=True)]
    return torch.cat(outputs[::-1] if backward else outputs), final


def _reordered(state: Tensor, order: Tensor | None) -> Tensor:
    return state if order is None else state.index_select(1, order)


def _checked(make: type[Cell], input_size: int, hidden_size: int) -> Cell:
    """The cell, after one step of two rows, so that a mistake in it is one line before training."""
    kind, count = make.__name__, 2 if make.has_cell_state else 1
    try:
        cell = make(input_size, hidden_size).eval()  # no random numbers
        x, h = torch.zeros(2, input_size), torch.zeros(2, hidden_size)
        with torch.no_grad():
            made = cell(x, (h, h) if count == 2 else h)
    except Exception as error:  # your own code may raise anything
        raise UserError(
            f"cell {kind} cannot take a step: {type(error).__name__}: {one_line(error)}"
        ) from error
    parts = made if isinstance(made, tuple) else (made,)
    if [getattr(part, "shape", None) for part in parts] != [h.shape] * count:
        wanted = "(h, c), each" if count == 2 else "h"
        raise UserError(
            f"the step of cell {kind} must return {wanted} (B, H), and has_cell_state=True where "
            "it is a pair (h, c)"
        )
    return cell.train()


Recurrent = nn.RNNBase | SteppedRNN
