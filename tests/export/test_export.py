"""What an export holds: the same numbers in onnxruntime, the same decisions without PyTorch."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from seqmodels.batch import SequenceBatch
from seqmodels.engine import Task
from seqmodels.errors import UserError
from seqmodels.export import export
from seqmodels.export.graph import carried_parts, example_inputs
from seqmodels.heads import Head
from seqmodels.nn.cell import Cell, parts_of, state_of
from seqmodels.nn.embedding import WordEmbedding
from seqmodels.nn.encoder import RNNOutput
from tests.make import build_task
from tests.shipped import exported

TOKENS = {"inputs": "tokens", "num_inputs": 30}
FEATURES = {"inputs": "features", "num_inputs": 3}
CLASSES = {"classes": ["a", "b", "c"]}
VALUES = {"values": ["a", "b"], "mean": [1.0, 2.0], "deviation": [2.0, 3.0]}
WINDOWS = {
    **{"inputs": "features", "num_inputs": 2, "values": ["a", "b"], "horizon": 3, "window": 5},
    **{"period": 2, "series": ["s", "t"], "mean": [[0.0, 1.0], [2.0, 3.0]]},
    **{"deviation": [[1.0, 2.0], [3.0, 4.0]], "naive_error": [[1.0, 1.0], [1.0, 1.0]]},
}
BOTH = {"bidirectional": True, "num_layers": 2}
SIZES = ((1, 1), (7, 1), (3, 5), (7, 19))  # B and T: 3 and 5 are traced


def task(kind: str, data: dict[str, Any], head: str, encoder: Any = None, **own: Any) -> Task:
    made = build_task(exported(kind), data, head, hidden_size=7, encoder=encoder, **own)
    for name, weights in made.named_parameters():
        if name.endswith("transitions"):  # of a CRF, which begins with zeros
            torch.nn.init.normal_(weights)
    return made


def token_classifier(*encoder: Any, head: str = "last_hidden", **own: Any) -> Task:
    return task("SequenceClassifier", TOKENS | CLASSES, head, *encoder, **own)


def exported_to(folder: Path, made: Task) -> tuple[onnxruntime.InferenceSession, dict[str, Any]]:
    """The graph, and what lies beside it."""
    export(made, folder)
    facts = json.loads((folder / "model.json").read_text())
    return onnxruntime.InferenceSession(folder / "model.onnx"), facts


def ragged(made: Task, batch: int, time: int) -> tuple[torch.Tensor, ...]:
    """Inputs of different lengths, at least one of them full, padded with what must not count."""
    torch.manual_seed(batch * time)
    carried = carried_parts(made.network).values() if made.network.carries_state else ()
    example = example_inputs(made.hparams["data"])
    shape, *parts = (each.shape for each in (example, *carried))
    characters = []
    if isinstance(made.network.embedding, WordEmbedding):
        characters = [2 + time]  # the word is one of them
    inputs = torch.randint(0, 9, (batch, time, *characters))
    if characters and batch > 1:
        inputs[0, 0, 1:] = 0  # a word without characters
    if example.is_floating_point():
        inputs = torch.randn(batch, time, *shape[2:])
    lengths = torch.randint(1, time + 1, (batch,))
    lengths[-1] = time
    return inputs, lengths, *(torch.randn(part[0], batch, part[2]) for part in parts)


@torch.no_grad()
def ours(made: Task, *given: torch.Tensor) -> list[Any]:
    inputs, lengths, *state = given
    if not state:
        return [made.network(inputs, lengths)]
    logits, after = made.network(inputs, lengths, state_of(*state))
    return [logits, *parts_of(after)]


NETWORKS: list[Callable[[], Task]] = [
    token_classifier,
    lambda: token_classifier(BOTH | {"cell": "gru"}, head="attention_pool"),
    lambda: task("SequenceClassifier", FEATURES | CLASSES, "concat_pool", BOTH | {"cell": "rnn"}),
    lambda: task("Tagger", TOKENS | CLASSES, "every_step", BOTH, output={"kind": "crf"}),
    lambda: task("Tagger", TOKENS | CLASSES | {"num_characters": 9}, "every_step"),
    lambda: task(
        *("Regressor", FEATURES | VALUES, "concat_pool", BOTH),
        output={"quantiles": [0.1, 0.5]},
        embedding={"convolutions": [7, 4], "channels": 6},
    ),
    lambda: task("Forecaster", WINDOWS, "mean_pool", norm=None, segment=2),
    lambda: task("LanguageModel", TOKENS, "tied_softmax", {"num_layers": 2}),
]


@pytest.mark.parametrize("made", NETWORKS)
def test_onnxruntime_gives_the_same_on_any_batch(made: Callable[[], Task], tmp_path: Path) -> None:
    model = made()
    session, facts = exported_to(tmp_path, model)
    for batch, time in SIZES:
        given = ragged(model, batch, time)
        names = ["inputs", "lengths", "h_0", "c_0"][: len(given)]
        found = session.run(None, dict(zip(names, (each.numpy() for each in given))))
        for wanted, got in zip(ours(model, *given), found, strict=True):
            np.testing.assert_allclose(got, wanted.numpy(), atol=1e-5, rtol=0)
    sizes = {each.name: each.shape for each in (*session.get_inputs(), *session.get_outputs())}
    assert sizes["inputs"][:2] == ["batch", "time"] and sizes["lengths"] == ["batch"]
    assert sizes["logits"][0] == "batch"
    assert facts["task"] == type(model).__name__ and facts["reads"] == [*model.network.head.reads]
    assert facts["data"] == model.hparams["data"]


def test_a_tagger_is_decided_by_what_is_beside_the_graph(tmp_path: Path) -> None:
    tags = {"classes": ["B-a", "I-a", "O"]}
    model = task("Tagger", TOKENS | tags, "every_step", BOTH, output={"kind": "crf"})
    session, facts = exported_to(tmp_path, model)
    inputs, lengths = ragged(model, 7, 4)
    [logits] = session.run(None, {"inputs": inputs.numpy(), "lengths": lengths.numpy()})
    starts, transitions, ends = (
        np.array(facts["decision"][name]) for name in ("starts", "transitions", "ends")
    )
    with torch.no_grad():
        wanted = model.describe(SequenceBatch(inputs, lengths))
    for scores, length, row in zip(logits, lengths.tolist(), wanted):

        def worth(path: tuple[int, ...], scores: Any = scores) -> float:
            steps = sum(scores[step, tag] for step, tag in enumerate(path))
            return starts[path[0]] + steps + transitions[path[:-1], path[1:]].sum() + ends[path[-1]]

        best = max(itertools.product(range(3), repeat=length), key=worth)
        assert [facts["data"]["classes"][tag] for tag in best] == row["tags"]


def test_a_graph_answers_no_row_that_is_longer_than_the_window(tmp_path: Path) -> None:
    model = token_classifier(window=4)
    session, _ = exported_to(tmp_path, model)
    inputs, lengths = torch.randint(0, 9, (2, 6)), torch.tensor([6, 4])
    [logits] = session.run(None, {"inputs": inputs.numpy(), "lengths": lengths.numpy()})
    assert np.isnan(logits[0]).all()
    np.testing.assert_allclose(logits[1], ours(model, inputs, lengths)[0][1], atol=1e-5)


PAIRS = {**TOKENS, "num_targets": 9, "start": 0, "end": 0}


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda: token_classifier({"proj_size": 3}), "encoder.proj_size=3"),
        (lambda: token_classifier({"cell": "of_torch"}), "cell=of_torch"),
        (lambda: task("Seq2Seq", PAIRS, "attention"), "a decoder"),
        (lambda: token_classifier(head="untraceable"), "SequenceClassifier cannot be traced"),
    ],
)
def test_what_a_graph_cannot_hold_is_refused_with_the_reason(
    made: Callable[[], Task], reason: str, tmp_path: Path
) -> None:
    class Untraceable(Head, name="untraceable"):
        """Asks for a value."""

        reads = ("output",)

        def select(self, states: RNNOutput) -> torch.Tensor:
            last = int(states.lengths[0]) - 1
            return states.output[:, last] if last > 3 else states.output[:, 0]

    class OfTorch(Cell, torch.nn.GRUCell, name="of_torch"):
        pass

    with pytest.raises(UserError, match=reason):
        export(made(), tmp_path / "export")
    assert not (tmp_path / "export").exists()


def test_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match="an export needs .* pip install '.*export"):
        export(token_classifier(), tmp_path)


def test_an_export_replaces_a_link_and_leaves_the_file_that_it_names(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (folder := tmp_path / "export").mkdir()
    (folder / "model.onnx").symlink_to(tmp_path / "mine")
    exported_to(folder, token_classifier())
    assert (tmp_path / "mine").read_text() == "mine"
    assert not (folder / "model.onnx").is_symlink()
    assert {*folder.iterdir()} == {folder / "model.onnx", folder / "model.json"}
