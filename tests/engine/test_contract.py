"""What follows from a contract: heads, directions, data, words."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor

from seqmodels.batch import SequenceBatch
from seqmodels.dataflow import trace
from seqmodels.dataflow.diagram import draw
from seqmodels.dataflow.explain import example_batch
from seqmodels.dataflow.table import tensor_table
from seqmodels.engine import Contract, Step, Task
from seqmodels.errors import UserError
from seqmodels.heads import Head
from seqmodels.nn.encoder import RNNOutput
from seqmodels.nn.outputs import ClassOutput
from seqmodels.tasks.classification import SequenceClassifier
from tests.networks import example_task
from tests.shipped import exported

DATA = {"inputs": "tokens", "num_inputs": 11, "classes": ["a", "b", "c"]}


class Tagging(Task):
    """Looks ahead: may read in both directions, and must not be called a leak for it."""

    contract = Contract(per="step", target="class")

    def make_output(self, width: int, **options: Any) -> ClassOutput:
        return ClassOutput(width, len(self.hparams["data"]["classes"]), **options)

    def step(self, batch: SequenceBatch) -> Step:
        assert batch.targets is not None
        loss = self.head.loss(self.encode(batch), batch.targets)
        return Step(loss, int(batch.lengths.sum()))


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
    assert Tagging(DATA, {"hidden_size": 4}, step_head).encoder.bidirectional
    one = Tagging(DATA, {"hidden_size": 4, "bidirectional": False}, step_head)
    assert not one.encoder.bidirectional
    for wanted in (None, "if_possible"):
        made = Causal(DATA, {"hidden_size": 4, "bidirectional": wanted}, step_head)
        assert not made.encoder.bidirectional
    options = {"hidden_size": 4, "bidirectional": "if_possible"}
    assert SequenceClassifier(DATA, options, "max_pool").encoder.bidirectional
    with pytest.raises(UserError, match=r"must read in one direction, because .*: set model\.enc"):
        Causal(DATA, {"hidden_size": 4, "bidirectional": True}, step_head)


def test_heads_that_do_not_fit_are_refused(step_head: str) -> None:
    with pytest.raises(UserError, match="max_pool reads one vector for each sequence, .* each st"):
        Tagging(DATA, {"hidden_size": 4}, "max_pool")
    with pytest.raises(UserError, match="all_of_output reads one vector for each step, and this"):
        SequenceClassifier(DATA, {"hidden_size": 4}, step_head)


@pytest.mark.parametrize(
    ("task", "head", "size", "holds", "shown"),
    [
        (Tagging, "all_of_output", "(B, T, C)", "of the classes", "y0"),
        ("Tagger", "every_step", "(B, T, C)", "of the tags", "y0"),
        ("Regressor", "mean_pool", "(B, K)", "the values", "logits"),
        ("SequenceClassifier", "mean_pool", "(B, C)", "of the classes", "logits"),
        ("LanguageModel", "tied_softmax", "(B, T, V)", "of the next token", "p(x1)"),
    ],
)
@pytest.mark.usefixtures("step_head")
def test_table_and_picture_take_their_words_from_the_contract(
    task: Any, head: str, size: str, holds: str, shown: str
) -> None:
    task = exported(task) if isinstance(task, str) else task
    made = example_task("lstm", 1, False, head, task)
    seen = trace(made, example_batch(made, 4))
    console = Console(width=150, file=io.StringIO())
    console.print(tensor_table(made, seen))
    [row] = [line for line in console.file.getvalue().splitlines() if line.startswith(" logits")]  # type: ignore[attr-defined]
    assert size in row and holds in row
    drawing = draw(made, seen, row=1)
    carried = any(label.text == "→ next window" for label in drawing.labels)
    assert carried == task.contract.stateful
    assert next(box.text for box in drawing.boxes if box.kind == "logits") == shown


def test_a_function_of_a_task_carries_its_state_only_if_the_contract_says_so(
    step_head: str,
) -> None:
    class Stateful(Causal):
        contract = replace(Causal.contract, stateful=True)

    task = Stateful(DATA, {"hidden_size": 4}, step_head).eval()
    ids, lengths = torch.randint(11, (2, 6)), torch.tensor([6, 6])
    whole, _ = task.as_function()(ids, lengths)
    first, state = task.as_function()(ids[:, :4], lengths - 2)
    second, _ = task.as_function()(ids[:, 4:], lengths - 4, state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)
    classifier = SequenceClassifier(DATA, {"hidden_size": 4}).eval()
    logits = classifier.as_function()(ids, lengths)
    assert torch.equal(logits, classifier(SequenceBatch(ids, lengths)))


def test_an_option_that_no_task_has_is_an_error() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'hidden'"):
        SequenceClassifier(DATA, {"hidden_size": 4}, hidden=3)
