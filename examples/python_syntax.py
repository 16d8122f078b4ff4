"""A tag for each token of Python's own source: what is assigned, called, a parameter, ...

python scripts/train.py --config-dir examples/configs experiment=tagging data=python_syntax
"""

import ast
import io
import keyword
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path

from seqmodels.data import SPLITS, Examples, SequenceDataModule, Tags, Words
from seqmodels.data.sources import library_files

# One word stands for all numbers, and one for all strings.
CONTENT = {tokenize.NUMBER: "0", tokenize.STRING: "'...'"}
KEPT = {tokenize.NAME, tokenize.OP, *CONTENT}
ROLES = {ast.arg: "parameter", ast.keyword: "argument", ast.alias: "assigned"}


class PythonSyntax(SequenceDataModule):
    """The standard library, split by file, in pieces of at least `block` tokens."""

    def __init__(self, block: int = 96, characters: bool = False, **options):
        super().__init__(Words(min_count=2, characters=characters), Tags(), **options)
        self.block = block

    def read(self) -> Mapping[str, Examples]:
        pairs = {split: [] for split in SPLITS}
        for number, path in enumerate(library_files()):
            split = SPLITS[max(number % 10 - 7, 0)]  # They get 8, 1 and 1 of 10 files.
            pairs[split] += self.read_file(str(path))
        return {split: Examples.of(pairs[split], f"Python, {split}") for split in SPLITS}

    def read_file(self, path: str) -> Iterator[tuple[list[str], list[str]]]:
        # The tree counts bytes, and tokens count characters: in ASCII, they agree.
        source = Path(path).read_bytes().decode("ascii", errors="replace").replace("\ufffd", "?")
        role_by_start, ends_of_calls = roles(source)
        # A piece ends with the file, with a line when it is long enough, or anyway when it is long.
        min_lengths = {tokenize.ENDMARKER: 1, tokenize.NEWLINE: self.block}
        words, tags = [], []
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type in KEPT:
                word_before = words[-1] if words else ""
                words.append(CONTENT.get(token.type, token.string))
                if token.type != tokenize.NAME or keyword.iskeyword(token.string):
                    tags.append("other")
                elif token.end in ends_of_calls:
                    tags.append("call")
                elif word_before == ".":
                    tags.append("attribute")
                elif word_before in ("def", "class", "as"):
                    tags.append("assigned")
                else:
                    tags.append(role_by_start.get(token.start, "name"))
            if len(words) >= min_lengths.get(token.type, 2 * self.block):
                yield words, tags
                words, tags = [], []


Place = tuple[int, int]
"""The line of a token, and its column."""


def roles(source: str) -> tuple[dict[Place, str], set[Place]]:
    """What names are, by where they start, and where names end that are called."""
    role_by_start = {}
    ends_of_calls = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            ends_of_calls.add((node.func.end_lineno, node.func.end_col_offset))
        role = ROLES.get(type(node))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            role = "assigned"
        if role and not getattr(node, "asname", None):
            role_by_start[node.lineno, node.col_offset] = role
    return role_by_start, ends_of_calls
