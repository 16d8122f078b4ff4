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
from seqmodels.tasks.seq2seq.pairs import PairDataModule, PairDataset
from seqmodels.tasks.seq2seq.text_scores import text_counts, text_scores


def text_baselines(data: PairDataModule) -> Baselines:
    """Returns the scores of a copy of the source, of the most frequent target, and of a table of
    the most frequent target of each source token."""
    target_counts = Counter(chain.from_iterable(data.examples["train"].targets))
    [[most_frequent_target, _]] = target_counts.most_common(1)
    level = data.targets.tokens.options.level
    copies: dict[Split, Any] = {}
    constant_texts: dict[Split, list[str]] = {}
    for split in EVALUATED:
        copies[split] = data.examples[split].inputs
        constant_texts[split] = [most_frequent_target] * len(copies[split])

    def score(split: Split, texts: Sequence[str]) -> dict[str, Tensor]:
        counts = text_counts(texts, data.datasets[split].references, level).sum(dim=0)
        return text_scores(counts, level)

    texts_by_model: dict[str, dict[Split, list[str]]] = {
        "copy of the source": copies,
        "most frequent target": constant_texts,
        "most frequent target of each source token": _texts_by_table(data),
    }
    return baseline_rows(texts_by_model, score)


def _texts_by_table(data: PairDataModule) -> dict[Split, list[str]]:
    """Returns the texts of each split that a table writes, one source token after the other."""
    table = _segments_of_tokens(data.to_learn_from())
    decode = data.targets.tokens.tokenizer.decode
    texts_by_split: dict[Split, list[str]] = {}
    for split in EVALUATED:
        texts = []
        for source in data.datasets[split].sequences:
            ids: list[int] = []
            for token in source.tolist():
                ids += table.get(token, ())
            texts.append(decode(ids))
        texts_by_split[split] = texts
    return texts_by_split


def _segments_of_tokens(pairs: PairDataset) -> dict[int, tuple[int, ...]]:
    """Returns the most frequent segment of a target for each source token. Each target is cut in
    segments of equal length, one for each token of its source."""
    segment_counts = defaultdict[int, Counter[tuple[int, ...]]](Counter)
    numbers = zip(pairs.source_numbers.tolist(), pairs.target_numbers.tolist(), strict=True)
    for source_number, target_number in numbers:
        source = pairs.sequences[source_number].tolist()
        target = pairs.targets[target_number].tolist()
        cuts = np.rint(np.linspace(0, len(target), len(source) + 1)).astype(int).tolist()
        for token, (start, stop) in zip(source, pairwise(cuts), strict=True):
            segment = tuple(target[start:stop])
            segment_counts[token][segment] += 1
    table = {}
    for token, counts in segment_counts.items():
        [[table[token], _]] = counts.most_common(1)
    return table
