"""On an accelerator, a run of each task: its training, its test, its resume, and all its uses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seqmodels import compose, load_run
from seqmodels.errors import UserError
from seqmodels.runs import Run, train
from seqmodels.runs.checkpoint import read_checkpoint
from tests.device.cases import BY_NAME, StepWaits
from tests.runs.resumed import Copy

pytestmark = pytest.mark.device

# where the host may wait for the device between the first step of an epoch and its last, and why
MAY_WAIT = {
    "callbacks/progress.py: values = ": "once in trainer.log_every_n_steps: one transfer",
}
SMALL = (
    *("trainer=gpu", "model.encoder.hidden_size=16", "trainer.max_epochs=2"),
    *("trainer.enable_progress_bar=false", "baseline=false"),
)
STREAM = ("data.window=12", "data.batch_size=4", "trainer.max_steps=40")
LOGGED = "trainer.log_every_n_steps=10"
WINDOWS = ("data.file=power.csv", "data.target=load", "data.horizon=4", "data.window=24")
RUNS = {
    "classification": ["model.head=bidirectional_concat", "data.batch_size=64"],
    "texts": ["experiment=text_classification", "data.train=texts.csv"],
    "tagging": ["experiment=tagging", "data.train=tags.txt"],
    "numbers": [
        "model=regressor",
        "data=text",
        "data.train=scores.csv",
        "data.value_columns=[score]",
    ],
    "forecasting": ["experiment=forecasting", *WINDOWS],
    "recursive": ["model=forecaster", "model.head=every_step", "data=windows", *WINDOWS],
    "language model": ["experiment=word_lm", "data.train=book.txt", *STREAM, LOGGED],
    "seq2seq": ["experiment=seq2seq", "data.train=pairs.tsv"],
}


def trained(folder: str, *words: str) -> tuple[dict[str, Any], StepWaits]:
    words, waits = (*words, f"folder={folder}"), StepWaits()
    return train(compose(*words), words, callbacks=[waits]), waits


TASKS = {
    "tagging": "Tagger",
    "numbers": "Regressor",
    **dict.fromkeys(("forecasting", "recursive"), "Forecaster"),
    "language model": "LanguageModel",
    "seq2seq": "Seq2Seq",
}


def existing(*names: str) -> list[str]:
    """Those of `RUNS` whose task is there: a project may have deleted its folder."""
    return [name for name in names if TASKS.get(name, "SequenceClassifier") in BY_NAME]


INPUTS: dict[str, list[Any]] = {
    "classification": [np.ones((9, 12)), np.eye(12)],
    "tagging": [["w1", "w2", "w3"], ["w4"]],
    "forecasting": [np.eye(24, 1), np.ones((24, 1))],
    "recursive": [np.eye(24, 1), np.ones((24, 1))],
}


@pytest.mark.parametrize("task", existing(*RUNS))
def test_a_run_from_its_first_step_to_its_uses(
    task: str, files: Path, device: torch.device
) -> None:
    result, waits = trained("run", *RUNS[task], *SMALL)
    unlisted = {w: n for w, n in waits.found.items() if not any(line in w for line in MAY_WAIT)}
    assert not unlisted
    # 40 steps, of which the last ends with a validation
    assert sum(waits.found.values()) == (4 if task == "language model" else 0)
    folder = files / "run"
    rows = (folder / "predictions.csv").read_text().splitlines()
    assert len(rows) > 2 and (folder / "dataflow.svg").stat().st_size > 1000
    pictures = {file.name for file in (folder / "figures").iterdir()}
    assert len(pictures) > (task in ("classification", "texts", "forecasting"))
    run = load_run(folder)
    for accelerator in ("gpu", "cpu"):  # the same weights have the same scores
        scores = run.evaluate(accelerator=accelerator)
        for name, score in scores.items():
            assert score == pytest.approx(result["metrics"][name], rel=2e-3, abs=1e-3), name
    inputs = INPUTS.get(task, ["w1 w2 w3", "w4"])
    done = {name for name in USES if on_both(run, USES[name], inputs)}
    assert done == {"predict", *DOES.get(task, {"encode", "attribute"})}
    if task == "numbers":
        assert (run.export(files / "export") / "model.onnx").stat().st_size > 1000


def on_both(run: Run, use: Callable[..., Any], inputs: Any) -> bool:
    """Whether this run can be used so; the answer of the device must be the CPU's."""
    try:
        made, expected = ([*use(run, inputs, accelerator=a)] for a in ("gpu", "cpu"))
    except UserError:
        return False
    assert len(made) == len(expected) > 0
    assert numbers(made) == pytest.approx(numbers(expected), rel=1e-3, abs=1e-4)
    return True


def numbers(value: Any) -> list[float]:
    """All numbers in it."""
    if isinstance(value, str):
        return [float(ord(letter)) for letter in value]
    if isinstance(value, dict):
        return numbers([*value.values()])
    if isinstance(value, torch.Tensor):
        assert value.device.type == "cpu"
        return value.double().flatten().tolist()
    return [n for v in value for n in numbers(v)] if isinstance(value, list) else [float(value)]


def streamed(run: Run, inputs: Any, accelerator: str) -> Any:
    stream = run.stream(len(inputs), accelerator)
    return [stream(inputs), stream(inputs)]


USES: dict[str, Callable[..., Any]] = {
    "predict": lambda run, inputs, **on: run.predict(inputs, **on),
    "beam": lambda run, inputs, **on: run.predict(inputs, beam=3, **on),
    "encode": lambda run, inputs, **on: run.encode(inputs, **on),
    "attention": lambda run, inputs, **on: run.attention(inputs, **on),
    "attribute": lambda run, inputs, **on: run.attribute(inputs, **on),
    "generate": lambda run, inputs, **on: run.generate("w1", 10, temperature=0.01, **on),
    "stream": streamed,
}
DOES = {
    "forecasting": {"encode"},
    "numbers": {"encode", "stream", "attribute"},
    "recursive": {"encode", "stream"},
    "language model": {"encode", "generate", "stream", "attribute"},
    "seq2seq": {"beam", "attention"},
}


@pytest.mark.parametrize("kind", existing("classification", "language model", "tagging"))
def test_a_resumed_training_is_the_whole_one(kind: str, files: Path, device: torch.device) -> None:
    """With dropout between layers, whose numbers cuDNN would keep for itself."""
    words = (*RUNS[kind], *SMALL, "trainer.max_epochs=-1", "trainer.max_steps=8", "folder=whole")
    words += ("model.encoder.num_layers=2", "model.encoder.dropout=0.3")
    words += ("trainer.deterministic=true",)
    train(compose(*words), words, callbacks=[Copy("half", 4)])
    train(compose("resume=half"), ["resume=half"])
    one, two = (read_checkpoint(Path(f"{f}/checkpoints/last.ckpt")) for f in ("whole", "half"))
    assert one["global_step"] == two["global_step"] == 8
    for name, weight in one["state_dict"].items():
        assert torch.equal(weight, two["state_dict"][name]), name
