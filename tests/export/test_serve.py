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

from seqmodels.data.columns import Names
from seqmodels.data.inputs import InputEncoder
from seqmodels.data.series_inputs import Series, TableSeries
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


def in_a_table(count: int, seed: int, kinds: str) -> list[dict[str, Any]]:
    """Rows with made-up series as columns `x` and `y`, beside texts of these kinds for each step
    and a text for the series, of which some are missing, too. Training, with kinds p and q, lacks
    no `y`."""
    draw, rows = np.random.default_rng(seed), []
    for number, steps in enumerate(made_up(count, seed)):
        x, y = map(list, zip(*with_gaps(steps), strict=True))
        y = [1.0 if value is None and kinds == "pq" else value for value in y]
        texts = draw.choice([*kinds, None], len(steps)).tolist()
        rows.append({"y": y, "x": x, "phase": texts, "maker": "AB "[number % 3]})
    return rows


@pytest.mark.parametrize("kind", ["text", "series", "table"])
def test_it_predicts_what_the_run_does(
    kind: str, config: Config, reviews: Path, tmp_path: Path
) -> None:
    if kind == "table":
        rows = [
            {**row, "label": "ab"[number % 2], "series": f"s {number}"}
            for number, row in enumerate(in_a_table(60, 6, "pq"))
        ]
        (tmp_path / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        raw, inputs, name = in_a_table(70, 7, "pqr"), in_a_table(70, 7, "pqr"), "probabilities"
        data = ("data=series", f"data.train={tmp_path / 'table.jsonl'}", "data.missing=mark")
        given = (*data, "data.inputs=[maker,x,phase,y]", "data.scale=both")
    elif kind == "text":
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

    graph = SimpleNamespace(
        get_outputs=lambda: [SimpleNamespace(shape=["batch", 2])],
        run=lambda names, feed: [np.zeros((1, 2))],
    )
    monkeypatch.setattr("onnxruntime.InferenceSession", lambda _: graph)

    def of(state: dict[str, Any], logits: tuple[float, float] = (0.0, 0.0)) -> Any:
        description = {
            "task": "SequenceClassifier",
            "data": {"preprocessor": state},
            "reference": {"inputs": [[1]], "lengths": [1], "logits": [logits]},
        }
        (tmp_path / "model.json").write_text(json.dumps(description))
        return Model(tmp_path)

    return of


@pytest.mark.parametrize("logit", [0.1, float("nan")])
def test_a_runtime_with_other_logits_than_pytorch_is_refused(
    logit: float, model: Callable[..., Any]
) -> None:
    encoder = Tokens(TokenizerOptions())
    encoder.fit(TEXTS)
    with pytest.raises(ValueError, match="this runtime computes other logits than PyTorch"):
        model(encoder.state(), logits=(0.0, logit))


def test_a_line_that_is_not_json_is_refused_with_an_example(examples_importable: None) -> None:
    from examples.serve_onnx import parsed

    assert parsed('"a fine film"\n', 1) == "a fine film"
    with pytest.raises(ValueError, match='^input 7 is not JSON, such as "a fine film" .*: a film$'):
        parsed("a film\n", 7)


def of_a_table(rows: list[dict[str, Any]]) -> list[TableSeries]:
    """As `SeriesTable` gives them."""
    series = []
    for row in rows:
        given = {**row, "maker": [row["maker"].strip() or None] * len(row["x"])}
        numbers = np.array([given["x"], given["y"]], float).T
        texts = {}
        for column in ("phase", "maker"):
            names = sorted({*given[column]} - {None})
            codes = [-1 if text is None else names.index(text) for text in given[column]]
            texts[column] = Names(np.array(codes), names)
        series.append(TableSeries(numbers, ["x", "phase", "maker", "y"], texts))
    return series


@pytest.mark.parametrize(
    "options",
    [
        {"missing": "mark", "scale": "both"},
        {"missing": "mark", "scale": "none", "stack": 2},
        {"missing": "last", "scale": "series"},
        {"missing": "last"},
        {"missing": "interpolate"},
    ],
)
def test_it_encodes_a_row_of_a_table_as_the_data_does(
    options: dict[str, Any], model: Callable[..., Any]
) -> None:
    encoder, new = Series(**options), in_a_table(9, 9, "pqr")
    encoder.fit(of_a_table(in_a_table(5, 8, "pq")))
    theirs = model(encoder.state())
    for row, wanted in zip(new, encoder.encode(of_a_table(new), "new"), strict=True):
        assert torch.equal(torch.from_numpy(theirs.encode(row, "raw")), wanted)
        steps = zip(row["x"], row["phase"], [row["maker"]] * len(row["x"]), row["y"], strict=True)
        assert torch.equal(torch.from_numpy(theirs.encode([*map(list, steps)], "raw")), wanted)


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"x": [1.0], "phase": "p", "maker": "A"}, "has no 'y'"),
        ({"x": 1.0, "y": 1.0, "phase": "p", "maker": "A"}, "has no list for its steps"),
        ({"x": [1.0], "y": [1.0, 2.0], "phase": "p", "maker": "A"}, "some of other lengths"),
        ({"x": ["a"], "y": [1.0], "phase": "p", "maker": "A"}, "has a text instead of a number"),
        ([[1.0, "p", "A", None]], "lacks a value, which data.missing=error refuses"),
        ([1.0], "is not a series of 4 channels"),
        ([], "is not a series of 4 channels"),
    ],
)
def test_a_wrong_row_of_a_table_is_named_by_its_number(
    given: Any, wrong: str, model: Callable[..., Any]
) -> None:
    encoder = Series()
    row = {"x": [1.0, 2.0], "y": [3.0, 5.0], "phase": ["p", "q"], "maker": "A"}
    encoder.fit(of_a_table([row]))
    with pytest.raises(ValueError, match=f"^input 7 .*{wrong}"):
        model(encoder.state()).predict([given], 7)


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
