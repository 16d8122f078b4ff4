"""What the package ships with, but what needs a task whose folder is deleted. Tests of heads use
these lists, so that a head of your own needs a test only if you write one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from seqmodels import tasks
from seqmodels.heads import HEADS

CONFIGS = Path(__file__).parents[1] / "configs"
MODELS = {  # by the folder of their task
    "classification": "classifier",
    "forecasting": "forecaster",
    "language_model": "language_model",
    "regression": "regressor",
    "seq2seq": "seq2seq",
    "tagging": "tagger",
}
DELETED = MODELS.keys() - {folder.__name__.rpartition(".")[2] for folder in tasks.FOLDERS}

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
LANGUAGE_HEADS = tuple(n for n in ("softmax", "tied_softmax") if n in HEADS)
DECODER_HEADS = tuple(name for name in ("attention", "final_state") if name in HEADS)
SELECTING_HEADS = tuple(sorted(CLASSIFIER_HEADS + TAGGER_HEADS + LANGUAGE_HEADS))  # one tensor
ALL_HEADS = tuple(sorted(SELECTING_HEADS + DECODER_HEADS))


def exported(name: str) -> Any:
    """What the folder of a task exports; where that is deleted, the test is skipped."""
    if not hasattr(tasks, name):
        pytest.skip(f"{name} is deleted")
    return getattr(tasks, name)


def fitting_directions(head: str) -> list[bool]:
    """`bidirectional` as that head, with the task it is made for, allows it."""
    if head in LANGUAGE_HEADS:
        return [False]
    return [d for d in (False, True) if HEADS[head].requires_bidirectional in (None, d)]


def with_directions(heads: tuple[str, ...]) -> pytest.MarkDecorator:
    """These heads with each number of directions that they fit."""
    cases = [(head, 2 if two else 1) for head in heads for two in fitting_directions(head)]
    return pytest.mark.parametrize(("head", "directions"), cases)


def lacks(text: str) -> bool:
    """Whether code, a command or a configuration names a task whose folder is deleted, its run in
    `runs/`, or a configuration that does, or that is deleted, too."""
    text = re.sub("#.*", "", text) if DELETED else ""
    runs = {*re.findall(r"runs/(\w+)", text)} & {MODELS[folder] for folder in DELETED}
    if runs or DELETED & {*re.findall(r"seqmodels\.tasks\.(\w+)", text)}:
        return True
    named = re.findall(r"\b(experiment|model|data)(?:=|: )(\w+)", text)
    named += re.findall(r"\bconfigs[/.](experiment|model|data)[/.](\w+)", text)
    files = (CONFIGS / group / f"{name}.yaml" for group, name in named)
    return any(not file.is_file() or lacks(file.read_text(encoding="utf-8")) for file in files)


def skip_where_deleted(text: str) -> None:
    """Skips a test of code, a command or a line that names a task whose folder is deleted."""
    if DELETED and lacks(text):
        pytest.skip(f"deleted: {', '.join(sorted(DELETED))}")
