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
    """The scores of the most frequent class, and of logistic regression on the tf-idf of texts, or
    on what `channel_summaries` gives of series; of these, or of the nearest neighbour, if that is
    better on the validation, which chooses the strength of the regression, too."""
    targets = {split: cast(Tensor, data.datasets[split].targets) for split in SPLITS}
    labels = {split: classes.numpy() for split, classes in targets.items()}
    size = len(data.targets.names)

    def score(split: Split, made: np.ndarray) -> dict[str, Tensor]:
        return class_scores(class_sums(torch.from_numpy(made), targets[split], size)["classes"])

    majority = np.bincount(labels["train"]).argmax()
    models = {"majority class": {s: np.full(len(labels[s]), majority) for s in EVALUATED}}
    choices = logistic_regression(*baseline_features(data, size), labels)
    if data.inputs.kind == "features":
        series = {split: data.datasets[split].sequences for split in SPLITS}
        choices |= nearest_neighbour(series, labels)
    if choices:
        wanted = labels["validation"]
        right = {name: (made["validation"] == wanted).sum() for name, made in choices.items()}
        best = max(right, key=right.__getitem__)
        models[best] = choices[best]
    return baseline_rows(models, score)
