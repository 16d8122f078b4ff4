"""Pairs of texts: read the one, write the other, token by token. Your own, from files or the
HuggingFace hub; in batches of what an encoder reads, and what a decoder reads and is to predict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, takewhile
from typing import Any

import numpy as np
import torch
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


class TextDecoder:
    """Texts from token ids.

    Args:
        state: how they were encoded: a spec's `target_preprocessor`, or for sources its
            `preprocessor`.

    Attributes:
        level: of the tokenizer's options.

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
        """The text of these tokens, up to the first end.

        Tokens of level `space` are joined with a blank, other tokens as they stand.
        """
        names = self._tokenizer.tokens
        return self._tokenizer.join([names[n] for n in takewhile(lambda n: n != END_ID, ids)])

    def texts(self, rows: Tensor) -> list[str]:
        """The text of each row of `(B, S)` token ids."""
        return [*map(self, rows.tolist())]


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
        # tokens in a target of the training, so that a decoder knows when it writes too much
        self.longest = 0

    @property
    def names(self) -> list[str]:  # type: ignore[override]
        """The tokens, by id."""
        return self.tokens.tokenizer.tokens

    def fit(self, raw: Sequence[tuple[str, ...]], source: str) -> None:
        self.tokens.fit([*chain.from_iterable(raw)])

    def encode(self, raw: Sequence[tuple[str, ...]], source: str) -> TokenRows:  # type: ignore[override]
        return self.tokens.encode([*chain.from_iterable(raw)], f"{source}, targets")

    def references(self, raw: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
        """The different texts that are right for each example, as a decoder would write them."""
        if self.tokens.options.level == "space":
            raw = [tuple(" ".join(text.split()) for text in texts) for texts in raw]
        return [tuple(dict.fromkeys(texts)) for texts in raw]

    @property
    def spec(self) -> dict[str, Any]:
        """`num_targets`: the size of the vocabulary; `start` and `end`: token ids, which may be the
        same one; `longest`: the number of tokens of the longest target of the training; and
        `target_preprocessor`: what `TextDecoder` needs."""
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
        self.tokens, self.longest = tokens, int(spec["longest"])


class PairDataset(SequenceDataset):
    """Encoded sources with their targets. It makes a whole batch at once.

    Args:
        sequences: N sources.
        targets: M texts, each without start and end; the targets of a source follow each other.
        references: for each source, the texts that are right: one or several.
        counts: how many of the targets each source has.
        every: give each target a row, to learn from; otherwise each source, with its first target
            and its references, to evaluate.
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
        every: bool = False,
    ) -> None:
        self.sequences, self.targets = sequences, targets
        self.references, self.counts, self.every = references, counts, every
        sources = np.repeat(np.arange(len(counts)), counts if every else 1)
        first = np.cumsum(counts) - counts
        self.rows = np.stack([sources, np.arange(len(targets)) if every else first])
        self.lengths = sequences.lengths[torch.from_numpy(sources)]

    def __len__(self) -> int:
        return self.rows.shape[1]

    def of_every_target(self) -> PairDataset:
        """The same data with a row for each target."""
        return PairDataset(self.sequences, self.targets, self.references, self.counts, every=True)

    def __getitems__(self, indices: list[int]) -> PairBatch:
        sources, targets = self.rows[:, indices].tolist()
        read = [self.sequences[row] for row in sources]
        references = None if self.every else [self.references[row] for row in sources]
        return PairBatch.of(
            replace(collate(read, self.lengths[indices]), rows=torch.tensor(sources)),
            teacher_forced([self.targets[row] for row in targets]),
            references,
        )


def teacher_forced(texts: Sequence[Tensor]) -> SequenceBatch:
    """What a decoder reads and is to predict, for B texts `(n,)` int64 without start and end:
    `inputs` `(B, S)` of `[start, y1, ..., yn]`, and `targets` `(B, S)` of `[y1, ..., yn, end]`."""
    padded = pad_sequence([*texts], batch_first=True)
    counts = torch.tensor([*map(len, texts)])
    inputs = F.pad(padded, (1, 0), value=START_ID)
    targets = F.pad(padded, (0, 1)).masked_fill(
        torch.arange(inputs.shape[1]) > counts.unsqueeze(1), PADDING_TARGET
    )
    targets[torch.arange(len(counts)), counts] = END_ID
    return SequenceBatch(inputs, counts + 1, targets)
