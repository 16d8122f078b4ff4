"""Texts without a network: a copy of the source, the most frequent target, a table of tokens."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import chain, pairwise
from typing import Any

import numpy as np
from torch import Tensor

from seqmodels.data.baseline_features import baseline_rows
from seqmodels.data.examples import EVALUATED, Split
from seqmodels.target import Baselines
from seqmodels.tasks.seq2seq.pairs import PairDataModule
from seqmodels.tasks.seq2seq.text_scores import text_counts, text_scores


def text_baselines(data: PairDataModule) -> Baselines:
    """The scores of a copy of the source, of the most frequent target, and of a table of the most
    frequent target of each source token: a share of the target that is as long for each."""
    every = Counter(chain.from_iterable(data.examples["train"].targets))
    [[frequent, _]] = every.most_common(1)
    level = data.targets.tokens.options.level
    sources: dict[Split, Any] = {split: data.examples[split].inputs for split in EVALUATED}
    same = {split: [frequent] * len(sources[split]) for split in EVALUATED}

    def score(split: Split, texts: Sequence[str]) -> dict[str, Tensor]:
        counts = text_counts(texts, data.datasets[split].references, level).sum(dim=0)
        return text_scores(counts, level)

    models: dict[str, dict[Split, list[str]]]
    models = {"copy of the source": sources, "most frequent target": same}
    models["most frequent target of each source token"] = _by_table(data)
    return baseline_rows(models, score)


def _by_table(data: PairDataModule) -> dict[Split, list[str]]:
    learned, counts = data.to_learn_from(), defaultdict[int, Counter[tuple[int, ...]]](Counter)
    for row, target in learned.rows.T.tolist():
        source, wanted = learned.sequences[row].tolist(), learned.targets[target].tolist()
        ends = np.rint(np.linspace(0, len(wanted), len(source) + 1)).astype(int).tolist()
        for token, (start, end) in zip(source, pairwise(ends), strict=True):
            counts[token][tuple(wanted[start:end])] += 1
    table = {token: parts.most_common(1)[0][0] for token, parts in counts.items()}
    decode = data.targets.tokens.tokenizer.decode
    return {
        split: [
            decode(chain.from_iterable(table.get(token, ()) for token in source.tolist()))
            for source in data.datasets[split].sequences
        ]
        for split in EVALUATED
    }
