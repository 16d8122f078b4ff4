"""What a run shows and leaves at its end: its worst predictions, and predictions that can be joined
with the file again."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from seqmodels import load_run
from seqmodels.compare.runs import find_runs
from seqmodels.runs.report import learning_curves, tables_of_test, worst_rows
from seqmodels.screen import Screen
from tests.conftest import Refused, Script


def written(folder: Path, *rows: dict[str, Any]) -> Path:
    with (folder / "predictions.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, [*rows[0]])
        table.writeheader()
        table.writerows(rows)
    return folder / "predictions.csv"


def test_the_ten_rows_with_the_largest_losses(tmp_path: Path) -> None:
    rows = [
        {"row": n, "target": "1", "prediction": "2", "probability": 0.5, "loss": n * 7 % 13}
        for n in range(13)
    ]
    found = worst_rows(written(tmp_path, *rows, {**rows[0], "prediction": "", "loss": 99}))
    assert [row["loss"] for row in found] == [*range(12, 2, -1)]
    assert all([*row] == ["row", "target", "prediction", "loss"] for row in found)


def test_a_row_with_a_large_loss_shows_its_input(tmp_path: Path) -> None:
    row = {"row": 1, "night": "a", "tokens": ["x"], "target": "1", "prediction.y": 2, "loss": 3}
    [found] = worst_rows(written(tmp_path, {**row, "probability": 0.5}))
    assert [*found] == ["row", "night", "tokens", "target", "prediction.y", "loss"]


def test_neighbouring_windows_do_not_fill_the_largest_losses(tmp_path: Path) -> None:
    forecast = "[1.5, 2.5, 3.5]"  # of three steps
    rows = [
        {"row": n, "series": name, "step": n, "target.a": forecast, "prediction.a": forecast}
        | {"loss": 100 - abs(n - 20.1) - 0.05 * (name == "b")}
        for name in "ab"
        for n in range(41)
    ]
    worst = worst_rows(written(tmp_path, *rows))
    assert [(row["series"], row["step"]) for row in worst] == [
        (name, str(step)) for step in (20, 23, 17, 26, 14) for name in "ab"
    ]


def test_tables_drop_columns_instead_of_cutting_numbers(tmp_path: Path) -> None:
    """Seven targets, with digits enough for two terminals."""
    random = np.random.default_rng(0)
    columns = [f"site_{n}" for n in range(7)]
    rows = list[dict[str, Any]]()
    for number in range(12):
        row: dict[str, Any] = {"row": number, "id": f"id-{number}" + "y" * 30}
        for kind in ("target", "prediction"):
            row |= {f"{kind}.{column}": f"{random.uniform(100, 999):.6f}" for column in columns}
        rows.append({**row, "loss": float(number)})
    written(tmp_path, *rows)
    names = ["column", "count", *[f"a_long_score_{n}" for n in range(9)]]
    scores = [",".join([column, "7", *["123.456"] * 9]) for column in columns]
    (tmp_path / "scores.csv").write_text("\n".join([",".join(names), *scores]))
    texts_of_cells = {text for row in rows for text in map(str, row.values())}
    for width in (40, 60, 80, 200, 400):
        shown = as_printed(tables_of_test(tmp_path), width)
        assert max(map(len, shown.splitlines())) <= width
        cells = [cell.strip() for line in shown.splitlines() for cell in line.split("│")[1:-1]]
        assert all(cells)  # no column is empty
        numbers = {cell for cell in cells if cell[0].isdigit() and "." in cell}
        assert numbers <= texts_of_cells | {"123.4560"} | {f"{n}.0000" for n in range(12)}
        text = " ".join(shown.split())  # Narrow terminals break the lines.
        assert ("too wide for this terminal: a_long_score_" in text) == (width < 200)
        assert ("too wide" in text) == (width < 400)
        # A target that is shown has its prediction beside it.
        shown_numbers = {text for text in texts_of_cells if text in shown}
        for row in rows[2:]:
            for column in columns[1:]:
                pair = {row[f"target.{column}"], row[f"prediction.{column}"]}
                assert pair <= shown_numbers or not pair & shown_numbers
    assert rows[5]["target.site_0"] in as_printed(tables_of_test(tmp_path), 60)


def test_lists_end_behind_a_number(tmp_path: Path) -> None:
    forecast = [100.125 + n for n in range(24)]
    row = {"row": 1, "step": 9, "target.a": forecast, "prediction.a": forecast, "loss": 0.5}
    written(tmp_path, row)
    for width in (70, 80, 90, 100):
        shown = as_printed(tables_of_test(tmp_path), width)
        lists = [cell for cell in shown.split("│") if "[" in cell]
        assert len(lists) == 2
        for text in lists:
            *numbers, end = text.strip("[] \n").split(", ")
            assert end == "…" and numbers and {*numbers} <= {*map(str, forecast)}


@pytest.mark.parametrize(("num_classes", "is_shown"), [(1, True), (20, True), (21, False)])
def test_the_scores_of_up_to_twenty_classes_are_shown(
    num_classes: int, is_shown: bool, tmp_path: Path
) -> None:
    rows = "".join(f"class{number},7,0.25\n" for number in range(num_classes))
    (tmp_path / "scores.csv").write_text(f"class,count,f1\n{rows}")
    shown = as_printed(tables_of_test(tmp_path))
    assert ("test by class" in shown) == is_shown
    assert shown.count("25.00 %") == num_classes * is_shown


def as_printed(tables: Iterable[Any], width: int = 80) -> str:
    screen = Screen(file=StringIO(), width=width)
    for table in tables:
        screen.print(table)
    return screen.file.getvalue()  # type: ignore[attr-defined]


def test_each_line_of_the_learning_curves_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: saved.append(figure))
    names = ("train/loss_step", "train/loss", "validation/loss")
    history = [{"epoch": 0.0, "step": float(n), **dict.fromkeys(names, 1.0)} for n in range(3)]
    learning_curves(history, tmp_path / "curves.png", ["loss"])
    [axes] = saved[0].axes
    named = [text.get_text() for text in axes.get_legend().get_texts()]
    assert named == ["train, some steps", "train", "validation"]
    assert len(axes.lines) == len(named)


def test_texts_of_others_are_shown_as_text(tmp_path: Path) -> None:
    text = "[/bold]\x1b[2J" + "x" * 300
    written(tmp_path, {"row": 0, "input": text, "target": "a\nb", "prediction": "c", "loss": 1})
    (tmp_path / "scores.csv").write_text('class,f1\n"a\x1b[2J",0.25\n')
    console = Screen(width=120)
    with console.capture() as capture:
        console.print(*tables_of_test(tmp_path), sep="\n")
    shown = capture.get()
    assert "[/bold]\\u001b[2J" in shown and "a\\nb" in shown and "25.00 %" in shown
    assert "\x1b" not in shown and max(map(len, shown.splitlines())) <= 120


# ---------------------------------------------------------------- predictions joined with the file


QUICK = ("trainer=cpu", "trainer.max_epochs=1", "baseline=false", "callbacks.dataflow=null")
SMALL = ("model.encoder.hidden_size=4", "data.batch_size=4")


def reviews(folder: Path) -> pd.DataFrame:
    """Texts of three classes, whose ids don't count from 0, in `reviews.csv`."""
    words = ["bad", "fair", "good"]
    rows = [
        {"review": f"r{n * 7 % 31}", "text": f"{words[n % 3]} {n}", "label": words[n % 3]}
        for n in range(31)
    ]
    frame = pd.DataFrame(rows)
    frame.to_csv(folder / "reviews.csv", index=False)
    return frame


def same_rows(predictions: pd.DataFrame, frame: pd.DataFrame) -> bool:
    """Whether `source_row` and `id` say which row of the file each prediction is of."""
    source = frame.iloc[predictions.source_row - 1]
    return (
        predictions.id.tolist() == source.review.tolist()
        and predictions.target.tolist() == source.label.tolist()
        and predictions.input.tolist() == source.text.tolist()
    )


def test_each_row_of_a_test_has_its_id_its_row_and_all_probabilities(
    script: Script, tmp_path: Path
) -> None:
    frame = reviews(tmp_path)
    own = ("data=text", "data.train=reviews.csv", "data.id=review", "folder=run")
    script("train.py", *own, *QUICK, *SMALL)
    predictions = pd.read_csv(tmp_path / "run" / "predictions.csv")
    assert same_rows(predictions, frame)
    shares = predictions[[f"probability.{name}" for name in ("bad", "fair", "good")]].to_numpy()
    assert shares.sum(axis=1) == pytest.approx(1.0, abs=1e-6)
    assert predictions.probability.tolist() == shares.max(axis=1).tolist()
    done = script("predict.py", "run=run", "input=reviews.csv")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["source_row"], line["id"]) for line in lines] == [
        (number, name) for number, name in enumerate(frame.review, start=1)
    ]
    [from_frame] = load_run(tmp_path / "run").predict(frame[3:4])
    assert from_frame["id"] == frame.review[3]


def test_a_sweep_over_folds_leaves_the_predictions_of_all_rows_in_the_order_of_the_file(
    script: Script, tmp_path: Path
) -> None:
    frame = reviews(tmp_path)
    own = ("data=text", "data.train=reviews.csv", "data.id=review", "data.folds=3")
    sweep = ("-m", "data.fold=0,1,2", "model.head=max_pool,mean_pool", "hydra.sweep.dir=sweep")
    done = script("train.py", *own, *sweep, *QUICK, *SMALL)
    assert "predictions.csv: the predictions of all folds" in done.stdout
    table = pd.read_csv(tmp_path / "sweep" / "predictions.csv")
    runs, _ = find_runs([str(tmp_path / "sweep")])
    folders = {(run.config["data.fold"], run.head): run.folder for run in runs}
    for head in ("max_pool", "mean_pool"):
        of_head = table[table["model.head"] == head]
        assert of_head.source_row.tolist() == [*range(1, len(frame) + 1)]
        assert same_rows(of_head, frame)
        for fold, rows in of_head.groupby("fold"):
            alone = pd.read_csv(folders[fold, head] / "predictions.csv")
            assert rows.source_row.tolist() == sorted(alone.source_row)


def test_a_tagger_gives_the_line_of_each_text_and_all_probabilities_at_each_step(
    script: Script, tmp_path: Path
) -> None:
    blocks = [f"the{n} DET\ncat{n} NOUN\n" for n in range(12)]
    (tmp_path / "train.txt").write_text("-DOCSTART- -X-\n\n" + "\n".join(blocks))
    own = ("model=tagger", "data=tags", "data.train=train.txt", "folder=run")
    script("train.py", *own, *QUICK, *SMALL)
    predictions = pd.read_csv(tmp_path / "run" / "predictions.csv")
    lines = (tmp_path / "train.txt").read_text().splitlines()
    first_words = [lines[row - 1].split()[0] for row in predictions.source_row]
    tokens = [json.loads(text) for text in predictions.tokens]
    assert first_words == [words[0] for words in tokens]
    for _, row in predictions.iterrows():
        by_tag = {tag: json.loads(row[f"probability.{tag}"]) for tag in ("DET", "NOUN")}
        best = [max(by_tag, key=lambda tag, n=n: by_tag[tag][n]) for n in range(2)]
        assert best == json.loads(row.prediction)
        assert json.loads(row.probability) == np.max([*by_tag.values()], axis=0).tolist()


def test_targets_stand_as_the_file_has_them(script: Script, tmp_path: Path) -> None:
    lines = [f"{'good ' * (1 + n % 4)},{n * 10 + 0.1},{1e6 + n}" for n in range(40)]
    (tmp_path / "scores.csv").write_text("\n".join(["text,score,price", *lines]) + "\n")
    own = ("model=regressor", "data=text", "data.train=scores.csv", "folder=run")
    script("train.py", *own, "data.value_columns=[score,price]", *QUICK, *SMALL)
    predictions = pd.read_csv(tmp_path / "run" / "predictions.csv")
    source = pd.read_csv(tmp_path / "scores.csv").iloc[predictions.source_row - 1]
    assert predictions["target.score"].tolist() == source.score.tolist()
    assert predictions["target.price"].tolist() == source.price.tolist()


def test_an_id_that_the_file_lacks_is_refused(refused: Refused, tmp_path: Path) -> None:
    reviews(tmp_path)
    line = refused("train.py", "data=text", "data.train=reviews.csv", "data.id=nummer")
    assert "reviews.csv has no column 'nummer': set data.id" in line


def trips(folder: Path, names: range) -> pd.DataFrame:
    """Steps of trips of 1 to 4 steps, shuffled, with ages and labels in `people.csv`."""
    random, rows = np.random.default_rng(0), []
    for trip in names:
        for step in range(1 + trip % 4):
            x = random.normal()
            rows.append({"trip": f"t{trip}", "time": step, "x": x, "receipt": f"{trip}-{step}"})
    people = [{"trip": f"t{trip}", "age": 20.5 + trip, "label": "ab"[trip % 2]} for trip in names]
    pd.DataFrame(people).to_csv(folder / "people.csv", index=False)
    frame = pd.DataFrame(rows).sample(frac=1, random_state=0)
    frame.to_csv(folder / "trips.csv", index=False)
    return frame.reset_index(drop=True)


SERIES = ("data=series", "data.train=trips.csv", "data.series=trip", "data.time=time")


def test_a_series_has_the_row_of_its_first_step_and_the_ids_of_its_steps_if_they_differ(
    script: Script, tmp_path: Path
) -> None:
    frame = trips(tmp_path, range(24))
    own = ("data.labels=people.csv", "data.id=receipt", "data.inputs=[x,age]", "folder=run")
    script("train.py", *SERIES, *own, *QUICK, *SMALL)
    predictions = pd.read_csv(tmp_path / "run" / "predictions.csv")
    first_steps = frame.iloc[predictions.source_row - 1]
    assert (first_steps.time == 0).all()
    assert first_steps.trip.tolist() == predictions.series.tolist()
    for _, row in predictions.iterrows():
        trip = frame[frame.trip == row.series].sort_values("time")
        assert json.loads(row.id) == trip.receipt.tolist()


def test_a_run_with_a_second_table_reads_that_of_new_series(
    script: Script, refused: Refused, tmp_path: Path
) -> None:
    trips(tmp_path, range(24))
    own = ("data.labels=people.csv", "data.inputs=[x,age]", "folder=run")
    script("train.py", *SERIES, *own, *QUICK, *SMALL)
    (tmp_path / "people.csv").rename(tmp_path / "gone.csv")
    frame = trips(tmp_path, range(30, 40))
    (tmp_path / "people.csv").rename(tmp_path / "new.csv")
    people = pd.read_csv(tmp_path / "new.csv")
    words = ("run=run", "input=trips.csv")
    assert "people.csv: no such file" in refused("predict.py", *words)
    assert "has no row for series" in refused("predict.py", *words, "labels=gone.csv")
    lines = script("predict.py", *words, "labels=new.csv").stdout.splitlines()
    joined = frame.merge(people[["trip", "age"]], on="trip")
    by_hand = load_run(tmp_path / "run").predict(joined)
    from_frame = load_run(tmp_path / "run", labels=people).predict(frame)
    shares = [each["probabilities"] for each in by_hand]
    assert [json.loads(line)["probabilities"] for line in lines] == shares
    assert [each["probabilities"] for each in from_frame] == shares
    done = script("evaluate.py", "run=run", "file=trips.csv", "labels=new.csv")
    assert "accuracy" in done.stdout
