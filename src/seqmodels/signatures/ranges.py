"""Which values an argument may have, to write into annotations: `dropout: Share = 0.0`.

Annotate your own classes with these too: a command line is checked against them before anything
slow is imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Range:
    """Numbers from `least` to `most`, without the ends `above` and `below`; None: no such end."""

    least: int | float | None = None
    most: int | float | None = None
    above: int | float | None = None
    below: int | float | None = None

    def __contains__(self, number: int | float) -> bool:
        return (
            (self.least is None or number >= self.least)
            and (self.most is None or number <= self.most)
            and (self.above is None or number > self.above)
            and (self.below is None or number < self.below)
        )

    def __str__(self) -> str:
        if self.least is not None and self.most is not None:
            return f"from {self.least} to {self.most}"
        ends = (
            ("at least", self.least),
            ("more than", self.above),
            ("at most", self.most),
            ("less than", self.below),
        )
        return " and ".join(f"{words} {end}" for words, end in ends if end is not None)


@dataclass(frozen=True, init=False)
class OneOf:
    """Text that is one of these names; or `own`: another that a module of `imports` defines."""

    names: tuple[str, ...]
    own: bool

    def __init__(self, *names: str, own: bool = False) -> None:
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "own", own)


@dataclass(frozen=True)
class NotEmpty:
    """Text of at least one character, or a list of at least one value."""


@dataclass(frozen=True)
class Length:
    """A list of this many values."""

    size: int


@dataclass(frozen=True, init=False)
class Built:
    """A mapping that names its class as `_target_`; its other keys are that class's arguments.

    Args:
        given: arguments that the code passes by itself.
        stand_in: a text that the code replaces with the value, whatever the argument's type.
    """

    given: tuple[str, ...]
    stand_in: str | None

    def __init__(self, *given: str, stand_in: str | None = None) -> None:
        object.__setattr__(self, "given", given)
        object.__setattr__(self, "stand_in", stand_in)


@dataclass(frozen=True, init=False)
class ArgumentsOf:
    """A mapping whose keys are the arguments of this class.

    Args:
        target: the full name of the class.
        given: arguments that the code passes by itself.
        optional: arguments for which None lets the code choose.
        words: by argument, a word that lets the code choose too.
    """

    target: str
    given: tuple[str, ...]
    optional: tuple[str, ...]
    words: tuple[tuple[str, str], ...]

    def __init__(
        self,
        target: str,
        *given: str,
        optional: tuple[str, ...] = (),
        words: tuple[tuple[str, str], ...] = (),
    ) -> None:
        object.__setattr__(self, "target", target)
        object.__setattr__(self, "given", given)
        object.__setattr__(self, "optional", optional)
        object.__setattr__(self, "words", words)


@dataclass(frozen=True)
class BySubclass:
    """Of `**options`: a subclass passes them by name, and nobody else gives any."""


Count = Annotated[int, Range(least=1)]
Natural = Annotated[int, Range(least=0)]
Seed = Annotated[int, Range(least=0, most=4_294_967_295)]  # what NumPy takes
Share = Annotated[float, Range(least=0, below=1)]
Fraction = Annotated[float, Range(above=0, below=1)]
NonNegative = Annotated[float, Range(least=0)]
Positive = Annotated[float, Range(above=0)]
Name = Annotated[str, NotEmpty()]
