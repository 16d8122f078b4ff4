"""Your own data: one word and its tag per line, a blank line between sentences, as in CoNLL files.

python scripts/train.py --config-dir examples/configs \\
    model=example_tagger data=example_conll data.train=train.txt
"""

from collections.abc import Iterator, Mapping

from seqmodels.data import SPLITS, Examples, SequenceDataModule, Tags, TokenizerOptions, Tokens
from seqmodels.errors import UserError
from seqmodels.files import read_lines


class CoNLL(SequenceDataModule):
    """Reads the tag from the last column; cuts missing splits from `train`."""

    def __init__(
        self, train: str, validation: str | None = None, test: str | None = None, **options
    ):
        tokens = Tokens(TokenizerOptions(level="space", lowercase=True, min_count=2))
        super().__init__(tokens, Tags(), **options)
        self.files = {"train": train, "validation": validation, "test": test}

    def read(self) -> Mapping[str, Examples]:
        return {split: self._examples(self.files[split]) for split in SPLITS if self.files[split]}

    def read_file(self, path: str) -> Iterator[tuple[str, list[str]]]:
        words, tags = [], []
        for number, line in enumerate([*read_lines(path), ""], start=1):
            if columns := line.split():
                if len(columns) == 1:
                    raise UserError(f"{path}, line {number}: {line!r} has no tag after the word")
                words.append(columns[0])
                tags.append(columns[-1])
            elif words:
                yield " ".join(words), tags
                words, tags = [], []

    def _examples(self, path: str) -> Examples:
        inputs, targets = zip(*self.read_file(path), strict=True)
        return Examples(inputs, targets, path)
