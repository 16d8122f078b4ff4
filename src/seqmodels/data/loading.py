"""From encoded sequences to batches: similar lengths together, in an order that can be resumed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from queue import Queue
from threading import Thread
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset, Sampler

from seqmodels.batch import SequenceBatch
from seqmodels.errors import UserError

T = TypeVar("T")


class SequenceDataset(Dataset[SequenceBatch]):
    """Sequences in memory, `(T,)` tokens or `(T, F)` features, with a target each.

    `__getitems__` makes a whole batch at once, so that a `DataLoader` has nothing to collate.
    """

    def __init__(self, sequences: Sequence[Tensor], targets: Tensor | None) -> None:
        self.sequences = sequences
        self.targets = targets
        self.lengths = torch.tensor([len(sequence) for sequence in sequences], dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.sequences)

    def __getitem__(self, index: int) -> SequenceBatch:
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> SequenceBatch:
        chosen = torch.tensor(indices)
        return SequenceBatch(
            inputs=pad_sequence([self.sequences[i] for i in indices], batch_first=True),
            lengths=self.lengths[chosen],
            targets=None if self.targets is None else self.targets[chosen],
        )


class LengthBatchSampler(Sampler[list[int]]):
    """Batches of samples of similar length.

    Training (`shuffle`): samples are shuffled, a pool of some batches at a time is sorted by
    length, and the batches are shuffled; the order depends on nothing but `(seed, epoch)`. With
    several processes, batches of the same step come from neighbouring lengths, so no process waits
    for another, and the last step is filled up so that all take the same number of steps.
    Evaluation: sorted by length, each sample exactly once over all processes; smaller batches where
    some process would have none, and the others would wait for its metrics.

    Args:
        lengths: `(N,)`.
        pool: how many batches are sorted together; 1 gives plain random batches.

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
                    "set trainer.devices lower"
                )
            batch_size = min(batch_size, len(lengths) // world_size)
        self.lengths, self.batch_size = lengths, batch_size
        self.shuffle, self.seed, self.pool = shuffle, seed, pool
        self.rank, self.world_size = rank, world_size
        self.epoch = 0
        self.sampler = self  # where Lightning looks for `set_epoch`

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        batches = -(-len(self.lengths) // self.batch_size)
        if self.shuffle:
            return -(-batches // self.world_size)
        return len(range(self.rank, batches, self.world_size))

    def __iter__(self) -> Iterator[list[int]]:
        if not self.shuffle:
            batches = self.lengths.argsort(stable=True).split(self.batch_size)
            yield from (batch.tolist() for batch in batches[self.rank :: self.world_size])
            return
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + self.epoch)
        order = torch.randperm(len(self.lengths), generator=generator)
        batches = [
            batch
            for pool in order.split(self.batch_size * self.pool)
            for batch in pool[self.lengths[pool].argsort(stable=True)].split(self.batch_size)
        ]
        batches.extend(islice(cycle(batches), -len(batches) % self.world_size))
        for step in torch.randperm(len(self), generator=generator).tolist():
            yield batches[step * self.world_size + self.rank].tolist()


class SequenceLoader(DataLoader[SequenceBatch]):
    """A `DataLoader` of batches that can go on in the middle of an epoch: `load_state_dict`."""

    def __init__(
        self, dataset: Dataset[SequenceBatch], sampler: Sampler[Any], **options: Any
    ) -> None:
        self._given = self._skip = 0
        super().__init__(
            dataset,
            batch_sampler=sampler,
            collate_fn=_as_it_is,
            generator=torch.Generator().manual_seed(0),  # leave the global random state alone
            **options,
        )

    def __iter__(self) -> Iterator[SequenceBatch]:  # type: ignore[override]
        self._given, skip, self._skip = self._skip, self._skip, 0
        for number, batch in enumerate(super().__iter__()):
            if number >= skip:
                self._given += 1
                yield batch

    def state_dict(self) -> dict[str, int]:
        """How many batches of which epoch were given out."""
        return {"epoch": self.batch_sampler.epoch, "given": self._given}  # type: ignore[union-attr]

    def load_state_dict(self, state: dict[str, int]) -> None:
        """The next pass goes on where the saved one stood."""
        self.batch_sampler.set_epoch(state["epoch"])  # type: ignore[union-attr]
        self._skip = state["given"] % len(self)


def available(items: Iterable[T], most: int) -> Iterator[tuple[int, list[T]]]:
    """What has come in so far, in groups of at most `most`: `(number of the first, group)`.

    A group is given out as soon as there is one item, so that a slow source (a person, a pipe) is
    answered at once, and a fast one in full batches.
    """
    end = object()
    waiting: Queue[Any] = Queue(maxsize=4 * most)

    def read() -> None:
        try:
            for item in items:
                waiting.put(item)
            waiting.put(end)
        except BaseException as error:  # noqa: BLE001 (raised again where the items are used)
            waiting.put(_Failure(error))

    Thread(target=read, daemon=True).start()
    number, open_ended = 1, True
    while open_ended:
        group = [waiting.get()]
        while len(group) < most and not waiting.empty():
            group.append(waiting.get())
        last = group[-1]
        if last is end or isinstance(last, _Failure):
            open_ended = False
            group.pop()
        if group:
            yield number, group
        number += len(group)
        if isinstance(last, _Failure):
            raise last.error


@dataclass(frozen=True)
class _Failure:
    error: BaseException


def _as_it_is(batch: Any) -> Any:
    return batch
