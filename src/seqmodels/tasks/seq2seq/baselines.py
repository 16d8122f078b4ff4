"""Texts without a network: a copy of the source, and the most frequent target."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain

from torch import Tensor

from seqmodels.data.baseline_features import baseline_rows
from seqmodels.data.module import EVALUATED, Split
from seqmodels.target import Baselines
from seqmodels.tasks.seq2seq.pairs import PairDataModule
from seqmodels.tasks.seq2seq.text_scores import text_counts, text_scores


def text_baselines(data: PairDataModule) -> Baselines:
    """The scores of a copy of the source, and of the most frequent target."""
    every = Counter(chain.from_iterable(data.examples["train"].targets))
    [[frequent, _]] = every.most_common(1)
    level = data.targets.tokens.options.level
    sources = {split: data.examples[split].inputs for split in EVALUATED}
    same = {split: [frequent] * len(sources[split]) for split in EVALUATED}

    def score(split: Split, texts: Sequence[str]) -> dict[str, Tensor]:
        counts = text_counts(texts, data.datasets[split].references, level).sum(dim=0)
        return text_scores(counts, level)

    return baseline_rows({"copy of the source": sources, "most frequent target": same}, score)
