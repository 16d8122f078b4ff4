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

CONTENT = {tokenize.NUMBER: "0", tokenize.STRING: "'...'"}  # what stands for all of them
KEPT = {tokenize.NAME, tokenize.OP, *CONTENT}
BOUND = {ast.arg: "parameter", ast.keyword: "argument", ast.alias: "assigned"}


class PythonSyntax(SequenceDataModule):
    """The standard library, split by file, in pieces of at least `block` tokens."""

    def __init__(self, block: int = 96, characters: bool = False, **options):
        super().__init__(Words(min_count=2, characters=characters), Tags(), **options)
        self.block = block

    def read(self) -> Mapping[str, Examples]:
        pairs = {split: [] for split in SPLITS}
        for number, path in enumerate(library_files()):
            split = SPLITS[max(number % 10 - 7, 0)]  # 8, 1 and 1 of 10 files
            pairs[split] += self.read_file(str(path))
        return {split: Examples.of(pairs[split], f"Python, {split}") for split in SPLITS}

    def read_file(self, path: str) -> Iterator[tuple[list[str], list[str]]]:
        # the tree counts bytes, and tokens count characters
        source = Path(path).read_bytes().decode("ascii", errors="replace").replace("\ufffd", "?")
        starts, calls = roles(source)
        words, tags = [], []
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type in KEPT:
                before = words[-1] if words else ""
                words.append(CONTENT.get(token.type, token.string))
                if token.type != tokenize.NAME or keyword.iskeyword(token.string):
                    tags.append("other")
                elif token.end in calls:
                    tags.append("call")
                elif before == ".":
                    tags.append("attribute")
                else:
                    named = before in ("def", "class", "as")
                    tags.append("assigned" if named else starts.get(token.start, "name"))
            enough = {tokenize.ENDMARKER: 1, tokenize.NEWLINE: self.block}
            if len(words) >= enough.get(token.type, 2 * self.block):
                yield words, tags
                words, tags = [], []


def roles(source: str) -> tuple[dict[tuple[int, int], str], set[tuple[int, int]]]:
    """What names are by where they start, and where names end that are called."""
    starts, calls = {}, set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            calls.add((node.func.end_lineno, node.func.end_col_offset))
        assigned = isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        role = "assigned" if assigned else BOUND.get(type(node))
        if role and not getattr(node, "asname", None):
            starts[node.lineno, node.col_offset] = role
    return starts, calls
