"""Batches of pairs: what an encoder reads, and what a decoder reads and is to predict."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from seqmodels.batch import PADDING_TARGET, PairBatch, SequenceBatch
from seqmodels.data.loading import SequenceDataset, collate
from seqmodels.data.token_rows import TokenRows
from seqmodels.data.tokenizer import END_ID, START_ID


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

    def __getitems__(self, indices: list[int]) -> PairBatch:  # type: ignore[override]
        sources, targets = self.rows[:, indices].tolist()
        read = [self.sequences[row] for row in sources]
        references = None if self.every else [self.references[row] for row in sources]
        return PairBatch(
            collate(read, self.lengths[indices]),
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
