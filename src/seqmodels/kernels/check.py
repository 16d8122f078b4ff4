"""`check_device`: all cases on a device, and what was found."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from seqmodels.kernels.cases import SMALL_BATCH, Case, Sizes, all_cases, draw
from seqmodels.kernels.compare import LONG_ROW, Measure, long_row, measures
from seqmodels.kernels.findings import Finding, find
from seqmodels.kernels.precision import FLOAT32, Precision, computing_in, precisions_of

SEED = 0


@dataclass(frozen=True)
class Report:
    """What was measured on a device, and what is wrong with it: nothing if there is no finding.

    Args:
        refused: what the device can't compute in a precision other than float32, and says so.
    """

    device: torch.device
    measures: tuple[Measure, ...]
    findings: tuple[Finding, ...]
    refused: tuple[Measure, ...]


def check_device(
    device: torch.device | str,
    sizes: Sizes | None = None,
    precisions: Sequence[Precision] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Compares a device with the formulas.

    Args:
        sizes: smaller ones than the usual ones find less.
        precisions: None: all that the device has.
        progress: is called with the number of cases that were compared since its last call.
    """
    device = torch.device(device)
    sizes = sizes or Sizes()
    precisions = list(precisions_of(device) if precisions is None else precisions)
    measured: list[Measure] = []
    generator = torch.Generator().manual_seed(SEED)
    for case in all_cases(sizes):
        problem = draw(case, generator)
        with warnings.catch_warnings():
            # PyTorch says which cells are slow on this device.
            warnings.simplefilter("ignore")
            measured += measures(problem, device, _precisions_of_case(case, precisions))
        if progress is not None:
            progress(1)
    if device.type != "cpu" and sizes.has_long_row:
        with computing_in(FLOAT32):
            measured.append(long_row(LONG_ROW, device, FLOAT32))
    refused = [m for m in measured if m.error and m.precision is not FLOAT32]
    computed = [m for m in measured if m not in refused]
    return Report(device, tuple(computed), tuple(find(computed)), tuple(refused))


def _precisions_of_case(case: Case, precisions: Sequence[Precision]) -> list[Precision]:
    """Float32 in all cases; the others in one batch of the smallest and largest networks."""
    if case.batch == SMALL_BATCH and case.layers == case.directions:
        return list(precisions)
    return [precision for precision in precisions if precision is FLOAT32]
