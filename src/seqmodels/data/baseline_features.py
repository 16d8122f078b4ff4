"""What simple baselines read: some training examples, n-grams of texts, summaries of series.

A baseline is trained on no more than is quick. Where that is less than the training split, its name
says so: `... on 50,000 of 900,000 examples`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from seqmodels.data.examples import take
from seqmodels.data.module import EVALUATED
from seqmodels.data.sequences import SequenceDataModule

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer  # slow to import

# at most so much to train on
TEXTS = 50_000
CHARACTERS = {"words": 20_000_000, "characters": 5_000_000}
SERIES, VALUES = 4_000, 5_000_000
VALUES_EACH = 50_000  # of a series
COEFFICIENTS = 500_000  # at most: L-BFGS remembers some twenty numbers for each
SHORTEST = 9  # steps that MiniRocket's kernels span


def training_examples(data: SequenceDataModule) -> tuple[np.ndarray, str]:
    """The training examples that a baseline reads, and ` on 50 of 90 examples` where that is not
    all of them."""
    inputs = data.examples["train"].inputs
    if data.inputs.kind == "tokens":
        most, sizes, limit = TEXTS, [*map(len, inputs)], CHARACTERS[data.baseline_inputs[0]]
    else:
        longest, channels = longest_series(data)
        most, sizes, limit = SERIES, [longest * channels] * len(inputs), VALUES
    order = np.random.default_rng(0).permutation(len(inputs))[:most]
    order = order[: max(1, int((np.cumsum(np.array(sizes)[order]) <= limit).sum()))]
    if len(order) == len(inputs):
        return np.arange(len(inputs)), ""
    return np.sort(order), f" on {len(order):,} of {len(inputs):,} examples"


def longest_series(data: SequenceDataModule) -> tuple[int, int]:
    """The steps of the longest training series, as far as a series may fill memory; and its
    channels."""
    series = data.examples["train"].inputs
    channels = series[0].shape[1]
    return min(max(map(len, series)), max(SHORTEST, VALUES_EACH // channels)), channels


def n_gram_counts(data: SequenceDataModule, chosen: np.ndarray, columns: int = 1) -> dict[str, Any]:
    """How often each n-gram is in each text: of words; for a model of characters or bytes, of
    characters within a word. They are lowercased if the model's inputs are.

    Args:
        chosen: the training examples to count in.
        columns: how many coefficients each n-gram will have.
    """
    inputs = {split: data.examples[split].inputs for split in ("train", *EVALUATED)}
    grams = n_grams(*data.baseline_inputs, columns)
    counts = {"train": grams.fit_transform(take(inputs["train"], chosen))}
    return counts | {split: grams.transform(inputs[split]) for split in EVALUATED}


def tf_idf_features(data: SequenceDataModule, chosen: np.ndarray) -> dict[str, Any]:
    """The tf-idf of n-grams, of the chosen training texts and of those to evaluate."""
    counts = n_gram_counts(data, chosen)
    weigh = tf_idf().fit(counts["train"]).transform
    return {split: weigh(each) for split, each in counts.items()}


def channel_summaries(data: SequenceDataModule, chosen: np.ndarray) -> dict[str, np.ndarray]:
    """The mean and the deviation of each channel, standardised, of the chosen training series and
    of those to evaluate."""
    from sklearn.preprocessing import StandardScaler

    inputs = {split: data.examples[split].inputs for split in EVALUATED}
    inputs["train"] = take(data.examples["train"].inputs, chosen)
    made = {split: _summary(series) for split, series in inputs.items()}
    scaler = StandardScaler().fit(made["train"])
    return {split: scaler.transform(each) for split, each in made.items()}


def _summary(series: Iterable[np.ndarray]) -> np.ndarray:
    rows = [np.concatenate([np.nanmean(x, 0), np.nanstd(x, 0)]) for x in series]
    return np.nan_to_num(np.stack(rows))


def n_grams(inputs: str, lowercase: bool, classes: int = 1) -> CountVectorizer:
    """Counts one or two words, or up to four characters within a word.

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


def tf_idf() -> TfidfTransformer:
    """Tf-idf of counts, with their logarithm."""
    from sklearn.feature_extraction.text import TfidfTransformer

    return TfidfTransformer(sublinear_tf=True)
