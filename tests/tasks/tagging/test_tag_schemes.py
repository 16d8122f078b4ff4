"""Tags that mark spans, against seqeval."""

from __future__ import annotations

import random

import pytest
import torch
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.metrics.sequence_labeling import precision_recall_fscore_support

from seqmodels.batch import PADDING_TARGET
from seqmodels.data.targets import mark_spans
from seqmodels.engine.class_task import scores
from seqmodels.tasks.tagging.spans import SpanCounter

TYPES = ("LOC", "a-b", "B")
SCORES = {"precision": precision_score, "recall": recall_score, "f1": f1_score}
LETTERS = {"BIO": "BI", "BIOES": "BIES", "BILOU": "BILU"}
TAGS = {
    scheme: ["O", *(f"{letter}-{kind}" for letter in letters for kind in TYPES)]
    for scheme, letters in LETTERS.items()
}


def taggings(scheme: str, count: int, seed: int) -> list[list[str]]:
    """Random rows; every second one of few different tags, so that spans are long and agree."""
    drawn = random.Random(seed)
    rows = []
    for number in range(count):
        tags = drawn.sample(TAGS[scheme], 3) if number % 2 else TAGS[scheme]
        rows.append([drawn.choice(tags) for _ in range(drawn.randint(1, 9))])
    return rows


# ---------------------------------------------------------------- schemes


def test_only_tags_with_a_beginning_or_an_inside_mark_spans() -> None:
    for tags in (["O", "B-NP", "I-NP"], ["O", "I-NP"], ["I-x", "U-x"]):
        assert mark_spans(tags)
    # in `S-x E-y` no span would ever be longer than a step
    for tags in (["NN", "O"], ["S-x", "E-y"], ["b-x", "B_x", "x-B", "O"]):
        assert not mark_spans(tags)


# ---------------------------------------------------------------- scores


def flat(rows: list[list[str]], tags: list[str], width: int) -> torch.Tensor:
    numbers = [[tags.index(tag) for tag in row] for row in rows]
    return torch.tensor([row + [PADDING_TARGET] * (width - len(row)) for row in numbers])


@pytest.mark.parametrize("scheme", ["BIO", "BIOES"])
def test_scores_are_those_of_another_library_on_1000_taggings(scheme: str) -> None:
    truth, tags = taggings(scheme, 1000, seed=3), TAGS[scheme]
    drawn = random.Random(4)
    predicted = [[t if drawn.random() < 0.8 else drawn.choice(tags) for t in row] for row in truth]
    count, counts = SpanCounter(tags), 0
    for start in range(0, 1000, 37):  # batches of several widths
        rows = slice(start, start + 37)
        width = max(map(len, truth[rows])) + start % 2
        found, there = (flat(each[rows], tags, width) for each in (predicted, truth))
        found[there == PADDING_TARGET] = drawn.randrange(len(tags))  # anything at padding
        counts = counts + count(found, there)
    whole = scores(counts.sum(1))
    for name, score in SCORES.items():
        assert float(whole[name]) == pytest.approx(score(truth, predicted), abs=1e-6)
    by_type = precision_recall_fscore_support(truth, predicted, average=None)
    for found, expected in zip(scores(counts[:, :-1]).values(), by_type, strict=False):
        torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float32))
    assert counts[2].tolist() == [*by_type[3], 0]


def test_a_span_does_not_run_into_the_next_row_or_over_an_unknown_step() -> None:
    tags = ["O", "B-x", "I-x"]
    target = torch.tensor([[1, 2, -100, 2, 1], [2, -100, -100, -100, -100]])
    made = torch.tensor([[1, 2, 2, 2, 1], [2, 2, 2, 0, 1]])
    # by hand: [B I] [I] [B], [I]; each of them is right, and what is predicted at -100 is not read
    assert SpanCounter(tags)(made, target).tolist() == [[4, 0], [4, 0], [4, 0]]
