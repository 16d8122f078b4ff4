"""Tasks: what `model=<name>` chooses."""

from seqmodels.tasks.classification import SequenceClassifier
from seqmodels.tasks.language_modeling import LanguageModel
from seqmodels.tasks.training import TrainingTask

__all__ = ["LanguageModel", "SequenceClassifier", "TrainingTask"]
