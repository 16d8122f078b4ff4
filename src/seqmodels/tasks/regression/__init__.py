"""One number or several, for a whole sequence or for each step."""

import seqmodels.tasks.regression.target  # noqa: F401  (registers it)
from seqmodels.tasks.regression.task import Regressor

__all__ = [
    "Regressor",
]
