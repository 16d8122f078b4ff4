"""Windows of contiguous streams: each window is one batch, and continues the previous window."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from seqmodels.batch import PADDING_TARGET, SequenceBatch
from seqmodels.tasks.language_model.corpus import TokenFile


class StreamDataset(Dataset[SequenceBatch]):
    """Tokens cut into contiguous streams of equal length, read in parallel.

    Row `b` of every window belongs to stream `b`. At each step, the target is a token and the input
    is the token before it; before the very first token, the input is the id that marks the start.

    Args:
        tokens: on disk; a window reads only what it needs.
        streams: the number of streams, over all processes.
        drop_last: whether to drop tokens that do not fill a step of all streams; otherwise the
            first streams are one token longer.
        rank, world_size: this process, and the number of processes that share the streams.
    """

    def __init__(
        self,
        tokens: TokenFile,
        streams: int,
        *,
        drop_last: bool,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        steps, longer = divmod(len(tokens), streams)
        lengths = np.full(streams, steps)
        lengths[: 0 if drop_last else longer] += 1
        mine = np.array_split(np.arange(streams), world_size)[rank]
        self.tokens, self.ends, self.lengths = tokens, lengths.cumsum()[mine], lengths[mine]
        self.steps = int(lengths.max())  # of all streams, so that processes agree
        self.tokens_per_byte = len(tokens) / tokens.num_bytes
        self.spelling_bits_per_byte = 8 * tokens.unknown_bytes / tokens.num_bytes

    def __len__(self) -> int:
        return self.steps

    def __getitems__(self, windows: list[tuple[int, int]]) -> SequenceBatch:
        """The steps `start..stop` of this process's streams, for a list of one `(start, stop)`."""
        [(start, stop)] = windows
        first = self.ends - self.lengths + start
        index = np.minimum(first[:, None] + np.arange(stop - start + 1), self.ends[:, None])
        ids = torch.from_numpy(self.tokens.ids[index].astype(np.int64))  # (B, T + 1)
        lengths = torch.from_numpy(np.minimum(self.lengths - start, stop - start))
        ended = torch.arange(stop - start) >= lengths.unsqueeze(1)
        inputs, targets = ids[:, :-1].contiguous(), ids[:, 1:].masked_fill(ended, PADDING_TARGET)
        rows = torch.from_numpy(first)  # by the number of their first token
        return SequenceBatch(inputs, lengths, targets, continues=start > 0, rows=rows)


class WindowSampler(Sampler[list[tuple[int, int]]]):
    """Cuts steps into consecutive windows `(start, stop)`.

    If a single step is left over, the last window takes it too: the streams of evaluation may
    differ by one step, and a window of one step would have rows without a token.

    Args:
        steps: the length of a stream.
        window: steps in a window.
    """

    def __init__(self, steps: int, window: int) -> None:
        self.steps, self.window, self.epoch = steps, window, 0
        self.sampler = self  # Lightning calls `batch_sampler.sampler.set_epoch`

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return max(-(-(self.steps - 1) // self.window), 1)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        cuts = [*range(0, len(self) * self.window, self.window), self.steps]
        return ([window] for window in pairwise(cuts))
