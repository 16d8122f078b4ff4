"""What a run shows at its end of its worst predictions and of its curves."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from seqmodels.runs.report import learning_curves, tables_of_test, worst_rows
from seqmodels.screen import Screen


def written(folder: Path, *rows: dict[str, Any]) -> Path:
    with (folder / "predictions.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, [*rows[0]])
        table.writeheader()
        for row in rows:
            lists = {k: json.dumps(v) if isinstance(v, list) else v for k, v in row.items()}
            table.writerow(lists)
    return folder / "predictions.csv"


def test_the_ten_rows_with_the_largest_losses(tmp_path: Path) -> None:
    rows = [
        {"row": n, "target": "1", "prediction": "2", "probability": 0.5, "loss": n * 7 % 13}
        for n in range(13)
    ]
    found = worst_rows(written(tmp_path, *rows, {**rows[0], "prediction": "", "loss": 99}))
    assert [row["loss"] for row in found] == [*range(12, 2, -1)]
    assert all([*row] == ["row", "target", "prediction", "loss"] for row in found)


def test_of_forecasts_the_mean_of_the_median_is_shown(tmp_path: Path) -> None:
    quantiles = {"prediction.a.0.1": [0, 0], "prediction.a.0.5": [1, 2], "prediction.a.0.9": [9, 9]}
    row = {"row": 0, "series": "x", "target.a": [1.0, None], **quantiles, "loss": 1}
    [found] = worst_rows(written(tmp_path, row))
    means = {"mean target.a": 1.0, "mean prediction.a.0.5": 1.5}
    assert found == {"row": "0", "series": "x", **means, "loss": 1.0}


def test_windows_that_forecast_the_same_steps_count_once(tmp_path: Path) -> None:
    losses = {"x": [5, 9, 8, 7, 6, 4], "y": [3, 2, 1, 0, 0, 10]}
    rows = [
        {
            "series": series,
            "step": 70 + n,
            "target": [n, 1, 2],
            "prediction": [0, 0, 0],
            "loss": loss,
        }
        for series, of in losses.items()
        for n, loss in enumerate(of)
    ]
    found = [(row["series"], row["loss"]) for row in worst_rows(written(tmp_path, *rows))]
    assert found == [("y", 10), ("x", 9), ("x", 6), ("y", 3)]
    lists = [{**row, "step": "one"} for row in rows]  # of a task of your own
    assert len(worst_rows(written(tmp_path, *lists))) == 10


def test_a_list_of_tags_and_an_input_are_shown_as_they_are(tmp_path: Path) -> None:
    row = {"input": "[1, 2]", "target": ["B", "O"], "prediction": ["O", "O"], "loss": 1.0}
    [found] = worst_rows(written(tmp_path, row))
    assert found == {**row, "target": '["B", "O"]', "prediction": '["O", "O"]'}


def test_a_text_among_the_scores_of_parts_is_shown_as_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "scores.csv").write_text("region,f1,count\nnorth,0.5,3\n,0.25,4\n")
    Screen(width=120).print(*tables_of_test(tmp_path), sep="\n")
    shown = capsys.readouterr().out
    assert "test by region" in shown and "north" in shown and "25.00 %" in shown


def test_texts_of_others_are_shown_as_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "[bold]\x1b[2J\x9b5n\u202e" + "x" * 300
    written(tmp_path, {"row": 0, "input": text, "target": "a\nb", "prediction": "c", "loss": 1})
    (tmp_path / "scores.csv").write_text('class,f1,count\n"a\x1b[2J",0.5,1\n')
    Screen(width=120).print(*tables_of_test(tmp_path), sep="\n")
    shown = capsys.readouterr().out
    assert "[bold]\\u001b[2J" in shown and "\x1b" not in shown and "\u202e" not in shown
    assert "a\\nb" in shown and "50.00 %" in shown
    assert max(map(len, shown.splitlines())) <= 120


HISTORY = [
    {"epoch": 0.0, "step": 9.0, "train/loss": 1.5, "validation/loss": 1.2},
    {"epoch": 1.0, "step": 19.0, "train/loss": 0.9, "validation/loss": 1.0},
]


def test_curves_show_title_and_tested_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    learning_curves(HISTORY, tmp_path / "x.png", ["loss"], "a $data$ set, max_pool", 9)
    [axes] = drawn[0].axes
    assert drawn[0].get_suptitle() == r"a \$data\$ set, max_pool"
    [line] = [line for line in axes.lines if line.get_label() == "tested: epoch 0"]
    assert line.get_xdata() == [9, 9]


def test_only_a_long_column_gives_way_in_a_narrow_terminal(tmp_path: Path) -> None:
    text = "a line that is longer than what a terminal of 80 columns has room for"
    row = {"row": 187, "input": text, "target": "negative", "prediction": "positive", "loss": 3.5}
    written(tmp_path, row)
    console = Screen(width=80)
    with console.capture() as capture:
        for table in tables_of_test(tmp_path):
            console.print(table)
    *_, line, _ = capture.get().splitlines()
    assert "187" in line and "negative" in line and "positive" in line and "3.5000" in line
    assert "a line that is" in line and "…" in line and len(line) <= 80
