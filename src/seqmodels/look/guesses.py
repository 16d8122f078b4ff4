"""What the columns of a table may be for, by their names and by what they hold. Only guesses: a
command shows each of them as a key."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from seqmodels.data.columns import Columns
from seqmodels.data.steps import in_order, steps_of_rows
from seqmodels.data.times import is_called_time, looks_like_times, times_of
from seqmodels.errors import UserError

SERIES = re.compile(
    r"(.*[_ ])?(id|tid|uid|series|trip|session|subject|patient|person|user|customer|client|unit|"
    r"machine|engine|device|sensor|site|station|store|shop|recording|run|night|walk|episode|track|"
    r"file|sample|sequence|vehicle|animal|storm)s?([_ ]?(id|no|nr|number|name))?",
    re.IGNORECASE,
)
LABELS = re.compile(
    r"(.*[_ ])?(label|class|target|category|activity|stage|diagnosis|outcome|churn|species|gesture|"
    r"emotion|sentiment|fault|failure|intent|tag|befund)(e?s)?|y",
    re.IGNORECASE,
)
VALUES = re.compile(
    r"(.*[_ ])?(rul|remaining.*|target|value|score|rating|stars|price|y)", re.IGNORECASE
)
QUANTITIES = re.compile(  # which may be read as well as predicted
    r"(.*[_ ])?(load|demand|kwh|mwh|power|sales|speed|amount|consumption|OT)", re.IGNORECASE
)
TEXTS = re.compile(
    r"(.*[_ ])?(text|sentence|review|message|comment|content|body|question|title|tweet|"
    r"description|headline|document|phrase|log|line|post)s?",
    re.IGNORECASE,
)
GROUPS = re.compile(
    r"(.*[_ ])?(group|user|subject|patient|person|machine|author|speaker|device|animal|driver|"
    r"rider|operator|customer)([_ ]?id)?",
    re.IGNORECASE,
)
IDS = re.compile(r"(.*[_ ])?(id|uuid|key|index)", re.IGNORECASE)
STEP_NUMBERS = re.compile(
    r"t|steps?|cycles?|frames?|ticks?|epochs?|hours?|days?|minutes?|seconds?|zeit"
)
CLASSES = range(2, 51)  # the different texts of a column of labels
FEW_CLASSES = 20  # whole numbers that are classes
SHORT_TEXT = 1.5  # words on average, of names and the like


@dataclass(frozen=True)
class Facts:
    """What is known of a column."""

    name: str
    codes: np.ndarray  # (N,), which text each row has; -1 for none
    count: int  # of different ones
    is_number: bool
    is_whole: bool
    words: float  # of a text, on average

    @property
    def is_class(self) -> bool:
        """Whether it has few different values, as a column of labels has."""
        if self.is_number:
            return self.is_whole and 2 <= self.count <= FEW_CLASSES
        return self.count in CLASSES


class Guess:
    """What the columns of one table may be for.

    Args:
        series: the column that names the series of each row, if that is known.
        rows_are_series: whether each row is a series, or a text, by itself.
    """

    def __init__(
        self, columns: Columns, *, series: str | None = None, rows_are_series: bool = False
    ) -> None:
        self.columns = columns
        self._series, self._rows_are_series = series, rows_are_series
        lists = {*columns.lists}
        names = [name for name in columns.table.column_names if name not in lists]
        kinds = {name: columns.kind(name) for name in names}
        self.facts = {
            name: facts_of(columns, name) for name, kind in kinds.items() if kind != "other"
        }

    def called(self, pattern: re.Pattern[str], among: Iterable[str]) -> list[str]:
        """The columns of these that have such a name."""
        return [name for name in among if pattern.fullmatch(name)]

    @cached_property
    def time(self) -> str | None:
        """The column with the times of the rows."""
        names = [name for name in self.facts if looks_like_times(self.columns, name)]
        names += [name for name, fact in self.facts.items() if fact.is_number and is_time(name)]
        for name in names:
            try:
                times_of(self.columns, name)
            except UserError:  # it lacks some, or holds others
                continue
            return name
        return None

    @cached_property
    def series(self) -> str | None:
        """The column that names the series of each row, if rows are steps: it has the most
        different names of those within which no time stands twice."""
        if self._rows_are_series or self._series:
            return self._series
        if self.time is None:
            times = np.arange(len(self.columns))
        else:
            times = times_of(self.columns, self.time).values
        candidates = list[tuple[bool, bool, int, str]]()
        for name, fact in self.facts.items():
            is_name = not fact.is_number or fact.is_whole
            repeats = 2 <= fact.count <= len(fact.codes) / 2
            if name == self.time or not is_name or not repeats or (fact.codes < 0).any():
                continue
            order = np.lexsort((times, fact.codes))
            is_same_series = np.diff(fact.codes[order]) == 0
            has_time_twice = bool((is_same_series & (np.diff(times[order]) == 0)).any())
            blocks = 1 + np.count_nonzero(np.diff(fact.codes))
            is_together = blocks == fact.count
            is_called_so = SERIES.fullmatch(name) is not None
            is_likely = is_together or (is_called_so and self.time is not None)
            if is_likely and not has_time_twice:
                candidates.append((is_called_so, is_together, fact.count, name))
        return max(candidates)[-1] if candidates else None

    def starts(self) -> np.ndarray:
        """The first row of each series, `(S,)`; of each row without a column of series."""
        if self.series is None:
            return np.arange(len(self.columns))
        codes = self.facts[self.series].codes
        return np.unique(codes, return_index=True)[1]

    def is_constant(self, name: str) -> bool:
        """Whether a column is the same at all steps of each series."""
        if self.series is None:
            return True
        series, codes = self.facts[self.series].codes, self.facts[name].codes
        first_codes = np.zeros(series.max() + 1, np.int64)
        first_codes[series[self.starts()]] = codes[self.starts()]
        return bool((first_codes[series] == codes).all())

    def labels(self, without: Sequence[str | None] = ()) -> list[str]:
        """Columns that may be labels, the likeliest first."""
        names = [n for n, fact in self.facts.items() if fact.is_class and n not in without]
        texts = [n for n in names if not self.facts[n].is_number and self.is_constant(n)]
        texts = [n for n in texts if not GROUPS.fullmatch(n)]
        texts.sort(key=lambda name: self.facts[name].count)
        return [*dict.fromkeys([*self.called(LABELS, names), *texts])]

    def values(self, without: Sequence[str | None] = ()) -> list[str]:
        """Columns that may be numbers to predict, the likeliest first."""
        numbers = [n for n, fact in self.facts.items() if fact.is_number and n not in without]
        called_so = [*self.called(VALUES, numbers), *self.called(QUANTITIES, numbers)]
        return [*dict.fromkeys([*called_so, *reversed(numbers)])]

    def texts(self) -> list[str]:
        """Columns of texts to read, the likeliest first."""
        names = []
        has_numbers = any(fact.is_number for fact in self.facts.values())
        for name, fact in self.facts.items():
            is_called_so = TEXTS.fullmatch(name) is not None
            is_various = fact.count > max(len(fact.codes) / 2, 2)
            # In a table without numbers, single words such as names are texts, too.
            is_text = is_various and (fact.words > SHORT_TEXT or not has_numbers)
            is_id = IDS.fullmatch(name) is not None or name == self.time
            if not fact.is_number and (is_called_so or is_text) and not is_id:
                names.append(name)
        names.sort(key=lambda name: (TEXTS.fullmatch(name) is None, -self.facts[name].words))
        return names

    def group(self, without: Sequence[str | None] = ()) -> str | None:
        """The column that may say whose a row or a series is."""
        for name in self.called(GROUPS, self.facts):
            count = self.facts[name].count
            is_shared = 3 <= count <= len(self.starts()) / 2
            if name not in without and is_shared and self.is_constant(name):
                return name
        return None

    def id(self, without: Sequence[str | None] = ()) -> str | None:
        """The column that tells each row."""
        for name in self.called(IDS, self.facts):
            if name not in without and self.facts[name].count == len(self.columns):
                return name
        return None

    def has_gaps(self, without: Sequence[str | None] = ()) -> bool:
        """Whether a column of numbers, or of lists of them, lacks some."""
        if any(self.columns.has_gaps_in_lists(name) for name in self.columns.lists):
            return True
        facts = [fact for name, fact in self.facts.items() if name not in without]
        return any(fact.is_number and bool((fact.codes < 0).any()) for fact in facts)

    def is_regular(self) -> bool:
        """Whether times are dates, and almost all steps within a series are equal, as forecasts
        need."""
        if self.time is None:
            return False
        times = times_of(self.columns, self.time)
        if not times.are_dates:
            return False
        apart = times.apart()
        if self.series is not None:
            steps = in_order(steps_of_rows(self.columns.select([self.series]), self.series), times)
            assert steps.times is not None
            apart = steps.times.apart()[steps.is_inside()]
        if len(apart) < 20 or (apart <= 0).any():
            return False
        return bool((apart == np.median(apart)).mean() > 0.9)


def facts_of(columns: Columns, name: str) -> Facts:
    """What a column holds."""
    is_time = columns.kind(name) == "time"
    if not is_time and not columns.holds_texts(name):
        values = columns.parsed(name)[0]
        is_known = ~np.isnan(values)
        different, codes = np.unique(values[is_known], return_inverse=True)
        codes_of_rows = np.full(len(values), -1)
        codes_of_rows[is_known] = codes
        is_whole = bool((different == np.floor(different)).all())
        return Facts(name, codes_of_rows, len(different), True, is_whole, 0.0)
    names = columns.names(name)
    texts = [text for text in names.names[:1000] if text]
    words = float(np.mean([len(text.split()) for text in texts])) if texts else 0.0
    count = len(np.unique(names.codes[names.codes >= 0]))
    return Facts(name, names.codes, count, False, False, words)


def is_time(name: str) -> bool:
    """Whether a column of numbers is called as times or the numbers of steps are."""
    return is_called_time(name) or STEP_NUMBERS.fullmatch(name.lower()) is not None
