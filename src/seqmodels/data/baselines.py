"""What little would do on the same split, so that a newcomer can judge a number."""

from __future__ import annotations

import bz2
import json
import lzma
from collections import Counter
from typing import Any

import numpy as np

from seqmodels.data import DataModule, SequenceDataModule, StreamDataModule
from seqmodels.data.corpus import texts
from seqmodels.data.split import Examples
from seqmodels.files import cache_folder, write_json


def baselines(data: DataModule) -> dict[str, dict[str, float]]:
    """Test metrics of simple means, `metric -> what gives it -> value`; kept for the next run.

    Labelled texts: the majority class; tf-idf of words and pairs of words (of characters up to 4,
    where the texts are single words) and logistic regression. Labelled series: the majority class;
    the nearest neighbour by each channel's mean and deviation. Text for a language model: what
    general compressors need for the same bytes.
    """
    file = cache_folder("baselines") / f"{data.fingerprint}.json"
    if file.is_file():
        return json.loads(file.read_text())
    if isinstance(data, SequenceDataModule):
        found = {"test/accuracy": _classifiers(data)}
    elif isinstance(data, StreamDataModule):
        found = {"test/bits_per_byte": _compressors(data)}
    else:
        return {}
    write_json(file, found)
    return found


def _classifiers(data: SequenceDataModule) -> dict[str, float]:
    train, test = data.examples["train"], data.examples["test"]
    majority = Counter(train.labels).most_common(1)[0][0]
    found = {"majority class": float(np.mean([label == majority for label in test.labels]))}
    if data.preprocessor.kind == "tokens":
        found["tf-idf + logistic regression"] = _logistic_regression(train, test)
    else:
        found["nearest neighbour on channel means and deviations"] = _nearest_neighbour(train, test)
    return found


def _compressors(data: StreamDataModule) -> dict[str, float]:
    packers: dict[str, Any] = {
        "lzma": lzma.LZMACompressor(preset=9),
        "bz2": bz2.BZ2Compressor(9),
    }
    sizes, total = dict.fromkeys(packers, 0), 0
    for text in texts(data.parts["test"], data.encoding):
        content = text.encode()
        total += len(content)
        for name, packer in packers.items():
            sizes[name] += len(packer.compress(content))
    return {name: 8 * (sizes[name] + len(packers[name].flush())) / total for name in packers}


def _logistic_regression(train: Examples, test: Examples) -> float:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    single_words = all(len(text.split()) == 1 for text in train.inputs)
    vectorizer = (
        TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), sublinear_tf=True)
        if single_words
        else TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
    )
    model = make_pipeline(vectorizer, LogisticRegression(C=10, max_iter=1000))
    model.fit(train.inputs, train.labels)
    return float(model.score(test.inputs, test.labels))


def _nearest_neighbour(train: Examples, test: Examples) -> float:
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def summary(examples: Examples) -> np.ndarray:
        return np.nan_to_num(
            np.stack([np.concatenate([np.nanmean(x, 0), np.nanstd(x, 0)]) for x in examples.inputs])
        )

    model = make_pipeline(StandardScaler(), KNeighborsClassifier(n_neighbors=1))
    model.fit(summary(train), train.labels)
    return float(model.score(summary(test), test.labels))
