"""Classes without a network: the most frequent one, and logistic regression."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor

from seqmodels.data.baseline_features import (
    baseline_features,
    baseline_rows,
    logistic_regression,
    nearest_neighbour,
)
from seqmodels.data.examples import EVALUATED, SPLITS, Split
from seqmodels.data.sequences import SequenceDataModule
from seqmodels.engine.class_task import class_scores, class_sums
from seqmodels.target import Baselines


def class_baselines(data: SequenceDataModule) -> Baselines:
    """Returns the scores of the most frequent class; of logistic regression on the tf-idf of texts,
    or on what `channel_summaries` returns for series; and, for series, of the nearest neighbour, of
    series as they are and of z-normalised ones."""
    targets = {split: cast(Tensor, data.datasets[split].targets) for split in SPLITS}
    labels = {split: classes.numpy() for split, classes in targets.items()}
    num_classes = len(data.targets.names)

    def score(split: Split, predicted: np.ndarray) -> dict[str, Tensor]:
        sums = class_sums(torch.from_numpy(predicted), targets[split], num_classes)
        return class_scores(sums["classes"])

    most_frequent = np.bincount(labels["train"]).argmax()
    predictions = {
        "majority class": {split: np.full(len(labels[split]), most_frequent) for split in EVALUATED}
    }
    predictions |= logistic_regression(*baseline_features(data, num_classes), labels)
    if data.inputs.kind == "features":
        series = {split: data.datasets[split].sequences for split in SPLITS}
        predictions |= nearest_neighbour(series, labels)
    wrong_rows = {}
    for name, by_split in predictions.items():
        is_wrong = by_split["test"] != labels["test"]
        wrong_rows[name] = np.flatnonzero(is_wrong).tolist()
    return baseline_rows(predictions, score)._replace(wrong_rows=wrong_rows)
