"""What the cache holds is whole, because it gets its name when it is complete."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from seqmodels.cache import DAY, cached, cached_value
from seqmodels.errors import UserError


def kind(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "seqmodels" / "kind"


def test_a_folder_is_made_once_for_each_recipe(tmp_path: Path) -> None:
    made = []
    for recipe in ([1, "a"], [1, "a"], [2, "a"]):
        cached_value("kind", recipe, lambda recipe=recipe: made.append(recipe))
    assert made == [[1, "a"], [2, "a"]]
    assert len([*kind(tmp_path).iterdir()]) == 2


def test_another_process_may_make_the_same_folder_first(tmp_path: Path) -> None:
    def make(folder: Path) -> None:
        (folder / "a").write_text("mine")

    def slowly(folder: Path) -> None:
        cached("kind", "recipe", make)
        make(folder)

    assert (cached("kind", "recipe", slowly) / "a").read_text() == "mine"
    assert len([*kind(tmp_path).iterdir()]) == 1


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), ValueError()])
def test_what_cannot_be_completed_leaves_nothing(tmp_path: Path, error: Exception) -> None:
    def half(folder: Path) -> None:
        (folder / "half").write_text("ha")
        raise error

    line = "kind cannot be written: No space left on device; make room, or set paths.cache"
    expected = (UserError, line) if isinstance(error, OSError) else (ValueError, None)
    with pytest.raises(expected[0], match=expected[1]):
        cached("kind", "recipe", half)
    assert [*kind(tmp_path).iterdir()] == []


def test_a_cache_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(
        UserError, match="the cache .* cannot be written: .*; make room, or set paths.cache"
    ):
        cached("kind", "recipe", lambda folder: None)


def test_a_cache_that_is_read_only_is_named_and_what_it_holds_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = cached("kind", "held", lambda folder: None)

    def read_only(*_: object, **__: object) -> None:  # root may write to any folder
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", read_only)
    assert cached("kind", "held", lambda folder: None) == held
    with pytest.raises(UserError, match="kind cannot be written: Read-only file system; make room"):
        cached("kind", "other", lambda folder: None)


def test_what_a_killed_process_has_begun_is_removed_after_a_day(tmp_path: Path) -> None:
    old, new = (kind(tmp_path) / f".0123.{name}" for name in ("old", "new"))
    for folder in (old, new):
        folder.mkdir(parents=True)
        (folder / "half").write_text("ha")
    time = old.stat().st_mtime - DAY - 1
    os.utime(old, (time, time))
    held = cached("kind", "recipe", lambda folder: None)
    assert {*kind(tmp_path).iterdir()} == {held, new}
