"""What the columns of a table may be for, by their names and by what they hold. These are only
guesses, so a command shows each of them as a key."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from seqmodels.data.columns import Columns
from seqmodels.data.steps import in_order, steps_of_rows
from seqmodels.data.times import is_called_time, looks_like_times, times_of, times_or_none

# The names that columns often have, by what the columns are for.
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
# Quantities are as often read as they are predicted.
QUANTITIES = re.compile(
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
# A column of labels has so many different texts.
CLASSES = range(2, 51)
# If labels are whole numbers, so many of them differ at most.
FEW_CLASSES = 20
# Names and the like have so many words at most, on average.
SHORT_TEXT = 1.5
# So many of a column's texts are looked at to count their words.
TEXTS_TO_COUNT = 1000
# Fewer steps are not taken for regular ones.
FEWEST_REGULAR_STEPS = 20
# Steps are regular if more than this share of them are equally long.
REGULAR_SHARE = 0.9


@dataclass(frozen=True)
class Facts:
    """What is known of a column."""

    codes: np.ndarray  # (N,), a number for each row: equal values have the same one; -1 for none
    different_count: int  # how many different values it has
    is_number: bool
    is_whole: bool  # whether all its numbers are whole ones; False of texts
    mean_words: float  # how many words a text has on average; 0 of numbers

    @property
    def is_class(self) -> bool:
        """Whether it has few different values, as a column of labels has."""
        if self.is_number:
            return self.is_whole and 2 <= self.different_count <= FEW_CLASSES
        return self.different_count in CLASSES

    @property
    def has_gaps(self) -> bool:
        """Whether a row has no value."""
        return bool((self.codes < 0).any())


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
        self._series = series
        self._rows_are_series = rows_are_series
        # What is known of each column, by its name. Nothing is guessed of lists and of objects.
        self.facts = dict[str, Facts]()
        for name in columns.table.column_names:
            if columns.kind(name) not in ("list", "other"):
                self.facts[name] = facts_of(columns, name)

    @cached_property
    def time(self) -> str | None:
        """The column with the times of the rows."""
        names = [name for name in self.facts if looks_like_times(self.columns, name)]
        for name, facts in self.facts.items():
            if facts.is_number and is_time(name):
                names.append(name)
        for name in names:
            # A column that lacks some times, or holds something else, is not the one.
            if times_or_none(self.columns, name) is not None:
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
        candidates = list[tuple[bool, bool, int, str]]()  # The largest one is the likeliest.
        for name, facts in self.facts.items():
            if name == self.time or not _may_name_series(facts):
                continue
            is_named_so = SERIES.fullmatch(name) is not None
            is_together = _has_one_block_for_each(facts)
            is_likely = is_together or (is_named_so and self.time is not None)
            if is_likely and not _has_time_twice(facts.codes, times):
                candidates.append((is_named_so, is_together, facts.different_count, name))
        if not candidates:
            return None
        *_, name = max(candidates)
        return name

    def starts(self) -> np.ndarray:
        """The first row of each series, `(S,)`. Without a column of series, each row is one."""
        if self.series is None:
            return np.arange(len(self.columns))
        _, first_rows = np.unique(self.facts[self.series].codes, return_index=True)
        return first_rows

    def is_constant(self, name: str) -> bool:
        """Whether a column is the same at all steps of each series."""
        if self.series is None:
            return True
        series_codes = self.facts[self.series].codes
        codes = self.facts[name].codes
        starts = self.starts()
        # What each series has at its start, at the position that is its code.
        first_codes = np.zeros(series_codes.max() + 1, np.int64)
        first_codes[series_codes[starts]] = codes[starts]
        return bool((first_codes[series_codes] == codes).all())

    def labels(self, without: Sequence[str | None] = ()) -> list[str]:
        """Columns that may be labels, the likeliest first."""
        candidates = list[str]()
        texts = list[str]()
        for name, facts in self.facts.items():
            if name in without or not facts.is_class:
                continue
            candidates.append(name)
            if not facts.is_number and self.is_constant(name) and not GROUPS.fullmatch(name):
                texts.append(name)
        texts.sort(key=lambda name: self.facts[name].different_count)
        return _each_once([*_named_like(LABELS, candidates), *texts])

    def values(self, without: Sequence[str | None] = ()) -> list[str]:
        """Columns that may be numbers to predict, the likeliest first."""
        numbers = list[str]()
        for name, facts in self.facts.items():
            if facts.is_number and name not in without:
                numbers.append(name)
        values = _named_like(VALUES, numbers)
        quantities = _named_like(QUANTITIES, numbers)
        # What to predict often stands in the last column.
        return _each_once([*values, *quantities, *reversed(numbers)])

    def texts(self) -> list[str]:
        """Columns of texts to read, the likeliest first."""
        names = list[str]()
        has_numbers = any(facts.is_number for facts in self.facts.values())
        for name, facts in self.facts.items():
            is_id = IDS.fullmatch(name) is not None or name == self.time
            if facts.is_number or is_id:
                continue
            is_named_so = TEXTS.fullmatch(name) is not None
            is_various = facts.different_count > max(len(facts.codes) / 2, 2)
            # In a table without numbers, single words such as names are texts, too.
            is_text = is_various and (facts.mean_words > SHORT_TEXT or not has_numbers)
            if is_named_so or is_text:
                names.append(name)
        names.sort(key=lambda name: (TEXTS.fullmatch(name) is None, -self.facts[name].mean_words))
        return names

    def group(self, without: Sequence[str | None] = ()) -> str | None:
        """The column that may say whose a row or a series is."""
        for name in _named_like(GROUPS, self.facts):
            count = self.facts[name].different_count
            is_shared = 3 <= count <= len(self.starts()) / 2
            if name not in without and is_shared and self.is_constant(name):
                return name
        return None

    def id(self, without: Sequence[str | None] = ()) -> str | None:
        """The column that has another value in each row."""
        for name in _named_like(IDS, self.facts):
            if name not in without and self.facts[name].different_count == len(self.columns):
                return name
        return None

    def has_gaps(self, without: Sequence[str | None] = ()) -> bool:
        """Whether a column of numbers, or of lists of them, lacks some."""
        for name in self.columns.lists:
            if self.columns.has_gaps_in_lists(name):
                return True
        for name, facts in self.facts.items():
            if facts.is_number and facts.has_gaps and name not in without:
                return True
        return False

    def is_regular(self) -> bool:
        """Whether times are dates, and almost all steps within a series are equal, as forecasts
        need."""
        if self.time is None:
            return False
        times = times_of(self.columns, self.time)
        if not times.are_dates:
            return False
        if self.series is None:
            seconds_apart = times.apart()
        else:
            rows = steps_of_rows(self.columns.select([self.series]), self.series)
            steps = in_order(rows, times)
            assert steps.times is not None
            seconds_apart = steps.times.apart()[steps.is_inside()]
        if len(seconds_apart) < FEWEST_REGULAR_STEPS or (seconds_apart <= 0).any():
            return False
        is_usual_step = seconds_apart == np.median(seconds_apart)
        return bool(is_usual_step.mean() > REGULAR_SHARE)


def _named_like(pattern: re.Pattern[str], names: Iterable[str]) -> list[str]:
    """Those of the names that the pattern matches."""
    return [name for name in names if pattern.fullmatch(name)]


def _each_once(names: Iterable[str]) -> list[str]:
    """The names in their order, without those that stood before."""
    return list(dict.fromkeys(names))


def _may_name_series(facts: Facts) -> bool:
    """Whether a column can name the series of each row: with texts or whole numbers, one in every
    row, of which most stand several times."""
    is_name = facts.is_whole or not facts.is_number
    repeats = 2 <= facts.different_count <= len(facts.codes) / 2
    return is_name and repeats and not facts.has_gaps


def _has_one_block_for_each(facts: Facts) -> bool:
    """Whether the rows of each value of a column follow one another."""
    block_count = 1 + int(np.count_nonzero(np.diff(facts.codes)))
    return block_count == facts.different_count


def _has_time_twice(codes: np.ndarray, times: np.ndarray) -> bool:
    """Whether two rows of one series have the same time.

    Args:
        codes: the series of each row, `(N,)`.
        times: the time of each row, `(N,)`.
    """
    order = np.lexsort((times, codes))  # the rows by series, and in a series by time
    is_same_series = np.diff(codes[order]) == 0
    is_same_time = np.diff(times[order]) == 0
    return bool((is_same_series & is_same_time).any())


def facts_of(columns: Columns, name: str) -> Facts:
    """What a column holds."""
    if columns.kind(name) == "time" or columns.holds_texts(name):
        return _facts_of_texts(columns, name)
    values, _ = columns.parsed(name)
    has_value = ~np.isnan(values)
    different_values, codes_of_values = np.unique(values[has_value], return_inverse=True)
    codes = np.full(len(values), -1)
    codes[has_value] = codes_of_values
    is_whole = different_values == np.floor(different_values)
    return Facts(
        codes,
        different_count=len(different_values),
        is_number=True,
        is_whole=bool(is_whole.all()),
        mean_words=0.0,
    )


def _facts_of_texts(columns: Columns, name: str) -> Facts:
    """What a column of texts, or of dates, holds."""
    names = columns.names(name)
    word_counts = [len(text.split()) for text in names.names[:TEXTS_TO_COUNT] if text]
    mean_words = float(np.mean(word_counts)) if word_counts else 0.0
    # Names that no row has don't count.
    different_codes = np.unique(names.codes[names.codes >= 0])
    return Facts(
        names.codes,
        different_count=len(different_codes),
        is_number=False,
        is_whole=False,
        mean_words=mean_words,
    )


def is_time(name: str) -> bool:
    """Whether a column of numbers is named as times or the numbers of steps are."""
    return is_called_time(name) or STEP_NUMBERS.fullmatch(name.lower()) is not None
