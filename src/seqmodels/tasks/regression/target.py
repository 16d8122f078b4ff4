"""What this task predicts: what the rest of the package asks of it."""

from seqmodels.target import FEATURES, TARGETS, Target
from seqmodels.tasks.regression.baselines import value_baselines

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
