"""What a picture of a network consists of, in characters and lines."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["cell", "output", "state", "input", "head", "logits", "padding"]


@dataclass(frozen=True)
class Box:
    """A rectangle, as many lines high as its text, which is in its middle."""

    x: int
    y: int
    width: int
    text: str
    kind: Kind
    share: float = 0.0  # 0 if the head does not read it

    @property
    def lines(self) -> list[str]:
        return self.text.split("\n")


@dataclass(frozen=True)
class Arrow:
    """A horizontal or upward line; `reads` if it goes into the head."""

    x: int | float  # the middle of an odd width is half a character
    y: int
    to_x: int | float
    to_y: int
    reads: bool = False


@dataclass(frozen=True)
class Label:
    x: int | float
    y: int
    text: str


@dataclass
class Drawing:
    """Boxes over labels over arrows, in characters and lines from the upper left corner."""

    title: str
    width: int
    height: int
    boxes: list[Box] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    arrows: list[Arrow] = field(default_factory=list)

    def box(self, x: int, y: int, width: int, text: str, kind: Kind, share: float = 0.0) -> None:
        self.boxes.append(Box(x, y, width, text, kind, share))

    def across(self, x: int, y: int, to_x: int) -> None:
        self.arrows.append(Arrow(x, y, to_x, y))

    def up(self, x: int, width: int, y: int, to_y: int, reads: bool = False) -> None:
        """An arrow from the middle of what begins at `x`."""
        self.arrows.append(Arrow(x + width / 2, y, x + width / 2, to_y, reads))
