"""The networks and batches on which a device is compared with the formulas."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from seqmodels.kernels.formulas import Weights, run_formulas

MODULES: dict[str, Any] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
# By its name on the screen: a cell, and whether its states are projected.
CELLS = {
    "LSTM": ("lstm", False),
    "LSTM, projected": ("lstm", True),
    "GRU": ("gru", False),
    "RNN": ("rnn", False),
}
DROPOUT = 0.5
# Up to so many rows, a network is run in all ways.
SMALL_BATCH = 101
# Where the mask of a dropout is read from the states after it, this saturates a gate: its sigmoid
# is 1 or 0 in every precision.
SATURATED = 60.0


@dataclass(frozen=True)
class Sizes:
    """How large the cases are; the defaults reach what faults of kernels were found to need.

    Args:
        features, hidden: the widths, multiples of 8, which tensor cores ask for.
        time: the steps of most batches.
        batches: rows of the batches of so many steps.
        many_steps: rows and steps of a batch of more than 65,536 steps in all.
        has_long_row: whether an accelerator also runs one row of more steps than cuDNN takes.
        kinds: of cells, of `CELLS`.
    """

    features: int = 16
    hidden: int = 32
    time: int = 12
    batches: tuple[int, ...] = (1, 100, 101, 1000)
    many_steps: tuple[int, int] = (8200, 8)
    has_long_row: bool = True
    kinds: tuple[str, ...] = tuple(CELLS)


@dataclass(frozen=True)
class Case:
    """A network and a batch.

    Args:
        kind: of the cell, one of `CELLS`.
        is_ragged: whether the rows have different lengths.
        dropout: between the layers. If there is one, the last layer is such that its output tells
            what was dropped.
    """

    kind: str
    layers: int
    directions: int
    batch: int
    time: int
    is_ragged: bool
    dropout: float = 0.0
    features: int = 16
    hidden: int = 32

    @property
    def cell(self) -> str:
        return CELLS[self.kind][0]

    @property
    def proj_size(self) -> int:
        return self.hidden // 2 if CELLS[self.kind][1] else 0

    @property
    def width(self) -> int:
        """That of the longest product of a step: a layer's inputs and the state before."""
        return max(self.features, self.directions * self.hidden) + self.hidden

    @property
    def steps(self) -> int:
        """Of all rows together, with their padding."""
        return self.batch * self.time


@dataclass(frozen=True)
class Problem:
    """A case's numbers, all in float64 on the CPU, and all exact in bfloat16 and float16.

    Args:
        states: the initial ones, `[h, c]` or `[h]`. Zeros would hide a state of another row.
        cotangents: the gradients of the loss by `output` and by each final state.
    """

    case: Case
    module: nn.RNNBase
    inputs: Tensor
    lengths: list[int]
    states: list[Tensor]
    cotangents: list[Tensor]

    def results(self, factors: Tensor | None = None) -> list[Tensor]:
        """`output` and the final states, by the formulas."""
        weights = dict(self.module.named_parameters())
        with torch.no_grad():
            return self._run(weights, self.inputs, self.states, factors)

    @cached_property
    def output_by_mask(self) -> tuple[Tensor, Tensor]:
        """`output` if the dropout keeps all, and if it drops all."""
        no_factors = torch.zeros_like(self.cotangents[0])
        kept_factors = no_factors + 1 / (1 - self.case.dropout)
        return self.results(kept_factors)[0], self.results(no_factors)[0]

    def truth(self, factors: Tensor | None = None) -> tuple[list[Tensor], list[Tensor]]:
        """The results, and the gradients of inputs, states and weights; by the formulas."""
        leaves = [self.inputs.clone(), *(state.clone() for state in self.states)]
        names, weights = zip(*self.module.named_parameters(), strict=True)
        leaves += [weight.detach().clone() for weight in weights]
        for leaf in leaves:
            leaf.requires_grad_()
        count = len(self.states)
        weights_by_name = dict(zip(names, leaves[1 + count :], strict=True))
        results = self._run(weights_by_name, leaves[0], leaves[1 : 1 + count], factors)
        loss = weighed_sum(results, self.cotangents)
        gradients = torch.autograd.grad(loss, leaves)
        return [result.detach() for result in results], list(gradients)

    def _run(
        self, weights: Weights, inputs: Tensor, states: list[Tensor], factors: Tensor | None
    ) -> list[Tensor]:
        return run_formulas(
            self.case.cell,
            weights,
            inputs,
            self.lengths,
            states,
            layers=self.case.layers,
            directions=self.case.directions,
            factors=factors,
        )


def weighed_sum(results: list[Tensor], cotangents: list[Tensor]) -> Tensor:
    """The loss whose gradients are compared, summed in the type of the cotangents."""
    products = [
        (result.to(cotangent.dtype) * cotangent).sum()
        for result, cotangent in zip(results, cotangents, strict=True)
    ]
    return torch.stack(products).sum()


def all_cases(sizes: Sizes) -> list[Case]:
    """Without dropout, then with it."""
    cases: list[Case] = []
    for kind in sizes.kinds:
        for layers in (1, 2):
            for directions in (1, 2):
                first = Case(
                    kind,
                    layers,
                    directions,
                    1,
                    sizes.time,
                    False,
                    0.0,
                    sizes.features,
                    sizes.hidden,
                )
                cases += _batches(first, sizes)
    for kind in sizes.kinds:
        if CELLS[kind][1]:  # A projection mixes what was dropped.
            continue
        for directions in (1, 2):
            first = Case(
                kind,
                2,
                directions,
                SMALL_BATCH,
                sizes.time,
                False,
                DROPOUT,
                sizes.features,
                sizes.hidden,
            )
            cases += [first, replace(first, is_ragged=True), replace(first, batch=1)]
    return cases


def _batches(first: Case, sizes: Sizes) -> Iterator[Case]:
    """This case with each batch: to save time, with a large one in one way, and with the largest
    only if it is the first or the last network."""
    for batch in sizes.batches:
        is_large = batch > SMALL_BATCH
        if not is_large or first.directions == 1:
            yield replace(first, batch=batch, is_ragged=False)
        if batch > 1 and (not is_large or first.directions == 2):
            yield replace(first, batch=batch, is_ragged=True)
    batch, time = sizes.many_steps
    if first.layers == first.directions:
        yield replace(first, batch=batch, time=time)
    if first.layers == first.directions == 1:
        yield replace(first, batch=batch, time=time, is_ragged=True)


def draw(case: Case, generator: torch.Generator) -> Problem:
    """A random network and batch for a case."""

    def uniform(*shape: int, largest: float, least: float | None = None) -> Tensor:
        low = -largest if least is None else least
        numbers = low + (largest - low) * torch.rand(*shape, generator=generator)
        return numbers.bfloat16().double()  # Now every precision holds them exactly.

    options: dict[str, Any] = {"proj_size": case.proj_size} if case.proj_size else {}
    module = MODULES[case.cell](
        case.features,
        case.hidden,
        case.layers,
        batch_first=True,
        bidirectional=case.directions == 2,
        dropout=case.dropout,
        dtype=torch.float64,
        **options,
    )
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if name.startswith("bias"):
                largest = 0.25
            elif name.startswith("weight_hh"):
                largest = 1 / weight.shape[1]  # A row's sizes then sum to about a half.
            else:
                largest = weight.shape[1] ** -0.5
            weight.copy_(uniform(*weight.shape, largest=largest))
        if case.dropout:
            _let_the_mask_be_read(case, module)

    time, batch = case.time, case.batch
    lengths = [time] * batch
    if case.is_ragged:
        shorter = torch.randint(1, time + 1, (batch,), generator=generator)
        lengths = [int(length) for length in shorter]
        lengths[batch // 2] = time
    width = case.proj_size or case.hidden
    places = case.layers * case.directions
    widths = [width, case.hidden] if case.cell == "lstm" else [width]
    # With dropout, all states stay above zero, so that one tells whether it was dropped.
    least = 0.0 if case.dropout else -0.5
    states = [uniform(places, batch, size, largest=0.5, least=least) for size in widths]
    # All of one sign: a sum of both signs could cancel to nothing but rounding.
    cotangents = [uniform(batch, time, case.directions * width, largest=1.0, least=0.5)]
    cotangents += [uniform(*state.shape, largest=1.0, least=0.5) for state in states]
    inputs = uniform(batch, time, case.features, largest=1.0)
    return Problem(case, module, inputs, lengths, states, cotangents)


def _let_the_mask_be_read(case: Case, module: nn.RNNBase) -> None:
    """Makes the last layer tell what the dropout before it has dropped.

    Nobody can ask a kernel for its mask, and a seed doesn't repeat it everywhere. So each state of
    the last layer reads one number of the layer before, and nothing of its own past: it has one
    value if that number was dropped, and another if not. The first layer's states are made to be
    far from zero, so that the two values are, too.
    """
    hidden = case.hidden
    candidate = {"lstm": 2, "gru": 2, "rnn": 0}[case.cell]  # its block among the gates
    rows = slice(candidate * hidden, (candidate + 1) * hidden)
    for direction in range(case.directions):
        suffix = "_reverse" if direction else ""
        getattr(module, f"bias_ih_l0{suffix}")[rows] = 2.5
        w_ih = getattr(module, f"weight_ih_l1{suffix}")  # (G*H, D*H)
        block = torch.zeros(hidden, w_ih.shape[1], dtype=w_ih.dtype)
        block[:, direction * hidden : (direction + 1) * hidden] = torch.eye(hidden)
        w_ih.zero_()
        w_ih[rows] = block
        getattr(module, f"weight_hh_l1{suffix}").zero_()
        bias = getattr(module, f"bias_ih_l1{suffix}")
        if case.cell == "lstm":
            bias[hidden : 2 * hidden] = -SATURATED  # It forgets.
        elif case.cell == "gru":
            bias[hidden : 2 * hidden] = -SATURATED  # It takes the new state whole.


def read_mask(problem: Problem, output: Tensor) -> Tensor:
    """What the dropout multiplied, `(B, T, D*H)`, as the output of the last layer tells."""
    if_kept, if_dropped = problem.output_by_mask
    is_kept = (output - if_kept).abs() < (output - if_dropped).abs()
    return is_kept / (1 - problem.case.dropout)
