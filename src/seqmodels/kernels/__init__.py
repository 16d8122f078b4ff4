"""Is this device right? Its LSTM, GRU and RNN beside formulas in float64, on the CPU.

Kernels of accelerators have been wrong in silence: a model trains, only worse, or its predictions
depend on the batch. `check_device` runs PyTorch's own modules, and `RecurrentEncoder` as it runs
them, on small random networks:

- `cases.py` draws networks and batches, and says what is run on them;
- `formulas.py` has the equations of PyTorch's documentation, step by step: the truth;
- `precision.py` says how far rounding alone can move a result, by precision;
- `compare.py` measures how far the device is from the truth;
- `findings.py` says in a sentence what is wrong, with the public thread where there is one.

"""

from __future__ import annotations

from seqmodels.kernels.check import Report, check_device
from seqmodels.kernels.findings import Finding
from seqmodels.kernels.first_look import first_look

__all__ = ["Finding", "Report", "check_device", "first_look"]
