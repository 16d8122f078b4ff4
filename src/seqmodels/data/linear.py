"""Linear classifiers of texts, to compare a network with: n-grams and logistic regression."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

COEFFICIENTS = 500_000  # at most: L-BFGS remembers some twenty numbers for each
ITERATIONS = 50
FTOL = 1e-5
TF_IDF_C, RATIOS_C, SMOOTHING = (1.0, 10.0, 100.0), (0.03, 0.3, 3.0), (0.1, 1.0)

Predictions = Mapping[str, np.ndarray]  # split -> the class of each example


def n_grams(inputs: str, lowercase: bool, classes: int = 1) -> Any:
    """A `CountVectorizer` of one or two words, or of up to four characters within a word.

    Args:
        inputs: `words` are runs of letters and digits, and runs of punctuation; or `characters`.
        classes: each of which has a coefficient for each n-gram. The most frequent n-grams are
            kept, as far as the memory for their coefficients goes.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    how: dict[str, Any] = {"token_pattern": r"\w+|[^\w\s]+", "ngram_range": (1, 2)}
    if inputs == "characters":
        how = {"analyzer": "char_wb", "ngram_range": (1, 4)}
    return CountVectorizer(lowercase=lowercase, max_features=COEFFICIENTS // classes, **how)


def tf_idf(counts: Mapping[str, Any]) -> dict[str, Any]:
    """Tf-idf, with the logarithm of the counts, from the n-grams in each split, sparse `(N, F)`."""
    from sklearn.feature_extraction.text import TfidfTransformer

    weigh = TfidfTransformer(sublinear_tf=True).fit(counts["train"]).transform
    return {split: weigh(each) for split, each in counts.items()}


def with_tf_idf(
    counts: Mapping[str, Any], labels: np.ndarray, classes: int
) -> Iterator[Predictions]:
    """What logistic regression on tf-idf predicts for each split but `train`, for each `TF_IDF_C`.

    Args:
        counts: of the n-grams in each split, sparse `(N, F)`.
        labels: `(N,)` of the split `train`, from 0.
        classes: how many there are.
    """
    yield from _predictions(tf_idf(counts), labels, np.ones((1, classes)), TF_IDF_C)


def with_ratios(
    counts: Mapping[str, Any], labels: np.ndarray, classes: int
) -> Iterator[Predictions]:
    """The same for naive-Bayes features: whether a text has an n-gram, times the logarithm of how
    much more frequent it is in a class than in the others (Wang and Manning 2012,
    https://aclanthology.org/P12-2018); for each `SMOOTHING` and `RATIOS_C`."""
    features = {split: (each > 0).astype(np.float64) for split, each in counts.items()}
    inside = features["train"].T @ np.eye(classes)[labels]  # (F, K): texts of each class with it
    outside = inside.sum(1, keepdims=True) - inside
    for smoothing in SMOOTHING:
        p, q = inside + smoothing, outside + smoothing
        scale = np.log(p / p.sum(0)) - np.log(q / q.sum(0))
        yield from _predictions(features, labels, scale, RATIOS_C)


def _predictions(
    features: Mapping[str, Any], labels: np.ndarray, scale: np.ndarray, choices: Sequence[float]
) -> Iterator[Predictions]:
    weights = None
    for c in choices:
        weights = logistic_regression(features["train"], labels, scale, c, weights)
        matrix, bias = scale * weights[:-1], weights[-1]
        yield {
            split: (each @ matrix + bias).argmax(1)
            for split, each in features.items()
            if split != "train"
        }


def logistic_regression(
    features: Any, labels: np.ndarray, scale: np.ndarray, c: float, start: np.ndarray | None = None
) -> np.ndarray:
    """The weights `(F + 1, K)` that minimise `c * cross-entropy + |weights[:-1]|^2 / 2`, where the
    logit of class k is `(features * scale[:, k]) @ weights[:-1, k] + weights[-1, k]`.

    scikit-learn's would need a copy of the features for each class, and would hold up Ctrl-C.

    Args:
        features: sparse `(N, F)`.
        labels: `(N,)` from 0 to K - 1.
        scale: `(F, K)` or `(1, K)`, of each feature for each class.
        c: how little the weights are held back.
        start: weights to start from; None: zeros.
    """
    from scipy.optimize import minimize
    from scipy.special import logsumexp

    shape = features.shape[1] + 1, scale.shape[1]
    members, transposed = np.eye(shape[1])[labels], features.T.tocsr()

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(shape)
        logits = features @ (scale * weights[:-1]) + weights[-1]
        logits -= logsumexp(logits, axis=1, keepdims=True)
        error = c * (np.exp(logits) - members)
        gradient = np.vstack([scale * (transposed @ error) + weights[:-1], error.sum(0)])
        loss = -c * (logits * members).sum() + (weights[:-1] ** 2).sum() / 2
        return loss, gradient.ravel()

    first = np.zeros(shape) if start is None else start
    options = {"maxiter": ITERATIONS, "ftol": FTOL, "maxcor": 5}
    found = minimize(objective, first.ravel(), jac=True, method="L-BFGS-B", options=options)
    return found.x.reshape(shape)
