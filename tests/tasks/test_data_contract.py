"""What all data promises, whatever its kind, and data that nobody wants and everybody has."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from seqmodels import tasks
from seqmodels.data import SPLITS, DataModule, Examples, SequenceDataModule, Series, Text, Values
from seqmodels.errors import UserError
from seqmodels.runs import load_run, train
from tests.conftest import Config

Row = dict[str, Any]
SIZES = {"train": 120, "validation": 40, "test": 40}
ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet")
MEMORY = ("rows", "columns", "frame")


def text(n: int, spoilt: bool) -> Row:
    words = f"w{n % 7} Of{n % 3} {'tail ' * (n % 4)}".strip()
    label = "odd" if spoilt and n % 3 == 0 else "no" if n % 2 else "yes"
    return {"text": f"{words} ß ß" if spoilt else words, "label": label}


def values(n: int, spoilt: bool) -> Row:
    up = (n % 5 + 0.25) * (1e6 if spoilt else 1)
    return {"text": text(n, spoilt)["text"], "up": None if n % 4 == 3 else up, "down": 0.5 - n}


def tagged(n: int, spoilt: bool) -> Row:
    words = [f"{'aB'[(n + i) % 2]}{n * i % 5}" for i in range(1 + n % 4)] + ["ßß"] * spoilt
    return {"tokens": words, "tags": [word[0].upper() for word in words]}


def pair(n: int, spoilt: bool) -> Row:
    source = "".join("abcd"[n // 4**k % 4] for k in range(4)) + "ß" * spoilt
    return {"source": source, "target": " ".join(source.upper())}


def step(n: int, spoilt: bool) -> Row:
    """Of two series in turn, each hour, with a period of 6; spoilt ones have another, and size."""
    hour = n // 2
    y = np.sin(2 * np.pi * hour / (5 if spoilt else 6)) * (300 if spoilt else 3) + hour / 100
    at = str(pd.Timestamp("2024-01-30 22:00") + pd.Timedelta(hours=hour))
    return {"at": at, "id": "ab"[n % 2], "y": None if hour % 9 == 5 else float(y), "x": hour % 7.5}


def series(n: int, spoilt: bool) -> Row:
    random = np.random.default_rng(n)
    steps = random.normal(size=(200 if spoilt else 3 + n % 5, 2)) * (50 if spoilt else 1)
    return {"steps": steps, "last": steps[-1, 0]}


class MadeSeries(SequenceDataModule):
    """Series with a value each, of the rows of each split."""

    def __init__(self, *tables: list[Row], **options: Any) -> None:
        super().__init__(Series(stack="auto", scale="both"), Values(), **options)
        self.tables = tables

    def read(self) -> dict[Any, Examples]:
        return {
            split: Examples([row["steps"] for row in rows], [row["last"] for row in rows], split)
            for split, rows in zip(SPLITS, self.tables)
        }


class Kind(NamedTuple):
    """A kind of data.

    Args:
        make: it, of what gives a table for each split.
        row: row n of a table, as it is or spoilt: with other words, sizes, lengths, classes.
        ways: how a table can be given.
        options: of `make`.
        target: the column that a file to predict for may lack.
    """

    make: Any
    row: Callable[[int, bool], Row]
    ways: tuple[str, ...] = (*MEMORY, *ENDINGS)
    options: Mapping[str, Any] = {}
    target: str | None = None


KINDS = {
    "texts": Kind(Text, text, options={"lowercase": True, "max_length": 4}, target="label"),
    "values": Kind(Text, values, options={"value_columns": ["down", "up"]}, target="up"),
    "series": Kind(MadeSeries, series, ways=MEMORY[:1]),
}
if hasattr(tasks, "TaggedText"):
    lists = (*MEMORY, ".jsonl", ".parquet")
    KINDS["tagged"] = Kind(tasks.TaggedText, tagged, lists, {"characters": True}, "tags")
if hasattr(tasks, "Pairs"):
    KINDS["pairs"] = Kind(tasks.Pairs, pair, options={"target_tokenizer": "space"}, target="target")
if hasattr(tasks, "Windows"):
    how = {"target": "y", "inputs": ["x"], "time": "at", "series": "id", "missing": "last"}
    KINDS["windows"] = Kind(tasks.Windows, step, options={**how, "window": 8, "horizon": 3})
if hasattr(tasks, "PlainText"):
    how = {"tokenizer": "char", "text_column": "text", "window": 5, "evaluation_streams": 3}
    KINDS["streams"] = Kind(tasks.PlainText, text, ENDINGS, how)
kinds = pytest.mark.parametrize("kind", KINDS)
Make = Callable[..., DataModule]


def given(table: list[Row], way: str, path: Path) -> Any:
    """A table in this way; with an ending, as a file."""
    if way == "rows":
        return table
    if way == "columns":
        return {name: [row[name] for row in table] for name in table[0]}
    frame, path = pd.DataFrame(table), path.with_suffix(way if way in ENDINGS else ".csv")
    if way == "frame":
        return frame
    if way == ".parquet":
        pq.write_table(pa.Table.from_pylist(table), path)
    elif way == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in table))
    else:
        frame.to_csv(path, sep="\t" if way == ".tsv" else ",", index=False)
    return str(path)


@pytest.fixture
def make(kind: str, tmp_path: Path) -> Make:
    """`make("test", way=".csv")`: the data, whose test split is spoilt, of CSV files."""
    how = KINDS[kind]

    def made(*spoilt: str, way: str = how.ways[-1], without: str | None = None) -> DataModule:
        first, tables = 0, dict[str, list[Row]]()
        for split, size in SIZES.items():
            rows = [how.row(n, split in spoilt) for n in range(first, first + size)]
            tables[split] = [{k: v for k, v in row.items() if k != without} for row in rows]
            first += size
        if kind == "windows":  # cuts its only table in time, as those sizes are
            tables = {"all": [*chain(*tables.values())]}
        files = (given(table, way, tmp_path / name) for name, table in tables.items())
        return how.make(*files, batch_size=4, **how.options)

    return made


def ready(data: DataModule) -> DataModule:
    data.setup()
    return data


def tensors(batches: Iterable[Any]) -> list[list[Tensor]]:
    return [[batch.inputs, batch.lengths, batch.targets] for batch in batches]


same = partial(torch.testing.assert_close, rtol=0, atol=0, equal_nan=True)


@kinds
def test_a_table_is_the_same_from_memory_and_from_any_file(kind: str, make: Make) -> None:
    data = ready(make())
    for way in KINDS[kind].ways:
        other = ready(make(way=way))
        assert (other.fingerprint, other.spec) == (data.fingerprint, data.spec), way
        for split in SPLITS:
            same(tensors(other.split_loader(split)), tensors(data.split_loader(split)))


@kinds
def test_nothing_is_learned_from_validation_or_test(kind: str, make: Make) -> None:
    data = ready(make())
    for split in SPLITS:
        other = ready(make(split))
        assert other.fingerprint != data.fingerprint
        assert (other.spec == data.spec) == (split != "train")


@kinds
def test_a_spec_encodes_alike_whatever_there_is_to_learn_from(kind: str, make: Make) -> None:
    data, again = ready(make()), make("train")
    again.use_spec(json.loads(json.dumps(data.spec)))  # plain values
    assert ready(again).spec == data.spec
    same(tensors(again.test_dataloader()), tensors(data.test_dataloader()))


@kinds
def test_the_order_comes_back_in_the_middle_of_an_epoch(kind: str, make: Make) -> None:
    def loader() -> Any:
        return ready(make()).train_dataloader()

    whole, cut, resumed = loader(), loader(), loader()
    for each in (whole, cut):
        each.batch_sampler.set_epoch(3)
    expected = tensors(whole)
    seen = tensors(islice(cut, 5))
    resumed.load_state_dict(cut.state_dict())
    same(seen + tensors(resumed), expected)
    assert len([*resumed]) == len(expected)  # the pass after that is a whole one
    resumed.load_state_dict(whole.state_dict())  # which has given all
    assert len([*resumed]) == len(expected)


@kinds
def test_processes_evaluate_each_row_once(
    kind: str, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = ready(make())

    def rows(rank: int, processes: int) -> list[str]:
        monkeypatch.setattr(type(data), "process", (rank, processes))
        found = []
        for inputs, lengths, targets in tensors(data.test_dataloader()):
            for n, row in enumerate(inputs):
                found.append(f"{row[: lengths[n]].tolist()} {targets[n, ...].tolist()}")
        return found

    shares = [rows(rank, 3) for rank in range(3)]
    assert all(shares) and sorted(chain(*shares)) == sorted(rows(0, 1))


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if kind.target])
def test_a_file_without_targets_is_predicted_and_not_evaluated(
    kind: str, make: Make, tmp_path: Path
) -> None:
    data = ready(make())
    for way in {*KINDS[kind].ways} & {*ENDINGS}:
        make(way=way)
        path = str(tmp_path / f"test{way}")
        inputs = [*data.read_inputs(path)]
        assert len([*data.file_loader(path)]) == len([*data.test_dataloader()])
        make(way=way, without=KINDS[kind].target)
        assert [*data.read_inputs(path)] == inputs and len(inputs) == SIZES["test"]
        assert data.batch_of(inputs[:2]).targets is None
        with pytest.raises(
            UserError, match=f"test{way} has no column '{KINDS[kind].target}': set data."
        ):
            data.file_loader(path)


# ---------------------------------------------------------------- data that nobody wants


STEPS = np.arange(200)
WAVE = np.sin(STEPS / 5)
NOISE = np.random.default_rng(0).normal(size=200)
DEAD = np.where(STEPS < 110, WAVE, np.nan)  # in validation and test
LATE = np.where(STEPS < 30, np.nan, WAVE)

FORECAST = ["model=forecaster", "data=windows", "data.target=y", "data.window=9", "data.horizon=3"]
FORECASTS: dict[str, tuple[Any, str]] = {
    "a constant of 0.1": ({"y": np.full(200, 0.1)}, ""),
    "another constant later": ({"y": np.where(STEPS < 100, 0.1, 0.12)}, ""),
    "a level of 1e8": ({"y": 1e8 + NOISE}, ""),
    "tiny values": ({"y": 1e-12 * NOISE}, ""),
    "a constant input": ({"y": WAVE, "x": np.full(200, 0.1)}, "data.inputs=[x]"),
    "a sensor that starts late": ({"y": LATE}, "data.missing=last"),
    "a sensor that dies": ({"y": DEAD}, "data.missing=last"),
    "nothing known": ({"y": np.full(200, np.nan)}, "data.missing=last"),
    "three steps": ({"y": WAVE[:3]}, ""),
    "an infinite value": ({"y": np.where(STEPS == 50, np.inf, WAVE)}, ""),
}

WORDS = ["fine", "good", "bad", "poor", "so", "it", "was", "film"]
TEXTS = [" ".join(WORDS[(n * k) % 8] for k in range(1, 2 + n % 5)) for n in range(60)]
TEXT = ["data=text", "data.min_count=1", "data.batch_size=7"]
LABELS = ["data.label_column=y"]
VALUES = ["model=regressor", "data.value_columns=[y]"]
TEXTUAL: dict[str, tuple[list[str], list[Any], list[str]]] = {
    "three examples a class": (TEXTS, [f"c{n // 3}" for n in range(60)], LABELS),
    "two examples a class": (TEXTS[:4], ["a", "a", "b", "b"], LABELS),
    "one example": (TEXTS[:1], ["a"], LABELS),
    "one class": (TEXTS, ["a"] * 60, LABELS),
    "texts of one word": (["fine", "bad"] * 30, ["a", "b"] * 30, LABELS),
    "equal texts": (["fine"] * 60, ["a", "b"] * 30, LABELS),
    "one word in 500": ([*TEXTS[:59], "fine " * 500], ["a", "b"] * 30, LABELS),
    "a class that weighs nothing": (
        TEXTS,
        ["a", "b"] * 30,
        [*LABELS, "model.output.class_weights=[0,1]"],
    ),
    "no class that weighs anything": (
        TEXTS,
        ["a", "b"] * 30,
        [*LABELS, "model.output.class_weights=[0,0]"],
    ),
    "a constant value": (TEXTS, [0.1] * 60, VALUES),
    "values at 1e8": (TEXTS, [*(1e8 + NOISE[:60])], VALUES),
    "few known values": (TEXTS, [1.5 * n if n % 5 == 0 else None for n in range(60)], VALUES),
    "no known value": (TEXTS, [None] * 60, VALUES),
}


def ends_well(config: Config, words: list[str], data: dict[str, Any]) -> None:
    quick = ["callbacks.dataflow=null", "trainer.max_epochs=1", "data.batch_size=7"]
    try:
        result = train(config(*words, *quick), data=data)
    except UserError as error:
        assert "\n" not in str(error) and "diverged" not in str(error), error
        return
    assert result["status"] == "completed"
    metrics = {k: v for k, v in result["metrics"].items() if k.endswith("/loss")}
    assert len(metrics) == 2 and all(math.isfinite(value) for value in metrics.values())
    assert max(metrics.values()) < 1e3, metrics  # of standardised values
    rows = pd.read_csv(Path(load_run(result["config"]["folder"]).folder) / "predictions.csv")
    assert len(rows) and np.isfinite(rows.select_dtypes("number").drop(columns="loss")).all().all()


def some(names: Iterable[str], *short: str) -> list[Any]:
    """These in CI, and the others with `pytest -m long`."""
    return [name if name in short else pytest.param(name, marks=pytest.mark.long) for name in names]


@pytest.mark.parametrize(
    "name", some(FORECASTS, "a constant of 0.1", "a level of 1e8", "a sensor that dies")
)
def test_a_forecast(name: str, config: Config) -> None:
    columns, word = FORECASTS[name]
    ends_well(config, [*FORECAST, *word.split()], {"file": pd.DataFrame(columns)})


def test_predictions_keep_the_digits_of_a_high_level(config: Config) -> None:
    data = {"text": TEXTS, "y": [*(1.7e9 + NOISE[:60])]}
    words = [*TEXT, *VALUES, "trainer.max_epochs=1", "baseline=false"]
    folder = Path(train(config(*words), data={"train": data})["config"]["folder"])
    written = pd.read_csv(folder / "predictions.csv")["target.y"] - 1.7e9
    assert all(np.abs(NOISE[:60] - value).min() < 1e-4 for value in written)


@pytest.mark.parametrize(
    "name",
    some(
        TEXTUAL,
        *("three examples a class", "one example", "texts of one word"),
        *("no class that weighs anything", "values at 1e8", "no known value"),
    ),
)
def test_texts_and_their_labels_or_values(name: str, config: Config) -> None:
    texts, targets, words = TEXTUAL[name]
    ends_well(config, [*TEXT, *words], {"train": {"text": texts, "y": targets}})


@pytest.mark.parametrize(
    "texts", [["a b c\n" * 40] * 2, ["ab " * 400], ["a"], ["x " * 300, "y"], ["x " * 300, ""]]
)
def test_a_language_model(texts: list[str], config: Config, tmp_path: Path) -> None:
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.txt").write_text(text)
    words = [
        "model=language_model",
        "data=text_lm",
        "data.window=9",
        f"data.train={tmp_path}/*.txt",
    ]
    quick = ["callbacks.dataflow=null", "trainer.max_epochs=1", "data.batch_size=2"]
    try:
        result = train(config(*words, *quick))
    except UserError as error:
        assert "\n" not in str(error) and "diverged" not in str(error), error
    else:
        losses = (v for k, v in result["metrics"].items() if k.endswith("/loss"))
        assert all(map(math.isfinite, losses))


def test_a_doubt_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    class Doubtful(DataModule):
        doubts: Any = ()

    data = Doubtful()
    for doubts in (["a"], ["b"], ["a", "b"], ["a"]):
        data.doubts = doubts
        data.warn()
    assert [record.getMessage() for record in caplog.records] == ["a", "b"]
