"""One number or several, for a whole sequence or for each step."""

from seqmodels.target import FEATURES, TARGETS, Target
from seqmodels.tasks.regression.baselines import value_baselines
from seqmodels.tasks.regression.task import Regressor

__all__ = [
    "Regressor",
]

TARGETS["value"] = Target(
    what="numbers",
    logits="the values",
    size="K",
    unit="examples",
    choose="model=regressor data=text data.value_columns=[score]",
    metric="rmse",
    example={**FEATURES, "values": ["a"], "mean": [0.0], "deviation": [1.0]},
    baselines=value_baselines,
)
