"""Windows of contiguous streams."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seqmodels.batch import SequenceBatch
from seqmodels.data.loading import SequenceLoader
from seqmodels.tasks.language_model import LanguageModel, PlainText
from seqmodels.tasks.language_model.corpus import TokenFile
from seqmodels.tasks.language_model.streams import StreamDataset, WindowSampler


def numbered(count: int) -> TokenFile:
    """The tokens 1, 2, 3, ... after the start 0: a token is its own place."""
    return TokenFile(np.arange(count + 1, dtype=np.uint16), num_bytes=2 * count, num_unknown=0)


def windows(
    count: int, streams: int, window: int, *, drop_last: bool, rank: int = 0, world: int = 1
) -> list[SequenceBatch]:
    dataset = StreamDataset(
        numbered(count), streams, drop_last=drop_last, rank=rank, world_size=world
    )
    return list(SequenceLoader(dataset, WindowSampler(dataset.steps, window)))


def test_training_windows_are_those_of_a_hand_written_loop() -> None:
    # PyTorch's word language model: batchify, then get_batch
    tokens, streams, window = list(range(0, 104)), 5, 7
    steps = (len(tokens) - 1) // streams
    rows = [tokens[row * steps : (row + 1) * steps + 1] for row in range(streams)]
    batches = windows(103, streams, window, drop_last=True)
    for number, start in enumerate(range(0, steps, window)):
        stop = min(start + window, steps)
        assert batches[number].inputs.tolist() == [row[start:stop] for row in rows]
        assert batches[number].targets.tolist() == [row[start + 1 : stop + 1] for row in rows]
    assert len(batches) == number + 1
    assert [batch.continues for batch in batches] == [False, True, True]
    assert batches[1].to("meta").continues


@given(
    count=st.integers(1, 200),
    streams=st.integers(1, 9),
    window=st.integers(1, 12),
    world=st.integers(1, 3),
)
def test_evaluation_scores_every_token_exactly_once(
    count: int, streams: int, window: int, world: int
) -> None:
    if count < streams or streams < world:
        return
    scored: list[int] = []
    number = set()
    for rank in range(world):
        batches = windows(count, streams, window, drop_last=False, rank=rank, world=world)
        number.add(len(batches))
        for batch in batches:
            valid = batch.targets != -100
            assert torch.equal(valid, batch.mask)
            # each token is predicted from the one before it
            assert torch.equal(batch.inputs[valid] + 1, batch.targets[valid])
            scored.extend(batch.targets[valid].tolist())
    assert sorted(scored) == list(range(1, count + 1))
    assert len(number) == 1  # no process waits for another


def test_what_is_unknown_has_to_be_spelled_out() -> None:
    tokens = TokenFile(np.zeros(11, np.uint8), num_bytes=40, num_unknown=2, unknown_bytes=10)
    dataset = StreamDataset(tokens, 2, drop_last=False)
    assert dataset.tokens_per_byte == 0.25 and dataset.spelling_bits_per_byte == 2.0
    task = LanguageModel({"inputs": "tokens", "num_inputs": 5}, {"hidden_size": 2})
    metrics = task.metrics_of_loss(torch.tensor(2.0), dataset)
    assert float(metrics["bits_per_byte"]) == pytest.approx(2 / math.log(2) / 4 + 2)


def test_processes_share_the_streams_of_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("".join(map(chr, range(200, 403))))  # each another token
    files = [str(tmp_path / "a.txt")] * 3
    data = PlainText(*files, tokenizer="char", batch_size=2, evaluation_streams=4, window=5)
    data.setup()
    seen = []
    for rank in range(2):
        monkeypatch.setattr(PlainText, "process", (rank, 2))
        batches = [*data.train_dataloader()]
        assert {len(batch) for batch in batches} == {2}
        seen += [token for batch in batches for token in batch.targets.flatten().tolist()]
    # what fills no step of all streams is left out
    assert sorted(seen) == data.tokens["train"].ids[1:201].tolist()
