"""Text that others may have written, shown as text in terminals, logs and figures; and progress."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import Progress
from rich.segment import Segment
from rich.text import Text

# The least amount of work whose progress is shown.
MANY = 10_000
# Control characters but tab and newline, halves of characters, and what reorders or hides text.
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
    if len(line) > most:
        line = f"{line[: most - 1]}…"
    return line.replace("$", r"\$")


class LogLines(logging.Formatter):
    """A record as visible lines. Those after the first are indented, so that none looks like a
    record of its own."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record)).replace("\n", "\n    ")


class _LogFile(logging.FileHandler):
    """A full disk costs lines of it, and nothing else: what a run needs is written by others, who
    say so."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (of logging)
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        with suppress(OSError):  # It may still hold lines, for which there is no room.
            super().close()


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Within: what is logged is added to this file, if it isn't already."""
    root = logging.getLogger()
    open_files = [getattr(handler, "baseFilename", None) for handler in root.handlers]
    if str(path.absolute()) in open_files:
        yield
        return
    handler = _LogFile(path, encoding="utf-8")
    handler.setFormatter(LogLines("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()


def _escaped(match: re.Match[str]) -> str:
    """`\\u001b` for a character; two such units for one that UTF-16 writes as two."""
    digits = match[0].encode("utf-16-be", "surrogatepass").hex()
    units = [digits[start : start + 4] for start in range(0, len(digits), 4)]
    return "".join(f"\\u{unit}" for unit in units)


class Screen(Console):
    """Rich's console for text that others may have written, such as names of classes and folders.

    It reads no markup and no emoji codes in texts, and shows control characters instead of sending
    them to the terminal. Give colours as `style=`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))


@contextmanager
def show_progress(
    title: str, total: int | None = None, *, fewest: int = MANY
) -> Iterator[Callable[[int], None]]:
    """Within: a bar on standard error, if that is a terminal. Gives a function to call with the
    amount that was done since its last call.

    Args:
        title: what is done, such as `encoding train`.
        total: the amount of work, in any unit; None if it is unknown.
        fewest: less work than this is not shown.
    """
    hidden = not sys.stderr.isatty() or (total is not None and total < fewest)
    with Progress(console=Screen(stderr=True), transient=True, disable=hidden) as bar:
        task = bar.add_task(title, total=total)
        yield lambda amount: bar.advance(task, amount)
