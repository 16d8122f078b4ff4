"""Run `nn.LSTM`, `nn.GRU`, `nn.RNN` or a cell of your own on sequences of different lengths."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple, cast

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seqmodels.arguments import Count, Name, Natural, NonNegativeFraction, checked
from seqmodels.batch import ShowsShapes, shape_of
from seqmodels.device import recurrent_dtype
from seqmodels.errors import UserError, choices, refusing
from seqmodels.nn.cell import CELLS, State, SteppedRNN, layer_of, parts_of, state_of
from seqmodels.nn.ragged import MOST_STEPS, run_in, run_padded, runs_by_hand
from seqmodels.nn.segments import LONGEST_WHOLE, SEGMENT, SegmentedReading, Summary
from seqmodels.padding import valid_steps
from seqmodels.plugins import import_plugins

# Measured on a CPU of two cores: with fewer, a call by blocks costs more than it saves.
FEWEST_STEPS = 16
FEWEST_STEPS_TO_TRAIN = 6
# Up to this `B * H`, a GRU on rows of one length trains faster by hand there, by 1.05 to 1.5.
LARGEST_BY_HAND = 4096


class Pooled(NamedTuple):
    """What pools of `output` need of the steps of a row that were read before: all zero for none.

    Args:
        total: the sum over these steps, `(B, D*H)`.
        maximum: that of each feature, `(B, D*H)`.
        steps: how many there were, `(B,)` int64.
    """

    total: Tensor
    maximum: Tensor
    steps: Tensor


@dataclass(frozen=True, eq=False, repr=False)
class RNNOutput(ShowsShapes):
    """What a recurrent network returns, with separate axes for layers and directions.

    Args:
        output: `(B, T, D*H)`: `h_t` of the last layer at every step, forward half then backward
            half; zero after each sequence's end.
        h_n: `(L, D, B, H)`: `h` of every layer and direction after its own last step, which for
            the backward direction is step 0.
        c_n: `(L, D, B, Hc)`: the LSTM's cell state after the same steps; None for GRU and RNN.
        others: of a `Cell` with more states: each after the same steps, as `n_n` for a state `n`.
        lengths: `(B,)` int64 on the CPU.
        windows: if the rows are windows of longer sequences, side by side: how many there are of
            each sequence, int64 on the CPU.
        before: if the rows are the next steps of longer sequences, what a pool needs of the steps
            before; None: these steps are all.
        summaries: if the rows were read in K segments and `output` was not kept, so that it has no
            step: what a `Summary` gave of each segment, `(B, K, ...)` by name.
    """

    output: Float[Tensor, "batch time output_size"]
    h_n: Float[Tensor, "layers directions batch hidden"]
    c_n: Float[Tensor, "layers directions batch cell"] | None
    lengths: Int[Tensor, " batch"]
    windows: Int[Tensor, " sequences"] | None = None
    before: Pooled | None = None
    others: Mapping[str, Tensor] | None = None
    summaries: Mapping[str, Tensor] | None = None

    @property
    def mask(self) -> Bool[Tensor, "batch time"]:
        """True at valid steps, on the device of `output`."""
        return valid_steps(self.lengths, self.output.shape[1], self.output.device)

    @property
    def finals(self) -> dict[str, Tensor]:
        """Every final state by name: `h_n`, `c_n` if there is one, and `others`."""
        states = {"h_n": self.h_n}
        if self.c_n is not None:
            states["c_n"] = self.c_n
        if self.others is not None:
            states.update(self.others)
        return states

    @property
    def tensors(self) -> dict[str, Tensor]:
        """`output`, and every final state, by name: what a head may read."""
        return {"output": self.output, **self.finals}

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], lengths: Tensor) -> RNNOutput:
        """The one that has these `tensors`."""
        others = dict(tensors)
        output = others.pop("output")
        h_n = others.pop("h_n")
        c_n = others.pop("c_n", None)
        return cls(output, h_n, c_n, lengths, others=others or None)

    @property
    def state(self) -> State:
        """The final states in PyTorch's own layout: `(L*D, B, H)`, a pair `(h_n, c_n)` for LSTM.

        Pass it to `nn.LSTM`, `nn.GRU`, `nn.RNN` or `RecurrentEncoder` as the initial state.
        """
        states = [final.flatten(0, 1) for final in self.finals.values()]
        return state_of(*states)


class RecurrentEncoder(nn.Module):
    """A real `nn.LSTM`, `nn.GRU` or `nn.RNN` in `self.rnn`, correct and fast on ragged batches.

    Load the `state_dict` of such a module with biases into `self.rnn`, or the other way round.

    Args:
        input_size, hidden_size, num_layers, bidirectional, dropout, proj_size: as in PyTorch.
        cell: `lstm`, `gru`, `rnn` (tanh), or the name of a `Cell` of your own, which `SteppedRNN`
            runs step by step, whatever `packing` is.
        packing: how to run sequences of different lengths; the results agree to rounding.
            `packed`: by `pack_padded_sequence`, unless we drop between layers by hand, which is
            `padded`: with `locked_dropout`, and on a GPU. `padded`: by `seqmodels.nn.ragged`.
            `auto`: the fastest for this device, cell and shape (measured in `benchmarks/`). For
            gradients of gradients, rows have to be read as a whole, and a GRU or RNN on a CPU has
            to run `packed`. `torch.func` takes an LSTM `padded`, and a GRU or RNN on a CPU only
            `packed` with rows of one length.
        locked_dropout: the dropout between layers drops as `LockedDropout` does.
        segment: read longer rows in segments of so many steps, so that memory hardly grows with
            them: the gradients are the same, and take longer. `auto`: of 1,000 steps, in batches
            with a row of more than 2,000. None: every row as a whole.
    """

    # Whether its weights are some of another encoder's.
    borrows_weights = False

    @checked("encoder")
    def __init__(
        self,
        input_size: Count,
        hidden_size: Count,
        num_layers: Annotated[int, Field(ge=1, le=1000)] = 1,
        *,
        cell: Name = "lstm",
        bidirectional: bool = False,
        dropout: NonNegativeFraction = 0.0,
        proj_size: Natural = 0,
        packing: Literal["auto", "packed", "padded"] = "auto",
        locked_dropout: bool = False,
        segment: Count | Literal["auto"] | None = "auto",
    ) -> None:
        super().__init__()
        if cell not in CELLS:
            import_plugins()  # A plugin may have it.
        if cell not in CELLS:
            raise UserError(f"encoder.cell={cell}: {choices(cell, CELLS)}")
        if dropout and num_layers == 1:
            raise ValueError(
                f"encoder.dropout is {dropout}, but it acts between layers and there is only one: "
                "set encoder.dropout=0 or encoder.num_layers=2"
            )
        is_custom = cell not in ("lstm", "gru", "rnn")
        options: dict[str, Any] = {}
        if proj_size:
            options["proj_size"] = proj_size
        if not is_custom:
            options["batch_first"] = True
        with refusing("encoder", ValueError):
            self.rnn = CELLS[cell](
                input_size,
                hidden_size,
                num_layers,
                dropout=dropout,
                bidirectional=bidirectional,
                **options,
            )
        self.cell = cell
        self.packing = packing
        self.locked_dropout = locked_dropout
        self.segment = segment
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.num_directions = 2 if bidirectional else 1
        # `H`, the width of one direction of `output`
        self.output_size: int = self.rnn.output_size if is_custom else proj_size or hidden_size
        # The width of each final state, by its name in `RNNOutput.finals`.
        self.state_sizes: dict[str, int] = {"h_n": self.output_size}
        if is_custom:
            self.state_sizes = self.rnn.state_sizes
        elif cell == "lstm":
            self.state_sizes["c_n"] = hidden_size

    def forward(
        self,
        inputs: Float[Tensor, "batch time features"],
        lengths: Int[Tensor, " batch"] | Sequence[int] | None = None,
        state: State | None = None,
        summary: Summary | None = None,
    ) -> RNNOutput:
        """Runs the network over each row's valid steps.

        Args:
            inputs: `(B, T, F)`, padded at the end, whose padding has no effect.
            lengths: `(B,)` int64 on the CPU, or a list, each in `1..T`; None means that no row is
                padded. Others are a ValueError: such a row would read the next one.
            state: the initial state, in the layout of `RNNOutput.state`; None means zeros.
            summary: what to keep of each segment of rows that are read in segments, in place of
                `output`; None: `output`.
        """
        batch, time = inputs.shape[:2]
        if lengths is None:
            lengths = torch.full((batch,), time)
        lengths = torch.as_tensor(lengths)
        if lengths.shape != (batch,):
            raise ValueError(f"lengths must be ({batch},) int64, got {shape_of(lengths)}")
        shortest, longest = 1, time  # A batch may have no rows.
        if batch:
            shortest, longest = map(int, torch.aminmax(lengths))
        if shortest < 1 or longest > time:
            raise ValueError(f"lengths are {shortest} to {longest}, of inputs with {time} steps")
        factors = self._locked_factors(inputs)
        size = self.segment_of(longest) if batch else None
        if size is not None:
            return SegmentedReading(self, inputs, lengths, size).read(state, factors, summary)
        output, final_state = self.read_whole(inputs, lengths, longest, state, factors)
        if output.shape[1] < time:
            output = F.pad(output, (0, 0, 0, time - longest))
        return self.result(output, final_state, lengths)

    def segment_of(self, longest: int) -> int | None:
        """The steps of a segment in which a batch with such a longest row is read; None: it is read
        as a whole."""
        if self.segment is None:
            return None
        size = SEGMENT if self.segment == "auto" else self.segment
        longest_whole = LONGEST_WHOLE if self.segment == "auto" else size
        return size if longest > longest_whole else None

    def _locked_factors(self, inputs: Tensor) -> list[Tensor] | None:
        """By what a locked dropout multiplies the features of each row before each layer but the
        first, `(B, D*H)`; None if there is none."""
        if not (self.locked_dropout and self.training and self.rnn.dropout):
            return None
        width = self.num_directions * self.output_size
        ones = inputs.new_ones(len(inputs), width)
        return [F.dropout(ones, self.rnn.dropout) for _ in range(self.num_layers - 1)]

    def result(self, output: Tensor, final_state: State, lengths: Tensor) -> RNNOutput:
        """What `forward` returns, from `output` and the final states in PyTorch's layout."""
        layout = (self.num_layers, self.num_directions)
        tensors = {"output": output}
        for name, final in zip(self.state_sizes, parts_of(final_state), strict=True):
            tensors[name] = final.unflatten(0, layout)  # (L*D, B, H) -> (L, D, B, H)
        return RNNOutput.of(tensors, lengths)

    def read_whole(
        self,
        inputs: Tensor,
        lengths: Tensor,
        longest: int,
        state: State | None,
        factors: Sequence[Tensor] | None,
    ) -> tuple[Tensor, State]:
        """`output` `(B, T, D*H)`, or of the longest steps alone, and the final states."""
        dtype = recurrent_dtype(inputs.device)
        if not isinstance(self.rnn, nn.RNNBase):
            return self.rnn(inputs[:, :longest], state, lengths, factors)
        if dtype is None:
            return self._run(inputs, lengths, longest, state, factors)
        if state is not None:
            cast_tensors = [tensor.to(dtype) for tensor in parts_of(state)]
            state = state_of(*cast_tensors)
        with torch.autocast(inputs.device.type, enabled=False):
            return self._run(inputs.to(dtype), lengths, longest, state, factors, dtype)

    def layer(self, number: int, directions: Sequence[int]) -> RecurrentEncoder:
        """An encoder of this layer and these directions alone, with the same weights, which reads
        rows as a whole."""
        layer = copy(self)
        layer._modules = {}
        if isinstance(self.rnn, SteppedRNN):
            layer.rnn = self.rnn.layer(number, directions)
        else:
            layer.rnn = layer_of(self.rnn, number, directions)
        layer.num_layers = 1
        layer.num_directions = len(directions)
        layer.bidirectional = len(directions) == 2
        layer.segment = None
        layer.borrows_weights = True
        return layer

    def _run(
        self,
        inputs: Tensor,
        lengths: Tensor,
        longest: int,
        state: State | None,
        factors: Sequence[Tensor] | None,
        dtype: torch.dtype | None = None,
    ) -> tuple[Tensor, State]:
        """As `read_whole`, in `dtype`, that of `inputs`, or None if they are in its own."""
        call = self.rnn if dtype is None else partial(run_in, dtype, self.rnn)
        if not self._drops_by_layer(inputs):
            if self._runs_whole(inputs, lengths, longest):
                return call(inputs[:, :longest], state)
            if self._packs(inputs, longest):
                return _run_packed(call, inputs, lengths, state)
        return run_padded(
            cast(Any, self.rnn),
            inputs,
            lengths,
            state,
            factors=factors,
            dtype=dtype,
        )

    def _drops_by_layer(self, inputs: Tensor) -> bool:
        """Whether the dropout between layers must not be PyTorch's own: if it is locked, and on a
        GPU, where cuDNN keeps its random numbers out of the reach of checkpoints."""
        drops = self.training and self.rnn.dropout > 0
        return drops and (self.locked_dropout or inputs.device.type != "cpu")

    def _runs_whole(self, inputs: Tensor, lengths: Tensor, longest: int) -> bool:
        """Whether the rows are of one length, and PyTorch's own call is the fastest for them."""
        has_padding = bool((lengths < longest).any())
        is_on_cpu = inputs.device.type == "cpu"
        if has_padding or (not is_on_cpu and longest > MOST_STEPS):
            return False
        if self.borrows_weights and not is_on_cpu:  # cuDNN would copy them, and warn.
            return False
        trains_faster_by_hand = (
            self.cell == "gru"
            and self.packing != "packed"
            and torch.is_grad_enabled()
            and longest >= FEWEST_STEPS
            and len(inputs) * self.rnn.hidden_size <= LARGEST_BY_HAND
            and runs_by_hand(self.rnn, inputs)
        )
        return not trains_faster_by_hand

    def _packs(self, inputs: Tensor, longest: int) -> bool:
        """Whether rows of several lengths are run by `pack_padded_sequence`."""
        if self.packing != "auto":
            return self.packing == "packed"
        # cuDNN runs packed rows by its slowest algorithm, and the host waits for their order. On
        # MPS they fail (PyTorch issue 102911).
        if inputs.device.type != "cpu":
            return False
        # From some steps on, padded is faster, in inference only if oneDNN runs the cell. (Measured
        # in benchmarks/growth.py.)
        if torch.is_grad_enabled():
            return longest < FEWEST_STEPS_TO_TRAIN
        by_onednn = self.cell == "lstm" and not self.rnn.proj_size and inputs.dtype != torch.float64
        return longest < FEWEST_STEPS or not by_onednn


def _run_packed(
    call: Callable[..., Any], inputs: Tensor, lengths: Tensor, state: State | None
) -> tuple[Tensor, State]:
    packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
    packed_output, final_state = call(packed, state)
    time = inputs.shape[1]
    output, _ = pad_packed_sequence(packed_output, batch_first=True, total_length=time)
    return output, final_state
