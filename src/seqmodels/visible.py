"""Text that others may have written, for a terminal: names, paths and messages."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

# control characters but tab and newline, halves of characters, and what reorders or hides text
_UNSEEN = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def visible(text: str) -> str:
    """The text with each character that a terminal would obey, or hide, as in JSON: `\\u001b`.

    JSON stays the same value.
    """
    return _UNSEEN.sub(_escaped, text)


def visible_line(text: str) -> str:
    """The same on one line: a name with a newline in it cannot look like two."""
    return visible(text.replace("\t", "\\t").replace("\n", "\\n"))


def figure_text(text: str, most: int = 80) -> str:
    """A short line that Matplotlib draws as it is: without `$...$` as a formula."""
    line = visible_line(text)
    return (line if len(line) <= most else f"{line[: most - 1]}…").replace("$", r"\$")


class LogLines(logging.Formatter):
    """A record as visible lines. Those after the first are indented, so that none looks like a
    record of its own."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record)).replace("\n", "\n    ")


class LogFile(logging.FileHandler):
    """A log file that makes its folder when the first record comes."""

    def _open(self) -> Any:
        Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
        return super()._open()


def _escaped(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))
