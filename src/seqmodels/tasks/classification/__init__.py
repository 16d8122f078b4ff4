"""One class for a whole sequence."""

from seqmodels.engine.metrics import METRICS, Metric
from seqmodels.target import FEATURES, TARGETS, Target
from seqmodels.tasks.classification.baselines import class_baselines
from seqmodels.tasks.classification.needle import Needle
from seqmodels.tasks.classification.surnames import Surnames
from seqmodels.tasks.classification.task import SequenceClassifier

__all__ = [
    "Needle",
    "SequenceClassifier",
    "Surnames",
]

TARGETS["class"] = Target(
    what="a class",
    logits="of the classes",
    size="C",
    unit="examples",
    choose="model=classifier data=text",
    metric="accuracy",
    example={**FEATURES, "classes": ["a", "b", "c"]},
    baselines=class_baselines,
)
METRICS["macro_f1"] = Metric(higher_is_better=True, unit="%")
