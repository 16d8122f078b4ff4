"""Simple baselines on the same splits, so you can judge a model's test metrics."""

from __future__ import annotations

import bz2
import lzma
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from seqmodels.data.sequences import SequenceDataModule

Metrics = dict[str, dict[str, float]]  # metric -> baseline -> value


def sequence_baselines(data: SequenceDataModule) -> Metrics:
    """Test metrics of the most frequent target, and of a model without a network.

    - Classes: `test/accuracy` of the most frequent class; for texts, of logistic regression on
      tf-idf; for series, of the nearest neighbour by the mean and deviation of each channel.
    - Tags: `test/accuracy` over all steps of the most frequent tag; for texts, of that of each
      token. A token that training never saw gets the most frequent tag of all.
    - Values: `test/rmse` and `test/mae` of the training mean, and of ridge regression on the same
      features as for classes. The errors are in the values' own units and average over all values
      that are not missing.

    Tf-idf is of words and pairs of words; for a model of characters or bytes, of up to four
    characters within a word.
    """
    compute = {"class": _of_classes, "tag": _of_tags, "value": _of_values}
    return compute[data.target](data) if data.target in compute else {}


def compressor_baselines(texts: Iterable[str]) -> Metrics:
    """`test/bits_per_byte` of general compressors for the texts of the test split, in UTF-8."""
    packers: dict[str, Any] = {"lzma": lzma.LZMACompressor(preset=9), "bz2": bz2.BZ2Compressor(9)}
    sizes, total = Counter[str](), 0
    for text in texts:
        content = text.encode()
        total += len(content)
        for name, packer in packers.items():
            sizes[name] += len(packer.compress(content))
    bits = {name: 8 * (sizes[name] + len(packers[name].flush())) / total for name in packers}
    return {"test/bits_per_byte": bits}


def _of_classes(data: SequenceDataModule) -> Metrics:
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    labels, test_labels = (data.examples[split].targets for split in ("train", "test"))
    majority = Counter(labels).most_common(1)[0][0]
    accuracy = {"majority class": float(np.mean([label == majority for label in test_labels]))}
    if data.inputs.kind == "tokens":
        name, model = "tf-idf + logistic regression", LogisticRegression(C=10, max_iter=1000)
    else:
        name, model = "nearest neighbour on channel means and deviations", KNeighborsClassifier(1)
    features, test_features = _features(data)
    accuracy[name] = float(model.fit(features, labels).score(test_features, test_labels))
    return {"test/accuracy": accuracy}


def _of_tags(data: SequenceDataModule) -> Metrics:
    train, test = (data.datasets[split] for split in ("train", "test"))
    tags, test_tags = _steps(train.targets), _steps(test.targets)
    overall = Counter(tags).most_common(1)[0][0]
    guesses = {"most frequent tag": [overall] * len(test_tags)}
    if data.inputs.kind == "tokens":
        seen: dict[int, Counter[int]] = defaultdict(Counter)
        for token, tag in zip(_steps(train.sequences), tags, strict=True):
            seen[token][tag] += 1
        frequent = {token: counts.most_common(1)[0][0] for token, counts in seen.items()}
        guessed = [frequent.get(token, overall) for token in _steps(test.sequences)]
        guesses["most frequent tag of each token"] = guessed
    accuracy = {name: float(np.mean(np.equal(g, test_tags))) for name, g in guesses.items()}
    return {"test/accuracy": accuracy}


def _steps(sequences: Iterable[Tensor]) -> list[int]:
    return [step for sequence in sequences for step in sequence.tolist()]


def _of_values(data: SequenceDataModule) -> Metrics:
    from sklearn.linear_model import Ridge

    values: Any = data.targets
    encoded: Any = [data.datasets[split].targets for split in ("train", "test")]
    train, test = (values.restore(targets.double()).numpy() for targets in encoded)
    features, test_features = _features(data)
    predicted = []
    for column in train.T:  # each has missing values of its own
        known = ~np.isnan(column)
        predicted.append(Ridge().fit(features[known], column[known]).predict(test_features))
    by = "tf-idf + ridge regression"
    if data.inputs.kind == "features":
        by = "ridge regression on channel means and deviations"
    errors = {"training mean": np.nanmean(train, axis=0) - test, by: np.transpose(predicted) - test}
    return {
        "test/rmse": {name: float(np.sqrt(np.nanmean(e**2))) for name, e in errors.items()},
        "test/mae": {name: float(np.nanmean(np.abs(e))) for name, e in errors.items()},
    }


def _features(data: SequenceDataModule) -> tuple[Any, Any]:
    # of the examples to train on and to test on
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import StandardScaler

    train, test = (data.examples[split].inputs for split in ("train", "test"))
    if data.inputs.kind == "features":
        scaler, summaries = StandardScaler(), [_summary(train), _summary(test)]
        return scaler.fit_transform(summaries[0]), scaler.transform(summaries[1])
    if data.baseline_inputs == "characters":
        tf_idf = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), sublinear_tf=True)
    else:
        words = r"(?u)\b\w+\b"
        tf_idf = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=words)
    return tf_idf.fit_transform(train), tf_idf.transform(test)


def _summary(series: Iterable[np.ndarray]) -> np.ndarray:
    rows = [np.concatenate([np.nanmean(x, 0), np.nanstd(x, 0)]) for x in series]
    return np.nan_to_num(np.stack(rows))
