"""Text of any size as token ids on disk: encoded once, cached, and mapped into memory."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import Tokenizer

from seqmodels.batch import UNKNOWN_ID
from seqmodels.cache import cache_folder, cached
from seqmodels.data.file_pieces import Pieces, sample, size, texts
from seqmodels.data.token_ids import token_ids
from seqmodels.data.tokenizer import (
    BLANKS,
    START_ID,
    TokenizerOptions,
    load_tokenizer,
    train_tokenizer,
)
from seqmodels.screen import show_progress

log = logging.getLogger(__name__)

LEARNED = 32 << 20  # bytes of text at most to learn tokens from, which takes memory
FORMAT = 5  # of the cached files


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


def token_files(
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
        UserError: if a file is not text in this encoding, or has changed since it was
            fingerprinted; or if the cache cannot be written.
    """
    recipe = [FORMAT, tokenizers.__version__, content, sorted(asdict(options).items()), encoding]
    if tokenizer is not None:  # the recipe alone may give the same one
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
    level = options.level
    if tokenizer is None:
        learned = sample(splits["train"], LEARNED)
        if (some := size(learned)) < (whole := size(splits["train"])):
            log.info(f"data: {level} tokens are learned from {some:,} of {whole:,} bytes of train")
        with show_progress(f"learning {level} tokens", some) as read:
            tokenizer = train_tokenizer(_noted(texts(learned, encoding), read), options)
    dtype = np.min_scalar_type(tokenizer.get_vocab_size() - 1)
    between = BLANKS.encode() if level == "space" else b""  # belongs to no token
    counts_unknown = level in ("word", "space", "char")  # `byte` and `bpe` have none
    # bytes of each word or character
    lengths = np.zeros(tokenizer.get_vocab_size(), np.int64)
    for token, index in tokenizer.get_vocab().items():
        lengths[index] = 0 if index <= UNKNOWN_ID else len(token.encode())
    for name, pieces in splits.items():
        num_bytes = unknown = known_bytes = 0
        with (
            show_progress(f"encoding {name}", size(pieces)) as done,
            (folder / f"{name}.bin").open("wb") as file,
        ):
            file.write(np.array([START_ID], dtype).data)
            for content, ids in token_ids(texts(pieces, encoding), tokenizer, level):
                file.write(ids.astype(dtype, copy=False).data)
                num_bytes += len(content)
                if between:
                    known_bytes += len(content) - len(content.translate(None, between))
                if counts_unknown:
                    counts = np.bincount(ids, minlength=len(lengths))
                    known_bytes += int(counts @ lengths)
                    unknown += int(counts[UNKNOWN_ID])
                done(len(content))
        spelled = num_bytes - known_bytes if unknown else 0
        facts[name] = {"num_bytes": num_bytes, "unknown": unknown, "unknown_bytes": spelled}
    log.info(f"encoded {sum(map(size, splits.values())):,} bytes")
    # not by `Tokenizer.save`, which has errors of its own for a full disk
    (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=True), encoding="utf-8")
    (folder / "corpus.json").write_text(json.dumps(facts))


def _noted(blocks: Iterable[str], read: Callable[[int], None]) -> Iterator[str]:
    for text in blocks:
        yield text
        read(len(text.encode()))
