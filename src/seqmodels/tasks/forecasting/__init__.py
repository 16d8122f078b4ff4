"""The next values of a series."""

import seqmodels.tasks.forecasting.target  # noqa: F401  (registers it)
from seqmodels.tasks.forecasting.airport_weather import AirportWeather
from seqmodels.tasks.forecasting.task import Forecaster
from seqmodels.tasks.forecasting.windows import Windows

__all__ = [
    "AirportWeather",
    "Forecaster",
    "Windows",
]
