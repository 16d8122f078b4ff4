"""One run: train it, load it, evaluate it, predict with it."""

from seqmodels.runs.finished import Run, load_run
from seqmodels.runs.training import train

__all__ = ["Run", "load_run", "train"]
