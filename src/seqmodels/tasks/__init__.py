"""Tasks: what `model=<name>` chooses."""

from seqmodels.tasks.base import Task
from seqmodels.tasks.classification import SequenceClassifier
from seqmodels.tasks.contract import Contract, Step
from seqmodels.tasks.forecasting import Forecaster
from seqmodels.tasks.language_modeling import LanguageModel
from seqmodels.tasks.regression import Regressor
from seqmodels.tasks.seq2seq import Seq2Seq
from seqmodels.tasks.tagging import Tagger

__all__ = [
    "Contract",
    "Forecaster",
    "LanguageModel",
    "Regressor",
    "Seq2Seq",
    "SequenceClassifier",
    "Step",
    "Tagger",
    "Task",
]
