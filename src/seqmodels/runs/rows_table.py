"""A table of rows that fits its terminal: without some columns, but never with a part of a
number."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from seqmodels.metrics import show_with_unit
from seqmodels.screen import visible_line

SHORT = 24  # characters of a column that is shown whole, or not at all
WIDTH = 40  # characters of a cell
FEWEST = 12  # characters that a longer text is cut to
BORDERS = 3  # characters that a column takes beside its text
END_OF_LIST = ", …]"  # in place of the entries that have no room
MOST_NAMES = 3  # of columns that are left out


class RowsTable:
    """Rich draws it with as many columns as there is room for, and names some of the others.

    Args:
        title: printed above the table.
        rows: the cells of each row by their column; a float is a metric of that name.
        groups: columns that are shown together or not at all, the most important ones first. All
            others come after these, one by one.
    """

    def __init__(
        self, title: str, rows: Sequence[Mapping[str, Any]], groups: Sequence[Sequence[str]] = ()
    ) -> None:
        self.title = title
        self.cells = dict[str, list[str]]()
        self.number_columns = set[str]()
        for column in rows[0]:
            values = [row.get(column, "") for row in rows]
            self.cells[column] = [_text_of(column, value) for value in values]
            if all(isinstance(value, int | float) for value in values):
                self.number_columns.add(column)
        grouped_columns = {column for group in groups for column in group}
        self.groups = list(groups)
        self.groups += [[column] for column in rows[0] if column not in grouped_columns]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        widths = self.widths(options.max_width - 1)  # There is one border more than columns.
        table = Table()
        columns_of_cells = list[list[Text]]()
        for column, width in widths.items():
            justify: Any = "right" if column in self.number_columns else "left"
            header = _folded(visible_line(column), width)
            table.add_column(header, justify=justify, width=width, no_wrap=True)
            columns_of_cells.append([Text(cut(cell, width)) for cell in self.cells[column]])
        for cells in zip(*columns_of_cells, strict=True):
            table.add_row(*cells)
        yield Text(self.title, style="bold")
        yield table

        names = [visible_line(column) for column in self.cells if column not in widths]
        if names:
            listed_names = ", ".join(names[:MOST_NAMES])
            if len(names) > MOST_NAMES:
                listed_names += f" and {len(names) - MOST_NAMES} more"
            yield Text(f"too wide for this terminal: {listed_names}")

    def widths(self, room: int) -> dict[str, int]:
        """The columns that have room, in their order, and how many characters their cells have."""
        least_widths = {column: self._least_width(column) for column in self.cells}
        chosen_columns = set[str]()
        for group in self.groups:
            needed = sum(least_widths[column] + BORDERS for column in group)
            if needed <= room or not chosen_columns:
                chosen_columns.update(group)
                room -= needed
        widths = {column: least_widths[column] for column in self.cells if column in chosen_columns}
        # The room that is left goes to the narrowest of the columns that are cut or folded.
        while room > 0:
            narrow_columns = [
                column for column in widths if widths[column] < self._full_width(column)
            ]
            if not narrow_columns:
                break
            narrowest = min(narrow_columns, key=widths.__getitem__)
            widths[narrowest] += 1
            room -= 1
        return widths

    def _full_width(self, column: str) -> int:
        """The characters of a column's longest cell, unless it is very long, or of its name."""
        longest_cell = max(map(len, self.cells[column]))
        return max(len(visible_line(column)), min(longest_cell, WIDTH))

    def _least_width(self, column: str) -> int:
        """How few characters may show a column: a folded name, all of short cells, and of long
        lists their first entry."""
        cells = self.cells[column]
        longest_word = max(map(len, _words(visible_line(column))))
        width = max(map(len, cells))
        if width > SHORT:
            width = FEWEST
            for cell in cells:
                if cell.startswith("["):
                    first_entry = cell.partition(", ")[0]
                    width = max(width, min(len(first_entry + END_OF_LIST), WIDTH))
        return max(longest_word, width)


def _text_of(column: str, value: Any) -> str:
    if isinstance(value, float):
        return show_with_unit(column, value)
    return visible_line(str(value))


def _words(name: str) -> list[str]:
    """The parts of a name, at which it may be folded: `target.`, `wind_`, `speed`."""
    return re.findall(r"[^._ ]*[._ ]|[^._ ]+", name) or [name]


def _folded(name: str, width: int) -> str:
    """A column's name in lines of so many characters."""
    lines = [""]
    for word in _words(name):
        if lines[-1] and len(lines[-1] + word) > width:
            lines.append("")
        lines[-1] += word
    return "\n".join(lines)


def cut(text: str, width: int) -> str:
    """A text of so many characters at most. A list ends behind one of its entries."""
    if len(text) <= width:
        return text
    if text.startswith("["):
        room = width - len(END_OF_LIST)
        entries, comma, _ = text[: room + 2].rpartition(", ")
        if comma:
            return entries + END_OF_LIST
    return f"{text[: width - 1]}…"
