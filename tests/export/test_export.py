"""What an export holds: the same numbers in onnxruntime, the same decisions without PyTorch."""

from __future__ import annotations

import functools
import io
import itertools
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import pytest
import torch
from onnx.reference import ReferenceEvaluator

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
    return read_export(folder)


def read_export(folder: Path) -> tuple[onnxruntime.InferenceSession, dict[str, Any]]:
    """The graph in a folder, and what lies beside it."""
    facts = json.loads((folder / "model.json").read_text())
    return onnxruntime.InferenceSession(folder / "model.onnx"), facts


def batch_with_junk(model: Task, batch: int, time: int) -> tuple[torch.Tensor, ...]:
    """Inputs of different lengths, at least one of them full, their lengths and a state; padded
    with what must not count."""
    torch.manual_seed(batch * time)
    example = example_inputs(model.hparams["data"])
    characters = []
    if isinstance(model.network.embedding, WordEmbedding):
        characters = [2 + time]  # the word is one of them
    inputs = torch.randint(0, 9, (batch, time, *characters))
    if characters and batch > 1:
        inputs[0, 0, 1:] = 0  # a word without characters
    if example.is_floating_point():
        inputs = torch.randn(batch, time, *example.shape[2:])
    lengths = torch.randint(1, time + 1, (batch,))
    lengths[-1] = time
    for row, length in zip(inputs, lengths.tolist(), strict=True):
        row[length:] = 7
    return inputs, lengths, *(torch.randn(part.shape) for part in state_parts(model, batch))


def state_parts(model: Task, batch: int) -> list[torch.Tensor]:
    if not model.network.carries_state:
        return []
    return [*carried_parts(model.network, batch).values()]


@torch.no_grad()
def packed(model: Task, *arguments: torch.Tensor) -> list[Any]:
    """The logits, and the state after them, of PyTorch on packed rows."""
    model.network.encoder.packing = "packed"
    inputs, lengths, *state = arguments
    if not state:
        return [model.network(inputs, lengths)]
    logits, state_after = model.network(inputs, lengths, state_of(*state))
    return [logits, *parts_of(state_after)]


@torch.no_grad()
def packed_stream(model: Task, inputs: torch.Tensor, lengths: torch.Tensor) -> list[Any]:
    """The same of the first steps of streams."""
    model.network.encoder.packing = "packed"
    batch = SequenceBatch(inputs, lengths)
    states, carried = model.network.carry(batch)
    return [model.network.read_out(states, batch), *carried]


NETWORKS: list[Callable[[], Task]] = [
    token_classifier,
    lambda: token_classifier({"cell": "rnn", "num_layers": 2}),
    lambda: token_classifier(head="mean_pool"),
    lambda: token_classifier(BOTH | {"cell": "gru"}, head="attention_pool"),
    lambda: task("SequenceClassifier", FEATURES | CLASSES, "concat_pool", BOTH | {"cell": "rnn"}),
    lambda: task("Tagger", TOKENS | CLASSES, "every_step", BOTH, output={"kind": "crf"}),
    lambda: task("Tagger", TOKENS | CLASSES | {"num_characters": 9}, "every_step"),
    lambda: task(
        *("Regressor", FEATURES | VALUES, "concat_pool", BOTH),
        output={"quantiles": [0.1, 0.5]},
        embedding={"levels": 3, "convolutions": [7, 4], "channels": 6},
    ),
    lambda: task("Forecaster", WINDOWS, "mean_pool", norm=None, segment=2),
    lambda: task("LanguageModel", TOKENS, "tied_softmax", {"num_layers": 2}),
]


class Exported(NamedTuple):
    """A network, and the folder that holds its graph."""

    model: Task
    folder: Path


Export = Callable[[Callable[[], Task], bool], Exported]


@pytest.fixture(scope="module")
def exported_once(tmp_path_factory: pytest.TempPathFactory) -> Export:
    """`exported_once(build, stream)`: what every test of a network compares, which none changes."""

    @functools.cache
    def export_network(build: Callable[[], Task], stream: bool) -> Exported:
        model = build()
        folder = tmp_path_factory.mktemp("graph")
        export(model, folder, stream=stream)
        return Exported(model, folder)

    return export_network


class Example(NamedTuple):
    """What a graph is run with, by the names of its inputs, and what it has to give."""

    feed: dict[str, np.ndarray]
    outputs: list[np.ndarray]


def examples(model: Task, graph: Path, *, stream: bool = False) -> Iterator[Example]:
    """One for each of `SIZES`."""
    names = [port.name for port in onnxruntime.InferenceSession(graph).get_inputs()]
    for batch, time in SIZES:
        arguments = batch_with_junk(model, batch, time)
        if stream:
            arguments = arguments[:2]
            wanted = packed_stream(model, *arguments)
            arguments += tuple(carried_parts(model.network, batch).values())
        else:
            wanted = packed(model, *arguments)
        arrays = [argument.numpy() for argument in arguments]
        yield Example(dict(zip(names, arrays, strict=True)), [output.numpy() for output in wanted])


def in_onnxruntime(graph: Path, feed: dict[str, np.ndarray]) -> list[Any]:
    return onnxruntime.InferenceSession(graph).run(None, feed)


def in_onnx_reference(graph: Path, feed: dict[str, np.ndarray]) -> list[Any]:
    with np.errstate(over="ignore"):  # its sigmoid of a number far below zero
        return ReferenceEvaluator(str(graph)).run(None, feed)


@pytest.mark.parametrize("run", [in_onnxruntime, in_onnx_reference])
@pytest.mark.parametrize("build", NETWORKS)
def test_a_graph_gives_what_packed_pytorch_does(
    build: Callable[[], Task], run: Callable[..., list[Any]], exported_once: Export
) -> None:
    for stream in (False, True):
        if stream and exported_once(build, False).model.network.reads_whole_rows():
            continue
        model, folder = exported_once(build, stream)
        graph = folder / "model.onnx"
        for example in examples(model, graph, stream=stream):
            for wanted, output in zip(example.outputs, run(graph, example.feed), strict=True):
                np.testing.assert_allclose(output, wanted, atol=1e-5, rtol=0)


IN_OPENVINO = """
import pickle, sys, openvino
graphs = pickle.load(open(sys.argv[1], "rb"))
core = openvino.Core()
for graph, feeds in graphs:
    for fixed in (False, True):
        for feed in feeds:
            model = core.read_model(graph)
            if fixed:
                model.reshape({name: list(array.shape) for name, array in feed.items()})
            compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
            outputs = compiled(feed)
            pickle.dump([outputs[port] for port in compiled.outputs], sys.stdout.buffer)
"""


@pytest.mark.long
def test_openvino_gives_what_packed_pytorch_does(tmp_path: Path) -> None:
    """With free and with fixed sizes. It is installed for the test alone."""
    packages = tmp_path / "packages"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run([*install, f"--target={packages}", "openvino"], check=True)
    graphs = []
    wanted_outputs = []
    for number, build in enumerate(NETWORKS):
        model = build()
        for stream in (False, True):
            if stream and model.network.reads_whole_rows():
                continue
            folder = tmp_path / f"{number}_{stream}"
            export(model, folder, stream=stream)
            graph = folder / "model.onnx"
            cases = [*examples(model, graph, stream=stream)]
            graphs.append((str(graph), [case.feed for case in cases]))
            wanted_outputs += [case.outputs for case in cases] * 2
    inputs = tmp_path / "graphs.pickle"
    inputs.write_bytes(pickle.dumps(graphs))
    done = subprocess.run(
        [sys.executable, "-c", IN_OPENVINO, str(inputs)],
        env={**os.environ, "PYTHONPATH": str(packages)},
        stdout=subprocess.PIPE,
        check=True,
    )
    results = io.BytesIO(done.stdout)
    for wanted in wanted_outputs:
        for output, array in zip(pickle.load(results), wanted, strict=True):
            np.testing.assert_allclose(output, array, atol=1e-5, rtol=0)
    assert not results.read()


def test_a_graph_names_its_sizes_and_what_lies_beside_it(tmp_path: Path) -> None:
    model = token_classifier()
    session, facts = exported_to(tmp_path, model)
    ports = (*session.get_inputs(), *session.get_outputs())
    sizes = {port.name: port.shape for port in ports}
    assert sizes == {"inputs": ["batch", "time"], "lengths": ["batch"], "logits": ["batch", 3]}
    assert facts["task"] == "SequenceClassifier" and facts["reads"] == ["h_n"]
    assert facts["data"] == model.hparams["data"]


@pytest.mark.parametrize("build", [*NETWORKS, lambda: token_classifier(window=4)])
def test_three_rows_lie_beside_a_graph_with_their_logits(
    build: Callable[[], Task], exported_once: Export
) -> None:
    model, folder = exported_once(build, False)
    session, facts = read_export(folder)
    reference = facts["reference"]
    assert len({*reference["lengths"]}) == 3
    port = session.get_inputs()[0]
    inputs = np.array(reference["inputs"], "float32" if "float" in port.type else "int64")
    lengths = np.array(reference["lengths"])
    feed = {"inputs": inputs, "lengths": lengths}
    names = [port.name for port in session.get_inputs()[2:]]
    for name, part in zip(names, state_parts(model, 3), strict=True):
        feed[name] = part.numpy()
    logits = session.run(None, feed)[0]
    np.testing.assert_allclose(logits, reference["logits"], atol=1e-5, rtol=0)


def test_a_tagger_is_decided_by_what_is_beside_the_graph(tmp_path: Path) -> None:
    tags = {"classes": ["B-a", "I-a", "O"]}
    model = task("Tagger", TOKENS | tags, "every_step", BOTH, output={"kind": "crf"})
    session, facts = exported_to(tmp_path, model)
    inputs, lengths = batch_with_junk(model, 7, 4)
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
    np.testing.assert_allclose(logits[1], packed(model, inputs, lengths)[0][1], atol=1e-5)


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
