"""Text of any size as token ids on disk: encoded once, cached, and mapped into memory."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from rich.progress import Progress
from tokenizers import Tokenizer

from seqmodels.data.pieces import BLOCK, Pieces, size, texts
from seqmodels.data.tokenizer import START_ID, UNKNOWN_ID, TokenizerOptions, train_tokenizer
from seqmodels.files import cache_folder
from seqmodels.screen import Screen

log = logging.getLogger(__name__)

BLOCKS = 16  # blocks of text to encode at a time, in parallel
FORMAT = 2  # of the cached files


@dataclass(frozen=True)
class TokenFile:
    """One split as N token ids on disk, after an id that marks its start.

    Args:
        ids: `(N + 1,)` unsigned integers mapped into memory: `ids[0]` marks the start, `ids[1:]`
            are the tokens.
        num_bytes: of the text, in UTF-8.
        unknown: the number of unknown tokens.
        unknown_bytes: the number of bytes of text that became unknown tokens.
    """

    ids: np.ndarray
    num_bytes: int
    unknown: int = 0
    unknown_bytes: int = 0

    def __len__(self) -> int:
        return len(self.ids) - 1


def encode(
    splits: Mapping[str, Pieces],
    content: str,
    options: TokenizerOptions,
    tokenizer: Tokenizer | None = None,
    encoding: str = "utf-8",
) -> tuple[Tokenizer, dict[str, TokenFile]]:
    """The tokenizer, and the splits as files in the user's cache, encoded if they are not there.

    Args:
        content: the fingerprint of the splits.
        options: how to train a tokenizer on the split `train`.
        tokenizer: a trained tokenizer to use instead.
        encoding: of the text files.

    Raises:
        UserError: naming the file that is not text in this encoding.
    """
    recipe = [FORMAT, tokenizers.__version__, content, sorted(asdict(options).items()), encoding]
    folder = _folder(recipe)
    if tokenizer is not None:  # its files may be those of the recipe
        file = folder / "tokenizer.json"
        if not file.is_file() or Tokenizer.from_file(str(file)).to_str() != tokenizer.to_str():
            folder = _folder([*recipe, tokenizer.to_str()])
    if not (folder / "corpus.json").is_file():
        partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
        try:
            _write(partial, splits, options, tokenizer, encoding)
            with suppress(OSError):  # another process may have renamed its own first
                partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    dtype = np.min_scalar_type(tokenizer.get_vocab_size() - 1)
    facts = json.loads((folder / "corpus.json").read_text())
    return tokenizer, {
        name: TokenFile(np.memmap(folder / f"{name}.bin", dtype, mode="r"), **numbers)
        for name, numbers in facts.items()
    }


def _folder(recipe: list[Any]) -> Path:
    key = hashlib.blake2b(json.dumps(recipe).encode(), digest_size=8).hexdigest()
    return cache_folder("tokens") / key


def _write(
    folder: Path,
    splits: Mapping[str, Pieces],
    options: TokenizerOptions,
    tokenizer: Tokenizer | None,
    encoding: str,
) -> None:
    facts: dict[str, dict[str, int]] = {}
    shown = sys.stderr.isatty()
    with Progress(console=Screen(stderr=True), disable=not shown, transient=True) as progress:
        if tokenizer is None:
            read = progress.track(
                texts(splits["train"], encoding),
                total=size(splits["train"]) / BLOCK,
                description=f"learning {options.level} tokens",
            )
            tokenizer = train_tokenizer(read, options)
        dtype = np.min_scalar_type(tokenizer.get_vocab_size() - 1)
        # bytes of each word or character; levels `byte` and `bpe` have no unknown tokens
        lengths = np.zeros(tokenizer.get_vocab_size(), np.int64)
        for token, index in tokenizer.get_vocab().items():
            lengths[index] = 0 if index <= UNKNOWN_ID else len(token.encode())
        for name, pieces in splits.items():
            bar = progress.add_task(f"encoding {name}", total=size(pieces))
            blocks = texts(pieces, encoding)
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
            spelled = num_bytes - known_bytes if unknown else 0
            facts[name] = {"num_bytes": num_bytes, "unknown": unknown, "unknown_bytes": spelled}
        log.info(f"encoded {sum(map(size, splits.values())):,} bytes")
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "corpus.json").write_text(json.dumps(facts))
