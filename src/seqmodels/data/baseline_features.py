"""What linear baselines read: the tf-idf of texts, summaries of series, windows of their steps.

A baseline is trained on no more than takes a minute or two. Where that is less than the training
split, its name says so: `... (50,000 of 900,000 examples)`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.data.examples import EVALUATED, Split, take
from seqmodels.data.sequences import SequenceDataModule
from seqmodels.data.series_inputs import summary_of
from seqmodels.target import Baselines, BaselineScores

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix  # slow to import
    from sklearn.feature_extraction.text import TfidfVectorizer

# A linear model is trained on so many examples at most.
MOST_EXAMPLES = 50_000
# In an iteration, it computes so many numbers at most: one for each example and output.
MOST_PREDICTIONS = 10_000_000
# The training texts have so many characters at most, by what is counted in them.
MOST_CHARACTERS = {"words": 20_000_000, "characters": 5_000_000}
# L-BFGS remembers some twenty numbers for each coefficient.
MOST_COEFFICIENTS = 500_000
# A window reads these steps, counted from its own.
WINDOW = np.arange(-5, 6)
# The inverses of regularisation to choose from.
STRENGTHS = (0.1, 1.0, 10.0, 100.0)
# More iterations, or a lower tolerance, predict the same.
ITERATIONS = 1_000
TOLERANCE = 1e-5
# The nearest neighbour is one of so many series at most, of so many steps at most.
MOST_NEIGHBOURS = 5_000
MOST_STEPS = 256
# A series whose deviation is no larger is constant, but for rounding.
TINY = 1e-6


def baseline_features(
    data: SequenceDataModule, num_outputs: int = 1
) -> tuple[np.ndarray, dict[str, Any], str]:
    """The numbers that a linear model reads of each example: the tf-idf of a text, or a summary of
    a series.

    Args:
        num_outputs: how many numbers the model predicts for an example, such as one for each class.

    Returns:
        The rows of the training split to train on; the features of these rows and of the splits to
        evaluate, `(N, features)` each; and a description, such as `tf-idf (50 of 90 examples)`.
    """
    inputs = data.examples["train"].inputs
    rows = _random_rows(len(inputs), num_outputs)
    transformer: Any
    if data.inputs.kind == "tokens":
        level, lowercase = data.baseline_inputs
        sizes = np.array([len(text) for text in inputs])
        characters_so_far = np.cumsum(sizes[rows])
        num_texts = int((characters_so_far <= MOST_CHARACTERS[level]).sum())
        rows = rows[: max(1, num_texts)]
        transformer = n_grams(level, lowercase, num_outputs)
        description = "tf-idf"
    else:
        # Series of a table may have channels of texts, which their encoder makes numbers of.
        transformer = channel_summaries(getattr(data.inputs, "summary", summary_of))
        description = "channel statistics"
    description += _share(rows, len(inputs))

    rows = np.sort(rows)
    features = {"train": transformer.fit_transform(take(inputs, rows))}
    for split in EVALUATED:
        features[split] = transformer.transform(data.examples[split].inputs)
    return rows, features, description


def _random_rows(num_rows: int, num_outputs: int) -> np.ndarray:
    """As many rows as a linear model is trained on, the same every time, in random order."""
    most_rows = min(MOST_EXAMPLES, MOST_PREDICTIONS // num_outputs)
    return np.random.default_rng(0).permutation(num_rows)[:most_rows]


def _share(rows: np.ndarray, total: int, unit: str = "examples") -> str:
    """How many of all rows a baseline is trained on, for its name; empty if on all."""
    return f" ({len(rows):,} of {total:,} {unit})" if len(rows) < total else ""


def n_grams(level: str, lowercase: bool, num_outputs: int) -> TfidfVectorizer:
    """The tf-idf of the most frequent n-grams of texts, as many as memory allows: of one or two
    words, which are runs of letters and digits or of punctuation; or of up to four characters
    within a word.

    Args:
        level: `words` or `characters`.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    options: dict[str, Any] = {"token_pattern": r"\w+|[^\w\s]+", "ngram_range": (1, 2)}
    if level == "characters":
        options = {"analyzer": "char_wb", "ngram_range": (1, 4)}
    most_features = max(1, MOST_COEFFICIENTS // num_outputs)
    return TfidfVectorizer(
        lowercase=lowercase, max_features=most_features, sublinear_tf=True, **options
    )


def channel_summaries(summary: Callable[[Any], np.ndarray] = summary_of) -> Any:
    """The summaries of series, standardised.

    Args:
        summary: gives that of a raw series, as `summary_of` does.
    """
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    def summaries_of(raw_series: Iterable[Any]) -> np.ndarray:
        summaries = np.stack([summary(raw) for raw in raw_series])
        return np.nan_to_num(summaries)  # A channel without any value reads as 0.

    return make_pipeline(FunctionTransformer(summaries_of), StandardScaler())


def step_windows(
    data: SequenceDataModule, num_outputs: int = 1
) -> tuple[np.ndarray, dict[str, Any], str]:
    """The numbers that a linear model reads at each step of series, which are as the network reads
    them: those of the step, and of the five steps before and after it; or of the ten before it,
    where the network doesn't look ahead.

    Args:
        num_outputs: how many numbers the model predicts at a step.

    Returns:
        As `baseline_features`, where a row is a step. Those of all series stand one after the
        other.
    """
    from sklearn.preprocessing import StandardScaler

    if data.looks_ahead:
        window = WINDOW
        description = f"windows of {len(WINDOW)} steps"
    else:
        window = WINDOW - WINDOW.max()
        description = f"the last {len(WINDOW)} steps"
    features: dict[str, Any] = {}
    for split, dataset in data.datasets.items():
        windows = [_windows_of_series(series.numpy(), window) for series in dataset.sequences]
        features[split] = np.concatenate(windows)

    num_steps = len(features["train"])
    rows = np.sort(_random_rows(num_steps, num_outputs))
    features["train"] = features["train"][rows]
    scaler = StandardScaler().fit(features["train"])
    features = {split: scaler.transform(windows) for split, windows in features.items()}
    return rows, features, description + _share(rows, num_steps, "steps")


def _windows_of_series(series: np.ndarray, window: np.ndarray) -> np.ndarray:
    """What the window of each step of a series `(T, F)` reads, `(T, len(window) * F)`. Before the
    series begins, and after it ends, a window repeats its first or last step."""
    num_steps = len(series)
    steps_of_windows = np.arange(num_steps)[:, None] + window  # (T, len(window))
    values = series[np.clip(steps_of_windows, 0, num_steps - 1)]  # (T, len(window), F)
    return values.reshape(num_steps, -1)


def token_windows(
    data: SequenceDataModule, num_outputs: int = 1
) -> tuple[np.ndarray, dict[str, Any], str]:
    """The numbers that a linear model reads at each token of texts: a 1 for each token in its
    window, by the token and its place there. Only the most frequent tokens count, as many as memory
    allows.

    Args:
        num_outputs: how many numbers the model predicts at a token.

    Returns:
        As `baseline_features`, where a row is a token. Those of all texts stand one after the
        other.
    """
    tokens_by_split = {split: _tokens(rows.sequences) for split, rows in data.datasets.items()}
    counts = np.bincount(np.concatenate(tokens_by_split["train"]))
    most_tokens = max(1, MOST_COEFFICIENTS // num_outputs // len(WINDOW))
    frequent_tokens = np.argsort(-counts, kind="stable")[:most_tokens]
    # The number of each token among the frequent ones, which the features count; -1 for others.
    numbers = np.full(data.inputs.num_inputs, -1)
    numbers[frequent_tokens] = np.arange(len(frequent_tokens))

    features: dict[str, Any] = {}
    for split in EVALUATED:
        windows = _windows_of_texts(tokens_by_split[split], numbers)
        features[split] = _one_hot(windows, len(frequent_tokens))
    train_windows = _windows_of_texts(tokens_by_split["train"], numbers)
    num_tokens = len(train_windows)
    rows = np.sort(_random_rows(num_tokens, num_outputs))
    features["train"] = _one_hot(train_windows[rows], len(frequent_tokens))
    share = _share(rows, num_tokens, "tokens")
    return rows, features, f"windows of {len(WINDOW)} tokens{share}"


def _tokens(sequences: Iterable[Tensor]) -> list[np.ndarray]:
    """The ids of the tokens of each text, `(T,)`, without the characters that may stand beside
    them."""
    tokens = []
    for sequence in sequences:
        ids = sequence if sequence.dim() == 1 else sequence[:, 0]
        tokens.append(ids.numpy())
    return tokens


def _windows_of_texts(texts: Sequence[np.ndarray], numbers: np.ndarray) -> np.ndarray:
    """The numbers in the window of each token of all texts, `(N, len(WINDOW))`; -1 where a window
    begins before its text or ends after it.

    Args:
        numbers: the number of each token, by its id.
    """
    windows = []
    for text in texts:
        padded = np.pad(numbers[text], WINDOW.max(), constant_values=-1)
        windows.append(np.lib.stride_tricks.sliding_window_view(padded, len(WINDOW)))
    return np.concatenate(windows)


def _one_hot(windows: np.ndarray, num_different: int) -> csr_matrix:
    """A 1 for each number that stands in a window, `(N, len(WINDOW) * num_different)`: the numbers
    of a window's first place come first.

    Args:
        windows: `(N, len(WINDOW))`, numbers below `num_different`; -1 for none.
    """
    from scipy.sparse import csr_matrix

    rows, places = np.nonzero(windows >= 0)
    columns = places * num_different + windows[rows, places]
    ones = np.ones(len(rows), np.float32)
    shape = (len(windows), len(WINDOW) * num_different)
    return csr_matrix((ones, (rows, columns)), shape)


def logistic_regression(
    rows: np.ndarray, features: dict[str, Any], description: str, labels: Mapping[Split, np.ndarray]
) -> dict[str, dict[Split, np.ndarray]]:
    """The classes that logistic regression predicts for the splits to evaluate, by the name of the
    model. The validation split chooses its strength. Empty if all rows to train on are of one
    class.

    Args:
        rows, features, description: as `baseline_features` gives them.
        labels: of each split; below 0 is no class to learn.
    """
    train_labels = labels["train"][rows]
    has_label = train_labels >= 0
    train_labels = train_labels[has_label]
    if len(np.unique(train_labels)) < 2:
        return {}

    def correct_count(predictions: dict[Split, np.ndarray]) -> int:
        is_correct = predictions["validation"] == labels["validation"]
        return int(is_correct.sum())

    features = {**features, "train": features["train"][has_label]}
    best_predictions = max(_predictions(features, train_labels), key=correct_count)
    return {f"logistic regression on {description}": best_predictions}


def _predictions(features: dict[str, Any], labels: np.ndarray) -> Iterator[dict[Split, np.ndarray]]:
    """What a model of each strength predicts for the splits to evaluate. It begins with the weights
    of the model before."""
    from sklearn.exceptions import ConvergenceWarning  # slow to import
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=ITERATIONS, tol=TOLERANCE, warm_start=True)
    for strength in STRENGTHS:
        model.set_params(C=strength)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(features["train"], labels)
        yield {split: model.predict(features[split]) for split in EVALUATED}


def nearest_neighbour(
    series: Mapping[Split, Sequence[Tensor]], labels: Mapping[Split, np.ndarray]
) -> dict[str, dict[Split, np.ndarray]]:
    """The class of the nearest series of the training, by the name of the model: of series as the
    network reads them, and of each z-normalised. All have as many steps as the median, or
    `MOST_STEPS`, by interpolation; the distance is Euclid's.

    Args:
        series: those of each split, `(T, F)` each.
        labels: their classes, `(N,)` for each split.
    """
    train = series["train"]
    median_length = np.median([len(sequence) for sequence in train])
    num_steps = min(int(median_length), MOST_STEPS)
    rows = np.sort(np.random.default_rng(0).permutation(len(train))[:MOST_NEIGHBOURS])
    train_labels = labels["train"][rows]
    share = _share(rows, len(train))

    series = {**series, "train": take(train, rows)}
    resampled = {split: _resampled(sequences, num_steps) for split, sequences in series.items()}
    normalised = {split: _z_normalised(arrays) for split, arrays in resampled.items()}
    return {
        f"nearest neighbour{share}": _nearest_classes(resampled, train_labels),
        f"nearest neighbour, z-normalised{share}": _nearest_classes(normalised, train_labels),
    }


def _resampled(series: Sequence[Tensor], num_steps: int) -> np.ndarray:
    """`(N, F, num_steps)` float32, of N series `(T, F)`."""
    resampled = []
    for sequence in series:
        channels = sequence.T[None]  # (1, F, T)
        resampled.append(F.interpolate(channels, num_steps, mode="linear", align_corners=True))
    return torch.cat(resampled).numpy()


def _z_normalised(series: np.ndarray) -> np.ndarray:
    """Series `(N, F, T)` whose channels have mean 0 and deviation 1 each; a constant one has 0."""
    differences = series - series.mean(axis=2, keepdims=True)
    deviations = differences.std(axis=2, keepdims=True)
    return differences / np.maximum(deviations, TINY)


def _nearest_classes(
    series: Mapping[Split, np.ndarray], train_labels: np.ndarray
) -> dict[Split, np.ndarray]:
    """The class of the series of the training that is nearest to each one of the splits to
    evaluate.

    Args:
        series: those of each split, `(N, F, T)`.
    """
    from sklearn.neighbors import KNeighborsClassifier  # slow to import

    flat = {split: arrays.reshape(len(arrays), -1) for split, arrays in series.items()}
    model = KNeighborsClassifier(1, algorithm="brute")
    model.fit(flat["train"], train_labels)
    return {split: model.predict(flat[split]) for split in EVALUATED}


def baseline_rows(
    models: Mapping[str, Mapping[Split, Any]], score: Callable[[Split, Any], Mapping[str, Any]]
) -> Baselines:
    """The scores of some models on each split to evaluate, a row for each metric.

    Args:
        models: what each predicts for a split, or how, by its name.
        score: gives the scores of that on a split, by the name of the metric.
    """
    rows: BaselineScores = {}
    for name, predictions in models.items():
        for split in EVALUATED:
            for metric, value in score(split, predictions[split]).items():
                scores_by_model = rows.setdefault(f"{split}/{metric}", {})
                scores_by_model[name] = float(value)
    return Baselines(rows)
