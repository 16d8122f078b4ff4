"""Simple baselines on the same splits, so you can judge a model's metrics.

A baseline is trained on no more than is quick. Where that is less than the training split, its name
says so: `... on 50,000 of 900,000 examples`.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from seqmodels.data.columns import take
from seqmodels.data.steps import interpolate
from seqmodels.data.targets import Values

if TYPE_CHECKING:
    from seqmodels.data.sequences import SequenceDataModule

log = logging.getLogger(__name__)

Metrics = dict[str, dict[str, float | None]]  # metric -> baseline -> value; None: left out
Predictions = Mapping[str, np.ndarray]  # split -> the class of each example
Choices = Iterator[Predictions]
Models = Iterator[tuple[str, Choices]]  # name, and predictions to choose from
EVALUATED = ("validation", "test")
# at most so much to train on
TEXTS = 50_000
CHARACTERS = {"words": 20_000_000, "characters": 5_000_000}
SERIES, VALUES = 4_000, 5_000_000
VALUES_EACH = 50_000  # of a series
ROWS = 128  # to compare with all of the training at a time
CELLS = 2_000_000_000  # of dynamic time warping's tables, times channels: about 15 s
SHORTEST = 9  # steps that MiniRocket's kernels span


def sequence_baselines(data: SequenceDataModule) -> Metrics:
    """Metrics of the most frequent target, and of models without a network, on validation and test.

    - Classes: `accuracy` of the most frequent class; for texts, of logistic regression on tf-idf,
      and on naive-Bayes features; for series, of the nearest neighbour by the mean and deviation
      of each channel, and by all steps, padded with zeros (Euclidean; if numba is installed, also
      dynamic time warping where that is quick), and of MiniRocket, which needs numba.
    - Tags: `accuracy` over all steps of the most frequent tag; for texts, of that of each token. A
      token that training never saw gets the most frequent tag of all.
    - Values: `rmse`, `mae` and `r2` of the training mean; if there are some for each sequence, also
      of ridge regression on tf-idf, or on means and deviations. The errors are in the values' own
      units and average over all values that are not missing; r2 is the mean over the values.
    - Texts: `exact_match` and `symbol_error_rate` of a copy of the source, and of the first target
      of the training source with the nearest tf-idf.

    How strongly to regularise, and to smooth counts, is chosen on the validation split. N-grams are
    of words; for a model of characters or bytes, of characters within a word. They are lowercased
    if the model's inputs are.
    """
    compute = {
        "class": _of_classes,
        "tag": _of_tags,
        "value": _of_values,
        "text": _of_written,
    }
    return compute[data.target](data) if data.target in compute else {}


def _of_classes(data: SequenceDataModule) -> Metrics:
    labels = {split: _targets(data, split).numpy() for split in ("train", *EVALUATED)}
    majority = np.bincount(labels["train"]).argmax()
    found: Metrics = {f"{split}/accuracy": {} for split in EVALUATED}

    def add(name: str, predictions: Predictions | None) -> None:
        for split in EVALUATED:
            right = None if predictions is None else predictions[split] == labels[split]
            found[f"{split}/accuracy"][name] = None if right is None else float(right.mean())

    def score(made: Predictions) -> int:
        return int((made["validation"] == labels["validation"]).sum())

    add("majority class", {split: np.full(len(labels[split]), majority) for split in EVALUATED})
    models = _of_texts if data.inputs.kind == "tokens" else _of_series
    started = time.perf_counter()
    for name, choices in models(data, labels["train"]):
        add(name, max(choices, key=score, default=None))
        log.info(f"baseline {name}: {time.perf_counter() - started:.1f} s")
        started = time.perf_counter()
    return found


def _of_tags(data: SequenceDataModule) -> Metrics:
    tags = {split: _steps(_targets(data, split)) for split in ("train", *EVALUATED)}
    overall = np.bincount(tags["train"]).argmax()
    guesses = {"most frequent tag": {split: np.full(len(tags[split]), overall) for split in tags}}
    if data.inputs.kind == "tokens":
        tokens = {split: _steps(map(_token, data.datasets[split].sequences)) for split in tags}
        count = 1 + tags["train"].max()
        pairs, counts = np.unique(tokens["train"] * count + tags["train"], return_counts=True)
        pairs = pairs[np.argsort(counts, kind="stable")]
        frequent = np.full(data.inputs.num_inputs, overall)
        frequent[pairs // count] = pairs % count  # of several, the last one stays
        guesses["most frequent tag of each token"] = {s: frequent[t] for s, t in tokens.items()}
    return {
        f"{s}/accuracy": {name: float((g[s] == tags[s]).mean()) for name, g in guesses.items()}
        for s in EVALUATED
    }


def _of_values(data: SequenceDataModule) -> Metrics:
    from sklearn.linear_model import Ridge

    values = {split: _values(data, split) for split in ("train", *EVALUATED)}
    mean = np.nanmean(values["train"], axis=0)
    found = {"training mean": {s: np.broadcast_to(mean, values[s].shape) for s in EVALUATED}}
    if data.per == "sequence":
        chosen, on = _chosen(data)
        by, features = "channel means and deviations", {}
        if data.inputs.kind == "tokens":
            by, features = "tf-idf", _tf_idf(data, chosen)
        else:
            features = _summaries(data, chosen)
        made: dict[str, list[np.ndarray]] = {split: [] for split in EVALUATED}
        for column in values["train"][chosen].T:  # each has missing values of its own
            known = ~np.isnan(column)
            model = Ridge(1.0).fit(features["train"][known], column[known])
            for split in EVALUATED:
                made[split].append(model.predict(features[split]))
        found[f"ridge regression on {by}{on}"] = {s: np.transpose(p) for s, p in made.items()}
    return {
        f"{split}/{metric}": {n: measure(p[split], values[split]) for n, p in found.items()}
        for split in EVALUATED
        for metric, measure in (("rmse", _rmse), ("mae", _mae), ("r2", _r2))
    }


def _values(data: SequenceDataModule, split: str) -> np.ndarray:
    # (N, K) in their own units, of all sequences or of all their steps
    targets, encoder = _targets(data, split), cast(Values, data.targets)
    rows = targets if isinstance(targets, Tensor) else torch.cat(targets)
    return encoder.restore(rows.double()).numpy()


def _of_written(data: SequenceDataModule) -> Metrics:
    from seqmodels.tasks.seq2seq.text_scores import nearest

    chosen, on = _chosen(data)
    features = _tf_idf(data, chosen)
    written = take(data.examples["train"].targets, chosen)
    level = data.targets.spec["target_preprocessor"]["options"]["tokenizer"]
    found: Metrics = {}
    for split in EVALUATED:
        dataset: Any = data.datasets[split]
        guesses = {
            "copy of the source": data.examples[split].inputs,
            f"target of the nearest source{on}": [
                written[row][0] for row in _nearest_rows(features[split], features["train"])
            ],
        }
        for name, texts in guesses.items():
            pairs = [*zip(texts, dataset.references, strict=True)]
            right = sum(text in references for text, references in pairs) / len(pairs)
            errors, symbols = np.sum([nearest(*pair, level) for pair in pairs], axis=0).tolist()
            scores = {"exact_match": right, "symbol_error_rate": errors / symbols}
            for metric, score in scores.items():
                found.setdefault(f"{split}/{metric}", {})[name] = score
    return found


def _nearest_rows(features: Any, others: Any) -> Iterator[int]:
    for first in range(0, features.shape[0], ROWS):
        similar = features[first : first + ROWS] @ others.T
        yield from similar.toarray().argmax(axis=1).tolist()


def _rmse(predicted: np.ndarray, values: np.ndarray) -> float:
    return float(np.sqrt(np.nanmean((predicted - values) ** 2)))


def _mae(predicted: np.ndarray, values: np.ndarray) -> float:
    return float(np.nanmean(np.abs(predicted - values)))


def _r2(predicted: np.ndarray, values: np.ndarray) -> float:
    from sklearn.metrics import r2_score

    known = ~np.isnan(values)
    scores = [
        r2_score(values[rows, column], predicted[rows, column])
        for column, rows in enumerate(known.T)
        if rows.sum() > 1
    ]
    return float(np.mean(scores)) if scores else math.nan


# models of classes


def _of_texts(data: SequenceDataModule, labels: np.ndarray) -> Models:
    from seqmodels.data.linear import classifiers

    chosen, on = _chosen(data)
    labels = labels[chosen]
    classes = len(set(labels))
    if classes < 2:
        log.info("no baseline but the majority class: it is the only one to train on")
        return
    counts = _counts(data, chosen, classes)
    for name, models in classifiers(classes).items():
        fitted = (model.fit(counts["train"], labels) for model in models)
        choices = ({s: model.predict(counts[s]) for s in EVALUATED} for model in fitted)
        yield f"{name} + logistic regression{on}", choices


def _of_series(data: SequenceDataModule, labels: np.ndarray) -> Models:
    from sklearn.neighbors import KNeighborsClassifier

    chosen, on = _chosen(data)
    labels = labels[chosen]
    features = _summaries(data, chosen)
    model = KNeighborsClassifier(1).fit(features["train"], labels)
    name = f"nearest neighbour on channel means and deviations{on}"
    yield name, iter([{split: model.predict(features[split]) for split in EVALUATED}])
    series, has_numba = _padded(data, "train", chosen, _longest(data)[0]), bool(find_spec("numba"))
    whole = KNeighborsClassifier(1, algorithm="brute").fit(series.reshape(len(series), -1), labels)
    made = _in_blocks(data, lambda block: whole.predict(block.reshape(len(block), -1)))
    yield f"nearest neighbour on the series{on}", iter([made])
    if has_numba and _cells(data, series) <= CELLS:
        yield f"nearest neighbour by dynamic time warping{on}", _warped(data, series, labels)
    if series.shape[-1] < SHORTEST:
        steps = series.shape[-1]
        log.info(f"no baseline MiniRocket: it needs {SHORTEST} steps, the longest has {steps}")
    elif len(set(labels)) < 2:
        log.info("no baseline MiniRocket: the series that it is trained on are of one class")
    elif has_numba:
        yield f"MiniRocket + ridge classifier{on}", _minirocket(data, series, labels)
    else:
        yield "MiniRocket (left out: pip install numba)", iter([])


def _warped(data: SequenceDataModule, series: np.ndarray, labels: np.ndarray) -> Choices:
    from sktime.classification.distance_based import KNeighborsTimeSeriesClassifier

    model = KNeighborsTimeSeriesClassifier(1, distance="dtw").fit(series, labels)
    yield _in_blocks(data, model.predict)


def _minirocket(data: SequenceDataModule, series: np.ndarray, labels: np.ndarray) -> Choices:
    """What a linear classifier of random convolutions predicts (Dempster et al. 2021,
    https://arxiv.org/abs/2012.08791)."""
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sktime.transformations.panel.rocket import MiniRocketMultivariate

    convolve = MiniRocketMultivariate(random_state=0)
    classify = make_pipeline(StandardScaler(), RidgeClassifierCV(np.logspace(-3, 3, 10)))
    classify.fit(convolve.fit_transform(series), labels)
    yield _in_blocks(data, lambda block: classify.predict(convolve.transform(block)))


def _in_blocks(
    data: SequenceDataModule, predict: Callable[[np.ndarray], np.ndarray]
) -> Predictions:
    longest, channels = _longest(data)
    size = max(1, min(1_000, VALUES // (longest * channels)))

    def of(split: str) -> np.ndarray:
        rows = np.arange(len(data.examples[split]))
        blocks = np.split(rows, range(size, len(rows), size))
        return np.concatenate([predict(_padded(data, split, each, longest)) for each in blocks])

    return {split: of(split) for split in EVALUATED}


def _padded(data: SequenceDataModule, split: str, indices: np.ndarray, longest: int) -> np.ndarray:
    # (N, channels, steps): with zeros at the end; what is longer than in training is cut
    series = take(data.examples[split].inputs, indices)
    made = np.zeros((len(series), longest, series[0].shape[1]), np.float32)
    for row, each in zip(made, series, strict=True):
        row[: len(each)] = interpolate(np.array(each, np.float64), split)[:longest]
    return made.transpose(0, 2, 1)


def _cells(data: SequenceDataModule, series: np.ndarray) -> int:
    # of the tables that dynamic time warping fills
    evaluated = sum(len(data.examples[split]) for split in EVALUATED)
    return len(series) * evaluated * series.shape[1] * series.shape[2] ** 2


# what they are trained on


def _targets(data: SequenceDataModule, split: str) -> Any:
    return data.datasets[split].targets


def _steps(sequences: Iterable[Tensor]) -> np.ndarray:
    return torch.cat([*sequences]).numpy()


def _token(sequence: Tensor) -> Tensor:
    return sequence if sequence.dim() == 1 else sequence[:, 0]  # without its characters


def _longest(data: SequenceDataModule) -> tuple[int, int]:
    # steps of the series to train on, as far as a series may fill memory; and channels
    series = data.examples["train"].inputs
    channels = series[0].shape[1]
    return min(max(map(len, series)), max(SHORTEST, VALUES_EACH // channels)), channels


def _chosen(data: SequenceDataModule) -> tuple[np.ndarray, str]:
    """The training examples to take, and ` on 50 of 90 examples` where those are not all."""
    inputs = data.examples["train"].inputs
    if data.inputs.kind == "tokens":
        most, sizes, limit = TEXTS, [*map(len, inputs)], CHARACTERS[data.baseline_inputs[0]]
    else:
        longest, channels = _longest(data)
        most, sizes, limit = SERIES, [longest * channels] * len(inputs), VALUES
    order = np.random.default_rng(0).permutation(len(inputs))[:most]
    order = order[: max(1, int((np.cumsum(np.array(sizes)[order]) <= limit).sum()))]
    if len(order) == len(inputs):
        return np.arange(len(inputs)), ""
    return np.sort(order), f" on {len(order):,} of {len(inputs):,} examples"


def _counts(data: SequenceDataModule, chosen: np.ndarray, columns: int = 1) -> dict[str, Any]:
    # how often each n-gram is in each text
    from seqmodels.data.linear import n_grams

    inputs = {split: data.examples[split].inputs for split in ("train", *EVALUATED)}
    grams = n_grams(*data.baseline_inputs, columns)
    counts = {"train": grams.fit_transform(take(inputs["train"], chosen))}
    return counts | {split: grams.transform(inputs[split]) for split in EVALUATED}


def _tf_idf(data: SequenceDataModule, chosen: np.ndarray) -> dict[str, Any]:
    from seqmodels.data.linear import tf_idf

    counts = _counts(data, chosen)
    weigh = tf_idf().fit(counts["train"]).transform
    return {split: weigh(each) for split, each in counts.items()}


def _summaries(data: SequenceDataModule, chosen: np.ndarray) -> dict[str, np.ndarray]:
    # the mean and the deviation of each channel, standardised
    from sklearn.preprocessing import StandardScaler

    inputs = {split: data.examples[split].inputs for split in EVALUATED}
    inputs["train"] = take(data.examples["train"].inputs, chosen)
    made = {split: _summary(series) for split, series in inputs.items()}
    scaler = StandardScaler().fit(made["train"])
    return {split: scaler.transform(each) for split, each in made.items()}


def _summary(series: Iterable[np.ndarray]) -> np.ndarray:
    rows = [np.concatenate([np.nanmean(x, 0), np.nanstd(x, 0)]) for x in series]
    return np.nan_to_num(np.stack(rows))
