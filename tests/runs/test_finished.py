"""What a finished run can be asked in Python."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from omegaconf import OmegaConf
from torch.nn.utils.rnn import pack_sequence

from seqmodels.data import UEA, DataModule, Text
from seqmodels.errors import UserError
from seqmodels.runs import Run, load_run, train
from seqmodels.runs.finished import _ensemble
from seqmodels.tasks.classification import SequenceClassifier
from seqmodels.tasks.seq2seq import Reversal, Seq2Seq
from tests.conftest import Config, Script
from tests.predictions import rows_of

FILMS = pd.DataFrame({"text": ["a dull film", "fine", "a fine film, and"], "year": [1, 2, 3]})


def untrained(data: DataModule, head: str = "max_pool", **encoder: Any) -> Run:
    """A run that has trained for no step."""
    data.setup()
    task = SequenceClassifier(data.spec, {"hidden_size": 3, **encoder}, head)
    return Run(Path("run"), {"data": {}}, {"task": "SequenceClassifier"}, task.eval(), data)


@pytest.fixture
def films(reviews: Path) -> Run:
    return untrained(Text(str(reviews), tokenizer="word"))


@pytest.mark.parametrize(
    "given",
    [
        FILMS,
        FILMS.text,
        pa.table(FILMS),
        FILMS.to_dict("list"),
        FILMS.to_dict("records"),
    ],
    ids=["frame", "series", "arrow", "columns", "dicts"],
)
def test_tables_are_predicted_as_the_texts_in_them(films: Run, given: Any) -> None:
    assert [*films.predict(given)] == [*films.predict(FILMS.text.tolist())]


def test_a_table_without_the_columns_of_the_training_is_refused(films: Run) -> None:
    message = "inputs: row 1 has no column 'text': set data.text_column"
    with pytest.raises(UserError, match=f"^{re.escape(message)}"):
        next(films.predict(FILMS[["year"]]))


def test_one_table_is_no_list_of_series() -> None:
    run, frame = untrained(UEA("JapaneseVowels")), pd.DataFrame([[0.0] * 12] * 5)
    assert len([*run.predict(frame.to_numpy()[None])]) == 1
    with pytest.raises(UserError, match="inputs: not a list of inputs, but one DataFrame: write"):
        next(run.predict(frame))


SERIES = [np.random.default_rng(n).normal(size=(length, 12)) for n, length in enumerate((4, 1, 9))]


@pytest.mark.parametrize(
    ("cell", "both", "layers"), [("lstm", True, 2), ("gru", False, 1), ("lstm", False, 1)]
)
def test_final_states_equal_those_of_a_packed_network(cell: str, both: bool, layers: int) -> None:
    head = "bidirectional_concat" if both else "last_hidden"
    run = untrained(UEA("JapaneseVowels"), head, cell=cell, num_layers=layers)
    tensors = [*run.data.inputs.encode(SERIES, "here")]  # type: ignore[attr-defined]
    _, final = run.task.encoder.rnn(pack_sequence(tensors, enforce_sorted=False))
    for name, states in zip(("h_n", "c_n"), final if cell == "lstm" else [final], strict=False):
        expected = torch.cat([states[-2], states[-1]], dim=1) if both else states[-1]
        torch.testing.assert_close(run.encode(SERIES, name), expected)
    torch.testing.assert_close(run.encode(SERIES), run.encode(SERIES, "h_n"))
    if cell == "gru":
        with pytest.raises(
            UserError, match="^tensor=c_n: choose one of concat_pool, every_step, h_n, "
        ):
            run.encode(SERIES, "c_n")


def test_inputs_are_encoded_as_the_head_selects_in_their_order(reviews: Path) -> None:
    data = Text(str(reviews), tokenizer="word", batch_size=2)
    run = untrained(data, "attention_pool", bidirectional=True)
    texts = ["fine", "a very dull film, and then", "a film", "dull dull", "a fine film"]
    found, pooled, output = (
        run.encode(texts),
        run.encode(texts, "mean_pool"),
        run.encode(texts, "output"),
    )
    for number, text in enumerate(texts):
        states = run.task.encode(data.batch_of([text]))
        torch.testing.assert_close(found[number], run.task.head.select(states)[0])
        torch.testing.assert_close(output[number], states.output[0])
        torch.testing.assert_close(pooled[number], states.output[0].mean(dim=0))
    assert isinstance(found, torch.Tensor) and not found.requires_grad
    assert found.shape == (5, 6)
    for batch_size in (1, 3):
        data.batch_size = batch_size
        torch.testing.assert_close(run.encode(pd.DataFrame({"text": texts})), found)
    with pytest.raises(UserError, match="^tensor=h: choose one of bidirectional_concat, c_n, "):
        run.encode(texts, "h")
    with pytest.raises(UserError, match="^inputs: text 3 is empty"):
        run.encode(["fine", "a dull film", ""])


def test_attention_weighs_the_steps_of_each_input(films: Run, reviews: Path) -> None:
    run = untrained(Text(str(reviews), tokenizer="word"), "attention_pool")
    found = run.attention(FILMS)
    assert [len(weights) for weights in found] == [3, 1, 5]
    for text, weights, features in zip(FILMS.text, found, run.encode(FILMS), strict=True):
        states = run.task.encode(run.data.batch_of([text]))
        torch.testing.assert_close(weights @ states.output[0], features)
        assert weights.sum() == pytest.approx(1)
    with pytest.raises(
        UserError,
        match=r"model.head=max_pool, which does not weigh steps: heads "
        r"with attention are (\w+, )+max_attention_pool",
    ):
        films.attention(FILMS)


def test_steps_of_inputs_that_are_read_in_windows_are_refused(reviews: Path) -> None:
    data = Text(str(reviews), tokenizer="word")
    data.setup()
    task = SequenceClassifier(data.spec, {"hidden_size": 3}, "attention_pool", window=2).eval()
    run = Run(Path("run"), {"data": {}}, {}, task, data)
    assert run.encode(FILMS).shape == (3, 3)  # type: ignore[union-attr]
    for ask in (run.attention, partial(run.encode, tensor="output")):
        with pytest.raises(UserError, match="run reads an input in several rows, so its steps"):
            ask(FILMS)


def test_a_run_of_rows_in_memory_keeps_plain_values_and_asks_for_them_again(
    config: Config,
) -> None:
    words = [("dull", "bad"), ("fine", "good")] * 15
    settings = config("data=text", "trainer.max_epochs=1", "baseline=false")
    result = train(settings, data={"train": words})
    assert settings.data.train is None  # that of the caller stays
    saved = OmegaConf.load(Path(settings.folder) / "config.yaml")
    assert re.fullmatch(r"<in memory, 30 rows, \w+>", saved.data.train)
    run = load_run(settings.folder)
    assert len([*run.predict(["fine"])]) == 1
    shown = repr(run).splitlines()
    assert shown[:2] == [
        "SequenceClassifier: last_hidden reads h_n",
        "data: data.train, train 24, validation 2, test 4",
    ]
    assert shown[2].startswith("weights of epoch 0: validation/accuracy ")
    assert shown[3:] == [f"folder: {settings.folder}"]
    again = run.evaluate(file=words)
    assert again.keys() == {"file/accuracy", "file/loss", "file/macro_f1"}
    asked = re.escape(f"this run was trained on {saved.data.train}: give these rows again")
    with pytest.raises(UserError, match=asked):
        run.evaluate()
    settings.resume, longer = settings.folder, ["trainer.max_epochs=2"]
    with pytest.raises(UserError, match=asked):
        train(settings, longer)
    with pytest.raises(UserError, match="the data is not the data that this run was trained on"):
        train(settings, longer, data={"train": words[:20]})
    resumed = train(settings, longer, data={"train": words})
    assert resumed["fingerprint"] == result["fingerprint"]
    assert resumed["status"] == "completed"


def test_an_ensemble_of_run_folders_is_evaluated_under_its_own_name_and_predicts_the_mean(
    config: Config, reviews: Path, script: Script, tmp_path: Path
) -> None:
    words = (f"data.train={reviews}", "trainer.max_epochs=1", "callbacks.dataflow=null")
    for number in (0, 1):
        head = ("max_pool", "last_hidden")[number]
        settings = config("data=text", f"seed={number}", f"model.head={head}", *words)
        settings.folder = str(tmp_path / f"run{number}")
        train(settings)
    before = (tmp_path / "run0" / "predictions.csv").read_bytes()
    done = script("evaluate.py", "run=[run0, run1]", "split=validation")
    assert "ensemble of 2, run0, run1 on validation" in done.stdout
    own = tmp_path / "run0" / "predictions_validation_ensemble_of_2.csv"
    assert len(rows_of(own)) == 6
    assert (tmp_path / "run0" / "predictions.csv").read_bytes() == before
    assert not [*(tmp_path / "run1").glob("*ensemble*")]
    done = script("predict.py", "run=[run0,run1]", "input=-", stdin="a dull film\n")
    assert done.stderr.strip() == "ensemble of 2, run0, run1"
    folders = [tmp_path / "run0", tmp_path / "run1"]
    each = [next(load_run(folder).predict(["a dull film"])) for folder in folders]
    mean = {k: (v + each[1]["probabilities"][k]) / 2 for k, v in each[0]["probabilities"].items()}
    made = json.loads(done.stdout)["probabilities"]
    assert made == pytest.approx(mean, abs=1e-6)
    run = load_run(folders)
    assert repr(run).startswith(f"ensemble of 2, {folders[0]}, {folders[1]}:\n\nSequenceClassifier")
    for call in (partial(run.encode, ["a"]), partial(run.attention, ["a"]), run.export):
        with pytest.raises(UserError, match="takes one run, not an ensemble of 2"):
            call()


def test_runs_of_other_data_or_tasks_make_no_ensemble(reviews: Path) -> None:
    by_word, by_letter = (Text(str(reviews), tokenizer=name) for name in ("word", "char"))
    runs = [untrained(by_word), untrained(by_letter), untrained(by_word)]
    runs[2].task.hparams["window"] = 5
    differences = ("the num_inputs of their data", "model.window")
    for other, difference in zip(runs[1:], differences, strict=True):
        message = f"run and run make no ensemble: they differ in {difference}"
        with pytest.raises(UserError, match=f"^{message}$"):
            _ensemble([runs[0], other])


def test_members_of_an_ensemble_may_differ_in_what_acts_in_training_only_or_each_keeps_as_its_own(
    reviews: Path,
) -> None:
    text = Text(str(reviews), tokenizer="word")
    runs = [untrained(text), untrained(text), untrained(text)]
    for run, smoothing, weights in zip(
        runs, (0.0, 0.1, 0.1), (None, None, [1.0, 2.0]), strict=True
    ):
        output = {"label_smoothing": smoothing, "class_weights": weights}
        run.task.hparams.update(output=output, crop=smoothing)
    assert len(_ensemble(runs[:2]).members) == 2
    for pair in (runs[::2], runs[:0:-1]):
        with pytest.raises(UserError, match=r"they differ in model\.output\.class_weights$"):
            _ensemble(pair)


def test_an_ensemble_writes_with_the_beam_of_the_first_member_and_notes_that_others_have_another(
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = Reversal(length=4, sizes=[50, 10, 10])
    data.setup()
    options: list[dict[str, Any]] = [
        {"beam": 2, "best": 2, "decoder": {"hidden_size": 5}, "output": {"label_smoothing": 0.1}},
        {"beam": 1, "best": 1, "scheduled_sampling": 0.5, "output": {"tied": True}},
    ]
    tasks = [
        Seq2Seq(data.spec, {"hidden_size": 3}, embedding={"size": 5}, **each) for each in options
    ]
    runs = [
        Run(Path(f"run{n}"), {"data": {}}, {}, task.eval(), data) for n, task in enumerate(tasks)
    ]
    [made] = _ensemble(runs).predict(["abcd"])
    assert len(made["others"]) == 1
    notes = [
        f"run0 and run1 differ in model.{name}: the ensemble's is the first one's, 2"
        for name in ("beam", "best")
    ]
    assert caplog.messages == notes
