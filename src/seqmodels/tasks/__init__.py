"""Tasks: what `model=<name>` chooses."""

from seqmodels.tasks.base import Task
from seqmodels.tasks.classification import SequenceClassifier
from seqmodels.tasks.contract import Contract, Step
from seqmodels.tasks.forecasting import Forecaster
from seqmodels.tasks.language_modeling import LanguageModel

__all__ = ["Contract", "Forecaster", "LanguageModel", "SequenceClassifier", "Step", "Task"]
