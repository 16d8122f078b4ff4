"""What little would do on the same split, so that a newcomer can judge a number."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np

from seqmodels.data import SequenceDataModule
from seqmodels.data.split import Examples


def baselines(data: SequenceDataModule) -> dict[str, float]:
    """Test accuracies of the majority class and of a simple model; kept for the next run on it.

    Text: tf-idf of words and pairs of words (of characters up to 4, where the texts are single
    words) and logistic regression. Series: the nearest neighbour by each channel's mean and
    deviation.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    file = cache / "seqmodels" / "baselines" / f"{data.fingerprint}.json"
    if file.is_file():
        return json.loads(file.read_text())
    train, test = data.examples["train"], data.examples["test"]
    majority = Counter(train.labels).most_common(1)[0][0]
    found = {"majority class": float(np.mean([label == majority for label in test.labels]))}
    if data.preprocessor.kind == "tokens":
        found["tf-idf + logistic regression"] = _logistic_regression(train, test)
    else:
        found["nearest neighbour on channel means and deviations"] = _nearest_neighbour(train, test)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(found))
    partial.replace(file)
    return found


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
