"""Long sequences are read in windows: at random in training, all of them otherwise."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from seqmodels.audit import assert_clean
from seqmodels.batch import SequenceBatch
from seqmodels.data.loading import collate
from seqmodels.nn.windows import random_windows
from seqmodels.tasks.classification import SequenceClassifier
from tests.shipped import CLASSIFIER_HEADS

LENGTHS = [3, 5, 6, 11, 17, 1]
SHAPES = {"tokens": (), "features": (4,), "words with characters": (3,)}


def rows(kind: str, lengths: list[int] = LENGTHS) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    if kind == "features":
        return [torch.randn(length, 4, generator=generator) for length in lengths]
    return [torch.randint(2, 40, (n, *SHAPES[kind]), generator=generator) for n in lengths]


def labelled_rows(kind: str) -> SequenceBatch:
    return collate(rows(kind), targets=torch.tensor([0, 1, 2, 0, 1, 2]))


def task(head: str = "max_pool", window: int | None = 5) -> SequenceClassifier:
    torch.manual_seed(1)
    data = {"inputs": "tokens", "num_inputs": 40, "classes": ["a", "b", "c"]}
    return SequenceClassifier(data, {"hidden_size": 7, "num_layers": 2}, head, window=window).eval()


@pytest.mark.parametrize("head", CLASSIFIER_HEADS)
def test_the_logits_are_the_mean_over_windows_that_cover_the_sequence(head: str) -> None:
    windowed, plain = task(head), task(head, window=None)
    found = windowed(collate(rows("tokens")))
    for number, row in enumerate(rows("tokens")):
        length = len(row)
        count = max(-(-length // 5), 1)
        starts = [(length - 5) * n // (count - 1) if count > 1 else 0 for n in range(count)]
        windows = [row[start : start + 5] for start in starts]
        covered = {step for start in starts for step in range(start, min(start + 5, length))}
        assert covered == set(range(length))
        logits = torch.stack([plain(collate([window]))[0] for window in windows])
        assert torch.allclose(found[number], logits.mean(dim=0), atol=1e-6)


@pytest.mark.parametrize("kind", SHAPES)
def test_training_takes_every_window_and_no_padding(kind: str) -> None:
    batch = labelled_rows(kind)
    seen: list[set[int]] = [set() for _ in LENGTHS]
    for _ in range(300):
        cut = random_windows(batch, 5)
        assert cut.inputs.shape[1] == 5 and torch.equal(cut.targets, batch.targets)
        assert cut.lengths.tolist() == [min(length, 5) for length in LENGTHS]
        for number, (row, length) in enumerate(zip(rows(kind), cut.lengths.tolist())):
            window = cut.inputs[number, :length]
            starts = range(len(row) - length + 1)
            [start] = [n for n in starts if torch.equal(row[n : n + length], window)]
            seen[number].add(start)
    assert [len(starts) for starts in seen] == [max(length - 4, 1) for length in LENGTHS]


def test_the_loss_is_that_of_the_mean_and_training_reads_one_window() -> None:
    model, batch = task(), labelled_rows("tokens")
    model.split = "validation"
    expected = F.cross_entropy(model(batch), batch.targets)
    assert torch.allclose(model.step(batch).score.loss, expected)
    states = model.network.encode(batch)
    assert states.windows.tolist() == [1, 1, 2, 3, 4, 1] and len(states.output) == 12
    assert model.train().network.encode(batch).windows is None


def test_a_model_with_windows_is_clean() -> None:
    batch = labelled_rows("tokens")
    assert_clean(task().network, batch.inputs, batch.lengths)
