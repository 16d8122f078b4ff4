"""A row that arrives some steps at a time: what is predicted of it, in Python, by the command and
by a graph, is what is predicted of the same steps at once; and what a model for each step is worth
while a series arrives."""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from seqmodels import compose, load_run, train
from seqmodels.batch import SequenceBatch
from seqmodels.data import UEA, DataModule, SeriesTable, Text
from seqmodels.data.baseline_features import step_windows
from seqmodels.errors import UserError
from seqmodels.export import export
from seqmodels.heads import HEADS
from seqmodels.nn.encoder import RNNOutput
from seqmodels.runs import Run
from seqmodels.runs.live import at_newest_step
from seqmodels.runs.result import Result
from tests.conftest import ROOT, Script
from tests.shipped import exported

WORDS = [f"w{n % 5}" for n in range(23)]
STEPS = np.random.default_rng(0).normal(size=(24, 12))
TABLE = pd.DataFrame({"y": np.arange(300) % 12, "z": np.arange(300) % 7 / 7.0})
CHUNKS = ([1], [3], [1, 4, 2, 7])
IN_NUMPY = runpy.run_path(str(ROOT / "examples" / "stream_onnx.py"))


class Case(NamedTuple):
    """A model that streams.

    Args:
        task: the name of its class.
        data: makes its data of the folder of the test.
        head, options: of the task.
        whole: a row; `join` makes a raw input of a part of it.
    """

    task: str
    data: Callable[[Path], DataModule]
    head: str
    whole: Sequence[Any]
    join: Callable[[Any], Any] = " ".join
    options: Mapping[str, Any] = MappingProxyType({})


def texts(folder: Path, **options: Any) -> DataModule:
    rows = [{"text": " ".join(WORDS[n % 7 : n % 7 + 6]), "label": "ab"[n % 2]} for n in range(40)]
    options["value_columns"] = options.get("value_columns")
    return Text(pd.DataFrame([{**row, "value": len(row["text"])} for row in rows]), **options)


def numbers(folder: Path) -> DataModule:
    return texts(folder, value_columns=["value"])


def vowels(folder: Path, **options: Any) -> DataModule:
    return UEA("JapaneseVowels", **options)


def tagged(folder: Path) -> DataModule:
    rows = [
        {"tokens": WORDS[n % 9 :], "tags": [w.upper() for w in WORDS[n % 9 :]]} for n in range(40)
    ]
    return exported("TaggedText")(pd.DataFrame(rows), characters=True)


def windows(folder: Path) -> DataModule:
    return exported("Windows")(TABLE, ["y", "z"], window=len(STEPS), horizon=5)


def corpus(folder: Path) -> DataModule:
    (folder / "text.txt").write_text("\n".join([" ".join(WORDS)] * 200))
    return exported("PlainText")(str(folder / "text.txt"), tokenizer="word")


CASES = {
    **{
        f"classifier {head}": Case("SequenceClassifier", vowels, head, STEPS, np.asarray)
        for head in ("last_hidden", "last_output", "mean_pool", "max_pool", "concat_pool")
    },
    "texts": Case("SequenceClassifier", texts, "mean_pool", WORDS),
    "regressor": Case("Regressor", numbers, "concat_pool", WORDS),
    "tagger": Case("Tagger", tagged, "every_step", WORDS, list),
    "forecaster": Case("Forecaster", windows, "every_step", STEPS[:, :2], np.asarray),
    "language model": Case(
        "LanguageModel", corpus, "softmax", [f" {word}" for word in WORDS], "".join
    ),
}
ENCODERS = {"gru": {"cell": "gru", "num_layers": 2}, "lstm": {"num_layers": 2, "hidden_size": 5}}


def untrained(case: Case, folder: Path, encoder: dict[str, Any] | None = None) -> Run:
    """A run that has trained for no step, with weights so large that each step matters."""
    torch.manual_seed(0)
    kind, data = exported(case.task), case.data(folder)
    data.setup()
    sizes = {"hidden_size": 6, "bidirectional": False} | (encoder or {})
    task = kind(data.spec, sizes, case.head, **case.options).eval()
    for weights in task.parameters():
        weights.data *= 3
    return Run(folder, {"data": {}}, Result(seed=0, config={}, task=case.task), task, data)


def chunks(whole: Any, sizes: Sequence[int]) -> Iterator[Any]:
    start = 0
    for size in cycle(sizes):
        if start >= len(whole):
            return
        yield whole[start : start + size]
        start += size


def leaves(value: Any) -> list[Any]:
    parts = value.items() if isinstance(value, dict) else value
    many = isinstance(value, dict | list | tuple)
    return [leaf for part in parts for leaf in leaves(part)] if many else [value]


def close(found: Any, wanted: Any) -> None:
    for one, other in zip(leaves(found), leaves(wanted), strict=True):
        assert one == (
            pytest.approx(other, rel=1e-6, abs=1e-6) if isinstance(other, float) else other
        )


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("name", CASES)
def test_steps_as_they_arrive_give_what_they_give_at_once(
    name: str, encoder: str, tmp_path: Path
) -> None:
    case = CASES[name]
    run = untrained(case, tmp_path, ENCODERS[encoder])
    stream = run.stream(accelerator="cpu")
    for sizes in CHUNKS:
        read, tags = 0, list[str]()
        for chunk in chunks(case.whole, sizes):
            [found] = stream([case.join(chunk)])
            read += len(chunk)
            if name == "forecaster" and read < len(case.whole):
                continue  # `predict` takes whole windows
            [wanted] = run.predict([case.join(case.whole[:read])], accelerator="cpu")
            if name == "tagger":
                tags += found["tags"]
                wanted, found = wanted["tags"], tags
            close(found, wanted)
        stream.reset()


def test_rows_side_by_side_may_get_different_numbers_of_steps(tmp_path: Path) -> None:
    run = untrained(CASES["texts"], tmp_path)
    stream = run.stream(batch_size=2, accelerator="cpu")
    stream([" ".join(WORDS[:5]), WORDS[7]])
    found = stream([WORDS[5], " ".join(WORDS[8:15])])
    close(found, [*run.predict([" ".join(WORDS[:6]), " ".join(WORDS[7:15])], accelerator="cpu")])


# One for each kind of input and of state; other heads read a part of the same states.
IN_EVERY_RUN = (
    *("classifier last_output", "classifier concat_pool"),
    *("tagger", "forecaster", "language model"),
)


@pytest.mark.parametrize(
    "name",
    [
        name if name in IN_EVERY_RUN else pytest.param(name, marks=pytest.mark.long)
        for name in CASES
    ],
)
def test_a_graph_in_chunks_gives_what_the_run_gives_at_once(name: str, tmp_path: Path) -> None:
    run = untrained(CASES[name], tmp_path)
    export(run.task, tmp_path / "graph", stream=True)
    spec, shape = run.task.hparams["data"], (3, 17)
    if spec["inputs"] == "features":
        rows = torch.randn(*shape, spec["num_inputs"])
    else:
        rows = torch.randint(2, 7, (*shape, 4) if "num_characters" in run.data.spec else shape)
    stream = IN_NUMPY["Stream"](str(tmp_path / "graph" / "model.onnx"), len(rows))
    with torch.no_grad():
        wanted = run.task(SequenceBatch(rows, torch.full((len(rows),), rows.shape[1])))
    for sizes in CHUNKS:
        stream.reset()
        steps = [chunk.transpose(0, 1).numpy() for chunk in chunks(rows.transpose(0, 1), sizes)]
        logits = [stream(chunk) for chunk in steps]
        found = np.concatenate(logits, axis=1) if wanted.dim() == 3 else logits[-1]
        np.testing.assert_allclose(found, wanted, atol=1e-5, rtol=0)


def refused_case(
    data: Callable[[Path], DataModule], head: str = "mean_pool", **options: Any
) -> Case:
    return Case("SequenceClassifier", data, head, (), options=options)


BOTH_WAYS = {"bidirectional": True}
CONVOLVED = {"convolutions": [3], "channels": 4}
REFUSED = {  # by what the error says to set
    "bidirectional=false": (refused_case(texts), BOTH_WAYS),
    "mean_pool": (refused_case(texts, "attention_pool"), {}),
    "model.window=null": (refused_case(texts, window=9), {}),
    "model.embedding.convolutions=null": (refused_case(texts, embedding=CONVOLVED), {}),
    "output.kind=classes": (
        Case("Tagger", tagged, "every_step", (), options={"output": {"kind": "crf"}}),
        {},
    ),
    "head=every_step": (Case("Forecaster", windows, "last_hidden", ()), {}),
    "data.max_length=null": (refused_case(partial(texts, max_length=4)), {}),
    "data.scale=split": (refused_case(partial(vowels, scale="series")), {}),
}


@pytest.mark.parametrize("cure", REFUSED)
def test_what_needs_whole_rows_is_refused_with_what_streams(cure: str, tmp_path: Path) -> None:
    run = untrained(REFUSED[cure][0], tmp_path, REFUSED[cure][1])
    with pytest.raises(UserError, match=cure):
        run.stream()


def test_another_select_says_anew_how_it_streams(modules_of_their_own: None) -> None:
    class Reversed(HEADS["last_output"], name="first_output"):  # type: ignore[misc]
        def select(self, states: RNNOutput) -> Tensor:
            return states.output[:, 0]

    class Renamed(HEADS["last_output"], name="renamed"):  # type: ignore[misc]
        pass

    assert (Reversed.streams, Renamed.streams) == (None, "alone")


def test_the_command_prints_a_prediction_for_each_line(script: Script, reviews: Path) -> None:
    own = ("data=text", f"data.train={reviews}", "model.encoder.bidirectional=false")
    quick = ("model.encoder.hidden_size=4", "baseline=false", "trainer.max_steps=2")
    script("train.py", *own, *quick, "folder=run")
    ask = ("predict.py", "run=run", "input=-")
    printed = script(*ask, "stream=true", stdin="a fine\nfilm and\nthen").stdout.splitlines()
    [whole] = script(*ask, stdin="a fine film and then").stdout.splitlines()
    close(json.loads(printed[-1]), json.loads(whole))
    assert len(printed) == 3 and printed[0] != printed[1]
    done = script(*ask, "stream=true", "attribute=true", stdin="a", status=2)
    assert "leave out beam, batch_size and attribute" in done.stderr


# ---------------------------------------------------------------- scores while a series arrives


QUICK = ("trainer=cpu", "baseline=false", "callbacks.dataflow=null", "trainer.max_epochs=1")
SMALL = ("model.encoder.hidden_size=8", "data.batch_size=4")
BOTH = "model.encoder.bidirectional=true"


def countdowns(count: int = 12) -> pd.DataFrame:
    """Noise, and the steps that are left: only who reads the end knows these."""
    random, rows = np.random.default_rng(0), list[dict[str, Any]]()
    for number in range(count):
        steps = int(random.integers(1, 12))
        for step in range(steps):
            left = steps - 1 - step
            row = {"x": random.normal(), "left": left, "label": "ab"[left > 3]}
            rows.append({"s": f"s{number}", "step": step, **row})
    return pd.DataFrame(rows)


def trained(folder: Path, *words: str) -> list[str]:
    """The sentences at the end of a run on such series."""
    data = ("data=series", "data.series=s", "data.time=step", "data.inputs=[x]")
    config = compose(*data, *QUICK, *SMALL, *words, f"folder={folder}")
    return train(config, data={"train": countdowns()})["verdict"]


NUMBERS = ("model=regressor", "model.head=every_step", "data.value_columns=[left]")
TAGS = ("model=tagger", "data.per=step")


def test_the_newest_step_is_scored_as_predictions_of_beginnings_are(tmp_path: Path) -> None:
    [sentence] = trained(tmp_path / "run", *NUMBERS, BOTH)
    run = load_run(tmp_path / "run")
    run.data.setup()
    whole_errors, live_errors = [], []
    for series in run.data.examples["test"].inputs:
        frame = countdowns()
        frame = frame[frame.s == series.name]
        [whole] = run.predict(frame)
        for step, left in enumerate(frame.left):
            [beginning] = run.predict(frame[: step + 1])
            live_errors.append(beginning["left"][-1] - left)
            whole_errors.append(whole["left"][step] - left)
    measured = [float(text) for text in re.findall(r"\d+\.\d{4}", sentence)]
    by_hand = [np.sqrt(np.mean(np.square(errors))) for errors in (live_errors, whole_errors)]
    assert measured == pytest.approx(by_hand, abs=1e-4)
    assert f"test series, {len(live_errors)} steps" in sentence


def test_no_series_counts_more_than_others_at_the_newest_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = countdowns(60).assign(weight=lambda table: 1.0 + table.s.str[1:].astype(int))
    words = ("data=series", "data.series=s", "data.time=step", "data.inputs=[x]", *NUMBERS, BOTH)
    words = (*words, "data.weight_column=weight", *QUICK, *SMALL, f"folder={tmp_path / 'run'}")
    train(compose(*words), data={"train": frame})
    run = load_run(tmp_path / "run")
    run.data.setup()
    # A network that reads nothing predicts the same of beginnings as of whole series.
    for parameter in run.task.parameters():
        parameter.detach().zero_()
    # A task of one's own may be compared by its loss, in which series have weights.
    monkeypatch.setattr(run.task, "scores", lambda sums: {"rmse": sums["loss"] / sums["weight"]})
    sentence = at_newest_step(run.task, run.data)
    newest, whole = re.findall(r"\d+\.\d{4}", sentence)
    assert newest == whole


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        ((*TAGS,), "model.encoder.bidirectional=false"),
        (
            (*TAGS, "model.output.kind=crf"),
            "model.encoder.bidirectional=false, model.output.kind=classes",
        ),
        ((*NUMBERS, "model.embedding.convolutions=[3]"), "model.embedding.convolutions=null"),
        ((*NUMBERS, "data.scale=series"), "train with data.scale=split"),
    ],
)
def test_a_run_that_looks_ahead_says_which_keys_change_that(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], keys: str
) -> None:
    [sentence] = trained(tmp_path / "run", *words)
    assert sentence.startswith("At the newest step of what has arrived (")
    [line] = [line for line in capsys.readouterr().out.splitlines() if keys in line]
    assert line.startswith("each step is predicted from later") or "data.scale" in line


@pytest.mark.parametrize("words", [NUMBERS, (*TAGS, "model.encoder.bidirectional=false")])
def test_a_run_that_does_not_look_ahead_says_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    assert trained(tmp_path / "run", *words) == []
    assert "later" not in capsys.readouterr().out


@pytest.mark.parametrize("looks_ahead", [True, False])
def test_the_baseline_of_steps_reads_later_ones_only_where_the_network_does(
    looks_ahead: bool,
) -> None:
    def windows(table: pd.DataFrame) -> tuple[SeriesTable, np.ndarray]:
        """What the baseline reads of the test split, without its last steps."""
        data = SeriesTable(table, series="s", inputs=["x"], value_columns=["left"], per="step")
        data.looks_ahead = looks_ahead
        data.setup()
        rows = step_windows(data)[1]["test"]
        ends = np.cumsum(data.datasets["test"].lengths.numpy()) - 1
        return data, np.delete(rows, ends, axis=0)

    frame = countdowns()
    data, before = windows(frame)
    tested = frame.s.isin([series.name for series in data.examples["test"].inputs])
    frame.loc[tested & ~frame.s.duplicated(keep="last"), "x"] += 1000.0
    _, after = windows(frame)
    assert len(before) and np.array_equal(before, after) != looks_ahead
