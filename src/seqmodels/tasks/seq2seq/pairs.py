"""Pairs of texts: read the one, write the other, token by token. Your own, from files or the
HuggingFace hub; in batches of what an encoder reads, and what a decoder reads and is to predict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from seqmodels.arguments import Count, Name
from seqmodels.batch import PADDING_TARGET, PairBatch, SequenceBatch
from seqmodels.data.examples import IDENTITY, Examples, InputRow
from seqmodels.data.inputs import load_inputs
from seqmodels.data.loading import SequenceDataset, collate
from seqmodels.data.sequences import SequenceDataModule
from seqmodels.data.sources import OwnFiles
from seqmodels.data.tables import Tables
from seqmodels.data.targets import TargetEncoder
from seqmodels.data.tokenizer import END_ID, START_ID, Level, TokenizerOptions, VocabularySize
from seqmodels.data.tokens import TokenRows, Tokens
from seqmodels.errors import UserError, shown


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
        min_count, vocabulary_size: those of each side; `TokenizerOptions` documents them.
        max_length: truncate longer sources to this many tokens; targets stay whole.
        options: `batch_size` and the other arguments of `SequenceDataModule`.
    """

    inputs: Tokens
    targets: TextTargets
    datasets: dict[str, PairDataset]  # type: ignore[assignment]
    reads_tables = True
    # How files are read, and the names of their columns.
    tables = Tables()
    source_column = "source"
    target_column = "target"

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
        source_options = TokenizerOptions(source_tokenizer, lowercase, min_count, vocabulary_size)
        target_options = TokenizerOptions(
            target_tokenizer,
            lowercase=False,
            min_count=min_count,
            vocabulary_size=vocabulary_size,
            keep_whitespace=target_tokenizer == "word",
        )
        inputs = Tokens(source_options, max_length=max_length)
        super().__init__(inputs, TextTargets(target_options), **options)

    def examples_of(self, rows: Iterable[tuple[Any, ...]], source: str) -> Examples:
        """Returns each text that is read once, with the targets of all its rows.

        Args:
            rows: a text, some of its targets and, perhaps, what else its file says of the row.
        """
        targets_by_text: dict[str, list[str]] = {}
        columns_by_text: dict[str, dict[str, Any]] = {}
        for text, targets, *further_columns in rows:
            targets_by_text.setdefault(text, []).extend(targets)
            columns = further_columns[0] if further_columns else {}
            # Of several rows with a text, the first one stands for it in the file.
            first_columns = columns_by_text.setdefault(text, columns)
            for name in columns.keys() - IDENTITY:
                if columns[name] != first_columns[name]:
                    raise UserError(
                        f"{source}: {shown(text)!r} is of {name} {first_columns[name]} and "
                        f"{name} {columns[name]}: no cut can divide it"
                    )
        examples = [
            (text, tuple(targets), columns_by_text[text])
            for text, targets in targets_by_text.items()
        ]
        return Examples.of(examples, source)

    def encode(self, examples: Examples) -> PairDataset:
        sequences = self.inputs.encode(examples.inputs, examples.source)
        targets = self.targets.encode(examples.targets, examples.source)
        self._note_unknown(sequences, examples.source)
        self._note_unknown(targets, f"{examples.source}, targets")
        references = self.targets.references(examples.targets)
        counts = [len(texts) for texts in examples.targets]
        dataset = PairDataset(sequences, targets, references, counts)
        dataset.raw = examples.inputs
        dataset.name_of = self.name_of
        dataset.identities = examples.identities()
        return dataset

    def read_file(self, path: str) -> Iterator[tuple[Any, ...]]:
        """Reads each source of a file with its targets. In JSON Lines and Parquet a target may also
        be a list of texts: several that are right. Raises a `UserError` naming the file, the row
        and what to do."""
        columns = [self.source_column, self.target_column, *self.roles.values()]
        table = self.tables.read(path, columns, several=self.target_column)
        sources = table.filled(self.source_column, "data.source_column", raw=True).texts
        targets = map(tuple, table.lists_of(self.target_column, "data.target_column"))
        return table.rows(self.roles, sources, targets)

    def read_inputs(self, path: str) -> Iterator[str]:
        return (row.raw for row in self.read_rows(path))

    def read_rows(self, path: str) -> Iterator[InputRow]:
        """Reads each source of such a file, or of plain text with one on each line."""
        return self.tables.text_rows(path, self.source_column, "data.source_column", self.roles)

    @property
    def baseline_recipe(self) -> list[Any]:
        # The level of the target's tokenizer says what a symbol is, which is what errors count.
        return [*super().baseline_recipe, self.targets.tokens.options.level]

    @property
    def summary(self) -> Sequence[str]:
        sizes = []
        for split, dataset in self.datasets.items():
            num_pairs = len(dataset.targets)
            sizes.append(f"{split} {num_pairs:,} pairs of {len(dataset):,} sources")
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


class TextDecoder:
    """Makes texts of token ids.

    Args:
        state: how the texts were encoded: a spec's `target_preprocessor`, or for sources its
            `preprocessor`.

    Attributes:
        level: the level of the tokenizer.

    Raises:
        UserError: if this is not the state of a tokenizer.
    """

    def __init__(self, state: Mapping[str, Any]) -> None:
        tokens = load_inputs(dict(state))
        if not isinstance(tokens, Tokens):
            raise UserError("the checkpoint has no tokenizer to write texts with")
        self.level: str = tokens.options.level
        self._tokenizer = tokens.tokenizer

    def __call__(self, ids: Iterable[int]) -> str:
        """Returns the text of these tokens, up to the first end.

        Tokens of level `space` are joined with a blank, other tokens as they stand.
        """
        tokens = []
        for number in ids:
            if number == END_ID:
                break
            tokens.append(self._tokenizer.tokens[number])
        return self._tokenizer.join(tokens)

    def texts(self, rows: Tensor) -> list[str]:
        """Returns the text of each row of `(B, S)` token ids."""
        return [self(ids) for ids in rows.tolist()]


class TextTargets(TargetEncoder):
    """Texts to write. A raw target is a tuple of texts, each of which is right; encoded, they are
    the tokens of all texts of all examples, one after the other, without start and end.

    Args:
        options: how to train the tokenizer. Words hold the space before them, so that decoding
            gives the text again. Level `space` takes any white space as one blank.
    """

    per = "sequence"
    target = "text"

    def __init__(self, options: TokenizerOptions) -> None:
        self.tokens = Tokens(options)
        # How many tokens the longest target of the training has, so that a decoder knows when it
        # writes too much; 0 until that is known.
        self.longest = 0

    @property
    def names(self) -> list[str]:  # type: ignore[override]
        """The tokens, by id."""
        return self.tokens.tokenizer.tokens

    def fit(self, raw: Sequence[tuple[str, ...]], source: str) -> None:
        texts = [*chain.from_iterable(raw)]
        self.tokens.fit(texts)

    def encode(self, raw: Sequence[tuple[str, ...]], source: str) -> TokenRows:  # type: ignore[override]
        texts = [*chain.from_iterable(raw)]
        return self.tokens.encode(texts, f"{source}, targets")

    def references(self, raw: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
        """Returns the different texts that are right for each example, as a decoder would write
        them."""
        references = []
        for texts in raw:
            written_texts = [*texts]
            if self.tokens.options.level == "space":
                written_texts = [" ".join(text.split()) for text in texts]
            references.append(tuple(dict.fromkeys(written_texts)))
        return references

    @property
    def spec(self) -> dict[str, Any]:
        """What a decoder has to know. `num_targets` is the size of the vocabulary; `start` and
        `end` are token ids, which may be the same one; `longest` is the number of tokens of the
        longest target of the training; `target_preprocessor` is what `TextDecoder` needs."""
        return {
            "num_targets": self.tokens.num_inputs,
            "start": START_ID,
            "end": END_ID,
            "longest": self.longest,
            "target_preprocessor": self.tokens.state(),
        }

    def load(self, spec: Mapping[str, Any]) -> None:
        tokens = load_inputs(spec["target_preprocessor"])
        if not isinstance(tokens, Tokens) or tokens.num_inputs != spec["num_targets"]:
            raise UserError(
                "the tokenizer of the checkpoint does not fit its "
                f"{spec['num_targets']} different targets"
            )
        self.tokens = tokens
        self.longest = int(spec["longest"])


class PairDataset(SequenceDataset):
    """Encoded sources with their targets. It makes a whole batch at once.

    Args:
        sequences: N sources.
        targets: M texts, each without start and end; the targets of a source follow each other.
        references: for each source, the texts that are right: one or several.
        counts: how many of the targets each source has.
        has_row_per_target: whether each target is a row, to learn from; otherwise each source is
            one, with its first target and its references, to evaluate.
    """

    sequences: TokenRows
    targets: TokenRows

    def __init__(
        self,
        sequences: TokenRows,
        targets: TokenRows,
        references: Sequence[tuple[str, ...]],
        counts: Sequence[int],
        *,
        has_row_per_target: bool = False,
    ) -> None:
        self.sequences = sequences
        self.targets = targets
        self.references = references
        self.counts = counts
        self.has_row_per_target = has_row_per_target
        # The source and the target of each row, by their numbers.
        self.source_numbers: Int[np.ndarray, " rows"] = np.arange(len(counts))
        first_targets = np.cumsum(counts) - counts
        self.target_numbers: Int[np.ndarray, " rows"] = first_targets
        if has_row_per_target:
            self.source_numbers = np.repeat(self.source_numbers, counts)
            self.target_numbers = np.arange(len(targets))
        self.lengths = sequences.lengths[torch.from_numpy(self.source_numbers)]

    def __len__(self) -> int:
        return len(self.source_numbers)

    def of_every_target(self) -> PairDataset:
        """Returns the same data with a row for each target."""
        return PairDataset(
            self.sequences, self.targets, self.references, self.counts, has_row_per_target=True
        )

    def __getitems__(self, indices: list[int]) -> PairBatch:
        source_numbers = self.source_numbers[indices].tolist()
        target_numbers = self.target_numbers[indices].tolist()
        sequences = [self.sequences[number] for number in source_numbers]
        sources = collate(sequences, self.lengths[indices])
        sources = replace(sources, rows=torch.tensor(source_numbers))
        targets = teacher_forced([self.targets[number] for number in target_numbers])
        references = None
        if not self.has_row_per_target:
            references = [self.references[number] for number in source_numbers]
        return PairBatch.of(sources, targets, references)


def teacher_forced(texts: Sequence[Tensor]) -> SequenceBatch:
    """Returns what a decoder reads and is to predict, for B texts `(n,)` int64 without start and
    end: `inputs` `(B, S)` of `[start, y1, ..., yn]`, and `targets` `(B, S)` of
    `[y1, ..., yn, end]`."""
    padded = pad_sequence([*texts], batch_first=True)
    counts = torch.tensor([len(text) for text in texts])
    inputs = F.pad(padded, (1, 0), value=START_ID)
    targets = F.pad(padded, (0, 1))
    is_after_end = torch.arange(targets.shape[1]) > counts.unsqueeze(1)  # (B, S)
    targets = targets.masked_fill(is_after_end, PADDING_TARGET)
    targets[torch.arange(len(counts)), counts] = END_ID
    return SequenceBatch(inputs, counts + 1, targets)
