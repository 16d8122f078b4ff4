"""Texts without a network: a copy of the source, and the most frequent target."""

from __future__ import annotations

from collections import Counter
from itertools import chain

from seqmodels.data.module import EVALUATED
from seqmodels.target import Baselines
from seqmodels.tasks.seq2seq.pairs import PairDataModule
from seqmodels.tasks.seq2seq.text_scores import text_counts, text_scores


def text_baselines(data: PairDataModule) -> Baselines:
    """The scores of a copy of the source, and of the most frequent target."""
    every = Counter(chain.from_iterable(data.examples["train"].targets))
    [[frequent, _]] = every.most_common(1)
    level = data.targets.tokens.options.level
    found: Baselines = {}
    for split in EVALUATED:
        references = data.datasets[split].references
        guesses = {
            "copy of the source": data.examples[split].inputs,
            "most frequent target": [frequent] * len(references),
        }
        for name, texts in guesses.items():
            counts = text_counts(texts, references, level).sum(dim=0)
            for metric, value in text_scores(counts, level).items():
                found.setdefault(f"{split}/{metric}", {})[name] = float(value)
    return found
