"""Dates as people write them in many languages, and in ISO 8601; from the package `babel`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import cached_property
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from seqmodels.arguments import Name, Sizes
from seqmodels.data.examples import Examples
from seqmodels.data.loading import SequenceLoader
from seqmodels.data.module import SPLITS, Split
from seqmodels.errors import UserError, choices
from seqmodels.installation import require
from seqmodels.tasks.seq2seq.pairs import PairDataModule

LOCALES = (
    "af_ZA am_ET ar_EG az_AZ be_BY bg_BG bn_BD bs_BA ca_ES cs_CZ cy_GB da_DK de_DE el_GR en_CA "
    "en_GB en_IN en_US es_ES es_MX et_EE eu_ES fa_IR fi_FI fil_PH fr_CA fr_FR ga_IE gu_IN he_IL "
    "hi_IN hr_HR hu_HU hy_AM id_ID is_IS it_IT ja_JP ka_GE kk_KZ km_KH ko_KR lo_LA lt_LT lv_LV "
    "mk_MK mn_MN mr_IN ms_MY mt_MT my_MM nb_NO ne_NP nl_NL pl_PL pt_BR pt_PT ro_RO ru_RU sk_SK "
    "sl_SI sq_AL sr_RS sv_SE sw_KE ta_IN te_IN th_TH tr_TR uk_UA ur_PK uz_UZ vi_VN zh_CN zh_TW "
    "zu_ZA"
)
# of languages that others of these locales have, and of new ones
HELD_OUT = "de_AT en_AU es_AR fr_CH nl_BE gl_ES kn_IN lb_LU nn_NO pa_IN"

FORMATS = ("short", "medium", "long", "full")
SKELETONS = ("yMd", "yMEd", "yMMMd", "yMMMEd", "GyMMMd", "GyMMMMEd")  # E: weekday, G: era
FIRST, LAST = date(1969, 1, 1), date(2068, 12, 31)  # as POSIX reads years of two digits
ZEROS = {  # of CLDR's numbering systems
    "arab": "\u0660",
    "arabext": "\u06f0",
    "beng": "\u09e6",
    "deva": "\u0966",
    "gujr": "\u0ae6",
    "guru": "\u0a66",
    "khmr": "\u17e0",
    "knda": "\u0ce6",
    "laoo": "\u0ed0",
    "mymr": "\u1040",
    "tamldec": "\u0be6",
    "telu": "\u0c66",
    "thai": "\u0e50",
}

Write = Callable[[date], str]


class Dates(PairDataModule):
    """Dates in many languages, to be written in ISO 8601: `en_US Sat, Apr 23, 2005` gives
    `2005-04-23`. Made on the fly; the same for every `seed`.

    The locale stands before each date, because 4/5/2005 is in April in `en_US` and in May in
    `en_GB`. Each locale has its short, medium, long and full format, and others with the weekday
    or the era. Where a language has digits of its own, half of its dates have those. All dates are
    of the hundred years that POSIX reads into two digits: 69 to 99 are of the 20th century, 00 to
    68 of the 21st.

    The splits have no date in common: `validation_fraction` and `test_fraction` are shares of the
    days. `held_out_locales` and `longest` are more splits to evaluate: days of the test split in
    locales that training lacks, and the longest tenth of the test split.

    Args:
        locales: as CLDR names them; None: some 75 of them, one or two for a language.
        held_out_locales: to evaluate only; None: ten of them, half in languages that training has.
        sizes: how many dates to draw for the training, validation and test split; equal texts
            count once.
        options: `split_seed` and the other arguments of `PairDataModule`.

    Raises:
        UserError: if a locale does not exist, or is on both lists.
    """

    more_splits = ("held_out_locales", "longest")

    def __init__(
        self,
        *,
        locales: Annotated[list[Name], Field(min_length=1)] | None = None,
        held_out_locales: Annotated[list[Name], Field(min_length=1)] | None = None,
        sizes: Sizes = (50_000, 2000, 5000),
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.locales = LOCALES.split() if locales is None else locales
        if held_out_locales is None:
            held_out_locales = [name for name in HELD_OUT.split() if name not in self.locales]
        self.held_out_locales = held_out_locales
        self.sizes = sizes
        if twice := sorted({*self.locales} & {*self.held_out_locales}):
            raise UserError(
                f"data.held_out_locales has {twice[0]}, which is one of data.locales: remove it "
                "from one of them"
            )

    @property
    def title(self) -> str:
        return "dates"

    @cached_property
    def days(self) -> dict[Split, np.ndarray]:
        """The days of each split, as days after the first one."""
        count = (LAST - FIRST).days + 1
        days = np.random.default_rng(self.split_seed).permutation(count)
        cuts = [round(self.fractions[split] * count) for split in ("validation", "test")]
        validation, test, train = np.split(days, np.cumsum(cuts))
        if not len(train):
            raise UserError(
                "data.validation_fraction and data.test_fraction leave no days to train on: lower "
                "them"
            )
        return {"train": train, "validation": validation, "test": test}

    def read(self) -> Mapping[Split, Examples]:
        return {
            split: self._examples(split, size, self.locales)
            for split, size in zip(SPLITS, self.sizes, strict=True)
        }

    def split_loader(self, split: str) -> SequenceLoader:
        if split in self.more_splits and split not in self.datasets:
            examples = self.examples["test"]
            if split == "longest":
                longest = sorted(range(len(examples)), key=lambda row: -len(examples.inputs[row]))
                examples = examples.take(np.array(longest[: max(len(examples) // 10, 1)]))
            else:
                examples = self._examples("test", self.sizes[2], self.held_out_locales)
            self.datasets[split] = self.encode(examples)
        return super().split_loader(split)

    def _examples(self, split: Split, size: int, locales: Sequence[str]) -> Examples:
        writers = [writers_of(locale) for locale in locales]
        random = np.random.default_rng([self.split_seed, SPLITS.index(split)])
        days = FIRST.toordinal() + random.choice(self.days[split], size)
        chosen, ways = random.integers(len(locales), size=size), random.random(size)
        found = dict[str, tuple[str]]()
        for number, index, way in zip(days.tolist(), chosen.tolist(), ways.tolist(), strict=True):
            day, write = date.fromordinal(number), writers[index][int(way * len(writers[index]))]
            found[f"{locales[index]} {write(day)}"] = (day.isoformat(),)
        return Examples([*found], [*found.values()], f"dates {split}")


def writers_of(locale: str) -> list[Write]:
    """The ways to write a date in a locale.

    Raises:
        UserError: for an unknown locale, or without the package `babel`.
    """
    require("babel", "data=dates", "examples")
    from babel import Locale, UnknownLocaleError, localedata

    try:
        found = Locale.parse(locale)
    except (UnknownLocaleError, ValueError) as error:
        near = choices(locale, localedata.locale_identifiers()).rpartition("; ")[2]
        raise UserError(f"data: unknown locale {locale!r}; {near}") from error
    named = [found.date_formats[name] for name in FORMATS]
    named += [p for name in SKELETONS if (p := found.datetime_skeletons.get(name))]
    patterns = {pattern.pattern: pattern for pattern in named}.values()  # some have two names
    zero = ZEROS.get(found.other_numbering_systems.get("native", ""))
    own = {ord("0") + n: chr(ord(zero) + n) for n in range(10)} if zero else {}

    def way(pattern: Any, digits: Mapping[int, str]) -> Write:
        return lambda day: pattern.apply(day, found).translate(digits)

    return [way(each, digits) for digits in ([{}, own] if own else [{}]) for each in patterns]
