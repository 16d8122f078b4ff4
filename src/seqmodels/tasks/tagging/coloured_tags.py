"""Words in the colours of their tags, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import cycle
from typing import Any

from rich.text import Text

from seqmodels.tasks.tagging.tags import OUTSIDE, parse

COLOURS = (
    *("cyan", "magenta", "yellow", "green", "blue", "red"),
    *("bright_cyan", "bright_magenta", "bright_yellow", "bright_green", "bright_blue"),
    *("bright_red", "orange3", "deep_pink3", "spring_green4", "medium_purple", "gold3", "grey62"),
)


class ColouredTags:
    """Gives each tag a colour when it first occurs. `B-NP` and `I-NP` share one, and `B-NP` is
    bold."""

    def __init__(self) -> None:
        self.styles: dict[str, str] = {OUTSIDE: ""}
        self.colours = cycle(COLOURS)

    def __call__(self, prediction: Mapping[str, Any]) -> Iterator[Text]:
        """The names of tags that occur for the first time, in their colours; and the words. Nothing
        of a prediction without words."""
        if "tokens" not in prediction:
            return
        parsed = [(tag, *parse(tag)) for tag in prediction["tags"]]
        kinds = [(letter in ("B", "S"), kind or tag) for tag, letter, kind in parsed]
        if new := dict.fromkeys(kind for _, kind in kinds if kind not in self.styles):
            self.styles |= {kind: next(self.colours) for kind in new}
            yield Text(" ").join(Text(f" {kind} ", f"{self.styles[kind]} reverse") for kind in new)
        words = [
            Text(token, f"{self.styles[kind]} {'bold' if begins else ''}".strip())
            for token, (begins, kind) in zip(prediction["tokens"], kinds, strict=True)
        ]
        yield Text(" ").join(words)
