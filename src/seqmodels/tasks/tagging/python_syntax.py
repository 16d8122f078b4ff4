"""Semantic highlighting: what each token is, in the source of Python's standard library."""

from __future__ import annotations

import json
import platform
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from seqmodels.arguments import Count, Passed
from seqmodels.cache import cached
from seqmodels.data.examples import Examples, cut_off, digest
from seqmodels.data.module import Split
from seqmodels.data.sequences import SequenceDataModule
from seqmodels.data.sources import library_files
from seqmodels.data.tokenizer import VocabularySize
from seqmodels.data.tokens import Words
from seqmodels.errors import UserError, one_line
from seqmodels.files import existing_file, read_lines
from seqmodels.tasks.tagging.python_roles import logical_lines, roles
from seqmodels.tasks.tagging.tags import Tags

FORMAT = 3  # of the cached tokens
TABLES = {"encodings", "pydoc_data"}  # folders that hold numbers and texts, and hardly a name
UNREADABLE = (SyntaxError, ValueError, RecursionError, tokenize.TokenError)

Line = Sequence[str]
"""The tokens of a logical line, and their roles, with a space between two of them."""


class Block(NamedTuple):
    """Statements that follow each other: their tokens, and the role of each."""

    tokens: list[str]
    tags: list[str]

    def then(self, other: Block) -> Block:
        return Block(self.tokens + other.tokens, self.tags + other.tags)


class PythonSyntax(SequenceDataModule):
    """The tokens of the modules of the running Python's standard library, split by file; each has
    its role as a tag, one of `python_roles.ROLES`.

    A sequence is a block of whole statements that follow each other. Comments are left out; strings
    and numbers are given without their content.

    Args:
        block: begin a new one before a statement with which it would have more tokens than this;
            but not after a decorator or a line that ends with a colon, and cut statements of more
            than twice as many tokens.
        min_count, vocabulary_size, characters: how to encode tokens; see `Words`.
        options: `batch_size` and the other arguments of `SequenceDataModule`.
    """

    def __init__(
        self,
        *,
        block: Count = 128,
        min_count: Count = 2,
        vocabulary_size: VocabularySize = 10_000,
        characters: bool = False,
        **options: Annotated[Any, Passed("inputs", "targets")],
    ) -> None:
        words = Words(min_count=min_count, vocabulary_size=vocabulary_size, characters=characters)
        super().__init__(words, Tags(), **options)
        self.block = block
        self.skipped = 0

    @property
    def title(self) -> str:
        return f"syntax of Python {platform.python_version()}"

    @property
    def notes(self) -> Sequence[str]:
        skipped = f"skipped {self.skipped} files that this Python cannot parse"
        return [*super().notes, *([skipped] if self.skipped else [])]

    def read(self) -> Mapping[Split, Examples]:
        found = [path for path in library_files() if not TABLES.intersection(path.parts)]
        recipe = [FORMAT, platform.python_version(), digest([path.read_bytes() for path in found])]
        folder = cached("python_syntax", recipe, lambda folder: _write(folder, found))
        with (folder / "lines.jsonl").open(encoding="utf-8") as file:
            read = [*map(json.loads, file)]
        self.skipped = read.count(None)
        blocks = [self._blocks(lines) for lines in read if lines]
        files, splits = Examples(blocks, blocks, self.title), dict[Split, Examples]()
        for split in ("test", "validation"):
            files, splits[split] = cut_off(files, self.fractions[split], self.split_seed, split)
        return {
            split: Examples.of(chain.from_iterable(each.inputs), self.title)
            for split, each in (splits | {"train": files}).items()
        }

    def read_file(self, path: str) -> Iterator[tuple[list[str], list[str]]]:
        yield from self._blocks(_lines_of(path, tagged=True))

    def read_inputs(self, path: str) -> Iterator[list[str]]:
        return (block.tokens for block in self._blocks(_lines_of(path, tagged=False)))

    def _blocks(self, lines: Sequence[Line]) -> list[Block]:
        blocks, unit = list[Block](), Block([], [])
        for number, (text, found) in enumerate(lines, start=1):
            words = text.split(" ")
            unit = unit.then(Block(words, found.split(" ")))
            if number < len(lines) and (words[0] == "@" or words[-1] == ":"):
                continue
            if blocks and len(blocks[-1].tokens) + len(unit.tokens) <= self.block:
                unit = blocks.pop().then(unit)
            blocks.append(unit)
            unit = Block([], [])
        return blocks


def _write(folder: Path, files: Sequence[Path]) -> None:
    with (folder / "lines.jsonl").open("w", encoding="utf-8") as out:
        for path in files:
            found: list[Line] | None = None
            with suppress(*UNREADABLE):  # such as a file that is broken on purpose
                found = _lines(_source(str(path)), tagged=True)
            out.write(json.dumps(found) + "\n")


def _lines(source: str, tagged: bool) -> list[Line]:
    lines = [line for line in logical_lines(source) if line]
    tags = iter(roles(source, [*chain(*lines)]) if tagged else ())
    return [
        (" ".join(token.string for token in line), " ".join(islice(tags, len(line))))
        for line in lines
    ]


def _lines_of(path: str, tagged: bool) -> list[Line]:
    try:
        lines = _lines(_source(path), tagged)
    except UNREADABLE as error:
        line, reason = getattr(error, "lineno", None), getattr(error, "msg", one_line(error))
        if isinstance(error, tokenize.TokenError):
            reason, (line, _) = error.args
        place = f" line {line}:" if line else ""
        raise UserError(f"{path}:{place} this is not Python ({reason}); correct it") from error
    if not lines:
        raise UserError(f"{path} is empty: it has no statement")
    return lines


def _source(path: str) -> str:
    if path == "-":
        return "".join(f"{line}\n" for line in read_lines(path))
    try:
        with tokenize.open(existing_file(path)) as file:
            return file.read()
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {one_line(error)}") from error
