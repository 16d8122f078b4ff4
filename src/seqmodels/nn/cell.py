"""Recurrent cells by name: PyTorch's own, and yours, of which you write one step. And the state
that they carry, in PyTorch's own layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar, cast

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
        if name is None:  # The class is a common base of several cells.
            return
        if name in CELLS and not made_again(cls, _class_of(CELLS[name])):
            raise ValueError(f"two cells are called {name!r}")
        CELLS[name] = partial(SteppedRNN, cls)

    def output(self, state: State) -> Tensor:
        """What the next layer, and `output`, get of a state: `h`, unless you override it."""
        return parts_of(state)[0]

    def parallel(self, steps: Tensor, state: State) -> State | None:
        """Each state after each step, `(B, T, ...)`, of `steps` `(B, T, F)`, all at once: override
        it for a cell whose gates don't read its state. None: step by step."""
        return None


def _class_of(builder: Any) -> type:
    """The class that an entry of `CELLS` runs: PyTorch's own, or a `Cell`."""
    return builder.args[0] if isinstance(builder, partial) else builder


def made_again(one: type, other: type) -> bool:
    """Whether the same lines made both classes, as when a notebook's cell runs twice."""
    return (one.__module__, one.__qualname__) == (other.__module__, other.__qualname__)


class SteppedRNN(nn.Module):
    """Runs a `Cell` as `nn.LSTM` and `nn.GRU` run theirs: layers, directions, dropout between
    layers, rows of different lengths.

    Args:
        cell: called for each layer and direction with `input_size` and `hidden_size`.
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
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.dropout = dropout
        suffixes = ("", "_reverse") if bidirectional else ("",)
        self.names = [f"l{layer}{suffix}" for layer in range(num_layers) for suffix in suffixes]
        self.output_size = hidden_size
        for number, name in enumerate(self.names):
            is_in_first_layer = number < len(suffixes)
            width = input_size if is_in_first_layer else len(suffixes) * self.output_size
            built_cell = cell(width, hidden_size)
            self.add_module(name, built_cell)
            # The width of each state, by its name in `RNNOutput.finals`, is the same in all cells.
            self.state_sizes = {
                f"{state}_n": built_cell.widths.get(state, hidden_size) for state in cell.states
            }
            zeros = [torch.zeros(1, size) for size in self.state_sizes.values()]
            with torch.no_grad():
                self.output_size = built_cell.output(state_of(*zeros)).shape[1]

    def layer(self, number: int, directions: Sequence[int]) -> SteppedRNN:
        """A network of this layer and these directions alone, with the same weights."""
        layer = copy(self)
        layer._modules = {}
        all_directions = 2 if self.bidirectional else 1
        layer.names = [self.names[number * all_directions + direction] for direction in directions]
        for name in layer.names:
            layer.add_module(name, self.get_submodule(name))
        layer.num_layers = 1
        layer.bidirectional = len(directions) == 2
        return layer

    def forward(
        self,
        inputs: Tensor,
        hx: State | None = None,
        lengths: Tensor | None = None,
        factors: Sequence[Tensor] | None = None,
    ) -> tuple[Tensor, State]:
        """`output`, zero at padding, and the final states, as `nn.LSTM(batch_first=True)` gives
        them for packed rows.

        Args:
            lengths: on the CPU; None: no row is padded.
            factors: of a dropout that is locked: by what the features of each row are multiplied
                before each layer but the first, `(B, D*H)`.
        """
        batch, time = inputs.shape[:2]
        device = inputs.device
        if lengths is None:
            lengths = torch.full((batch,), time)
        has_padding = bool((lengths < time).any())
        step = torch.arange(time, device=device)
        last = on_device(lengths, device).unsqueeze(1) - 1  # (B, 1)
        is_valid = (step <= last).unsqueeze(2)  # (B, T, 1)
        valid_if_padded = is_valid if has_padding else None

        # After a row's end, a direction reads its last step again, so that neither padding nor
        # zeros, which a cell may divide by, can spoil a gradient.
        forward_steps = torch.minimum(step, last)  # (B, T)
        backward_steps = last - forward_steps
        row_starts = (torch.arange(batch, device=device) * time).unsqueeze(1)
        # For each direction, `(B * T,)`: which steps of `(B * T, ...)` it reads.
        orders = [
            (row_starts + forward_steps).flatten(),
            (row_starts + backward_steps).flatten(),
        ]

        if hx is None:
            sizes = self.state_sizes.values()
            initial_states = [inputs.new_zeros(len(self.names), batch, size) for size in sizes]
        else:
            initial_states = list(parts_of(hx))
        # The tuple of tensors for each direction of each layer.
        states = list(zip(*initial_states, strict=True))
        final_states: list[tuple[Tensor, ...]] = []
        directions = 2 if self.bidirectional else 1
        for layer in range(self.num_layers):
            if layer > 0 and factors is not None:
                inputs = inputs * factors[layer - 1].unsqueeze(1)
            elif layer > 0:
                inputs = F.dropout(inputs, self.dropout, self.training)
            outputs = []
            for direction in range(directions):
                number = layer * directions + direction
                cell = self.get_submodule(self.names[number])
                steps = _read(inputs, orders[direction])
                output, final_state = _run(cell, steps, states[number], valid_if_padded, last)
                outputs.append(_read(output, orders[direction]))
                final_states.append(final_state)
            inputs = torch.cat(outputs, dim=2)
        stacked_states = [torch.stack(tensors) for tensors in zip(*final_states, strict=True)]
        return inputs.masked_fill(~is_valid, 0.0), state_of(*stacked_states)


def layer_of(rnn: nn.RNNBase, number: int, directions: Sequence[int]) -> nn.RNNBase:
    """A network of this layer and these directions alone, with the same weights."""
    width_of_direction = rnn.proj_size or rnn.hidden_size
    width_of_layer = width_of_direction * (2 if rnn.bidirectional else 1)
    options: dict[str, Any] = {"bias": rnn.bias, "batch_first": True}
    if rnn.proj_size:
        options["proj_size"] = rnn.proj_size
    if isinstance(rnn, nn.RNN):
        options["nonlinearity"] = rnn.nonlinearity
    with torch.device("meta"):  # Its own weights are never used.
        layer = cast(Any, type(rnn))(
            width_of_layer if number else rnn.input_size,
            rnn.hidden_size,
            bidirectional=len(directions) == 2,
            **options,
        )
    weight_names = [name.removesuffix("_l0") for name, _ in layer.named_parameters()]
    for name in weight_names:
        if name.endswith("_reverse"):
            continue
        for place, direction in enumerate(directions):
            weight = getattr(rnn, f"{name}_l{number}" + "_reverse" * direction)
            setattr(layer, f"{name}_l0" + "_reverse" * place, weight)
    layer.train(rnn.training)
    return cast(nn.RNNBase, layer)


def _read(rows: Tensor, order: Tensor) -> Tensor:
    """The steps of rows `(B, T, ...)` in this order `(B * T,)`, as rows."""
    return rows.flatten(0, 1).index_select(0, order).view_as(rows)


def _run(
    cell: Any, steps: Tensor, state: tuple[Tensor, ...], valid: Tensor | None, last: Tensor
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The output of each step, `(B, T, H)`, and the state of each row after its own last one.

    Args:
        valid: `(B, T, 1)`; None if all steps are.
        last: `(B, 1)`, the last step of each row.
    """
    all_states = cell.parallel(steps, state_of(*state))
    if all_states is not None:
        output = cell.output(all_states)
        lengths = last.squeeze(1) + 1
        return output, tuple(last_step(states, lengths) for states in parts_of(all_states))
    outputs = []
    for number, x in enumerate(steps.unbind(1)):
        next_state = parts_of(cell(x, state_of(*state)))
        if valid is not None:
            next_state = _where(valid[:, number], next_state, state)
        state = next_state
        outputs.append(cell.output(state_of(*state)))
    return torch.stack(outputs, dim=1), state


def _where(
    running: Tensor, next_state: tuple[Tensor, ...], state: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """The next state of the rows that are running, and the old one of those that have ended."""
    pairs = zip(next_state, state, strict=True)
    return tuple(torch.where(running, new, old) for new, old in pairs)


Recurrent = nn.RNNBase | SteppedRNN
