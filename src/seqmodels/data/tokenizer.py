"""Text to token ids with HuggingFace `tokenizers`: trained on the training split, saved as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from seqmodels.arguments import Count
from seqmodels.batch import PADDING_ID
from seqmodels.errors import UserError, choices, one_line

Level = Literal["word", "space", "char", "byte", "bpe"]
VocabularySize = Annotated[int, Field(ge=3)]  # padding, unknown, and one token
LEVELS = ("word", "space", "char", "byte", "bpe")
SPECIAL = ("[PAD]", "[UNK]")  # padding and unknown tokens, with the ids 0 and 1
START_ID = PADDING_ID  # a stream has no padding, and where a target has, its lengths say so
END_ID = START_ID  # of a target: it is only ever predicted, and the start is only ever read

# a word or a run of punctuation with the space before it, or other whitespace
KEEPING_WHITESPACE = r" ?\w+| ?[^\w\s]+|\s+(?!\S)|\s+"
BLANKS = " \t\r\v\f"  # between the tokens of a line
TOKENS_AND_LINE_ENDS = rf"\n|[^{BLANKS}\n]+"


@dataclass(frozen=True)
class TokenizerOptions:
    """How to train a tokenizer.

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

    Raises:
        UserError: for an unknown level.
    """

    level: Level = "word"
    lowercase: bool = False
    min_count: Count = 1
    vocabulary_size: VocabularySize = 30_000
    keep_whitespace: bool = False

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise UserError(f"data.tokenizer is {self.level!r}: {choices(self.level, LEVELS)}")


def train_tokenizer(texts: Iterable[str], options: TokenizerOptions) -> Tokenizer:
    """Trains a tokenizer on `texts`. Id 0 is padding, id 1 the unknown token."""
    level = options.level
    by_bytes = level in ("byte", "bpe")
    by_lines = level == "space" and options.keep_whitespace
    # any text without a blank may be a token then, so the names of the special ones have one
    padding, unknown = (f" {name}" if by_lines else name for name in SPECIAL)
    tokenizer = Tokenizer(models.BPE() if by_bytes else models.WordLevel(unk_token=unknown))
    if options.lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    if by_bytes:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(
            add_prefix_space=False, use_regex=level == "bpe"
        )
        tokenizer.decoder = decoders.ByteLevel()
    elif by_lines:
        tokens = Regex(TOKENS_AND_LINE_ENDS)
        tokenizer.pre_tokenizer = pre_tokenizers.Split(tokens, "removed", invert=True)
        tokenizer.decoder = decoders.Sequence(
            [
                decoders.WordPiece(prefix=" ", cleanup=False),  # joins tokens with spaces
                decoders.Fuse(),
                decoders.Replace(Regex(" ?\n ?"), "\n"),
            ]
        )
    elif level == "space":
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    elif level == "word" and not options.keep_whitespace:
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    else:
        pattern = KEEPING_WHITESPACE if level == "word" else r"[\s\S]"
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "isolated")
        tokenizer.decoder = decoders.Fuse()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    how: dict[str, Any] = {
        "vocab_size": 2 + len(alphabet) if level == "byte" else options.vocabulary_size,
        "min_frequency": options.min_count,
        "special_tokens": [padding, unknown],
        "show_progress": False,
    }
    trainer: trainers.Trainer = trainers.WordLevelTrainer(**how)
    if by_bytes:
        trainer = trainers.BpeTrainer(initial_alphabet=alphabet, **how)
    tokenizer.train_from_iterator([] if level == "byte" else texts, trainer)
    tokenizer.encode_special_tokens = True  # reads `[PAD]` in a text as these characters
    return tokenizer


def most_frequent(counts: Mapping[str, int], least: int) -> list[str]:
    """Those that occur so often at least, the most frequent first; without what a text spells like
    a special token."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0].encode()))
    return [text for text, count in ordered if count >= least and text not in SPECIAL]


def with_vocabulary(
    tokenizer: Tokenizer, ids: Mapping[str, int], options: TokenizerOptions
) -> Tokenizer:
    """The same tokenizer, which was made with these options, for tokens with these ids."""
    content = json.loads(tokenizer.to_str())
    content["model"]["vocab"] = {**ids}
    return load_tokenizer(json.dumps(content), options)


def load_tokenizer(text: str, options: TokenizerOptions) -> Tokenizer:
    """The tokenizer that was saved as this JSON, if `train_tokenizer` made it with these options.

    A checkpoint may be a stranger's, and a pattern in a tokenizer can take forever to match.

    Raises:
        UserError: if it splits, cleans or joins texts in another way, or its ids have gaps.
    """
    try:
        tokenizer = Tokenizer.from_str(text)
        saved = json.loads(tokenizer.to_str())
    except BaseException as error:  # the library's own errors derive from that
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        raise UserError(f"the tokenizer of the checkpoint is broken: {one_line(error)}") from error
    made = json.loads(train_tokenizer([], options).to_str())
    for whole in (saved, made):
        whole["model"] = {k: v for k, v in whole["model"].items() if k not in ("vocab", "merges")}
    different = [name for name in made if saved.get(name) != made[name]]
    if different or sorted(tokenizer.get_vocab().values()) != list(
        range(tokenizer.get_vocab_size())
    ):
        raise UserError(
            f"the tokenizer of the checkpoint is not one that data.tokenizer={options.level} makes "
            f"(its {', '.join(different) or 'ids'})"
        )
    tokenizer.encode_special_tokens = True  # which is not in the JSON
    return tokenizer
