"""What the cache holds is verified whenever it is used, and made again if it is not whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from seqmodels.cache import cached
from seqmodels.data import PlainText, Text
from seqmodels.data.pieces import fingerprint, whole
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


@pytest.mark.parametrize("change", [half, flipped, longer, Path.unlink])
def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(np.random.default_rng(0).bytes(1000))
    piece = whole(path)
    assert fingerprint({"train": [piece]})
    change(path)
    with pytest.raises(
        UserError, match=r"a\.txt (changed while it was read|cannot be read: No su)"
    ):
        fingerprint({"train": [piece]})
