"""Batch encoded sequences: similar lengths together, in an order that can be resumed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from queue import Queue
from threading import Thread
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset, Sampler

from seqmodels.batch import PADDING_TARGET, SequenceBatch
from seqmodels.data.inputs import InputEncoder
from seqmodels.data.token_rows import TokenRows
from seqmodels.errors import UserError

T = TypeVar("T")


def collate(
    sequences: Sequence[Tensor],
    lengths: Tensor | None = None,
    targets: Tensor | Sequence[Tensor] | None = None,
) -> SequenceBatch:
    """Pads sequences to the longest of them.

    Args:
        sequences: B tensors, `(T,)` int64 tokens, `(T, 1 + K)` int64 words with their characters,
            or `(T, F)` features.
        lengths: `(B,)` int64, if you have them already.
        targets: a row per sequence; or for each sequence a tensor of its steps, classes `(T,)`
            int64, padded with -100, or values `(T, K)` floating point, padded with nan.
    """
    if lengths is None:
        lengths = torch.tensor([len(sequence) for sequence in sequences], dtype=torch.int64)
    if targets is not None and not isinstance(targets, Tensor):
        padding = math.nan if targets[0].is_floating_point() else PADDING_TARGET
        targets = pad_sequence(list(targets), batch_first=True, padding_value=padding)
    rows = list(sequences)
    if rows[0].dim() == 2 and rows[0].dtype == torch.int64:  # the longest words differ, too
        widest = max(row.shape[1] for row in rows)
        rows = [F.pad(row, (0, widest - row.shape[1])) for row in rows]
    return SequenceBatch(pad_sequence(rows, batch_first=True), lengths, targets)


class SequenceDataset(Dataset[SequenceBatch]):
    """Encoded sequences with their targets. It makes a whole batch at once.

    Args:
        sequences: N tensors, as `collate` takes them.
        targets: one row per sequence, `(N,)` int64 classes, `(N,)` or `(N, K)` floating-point
            values; or the targets of each sequence's steps, N tensors `(T,)` int64 or `(T, K)`
            floating-point.
    """

    raw: Sequence[Any] = ()  # the inputs before they were encoded, where they are known
    encoder: InputEncoder  # of them

    def __init__(self, sequences: Sequence[Tensor], targets: Tensor | Sequence[Tensor]) -> None:
        self.sequences, self.targets = sequences, targets
        if isinstance(sequences, TokenRows):
            self.lengths = sequences.lengths
        else:
            self.lengths = torch.tensor([*map(len, sequences)], dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.sequences)

    def __getitems__(self, indices: list[int]) -> SequenceBatch:
        rows, targets = torch.tensor(indices), self.targets
        lengths, sequences = self.lengths[rows], self.sequences
        if type(sequences) is TokenRows and isinstance(targets, Tensor):
            inputs = sequences.padded(rows.numpy())
            return SequenceBatch(inputs, lengths, targets[rows], rows=rows)
        targets = targets[rows] if isinstance(targets, Tensor) else [targets[i] for i in indices]
        return replace(collate([sequences[i] for i in indices], lengths, targets), rows=rows)

    def row_name(self, row: int) -> dict[str, Any]:
        """What a row can be recognised by in a table, in plain values."""
        return self.encoder.name(self.raw[row]) if len(self.raw) else {}


class LengthBatchSampler(Sampler[list[int]]):
    """Batches of samples of similar length.

    In training (`shuffle`), it shuffles the samples, sorts a pool of batches at a time by length,
    and shuffles the batches. The order depends only on `(seed, epoch)`. Several processes get
    batches of similar length at each step, so none waits for another, and the last step repeats
    batches so that all processes take the same number of steps.

    In evaluation, it sorts all samples by length and gives each one to exactly one process. It
    makes batches smaller if some process would otherwise get none, because computing metrics would
    then wait for that process forever.

    Args:
        lengths: `(N,)`, the length of each sample.
        batch_size: samples in a batch.
        shuffle: True in training, False in evaluation.
        seed: of the order in training.
        pool: how many batches to sort by length together; 1 gives plain random batches.
        rank, world_size: this process, and the number of processes that share the samples.

    Raises:
        UserError: if there are fewer samples to evaluate than processes.
    """

    def __init__(
        self,
        lengths: Tensor,
        batch_size: int,
        *,
        shuffle: bool,
        seed: int = 0,
        pool: int = 50,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if not shuffle:
            if len(lengths) < world_size:
                raise UserError(
                    f"{len(lengths)} examples are too few to evaluate with {world_size} processes: "
                    "lower trainer.devices"
                )
            batch_size = min(batch_size, len(lengths) // world_size)
        self.lengths, self.batch_size = lengths, batch_size
        self.shuffle, self.seed, self.pool = shuffle, seed, pool
        self.rank, self.world_size = rank, world_size
        self.epoch = 0
        self.sampler = self  # Lightning calls `batch_sampler.sampler.set_epoch`

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        batches = -(-len(self.lengths) // self.batch_size)
        if self.shuffle:
            return -(-batches // self.world_size)
        return len(range(self.rank, batches, self.world_size))

    def __iter__(self) -> Iterator[list[int]]:
        size, batches = self.batch_size, -(-len(self.lengths) // self.batch_size)
        if not self.shuffle:
            order = self.lengths.argsort(stable=True)
            numbers: Iterable[int] = range(self.rank, batches, self.world_size)
        else:
            generator = torch.Generator().manual_seed(1_000_003 * self.seed + self.epoch)
            order = torch.randperm(len(self.lengths), generator=generator)
            pools = order.split(size * self.pool)
            order = torch.cat([pool[self.lengths[pool].argsort(stable=True)] for pool in pools])
            steps = torch.randperm(len(self), generator=generator) * self.world_size + self.rank
            numbers = (steps % batches).tolist()  # the last step repeats the first batches
        for number in numbers:
            yield order[number * size : (number + 1) * size].tolist()


class SequenceLoader(DataLoader[SequenceBatch]):
    """A `DataLoader` of whole batches that can resume in the middle of an epoch."""

    def __init__(
        self, dataset: Dataset[SequenceBatch], sampler: Sampler[Any], **options: Any
    ) -> None:
        self._given = self._skip = 0
        super().__init__(
            dataset,
            batch_sampler=sampler,
            collate_fn=_as_it_is,
            generator=torch.Generator().manual_seed(0),  # otherwise it draws from the global one
            **options,
        )

    def __iter__(self) -> Iterator[SequenceBatch]:  # type: ignore[override]
        self._given, self._skip = self._skip, 0
        for batch in islice(super().__iter__(), self._given, None):
            self._given += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The epoch, and how many of its batches were given out."""
        return {"epoch": self.batch_sampler.epoch, "given": self._given}  # type: ignore[union-attr]

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Starts the next pass after the batches that the saved one gave out."""
        self.batch_sampler.set_epoch(state["epoch"])  # type: ignore[union-attr]
        self._skip = state["given"] % len(self)


def available(items: Iterable[T], most: int) -> Iterator[tuple[int, list[T]]]:
    """Groups of the items that have arrived so far: `(number of the first item, group)`.

    It yields a group as soon as one item has arrived. A slow source (a person, a pipe) gets its
    answer at once, and a fast one fills whole batches.

    Args:
        items: read in a thread of its own; an error in it is raised after the items before it.
        most: the largest number of items in a group.
    """
    waiting: Queue[Any] = Queue(maxsize=4 * most)
    end, failures = object(), list[BaseException]()

    def read() -> None:
        try:
            for item in items:
                waiting.put(item)
        except BaseException as error:  # noqa: BLE001 (raised again by the consumer)
            failures.append(error)
        waiting.put(end)

    Thread(target=read, daemon=True).start()
    number, group = 1, list[Any]()
    while not (group and group[-1] is end):
        number += len(group)
        group = [waiting.get()]
        while len(group) < most and not waiting.empty():
            group.append(waiting.get())
        if found := [item for item in group if item is not end]:
            yield number, found
    if failures:
        raise failures[0]


def _as_it_is(batch: Any) -> Any:
    return batch
