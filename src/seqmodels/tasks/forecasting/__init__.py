"""The next values of a series."""

from seqmodels.engine.metrics import METRICS, Metric
from seqmodels.target import FEATURES, TARGETS, Target
from seqmodels.tasks.forecasting.airport_weather import AirportWeather
from seqmodels.tasks.forecasting.task import Forecaster
from seqmodels.tasks.forecasting.windows import Windows

__all__ = [
    "AirportWeather",
    "Forecaster",
    "Windows",
]

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
METRICS |= dict.fromkeys(
    ("mase", "standardised_mse", "standardised_mae"), Metric(higher_is_better=False)
)
