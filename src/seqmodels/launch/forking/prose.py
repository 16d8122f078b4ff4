"""Cut the sentences, table rows and sections about something out of text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

Mentions = Callable[[str], bool]

OURS = "<!-- ours -->"  # the rest of a section below it is not part of a new project
HEADING = re.compile(r"(#+) ")


def sentences(text: str, mentions: Mentions) -> str:
    """The text without the parentheses and the sentences that mention it; nothing of a text whose
    first sentence does."""
    if not mentions(text):
        return text
    text = parentheses(text, mentions)
    parts = re.split(r"(?<=[.?!;])([*_)]*\s+)(?=[^\s])", text)
    if mentions(parts[0]):
        return ""
    kept = [(part, "".join(gap)) for part, *gap in _pairs(parts) if not mentions(part)]
    return re.sub(r";$", ".", "".join(part + gap for part, gap in kept).rstrip())


def parentheses(text: str, mentions: Mentions) -> str:
    """The text without the parentheses that mention it."""
    found = r" ?(?<!\])\((?:[^()]|\([^()]*\))*\)"
    return re.sub(found, lambda match: "" if mentions(match[0]) else match[0], text)


def _pairs(parts: list[str]) -> Iterator[tuple[str, ...]]:
    for index in range(0, len(parts), 2):
        yield tuple(parts[index : index + 2])


def markdown(text: str, mentions: Mentions) -> str:
    """A page without what mentions it: sections by their heading, otherwise code blocks, lines of
    commands, rows, items and sentences. What a sentence introduced with a colon goes with it."""
    kept: list[str] = []
    introduced = False
    for block in _blocks(_sections(text, mentions)):
        fence = re.match(r"```(\w*)", block)
        if introduced and (fence or block.startswith("|")):
            introduced = False
            continue
        if fence and fence[1] == "python":
            new = "" if mentions(block) else block
        elif fence or block.startswith(("|", "- ", "* ")):
            lines = block.splitlines()
            new = "\n".join(line for line in lines if not mentions(line))
            if len(new.splitlines()) <= 2 < len(lines):
                new = ""
        else:
            new = sentences(block, mentions)
            introduced = new != block and block.endswith(":") and not new.endswith(":")
        if block.startswith("<sub>") and new and not new.endswith("</sub>"):
            new += "</sub>"
        kept += [_wrapped(new) if new and new != block and not fence else new] if new else []
    return "\n\n".join(kept).rstrip() + "\n"


def docstrings(source: str, mentions: Mentions) -> str:
    """Python source whose docstrings, but for their first line, don't mention it: the sentences and
    the arguments about it are cut, and parentheses in comments."""

    def new(found: re.Match[str]) -> str:
        opening, body, closing = found.groups()
        entries = re.split(r"(\n(?=\n| *- | {4,}[\w, ]+: ))", body)
        text = sentences(entries[0], mentions) or entries[0]
        for gap, entry in zip(entries[1::2], entries[2::2], strict=True):
            left = sentences(entry, mentions)
            text += gap + left if left.strip() or not entry.strip() else ""
        return f"{opening}{text}{closing}"

    if not mentions(source):
        return source
    source = re.sub(r"^ *# .*$", lambda c: parentheses(c[0], mentions), source, flags=re.MULTILINE)
    return re.sub(r'^( *""")((?:(?!""").)*?)(\s*""")', new, source, flags=re.MULTILINE | re.DOTALL)


def _sections(text: str, mentions: Mentions) -> str:
    """Without the sections whose heading mentions it, and what stands below `OURS`."""
    kept: list[str] = []
    skipped, fenced = 0, False  # the level of the heading that ends what is skipped
    for line in text.splitlines():
        fenced ^= line.startswith("```")
        heading = None if fenced else HEADING.match(line)
        if heading and (not skipped or len(heading[1]) <= skipped):
            skipped = len(heading[1]) if mentions(line) else 0
        if line.strip() == OURS:
            skipped = 9
            if kept and HEADING.match(kept[-1]):
                kept.pop()
        if not skipped:
            kept.append(line)
    return "\n".join(kept)


def _blocks(text: str) -> Iterator[str]:
    block: list[str] = []
    fenced = False
    for line in [*text.splitlines(), ""]:
        fenced ^= line.startswith("```")
        if line or fenced:
            block.append(line)
        elif block:
            yield "\n".join(block)
            block = []


def _wrapped(block: str) -> str:
    return block if block.startswith(("|", "- ", "* ")) else re.sub(r"[ ]+\n", "\n", block)
