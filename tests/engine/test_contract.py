"""What follows from a contract: heads, directions, the state that is carried."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from seqmodels.batch import SequenceBatch
from seqmodels.engine import Contract, Step, Task
from seqmodels.errors import UserError
from seqmodels.heads import Head
from seqmodels.nn.encoder import RNNOutput
from seqmodels.nn.outputs import ClassOutput
from seqmodels.tasks.classification import SequenceClassifier

DATA = {"inputs": "tokens", "num_inputs": 11, "classes": ["a", "b", "c"]}


class Tagging(Task):
    """Looks ahead: may read in both directions, and must not be called a leak for it."""

    contract = Contract(per="step", target="class")

    def make_output(self, width: int, **options: Any) -> ClassOutput:
        return ClassOutput(width, len(self.hparams["data"]["classes"]), **options)

    def step(self, batch: SequenceBatch) -> Step:
        return Step(self.score(batch))


class Causal(Tagging):
    contract = Contract(per="step", target="class", causal=True)


@pytest.fixture
def step_head() -> str:
    class All(Head, name="all_of_output"):
        reads = ("output",)
        per = "step"

        def select(self, states: RNNOutput) -> Tensor:
            return states.output

    return All.name


def test_a_task_that_looks_ahead_reads_in_both_directions_unless_told(step_head: str) -> None:
    assert Tagging(DATA, {"hidden_size": 4}, step_head).network.encoder.bidirectional
    one = Tagging(DATA, {"hidden_size": 4, "bidirectional": False}, step_head)
    assert not one.network.encoder.bidirectional
    for wanted in (None, "if_possible"):
        made = Causal(DATA, {"hidden_size": 4, "bidirectional": wanted}, step_head)
        assert not made.network.encoder.bidirectional
    options = {"hidden_size": 4, "bidirectional": "if_possible"}
    assert SequenceClassifier(DATA, options, "max_pool").network.encoder.bidirectional
    with pytest.raises(UserError, match=r"must read in one direction, because .*: set model\.enc"):
        Causal(DATA, {"hidden_size": 4, "bidirectional": True}, step_head)


def test_heads_that_do_not_fit_are_refused(step_head: str) -> None:
    with pytest.raises(UserError, match="max_pool reads one vector for each sequence, .* each st"):
        Tagging(DATA, {"hidden_size": 4}, "max_pool")
    with pytest.raises(UserError, match="all_of_output reads one vector for each step, and this"):
        SequenceClassifier(DATA, {"hidden_size": 4}, step_head)


def test_a_function_of_a_task_carries_its_state_only_if_the_contract_says_so(
    step_head: str,
) -> None:
    class Stateful(Causal):
        contract = replace(Causal.contract, stateful=True)

    task = Stateful(DATA, {"hidden_size": 4}, step_head).eval()
    ids, lengths = torch.randint(11, (2, 6)), torch.tensor([6, 6])
    whole, _ = task.network(ids, lengths)
    first, state = task.network(ids[:, :4], lengths - 2)
    second, _ = task.network(ids[:, 4:], lengths - 4, state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)
    classifier = SequenceClassifier(DATA, {"hidden_size": 4}).eval()
    logits = classifier.network(ids, lengths)
    assert torch.equal(logits, classifier(SequenceBatch(ids, lengths)))
