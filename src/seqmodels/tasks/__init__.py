"""Tasks: what `model=<name>` chooses."""

from seqmodels.tasks.base import Step, Task
from seqmodels.tasks.classification import SequenceClassifier
from seqmodels.tasks.contract import Contract
from seqmodels.tasks.language_modeling import LanguageModel

__all__ = ["Contract", "LanguageModel", "SequenceClassifier", "Step", "Task"]
