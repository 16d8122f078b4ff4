"""`seqmodels device` on the pretended accelerator: right, and with a planted fault of a kernel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from seqmodels.kernels import check_device
from seqmodels.kernels.cases import Sizes
from seqmodels.kernels.precision import FLOAT32
from seqmodels.kernels.report import lines
from tests.device.pretended import Device

pytestmark = pytest.mark.device
# Batches of many steps take most of the time; one fault needs them.
FEW_STEPS = Sizes(8, 8, 3, (1, 4), (4, 2), has_long_row=False, kinds=("LSTM", "GRU"))
SMALL = replace(FEW_STEPS, many_steps=(32_800, 2))


class Call:
    """The arguments of `torch.lstm` and its like, by name."""

    def __init__(self, op: Any, *given: Any) -> None:
        self.op, self.given = op, [*given]
        self.packed = op._overloadname == "data"
        self.first = 2 if self.packed else 1  # where the state is
        self.dropout, self.training, self.two = given[self.first + 4 : self.first + 7]

    @property
    def data(self) -> Tensor:
        return self.given[0]

    @property
    def steps(self) -> int:
        return len(self.data) if self.packed else self.data.shape[0] * self.data.shape[1]

    def run(self, **changed: Any) -> list[Tensor]:
        given = [*self.given]
        places = {"state": 0, "weights": 1, "dropout": 4, "training": 5}
        for name, value in changed.items():
            given[self.first + places[name]] = value
        return [*self.op(*given)]


def dropped_bias(call: Call) -> list[Tensor]:
    if call.steps <= 65_536:
        return call.run()
    weights = [0 * w if w.dim() == 1 else w for w in call.given[call.first + 1]]
    return call.run(weights=weights)


class ReusedGraph:
    def __init__(self) -> None:
        self.trained = set[Any]()

    def __call__(self, call: Call) -> list[Tensor]:
        key = (str(call.op), call.data.shape, call.dropout)
        if call.training:
            self.trained.add(key)
        return call.run(training=call.training or key in self.trained)


def gradient_without_dropout(call: Call) -> list[Tensor]:
    made = call.run()
    if not (call.training and call.dropout):
        return made
    plain = call.run(dropout=0.0)
    return [p + (m - p).detach() for m, p in zip(made, plain, strict=True)]


def state_of_the_row_before(call: Call) -> list[Tensor]:
    state = call.given[call.first]
    state = (
        type(state)(s.roll(1, 1) for s in state)
        if isinstance(state, tuple | list)
        else state.roll(1, 1)
    )
    return call.run(state=state)


def half_precision(call: Call) -> list[Tensor]:
    def half(value: Any) -> Any:
        if isinstance(value, tuple | list):
            return type(value)(half(each) for each in value)
        return (
            value.bfloat16() if isinstance(value, Tensor) and value.is_floating_point() else value
        )

    return [made.float() for made in call.op(*half(call.given))]


def wrong_end(call: Call) -> list[Tensor]:
    output, *states = call.run()
    if not call.two or call.packed:
        return [output, *states]
    forward, backward = output.chunk(2, dim=2)
    return [torch.cat([forward, backward.flip(1 if call.given[-1] else 0)], dim=2), *states]


FAULTS: dict[str, tuple[Callable[[], Callable[[Call], list[Tensor]]], str]] = {
    "many_steps": (lambda: dropped_bias, "rocm-libraries/issues/10551"),
    "dropout_in_evaluation": (ReusedGraph, "issues/180744"),
    "gradient_without_dropout": (lambda: gradient_without_dropout, "issues/190056"),
    "other_rows": (lambda: state_of_the_row_before, "issues/180744"),
    "half_precision": (lambda: half_precision, "pull/40737"),
    "wrong_end": (lambda: wrong_end, "issues/94754"),
}


@pytest.fixture(autouse=True)
def pretended(device: torch.device) -> None:
    if device.type == "cuda":
        pytest.skip("faults are planted on the pretended device")


def test_nothing_is_found_without_a_fault(device: torch.device) -> None:
    report = check_device(device, replace(SMALL, kinds=("LSTM, projected", "RNN")))
    assert report.findings == (), lines(report)
    assert lines(report)[-1] == "your pretend:0 is right"


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_each_planted_fault_is_found_by_its_line(
    name: str, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, thread = FAULTS[name]
    fault = make()
    monkeypatch.setattr(Device, "kernel", staticmethod(lambda *given: fault(Call(*given))))
    sizes = SMALL if name == "many_steps" else FEW_STEPS
    report = check_device(device, sizes, [FLOAT32])
    said = lines(report)
    assert [finding.name for finding in report.findings] == [name], said
    assert thread in said[1] and said[-1] == "your pretend:0 is wrong: 1 fault"
