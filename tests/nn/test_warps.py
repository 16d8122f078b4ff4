"""Training reads each series at a random speed that changes smoothly."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seqmodels.audit import audit
from seqmodels.data.loading import collate
from seqmodels.data.series_inputs import Series
from seqmodels.errors import UserError
from seqmodels.nn.warps import Warp
from seqmodels.tasks.classification import SequenceClassifier
from seqmodels.tasks.regression import Regressor

LENGTHS = [400, 37, 2, 1, 90]
FEATURES = {"inputs": "features", "num_inputs": 3, "classes": ["a", "b"]}


def series(lengths: list[int] = LENGTHS) -> list[torch.Tensor]:
    """The first column counts steps, so it says where a warp has read."""
    generator = torch.Generator().manual_seed(0)
    return [
        torch.cat([torch.arange(n).unsqueeze(1), torch.randn(n, 2, generator=generator)], dim=1)
        for n in lengths
    ]


def test_a_warp_interpolates_all_columns_at_the_same_places_and_never_reads_padding() -> None:
    batch = collate(series(), targets=torch.tensor([0, 1, 0, 1, 0]))
    for row, length in zip(batch.inputs, LENGTHS, strict=True):
        row[length:] = torch.nan
    speeds, lengths = [], set()
    for _ in range(100):
        read = Warp(0.3, FEATURES)(batch)
        assert torch.equal(read.targets, batch.targets) and read.lengths.device.type == "cpu"
        assert read.inputs.shape[1] == int(read.lengths.max())
        for row, kept, raw in zip(read.inputs, read.lengths.tolist(), series(), strict=True):
            places, *columns = row[:kept].T.numpy()
            for column, values in zip(columns, raw[:, 1:].T.numpy(), strict=True):
                expected = np.interp(places, np.arange(len(raw)), values)
                np.testing.assert_allclose(column, expected, atol=2e-4)
            assert places[0] == 0 and (kept == 1 or abs(places[-1] - (len(raw) - 1)) < 1e-3)
        speeds.append(np.diff(read.inputs[0, : read.lengths[0], 0].numpy()))
        lengths.add(int(read.lengths[0]))
    every = np.concatenate(speeds)
    assert 0.69 < every.min() < 0.8 and 1.2 < every.max() < 1.31
    assert (
        min(lengths) < 370
        and max(lengths) > 440
        and all(400 / 1.3 < n < 400 / 0.7 for n in lengths)
    )
    assert max(np.abs(np.diff(each)).max() for each in speeds) < 0.02  # smooth
    assert np.mean([np.ptp(each) for each in speeds]) > 0.1  # not one speed for all steps


def test_no_speed_differs_from_1_by_more_than_it_may() -> None:
    torch.manual_seed(0)
    read = Warp(0.8, FEATURES)(collate(series([300] * 800)))
    rows = zip(read.inputs[..., 0], read.lengths.tolist(), strict=True)
    speeds = torch.cat([places[:kept].diff() for places, kept in rows])
    assert 0.2 <= speeds.min() < 0.25 and 1.75 < speeds.max() <= 1.801


def test_steps_that_are_folded_are_warped_apart() -> None:
    raw = [np.stack([np.arange(n), np.sin(np.arange(n) / 9)], axis=1) for n in (300, 89)]
    encoder = Series(fold=3, add_scale=True)
    encoder.fit(raw)
    assert encoder.own_spec == {"folded": 3, "beside": 4} and encoder.num_inputs == 10
    batch = collate(encoder.encode(raw, "test"))
    read = Warp(0.3, {"inputs": "features", **encoder.own_spec})(batch)
    for number, kept in enumerate(read.lengths.tolist()):
        row, given = read.inputs[number, :kept], batch.inputs[number, : batch.lengths[number]]
        assert torch.equal(row[:, 6:], given[:1, 6:].expand(kept, 4))
        counts, waves = given[:, :6].reshape(-1, 2)[: len(raw[number])].T.numpy()
        places, column = row[:, :6].reshape(-1, 2).T.numpy()
        np.testing.assert_allclose(column, np.interp(places, counts, waves), atol=1e-3)
        assert (np.diff(places)[:-2] > 0).all()


def test_a_warp_is_for_training_alone_and_stands_before_windows() -> None:
    batch = collate(series())
    model = SequenceClassifier(FEATURES, {"hidden_size": 7}, "max_pool", warp=0.4)
    torch.manual_seed(0)
    first, second = model.train().cut(batch), model.cut(batch)
    assert not torch.equal(first.lengths, second.lengths)
    torch.manual_seed(0)  # what a resumed run restores
    assert torch.equal(model.cut(batch).inputs, first.inputs)
    assert model.eval().cut(batch) is batch
    both = SequenceClassifier(FEATURES, {"hidden_size": 7}, warp=0.4, crop=0.5, window=5).train()
    assert int(both.cut(batch).lengths.max()) == 5
    found = audit(model.as_function(), batch.inputs, batch.lengths)
    assert not found.findings, found.findings


def test_a_warp_of_tokens_is_refused_in_one_line() -> None:
    tokens = {"inputs": "tokens", "num_inputs": 9, "classes": ["a", "b"]}
    with pytest.raises(UserError, match="^model.warp is 0.2, but nothing lies between two tokens"):
        SequenceClassifier(tokens, {"hidden_size": 7}, warp=0.2)
    values = {
        "inputs": "tokens",
        "num_inputs": 9,
        "values": ["a"],
        "mean": [0.0],
        "deviation": [1.0],
    }
    with pytest.raises(UserError, match="^model.warp is 0.2.*: set it to 0$"):
        Regressor(values, {"hidden_size": 7}, "max_pool", warp=0.2)
