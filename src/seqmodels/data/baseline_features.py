"""What linear baselines read: the tf-idf of texts, the means and deviations of series.

A baseline is trained on no more than is quick. Where that is less than the training split, its name
says so: `... (50,000 of 900,000 examples)`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from seqmodels.data.examples import take
from seqmodels.data.module import EVALUATED, DataModule, OutOfTime, Split
from seqmodels.data.sequences import SequenceDataModule
from seqmodels.target import Baselines

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import TfidfVectorizer  # slow to import

T = TypeVar("T")
EXAMPLES = 50_000  # at most, to train on
CHARACTERS = {"words": 20_000_000, "characters": 5_000_000}  # at most, of all these texts
COEFFICIENTS = 500_000  # at most: L-BFGS remembers some twenty numbers for each


def training_examples(data: SequenceDataModule) -> tuple[np.ndarray, str]:
    """The training examples that a baseline reads, and ` (50 of 90 examples)` where that is not
    all of them."""
    inputs = data.examples["train"].inputs
    order = np.random.default_rng(0).permutation(len(inputs))[:EXAMPLES]
    if data.inputs.kind == "tokens":
        read = np.cumsum(np.array([*map(len, inputs)])[order])
        order = order[: max(1, int((read <= CHARACTERS[data.baseline_inputs[0]]).sum()))]
    if len(order) == len(inputs):
        return np.arange(len(inputs)), ""
    return np.sort(order), f" ({len(order):,} of {len(inputs):,} examples)"


def baseline_features(
    data: SequenceDataModule, columns: int = 1
) -> tuple[np.ndarray, dict[str, Any], str]:
    """The training examples for a linear model; what it reads of these and of the splits to
    evaluate, `(N, features)` each; and what that is, such as `tf-idf (50 of 90 examples)`.

    Args:
        columns: how many coefficients each feature will have.

    Raises:
        OutOfTime: if reading takes longer than baselines may.
    """
    chosen, on = training_examples(data)
    if data.inputs.kind == "tokens":
        return chosen, tf_idf_features(data, chosen, columns), f"tf-idf{on}"
    return chosen, _summaries(data, chosen), f"channel means and deviations{on}"


def tf_idf_features(
    data: SequenceDataModule, chosen: np.ndarray, columns: int = 1
) -> dict[str, Any]:
    """The tf-idf of n-grams: of words; for a model of characters or bytes, of characters within a
    word. They are lowercased if the model's inputs are."""
    grams = n_grams(*data.baseline_inputs, columns)
    train = take(data.examples["train"].inputs, chosen)
    features = {"train": grams.fit_transform(in_time(data, train))}
    for split in EVALUATED:
        features[split] = grams.transform(in_time(data, data.examples[split].inputs))
    return features


def n_grams(inputs: str, lowercase: bool, columns: int = 1) -> TfidfVectorizer:
    """Weighs one or two words, or up to four characters within a word.

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


def _summaries(data: SequenceDataModule, chosen: np.ndarray) -> dict[str, Any]:
    # of each channel, standardised
    from sklearn.preprocessing import StandardScaler

    def of(series: Iterable[np.ndarray]) -> np.ndarray:
        steps = in_time(data, series)
        rows = [np.concatenate([np.nanmean(x, 0), np.nanstd(x, 0)]) for x in steps]
        return np.nan_to_num(np.stack(rows))

    train = of(take(data.examples["train"].inputs, chosen))
    scaler = StandardScaler().fit(train)
    made = {"train": scaler.transform(train)}
    for split in EVALUATED:
        made[split] = scaler.transform(of(data.examples[split].inputs))
    return made


def in_time(data: DataModule, things: Iterable[T]) -> Iterator[T]:
    """The same things, one by one, as long as baselines may take.

    Raises:
        OutOfTime: after that.
    """
    for each in things:
        if time.perf_counter() > data.baselines_end:
            raise OutOfTime
        yield each


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
