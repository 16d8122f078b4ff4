"""Text to token ids: a pattern splits, and a list of tokens numbers them. Only pairs of bytes need
the library `tokenizers`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, islice, repeat
from typing import Annotated, Any, Literal

import numpy as np
import regex
from pydantic import Field

from seqmodels.arguments import Count
from seqmodels.batch import PADDING_ID, UNKNOWN_ID

Level = Literal["word", "space", "char", "byte", "bpe"]
VocabularySize = Annotated[int, Field(ge=3)]  # padding, unknown, and one token
SPECIAL = ("[PAD]", "[UNK]")  # padding and unknown tokens, with the ids 0 and 1
START_ID = PADDING_ID  # a stream has no padding, and where a target has, its lengths say so
END_ID = START_ID  # of a target: it is only ever predicted, and the start is only ever read
BLOCK = 1 << 20  # characters of texts to encode at a time

# by level, and whether white space is kept
PATTERNS = {
    ("word", False): r"\w+|[^\w\s]+",
    # a word or a run of punctuation with the space before it, or other white space
    ("word", True): r" ?\w+| ?[^\w\s]+|\s+(?!\S)|\s+",
    ("space", False): r"\S+",
    ("space", True): r"\n|[^ \t\r\v\f\n]+",  # tokens and line ends
    ("char", False): r"(?s).",
    ("char", True): r"(?s).",
}


@dataclass(frozen=True)
class TokenizerOptions:
    """How to learn tokens.

    Args:
        level: `word` splits runs of letters and digits from runs of punctuation; `space` splits at
            whitespace only, for texts whose tokens are already separated; `char` gives Unicode
            characters; `byte` gives bytes and has no unknown tokens; `bpe` merges frequent pairs of
            bytes and has no unknown tokens either.
        lowercase: whether to lowercase texts first.
        min_count: rarer words and characters become the unknown token; rarer pairs are not merged.
        vocabulary_size: the largest number of tokens. Level `byte` always has 258.
        keep_whitespace: whether words hold the space before them and other whitespace gives tokens
            too, so that decoding gives the text again. Level `space` keeps line ends only: each is
            a token, and a space, tab or carriage return is none. `char`, `byte` and `bpe` always
            keep all of it.
    """

    level: Level = "word"
    lowercase: bool = False
    min_count: Count = 1
    vocabulary_size: VocabularySize = 30_000
    keep_whitespace: bool = False


class Tokenizer:
    """Splits texts into tokens and numbers them. Id 0 is padding, id 1 the unknown token.

    Args:
        options: how it splits.
        tokens: by id; of level `byte` they are always the same.
        merges: the pairs of tokens that `bpe` merges, the first ones first.
    """

    def __init__(
        self,
        options: TokenizerOptions,
        tokens: Sequence[str] = SPECIAL,
        merges: Sequence[Sequence[str]] = (),
    ) -> None:
        self.options, self.merges = options, [[*pair] for pair in merges]
        self.tokens = [*SPECIAL, *map(chr, range(256))] if options.level == "byte" else [*tokens]
        # a text may spell a word like a special token: it is another token then
        self.ids = {t: n for n, t in enumerate(self.tokens) if n >= len(SPECIAL)}
        if options.level == "bpe":
            self.pairs = _by_pairs(self.tokens, self.merges, options)
        elif options.level != "byte":
            self.pattern = regex.compile(PATTERNS[options.level, options.keep_whitespace])

    def __len__(self) -> int:
        return len(self.tokens)

    @classmethod
    def learn(cls, texts: Iterable[str], options: TokenizerOptions) -> Tokenizer:
        """The tokens of these texts; of words and characters, the most frequent first."""
        if options.level == "byte":
            return cls(options)
        if options.level == "bpe":
            return cls(options, *_learned_pairs(texts, options))
        split, counts = cls(options).split, Counter[str]()
        for text in texts:
            counts.update(split(text))
        return cls(options, [*SPECIAL, *most_frequent(counts, options)])

    def normal(self, text: str) -> str:
        """The text as it is split: in lower case, if the options say so."""
        return text.lower() if self.options.lowercase else text

    def split(self, text: str) -> list[str]:
        """The tokens of a text, known or not, of the levels `word`, `space` and `char`."""
        return self.pattern.findall(self.normal(text))

    def encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The ids of all texts, one after the other, as the smallest unsigned integers that hold
        them; and how many each text has."""
        found: Sequence[Any]
        dtype = np.min_scalar_type(len(self) - 1)
        if self.options.level == "byte":
            found = [self.normal(text).encode() for text in texts]
            ids = np.frombuffer(b"".join(found), np.uint8).astype(dtype) + len(SPECIAL)
        elif self.options.level == "bpe":
            found = [encoding.ids for encoding in self.pairs.encode_batch_fast(texts)]
            ids = np.fromiter(chain.from_iterable(found), dtype)
        else:
            found = [*map(self.split, texts)]
            known = map(self.ids.get, chain.from_iterable(found), repeat(UNKNOWN_ID))
            ids = np.fromiter(known, dtype)
        return ids, np.fromiter(map(len, found), np.int64, len(found))

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where each token stands in the text; those of the bytes of one character overlap."""
        if self.options.level == "bpe":
            return list(self.pairs.encode(text).offsets)
        if self.options.level in ("word", "space"):
            return [match.span() for match in self.pattern.finditer(text)]
        parts: Iterable[Any] = map(self.normal, text)  # in lower case, a character may be two
        if self.options.level == "byte":
            parts = map(str.encode, parts)
        return [(n, n + 1) for n, part in enumerate(parts) for _ in part]

    def join(self, tokens: Sequence[str]) -> str:
        """The text of these tokens."""
        if self.options.level == "byte":
            return "".join(tokens).encode("latin-1").decode(errors="replace")
        if self.options.level == "bpe":
            return self.pairs.decoder.decode([*tokens])
        if self.options.level == "space":
            return regex.sub(" ?\n ?", "\n", " ".join(tokens))
        words = self.options.level == "word" and not self.options.keep_whitespace
        return (" " if words else "").join(tokens)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of these ids, without padding and unknown tokens."""
        return self.join([self.tokens[number] for number in ids if number >= len(SPECIAL)])

    def name(self, number: int) -> str:
        """The text of one id; of a part of a character, the token itself."""
        text = self.join([self.tokens[number]])
        return self.tokens[number] if "\ufffd" in text else text

    def state(self) -> dict[str, Any]:
        """What `load` needs, as plain values."""
        options = asdict(self.options)
        return {"options": options, "tokens": self.tokens, "merges": self.merges}

    @classmethod
    def load(cls, state: Mapping[str, Any]) -> Tokenizer:
        """The tokenizer with this `state()`."""
        return cls(TokenizerOptions(**state["options"]), state["tokens"], state["merges"])


def most_frequent(counts: Mapping[str, int], options: TokenizerOptions) -> list[str]:
    """Those that occur `min_count` times at least, the most frequent first, as many as there is
    room for."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    found = (text for text, count in ordered if count >= options.min_count)
    return [*islice(found, options.vocabulary_size - len(SPECIAL))]


def batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """Some texts at a time: as many as have about `BLOCK` characters."""
    batch, size = list[str](), 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= BLOCK:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _by_pairs(
    tokens: Sequence[str], merges: Sequence[Sequence[str]], options: TokenizerOptions
) -> Any:
    from tokenizers import Tokenizer as Library
    from tokenizers import decoders, models, normalizers, pre_tokenizers

    ids = {token: number for number, token in enumerate(tokens)}
    made = Library(models.BPE(ids, [(first, second) for first, second in merges]))
    if options.lowercase:
        made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return made


def _learned_pairs(
    texts: Iterable[str], options: TokenizerOptions
) -> tuple[list[str], list[list[str]]]:
    """The tokens, by id, and the merges."""
    from tokenizers import pre_tokenizers, trainers

    made = _by_pairs((), (), options)
    trainer = trainers.BpeTrainer(
        vocab_size=options.vocabulary_size,
        min_frequency=options.min_count,
        special_tokens=[*SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    model = json.loads(made.to_str())["model"]
    return sorted(model["vocab"], key=model["vocab"].__getitem__), model["merges"]
