"""`examples/serve_onnx.py` predicts what the run does, without PyTorch and this package."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from seqmodels.data.inputs import InputEncoder
from seqmodels.data.series_inputs import Series
from seqmodels.data.tokenizer import TokenizerOptions
from seqmodels.data.tokens import Tokens
from seqmodels.runs import load_run, train
from tests.conftest import ROOT, Completed, Config
from tests.shipped import exported

WITHOUT = """import runpy, sys
class Refuse:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ("torch", "lightning", "seqmodels", "tokenizers", "pandas"):
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
sys.argv[:] = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
TEXTS = [
    "A fine\tfilm, it's FINE... 10² ﬁlms?!",
    "unseen ΟΔΟΣ cafe\u0301 naïve नमस्ते می\u200cروم x_1 ½ xⒶ🄰 a\x1cb",
    ".",
]


def served(folder: Path, rows: list[Any]) -> Completed:
    """The example, for these inputs, in a process that has numpy and onnxruntime alone."""
    script = ROOT / "examples" / "serve_onnx.py"
    return subprocess.run(
        [sys.executable, "-c", WITHOUT, str(script), str(folder)],
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


@pytest.mark.parametrize("kind", ["text", "series"])
def test_it_predicts_what_the_run_does(
    kind: str, config: Config, reviews: Path, tmp_path: Path
) -> None:
    if kind == "text":
        raw, inputs, name = TEXTS, TEXTS, "probabilities"
        given = ("data=text", f"data.train={reviews}", "model.head=concat_pool")
    else:
        exported("Regressor")
        raw, name = [steps[:, :1] for steps in made_up(70, 3)], "value"  # more than a batch
        inputs = [with_gaps(steps) for steps in raw]
        quantiles = ("model=regressor", "model.output.quantiles=[0.1,0.5,0.9]")
        data = ("data=uea", "data.name=Tecator", "data.missing=interpolate", "data.scale=both")
        given = (*data, *quantiles)
    train(config(*given, "baseline=false", "trainer.max_epochs=1"))
    run = load_run(tmp_path / "run")
    done = served(run.export(), inputs)
    assert done.returncode == 0, done.stderr
    wanted = run.predict(raw, accelerator="cpu")
    for line, expected in zip(done.stdout.splitlines(), wanted, strict=True):
        found = json.loads(line)
        assert found.keys() == expected.keys() and found.get("label") == expected.get("label")
        assert found[name] == pytest.approx(expected[name], rel=1e-5, abs=1e-5)


@pytest.fixture
def model(
    tmp_path: Path, examples_importable: None, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """The example's `Model` of an encoder's saved state, with logits of two classes."""
    from examples.serve_onnx import Model

    graph = SimpleNamespace(get_outputs=lambda: [SimpleNamespace(shape=["batch", 2])])
    monkeypatch.setattr("onnxruntime.InferenceSession", lambda _: graph)

    def of(state: dict[str, Any]) -> Any:
        known = {"task": "SequenceClassifier", "data": {"preprocessor": state}}
        (tmp_path / "model.json").write_text(json.dumps(known))
        return Model(tmp_path)

    return of


def test_a_line_that_is_not_json_is_refused_with_an_example(examples_importable: None) -> None:
    from examples.serve_onnx import parsed

    assert parsed('"a fine film"\n', 1) == "a fine film"
    with pytest.raises(ValueError, match='^input 7 is not JSON, such as "a fine film" .*: a film$'):
        parsed("a film\n", 7)


SERIES = [*made_up(4, 4), np.array([[3.0, 0.5]]), np.array([[1.0, 5.0], [2.0, 5.0], [4.0, 5.0]])]


@pytest.mark.parametrize(
    ("encoder", "raw"),
    [
        (Tokens(TokenizerOptions(lowercase=True), max_length=4), TEXTS),
        (Tokens(TokenizerOptions("space", min_count=2), max_length=2), [*TEXTS, "[PAD] film"]),
        (Tokens(TokenizerOptions("char", lowercase=True), max_length=7), ["İaΣ ΑΣ", "İİ"]),
        (Series(missing="interpolate", scale="both"), SERIES),
        (Series(missing="interpolate", stack=3), SERIES),
    ],
)
def test_it_encodes_as_the_data_does(
    encoder: InputEncoder, raw: list[Any], model: Callable[..., Any]
) -> None:
    given = [with_gaps(steps) for steps in raw] if isinstance(encoder, Series) else raw
    encoder.fit(raw)
    theirs = model(encoder.state())
    for row, wanted in zip(given, encoder.encode(raw, "raw"), strict=True):
        assert torch.equal(torch.from_numpy(theirs.encode(row, "raw")), wanted)


def test_a_wrong_input_is_named_by_its_number(model: Callable[..., Any]) -> None:
    encoder = Series()
    encoder.fit([np.ones((2, 2))])
    for step in ([1.0, None], [1.0]):
        with pytest.raises(ValueError, match="^input 7 "):
            model(encoder.state()).predict([[step]], 7)
