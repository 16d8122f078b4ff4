"""Pairs of texts: read the one, write the other. Your own, from files or the HuggingFace hub."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from seqmodels.arguments import Count, Name
from seqmodels.data.examples import IDENTITY, Examples, InputRow
from seqmodels.data.sequences import SequenceDataModule
from seqmodels.data.sources import OwnFiles
from seqmodels.data.tables import Tables
from seqmodels.data.tokenizer import Level, TokenizerOptions, VocabularySize
from seqmodels.data.tokens import Tokens
from seqmodels.errors import UserError, shown
from seqmodels.tasks.seq2seq.pair_batches import PairDataset
from seqmodels.tasks.seq2seq.text_targets import TextTargets


class PairDataModule(SequenceDataModule):
    """Sources, each with one target or several: texts, as token ids.

    An example is a source with all its targets, so a cut never puts a source on two sides. To
    train, each of its targets is an example of its own. To evaluate, the loss is that of its first
    one, and a text is right if it is any of them.

    A symbol that training never saw becomes the unknown token.

    Args:
        source_tokenizer, target_tokenizer: the tokenizer's `level` on each side. Use
            `space` for symbols that blanks separate already; in targets any white space is then one
            blank.
        lowercase: sources only.
        min_count, vocabulary_size: of each side; `TokenizerOptions` documents them.
        max_length: truncate longer sources to this many tokens; targets stay whole.
        options: `batch_size` and the other arguments of `SequenceDataModule`.
    """

    inputs: Tokens
    targets: TextTargets
    datasets: dict[str, PairDataset]  # type: ignore[assignment]
    reads_tables = True
    tables, source_column, target_column = Tables(), "source", "target"  # of files

    def __init__(
        self,
        *,
        source_tokenizer: Level = "char",
        target_tokenizer: Level = "char",
        lowercase: bool = TokenizerOptions.lowercase,
        min_count: Count = TokenizerOptions.min_count,
        vocabulary_size: VocabularySize = TokenizerOptions.vocabulary_size,
        max_length: Count | None = None,
        **options: Any,
    ) -> None:
        limits = (min_count, vocabulary_size)
        source = TokenizerOptions(source_tokenizer, lowercase, *limits)
        target = TokenizerOptions(
            target_tokenizer, False, *limits, keep_whitespace=target_tokenizer == "word"
        )
        inputs = Tokens(source, max_length=max_length)
        super().__init__(inputs, TextTargets(target), **options)

    def examples_of(self, rows: Iterable[tuple[Any, ...]], source: str) -> Examples:
        """Examples of sources with some of their targets: each source once, with all of them."""
        targets_by_text, also_by_text = dict[str, list[str]](), dict[str, dict[str, Any]]()
        for text, targets, *more in rows:
            targets_by_text.setdefault(text, []).extend(targets)
            also = more[0] if more else {}
            first = also_by_text.setdefault(text, also)  # its first row says which row it is
            for name in also.keys() - IDENTITY:
                if also[name] != first[name]:
                    both = f"{name} {first[name]} and {name} {also[name]}"
                    raise UserError(f"{source}: {shown(text)!r} is of {both}: no cut can divide it")
        examples = (
            (text, tuple(targets), also_by_text[text]) for text, targets in targets_by_text.items()
        )
        return Examples.of(examples, source)

    def encode(self, examples: Examples) -> PairDataset:
        sequences = self.inputs.encode(examples.inputs, examples.source)
        targets = self.targets.encode(examples.targets, examples.source)
        self._note_unknown(sequences, examples.source)
        self._note_unknown(targets, f"{examples.source}, targets")
        references = self.targets.references(examples.targets)
        dataset = PairDataset(sequences, targets, references, [*map(len, examples.targets)])
        dataset.raw, dataset.name_of = examples.inputs, self.name_of
        dataset.identities = examples.identities()
        return dataset

    def read_file(self, path: str) -> Iterator[tuple[Any, ...]]:
        """Each source of a file with its targets. In JSON Lines and Parquet a target may also be a
        list of texts: several that are right. Raises a `UserError` naming the file, the row and
        what to do."""
        wanted = [self.source_column, self.target_column, *self.roles.values()]
        table = self.tables.read(path, wanted, several=self.target_column)
        sources = table.filled(self.source_column, "data.source_column", raw=True).texts
        targets = map(tuple, table.lists_of(self.target_column, "data.target_column"))
        return table.rows(self.roles, sources, targets)

    def read_inputs(self, path: str) -> Iterator[str]:
        return (row.raw for row in self.read_rows(path))

    def read_rows(self, path: str) -> Iterator[InputRow]:
        """Each source of such a file, or of plain text with one on each line."""
        return self.tables.text_rows(path, self.source_column, "data.source_column", self.roles)

    @property
    def baseline_recipe(self) -> list[Any]:
        return [*super().baseline_recipe, self.targets.tokens.options.level]  # what a symbol is

    @property
    def summary(self) -> Sequence[str]:
        sizes = (
            f"{split} {len(data.targets):,} pairs of {len(data):,} sources"
            for split, data in self.datasets.items()
        )
        return [f"{self.title}: {', '.join(sizes)}"]

    def setup(self, stage: str | None = None) -> None:
        super().setup(stage)
        if not self.targets.longest:
            self.targets.longest = int(self.datasets["train"].targets.lengths.max())

    def to_learn_from(self) -> PairDataset:
        return self.datasets["train"].of_every_target()


class Pairs(OwnFiles, PairDataModule):
    """Pairs of texts from files. Splits without a file are cut from `train`, by source.

    Args:
        train, validation, test: a CSV, TSV, JSON Lines or Parquet file each, by its ending. Several
            rows with the same source give it several targets.
        source_column, target_column: the columns with the texts to read, and with those to write.
        options: `hub`, and `source_tokenizer` and the other arguments of `PairDataModule`.
    """

    def __init__(
        self,
        *files: Any,
        source_column: Name = PairDataModule.source_column,
        target_column: Name = PairDataModule.target_column,
        **options: Any,
    ) -> None:
        super().__init__(*files, **options)
        self.source_column, self.target_column = source_column, target_column
