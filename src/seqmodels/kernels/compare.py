"""How far a device is from the formulas on one case: forward, gradients, each row alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seqmodels.kernels.cases import Case, Problem, read_mask, weighed_sum
from seqmodels.kernels.precision import BFLOAT16, FLOAT16, Precision, computing_in
from seqmodels.nn.cell import parts_of, state_of
from seqmodels.nn.encoder import RecurrentEncoder
from seqmodels.nn.ragged import MOST_STEPS
from seqmodels.padding import reverse_by_length

PYTORCH, OURS = "PyTorch's module", "RecurrentEncoder"
# What is compared.
FORWARD, GRADIENTS, ALONE = "forward", "gradients", "row alone"
DROPPED, DROPPED_GRADIENTS, AFTER = "dropout", "gradients with dropout", "after training"
MASKS = "masks"
# A gradient that is this much smaller than the largest one is measured by the largest one: it may
# be nothing but what others leave.
SMALLEST_SHARE = 1e-3
# The steps of a row that cuDNN doesn't take in one call.
LONG_ROW = MOST_STEPS + 10
Results = list[Tensor]
"""`output` and the final states, in float64 on the CPU."""


@dataclass(frozen=True)
class Way:
    """How a batch is run.

    Args:
        who: PYTORCH or OURS.
        how: whole, for rows of one length; packed or padded, for others.
    """

    who: str
    how: str

    def __str__(self) -> str:
        return self.who if self.how == "whole" else f"{self.who}, {self.how}"


@dataclass(frozen=True)
class Measure:
    """How far a device was from what is right.

    Args:
        what: was compared, such as FORWARD.
        differences: the largest, of each direction if they can be told apart.
        bound: what rounding explains.
        is_at_wrong_end: whether the backward direction has the right numbers in the wrong order.
        error: why it could not be run; empty if it could.
    """

    case: Case
    precision: Precision
    way: Way
    what: str
    differences: tuple[float, ...]
    bound: float
    is_at_wrong_end: bool = False
    error: str = ""

    @property
    def difference(self) -> float:
        return max(self.differences)

    @property
    def is_wrong(self) -> bool:
        return not self.difference <= self.bound


def ways_of(case: Case, device: torch.device) -> list[Way]:
    """The ways in which a case is run. On MPS, rows are never packed: it crashes the process."""
    if not case.is_ragged:
        return [Way(PYTORCH, "whole"), Way(OURS, "whole")]
    if device.type == "mps":
        return [Way(OURS, "padded")]
    return [Way(PYTORCH, "packed"), Way(OURS, "padded"), Way(OURS, "packed")]


@dataclass
class Runner:
    """A problem on a device, run in one way."""

    problem: Problem
    precision: Precision
    way: Way
    device: torch.device

    def __post_init__(self) -> None:
        # In half precision, a training of ours keeps its weights in float32, under autocast.
        has_autocast = self.precision in (BFLOAT16, FLOAT16) and self.way.who == OURS
        self.dtype = torch.float32 if has_autocast else self.precision.dtype
        self.autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
        if has_autocast:
            self.autocast = lambda: torch.autocast(self.device.type, self.precision.dtype)
        self.module = deepcopy(self.problem.module).to(self.device, self.dtype)
        case = self.problem.case
        self.encoder: RecurrentEncoder | None = None
        if self.way.who == OURS:
            packing: Any = "padded" if self.way.how == "whole" else self.way.how
            self.encoder = RecurrentEncoder(
                case.features,
                case.hidden,
                case.layers,
                cell=case.cell,
                bidirectional=case.directions == 2,
                dropout=case.dropout,
                proj_size=case.proj_size,
                packing=packing,
            )
            self.encoder.rnn = self.module
        self.inputs = self._there(self.problem.inputs)
        self.states = [self._there(state) for state in self.problem.states]

    def _there(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.dtype).to(self.device)

    def train(self) -> tuple[Results, Results]:
        """The results, and the gradients of inputs, states and weights, in training mode."""
        leaves = [self.inputs.detach().requires_grad_()]
        leaves += [state.detach().requires_grad_() for state in self.states]
        results = self.run_in_training(leaves[0], leaves[1:])
        cotangents = [
            cotangent.to(torch.float32 if self.dtype != torch.float64 else self.dtype)
            for cotangent in self.problem.cotangents
        ]
        loss = weighed_sum(results, [cotangent.to(self.device) for cotangent in cotangents])
        gradients = torch.autograd.grad(loss, [*leaves, *self.module.parameters()])
        return _as_truth(results), _as_truth(gradients)

    def run_in_training(self, inputs: Tensor, states: Results) -> Results:
        """The results there, in training mode."""
        self._set_training(True)
        with self.autocast():
            return self._run(inputs, self.problem.lengths, states)

    def evaluate(self) -> Results:
        self._set_training(False)
        with torch.no_grad(), self.autocast():
            return _as_truth(self._run(self.inputs, self.problem.lengths, self.states))

    def evaluate_alone(self, row: int) -> Results:
        """The results of one row, without the others and without its padding."""
        self._set_training(False)
        length = self.problem.lengths[row]
        states = [state[:, row : row + 1].contiguous() for state in self.states]
        with torch.no_grad(), self.autocast():
            return _as_truth(self._run(self.inputs[row : row + 1, :length], [length], states))

    def _set_training(self, is_training: bool) -> None:
        self.module.train(is_training)
        if self.encoder is not None:
            self.encoder.train(is_training)

    def _run(self, inputs: Tensor, lengths: list[int], states: list[Tensor]) -> Results:
        state = state_of(*states)
        if self.encoder is not None:
            read = self.encoder(inputs, lengths, state)
            return [read.output, *parts_of(read.state)]
        if self.way.how == "whole":
            output, final_state = self.module(inputs, state)
            return [output, *parts_of(final_state)]
        packed = pack_padded_sequence(
            inputs, torch.tensor(lengths), batch_first=True, enforce_sorted=False
        )
        packed_output, final_state = self.module(packed, state)
        output, _ = pad_packed_sequence(
            packed_output, batch_first=True, total_length=inputs.shape[1]
        )
        return [output, *parts_of(final_state)]


def _as_truth(tensors: Any) -> Results:
    return [tensor.detach().cpu().double() for tensor in tensors]


def measures(
    problem: Problem, device: torch.device, precisions: list[Precision]
) -> Iterator[Measure]:
    """A case in each precision and way."""
    case = problem.case
    measure = _with_dropout if case.dropout else _without_dropout
    truth = (problem.results(), []) if case.dropout else problem.truth()
    for precision, way in product(precisions, ways_of(case, device)):
        try:
            with computing_in(precision):
                yield from measure(Runner(problem, precision, way, device), truth)
        except RuntimeError as error:
            message = str(error).partition("\n")[0]
            yield Measure(case, precision, way, FORWARD, (math.inf,), 0.0, error=message)


def _bounds(case: Case, precision: Precision) -> tuple[float, float]:
    """Of the forward pass and of gradients."""
    forward = precision.forward_bound(case.width, case.layers)
    gradient = precision.gradient_bound(case.width, case.layers, case.batch, case.time)
    return forward, gradient


def _without_dropout(runner: Runner, truth: tuple[Results, Results]) -> Iterator[Measure]:
    case, precision, way = runner.problem.case, runner.precision, runner.way
    forward_bound, gradient_bound = _bounds(case, precision)
    expected_results, expected_gradients = truth
    results, gradients = runner.train()
    evaluated = runner.evaluate()
    of_training = by_direction(case, results, expected_results)
    of_evaluation = by_direction(case, evaluated, expected_results)
    differences = tuple(max(pair) for pair in zip(of_training, of_evaluation, strict=True))
    is_at_wrong_end = False
    if case.directions == 2 and differences[1] > forward_bound:
        turned = with_backward_turned(runner.problem, results[0])
        expected_output = expected_results[0]
        is_at_wrong_end = largest_difference(turned, expected_output) <= forward_bound
    yield Measure(case, precision, way, FORWARD, differences, forward_bound, is_at_wrong_end)
    difference = gradient_difference(gradients, expected_gradients)
    yield Measure(case, precision, way, GRADIENTS, (difference,), gradient_bound)
    if case.batch > 1:
        # Both the batch and the row may be off.
        difference = _largest_of_rows(runner, evaluated)
        yield Measure(case, precision, way, ALONE, (difference,), 2 * forward_bound)


def _largest_of_rows(runner: Runner, evaluated: Results) -> float:
    """How far some rows alone are from the same rows in their batch."""
    batch = runner.problem.case.batch
    differences: list[float] = []
    for row in sorted({0, batch // 2, batch - 1}):
        length = runner.problem.lengths[row]
        output, *finals = runner.evaluate_alone(row)
        differences.append(largest_difference(output[0], evaluated[0][row, :length]))
        for final, final_of_batch in zip(finals, evaluated[1:], strict=True):
            differences.append(largest_difference(final[:, 0], final_of_batch[:, row]))
    return max(differences)


def _with_dropout(runner: Runner, truth: tuple[Results, Results]) -> Iterator[Measure]:
    case, precision, way = runner.problem.case, runner.precision, runner.way
    forward_bound, gradient_bound = _bounds(case, precision)
    expected_in_evaluation, _ = truth
    results, gradients = runner.train()
    evaluated = runner.evaluate()

    factors = read_mask(runner.problem, results[0])
    expected_results, expected_gradients = runner.problem.truth(factors)
    differences = by_direction(case, results, expected_results)
    yield Measure(case, precision, way, DROPPED, differences, forward_bound)
    difference = gradient_difference(gradients, expected_gradients)
    yield Measure(case, precision, way, DROPPED_GRADIENTS, (difference,), gradient_bound)
    differences = by_direction(case, evaluated, expected_in_evaluation)
    yield Measure(case, precision, way, AFTER, differences, forward_bound)
    with torch.no_grad():
        again = _as_truth(runner.run_in_training(runner.inputs, runner.states))
    yield Measure(case, precision, way, MASKS, *_misses_of_masks(runner, factors, again[0]))


def _misses_of_masks(
    runner: Runner, factors: Tensor, again: Tensor
) -> tuple[tuple[float, ...], float]:
    """How far the share that is dropped is from the one that is asked for, of one call and of what
    differs between two; and how far chance can move it: six standard deviations."""
    lengths = torch.tensor(runner.problem.lengths)
    is_valid = torch.arange(factors.shape[1]) < lengths.unsqueeze(1)
    first = factors[is_valid] > 0
    second = read_mask(runner.problem, again)[is_valid] > 0
    share = runner.problem.case.dropout
    dropped_share = 1 - float(first.double().mean())
    changed_share = float((first != second).double().mean())
    expected_change = 2 * share * (1 - share)
    misses = (abs(dropped_share - share), abs(changed_share - expected_change))
    return (max(misses),), 6 * 0.5 / math.sqrt(first.numel())


def long_row(steps: int, device: torch.device, precision: Precision) -> Measure:
    """One row of more steps than cuDNN takes, beside PyTorch's LSTM in float64 on the CPU: the
    formulas would take too long."""
    case = Case("LSTM", 1, 1, 1, steps, False, features=8, hidden=8)
    generator = torch.Generator().manual_seed(0)
    lstm = nn.LSTM(8, 8, batch_first=True, dtype=torch.float64)
    inputs = torch.rand(1, steps, 8, generator=generator).bfloat16().double()
    encoder = RecurrentEncoder(8, 8)
    with torch.no_grad():
        for weight in lstm.parameters():
            numbers = torch.rand(weight.shape, generator=generator) - 0.5
            weight.copy_(numbers.bfloat16() / 4)
        output, (h_n, c_n) = lstm(inputs)
        encoder.rnn.load_state_dict(lstm.state_dict())
        read = encoder.to(device).eval()(inputs.float().to(device))
    results = _as_truth([read.output, *parts_of(read.state)])
    differences = by_direction(case, results, [output, h_n, c_n])
    bound = precision.forward_bound(case.width, 1)
    return Measure(case, precision, Way(OURS, "whole"), FORWARD, differences, bound)


def largest_difference(result: Tensor, expected: Tensor) -> float:
    """The largest, relative to the largest number if that is above 1; inf for nan."""
    difference = float((result - expected).abs().max())
    scale = max(float(expected.abs().max()), 1.0)
    return math.inf if math.isnan(difference) else difference / scale


def by_direction(case: Case, results: Results, expected: Results) -> tuple[float, ...]:
    """The largest difference of each direction's part of `output` and final states."""
    differences: list[float] = []
    for direction in range(case.directions):
        largest = 0.0
        for number, (result, truth) in enumerate(zip(results, expected, strict=True)):
            if number == 0:
                result_part = result.chunk(case.directions, dim=2)[direction]
                truth_part = truth.chunk(case.directions, dim=2)[direction]
            else:  # (L*D, B, ...)
                result_part = result[direction :: case.directions]
                truth_part = truth[direction :: case.directions]
            largest = max(largest, largest_difference(result_part, truth_part))
        differences.append(largest)
    return tuple(differences)


def gradient_difference(gradients: Results, expected: Results) -> float:
    """The largest difference, relative to the largest number of its tensor."""
    scales = [float(gradient.abs().max()) for gradient in expected]
    least = SMALLEST_SHARE * max(scales)
    largest = 0.0
    for gradient, truth, scale in zip(gradients, expected, scales, strict=True):
        difference = float((gradient - truth).abs().max()) / max(scale, least)
        largest = max(largest, math.inf if math.isnan(difference) else difference)
    return largest


def with_backward_turned(problem: Problem, output: Tensor) -> Tensor:
    """`output` with the backward half of each row in the order of the other end."""
    forward, backward = output.chunk(2, dim=2)
    return torch.cat([forward, reverse_by_length(backward, problem.lengths)], dim=2)
