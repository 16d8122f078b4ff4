"""What a model for each step is worth while a series arrives."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from seqmodels import compose, load_run, train
from seqmodels.data import SeriesTable
from seqmodels.data.baseline_features import step_windows

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
