"""What every task shares: the loops around a network, its contract, metrics, optimisation."""

from seqmodels.engine.contract import Contract, Step
from seqmodels.engine.task import Task

__all__ = ["Contract", "Step", "Task"]
