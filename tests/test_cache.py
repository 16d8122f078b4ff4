"""What the cache holds is verified whenever it is used, and made again if it is not whole."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from seqmodels.cache import cached
from seqmodels.data.file_pieces import fingerprint, whole
from seqmodels.errors import UserError


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() * 2)


DAMAGES: list[Callable[[Path], None]] = [half, flipped, longer, Path.unlink]


def entries(tmp_path: Path, kind: str) -> list[Path]:
    return sorted((tmp_path / "cache" / "seqmodels" / kind).rglob("*.*"))


def test_another_process_may_make_the_same_folder_first(tmp_path: Path) -> None:
    def make(folder: Path) -> None:
        (folder / "a").write_text("mine")

    def slowly(folder: Path) -> None:
        cached("kind", "recipe", make)
        make(folder)

    assert (cached("kind", "recipe", slowly) / "a").read_text() == "mine"
    assert len(list((tmp_path / "cache" / "seqmodels" / "kind").iterdir())) == 1


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


@pytest.mark.parametrize("change", [half, flipped, longer, Path.unlink])
def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(np.random.default_rng(0).bytes(1000))
    piece = whole(path)
    assert fingerprint({"train": [piece]})
    time = path.stat().st_mtime_ns
    change(path)
    if change is longer:  # within the time that a file system tells apart
        os.utime(path, ns=(time, time))
    with pytest.raises(
        UserError, match=r"a\.txt (changed while it was read|cannot be read: No su)"
    ):
        fingerprint({"train": [piece]})


def test_what_a_killed_process_has_begun_is_removed_and_what_a_running_one_has_is_not(
    tmp_path: Path,
) -> None:
    kind = tmp_path / "cache" / "seqmodels" / "kind"
    begun = kind / "0123.abcd" / "new"
    begun.mkdir(parents=True)
    (begun / "half").write_text("ha")
    (kind / "0123.abcd.lock").touch()  # its process is gone, and so it locks nothing
    seen = []

    def make(folder: Path) -> None:
        seen.append(begun.exists())
        cached("kind", "other", lambda inner: (inner / "b").touch())
        (folder / "a").write_text("mine")  # the other one has not removed it

    assert (cached("kind", "recipe", make) / "a").read_text() == "mine"
    assert seen == [False] and len(list(kind.iterdir())) == 2
