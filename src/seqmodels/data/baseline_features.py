"""What linear baselines read: the tf-idf of texts, the means and deviations of series.

A baseline is trained on no more than takes a minute or two. Where that is less than the training
split, its name says so: `... (50,000 of 900,000 examples)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from seqmodels.data.examples import take
from seqmodels.data.module import EVALUATED, Split
from seqmodels.data.sequences import SequenceDataModule
from seqmodels.target import Baselines

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import TfidfVectorizer  # slow to import

EXAMPLES = 50_000  # at most, to train on
PREDICTIONS = 10_000_000  # at most, of these in an iteration: a number for each class
CHARACTERS = {"words": 20_000_000, "characters": 5_000_000}  # at most, of all these texts
COEFFICIENTS = 500_000  # at most: L-BFGS remembers some twenty numbers for each


def baseline_features(
    data: SequenceDataModule, columns: int = 1
) -> tuple[np.ndarray, dict[str, Any], str]:
    """The training examples for a linear model; what it reads of these and of the splits to
    evaluate, `(N, features)` each; and what that is, such as `tf-idf (50 of 90 examples)`.

    Args:
        columns: how many coefficients each feature will have.
    """
    inputs, what = data.examples["train"].inputs, "channel means and deviations"
    most = min(EXAMPLES, PREDICTIONS // columns)
    chosen = np.random.default_rng(0).permutation(len(inputs))[:most]
    if data.inputs.kind == "tokens":
        read = np.cumsum(np.array([*map(len, inputs)])[chosen])
        chosen = chosen[: max(1, int((read <= CHARACTERS[data.baseline_inputs[0]]).sum()))]
        features, what = n_grams(*data.baseline_inputs, columns), "tf-idf"
    else:
        features = channel_summaries()
    if len(chosen) < len(inputs):
        what += f" ({len(chosen):,} of {len(inputs):,} examples)"
    chosen.sort()
    made = {"train": features.fit_transform(take(inputs, chosen))}
    for split in EVALUATED:
        made[split] = features.transform(data.examples[split].inputs)
    return chosen, made, what


def n_grams(inputs: str, lowercase: bool, columns: int = 1) -> TfidfVectorizer:
    """The tf-idf of one or two words, or of up to four characters within a word.

    Args:
        inputs: `words` are runs of letters and digits, and runs of punctuation; or `characters`.
        columns: how many coefficients each n-gram will have. The most frequent n-grams are kept, as
            far as the memory for their coefficients goes.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    how: dict[str, Any] = {"token_pattern": r"\w+|[^\w\s]+", "ngram_range": (1, 2)}
    if inputs == "characters":
        how = {"analyzer": "char_wb", "ngram_range": (1, 4)}
    most = max(1, COEFFICIENTS // columns)
    return TfidfVectorizer(lowercase=lowercase, max_features=most, sublinear_tf=True, **how)


def channel_summaries() -> Any:
    """The mean and deviation of each channel of a series, standardised."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    def of(series: Iterable[np.ndarray]) -> np.ndarray:
        rows = [np.concatenate([np.nanmean(x, 0), np.nanstd(x, 0)]) for x in series]
        return np.nan_to_num(np.stack(rows))

    return make_pipeline(FunctionTransformer(of), StandardScaler())


def baseline_rows(
    models: Mapping[str, Mapping[Split, Any]], score: Callable[[Split, Any], Mapping[str, Any]]
) -> Baselines:
    """The scores of some models on each split to evaluate, a row for each metric.

    Args:
        models: by name, what each predicts of a split, or how.
        score: gives the scores of that, by the name of the metric.
    """
    found: Baselines = {}
    for name, predictions in models.items():
        for split in EVALUATED:
            for metric, value in score(split, predictions[split]).items():
                found.setdefault(f"{split}/{metric}", {})[name] = float(value)
    return found
