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
from seqmodels.export.graph import carried_parts, example
from seqmodels.heads import Head
from seqmodels.nn.cell import Cell
from seqmodels.nn.encoder import RNNOutput
from seqmodels.nn.state import parts_of
from seqmodels.tasks import SequenceClassifier
from tests.shipped import exported

TOKENS = {"inputs": "tokens", "num_inputs": 30}
FEATURES = {"inputs": "features", "num_inputs": 3}
CLASSES = {"classes": ["a", "b", "c"]}
CLASSIFIER = (SequenceClassifier, TOKENS | CLASSES)
VALUES = {"values": ["a", "b"], "mean": [1.0, 2.0], "deviation": [2.0, 3.0]}
WINDOWS = {
    **{"inputs": "features", "num_inputs": 2, "values": ["a", "b"], "horizon": 3, "window": 5},
    **{"period": 2, "series": ["s", "t"], "mean": [[0.0, 1.0], [2.0, 3.0]]},
    **{"deviation": [[1.0, 2.0], [3.0, 4.0]], "naive_error": [[1.0, 1.0], [1.0, 1.0]]},
}
SIZES = ((1, 1), (7, 1), (3, 5), (7, 19))  # B and T: 3 and 5 are traced


def task(
    kind: type[Task] | str, data: dict[str, Any], head: str, encoder: Any = None, **own: Any
) -> Task:
    torch.manual_seed(0)
    kind = exported(kind) if isinstance(kind, str) else kind
    made = kind(data, {"hidden_size": 7, **(encoder or {})}, head, **own).eval()
    for name, weights in made.named_parameters():
        if name.endswith("transitions"):  # of a CRF, which begins with zeros
            torch.nn.init.normal_(weights)
    return made


def ragged(made: Task, batch: int, time: int) -> tuple[torch.Tensor, ...]:
    """Inputs of different lengths, at least one of them full, padded with what must not count."""
    torch.manual_seed(batch * time)
    carried = carried_parts(made).values() if made.contract.stateful else ()
    shape, *parts = (each.shape for each in (example(made)[0], *carried))
    characters = [] if made.characters is None else [2 + time]  # the word is one of them
    inputs = torch.randint(0, 9, (batch, time, *characters))
    if example(made)[0].is_floating_point():
        inputs = torch.randn(batch, time, *shape[2:])
    lengths = torch.randint(1, time + 1, (batch,))
    lengths[-1] = time
    return inputs, lengths, *(torch.randn(part[0], batch, part[2]) for part in parts)


def ours(
    made: Task, inputs: torch.Tensor, lengths: torch.Tensor, *state: torch.Tensor
) -> list[Any]:
    with torch.no_grad():
        if not state:
            return [made.as_function()(inputs, lengths)]
        logits, after = made.as_function()(inputs, lengths, state if len(state) == 2 else state[0])
        return [logits, *parts_of(after)]


BOTH = {"bidirectional": True, "num_layers": 2}
CONVOLUTIONS = {"convolutions": [7, 4], "channels": 6}
NETWORKS: list[Callable[[], Task]] = [
    lambda: task(SequenceClassifier, TOKENS | CLASSES, "last_hidden"),
    lambda: task(SequenceClassifier, TOKENS | CLASSES, "attention_pool", BOTH | {"cell": "gru"}),
    lambda: task(SequenceClassifier, FEATURES | CLASSES, "concat_pool", BOTH | {"cell": "rnn"}),
    lambda: task("Tagger", TOKENS | CLASSES, "every_step", BOTH, output={"kind": "crf"}),
    lambda: task(
        "Tagger",
        TOKENS | CLASSES | {"num_characters": 9},
        "every_step",
        embedding={"characters": "lstm"},
    ),
    lambda: task("Regressor", FEATURES | VALUES, "max_pool", output={"quantiles": [0.1, 0.5]}),
    lambda: task("Regressor", FEATURES | VALUES, "concat_pool", BOTH, embedding=CONVOLUTIONS),
    lambda: task("Forecaster", WINDOWS, "every_step", {"cell": "gru", "num_layers": 2}),
    lambda: task(
        *("Forecaster", WINDOWS, "mean_pool"),
        **{"norm": "standard", "segment": 2},
    ),
    lambda: task("LanguageModel", TOKENS, "tied_softmax", {"num_layers": 2}),
]


@pytest.mark.parametrize("made", NETWORKS)
def test_onnxruntime_gives_the_same_on_any_batch(made: Callable[[], Task], tmp_path: Path) -> None:
    model = made()
    export(model, tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    names = [each.name for each in session.get_inputs()]
    for batch, time in SIZES:
        given = ragged(model, batch, time)
        found = session.run(None, dict(zip(names, (each.numpy() for each in given), strict=True)))
        for wanted, got in zip(ours(model, *given), found, strict=True):
            np.testing.assert_allclose(got, wanted.numpy(), atol=1e-5, rtol=0)


def test_the_graph_holds_what_to_know_of_it(tmp_path: Path) -> None:
    model = task(SequenceClassifier, TOKENS | CLASSES, "last_hidden")
    export(model, tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    held = session.get_modelmeta().custom_metadata_map
    facts = {name: json.loads(value) for name, value in held.items()}
    assert facts == json.loads((tmp_path / "model.json").read_text())
    assert facts["task"] == "SequenceClassifier" and facts["reads"] == ["h_n"]
    assert facts["data"] == TOKENS | CLASSES and facts["encoder"] == {"hidden_size": 7}


@pytest.mark.parametrize("output", [{"kind": "crf"}, {"kind": "crf", "constrained": True}])
def test_a_tagger_is_decided_by_what_is_beside_the_graph(
    output: dict[str, Any], tmp_path: Path
) -> None:
    tags = {"classes": ["B-a", "I-a", "O"]}
    model = task("Tagger", TOKENS | tags, "every_step", BOTH, output=output)
    if "constrained" in output:  # I-a where it is not allowed
        model.head.output.project.bias.data[1] += 1  # type: ignore[union-attr, operator]
    export(model, tmp_path)
    inputs, lengths = ragged(model, 7, 4)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    given = {"inputs": inputs.numpy(), "lengths": lengths.numpy()}
    [logits] = session.run(None, given)
    facts = json.loads((tmp_path / "model.json").read_text())
    starts, transitions, ends = (
        np.array(facts["decision"][name]) for name in ("starts", "transitions", "ends")
    )
    with torch.no_grad():
        wanted = model.describe(SequenceBatch(inputs, lengths))
    for scores, length, row in zip(logits, lengths.tolist(), wanted):

        def worth(path: tuple[int, ...], scores: Any = scores) -> float:
            of_steps = sum(scores[step, tag] for step, tag in enumerate(path))
            return (
                starts[path[0]] + of_steps + transitions[path[:-1], path[1:]].sum() + ends[path[-1]]
            )

        best = max(itertools.product(range(3), repeat=length), key=worth)
        assert [facts["data"]["classes"][tag] for tag in best] == row["tags"]


@pytest.fixture
def own_code() -> None:
    """A head and a cell that no graph can hold."""

    class Untraceable(Head, name="untraceable"):
        """Asks for a value."""

        reads = ("output",)

        def select(self, states: RNNOutput) -> torch.Tensor:
            last = int(states.lengths[0]) - 1
            return states.output[:, last] if last > 3 else states.output[:, 0]

    class Averaging(Cell, name="averaging"):
        def __init__(self, input_size: int, hidden_size: int) -> None:
            super().__init__()
            self.h = torch.nn.Linear(input_size + hidden_size, hidden_size)

        def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
            return self.h(torch.cat([x, h], dim=1)).tanh()


PAIRS = {**TOKENS, "num_targets": 9, "start": 0, "end": 0, "shared": False}


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda: task(*CLASSIFIER, "last_hidden", {"proj_size": 3}), "encoder.proj_size is 3"),
        (lambda: task(*CLASSIFIER, "last_hidden", {"cell": "averaging"}), "cell=averaging"),
        (lambda: task("Seq2Seq", PAIRS, "attention"), "a decoder"),
        (lambda: task(*CLASSIFIER, "untraceable"), "SequenceClassifier cannot be traced"),
    ],
)
def test_what_a_graph_cannot_hold_is_refused_with_the_reason(
    made: Callable[[], Task], reason: str, own_code: None, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=reason) as refused:
        export(made(), tmp_path / "export")
    assert "\n" not in str(refused.value) and "by seqmodels.load_run" in str(refused.value)
    assert not (tmp_path / "export").exists()


def test_a_graph_answers_no_row_that_is_longer_than_the_window(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = task(*CLASSIFIER, "last_hidden", window=4)
    export(model, tmp_path)
    [said] = [each.getMessage() for each in caplog.records if each.name == "seqmodels.export"]
    assert "model.window=4" in said and "train with model.window=null" in said
    inputs, lengths = torch.randint(0, 9, (3, 6)), torch.tensor([6, 4, 1])
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    [logits] = session.run(None, {"inputs": inputs.numpy(), "lengths": lengths.numpy()})
    [known] = ours(model, inputs, lengths)
    assert np.isnan(logits[0]).all()
    np.testing.assert_allclose(logits[1:], known[1:], atol=1e-5)


def test_the_sizes_of_a_graph_have_names(tmp_path: Path) -> None:
    export(task("LanguageModel", TOKENS, "tied_softmax"), tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    sizes = {each.name: each.shape for each in (*session.get_inputs(), *session.get_outputs())}
    assert sizes["inputs"] == ["batch", "time"] and sizes["lengths"] == ["batch"]
    assert sizes["logits"][:2] == ["batch", "time"] and sizes["h_0"][1] == "batch"


def test_mistakes_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = task(*CLASSIFIER, "last_hidden")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write to .*file"):
        export(model, tmp_path / "file")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match="an export needs .* pip install 'seqmodels-temp.*export"):
        export(model, tmp_path)
