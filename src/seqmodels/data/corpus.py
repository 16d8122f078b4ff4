"""Text of any size as token ids in a file: read in blocks, encoded once, mapped into memory."""

from __future__ import annotations

import codecs
import hashlib
import json
import logging
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from rich.console import Console
from rich.progress import Progress
from tokenizers import Tokenizer

from seqmodels.data.tokenizer import START_ID, UNKNOWN_ID, train_tokenizer
from seqmodels.errors import UserError, one_line
from seqmodels.files import cache_folder

log = logging.getLogger(__name__)

BLOCK = 1 << 18  # bytes of text that are encoded as one
BLOCKS = 16  # as many of them at a time, in parallel
FORMAT = 2  # of the cached files


@dataclass(frozen=True)
class Piece:
    """The bytes `start..stop` of a file."""

    path: Path
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def cut(self, fraction: float) -> tuple[Piece, Piece]:
        """What remains, and about `fraction` of it from the end, cut at the end of a line where
        lines are short, else between characters."""
        position = self.start + int(len(self) * (1 - fraction))
        with self.path.open("rb") as file:
            file.seek(position)
            line = file.readline(min(BLOCK, self.stop - position))
        if line.endswith(b"\n") and position + len(line) < self.stop:
            position += len(line)
        else:  # a byte 10xxxxxx is inside a character of UTF-8
            position += next((i for i, byte in enumerate(line[:4]) if byte & 0xC0 != 0x80), 0)
        return Piece(self.path, self.start, position), Piece(self.path, position, self.stop)

    def blocks(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            file.seek(self.start)
            left = len(self)
            while block := file.read(min(BLOCK, left)):
                left -= len(block)
                yield block


Part = Sequence[Piece]


def whole(path: Path) -> Piece:
    """All of a file."""
    return Piece(path, 0, path.stat().st_size)


def size(part: Part) -> int:
    """In bytes."""
    return sum(len(piece) for piece in part)


def texts(part: Part, encoding: str = "utf-8") -> Iterator[str]:
    """A part's text, in blocks of about `BLOCK` bytes that end with a line where they can.

    Raises:
        UserError: naming the file that is not text in this encoding.
    """
    for piece in part:
        decoder = codecs.getincrementaldecoder(encoding)()
        unfinished = ""
        try:
            for block in piece.blocks():
                text = unfinished + decoder.decode(block)
                end = text.rfind("\n") + 1 or len(text)
                unfinished = text[end:]
                if end:
                    yield text[:end]
            unfinished += decoder.decode(b"", final=True)
        except (UnicodeDecodeError, OSError) as error:
            advice = "; set data.encoding" if isinstance(error, UnicodeDecodeError) else ""
            raise UserError(f"{piece.path} cannot be read: {one_line(error)}{advice}") from error
        if unfinished:
            yield unfinished


def fingerprint(parts: Mapping[str, Part]) -> str:
    """A hash of the content of every part, cut as it is: file names do not matter."""
    digest = hashlib.blake2b(digest_size=8)
    for name, part in parts.items():
        digest.update(f"{name}:{size(part)}\0".encode())
        for piece in part:
            digest.update(b"%d:" % len(piece))
            for block in piece.blocks():
                digest.update(block)
    return digest.hexdigest()


@dataclass(frozen=True)
class TokenFile:
    """One part as token ids on disk, after the id that stands for its start.

    Args:
        ids: `(N + 1,)`, the smallest unsigned integers that hold the vocabulary, mapped into
            memory: `ids[0]` is the start, `ids[1:]` the N tokens.
        num_bytes: of the text, in UTF-8.
        unknown: how many of the tokens are unknown to the vocabulary.
        unknown_bytes: how many bytes of the text they stand for.
    """

    ids: np.ndarray
    num_bytes: int
    unknown: int = 0
    unknown_bytes: int = 0

    def __len__(self) -> int:
        return len(self.ids) - 1


@dataclass(frozen=True)
class Corpus:
    """The parts of a corpus as token ids, and the tokenizer that made them."""

    tokenizer: Tokenizer
    parts: dict[str, TokenFile]


def encode(
    parts: Mapping[str, Part],
    content: str,
    options: Mapping[str, Any],
    tokenizer: Tokenizer | None = None,
    encoding: str = "utf-8",
) -> Corpus:
    """Encodes the parts into files of the user's cache, unless they are there already.

    Args:
        content: the parts' `fingerprint`.
        options: of `train_tokenizer`, which learns from the part `train`.
        tokenizer: a trained one, which is used instead.

    Raises:
        UserError: if a file cannot be decoded.
    """
    recipe = [FORMAT, tokenizers.__version__, content, sorted(options.items()), encoding]
    folder = _folder(recipe)
    if tokenizer is not None and not _holds(folder, tokenizer):
        folder = _folder([*recipe, tokenizer.to_str()])
    if not (folder / "corpus.json").is_file():
        partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
        try:
            _write(partial, parts, options, tokenizer, encoding)
            with suppress(OSError):  # another process was faster
                partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    dtype = np.min_scalar_type(tokenizer.get_vocab_size() - 1)
    return Corpus(
        tokenizer,
        {
            name: TokenFile(np.memmap(folder / f"{name}.bin", dtype, mode="r"), **facts)
            for name, facts in json.loads((folder / "corpus.json").read_text()).items()
        },
    )


def _folder(recipe: list[Any]) -> Path:
    key = hashlib.blake2b(json.dumps(recipe).encode(), digest_size=8).hexdigest()
    return cache_folder("tokens") / key


def _holds(folder: Path, tokenizer: Tokenizer) -> bool:
    file = folder / "tokenizer.json"
    return file.is_file() and Tokenizer.from_file(str(file)).to_str() == tokenizer.to_str()


def _write(
    folder: Path,
    parts: Mapping[str, Part],
    options: Mapping[str, Any],
    tokenizer: Tokenizer | None,
    encoding: str,
) -> None:
    console = Console(stderr=True)
    facts: dict[str, dict[str, int]] = {}
    with Progress(console=console, disable=not sys.stderr.isatty(), transient=True) as progress:
        if tokenizer is None:
            read = progress.track(
                texts(parts["train"], encoding),
                total=size(parts["train"]) / BLOCK,
                description=f"learning {options['level']} tokens",
            )
            tokenizer = train_tokenizer(read, **options)
        dtype = np.min_scalar_type(tokenizer.get_vocab_size() - 1)
        # of words and characters; tokens of bytes are never unknown
        lengths = np.zeros(tokenizer.get_vocab_size(), np.int64)
        for token, index in tokenizer.get_vocab().items():
            lengths[index] = 0 if index <= UNKNOWN_ID else len(token.encode())
        for name, part in parts.items():
            bar = progress.add_task(f"encoding {name}", total=size(part))
            blocks = texts(part, encoding)
            num_bytes = unknown = known_bytes = 0
            with (folder / f"{name}.bin").open("wb") as file:
                file.write(np.array([START_ID], dtype).tobytes())
                while some := list(islice(blocks, BLOCKS)):
                    for encoded in tokenizer.encode_batch_fast(some):
                        ids = np.array(encoded.ids, dtype)
                        unknown += int((ids == UNKNOWN_ID).sum())
                        known_bytes += int(lengths[ids].sum())
                        file.write(ids.tobytes())
                    num_bytes += sum(len(text.encode()) for text in some)
                    progress.update(bar, completed=num_bytes)
            unknown_bytes = num_bytes - known_bytes if unknown else 0
            facts[name] = {
                "num_bytes": num_bytes,
                "unknown": unknown,
                "unknown_bytes": unknown_bytes,
            }
        log.info(f"encoded {sum(f['num_bytes'] for f in facts.values()):,} bytes")
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "corpus.json").write_text(json.dumps(facts))
