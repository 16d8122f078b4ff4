"""What baselines read of the splits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch

from seqmodels.data import SeriesTable
from seqmodels.data.baseline_features import nearest_neighbour, step_windows


def test_windows_are_scaled_by_the_training_alone() -> None:
    random = np.random.default_rng(0)
    frames = [
        pd.DataFrame(
            {
                "s": np.repeat([*"abcd"], 9),
                "x": random.normal(level, 3, 36),
                "label": [*"abc"] * 12,
            }
        )
        for level in (1, 50, -90)
    ]
    data = SeriesTable(*frames, series="s", scale="none")
    data.setup()
    _, features, _ = step_windows(data)
    assert np.allclose(features["train"].mean(0), 0, atol=1e-6)
    assert np.allclose(features["train"].std(0), 1, atol=1e-6)
    assert features["test"].mean() < -20  # deviations of the training


def test_a_series_is_normalised_by_itself_and_its_shifted_copy_is_its_nearest() -> None:
    random = np.random.default_rng(0)
    train = [torch.tensor(random.normal(size=(12, 2)).cumsum(0)) for _ in range(10)]
    far = [100 * number + (2 + number) * series for number, series in enumerate(train)]
    labels = np.arange(10)
    splits: dict[Any, Any] = {"train": train, "validation": far, "test": far[::-1]}
    named = {"train": labels, "validation": labels, "test": labels[::-1]}
    predictions = nearest_neighbour(splits, named)["nearest neighbour, z-normalised"]
    assert predictions["validation"].tolist() == labels.tolist()
    assert predictions["test"].tolist() == labels[::-1].tolist()
