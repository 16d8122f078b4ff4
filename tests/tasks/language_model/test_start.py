"""A classifier starts from a language model: its tokenizer, embedding and encoder."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest
import torch

from seqmodels.engine.optimization import grouped
from seqmodels.runs import load_run
from seqmodels.runs.checkpoint import read_checkpoint
from seqmodels.tasks.classification import SequenceClassifier
from tests.conftest import Refused, Script
from tests.runs.resumed import stopped_by

QUICK = ("trainer=cpu", "baseline=false", "callbacks.dataflow=null")
SIZES = ("model.encoder.hidden_size=12", "model.embedding.size=12")


@pytest.fixture
def language_model(script: Script, reviews: Path, tmp_path: Path) -> Path:
    """A run on the texts of a table."""
    own = ("model=language_model", "data=text_lm", f"data.train={reviews}", "data.text_column=text")
    own += (
        "data.tokenizer=word",
        "data.batch_size=2",
        "data.window=5",
        "data.evaluation_streams=1",
    )
    script(
        "train.py",
        *own,
        *SIZES[:1],
        *("model.encoder.num_layers=1",),
        *QUICK,
        "trainer.max_epochs=1",
        "folder=lm",
    )
    return tmp_path / "lm"


@pytest.fixture
def classifier(reviews: Path) -> tuple[str, ...]:
    return (
        "data=text",
        f"data.train={reviews}",
        "data.lowercase=false",
        "model.training.start=lm",
        *SIZES,
    )


def test_embedding_and_forward_direction_are_those_of_the_language_model(
    script: Script, language_model: Path, classifier: tuple[str, ...], tmp_path: Path
) -> None:
    own = (*classifier, *QUICK, "model.head=max_pool", "model.encoder.bidirectional=true")
    frozen = (
        "model.optimizer.lr=1e-30",
        "model.optimizer.weight_decay=0",
        "trainer.max_epochs=1",
        "folder=run",
    )
    script("train.py", *own, *frozen)
    start = load_run(language_model)
    run = load_run(tmp_path / "run")
    weights, given = run.task.state_dict(), start.task.state_dict()
    assert torch.equal(weights["embedding.weight"], given["embedding.weight"])
    for name, value in given.items():
        if name.startswith("encoder."):
            assert torch.equal(weights[name], value), name
            assert not torch.equal(weights[f"{name}_reverse"], value), name
    text = "a good film, never seen"
    [row] = run.data.batch_of([text]).inputs
    assert row.tolist() == start.data.vocabulary.encode(text).ids


def test_nothing_of_it_is_needed_later(
    script: Script, language_model: Path, classifier: tuple[str, ...], tmp_path: Path
) -> None:
    own = (*classifier, *QUICK, "trainer.max_epochs=3")
    script("train.py", *own, "folder=whole")
    script("train.py", *own, *stopped_by(signal.SIGTERM, 5), "folder=cut", status=143)
    shutil.rmtree(language_model)
    script("train.py", "resume=cut")
    whole, cut = (
        read_checkpoint(tmp_path / name / "checkpoints" / "last.ckpt")["state_dict"]
        for name in ("whole", "cut")
    )
    assert all(torch.equal(value, cut[name]) for name, value in whole.items())
    script("evaluate.py", "run=cut")
    predicted = script("predict.py", "run=cut", "input=-", stdin="good\n")
    assert '"label"' in predicted.stdout


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            ["data.lowercase=true"],
            "has another tokenizer: set data.tokenizer=word data.lowerc",
        ),
        (["data.tokenizer=char"], "has another tokenizer: set data.tokenizer=word"),
        (["model.encoder.cell=gru"], "has other sizes: set model.encoder.cell=lstm"),
        (["model.embedding.size=9"], "has other sizes: set model.embedding.size=12"),
        (["model.training.start=nowhere"], "nowhere"),
        (["data=japanese_vowels"], "UEA cannot start from a language model"),
        (
            ["model.training.start_lr=0"],
            "model.training.start_lr=0: input should",
        ),
    ],
)
def test_what_does_not_fit_is_named(
    changes: list[str],
    message: str,
    refused: Refused,
    language_model: Path,
    classifier: tuple[str, ...],
    tmp_path: Path,
) -> None:
    if changes[0].startswith("data="):
        classifier = classifier[3:]
    line = refused("train.py", *classifier, *QUICK, *changes, "folder=run")
    assert message in line
    assert not (tmp_path / "run").exists()


def test_the_run_of_a_classifier_is_refused(
    script: Script, refused: Refused, reviews: Path, tmp_path: Path
) -> None:
    own = ("data=text", f"data.train={reviews}", *QUICK, "trainer.max_epochs=1")
    script("train.py", *own, "folder=first")
    assert "first is the run of a SequenceClassifier, not of a language model" in refused(
        "train.py", *own, "model.training.start=first", "folder=second"
    )


def test_layers_are_unfrozen_from_the_last_one_down_to_the_embedding() -> None:
    data = {"inputs": "tokens", "num_inputs": 9, "classes": ["a", "b"]}
    task = SequenceClassifier(
        data,
        {"hidden_size": 3, "num_layers": 2, "bidirectional": False},
        training={"start": "lm", "start_lr": 0.1, "unfreeze": 600},
    )
    learns = rates_by_name(task)
    assert learns["head.output.project.weight"] == (None, 0)
    assert learns["encoder.rnn.weight_hh_l1"] == (0.1, 200)
    assert learns["encoder.rnn.bias_ih_l0"] == (0.1, 400)
    assert learns["embedding.weight"] == (0.1, 600)


def test_a_backward_direction_learns_from_the_start() -> None:
    data = {"inputs": "tokens", "num_inputs": 9, "classes": ["a", "b"]}
    task = SequenceClassifier(
        data,
        {"hidden_size": 3, "bidirectional": True},
        "max_pool",
        training={"start": "lm", "unfreeze": 50},
    )
    learns = rates_by_name(task)
    assert learns["encoder.rnn.weight_hh_l0"] == (None, 25)
    assert learns["encoder.rnn.weight_hh_l0_reverse"] == (None, 0)


def rates_by_name(task: SequenceClassifier) -> dict[str, tuple[float | None, int]]:
    groups = grouped(dict(task.named_parameters()), task.rates())
    return {
        name: (rate.lr, rate.frozen)
        for name, parameter in task.named_parameters()
        for rate, members in groups.items()
        if any(parameter is member for member in members)
    }
