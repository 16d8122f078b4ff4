"""Text to token ids: a pattern splits, and a list of tokens numbers them. Only pairs of bytes need
the library `tokenizers`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, repeat
from typing import Annotated, Any, Literal

import numpy as np
import regex
from pydantic import Field

from seqmodels.arguments import Count
from seqmodels.batch import PADDING_ID, UNKNOWN_ID

Level = Literal["word", "space", "char", "byte", "bpe"]
VocabularySize = Annotated[int, Field(ge=3)]  # padding, unknown, and one token
SPECIAL = ("[PAD]", "[UNK]")  # padding and unknown tokens, with the ids 0 and 1
# A stream has no padding, and the lengths of a padded target say where its padding is.
START_ID = PADDING_ID
# The end of a target is only ever predicted, and its start is only ever read.
END_ID = START_ID
# About so many characters of texts are encoded at a time.
BLOCK = 1 << 20

# The pattern of a token, by level and by whether white space is kept.
PATTERNS = {
    ("word", False): r"\w+|[^\w\s]+",
    # A word or a run of punctuation with the space before it, or other white space.
    ("word", True): r" ?\w+| ?[^\w\s]+|\s+(?!\S)|\s+",
    ("space", False): r"\S+",
    # A token or a line end.
    ("space", True): r"\n|[^ \t\r\v\f\n]+",
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
        vocabulary_size: the largest number of tokens. Level `byte` always has 258, and `bpe` no
            fewer.
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
        tokens: the tokens by id; level `byte` always has the same.
        merges: the pairs of tokens that `bpe` merges, the first ones first.
    """

    def __init__(
        self,
        options: TokenizerOptions,
        tokens: Sequence[str] = SPECIAL,
        merges: Sequence[Sequence[str]] = (),
    ) -> None:
        self.options = options
        self.merges = [list(pair) for pair in merges]
        self.tokens = list(tokens)
        if options.level == "byte":
            self.tokens = [*SPECIAL, *map(chr, range(256))]
        # A word of a text that is spelled like a special token is another token.
        first_id = len(SPECIAL)
        self.ids = {token: number for number, token in enumerate(self.tokens) if number >= first_id}
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
        splitter = cls(options)
        counts = Counter[str]()
        for text in texts:
            counts.update(splitter.split(text))
        return cls(options, [*SPECIAL, *most_frequent(counts, options)])

    def normal(self, text: str) -> str:
        """The text as it is split: in lower case, if the options say so."""
        return text.lower() if self.options.lowercase else text

    def split(self, text: str) -> list[str]:
        """The tokens of a text, known or not; only for the levels `word`, `space` and `char`."""
        return self.pattern.findall(self.normal(text))

    def encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The ids of all texts, one text after the other, as the smallest unsigned integers that
        hold them; and how many ids each text has, `(texts,)`."""
        dtype = np.min_scalar_type(len(self) - 1)
        tokens_by_text: Sequence[Any]  # the bytes, the ids or the texts of each text's tokens
        if self.options.level == "byte":
            tokens_by_text = [self.normal(text).encode() for text in texts]
            values = np.frombuffer(b"".join(tokens_by_text), np.uint8)
            ids = values.astype(dtype) + len(SPECIAL)
        elif self.options.level == "bpe":
            encodings = self.pairs.encode_batch_fast(texts)
            tokens_by_text = [encoding.ids for encoding in encodings]
            ids = np.fromiter(chain.from_iterable(tokens_by_text), dtype)
        else:
            tokens_by_text = [self.split(text) for text in texts]
            tokens = chain.from_iterable(tokens_by_text)
            # `map` looks tokens up faster than a loop of Python.
            ids = np.fromiter(map(self.ids.get, tokens, repeat(UNKNOWN_ID)), dtype)
        counts = np.fromiter(map(len, tokens_by_text), np.int64, len(tokens_by_text))
        return ids, counts

    def spans(self, text: str) -> list[tuple[int, int]]:
        """The positions in the text where each token begins and ends; those of the bytes of one
        character overlap."""
        if self.options.level == "bpe":
            return list(self.pairs.encode(text).offsets)
        if self.options.level in ("word", "space"):
            return [match.span() for match in self.pattern.finditer(text)]
        spans = list[tuple[int, int]]()
        for position, character in enumerate(text):
            normal = self.normal(character)
            # In lower case, a character may become two; in bytes, up to four.
            token_count = len(normal)
            if self.options.level == "byte":
                token_count = len(normal.encode())
            spans += [(position, position + 1)] * token_count
        return spans

    def join(self, tokens: Sequence[str]) -> str:
        """The text of these tokens."""
        if self.options.level == "byte":
            return "".join(tokens).encode("latin-1").decode(errors="replace")
        if self.options.level == "bpe":
            return self.pairs.decoder.decode([*tokens])
        if self.options.level == "space":
            return regex.sub(" ?\n ?", "\n", " ".join(tokens))
        if self.options.level == "word" and not self.options.keep_whitespace:
            return " ".join(tokens)
        return "".join(tokens)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of these ids, without padding and unknown tokens."""
        tokens = [self.tokens[number] for number in ids if number >= len(SPECIAL)]
        return self.join(tokens)

    def name(self, number: int) -> str:
        """The text of the token with this id. A token that is only a piece of a character has no
        text: for it, the token itself."""
        token = self.tokens[number]
        text = self.join([token])
        return token if "\ufffd" in text else text

    def state(self) -> dict[str, Any]:
        """The options, tokens and merges, which `load` needs, as plain values."""
        options = asdict(self.options)
        return {"options": options, "tokens": self.tokens, "merges": self.merges}

    @classmethod
    def load(cls, state: Mapping[str, Any]) -> Tokenizer:
        """The tokenizer with this `state()`."""
        return cls(TokenizerOptions(**state["options"]), state["tokens"], state["merges"])


def most_frequent(counts: Mapping[str, int], options: TokenizerOptions) -> list[str]:
    """The tokens that occur `min_count` times at least, the most frequent first, as many as the
    vocabulary has room for.

    Args:
        counts: how often each token occurs.
    """
    frequent_tokens = [token for token, count in counts.items() if count >= options.min_count]
    frequent_tokens.sort(key=lambda token: (-counts[token], token))
    return frequent_tokens[: options.vocabulary_size - len(SPECIAL)]


def batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """The texts in lists of about `BLOCK` characters."""
    batch = list[str]()
    character_count = 0
    for text in texts:
        batch.append(text)
        character_count += len(text)
        if character_count >= BLOCK:
            yield batch
            batch = []
            character_count = 0
    if batch:
        yield batch


def _by_pairs(
    tokens: Sequence[str], merges: Sequence[Sequence[str]], options: TokenizerOptions
) -> Any:
    """A tokenizer of the library that merges these pairs of bytes."""
    from tokenizers import Tokenizer as LibraryTokenizer
    from tokenizers import decoders, models, normalizers, pre_tokenizers

    ids = {token: number for number, token in enumerate(tokens)}
    pairs = [(first, second) for first, second in merges]
    tokenizer = LibraryTokenizer(models.BPE(ids, pairs))
    if options.lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _learned_pairs(
    texts: Iterable[str], options: TokenizerOptions
) -> tuple[list[str], list[list[str]]]:
    """The tokens by id, and the pairs that are merged, the first ones first."""
    from tokenizers import pre_tokenizers, trainers

    tokenizer = _by_pairs((), (), options)
    trainer = trainers.BpeTrainer(
        vocab_size=options.vocabulary_size,
        min_frequency=options.min_count,
        special_tokens=[*SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    id_by_token = model["vocab"]
    return sorted(id_by_token, key=id_by_token.__getitem__), model["merges"]
