"""Tags that mark spans: `B-NP` begins one, `I-NP` is inside one, `O` is outside of all.

In BIO (IOB2) every span begins with B. In IOB1, only one right after another of its type does. In
BIOES a span ends with E, and a span of one step is S; in BILOU these two are L and U.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import cycle, pairwise
from typing import Any, Literal

import torch
from rich.text import Text
from torch import Tensor

from seqmodels.batch import UNSEEN_TARGET
from seqmodels.data.targets import NamedTargets
from seqmodels.errors import shown

Scheme = Literal["BIO", "IOB1", "BIOES", "BILOU"]

OUTSIDE = "O"
SPAN_TAG = re.compile(r"([BIESLU])-(.+)", re.DOTALL)
LETTERS = {"BIO": "BI", "IOB1": "BI", "BIOES": "BIES", "BILOU": "BILU"}
SAME = {"L": "E", "U": "S"}
# what others write for spans: B_PER, PER-B, M-PER, b-per, PER with O
LIKE_SPANS = re.compile(r"O|[BIESLUM][-_.:/|].*|.+[-_.:/|][BIESLUMO]", re.IGNORECASE)
COLOURS = (
    *("cyan", "magenta", "yellow", "green", "blue", "red"),
    *("bright_cyan", "bright_magenta", "bright_yellow", "bright_green", "bright_blue"),
    *("bright_red", "orange3", "deep_pink3", "spring_green4", "medium_purple", "gold3", "grey62"),
)


def parse(tag: str) -> tuple[str, str]:
    """`B-NP` -> `("B", "NP")`, with E and S for L and U; of any other tag, `("O", "")`."""
    found = SPAN_TAG.fullmatch(tag)
    return (SAME.get(found[1], found[1]), found[2]) if found else (OUTSIDE, "")


def find_scheme(tags: Iterable[str], rows: Iterable[Sequence[str]] = ()) -> Scheme | None:
    """The scheme of a set of tags; None if they don't mark spans, as `NN` and `VB` don't.

    Args:
        rows: tagged sequences, by which BIO and IOB1 differ; without them it is BIO.
    """
    tags = set(tags) - {OUTSIDE}
    letters = {tag[0] if SPAN_TAG.fullmatch(tag) else OUTSIDE for tag in tags}
    if not letters & {"B", "I"}:
        return None
    if not letters <= {"B", "I"}:
        ends: tuple[Scheme, ...] = ("BIOES", "BILOU")
        return next((scheme for scheme in ends if letters <= {*LETTERS[scheme]}), None)
    steps = {step for row in rows for step in pairwise([OUTSIDE, *row])}
    broken = {name: any(not may_follow(*step, name) for step in steps) for name in ("BIO", "IOB1")}
    return "IOB1" if broken["BIO"] and not broken["IOB1"] else "BIO"


def note_of_scheme(tags: Iterable[str]) -> str:
    """That tags look like spans and have no scheme; empty otherwise."""
    tags = {*tags}
    if find_scheme(tags) or not any(map(LIKE_SPANS.fullmatch, tags)):
        return ""
    odd = min(tags - {OUTSIDE}, key=lambda tag: (bool(SPAN_TAG.fullmatch(tag)), tag))
    return (
        f"tags such as {shown(odd)} are of no known scheme of spans ({', '.join(LETTERS)}): "
        "there is no precision, recall or f1 of spans"
    )


def may_follow(previous: str, tag: str, scheme: Scheme) -> bool:
    """Whether a tag may follow another. A row begins as after `O`, and ends as before it."""
    (before, kind), (now, its_kind) = parse(previous), parse(tag)
    continues = before in ("B", "I") and kind == its_kind
    if scheme in ("BIOES", "BILOU"):
        return continues if now in ("I", "E") else before not in ("B", "I")
    return continues or now != ("I" if scheme == "BIO" else "B")


def allowed(tags: Sequence[str], scheme: Scheme) -> list[list[bool]]:
    """Which of C tags may follow (column) another (row), in their order: `(C + 1, C + 1)`. The last
    row is of what begins a sequence, the last column of what ends it."""
    names = [*tags, OUTSIDE]
    return [[may_follow(previous, tag, scheme) for tag in names] for previous in names]


def span_types(tags: Iterable[str]) -> list[str]:
    """`["O", "B-VP", "B-NP", "I-NP"]` -> `["NP", "VP"]`."""
    return sorted({kind for _, kind in map(parse, tags)} - {""})


def completed(tags: Iterable[str], scheme: Scheme) -> set[str]:
    """All tags that a scheme has for the types of these."""
    types = span_types(tags)
    return {OUTSIDE, *(f"{letter}-{kind}" for letter in LETTERS[scheme] for kind in types)}


def begins(previous: str, tag: str) -> bool:
    """Whether a span begins with a tag after another, by the rules of conlleval, which makes the
    best of tags that break their scheme (https://www.clips.uantwerpen.be/conll2000/chunking)."""
    (before, kind), (now, its_kind) = parse(previous), parse(tag)
    continues = before in ("B", "I") and now in ("I", "E") and kind == its_kind
    return now != OUTSIDE and not continues


class Tags(NamedTargets):
    """One tag per step. A raw target is the list of an example's tags; encoded, `(T,)` int64.

    Of tags that mark spans, such as `B-NP`, it knows all that their scheme has for the types in
    training, and `spec["scheme"]` is that scheme.
    """

    per = "step"
    target = "tag"
    word = "tag"
    scheme: Scheme | None = None

    def fit(self, raw: Sequence[Sequence[str]], source: str) -> None:
        what, advice = f"{source}: every tag", "tagging needs at least two tags"
        found = {tag for tags in raw for tag in tags}
        self._learn(found, what, advice)
        if scheme := find_scheme(self.names, raw):
            self._learn(completed(self.names, scheme), what, advice)
            self.scheme = scheme
        self.note = note_of_scheme(found)

    @property
    def spec(self) -> dict[str, Any]:
        return {**super().spec, **({"scheme": self.scheme} if self.scheme else {})}

    def load(self, spec: Mapping[str, Any]) -> None:
        super().load(spec)
        self.scheme = spec.get("scheme")

    def encode(self, raw: Sequence[Sequence[str]], source: str) -> list[Tensor]:
        return [torch.tensor(self._numbers(tags), dtype=torch.int64) for tags in raw]

    def _numbers(self, tags: Sequence[str]) -> list[int]:
        numbers = [self.names.get(tag, UNSEEN_TARGET) for tag in tags]
        if self.scheme and UNSEEN_TARGET in numbers:  # of a type that is new, spans still count
            for step, (previous, tag) in enumerate(pairwise([OUTSIDE, *tags])):
                if numbers[step] == UNSEEN_TARGET and parse(tag)[0] != OUTSIDE:
                    numbers[step] -= 2 if begins(previous, tag) else 1
        return numbers


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
