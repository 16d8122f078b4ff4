"""One process that trains as two would, and what to compare of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from seqmodels.data.loading import LengthBatchSampler
from seqmodels.runs.checkpoint import read_checkpoint
from tests.conftest import Script, result_of
from tests.predictions import rows_of


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


def train_as_one(
    script: Script,
    process: Script,
    folder: Path,
    *words: str,
    batch_size: int,
    rtol: float = 1e-4,
    atol: float = 1e-5,
) -> int:
    """Trains with two processes in `two`, and with one, on batches twice as large, in `one`.

    Asserts that weights and metrics are the same; returns the number of steps.
    """
    two = ("trainer.devices=2", "trainer.strategy=ddp", f"data.batch_size={batch_size}")
    process("train.py", *words, *two, "folder=two")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seqmodels.data.module.LengthBatchSampler", JoinedBatches)
        script("train.py", *words, f"data.batch_size={2 * batch_size}", "folder=one")
    ours, theirs = (
        read_checkpoint(folder / n / "checkpoints" / "last.ckpt") for n in ("two", "one")
    )
    assert ours["global_step"] == theirs["global_step"]
    for name, weight in theirs["state_dict"].items():
        torch.testing.assert_close(ours["state_dict"][name], weight, rtol=rtol, atol=atol)
    expected = result_of(folder / "one")["metrics"]
    assert result_of(folder / "two")["metrics"] == pytest.approx(expected, abs=1e-3)
    rows, others = (rows_of(folder / name / "predictions.csv") for name in ("two", "one"))
    assert [row["row"] for row in rows] == [row["row"] for row in others] and rows
    for row, other in zip(rows, others, strict=True):
        assert row["target"] == other["target"] if "target" in row else True
        assert row["loss"] == pytest.approx(other["loss"], abs=1e-2)
    return int(theirs["global_step"])
