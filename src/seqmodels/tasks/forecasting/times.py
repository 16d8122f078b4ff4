"""Times of steps: are they equally far apart, which ones come next, and when do series repeat?"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from seqmodels.data.tables import number_of
from seqmodels.errors import UserError, shown

Moment = datetime | float

ADVICE = "write times as 2013-01-31 06:00, with or without an offset such as +01:00, or as numbers"
UNITS = ("hour", "weekday", "month")  # of a calendar
OFFSET = re.compile(r"(Z|[+-]\d\d:?\d\d)$")
EPOCH = datetime(1970, 1, 1)
# to find a period
LONGEST = 10_000  # steps to look at, the newest
LEAST = 0.1  # of the variance that the mean cycle must predict
ALIKE = 1.15  # what is left unexplained by cycles that are equally good


def moment(value: Any, where: str) -> Moment:
    """The moment that a value of a table stands for: a number, or a date with or without a time,
    and with its offset if it has one.

    Raises:
        UserError: if the value is not a time.
    """
    text = "" if value is None else str(value).strip()
    try:
        number = number_of(text)
        if math.isfinite(number):
            return number
    except ValueError:
        with suppress(ValueError, OverflowError):
            # `1949-01` is the first of a month
            found = datetime.fromisoformat(
                re.sub(r"^(\d{4}-\d\d)$", r"\1-01", text.replace("/", "-"))
            )
            found.astimezone(UTC)  # an error if it is out of range
            return found
    raise UserError(f"{where} has {shown(repr(text))} as its time; {ADVICE}")


@dataclass(frozen=True)
class Clock:
    """Equal steps of time.

    Args:
        last: the last moment, as the file writes it.
        step: in microseconds; or in months, or in the unit of the file's numbers.
        unit: `time`, `months`, `ends of months` or `numbers`.
    """

    last: str
    step: float
    unit: str

    @property
    def every(self) -> str:
        """How long a step is."""
        return _length(self.step, self.unit)

    def after(self, count: int, since: int = 0) -> list[str] | list[int | float]:
        """The moments after that which is `since` steps from the last, as the file writes them."""
        last = moment(self.last, "the series")
        if isinstance(last, datetime):
            return [_formatted(each, self.last) for each in self.dates(last, count, since)]
        return [_short(last + self.step * steps) for steps in range(since + 1, since + count + 1)]

    def dates(self, last: datetime, count: int, since: int) -> list[datetime]:
        """The same, by the clock of `last`, the last of them: without its offset."""
        last, ahead = last.replace(tzinfo=None), range(since + 1, since + count + 1)
        if self.unit == "time":
            return [last + timedelta(microseconds=self.step * steps) for steps in ahead]
        return [_later(last, int(self.step) * steps, self.unit) for steps in ahead]


def calendar_waves(
    clock: Clock, count: int, units: Sequence[str]
) -> Float[np.ndarray, "time waves"]:
    """Sine and cosine of the hour in its day, the weekday in its week and the month in its year, as
    `units` name them, of the last `count` steps."""
    last: Any = moment(clock.last, "the series")
    turns: dict[str, Callable[[datetime], float]] = {
        "hour": lambda at: (at.hour + at.minute / 60) / 24,
        "weekday": lambda at: at.weekday() / 7,
        "month": lambda at: (at.month - 1 + (at.day - 1) / 31) / 12,
    }
    dates = clock.dates(last, count, since=-count)
    angles = np.array([[2 * np.pi * turns[unit](at) for unit in units] for at in dates])
    return np.stack([np.sin(angles), np.cos(angles)], axis=2).reshape(count, -1)


def clock(
    moments: Sequence[Moment], last: str, name: Callable[[int], str]
) -> tuple[Clock, Int[np.ndarray, " time"]]:
    """The steps between these moments, and the number of each moment's step, from 0: without gaps
    `0, 1, 2, ...`. Months count as equally long.

    Args:
        last: the last one, as the file writes it.
        name: what errors call each of them: its file, row and moment.

    Raises:
        UserError: for moments that are not in order, or whose distance is not a multiple of the
            usual one.
    """
    numbers = not isinstance(moments[0], datetime)
    for index, each in enumerate(moments):
        if isinstance(each, datetime) == numbers:
            kinds = ("a date", "a number") if numbers else ("a number", "a date")
            raise UserError(f"{name(index)} is {kinds[0]}, and the one before {kinds[1]}")
    unit, positions = ("numbers", np.array(moments)) if numbers else _on_axis(_aligned(moments))
    distances = np.diff(positions)
    if (wrong := np.flatnonzero(distances <= 0)).size:
        at = int(wrong[0]) + 1
        if distances[at - 1] == 0:
            raise UserError(
                f"{name(at)} is there twice: remove one of the rows; if clocks went back there, "
                "write times in UTC; if there are several series, set data.series"
            )
        raise UserError(
            f"{name(at)} is earlier than the row before: sort the rows by time; if there are "
            "several series, set data.series"
        )
    if len(moments) == 1:
        return Clock(last, 1 if unit != "time" else 1e6, unit), np.zeros(1, np.int64)
    different, counts = np.unique(np.round(distances, 9), return_counts=True)
    step = float(different[counts.argmax()])
    steps = distances / step
    counted = np.round(steps)
    if (wrong := np.flatnonzero((np.abs(steps - counted) > 1e-6) | (counted < 1))).size:
        at = int(wrong[0])
        raise UserError(
            f"{name(at + 1)} is {_length(distances[at], unit)} after the row before, others are "
            f"{_length(step, unit)}: make the steps equal, such as by averages"
        )
    return Clock(last, step, unit), np.append(0, np.cumsum(counted)).astype(np.int64)


def _aligned(moments: Sequence[Any]) -> list[datetime]:
    """Moments without offsets: in UTC, or as the clock showed them where that is always the same
    time of day, because a day is not 24 hours long when clocks change."""
    shown = [each.replace(tzinfo=None) for each in moments]
    if len({each.time() for each in shown}) == 1:
        return shown
    return [each.astimezone(UTC).replace(tzinfo=None) if each.tzinfo else each for each in moments]


def _on_axis(moments: Sequence[Any]) -> tuple[str, np.ndarray]:
    # months if all are on the same day of a month at the same time, or at the ends of months
    times = np.array([(each - EPOCH) // timedelta(microseconds=1) for each in moments], np.int64)
    stamps = times.astype("M8[us]")
    months = stamps.astype("M8[M]")
    if len({*(stamps - months).tolist()}) == 1:
        return "months", months.astype(np.int64)
    to_end = (months + 1).astype("M8[us]") - stamps
    if len({*to_end.tolist()}) == 1 and to_end[0] <= np.timedelta64(1, "D"):
        return "ends of months", months.astype(np.int64)
    return "time", times


def _later(last: datetime, months: int, unit: str) -> datetime:
    year, month = divmod(last.year * 12 + last.month - 1 + months, 12)
    if unit == "months":
        return last.replace(year=year, month=month + 1)
    after = date(year + (month == 11), (month + 1) % 12 + 1, 1)
    return datetime.combine(after - timedelta(days=1), last.time())


def _formatted(moment: datetime, like: str) -> str:
    like = like.strip()
    offset = OFFSET.search(like) if ":" in like else None
    clock = like[: offset.start()] if offset else like
    if re.fullmatch(r"\d{4}.\d\d", clock):
        text = moment.isoformat()[:7]
    elif ":" not in clock:
        text = moment.date().isoformat()
    else:
        spec = "minutes" if clock.count(":") == 1 else "microseconds" if "." in clock else "seconds"
        text = moment.isoformat("T" if "T" in clock else " ", spec)
    return text.replace("-", "/" if "/" in clock else "-") + (offset[0] if offset else "")


def _length(step: float, unit: str) -> str:
    if unit == "time":
        return str(timedelta(microseconds=float(step))).removesuffix(", 0:00:00")
    return f"{_short(float(step))} months" if "months" in unit else str(_short(float(step)))


def _short(number: float) -> int | float:
    rounded = round(number, 9)
    return int(rounded) if rounded == int(rounded) else rounded


def find_period(series: Sequence[np.ndarray]) -> int:
    """The period of these series, or 1 if they have none that is significant.

    For each period the mean cycle of the first half, without trend, predicts the second half. A
    random walk has cycles by chance, but they do not return: the share of the variance that must be
    predicted is larger the fewer cycles were seen, and at least four must be. Of periods that
    predict alike, such as 24 and 48, the shortest is taken.

    Args:
        series: `(T,)` each, without nan.
    """
    shares: dict[int, list[float]] = {}
    lengths = list[int]()
    for each in series:
        recent = each[-LONGEST:]
        lengths.append(len(recent))
        for period in range(2, len(recent) // 4 + 1):
            shares.setdefault(period, []).append(_predicted(recent, period))
    mean = {period: float(np.mean(found)) for period, found in shares.items()}
    steps = float(np.mean(lengths))
    peaks = {
        period: share
        for period, share in mean.items()
        if share >= max(mean.get(period - 1, -np.inf), mean.get(period + 1, -np.inf))
        and share > max(LEAST, 5 * period / steps)
    }
    if not peaks:
        return 1
    alike = ALIKE * (1 - max(peaks.values()))
    return next(period for period, share in peaks.items() if 1 - share <= alike + 1e-9)


def _predicted(series: np.ndarray, period: int) -> float:
    """The share of the second half's variance that the mean cycle of the first half predicts."""
    sums = np.cumsum(np.append(0.0, series - series.mean()))
    trend = (sums[period:] - sums[:-period]) / period  # the mean around each step
    cycles = (series - series.mean())[period // 2 :][: len(trend)] - trend
    cycles -= cycles.mean()
    half, phases = len(cycles) // 2, np.arange(len(cycles)) % period
    counts = np.bincount(phases[:half], minlength=period)
    cycle = np.bincount(phases[:half], cycles[:half], period) / np.maximum(counts, 1)
    variance = np.square(cycles[half:]).sum()
    if variance <= 1e-9 * len(cycles) * series.var():  # a straight line
        return 0.0
    return float(1 - np.square(cycles[half:] - cycle[phases[half:]]).sum() / variance)
