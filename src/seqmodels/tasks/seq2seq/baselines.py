"""Texts without a network: a copy of the source, and the target of the nearest one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from seqmodels.data.baseline_features import tf_idf_features, training_examples
from seqmodels.data.columns import take
from seqmodels.data.module import EVALUATED
from seqmodels.target import Baselines
from seqmodels.tasks.seq2seq.pairs import PairDataModule
from seqmodels.tasks.seq2seq.text_scores import nearest

ROWS = 128  # to compare with all of the training at a time


def text_baselines(data: PairDataModule) -> Baselines:
    """`exact_match` and `symbol_error_rate` of a copy of the source, and of the first target of the
    training source with the nearest tf-idf."""
    chosen, on = training_examples(data)
    features = tf_idf_features(data, chosen)
    targets = take(data.examples["train"].targets, chosen)
    level = data.targets.tokens.options.level
    found: Baselines = {}
    for split in EVALUATED:
        references = data.datasets[split].references
        guesses = {
            "copy of the source": data.examples[split].inputs,
            f"target of the nearest source{on}": [
                targets[row][0] for row in _nearest_rows(features[split], features["train"])
            ],
        }
        for name, texts in guesses.items():
            pairs = [*zip(texts, references, strict=True)]
            right = sum(text in allowed for text, allowed in pairs) / len(pairs)
            errors, symbols = np.sum([nearest(*pair, level) for pair in pairs], axis=0).tolist()
            scores = {"exact_match": right, "symbol_error_rate": errors / symbols}
            for metric, score in scores.items():
                found.setdefault(f"{split}/{metric}", {})[name] = score
    return found


def _nearest_rows(features: Any, others: Any) -> Iterator[int]:
    for first in range(0, features.shape[0], ROWS):
        similar = features[first : first + ROWS] @ others.T
        yield from similar.toarray().argmax(axis=1).tolist()
