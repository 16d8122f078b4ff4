"""The next values of a series."""

from seqmodels.tasks.forecasting.airport_weather import AirportWeather
from seqmodels.tasks.forecasting.task import Forecaster
from seqmodels.tasks.forecasting.windows import Windows

__all__ = [
    "AirportWeather",
    "Forecaster",
    "Windows",
]
