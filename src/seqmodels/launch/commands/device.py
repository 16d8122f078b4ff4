from __future__ import annotations

import sys

from seqmodels.arguments import Name
from seqmodels.launch.command_line import command


@command
def main(*, device: Name = "auto") -> None:
    """Check that a device computes LSTM, GRU and RNN as their formulas say.

    python scripts/device.py --device cuda:0

    It compares forward passes and gradients, in training and evaluation, in each precision that the
    device has, with formulas in float64 on the CPU; and each row alone with its batch. Exit status
    1: something is wrong.

    Args:
        device: auto (the accelerator, if there is one), cpu, cuda, cuda:1, mps, ...
    """
    from seqmodels.kernels.cases import Sizes, all_cases
    from seqmodels.kernels.check import check_device
    from seqmodels.kernels.report import show
    from seqmodels.machine import device_named, one_thread
    from seqmodels.screen import Screen, show_progress

    found = device_named(device)
    sizes = Sizes()
    total = len(all_cases(sizes))
    with one_thread(), show_progress(f"checking {found}", total, fewest=0) as advance:
        report = check_device(found, sizes, progress=advance)
    show(report, Screen())
    sys.exit(1 if report.findings else 0)
