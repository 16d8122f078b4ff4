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


def nothing(folder: Path) -> None:
    """Makes an empty folder."""


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


@pytest.mark.parametrize(
    ("error", "raised", "line"),
    [
        (OSError(errno.ENOSPC, "No space"), UserError, "kind cannot be written: No .*paths.cache"),
        (ValueError("wrong"), ValueError, "wrong"),
    ],
)
def test_what_cannot_be_completed_leaves_nothing(
    kind: Path, error: Exception, raised: type[Exception], line: str
) -> None:
    def half(folder: Path) -> None:
        (folder / "half").write_text("ha")
        raise error

    with pytest.raises(raised, match=line):
        cached("kind", "recipe", half)
    assert [*kind.iterdir()] == []


def test_what_a_cache_holds_is_used_where_it_is_read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(*_: object, **__: object) -> None:  # root may write to any folder
        raise OSError(errno.EROFS, "Read-only file system")

    held = cached("kind", "held", nothing)
    monkeypatch.setattr(Path, "mkdir", read_only)
    assert cached("kind", "held", nothing) == held
    with pytest.raises(UserError, match="kind cannot be written: Read-only file system"):
        cached("kind", "other", nothing)


def test_what_a_killed_process_has_begun_is_removed_after_a_day(kind: Path) -> None:
    old, new = (kind / f".0123.{name}" for name in ("old", "new"))
    for folder in (old, new):
        (folder / "half").mkdir(parents=True)
    time = old.stat().st_mtime - DAY - 1
    os.utime(old, (time, time))
    held = cached("kind", "recipe", nothing)
    assert {*kind.iterdir()} == {held, new}
