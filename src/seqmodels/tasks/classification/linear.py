"""Linear classifiers: logistic regression on n-grams of texts, ridge regression on convolutions.

scikit-learn is slow to import: import this module where it is needed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import diags_array
from sklearn.base import TransformerMixin
from sklearn.linear_model import LogisticRegression, RidgeClassifierCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import Binarizer, StandardScaler

from seqmodels.data.baseline_features import tf_idf

ITERATIONS, TOLERANCE = 1_000, 1e-5  # more exact ones predict the same
TF_IDF_C, RATIOS_C, SMOOTHING = (1.0, 10.0, 100.0), (0.06, 0.6, 6.0), (0.1, 1.0)


class LogRatios(TransformerMixin, MultinomialNB):  # type: ignore[misc]
    """Multiplies each feature by the logarithm of how much more frequent it is in class 1 than in
    class 0 (Wang and Manning 2012, https://aclanthology.org/P12-2018)."""

    def transform(self, features: Any) -> Any:
        zero, one = self.feature_log_prob_
        return features @ diags_array(one - zero)


def classifiers(classes: int) -> dict[str, list[Any]]:
    """Classifiers of the counts of n-grams, by what they make of them; one for each strength of
    regularisation and smoothing, to choose from.

    Args:
        classes: how many there are in training, at least 2.
    """
    # of two classes, scikit-learn has one row of weights, which is held back like two halves
    rows = 2 if classes == 2 else 1
    return {
        "tf-idf": [make_pipeline(tf_idf(), _logistic(rows * c)) for c in TF_IDF_C],
        "naive-Bayes features": [
            OneVsRestClassifier(make_pipeline(Binarizer(), LogRatios(alpha=alpha), _logistic(c)))
            for alpha in SMOOTHING
            for c in RATIOS_C
        ],
    }


def minirocket() -> tuple[Any, Pipeline]:
    """Random convolutions of series `(N, channels, steps)`, which need numba, and a classifier of
    these (Dempster et al. 2021, https://arxiv.org/abs/2012.08791)."""
    from sktime.transformations.panel.rocket import MiniRocketMultivariate

    classify = make_pipeline(StandardScaler(), RidgeClassifierCV(np.logspace(-3, 3, 10)))
    return MiniRocketMultivariate(random_state=0), classify


def _logistic(c: float) -> LogisticRegression:
    return LogisticRegression(C=c, max_iter=ITERATIONS, tol=TOLERANCE)
