"""Markdown pages: their Python code, their commands, and what they promise to print."""

from __future__ import annotations

import io
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from tests.shipped import lacks

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Command:
    """One command of a page: its line without comment and environment variables, and the blocks
    `text` that follow it, before any other block."""

    line: str
    output: str = ""

    @property
    def words(self) -> list[str]:
        """Without `python`; a name in brackets, as in `runs/<folder>`, is taken as it is."""
        command = self.line.rpartition(" && ")[2].rpartition(" | ")[2]
        return shlex.split(re.sub(r"<(\w+)>", r"\1", command))[1:]

    @property
    def stdin(self) -> str:
        """What `echo "..." |` writes to it."""
        before, pipe, _ = self.line.rpartition(" | ")
        return shlex.split(before)[1] + "\n" if pipe else ""

    @property
    def overrides(self) -> list[str]:
        """What Hydra composes; of a sweep, the first job."""
        words = self.words[1:]
        if "--config-dir" in words:
            index = words.index("--config-dir")
            words[index : index + 2] = [f"hydra.searchpath=[file://{ROOT / words[index + 1]}]"]
        if "-m" in words:
            words = [re.sub(r"^([^=\[]+=[^\[,]*),.*", r"\1", w) for w in words if w != "-m"]
        return words


def python_blocks(page: str) -> list[str]:
    blocks = BLOCK.findall(page)
    return [code for language, code in blocks if language == "python" and not lacks(code)]


def shell_lines(page: str) -> list[Command]:
    """Each line of its blocks `bash`, and each `python scripts/...` inside its text, but what
    needs a task whose folder is deleted."""
    found: list[Command] = []
    follows = False
    for language, code in BLOCK.findall(page):
        if language == "bash":
            lines = [line for line in code.splitlines() if line and not line.startswith("#")]
            found += [Command(re.sub(r"^(\w+=\S+ )+|\s+# .*$", "", line)) for line in lines]
            follows = bool(lines)
        elif language == "text" and follows:
            found[-1] = replace(found[-1], output=found[-1].output + code)
        else:
            follows = False
    inline = re.findall(r"`(python scripts/[^`]+)`", BLOCK.sub("", page))
    found += [Command(" ".join(line.split())) for line in inline]
    return [command for command in found if not lacks(command.line)]


def run(code: str, names: dict[str, Any]) -> None:
    """Runs a block as a reader does who pastes it after those before it.

    Compares what it prints with the comments after `print(...)`, where `...` stands for anything.
    """
    printed = io.StringIO()
    names["print"] = partial(print, file=printed)  # and not what a training prints
    exec(compile(code, "<page>", "exec"), names)
    promised = re.findall(r"^print\(.*\)  # (.*)$", code, flags=re.MULTILINE)
    lines = printed.getvalue().splitlines()
    assert len(lines) == len(promised), (lines, promised)
    for line, promise in zip(lines, promised):
        pattern = re.escape(promise).replace(re.escape("..."), ".*")
        assert re.fullmatch(pattern, line), f"it prints {line}, not {promise}"


def words_missing(shown: str, printed: str) -> set[str]:
    """The words of a shown output that are not printed, whatever their numbers and line breaks."""

    def words(text: str) -> Iterator[str]:
        text = re.sub(r"\S*runs/\S+", "runs", text)  # its folder has another name each time
        text = re.sub(r"(?<=\d) (min|h)\b", " s", text)
        return (re.sub(r"-?[\d.]+", "0", word) for word in re.findall(r"[\w./+,-]*\w", text))

    return set(words(shown)) - set(words(printed))


def links(page: str) -> list[tuple[str, str]]:
    """The files that a page links or embeds, each with the anchor in it; without what only the
    site shows."""
    text = re.sub(r"`[^`\n]+`", "", re.sub(r"<!--.*?-->", "", prose(page), flags=re.DOTALL))
    found = re.findall(r"\]\(([^)\s]+)\)|(?:href|src)=\"([^\"]*)\"", text)
    targets = [one or other for one, other in found]
    return [
        (path, anchor) for path, _, anchor in (t.partition("#") for t in targets if "://" not in t)
    ]


def anchors(page: str) -> set[str]:
    """Those that GitHub gives to the headings of a page."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def prose(page: str) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^(`{3,}).*?^\1$", "", page, flags=re.DOTALL | re.MULTILINE)


def read(path: Path) -> str:
    """Of a notebook, its Markdown."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    cells = json.loads(text)["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
