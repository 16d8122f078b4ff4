"""Texts as targets, to be written token by token, and back from tokens to texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, takewhile
from typing import Any

from torch import Tensor

from seqmodels.batch import UNKNOWN_ID
from seqmodels.data.inputs import load_inputs
from seqmodels.data.targets import TargetEncoder
from seqmodels.data.token_inputs import Tokens
from seqmodels.data.token_rows import TokenRows
from seqmodels.data.tokenizer import END_ID, START_ID, TokenizerOptions
from seqmodels.errors import UserError

UNKNOWN_TEXT = "\N{REPLACEMENT CHARACTER}"


class TextDecoder:
    """Texts from token ids.

    Args:
        state: how they were encoded: a spec's `target_preprocessor`, or for sources its
            `preprocessor`.

    Attributes:
        level: of the tokenizer's options.

    Raises:
        UserError: if this is not the state of a tokenizer.
    """

    def __init__(self, state: Mapping[str, Any]) -> None:
        tokens = load_inputs(dict(state))
        if not isinstance(tokens, Tokens):
            raise UserError("the checkpoint has no tokenizer to write texts with")
        self.level: str = tokens.options.level
        self._decoder = tokens.tokenizer.decoder
        self._names = tokens.names
        self._names[UNKNOWN_ID] = UNKNOWN_TEXT

    def __call__(self, ids: Iterable[int]) -> str:
        """The text of these tokens, up to the first end; an unknown token is written as `\ufffd`.

        Tokens of level `space` are joined with a blank, other tokens as they stand.
        """
        names = self.tokens(ids)
        return " ".join(names) if self._decoder is None else self._decoder.decode(names)

    def tokens(self, ids: Iterable[int]) -> list[str]:
        """The names of these tokens, up to the first end."""
        return [self._names[index] for index in takewhile(lambda i: i != END_ID, ids)]

    def texts(self, rows: Tensor) -> list[str]:
        """The text of each row of `(B, S)` token ids."""
        return [*map(self, rows.tolist())]


class TextTargets(TargetEncoder):
    """Texts to write. A raw target is a tuple of texts, each of which is right; encoded, they are
    the tokens of all texts of all examples, one after the other, without start and end.

    Args:
        options: how to train the tokenizer. Words hold the space before them, so that decoding
            gives the text again. Level `space` takes any white space as one blank.
        shared: whether sources have the same tokenizer.
    """

    per = "sequence"
    target = "text"

    def __init__(self, options: TokenizerOptions, *, shared: bool = False) -> None:
        self.tokens, self.shared = Tokens(options), shared
        # tokens in a target of the training, so that a decoder knows when it writes too much
        self.longest = 0

    @property
    def names(self) -> list[str]:  # type: ignore[override]
        """The tokens, by id."""
        return self.tokens.names

    def fit(self, raw: Sequence[tuple[str, ...]], source: str) -> None:
        self.tokens.fit([*chain.from_iterable(raw)])

    def encode(self, raw: Sequence[tuple[str, ...]], source: str) -> TokenRows:  # type: ignore[override]
        return self.tokens.encode([*chain.from_iterable(raw)], f"{source}, targets")

    def references(self, raw: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
        """The different texts that are right for each example, as a decoder would write them."""
        if self.tokens.options.level == "space":
            raw = [tuple(" ".join(text.split()) for text in texts) for texts in raw]
        return [tuple(dict.fromkeys(texts)) for texts in raw]

    @property
    def spec(self) -> dict[str, Any]:
        """`num_targets`: the size of the vocabulary; `start` and `end`: token ids, which may be the
        same one; `shared`: whether sources have the same vocabulary; `longest`: the number of
        tokens of the longest target of the training; and `target_preprocessor`: what `TextDecoder`
        needs."""
        return {
            "num_targets": self.tokens.num_inputs,
            "start": START_ID,
            "end": END_ID,
            "shared": self.shared,
            "longest": self.longest,
            "target_preprocessor": self.tokens.state(),
        }

    def load(self, spec: Mapping[str, Any]) -> None:
        tokens = load_inputs(spec["target_preprocessor"])
        if not isinstance(tokens, Tokens) or tokens.num_inputs != spec["num_targets"]:
            raise UserError(
                "the tokenizer of the checkpoint does not fit its "
                f"{spec['num_targets']} different targets"
            )
        self.tokens, self.shared = tokens, bool(spec["shared"])
        self.longest = int(spec["longest"])
