"""Simple baselines on the same splits, so you can judge a model's test metrics."""

from __future__ import annotations

import bz2
import lzma
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from seqmodels.data.loading import SequenceDataset
from seqmodels.data.split import Examples

Metrics = dict[str, dict[str, float]]  # metric -> baseline -> value


@dataclass(frozen=True)
class EncodedSplits:
    """The splits of a data module, raw and encoded.

    Args:
        kind: of the inputs: `tokens` (the raw ones are texts) or `features` (series).
        examples: raw inputs and targets by split.
        datasets: the same, encoded.
    """

    kind: str
    examples: Mapping[str, Examples]
    datasets: Mapping[str, SequenceDataset]


def class_baselines(data: EncodedSplits) -> Metrics:
    """`test/accuracy` of the most frequent class, and of a classifier without a network.

    For texts, that is logistic regression on tf-idf of words and pairs of words, or of up to four
    characters if the texts are single words. For series, it is the nearest neighbour by the mean
    and deviation of each channel.
    """
    train, test = data.examples["train"], data.examples["test"]
    majority = Counter(train.targets).most_common(1)[0][0]
    accuracy = {"majority class": float(np.mean([label == majority for label in test.targets]))}
    if data.kind == "tokens":
        accuracy["tf-idf + logistic regression"] = _logistic_regression(train, test)
    else:
        accuracy["nearest neighbour on channel means and deviations"] = _nearest_neighbour(
            train, test
        )
    return {"test/accuracy": accuracy}


def tag_baselines(data: EncodedSplits) -> Metrics:
    """`test/accuracy` over all steps of the most frequent tag, and of that of each token.

    A token that training never saw gets the most frequent tag of all.
    """
    (tokens, tags), (test_tokens, test_tags) = (_steps(data, split) for split in ("train", "test"))
    size = max(int(tags.max()), int(test_tags.max())) + 1
    overall = int(np.bincount(tags, minlength=size).argmax())
    accuracy = {"most frequent tag": float(np.mean(test_tags == overall))}
    if data.kind == "tokens":
        counts = np.zeros((max(int(tokens.max()), int(test_tokens.max())) + 1, size), np.int64)
        np.add.at(counts, (tokens, tags), 1)
        frequent = np.where(counts.any(axis=1), counts.argmax(axis=1), overall)
        accuracy["most frequent tag of each token"] = float(
            np.mean(frequent[test_tokens] == test_tags)
        )
    return {"test/accuracy": accuracy}


def value_baselines(data: EncodedSplits, restore: Callable[[Tensor], Tensor]) -> Metrics:
    """`test/rmse` and `test/mae` of the training mean, and of a linear model without a network.

    The linear model is ridge regression on tf-idf of words for texts, and on the mean and deviation
    of each channel for series. Both errors are in the values' own units and average over all values
    that are not missing.

    Args:
        restore: from standardised values to their own units.
    """
    train, test = (_values(data, split, restore) for split in ("train", "test"))
    mean = np.broadcast_to(np.nanmean(train, axis=0), test.shape)
    errors = {"training mean": mean - test, _RIDGE[data.kind]: _ridge(data, train) - test}
    return {
        "test/rmse": {name: float(np.sqrt(np.nanmean(e**2))) for name, e in errors.items()},
        "test/mae": {name: float(np.nanmean(np.abs(e))) for name, e in errors.items()},
    }


def compressor_baselines(texts: Iterable[str]) -> Metrics:
    """`test/bits_per_byte` of general compressors for the texts of the test split, in UTF-8."""
    packers: dict[str, Any] = {
        "lzma": lzma.LZMACompressor(preset=9),
        "bz2": bz2.BZ2Compressor(9),
    }
    sizes, total = dict.fromkeys(packers, 0), 0
    for text in texts:
        content = text.encode()
        total += len(content)
        for name, packer in packers.items():
            sizes[name] += len(packer.compress(content))
    bits = {name: 8 * (sizes[name] + len(packers[name].flush())) / total for name in packers}
    return {"test/bits_per_byte": bits}


def _logistic_regression(train: Examples, test: Examples) -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(_tf_idf(train.inputs), LogisticRegression(C=10, max_iter=1000))
    model.fit(train.inputs, train.targets)
    return float(model.score(test.inputs, test.targets))


def _tf_idf(texts: Iterable[str]) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    if all(len(text.split()) == 1 for text in texts):
        return TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), sublinear_tf=True)
    return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")


def _nearest_neighbour(train: Examples, test: Examples) -> float:
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), KNeighborsClassifier(n_neighbors=1))
    model.fit(_summary(train), train.targets)
    return float(model.score(_summary(test), test.targets))


def _summary(examples: Examples) -> np.ndarray:
    return np.nan_to_num(
        np.stack([np.concatenate([np.nanmean(x, 0), np.nanstd(x, 0)]) for x in examples.inputs])
    )


_RIDGE = {
    "tokens": "tf-idf + ridge regression",
    "features": "ridge regression on channel means and deviations",
}


def _ridge(data: EncodedSplits, values: np.ndarray) -> np.ndarray:
    from sklearn.linear_model import Ridge
    from sklearn.preprocessing import StandardScaler

    train, test = data.examples["train"], data.examples["test"]
    if data.kind == "tokens":
        vectorizer = _tf_idf(train.inputs)
        features, test_features = (
            vectorizer.fit_transform(train.inputs),
            vectorizer.transform(test.inputs),
        )
    else:
        scaler = StandardScaler()
        features, test_features = (
            scaler.fit_transform(_summary(train)),
            scaler.transform(_summary(test)),
        )
    columns = []
    for column in values.T:  # each has missing values of its own
        known = ~np.isnan(column)
        columns.append(Ridge().fit(features[known], column[known]).predict(test_features))
    return np.stack(columns, axis=1)


def _steps(data: EncodedSplits, split: str) -> tuple[np.ndarray, np.ndarray]:
    dataset = data.datasets[split]
    assert dataset.targets is not None
    inputs, tags = (
        np.concatenate([*map(np.asarray, x)]) for x in (dataset.sequences, dataset.targets)
    )
    return inputs, tags


def _values(data: EncodedSplits, split: str, restore: Callable[[Tensor], Tensor]) -> np.ndarray:
    targets = data.datasets[split].targets
    assert isinstance(targets, Tensor)
    return restore(targets.double()).numpy()
