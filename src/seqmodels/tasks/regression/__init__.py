"""One number or several, for a whole sequence or for each step."""

from seqmodels.tasks.regression.task import Regressor

__all__ = [
    "Regressor",
]
