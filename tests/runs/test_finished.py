"""What a finished run can be asked in Python."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from torch.nn.utils.rnn import pack_sequence

from seqmodels.batch import SequenceBatch
from seqmodels.data import UEA, DataModule, SeriesTable, Text
from seqmodels.dataflow.steps import rough_rows
from seqmodels.errors import UserError
from seqmodels.network import Network
from seqmodels.runs import Run, load_run, train
from seqmodels.runs.result import Result
from seqmodels.tasks.classification import SequenceClassifier
from tests.conftest import Config

FILMS = pd.DataFrame({"text": ["a dull film", "fine", "a fine film, and"], "year": [1, 2, 3]})
SERIES = [np.random.default_rng(n).normal(size=(length, 12)) for n, length in enumerate((4, 1, 9))]


def untrained(
    data: DataModule, head: str = "max_pool", window: int | None = None, **of: Any
) -> Run:
    """A run that has trained for no step, with this encoder."""
    data.setup()
    task = SequenceClassifier(data.spec, {"hidden_size": 3, **of}, head, window=window)
    return Run(
        Path("run"),
        {"data": {}},
        Result(seed=0, config={}, task="SequenceClassifier"),
        task.eval(),
        data,
    )


@pytest.fixture
def films(reviews: Path) -> Run:
    return untrained(Text(str(reviews), tokenizer="word", batch_size=2), "attention_pool")


@pytest.mark.parametrize(
    "given",
    [FILMS, FILMS.text, pa.table(FILMS), FILMS.to_dict("list"), FILMS.to_dict("records")],
    ids=["frame", "series", "arrow", "columns", "dicts"],
)
def test_tables_are_predicted_as_the_texts_in_them(films: Run, given: Any) -> None:
    assert [*films.predict(given)] == [*films.predict(FILMS.text.tolist())]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("a film", "inputs: not a list of inputs, but one str: write"),
        (["a film", math.nan], "inputs: input 2 is a number, which this run cannot read: "),
        ([1, "a film"], "inputs: input 1 is a number, which this run cannot read: "),
        ([{"text": 1}, {"text": ["a"]}], "inputs: give the path of a file"),
        ([["a"]], "inputs: input 1 is of type list, which this run cannot read: "),
    ],
    ids=str,
)
def test_what_is_not_a_list_of_texts_is_refused(films: Run, inputs: Any, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        list(films.predict(inputs, accelerator="cpu"))


def test_its_network_is_a_plain_module(films: Run) -> None:
    assert type(films.network) is Network and films.network is films.task.network
    batch = films.data.batch_of(FILMS.text.tolist())
    logits = films.network(batch.inputs, batch.lengths)
    expected = [row["probabilities"] for row in films.predict(FILMS)]
    torch.testing.assert_close(
        logits.softmax(dim=1), torch.tensor([[*row.values()] for row in expected])
    )


def test_a_ts_file_with_labels_is_predicted_without_them(tmp_path: Path) -> None:
    rows = ("1,2:3,4:a", "2,3,1:0,1,2:b", "5:6:a", "1:1:b", "2:3:a", "3:2:b")
    (tmp_path / "x.ts").write_text("\n".join(["@classLabel true a b", "@data", *rows]))
    run = untrained(SeriesTable(str(tmp_path / "x.ts"), batch_size=2))
    assert [row.identity for row in run.data.read_rows(str(tmp_path / "x.ts"))] == [{}] * 6
    predicted = run.predict(run.read_inputs(str(tmp_path / "x.ts")), accelerator="cpu")
    assert [*predicted[0]] == ["label", "probabilities"] and len(predicted) == 6


def test_predictions_are_a_list_or_come_one_by_one(films: Run) -> None:
    rows = films.predict(FILMS)
    assert isinstance(rows, list) and rows[0]["label"] in ("good", "bad")
    one_by_one = films.predictions(FILMS)
    assert next(one_by_one) == rows[0] and [*one_by_one] == rows[1:]


def test_a_file_for_a_run_is_told_what_to_change_in_it_and_no_key_of_a_training(
    films: Run, tmp_path: Path
) -> None:
    FILMS[["year"]].to_csv(file := tmp_path / "new.csv", index=False)
    read = f"^{file} has no column 'text', which this run reads: name it so in the file, which has "
    with pytest.raises(UserError, match=f"{read}year$"):
        next(films.read_inputs(str(file)))
    with pytest.raises(UserError, match=read):
        films.evaluate(file=file)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"text;year\na film;1\n", "separated by ';', not by ',', as the training file is"),
        ("text\nein schöner film\n".encode("cp1252"), "save it as utf-8, as the training file is"),
        (b"sep=;\ntext\na film\n", "and separate it by ',', as the training file is"),
    ],
)
def test_another_form_of_file_is_told_the_form_of_the_training_file(
    films: Run, tmp_path: Path, content: bytes, said: str
) -> None:
    (tmp_path / "new.csv").write_bytes(content)
    with pytest.raises(UserError, match=said) as error:
        films.predict(films.read_inputs(str(tmp_path / "new.csv")))
    assert "set data" not in str(error.value) and "data.encoding" not in str(error.value)


@pytest.mark.parametrize(
    ("cell", "both", "layers"), [("lstm", True, 2), ("gru", False, 1), ("lstm", False, 1)]
)
def test_final_states_equal_those_of_a_packed_network(cell: str, both: bool, layers: int) -> None:
    head = "bidirectional_concat" if both else "last_hidden"
    run = untrained(UEA("JapaneseVowels"), head, cell=cell, num_layers=layers)
    tensors = [*run.data.inputs.encode(SERIES, "here")]  # type: ignore[attr-defined]
    _, final = run.network.encoder.rnn(pack_sequence(tensors, enforce_sorted=False))
    for name, states in zip(("h_n", "c_n"), final if cell == "lstm" else [final], strict=False):
        expected = torch.cat([states[-2], states[-1]], dim=1) if both else states[-1]
        torch.testing.assert_close(run.encode(SERIES, name), expected)
    torch.testing.assert_close(run.encode(SERIES), run.encode(SERIES, "h_n"))


def test_inputs_are_encoded_and_weighed_as_the_head_does_in_their_order(films: Run) -> None:
    texts = ["fine", "a very dull film, and then", "a film", "dull dull", "a fine film"]
    found, pooled = films.encode(texts), films.encode(texts, "mean_pool")
    output, attention = films.encode(texts, "output"), films.attention(texts)
    for number, text in enumerate(texts):
        states = films.task.network.encode(films.data.batch_of([text]))
        torch.testing.assert_close(found[number], films.task.network.head.select(states)[0])
        torch.testing.assert_close(output[number], states.output[0])
        torch.testing.assert_close(pooled[number], states.output[0].mean(dim=0))
        torch.testing.assert_close(attention[number] @ states.output[0], found[number])
        assert attention[number].sum() == pytest.approx(1)
    assert isinstance(found, torch.Tensor) and not found.requires_grad and found.shape == (5, 3)
    for films.data.batch_size in (1, 3):
        torch.testing.assert_close(films.encode(pd.DataFrame({"text": texts})), found)


def test_the_words_of_a_text_sum_to_what_they_change(films: Run) -> None:
    """In the order of the inputs, whatever stands beside them; the baseline is padding alone."""
    texts = ["fine", "a very dull film, and then", "a film", "dull dull", "a fine film"]
    films.task.train()
    for weight in films.task.parameters():
        weight.data *= 3
    for of in (None, "good", "bad"):
        found = films.attribute(texts, of)
        for text, steps in zip(texts, found):
            batch = films.data.batch_of([text])
            with torch.no_grad():
                padding = SequenceBatch(torch.zeros_like(batch.inputs), batch.lengths)
                there, nothing = films.task(batch)[0], films.task(padding)[0]
            label = int(there.argmax()) if of is None else films.task.answers.index(of)
            assert float(steps.sum()) == pytest.approx(float((there - nothing)[label]), rel=0.01)
            assert steps.shape == batch.inputs[0].shape
        assert len(found.remainder) == 5 and not rough_rows(found)
    [row] = films.predict(["a fine film"], attribute=True)
    assert row["steps"] == films.attribute(["a fine film"])[0].tolist() and row["label"]
    [left_out] = films.attribute(["a fine film"], "good", "left_out")
    logits = [films.task(films.data.batch_of([text])) for text in ("a fine film", "a film")]
    fine = (logits[0] - logits[1])[0, films.task.answers.index("good")]
    assert left_out[1] == pytest.approx(fine.item(), abs=1e-6)


def test_steps_of_a_series_start_at_the_mean_or_where_you_say() -> None:
    run = untrained(UEA("JapaneseVowels"), "mean_pool")
    run.data.batch_size, start = 2, [0.5] * 12  # type: ignore[misc]
    found = run.attribute(SERIES, "3", baseline=start)
    assert [tuple(steps.shape) for steps in found] == [(4, 12), (1, 12), (9, 12)]
    for series, steps in zip(SERIES, found):
        batch = run.data.batch_of([series])
        with torch.no_grad():
            nothing = SequenceBatch(torch.full_like(batch.inputs, 0.5), batch.lengths)
            change = (run.task(batch) - run.task(nothing))[0, run.task.answers.index("3")]
        assert float(steps.sum()) == pytest.approx(float(change), rel=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"of": "god"}, "of=god: choose one of bad, good; did you mean good?"),
        ({"of": 1}, "of=1: choose one of bad, good"),
        ({"method": "leftout"}, "method=leftout: choose one of integrated_gradients, left_out; "),
        ({"baseline": "mean"}, "baseline is mean: give zero, or a number for each of "),
        ({"baseline": [[0.0] * 9] * 2}, "baseline is (2, 9): give zero, or a number for each of "),
    ],
    ids=str,
)
def test_a_wrong_question_about_steps_is_refused(
    films: Run, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        films.attribute(FILMS, **options)


def test_an_input_whose_words_are_rough_is_named(
    films: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("seqmodels.dataflow.steps.ROUGH", -1.0)
    found = films.attribute(FILMS)  # in two batches
    wrong = ": the steps sum to what they should, but single ones are rough: "
    messages = [record.message.partition(wrong)[0] for record in caplog.records]
    assert messages == ["input 1, input 2", "input 3"]
    assert len(found.remainder) == 3


def test_steps_of_a_run_that_cuts_its_rows_are_refused(reviews: Path) -> None:
    run = untrained(Text(str(reviews), tokenizer="word"), "attention_pool", window=2)
    assert run.encode(FILMS).shape == (3, 3)  # type: ignore[union-attr]
    for ask in (run.attention, partial(run.encode, tensor="output")):
        with pytest.raises(UserError, match="run reads an input in several rows, so its steps"):
            ask(FILMS)


def test_predictions_leave_nothing_behind(films: Run, tmp_path: Path) -> None:
    before = {*tmp_path.rglob("*")}
    assert len([*films.predict(FILMS)]) == len(films.encode(FILMS, "h_n")) == 3
    assert {*tmp_path.rglob("*")} == before


def test_inputs_without_end_are_named_instead_of_the_run(films: Run) -> None:
    def without_end() -> Iterator[str]:
        yield "a good film"
        raise MemoryError

    with pytest.raises(UserError, match="^standard input: there is not enough memory to read it"):
        list(films.predict(without_end(), "-"))


def test_a_run_of_rows_in_memory_is_evaluated_and_resumed(config: Config) -> None:
    words = [{"text": "dull", "label": "bad"}, {"text": "fine", "label": "good"}] * 15
    settings = config("data=text", "trainer.max_epochs=1", "baseline=false")
    result = train(settings, data={"train": words})
    assert settings.data.train is None  # that of the caller stays
    run = load_run(settings.folder)
    assert len([*run.predict(["fine"])]) == 1
    assert repr(run).startswith(
        "SequenceClassifier: concat_pool reads output, h_n\ndata: data.train in memory"
    )
    assert run.evaluate(file=words).keys() == {"file/accuracy", "file/loss", "file/macro_f1"}
    metrics = {k: v for k, v in result["metrics"].items() if k.startswith("test/")}
    assert run.evaluate(accelerator="cpu") == pytest.approx(metrics)
    settings.resume = settings.folder
    with pytest.raises(UserError, match="the data is not the data that this run was trained on"):
        train(settings, ["trainer.max_epochs=2"], data={"train": words[:20]})
    for epochs, again in ((2, None), (3, {"train": words})):
        resumed = train(settings, [f"trainer.max_epochs={epochs}"], data=again)
        assert resumed["fingerprint"] == result["fingerprint"]


def test_a_text_run_predicts_without_its_data(config: Config, reviews: Path) -> None:
    settings = config("data=text", f"data.train={reviews}", "trainer.max_epochs=1")
    train(settings)
    reviews.unlink()
    run = load_run(settings.folder)
    assert {each["label"] for each in run.predict(["a dull film"])} <= {"good", "bad"}
    with pytest.raises(UserError, match="reviews.csv: no such file"):
        run.evaluate()
