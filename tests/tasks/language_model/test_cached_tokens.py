"""Tokens in the cache: verified whenever they are used, and made again if they are not whole."""

from __future__ import annotations

import errno
import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seqmodels.data import Text
from seqmodels.errors import UserError
from seqmodels.tasks.language_model import PlainText, streams
from tests.test_cache import DAMAGES, entries, half


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damaged_tokens_are_encoded_again(
    tmp_path: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("".join(f"line {n}\n" for n in range(300)))

    def tokens() -> list[list[int]]:
        data = PlainText(str(path), tokenizer="char", evaluation_streams=1)
        data.setup()
        assert all(part.num_bytes == len(part) for part in data.tokens.values())
        return [part.ids.tolist() for part in data.tokens.values()]

    before, files = tokens(), entries(tmp_path, "tokens")
    assert {file.name for file in files} == {
        *("train.bin", "validation.bin", "test.bin", "tokenizer.json", "corpus.json"),
        "contents.json",
    }
    for file in files:
        caplog.clear()
        damage(file)
        assert tokens() == before
        assert "is damaged: making it again" in caplog.text
    assert entries(tmp_path, "tokens") == files  # nothing else is left


def test_damaged_baselines_and_texts_of_a_hub_are_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    rows = [{"text": f"text {n} é", "label": "ab"[n % 2]} for n in range(40)]
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))

    def read() -> tuple[bytes, object]:
        lm = PlainText(hub=str(folder), encoding="latin-1", tokenizer="char", evaluation_streams=1)
        lm.setup()
        texts = Text(hub=str(folder), min_count=1)
        texts.setup()
        return lm.texts["train"][0].path.read_bytes(), texts.baselines()

    before = read()
    assert before[0] == "".join(f"{row['text']}\n" for row in rows).encode()
    for kind in ("texts", "baselines"):
        for file in entries(tmp_path, kind):
            half(file)
            assert read() == before


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
    for name in ("tokenizer.json", "corpus.json", "contents.json"):

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
