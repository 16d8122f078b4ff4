"""Tasks: what `model=<name>` chooses."""

from seqmodels.tasks.classification import SequenceClassifier

__all__ = ["SequenceClassifier"]
