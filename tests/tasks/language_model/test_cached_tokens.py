"""Tokens in the cache: what could not be written whole is not there."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from seqmodels.errors import UserError
from seqmodels.tasks.language_model import PlainText


@pytest.mark.parametrize("level", ["byte", "char", "word"])
def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path, level: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text("".join(f"line {n}\n" for n in range(40_000)))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(
            UserError, match="the cache .* cannot be written: File too large; make room, or "
        ):
            PlainText(str(path), tokenizer=level, evaluation_streams=1).setup()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    left = [*(tmp_path / "cache" / "seqmodels").glob("*/.*")]
    assert left == []
