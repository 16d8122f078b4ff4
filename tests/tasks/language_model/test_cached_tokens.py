"""Tokens in the cache: what could not be written whole is not there."""

from __future__ import annotations

import errno
import resource
from pathlib import Path
from typing import Any

import pytest

from seqmodels.errors import UserError
from seqmodels.tasks.language_model import PlainText, streams


@pytest.mark.parametrize("level", ["byte", "char", "word"])
def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path, level: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text("".join(f"line {n}\n" for n in range(40_000)))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(
            UserError, match="the cache .*tokens cannot be written: File too large; make room, or "
        ):
            PlainText(str(path), tokenizer=level, evaluation_streams=1).setup()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list((tmp_path / "cache" / "seqmodels" / "tokens").iterdir()) == []


def test_a_full_disk_is_named_whichever_file_it_meets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("".join(f"line {n}\n" for n in range(400)))
    write_text = Path.write_text
    for name in ("tokenizer.json", "corpus.json"):

        def full(self: Path, *arguments: Any, name: str = name, **options: Any) -> int:
            if self.name == name:
                raise OSError(errno.ENOSPC, "No space left on device")
            return write_text(self, *arguments, **options)

        monkeypatch.setattr(Path, "write_text", full)
        with pytest.raises(UserError, match="cannot be written: No space left on device; make"):
            PlainText(str(path), tokenizer="word", evaluation_streams=1).setup()
        assert list((tmp_path / "cache" / "seqmodels" / "tokens").iterdir()) == []


def test_a_file_that_changes_before_it_is_encoded_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("".join(f"line {n}\n" for n in range(300)))
    encode = streams.token_files

    def grown(*arguments: Any) -> Any:
        with path.open("a") as file:
            file.write("one more line\n")
        return encode(*arguments)

    monkeypatch.setattr(streams, "token_files", grown)
    with pytest.raises(UserError, match=r"a\.txt changed while it was read: start again when it"):
        PlainText(str(path), tokenizer="byte", evaluation_streams=1).setup()
    assert list((tmp_path / "cache" / "seqmodels" / "tokens").iterdir()) == []
