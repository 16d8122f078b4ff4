"""Kinds of target: what the package asks of each, registered by the folder of its task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from seqmodels.errors import UserError, choices
from seqmodels.plugins import import_plugins

# What a data module would tell of made-up inputs, for the example of a target.
TOKENS: Mapping[str, Any] = {"inputs": "tokens", "num_inputs": 100}
FEATURES: Mapping[str, Any] = {"inputs": "features", "num_inputs": 3}


BaselineScores = dict[str, dict[str, float]]
"""Metrics of simple baselines: `metric -> baseline -> value`."""


class Baselines(NamedTuple):
    """What simple baselines do with the splits to evaluate.

    Args:
        scores: such as `test/accuracy`.
        wrong_rows: the rows of the test split that each one predicts wrongly, by its name; of a
            baseline whose predictions are neither right nor wrong, nothing.
    """

    scores: BaselineScores
    wrong_rows: Mapping[str, Sequence[int]] = {}


@dataclass(frozen=True)
class Target:
    """A kind of target: its words in tables, pictures and errors, and what follows from it.

    A new one is a line `TARGETS["ranking"] = Target(...)` beside its task, whose contract and data
    then name it.

    Args:
        what: one of them: `a class`.
        logits: what the logits are: `of the classes`.
        size: the letter for the number of logits.
        unit: what a speed counts: `examples` or `tokens`.
        choose: what to write on the command line to get this kind: first the model.
        at_each_step: what to write besides that model to predict one at each step, where it also
            predicts one for each sequence.
        metric: to compare runs by, without its split.
        example: what a data module would tell the task about made-up data, to explain it with.
        step: a prediction at one step, in a picture; `{next}` is the step after it.
        decoder: whether a decoder writes it. Then a head has to start one, and the head's output
            module has it as `rnn`; sequences are read whole.
        baselines: computes those of a data module with such targets.
    """

    what: str
    logits: str
    size: str
    unit: str
    choose: str
    metric: str
    example: Mapping[str, Any]
    at_each_step: str = ""
    step: str = "y{step}"
    decoder: bool = False
    baselines: Callable[[Any], Baselines] | None = None


TARGETS: dict[str, Target] = {}
"""By the name that contracts and data give."""


def has_target(name: str) -> bool:
    """Whether a task of this project, or of an installed one, learns that kind of target."""
    if name not in TARGETS:
        import_plugins()
    return name in TARGETS


def find_target(name: str) -> Target:
    """The kind of target of that name. Raises UserError with the names there are, and the
    nearest."""
    if not has_target(name):
        raise UserError(
            f"unknown target {name}: {choices(name, TARGETS)}; to make a new one, register it in "
            "seqmodels.target.TARGETS beside its task"
        )
    return TARGETS[name]
