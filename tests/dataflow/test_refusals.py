"""A head of one's own with a mistake is not trained, although a run audits our own models less."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from seqmodels.dataflow import Dataflow
from seqmodels.dataflow.callback import only_ours
from seqmodels.errors import UserError
from seqmodels.heads import HEADS, Head
from seqmodels.nn.encoder import RNNOutput
from tests.make import batch_for
from tests.networks import noisy_task
from tests.shipped import ALL_HEADS, exported, fitting_directions

LENGTHS = [12, 7, 12, 3]


def mixed_in_training(head: Head, states: RNNOutput) -> Tensor:
    final = states.h_n[-1].transpose(0, 1).flatten(1)
    return final - final.mean(0) if head.training else final


def pooled_padding_in_training(head: Head, states: RNNOutput) -> Tensor:
    return states.output.mean(1) if head.training else states.h_n[-1].transpose(0, 1).flatten(1)


def remembered(head: Any, states: RNNOutput) -> Tensor:
    final = states.h_n[-1].transpose(0, 1).flatten(1)
    before = getattr(head, "before", torch.zeros(()))
    head.before = final.detach().mean()
    return final + before


Select = Callable[[Head, RNNOutput], Tensor]
MISTAKES: dict[str, tuple[str, str, bool, Select]] = {
    "last column": (
        "padding_leak",
        "SequenceClassifier",
        False,
        lambda head, states: states.output[:, -1],
    ),
    "mean over padding": (
        "padding_leak",
        "SequenceClassifier",
        True,
        lambda head, states: states.output.mean(1),
    ),
    "mean over padding in training": (
        "padding_leak",
        "SequenceClassifier",
        True,
        pooled_padding_in_training,
    ),
    "rows mixed": (
        "batch_leak",
        "SequenceClassifier",
        True,
        lambda head, states: states.h_n[-1].reshape(len(states.lengths), -1),
    ),
    "rows mixed in training": ("batch_leak", "SequenceClassifier", True, mixed_in_training),
    "first and last": (
        "truncated_direction",
        "SequenceClassifier",
        True,
        lambda head, states: states.output[:, [0]].flatten(1),
    ),
    "backward alone": (
        "unread_direction",
        "SequenceClassifier",
        True,
        lambda head, states: states.h_n[-1, 1],
    ),
    "noise": (
        "random_state",
        "SequenceClassifier",
        False,
        lambda head, states: states.h_n[-1, 0] + torch.randn(states.h_n.shape[-1]),
    ),
    "kept from call to call": ("state_mixup", "SequenceClassifier", False, remembered),
    "later steps": (
        "future_leak",
        "LanguageModel",
        False,
        lambda head, states: states.output.flip(1).cumsum(1).flip(1),
    ),
    "tags of another row": (
        "batch_leak",
        "Tagger",
        True,
        lambda head, states: states.output.roll(1, 0),
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_a_head_of_ones_own_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, kind, two, read = MISTAKES[name]

    class Own(Head):
        reads = ("output", "h_n")
        per = "step" if kind != "SequenceClassifier" else "sequence"

        def select(self, states: RNNOutput) -> Tensor:
            return read(self, states)

    Own.name = "own"
    monkeypatch.setitem(HEADS, "own", Own)
    made = exported(kind)
    task = made(dict(made.contract.kind.example), {"hidden_size": 8, "bidirectional": two}, "own")
    assert not only_ours(task)
    with pytest.raises(UserError, match=f"^model.head=own: {found}: "):
        Dataflow()._audit(task, batch_for(task, LENGTHS))


@pytest.mark.parametrize("head", ALL_HEADS)
def test_our_own_models_have_no_mistakes_that_a_run_no_longer_looks_for(
    head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = fitting_directions(head)[-1]
    task = noisy_task(head, num_layers=2, bidirectional=two, dropout=0.3)
    assert only_ours(task)
    monkeypatch.setattr("seqmodels.dataflow.callback.only_ours", lambda task: False)
    Dataflow()._audit(task, batch_for(task, LENGTHS))
