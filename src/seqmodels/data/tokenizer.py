"""Text to token ids, by HuggingFace `tokenizers`: trained on the training part, saved as JSON."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from seqmodels.errors import UserError, choices

LEVELS = ("word", "char", "byte", "bpe")
PADDING, UNKNOWN = "[PAD]", "[UNK]"
START_ID, UNKNOWN_ID = 0, 1  # padding is no part of a stream, so its id can stand for the start

# a word or a run of punctuation with the space before it, or other whitespace
KEEPING_WHITESPACE = r" ?\w+| ?[^\w\s]+|\s+(?!\S)|\s+"


def train_tokenizer(
    texts: Iterable[str],
    level: str = "word",
    *,
    lowercase: bool = False,
    min_count: int = 1,
    vocabulary_size: int = 30_000,
    keep_whitespace: bool = False,
) -> Tokenizer:
    """A tokenizer whose vocabulary comes from `texts`; id 0 is padding, 1 unknown.

    Args:
        level: `word`: runs of letters and digits, runs of punctuation; `char`: Unicode characters;
            `byte`: the 256 bytes, nothing unknown; `bpe`: byte-level byte-pair encoding.
        min_count: rarer words and characters become unknown; rarer pairs are not merged.
        vocabulary_size: at most this many tokens.
        keep_whitespace: words hold the space before them, and other whitespace is tokens too, so
            that what is decoded is the text again. The other levels always do.

    Raises:
        UserError: naming the option, its value and what to choose.
    """
    if level not in LEVELS:
        raise UserError(f"data.tokenizer is {level!r}: {choices(level, LEVELS)}")
    special = [PADDING, UNKNOWN]
    by_bytes = level in ("byte", "bpe")
    tokenizer = Tokenizer(models.BPE() if by_bytes else models.WordLevel(unk_token=UNKNOWN))
    if lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    if level == "word":
        if keep_whitespace:
            tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(KEEPING_WHITESPACE), "isolated")
            tokenizer.decoder = decoders.Fuse()
        else:
            tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    elif level == "char":
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
        tokenizer.decoder = decoders.Fuse()
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(
            add_prefix_space=False, use_regex=level == "bpe"
        )
        tokenizer.decoder = decoders.ByteLevel()
    if by_bytes:
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        size = len(special) + len(alphabet) if level == "byte" else vocabulary_size
        trainer: trainers.Trainer = trainers.BpeTrainer(
            vocab_size=size,
            min_frequency=min_count,
            special_tokens=special,
            initial_alphabet=alphabet,
            show_progress=False,
        )
    else:
        trainer = trainers.WordLevelTrainer(
            vocab_size=vocabulary_size,
            min_frequency=min_count,
            special_tokens=special,
            show_progress=False,
        )
    tokenizer.train_from_iterator([] if level == "byte" else texts, trainer)
    return tokenizer
