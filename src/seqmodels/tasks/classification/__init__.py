"""One class for a whole sequence."""

import seqmodels.tasks.classification.target  # noqa: F401  (registers it)
from seqmodels.tasks.classification.needle import Needle
from seqmodels.tasks.classification.surnames import Surnames
from seqmodels.tasks.classification.task import SequenceClassifier

__all__ = [
    "Needle",
    "SequenceClassifier",
    "Surnames",
]
