"""What the cache holds is verified whenever it is used, and made again if it is not whole."""

from __future__ import annotations

import errno
import json
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqmodels.cache import cached
from seqmodels.data import Text
from seqmodels.data.file_pieces import fingerprint, whole
from seqmodels.errors import UserError
from seqmodels.tasks.language_model import PlainText, streams


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
