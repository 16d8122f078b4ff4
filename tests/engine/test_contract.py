"""What follows from a contract: heads, directions, the state that is carried; and what an epoch
keeps of its steps."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from seqmodels.batch import SequenceBatch
from seqmodels.engine import Contract, Step, Task
from seqmodels.engine.contract import Sums
from seqmodels.errors import UserError
from seqmodels.heads import Head
from seqmodels.nn.encoder import RNNOutput
from seqmodels.nn.outputs import ClassOutput, Score
from seqmodels.tasks.classification import SequenceClassifier
from tests.make import batch_for, build_task
from tests.shipped import exported

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


# ---------------------------------------------------------------- sums of steps


CLASSES = {"inputs": "tokens", "num_inputs": 11, "classes": ["O", "B-x", "I-x"]}
VALUES = {"inputs": "tokens", "num_inputs": 11, "values": ["a"], "mean": [0.0], "deviation": [1.0]}
LENGTHS = [5, 3, 2]


@pytest.mark.parametrize(
    ("name", "data"), [("SequenceClassifier", CLASSES), ("Tagger", CLASSES), ("Regressor", VALUES)]
)
def test_what_a_checkpoint_holds_of_an_epoch_does_not_grow_with_its_steps(
    name: str, data: dict[str, Any]
) -> None:
    task = build_task(exported(name), data).train()
    sizes = []
    for steps in (2, 9, 90):
        for _ in range(steps):
            task.training_step(batch_for(task, LENGTHS))
        file = io.BytesIO()
        torch.save(task.process_state(), file)
        sizes.append(len(file.getvalue()))
    assert sizes[0] == sizes[1] == sizes[2]
    assert sum(v.numel() for v in task.sums["train"].totals.values() if torch.is_tensor(v)) < 40


def test_sums_add_up_to_the_mean_over_targets_and_can_be_taken_apart_again() -> None:
    generator = torch.Generator().manual_seed(0)
    losses = torch.rand(40, generator=generator)
    weights = torch.randint(0, 9, (40,), generator=generator)
    sums, half = Sums(), Sums()
    for number, (loss, weight) in enumerate(zip(losses, weights, strict=True)):
        half = Sums(sums.totals) if number == 20 else half
        sums.add(Step(Score(loss, weight), {"seen": weight}))
    whole, late = (each.of_all(torch.device("cpu")) for each in (sums, sums.since(half)))
    for totals, rows in ((whole, slice(None)), (late, slice(20, None))):
        expected = (losses.double() * weights)[rows].sum() / weights[rows].sum()
        torch.testing.assert_close(totals["loss"] / totals["weight"], expected)
        assert totals["seen"] == totals["weight"] == weights[rows].sum()


def test_sums_go_on_over_the_end_of_an_epoch_in_which_nothing_was_logged() -> None:
    first_epoch, second_epoch = Sums(), Sums()
    first_epoch.add(Step(Score(torch.tensor(0.5), torch.tensor(4))))
    logged = Sums().since(first_epoch)  # as the start of the second epoch does
    second_epoch.add(Step(Score(torch.tensor(2.0), torch.tensor(1))))
    assert second_epoch.since(logged).totals == {"loss": 0.5 * 4 + 2.0 * 1, "weight": 4 + 1}
    assert logged.since(Sums()).totals == {"loss": -0.5 * 4, "weight": -4}
