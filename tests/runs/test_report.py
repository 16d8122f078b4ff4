"""What a run shows at its end: whether a baseline is better, and its worst predictions."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from seqmodels.runs.report import learning_curves, tables_of_test, verdict, worst_rows
from seqmodels.runs.result import Result
from seqmodels.screen import Screen


def run(test: float, baseline: float, metric: str = "accuracy", **trainer: Any) -> Result:
    worse = 9.0 if metric == "rmse" else 0.01
    others = {"left out": float("nan"), "worse": worse, "b": baseline}
    return Result(
        seed=0,
        config={"trainer": trainer},
        head="max_pool",
        metric=metric,
        metrics={f"test/{metric}": test, "test/f1": 0.1},
        baselines={f"test/{metric}": others, "test/f1": {"a": 0.9}},
        examples={"test": 200},
    )


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (run(0.6, 0.8), "lost to b: test/accuracy 60.00 % and 80.00 %."),
        (run(0.78, 0.8), "is level with b: test/accuracy 78.00 % and 80.00 %."),
        (run(1.8, 1.75, "rmse"), "lost to b: test/rmse 1.8000 and 1.7500."),
        (run(2.8275, 2.8240, "rmse"), "is level with b: test/rmse 2.8275 and 2.8240."),
        (run(0.8, 0.7), None),
        (
            run(0.9, 0.875),
            "is level with b: test/accuracy 90.00 % and 87.50 %.",
        ),  # of 200: 180, 175
        (run(1.8, 1.85, "rmse"), None),
        (run(2.8240, 2.8275, "rmse"), "is level with b: test/rmse 2.8240 and 2.8275."),
        (run(0.6, 0.8, limit_test_batches=1), None),  # not of the whole split
    ],
)
def test_a_run_says_which_baseline_is_better_and_whether_they_are_level(
    result: Result, said: str | None
) -> None:
    assert verdict(result) == ([] if said is None else [f"max_pool {said}"])


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
