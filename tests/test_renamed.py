"""Older names of a model's arguments: the command line says the new one, run folders load."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from seqmodels.signatures import arguments

from seqmodels.engine import Task
from seqmodels.renamed import RENAMED, name_of_today, with_names_of_today
from seqmodels.tasks import TASKS
from seqmodels.tasks.classification import SequenceClassifier
from seqmodels.tasks.regression import Regressor
from seqmodels.tasks.tagging import Tagger
from tests.conftest import Refused


class Own(Task):
    def __init__(
        self, data: Any, encoder: Any, head: str, class_weights: int, **options: Any
    ) -> None:
        super().__init__(data, encoder, head, class_weights=class_weights, **options)


def today(kind: type[Task], model: dict[str, Any]) -> dict[str, Any]:
    takes = arguments(kind)
    assert takes is not None
    return with_names_of_today(model, takes["properties"])


def test_older_arguments_go_to_their_groups() -> None:
    older = {"embedding_size": 9, "embedding_dropout": 0.0, "label_smoothing": 0.1}
    assert today(SequenceClassifier, {"head": "max_pool", "embedding": {}, **older}) == {
        "head": "max_pool",
        "embedding": {"size": 9, "dropout": 0.0},
        "output": {"label_smoothing": 0.1},
    }
    frozen = {"embedding": {"freeze": True}, "embedding_size": 50, "window": 7}
    assert today(SequenceClassifier, frozen) == {
        "embedding": {"freeze": True, "size": 50},
        "window": 7,
    }


def test_what_changed_nothing_is_left_out_where_a_task_does_not_take_it_any_more() -> None:
    older = {"label_smoothing": 0.0, "embedding_size": None}
    assert today(Regressor, {"output": {"error": "mae"}, **older}) == {"output": {"error": "mae"}}


def test_names_of_today_stay_and_so_do_the_arguments_of_a_class_of_your_own() -> None:
    model = {"output": {"kind": "crf"}, "embedding": {"size": 3}, "training": {"start": "lm"}}
    assert today(Tagger, model) == model
    older = {"class_weights": 5, "embedding_size": 4}
    assert today(Own, older) == {"class_weights": 5, "embedding": {"size": 4}}


def test_a_checkpoint_of_a_file_or_a_path_loads(tmp_path: Path) -> None:
    data = {"inputs": "features", "num_inputs": 3, "classes": ["a", "b"]}
    task = SequenceClassifier(data, {"hidden_size": 3}, embedding={"noise": 0.1})
    saved = {"state_dict": task.state_dict(), "hyper_parameters": dict(task.hparams)}
    path = tmp_path / "a.ckpt"
    torch.save({**saved, "pytorch-lightning_version": pl.__version__}, path)
    for source in (path, BytesIO(path.read_bytes())):
        again = SequenceClassifier.load_from_checkpoint(source, weights_only=True)
        assert again.hparams["embedding"] == {"noise": 0.1}
        assert torch.equal(again.encoder.rnn.bias_hh_l0, task.encoder.rnn.bias_hh_l0)


@pytest.mark.parametrize("old", RENAMED)
def test_every_new_name_is_an_argument_of_a_task(old: str) -> None:
    group, _, option = name_of_today(f"model.{old}").removeprefix("model.").partition(".")
    kinds = map(arguments, TASKS)
    takes = [kind["properties"] for kind in kinds if kind and group in kind["properties"]]
    assert any(not option or option in each[group]["properties"] for each in takes)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model.embedding_size=3"], "error: model.embedding_size is now model.embedding.size"),
        (
            ["model.label_smoothing=0.1"],
            "error: model.label_smoothing is now model.output.label_smoothing",
        ),
    ],
)
def test_the_command_line_says_the_name_of_today(
    refused: Refused, words: list[str], message: str
) -> None:
    assert refused("train.py", *words) == message


def test_a_notebook_is_told_too() -> None:
    data = {"inputs": "features", "num_inputs": 3, "classes": ["a", "b"]}
    with pytest.raises(TypeError, match="'input_noise': it is embedding.noise now"):
        SequenceClassifier(data, {"hidden_size": 3}, input_noise=0.1)
