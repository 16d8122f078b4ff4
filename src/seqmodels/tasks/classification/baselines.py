"""Classes without a network: the most frequent one, linear models, nearest neighbours."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, cast

import numpy as np
from torch import Tensor

from seqmodels.data.baseline_features import (
    SHORTEST,
    VALUES,
    channel_summaries,
    longest_series,
    n_gram_counts,
    training_examples,
)
from seqmodels.data.examples import take
from seqmodels.data.module import EVALUATED, SPLITS, Split
from seqmodels.data.sequences import SequenceDataModule
from seqmodels.data.series_inputs import interpolate
from seqmodels.target import Baselines

log = logging.getLogger(__name__)

Predictions = Mapping[Split, np.ndarray]  # the class of each example
Choices = Iterator[Predictions]
Models = Iterator[tuple[str, Choices]]  # name, and predictions to choose from
CELLS = 2_000_000_000  # of dynamic time warping's tables, times channels: about 15 s


def class_baselines(data: SequenceDataModule) -> Baselines:
    """`accuracy` of the most frequent class, and of models that are chosen on validation.

    For texts, of logistic regression on tf-idf, and on naive-Bayes features; how strongly to
    regularise, and to smooth counts, is what is chosen. For series, of the nearest neighbour by the
    mean and deviation of each channel, and by all steps, padded with zeros (Euclidean; if numba is
    installed, also dynamic time warping where that is quick), and of MiniRocket, which needs numba.
    """
    targets = {split: cast(Tensor, data.datasets[split].targets) for split in SPLITS}
    labels = {split: classes.numpy() for split, classes in targets.items()}
    majority = np.bincount(labels["train"]).argmax()
    found: Baselines = {f"{split}/accuracy": {} for split in EVALUATED}

    def add(name: str, predictions: Predictions | None) -> None:
        for split in EVALUATED:
            right = None if predictions is None else predictions[split] == labels[split]
            found[f"{split}/accuracy"][name] = None if right is None else float(right.mean())

    def score(made: Predictions) -> int:
        return int((made["validation"] == labels["validation"]).sum())

    add("majority class", {split: np.full(len(labels[split]), majority) for split in EVALUATED})
    models = _of_texts if data.inputs.kind == "tokens" else _of_series
    started = time.perf_counter()
    for name, choices in models(data, labels["train"]):
        add(name, max(choices, key=score, default=None))
        log.info(f"baseline {name}: {time.perf_counter() - started:.1f} s")
        started = time.perf_counter()
    return found


def _of_texts(data: SequenceDataModule, labels: np.ndarray) -> Models:
    from seqmodels.tasks.classification.linear import classifiers

    chosen, on = training_examples(data)
    labels = labels[chosen]
    classes = len(set(labels))
    if classes < 2:
        log.info("no baseline but the majority class: it is the only one to train on")
        return
    counts = n_gram_counts(data, chosen, classes)
    for name, models in classifiers(classes).items():
        fitted = (model.fit(counts["train"], labels) for model in models)
        choices = ({s: model.predict(counts[s]) for s in EVALUATED} for model in fitted)
        yield f"{name} + logistic regression{on}", choices


def _of_series(data: SequenceDataModule, labels: np.ndarray) -> Models:
    from sklearn.neighbors import KNeighborsClassifier

    chosen, on = training_examples(data)
    labels = labels[chosen]
    features = channel_summaries(data, chosen)
    model = KNeighborsClassifier(1).fit(features["train"], labels)
    name = f"nearest neighbour on channel means and deviations{on}"
    yield name, iter([{split: model.predict(features[split]) for split in EVALUATED}])
    series = padded(take(data.examples["train"].inputs, chosen), longest_series(data)[0])
    has_numba = find_spec("numba") is not None
    whole = KNeighborsClassifier(1, algorithm="brute").fit(series.reshape(len(series), -1), labels)
    made = _in_blocks(data, lambda block: whole.predict(block.reshape(len(block), -1)))
    yield f"nearest neighbour on the series{on}", iter([made])
    if has_numba and _cells(data, series) <= CELLS:
        yield f"nearest neighbour by dynamic time warping{on}", _warped(data, series, labels)
    if series.shape[-1] < SHORTEST:
        steps = series.shape[-1]
        log.info(f"no baseline MiniRocket: it needs {SHORTEST} steps, the longest has {steps}")
    elif len(set(labels)) < 2:
        log.info("no baseline MiniRocket: the series that it is trained on are of one class")
    elif has_numba:
        yield f"MiniRocket + ridge classifier{on}", _minirocket(data, series, labels)
    else:
        yield "MiniRocket (left out: pip install numba)", iter([])


def _warped(data: SequenceDataModule, series: np.ndarray, labels: np.ndarray) -> Choices:
    from sktime.classification.distance_based import KNeighborsTimeSeriesClassifier

    model = KNeighborsTimeSeriesClassifier(1, distance="dtw").fit(series, labels)
    yield _in_blocks(data, model.predict)


def _minirocket(data: SequenceDataModule, series: np.ndarray, labels: np.ndarray) -> Choices:
    from seqmodels.tasks.classification.linear import minirocket

    convolve, classify = minirocket()
    classify.fit(convolve.fit_transform(series), labels)
    yield _in_blocks(data, lambda block: classify.predict(convolve.transform(block)))


def _in_blocks(
    data: SequenceDataModule, predict: Callable[[np.ndarray], np.ndarray]
) -> Predictions:
    longest, channels = longest_series(data)
    size = max(1, min(1_000, VALUES // (longest * channels)))

    def of(split: Split) -> np.ndarray:
        series = data.examples[split].inputs
        blocks = np.split(np.arange(len(series)), range(size, len(series), size))
        return np.concatenate([predict(padded(take(series, rows), longest)) for rows in blocks])

    return {split: of(split) for split in EVALUATED}


def padded(series: Sequence[Any], longest: int) -> np.ndarray:
    """`(N, channels, steps)`: with zeros at the end; what is longer than in training is cut."""
    made = np.zeros((len(series), longest, np.shape(series[0])[1]), np.float32)
    for row, each in zip(made, series, strict=True):
        row[: len(each)] = interpolate(np.array(each, np.float64), "series")[:longest]
    return made.transpose(0, 2, 1)


def _cells(data: SequenceDataModule, series: np.ndarray) -> int:
    # of the tables that dynamic time warping fills
    evaluated = sum(len(data.examples[split]) for split in EVALUATED)
    return len(series) * evaluated * series.shape[1] * series.shape[2] ** 2
