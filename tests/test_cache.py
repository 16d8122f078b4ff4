"""What the cache holds is whole, because it gets its name when it is complete."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from seqmodels.cache import DAY, cached, cached_value
from seqmodels.errors import UserError


@pytest.fixture
def kind(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "seqmodels" / "kind"


def test_a_folder_is_made_once_for_each_recipe(kind: Path) -> None:
    made = []
    for recipe in ([1, "a"], [1, "a"], [2, "a"]):
        cached_value("kind", recipe, lambda recipe=recipe: made.append(recipe))
    assert made == [[1, "a"], [2, "a"]] and len([*kind.iterdir()]) == 2


def test_another_process_may_make_the_same_folder_first(kind: Path) -> None:
    def slowly(folder: Path) -> None:
        cached("kind", "recipe", lambda first: (first / "a").touch())
        (folder / "a").touch()

    assert [*cached("kind", "recipe", slowly).iterdir()] and len([*kind.iterdir()]) == 1


def test_what_cannot_be_completed_leaves_nothing(kind: Path) -> None:
    def half(folder: Path) -> None:
        (folder / "half").write_text("ha")
        raise OSError(errno.ENOSPC, "No space")

    with pytest.raises(UserError, match="kind cannot be written: No .*paths.cache"):
        cached("kind", "recipe", half)
    assert [*kind.iterdir()] == []


def test_an_error_of_what_is_read_or_fetched_is_its_own(kind: Path, tmp_path: Path) -> None:
    def fetch() -> None:
        raise ConnectionRefusedError(errno.ECONNREFUSED, "no answer")

    with pytest.raises(FileNotFoundError, match="not_there"):
        cached_value("kind", "recipe", (tmp_path / "not_there").read_text)
    with pytest.raises(ConnectionRefusedError, match="no answer"):
        cached_value("kind", "recipe", fetch)
    assert [*kind.iterdir()] == []


def test_a_cache_that_cannot_be_made_is_named(kind: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    with pytest.raises(UserError, match="kind cannot be written: Not a directory; make room"):
        cached_value("kind", "recipe", list)


def test_what_a_killed_process_has_begun_is_removed_after_a_day(kind: Path) -> None:
    old, new = (kind / f".0123.{name}" for name in ("old", "new"))
    for folder in (old, new):
        (folder / "half").mkdir(parents=True)
    time = old.stat().st_mtime - DAY - 1
    os.utime(old, (time, time))
    held = cached("kind", "recipe", lambda folder: None)
    assert {*kind.iterdir()} == {held, new}
