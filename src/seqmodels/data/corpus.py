"""Text of any size as token ids on disk: encoded once, cached, and mapped into memory."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import tokenizers
from rich.progress import Progress
from tokenizers import Tokenizer

from seqmodels.batch import UNKNOWN_ID
from seqmodels.cache import cache_folder, cached
from seqmodels.data.pieces import Pieces, size, texts
from seqmodels.data.tokenizer import (
    BLANKS,
    START_ID,
    TokenizerOptions,
    load_tokenizer,
    train_tokenizer,
)
from seqmodels.files import BLOCK
from seqmodels.screen import Screen

log = logging.getLogger(__name__)

BLOCKS = 16  # blocks of text to encode at a time, in parallel
FORMAT = 4  # of the cached files


@dataclass(frozen=True)
class TokenFile:
    """One split as N token ids on disk, after an id that marks its start.

    Args:
        ids: `(N + 1,)` unsigned integers mapped into memory: `ids[0]` marks the start, `ids[1:]`
            are the tokens.
        num_bytes: of the text, in UTF-8.
        unknown: the number of unknown tokens.
        unknown_bytes: the number of bytes of text that became unknown tokens, without the spaces
            between tokens where these belong to none.
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
        UserError: naming the file that is not text in this encoding, or changed since it was
            fingerprinted; if the cache cannot be written.
    """
    recipe = [FORMAT, tokenizers.__version__, content, sorted(asdict(options).items()), encoding]
    if tokenizer is not None:  # its files may be those of the recipe
        trained = None
        with suppress(OSError):
            file = cache_folder("tokens", recipe) / "tokenizer.json"
            trained = file.read_text(encoding="utf-8")
        if trained != tokenizer.to_str(pretty=True):
            recipe = [*recipe, tokenizer.to_str()]
    folder = cached(
        "tokens", recipe, lambda folder: _write(folder, splits, options, tokenizer, encoding)
    )
    saved = (folder / "tokenizer.json").read_text(encoding="utf-8")
    tokenizer = load_tokenizer(saved, options)
    dtype = np.min_scalar_type(tokenizer.get_vocab_size() - 1)
    facts = json.loads((folder / "corpus.json").read_text())
    return tokenizer, {
        name: TokenFile(np.memmap(folder / f"{name}.bin", dtype, mode="r"), **numbers)
        for name, numbers in facts.items()
    }


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
        between = BLANKS.encode() if options.level == "space" else b""  # belongs to no token
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
                    for text, encoded in zip(some, tokenizer.encode_batch_fast(some), strict=True):
                        ids, content = np.array(encoded.ids, dtype), text.encode()
                        num_bytes += len(content)
                        if between:
                            known_bytes += len(content) - len(content.translate(None, between))
                        known_bytes += int(lengths[ids].sum())
                        unknown += int((ids == UNKNOWN_ID).sum())
                        file.write(ids.tobytes())
                    progress.update(bar, completed=num_bytes)
            spelled = num_bytes - known_bytes if unknown else 0
            facts[name] = {"num_bytes": num_bytes, "unknown": unknown, "unknown_bytes": spelled}
        log.info(f"encoded {sum(map(size, splits.values())):,} bytes")
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "corpus.json").write_text(json.dumps(facts))
