"""What this task predicts: what the rest of the package asks of it."""

from seqmodels.engine.metrics import METRICS, Metric
from seqmodels.target import FEATURES, TARGETS, Target

TARGETS["forecast"] = Target(
    what="the next values",
    logits="the next values",
    size="K",
    unit="examples",
    choose="model=forecaster data=windows",
    metric="mase",
    example={
        **FEATURES,
        "num_inputs": 1,
        "values": ["a"],
        "horizon": 2,
        "window": 5,
        "period": 1,
        "series": [""],
        "mean": [[0.0]],
        "deviation": [[1.0]],
        "naive_error": [[1.0]],
    },
    step="x{next}",
)
METRICS["mase"] = Metric(higher_is_better=False)
