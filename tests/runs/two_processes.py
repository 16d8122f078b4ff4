"""One process that trains as two would, and what to compare of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from seqmodels.data.loading import LengthBatchSampler
from seqmodels.runs.checkpoint import read_checkpoint


class JoinedBatches(LengthBatchSampler):
    """In one process, the batches that two of half the size would train on at the same step."""

    def __iter__(self) -> Iterator[list[int]]:
        if not self.shuffle:
            yield from super().__iter__()
            return
        half = (self.lengths, self.batch_size // 2)
        how = {"shuffle": True, "seed": self.seed, "pool": self.pool, "world_size": 2}
        ranks = [LengthBatchSampler(*half, rank=rank, **how) for rank in (0, 1)]
        for rank in ranks:
            rank.set_epoch(self.epoch)
        yield from (first + second for first, second in zip(*ranks))


def same_weights(two: Path, one: Path, *, rtol: float, atol: float) -> int:
    """Asserts that two runs ended with the same weights after as many steps; returns how many."""
    ours, theirs = (read_checkpoint(run / "checkpoints" / "last.ckpt") for run in (two, one))
    assert ours["global_step"] == theirs["global_step"]
    for name, weight in theirs["state_dict"].items():
        torch.testing.assert_close(ours["state_dict"][name], weight, rtol=rtol, atol=atol)
    return int(theirs["global_step"])
