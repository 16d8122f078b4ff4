"""One run: train it, load it, evaluate it, predict with it."""

from seqmodels.runs.finished import Run, load_run
from seqmodels.runs.trainer import Trainer
from seqmodels.runs.training import fit, prepare, train

__all__ = ["Run", "Trainer", "fit", "load_run", "prepare", "train"]
