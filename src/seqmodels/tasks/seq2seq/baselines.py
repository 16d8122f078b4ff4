"""Texts without a network: a copy of the source, the target of the nearest one, and the most
frequent one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import Any

from seqmodels.data.baseline_features import tf_idf_features, training_examples
from seqmodels.data.examples import take
from seqmodels.data.module import EVALUATED
from seqmodels.target import Baselines
from seqmodels.tasks.seq2seq.pairs import PairDataModule
from seqmodels.tasks.seq2seq.text_scores import SCORES_OF, TextScores

ROWS = 128  # to compare with all of the training at a time


def text_baselines(data: PairDataModule) -> Baselines:
    """The usual scores of a copy of the source, of the first target of the training source with the
    nearest tf-idf, and of the most frequent target."""
    chosen, on = training_examples(data)
    features = tf_idf_features(data, chosen)
    targets = take(data.examples["train"].targets, chosen)
    every = Counter(chain.from_iterable(data.examples["train"].targets))
    [[frequent, _]] = every.most_common(1)
    level = data.targets.tokens.options.level
    scores = TextScores(SCORES_OF[level], level)
    found: Baselines = {}
    for split in EVALUATED:
        references = data.datasets[split].references
        guesses = {
            "copy of the source": data.examples[split].inputs,
            f"target of the nearest source{on}": [
                targets[row][0] for row in _nearest_rows(features[split], features["train"])
            ],
            "most frequent target": [frequent] * len(references),
        }
        for name, texts in guesses.items():
            counts = scores.counts(texts, references).sum(dim=0)
            for metric, value in scores.scores(counts).items():
                found.setdefault(f"{split}/{metric}", {})[name] = float(value)
    return found


def _nearest_rows(features: Any, others: Any) -> Iterator[int]:
    for first in range(0, features.shape[0], ROWS):
        similar = features[first : first + ROWS] @ others.T
        yield from similar.toarray().argmax(axis=1).tolist()
