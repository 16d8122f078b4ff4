"""Classes without a network: the most frequent one, and logistic regression."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from seqmodels.data.baseline_features import baseline_features, baseline_rows
from seqmodels.data.module import EVALUATED, SPLITS, Split
from seqmodels.data.sequences import SequenceDataModule
from seqmodels.engine.class_scores import class_scores, class_sums
from seqmodels.target import Baselines

STRENGTHS = (0.1, 1.0, 10.0, 100.0)  # the inverses of regularisation to choose from
ITERATIONS, TOLERANCE = 1_000, 1e-5  # more exact ones predict the same


def class_baselines(data: SequenceDataModule) -> Baselines:
    """The scores of the most frequent class, and of logistic regression on the tf-idf of texts, or
    on the mean and deviation of each channel of series; validation chooses its strength."""
    targets = {split: cast(Tensor, data.datasets[split].targets) for split in SPLITS}
    labels = {split: classes.numpy() for split, classes in targets.items()}
    size = len(data.targets.names)

    def score(split: Split, made: np.ndarray) -> dict[str, Tensor]:
        return class_scores(class_sums(torch.from_numpy(made), targets[split], size)["classes"])

    majority = np.bincount(labels["train"]).argmax()
    models = {"majority class": {s: np.full(len(labels[s]), majority) for s in EVALUATED}}
    rows, features, by = baseline_features(data, size)
    if len({*(known := labels["train"][rows]).tolist()}) > 1:
        choices = _predictions(features, known)
        best = max(choices, key=lambda made: (made["validation"] == labels["validation"]).sum())
        models[f"logistic regression on {by}"] = best
    return baseline_rows(models, score)


def _predictions(features: dict[str, Any], labels: np.ndarray) -> Iterator[dict[Split, np.ndarray]]:
    """Of a model of each strength, which begins with the weights of the one before."""
    from sklearn.exceptions import ConvergenceWarning  # slow to import
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=ITERATIONS, tol=TOLERANCE, warm_start=True)
    for strength in STRENGTHS:
        model.set_params(C=strength)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(features["train"], labels)
        yield {split: model.predict(features[split]) for split in EVALUATED}
