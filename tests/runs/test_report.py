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


def classes(
    n: int, target: str, prediction: str, probability: float, **more: Any
) -> dict[str, Any]:
    row = {"row": n, **more, "target": target, "prediction": prediction}
    return {**row, "probability": probability, "loss": 1.0}


def test_the_ten_most_confident_mistakes_of_classes(tmp_path: Path) -> None:
    right = [classes(n, "1", "1", 1.0) for n in range(20)]
    wrong = [classes(20 + n, "1", "2", (n * 7 % 13) / 13) for n in range(13)]
    found = worst_rows(written(tmp_path, *right, *wrong))
    sure = sorted(((n * 7 % 13) / 13 for n in range(13)), reverse=True)[:10]
    assert [row["probability"] for row in found] == sure
    assert all(int(row["row"]) >= 20 and row["prediction"] == "2" for row in found)


def test_wrong_tags_are_shown_with_their_words(tmp_path: Path) -> None:
    row = {"row": 3, "tokens": ["in", "May"], "target": ["O", "B-x"], "prediction": ["B-x", "O"]}
    both = {**row, "probability": [0.6, 0.9], "loss": 2.0}
    words = [(each["token"], each["step"]) for each in worst_rows(written(tmp_path, both))]
    assert words == [("May", 1), ("in", 0)]
    unknown = {**both, "target": [None, "B-x"]}
    assert [each["token"] for each in worst_rows(written(tmp_path, unknown))] == ["May"]
    crf = {**row, "loss": 2.0}
    assert [each["loss"] for each in worst_rows(written(tmp_path, crf))] == [2.0, 2.0]


def test_the_largest_losses_of_numbers_and_forecasts(tmp_path: Path) -> None:
    rows = [
        {"row": n, "target.a": n, "prediction.a.0.1": 0, "prediction.a.0.5": 0.5, "loss": -n}
        for n in range(12)
    ]
    found = worst_rows(written(tmp_path, *rows))
    assert [row["row"] for row in found] == [str(n) for n in range(10)]
    assert found[3]["target"] == 3 and found[3]["prediction"] == 0.5
    ahead = {"row": 0, "target.a": [1.0, None, 5.0], "prediction.a": [1.5, 9.0, 3.0], "loss": 1}
    [shown] = worst_rows(written(tmp_path, ahead))
    assert (shown["step"], shown["target"], shown["prediction"]) == (2, 5.0, 3.0)


def test_a_text_that_is_right_in_another_way_is_no_mistake(tmp_path: Path) -> None:
    row = {"row": 0, "target": "a b", "other_targets": ["b a"], "prediction": "b a", "loss": 1}
    assert worst_rows(written(tmp_path, row)) == []
    assert len(worst_rows(written(tmp_path, {**row, "prediction": "a"}))) == 1
    text = {"row": 0, "target": "a b", "tokens": 2, "loss": 1}  # of a language model
    assert worst_rows(written(tmp_path, text)) == []


def test_texts_of_others_are_shown_as_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "[bold]\x1b[2J\x9b5n\u202e" + "x" * 300
    written(tmp_path, classes(0, "a\nb", "c", 0.9, input=text))
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
