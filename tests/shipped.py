"""The heads that the package ships with, but those of a task whose folder is deleted. Tests of
theirs use this list, so that a head of your own needs a test only if you write one."""

from __future__ import annotations

import seqmodels.tasks  # noqa: F401  (registers their heads)
from seqmodels.heads import HEADS

CLASSIFIER_HEADS = (
    "attention_pool",
    "bidirectional_concat",
    "concat_pool",
    "last_hidden",
    "last_output",
    "max_attention_pool",
    "max_pool",
    "mean_pool",
)
TAGGER_HEADS = ("every_step",)
LANGUAGE_HEADS = tuple(n for n in ("adaptive_softmax", "softmax", "tied_softmax") if n in HEADS)
DECODER_HEADS = tuple(name for name in ("attention", "final_state") if name in HEADS)
SELECTING_HEADS = tuple(sorted(CLASSIFIER_HEADS + TAGGER_HEADS + LANGUAGE_HEADS))  # one tensor
ALL_HEADS = tuple(sorted(SELECTING_HEADS + DECODER_HEADS))


def fitting_directions(head: str) -> list[bool]:
    """`bidirectional` as that head, with the task it is made for, allows it."""
    if head in LANGUAGE_HEADS:
        return [False]
    return [d for d in (False, True) if HEADS[head].requires_bidirectional in (None, d)]
