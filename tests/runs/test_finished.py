"""What a finished run can be asked in Python."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from omegaconf import OmegaConf

from seqmodels.data import UEA, DataModule, Text
from seqmodels.errors import UserError
from seqmodels.runs import Run, load_run, train
from seqmodels.tasks.classification import SequenceClassifier
from tests.conftest import Config

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
    message = "inputs: row 1 has no column 'text': the run was trained with data.text_column"
    with pytest.raises(UserError, match=f"^{re.escape(message)}"):
        next(films.predict(FILMS[["year"]]))


def test_one_table_is_no_list_of_series() -> None:
    run, frame = untrained(UEA("JapaneseVowels")), pd.DataFrame([[0.0] * 12] * 5)
    assert len([*run.predict(frame.to_numpy()[None])]) == 1
    with pytest.raises(UserError, match="inputs: not a list of inputs, but one DataFrame: write"):
        next(run.predict(frame))


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
    again = run.evaluate(file=words)
    assert again.keys() == {"file/accuracy", "file/loss", "file/macro_f1"}
    asked = re.escape(f"this run was trained on {saved.data.train}: give these rows again")
    with pytest.raises(UserError, match=asked):
        run.evaluate()
    settings.resume, longer = settings.folder, {"trainer.max_epochs": 2}
    with pytest.raises(UserError, match=asked):
        train(settings, given=longer)
    with pytest.raises(UserError, match="the data is not the data that this run was trained on"):
        train(settings, given=longer, data={"train": words[:20]})
    resumed = train(settings, given=longer, data={"train": words})
    assert resumed["fingerprint"] == result["fingerprint"]
    assert resumed["status"] == "completed"
