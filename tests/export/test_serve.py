"""`examples/serve_onnx.py` predicts what the run does, without PyTorch and this package."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seqmodels.data.inputs import InputEncoder
from seqmodels.data.series_inputs import Series
from seqmodels.data.tokenizer import TokenizerOptions
from seqmodels.data.tokens import Tokens, Words
from seqmodels.export import export
from seqmodels.runs import load_run, train
from seqmodels.tasks import SequenceClassifier
from tests.conftest import ROOT, Completed, Config

SERVE = ROOT / "examples" / "serve_onnx.py"
WITHOUT = """import runpy, sys
class Refuse:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ("torch", "lightning", "seqmodels", "tokenizers", "pandas"):
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
sys.argv[:] = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def served(folder: Path, rows: list[Any]) -> Completed:
    """The example, for these inputs, in a process that has numpy and onnxruntime alone."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT, str(SERVE), str(folder)],
        input="".join(json.dumps(row) + "\n" for row in rows),
        capture_output=True,
        text=True,
        check=False,
    )


def with_gaps(series: np.ndarray) -> list[list[float | None]]:
    """As JSON has it."""
    return [[None if np.isnan(value) else value for value in step] for step in series.tolist()]


def made_up(count: int, seed: int) -> list[np.ndarray]:
    """Series of 3 to 9 steps, of two channels that each lack some values, also at the ends."""
    draw, series = np.random.default_rng(seed), []
    for length in draw.integers(3, 10, count):
        steps = draw.normal(5, 3, (length, 2)).cumsum(axis=0)
        steps[draw.random(steps.shape) < 0.3] = np.nan
        steps[draw.integers(length), :] = draw.normal(5, 3, 2)  # no channel lacks all
        series.append(steps)
    return series


def archived(folder: Path, kind: str, labels: Callable[[int], str]) -> tuple[str, ...]:
    """Arguments for such series in a folder of the archive."""
    (folder / "Mine").mkdir()
    header = f"@problemName Mine\n@timestamps false\n@univariate false\n@{kind}\n@data\n"
    for split, seed in (("TRAIN", 1), ("TEST", 2)):
        lines = []
        for number, steps in enumerate(made_up(24, seed)):
            channels = [",".join("?" if np.isnan(v) else f"{v}" for v in of) for of in steps.T]
            lines.append(":".join([*channels, labels(number)]))
        (folder / "Mine" / f"Mine_{split}.ts").write_text(header + "\n".join(lines) + "\n")
    return ("data=uea", "data.name=Mine", f"data.folder={folder}", "data.missing=interpolate")


TEXTS = [
    "A fine\tfilm, it's FINE... 10² ﬁlms?!",
    "unseen ΟΔΟΣ cafe\u0301 naïve नमस्ते می\u200cروم x_1 ½ xⒶ🄰 a\x1cb",
    ".",
    "[PAD] dull and well",
]


@pytest.mark.parametrize("kind", ["text", "classes", "numbers"])
def test_it_predicts_what_the_run_does(
    kind: str, config: Config, reviews: Path, tmp_path: Path
) -> None:
    series = made_up(70, 3)  # more than a batch of them
    inputs: list[Any] = [with_gaps(steps) for steps in series]
    if kind == "text":
        inputs = TEXTS
        given = ("data=text", f"data.train={reviews}", "model.head=concat_pool")
    elif kind == "classes":
        words = archived(tmp_path, "classLabel true a b", lambda number: "ab"[number % 2])
        given = (*words, "data.scale=both", "model.head=bidirectional_concat")
    else:
        words = archived(tmp_path, "targetLabel true", lambda number: f"{100 + number * 7 % 11}")
        given = (*words, "model=regressor", "model.output.quantiles=[0.1,0.5,0.9]")
    train(config(*given, "baseline=false", "trainer.max_epochs=1"))
    run = load_run(tmp_path / "run")
    wanted = [*run.predict(inputs if kind == "text" else series, accelerator="cpu")]
    done = served(run.export(), inputs)
    assert done.returncode == 0, done.stderr
    for line, expected in zip(done.stdout.splitlines(), wanted, strict=True):
        found = json.loads(line)
        assert found.keys() == expected.keys()
        assert found.get("label") == expected.get("label")
        name = "probabilities" if "label" in expected else "value"
        assert found[name] == pytest.approx(expected[name], rel=1e-5, abs=1e-5)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The graph of a classifier of tokens."""
    data = {"inputs": "tokens", "num_inputs": 30, "classes": ["a", "b"]}
    folder = tmp_path_factory.mktemp("export")
    export(SequenceClassifier(data, {"hidden_size": 3}), folder)
    return folder / "model.onnx"


@pytest.fixture
def model(graph: Path, tmp_path: Path, examples_importable: None) -> Callable[..., Any]:
    """The example's `Model` of an encoder's saved state."""
    from examples.serve_onnx import Model

    def of(state: dict[str, Any] | None, task: str = "SequenceClassifier") -> Any:
        shutil.copy(graph, tmp_path)
        known = {"task": task, "data": {"preprocessor": state} if state else {}}
        (tmp_path / "model.json").write_text(json.dumps(known))
        return Model(tmp_path)

    return of


SMALL = TokenizerOptions(lowercase=True)
filling = partial(Series, missing="interpolate")
SERIES = [*made_up(4, 4), np.array([[3.0, 0.5]]), np.array([[1.0, 5.0], [2.0, 5.0], [4.0, 5.0]])]


@pytest.mark.parametrize(
    ("encoder", "raw"),
    [
        (Tokens(), TEXTS),
        (Tokens(SMALL, max_length=4), TEXTS),
        (Tokens(TokenizerOptions("space", min_count=2), max_length=2), [*TEXTS, "[PAD] film"]),
        (Tokens(TokenizerOptions("char", min_count=2)), TEXTS),
        (Tokens(TokenizerOptions("char", lowercase=True), max_length=7), ["İaΣ ΑΣ", "İİ"]),
        *((filling(scale=scale), SERIES) for scale in ("split", "series", "both", "none")),
        (filling(fold=3), SERIES),
        (filling(fold=2, scale="series"), SERIES),
    ],
)
def test_it_encodes_as_the_data_does(
    encoder: InputEncoder, raw: list[Any], model: Callable[..., Any]
) -> None:
    given = [with_gaps(steps) for steps in raw] if isinstance(encoder, Series) else raw
    encoder.fit(raw)
    ours = model(encoder.state())
    for row, wanted in zip(given, encoder.encode(raw, "raw"), strict=True):
        assert torch.equal(torch.from_numpy(ours.encode(row, "raw")), wanted)


def tokens(**options: Any) -> dict[str, Any]:
    """The state of an encoder of texts with such options."""
    encoder = Tokens(TokenizerOptions(**options))
    encoder.fit(TEXTS)
    return encoder.state()


def words(encoder: InputEncoder) -> dict[str, Any]:
    encoder.fit([["a", "fine", "film"]])
    return encoder.state()


def scaled(**options: Any) -> dict[str, Any]:
    encoder = Series()
    encoder.fit([np.ones((2, 2))])
    state = encoder.state()
    return state | {"options": state["options"] | options}


@pytest.mark.parametrize(
    ("state", "task", "named"),
    [
        (lambda: tokens(level="bpe"), "SequenceClassifier", "bpe tokens"),
        (lambda: tokens(level="byte"), "SequenceClassifier", "byte tokens"),
        (lambda: tokens(keep_whitespace=True), "SequenceClassifier", "tokens that keep whitespace"),
        (lambda: words(Words()), "SequenceClassifier", "inputs of the kind words"),
        (lambda: None, "SequenceClassifier", "inputs of the kind None"),
        (lambda: scaled(scale="ranks"), "SequenceClassifier", "scale=ranks"),
        (lambda: scaled(smooth=3), "SequenceClassifier", "smooth"),
        (tokens, "Tagger", "the task Tagger"),
    ],
)
def test_what_it_does_not_know_it_names(
    state: Callable[[], Any], task: str, named: str, model: Callable[..., Any]
) -> None:
    with pytest.raises(ValueError, match=f"^this script cannot serve {named}$"):
        model(state(), task)


@pytest.mark.parametrize(
    ("state", "given", "message"),
    [
        (tokens, " \n", "not a text, or an empty one"),
        (tokens, [1, 2], "not a text, or an empty one"),
        (scaled, [[1.0, None]], "lacks too much for data.missing=error"),
        (
            lambda: scaled(missing="interpolate"),
            [[1.0, None]],
            "lacks too much for data.missing=interpolate",
        ),
        (scaled, [[1.0]], "not a series of 2 channels"),
        (scaled, [[1.0, 1e300]], "a value too far from those of the training"),
    ],
)
def test_a_wrong_input_is_named_by_its_number(
    state: Callable[[], Any], given: Any, message: str, model: Callable[..., Any]
) -> None:
    with pytest.raises(ValueError, match=f"^input 7 .*{message}"):
        model(state()).predict([given], 7)


def test_its_errors_are_one_line(tmp_path: Path, graph: Path) -> None:
    assert served(tmp_path / "none", []).stderr.count("\n") == 1
    shutil.copy(graph, tmp_path)
    known = {"task": "SequenceClassifier", "data": {"preprocessor": tokens(level="bpe")}}
    (tmp_path / "model.json").write_text(json.dumps(known))
    done = served(tmp_path, ["a text"])
    assert (done.stderr, done.returncode) == ("error: this script cannot serve bpe tokens\n", 1)
    assert not done.stdout
