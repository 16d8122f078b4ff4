"""Write what `seqmodels.mistakes` says into the pages: python docs/mistakes.py

A table with one of the headers below is made from it, and so is what stands in brackets behind the
name of a mistake: the rules of the linter that find it, and the katas in which to practise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from seqmodels.mistakes import MISTAKES, Example, Mistake

DOCS = Path(__file__).parent
PAGES = (
    "audit.md",
    "is_my_lstms_state_carried.md",
    "why_does_my_lstm_depend_on_the_batch.md",
)
# Where all examples of a mistake stand, if not in the table of all.
MORE = {"padding_leak": "why_does_my_lstm_depend_on_the_batch.md#it-reads-padding"}
INDEX = re.compile(r"`([a-z_]+)` \((?:`RNN|katas? )[^)]*\)")


def refreshed(page: str) -> str:
    """The page, with its tables and indices as they are now."""
    for header, rows in TABLES.items():
        table = re.compile(rf"^{re.escape(header)}\n(\|.*\n)*", re.MULTILINE)
        rule = "|---" * (header.count("|") - 1) + "|"
        lines = "\n".join([header, rule, *rows(), ""])
        page = table.sub(lines.replace("\\", r"\\"), page)
    return INDEX.sub(lambda match: index(MISTAKES[match[1]]), page)


def index(mistake: Mistake) -> str:
    """`padding_leak` (`RNN002`, `RNN003`, `RNN007`; katas 1, 4, 6, 7)"""
    places = []
    if mistake.rules:
        places.append(_codes(mistake))
    if mistake.katas:
        plural = "s" * (len(mistake.katas) > 1)
        places.append(f"kata{plural} {', '.join(map(str, mistake.katas))}")
    return f"`{mistake.name}` ({'; '.join(places)})"


def rows_of_models() -> Iterator[str]:
    """Each example, the first one of a mistake behind its name and meaning; of a mistake whose
    examples stand on another page, the first one and the link."""
    for mistake in MISTAKES.values():
        if mistake.is_of_a_stream:
            continue
        name, examples = _name_and_meaning(mistake), mistake.examples
        if mistake.name in MORE:
            first = examples[0]
            wrong = f"{_wrong(first)}, and [more]({MORE[mistake.name]})"
            yield f"| {name} | {wrong} | `{first.right}` | {_codes(mistake)} |"
            continue
        for example in examples:
            rule = f"`{example.rule}`" if example.rule else ""
            yield f"| {name} | {_wrong(example)} | `{example.right}` | {rule} |"
            name = " | "


def rows_of_streams() -> Iterator[str]:
    for mistake in MISTAKES.values():
        if mistake.is_of_a_stream:
            yield f"| {_name_and_meaning(mistake)} |"


def rows_of_padding() -> Iterator[str]:
    for example in MISTAKES["padding_leak"].examples:
        yield f"| {_wrong(example)} | `{example.right}` |"


def _name_and_meaning(mistake: Mistake) -> str:
    warning = "; only a warning" if mistake.is_warning else ""
    return f"`{mistake.name}` | {mistake.meaning}{warning}"


def _codes(mistake: Mistake) -> str:
    return ", ".join(f"`{code}`" for code in mistake.rules)


def _wrong(example: Example) -> str:
    return f"`{example.wrong}` {example.where}".strip()


TABLES: dict[str, Callable[[], Iterator[str]]] = {
    "| mistake | what it means | wrong | right | linter |": rows_of_models,
    "| mistake of a stream | what it means |": rows_of_streams,
    "| instead of | write, from `seqmodels.padding` |": rows_of_padding,
}
"""Each table by its header."""


if __name__ == "__main__":
    for file in (DOCS / name for name in PAGES):
        text = file.read_text(encoding="utf-8")
        file.write_text(refreshed(text), encoding="utf-8")
