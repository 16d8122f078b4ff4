"""`data=dates`: the right answer follows from the text, and no split knows another one's days."""

from __future__ import annotations

import sys
import unicodedata
from datetime import date, datetime, timedelta
from itertools import permutations

import pytest

from seqmodels.errors import UserError
from seqmodels.tasks.seq2seq import Dates
from seqmodels.tasks.seq2seq.dates import HELD_OUT, LOCALES, writers_of

SMALL = {"locales": ["en_US", "en_GB", "th_TH", "ar_EG"], "held_out_locales": ["de_AT"]}


def made(**options: object) -> Dates:
    given = {"sizes": (400, 50, 60), "validation_fraction": 0.1, "test_fraction": 0.1, **SMALL}
    data = Dates(**{**given, **options})
    data.setup()
    return data


def test_dates_of_english_speakers_are_read_by_another_library() -> None:
    examples = made(locales=["en_US"], sizes=(2000, 9, 9)).examples["train"]
    formats = {"%m/%d/%y", "%b %d, %Y", "%B %d, %Y", "%A, %B %d, %Y", "%m/%d/%Y", "%a, %m/%d/%Y",
               "%a, %b %d, %Y", "%b %d, %Y AD", "%a, %B %d, %Y AD"}  # fmt: skip
    used = set()
    for text, (iso,) in zip(examples.inputs, examples.targets):
        for form in formats:
            try:
                day = datetime.strptime(text, f"en_US {form}").date()
            except ValueError:
                continue
            used.add(form)
            assert day == date.fromisoformat(iso), text
            break
        else:
            raise AssertionError(f"{text} is in none of the formats")
    assert used == formats


@pytest.mark.parametrize("locale", [*LOCALES.split(), *HELD_OUT.split()])
def test_a_text_has_one_date_in_its_locale(locale: str) -> None:
    days = [date(2000 + year, month, day) for year, month, day in permutations((1, 2, 3))]
    days += [day + timedelta(days=9) for day in days]  # 10 to 12 of the month
    texts = {(write(day), day) for write in writers_of(locale) for day in days}
    assert len({text for text, _ in texts}) == len(texts) >= 6 * len(days)


def test_splits_have_no_day_in_common_and_cover_the_century() -> None:
    days = made().days
    assert sum(map(len, days.values())) == len(set().union(*days.values())) == 36_525
    assert len(days["test"]) == len(days["validation"]) == 3652
    examples = made().examples
    isos = {split: {iso for (iso,) in part.targets} for split, part in examples.items()}
    assert not isos["train"] & isos["test"] and not isos["train"] & isos["validation"]
    assert min(isos["train"]) < "1973" and max(isos["train"]) > "2064"


def test_languages_with_digits_of_their_own_have_both() -> None:
    texts = made(locales=["th_TH"], sizes=(400, 9, 9)).examples["train"].inputs
    own = [text for text in texts if not any(c in "0123456789" for c in text)]
    assert 150 < len(own) < 250
    for text in own:
        assert {"THAI" in unicodedata.name(c) for c in text if c.isdigit()} == {True}


def test_the_same_data_is_made_again_whatever_the_seed() -> None:
    assert made(seed=1).fingerprint == made(seed=2).fingerprint
    assert made(split_seed=1).fingerprint != made().fingerprint


def test_more_splits_are_locales_never_seen_and_the_longest_texts() -> None:
    data = made()
    assert data.more_splits == ("held_out_locales", "longest")
    assert set(data.datasets) == {"train", "validation", "test"}
    test_days = {iso for (iso,) in data.examples["test"].targets}
    held_out = [row for batch in data.split_loader("held_out_locales") for row in batch.references]
    assert 50 < len(held_out) <= 60
    everything = set(data.days["test"].tolist())
    assert all((date.fromisoformat(r[0]) - date(1969, 1, 1)).days in everything for r in held_out)
    lengths = [n for batch in data.split_loader("longest") for n in batch.lengths.tolist()]
    assert sorted(lengths) == sorted(map(len, data.examples["test"].inputs))[-len(lengths) :]
    assert len(lengths) == len(data.examples["test"]) // 10 and len(test_days) > 40


def test_a_locale_that_is_held_out_by_default_can_be_trained_on() -> None:
    data = Dates(locales=["de_AT", "de_DE"])
    assert "de_AT" not in data.held_out_locales and "en_AU" in data.held_out_locales


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"locales": ["de_AT"]}, "data.held_out_locales has de_AT, which is one of data.locales"),
        ({"locales": ["en_UX"]}, "data: unknown locale 'en_UX'; did you mean en_[A-Z]+"),
        ({"locales": ["?"]}, "data: unknown locale '\\?'; choose one of "),
        ({"validation_fraction": 0.5, "test_fraction": 0.6}, "leave no days to train on"),
    ],
)
def test_wrong_options_are_one_line(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=f"{message}[^\n]*$"):
        made(**options)


def test_a_missing_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "babel", None)
    with pytest.raises(UserError, match=r"^data=dates needs a package .*babel.*: pip install "):
        made()
