"""Tasks: what `model=<name>` chooses."""

from seqmodels.tasks.base import TrainingTask
from seqmodels.tasks.classification import SequenceClassifier
from seqmodels.tasks.language_modeling import LanguageModel

__all__ = ["LanguageModel", "SequenceClassifier", "TrainingTask"]
