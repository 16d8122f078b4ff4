"""What linear baselines read: the tf-idf of texts, summaries of series, windows of their steps.

A baseline is trained on no more than takes a minute or two. Where that is less than the training
split, its name says so: `... (50,000 of 900,000 examples)`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.data.examples import EVALUATED, Split, take
from seqmodels.data.sequences import SequenceDataModule
from seqmodels.target import Baselines

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import TfidfVectorizer  # slow to import

EXAMPLES = 50_000  # at most, to train on
PREDICTIONS = 10_000_000  # at most, of these in an iteration: a number for each class
CHARACTERS = {"words": 20_000_000, "characters": 5_000_000}  # at most, of all these texts
PARTS = 8  # of a series, each of which has a mean
AROUND = np.arange(-5, 6)  # the steps in the window of one
STRENGTHS = (0.1, 1.0, 10.0, 100.0)  # the inverses of regularisation to choose from
ITERATIONS, TOLERANCE = 1_000, 1e-5  # more exact ones predict the same
NEIGHBOURS, MOST_STEPS = 5_000, 256  # of series
TINY = 1e-6  # a deviation of no more is of a series that stays the same
COEFFICIENTS = 500_000  # at most: L-BFGS remembers some twenty numbers for each


def baseline_features(
    data: SequenceDataModule, columns: int = 1
) -> tuple[np.ndarray, dict[str, Any], str]:
    """The training examples for a linear model; what it reads of these and of the splits to
    evaluate, `(N, features)` each; and what that is, such as `tf-idf (50 of 90 examples)`.

    Args:
        columns: how many coefficients each feature will have.
    """
    inputs, what = data.examples["train"].inputs, "channel statistics"
    most = min(EXAMPLES, PREDICTIONS // columns)
    chosen = np.random.default_rng(0).permutation(len(inputs))[:most]
    if data.inputs.kind == "tokens":
        read = np.cumsum(np.array([*map(len, inputs)])[chosen])
        chosen = chosen[: max(1, int((read <= CHARACTERS[data.baseline_inputs[0]]).sum()))]
        features, what = n_grams(*data.baseline_inputs, columns), "tf-idf"
    else:
        features = channel_summaries(getattr(data.inputs, "plain", np.asarray))
    what += _share(chosen, len(inputs))
    chosen.sort()
    made = {"train": features.fit_transform(take(inputs, chosen))}
    for split in EVALUATED:
        made[split] = features.transform(data.examples[split].inputs)
    return chosen, made, what


def n_grams(inputs: str, lowercase: bool, columns: int) -> TfidfVectorizer:
    """The tf-idf of one or two `words`, which are runs of letters and digits or of punctuation, or
    of up to four `characters` within a word: of the most frequent, as far as memory goes."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    how: dict[str, Any] = {"token_pattern": r"\w+|[^\w\s]+", "ngram_range": (1, 2)}
    if inputs == "characters":
        how = {"analyzer": "char_wb", "ngram_range": (1, 4)}
    most = max(1, COEFFICIENTS // columns)
    return TfidfVectorizer(lowercase=lowercase, max_features=most, sublinear_tf=True, **how)


def channel_summaries(plain: Callable[[Any], np.ndarray] = np.asarray) -> Any:
    """The mean and deviation of each channel of a series, which `plain` gives as `(T, F)`, and its
    means in eight equal parts of it, standardised; the mean where a part has no value."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    def means(series: np.ndarray) -> np.ndarray:
        ends = (np.arange(PARTS + 1) * len(series) // PARTS).tolist()
        parts = [series, *(series[a : max(b, a + 1)] for a, b in pairwise(ends))]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of parts where nothing is known
            found = np.stack([*(np.nanmean(part, 0) for part in parts), np.nanstd(series, 0)])
        return np.where(np.isnan(found), found[0], found).ravel()

    def of(series: Iterable[Any]) -> np.ndarray:
        return np.nan_to_num(np.stack([means(plain(each)) for each in series]))

    return make_pipeline(FunctionTransformer(of), StandardScaler())


def step_windows(
    data: SequenceDataModule, columns: int = 1
) -> tuple[np.ndarray, dict[str, Any], str]:
    """As `baseline_features`, of the steps of series, one after the other, as the network reads
    them: each with those up to five before and after it; or where the network doesn't look ahead,
    with the ten before it."""
    from sklearn.preprocessing import StandardScaler

    window, what = AROUND, f"windows of {len(AROUND)} steps"
    if not data.looks_ahead:
        window, what = AROUND - AROUND.max(), f"the last {len(AROUND)} steps"
    made: dict[str, Any] = {}
    for split, dataset in data.datasets.items():
        rows = []
        for sequence in dataset.sequences:
            steps = np.arange(len(sequence))[:, None] + window  # (T, window)
            rows.append(sequence.numpy()[np.clip(steps, 0, len(sequence) - 1)])
        made[split] = np.concatenate([row.reshape(len(row), -1) for row in rows])
    most = min(EXAMPLES, PREDICTIONS // columns)
    total = len(made["train"])
    chosen = np.sort(np.random.default_rng(0).permutation(total)[:most])
    scaler = StandardScaler().fit(made["train"][chosen])
    made = {split: scaler.transform(each) for split, each in made.items()}
    made["train"] = made["train"][chosen]
    return chosen, made, what + _share(chosen, total, "steps")


def token_windows(
    data: SequenceDataModule, columns: int = 1
) -> tuple[np.ndarray, dict[str, Any], str]:
    """As `step_windows`, of texts: a 1 for each token of a window and its place in it, of the most
    frequent tokens, as far as memory goes."""
    from scipy.sparse import csr_matrix

    tokens = {split: _tokens(dataset.sequences) for split, dataset in data.datasets.items()}
    counts = np.bincount(np.concatenate(tokens["train"]))
    frequent = np.argsort(-counts, kind="stable")[: max(1, COEFFICIENTS // columns // len(AROUND))]
    numbers = np.full(data.inputs.num_inputs + 1, -1)  # of the frequent tokens; the last is none
    numbers[frequent] = np.arange(len(frequent))

    def windows(texts: Sequence[np.ndarray], chosen: np.ndarray | None = None) -> Any:
        rows = []
        for text in texts:
            padded = np.pad(numbers[text], AROUND.max(), constant_values=-1)
            rows.append(np.lib.stride_tricks.sliding_window_view(padded, len(AROUND)))
        read = np.concatenate(rows)  # (N, window)
        read = read if chosen is None else read[chosen]
        row, place = np.nonzero(read >= 0)
        column = place * len(frequent) + read[row, place]
        shape = len(read), len(AROUND) * len(frequent)
        return csr_matrix((np.ones(len(row), np.float32), (row, column)), shape)

    total = sum(map(len, tokens["train"]))
    most = min(EXAMPLES, PREDICTIONS // columns)
    chosen = np.sort(np.random.default_rng(0).permutation(total)[:most])
    features: dict[str, Any] = {split: windows(tokens[split]) for split in EVALUATED}
    features["train"] = windows(tokens["train"], chosen)
    return chosen, features, f"windows of {len(AROUND)} tokens{_share(chosen, total, 'tokens')}"


def _tokens(sequences: Iterable[Tensor]) -> list[np.ndarray]:
    """The ids of each text, without the characters of its words."""
    return [(each if each.dim() == 1 else each[:, 0]).numpy() for each in sequences]


def _share(chosen: np.ndarray, total: int, what: str = "examples") -> str:
    return f" ({len(chosen):,} of {total:,} {what})" if len(chosen) < total else ""


def logistic_regression(
    rows: np.ndarray, features: dict[str, Any], by: str, labels: Mapping[Split, np.ndarray]
) -> dict[str, dict[Split, np.ndarray]]:
    """What a model predicts whose strength the validation chooses, by its name; none if the rows to
    train on have one class.

    Args:
        rows, features, by: as `baseline_features` gives them.
        labels: of each split; below 0 is no class to learn.
    """
    known = labels["train"][rows]
    if len({*known[known >= 0].tolist()}) < 2:
        return {}
    choices = _predictions({**features, "train": features["train"][known >= 0]}, known[known >= 0])
    best = max(choices, key=lambda made: (made["validation"] == labels["validation"]).sum())
    return {f"logistic regression on {by}": best}


def nearest_neighbour(
    series: Mapping[Split, Sequence[Tensor]], labels: Mapping[Split, np.ndarray]
) -> dict[str, dict[Split, np.ndarray]]:
    """The class of the nearest series of the training, by the name of the model: of series as the
    network reads them, and of each z-normalised. All have as many steps as the median, by
    interpolation; the distance is Euclid's."""
    from sklearn.neighbors import KNeighborsClassifier  # slow to import

    train = series["train"]
    steps, total = min(int(np.median([*map(len, train)])), MOST_STEPS), len(train)
    chosen = np.sort(np.random.default_rng(0).permutation(total)[:NEIGHBOURS])
    some = _share(chosen, total)
    series = {**series, "train": [train[row] for row in chosen]}
    rows = {split: _resampled(each, steps) for split, each in series.items()}
    off = {split: each - each.mean(2, keepdims=True) for split, each in rows.items()}
    normal = {s: each / np.maximum(each.std(2, keepdims=True), TINY) for s, each in off.items()}
    found = {}
    for name, read in (("nearest neighbour", rows), ("nearest neighbour, z-normalised", normal)):
        flat = {split: each.reshape(len(each), -1) for split, each in read.items()}
        model = KNeighborsClassifier(1, algorithm="brute")
        model.fit(flat["train"], labels["train"][chosen])
        found[name + some] = {split: model.predict(flat[split]) for split in EVALUATED}
    return found


def _resampled(series: Sequence[Tensor], steps: int) -> np.ndarray:
    """`(N, F, steps)` float32, of N series `(T, F)`."""
    how: Any = {"size": steps, "mode": "linear", "align_corners": True}
    return torch.cat([F.interpolate(each.T[None], **how) for each in series]).numpy()


def _predictions(features: dict[str, Any], labels: np.ndarray) -> Iterator[dict[Split, np.ndarray]]:
    """Of a model of each strength, which begins with the weights of the one before."""
    from sklearn.exceptions import ConvergenceWarning  # slow to import
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=ITERATIONS, tol=TOLERANCE, warm_start=True)
    for strength in STRENGTHS:
        model.set_params(C=strength)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(features["train"], labels)
        yield {split: model.predict(features[split]) for split in EVALUATED}


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
