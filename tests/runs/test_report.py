"""What a run shows at its end: whether a baseline is better, its worst predictions, its curves."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from seqmodels.runs.report import learning_curves, tables_of_test, verdict, worst_rows
from seqmodels.screen import Screen


def run(test: float, baseline: float, metric: str = "accuracy", **trainer: Any) -> dict[str, Any]:
    others = {"left out": float("nan"), "b": baseline}
    return {
        "config": {"trainer": trainer},
        "head": "max_pool",
        "metric": metric,
        "metrics": {f"test/{metric}": test, "test/f1": 0.1},
        "baselines": {f"test/{metric}": others, "test/f1": {"a": 0.9}},
        "examples": {"test": 200},
    }


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (run(0.6, 0.8), "lost to b: test/accuracy 60.00 % and 80.00 %."),
        (run(0.78, 0.8), "is level with b: test/accuracy 78.00 % and 80.00 %."),
        (run(2.1, 1.75, "rmse"), "lost to b: test/rmse 2.1000 and 1.7500."),
        (run(2.8275, 2.8240, "rmse"), "is level with b: test/rmse 2.8275 and 2.8240."),
        (run(0.6, 0.62, "macro_f1"), "lost to b: test/macro_f1 60.00 % and 62.00 %."),
        (run(0.8, 0.7), None),
        (run(1.7, 1.75, "rmse"), None),
        (run(0.8166666626930237, 49 / 60), None),  # a metric has 32 bits, and a baseline 64
        (run(0.9, 0.1, "coverage"), None),  # without a direction
        (run(0.1, 0.9, "mine"), None),
        (run(0.6, 0.8, limit_test_batches=1), None),  # not of the whole split
        ({**run(0.6, 0.8), "metric": "exact_match"}, None),  # of which there is no baseline
    ],
)
def test_a_run_says_which_baseline_is_better_and_whether_they_are_level(
    result: dict[str, Any], said: str | None
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


def shown(folder: Path, width: int) -> list[str]:
    console = Screen(width=width)
    with console.capture() as capture:
        console.print(*tables_of_test(folder), sep="\n")
    return capture.get().splitlines()


def test_texts_of_others_are_shown_as_text(tmp_path: Path) -> None:
    text = "[bold]\x1b[2J\x9b5n\u202e" + "x" * 300
    written(tmp_path, {"row": 0, "input": text, "target": "a\nb", "prediction": "c", "loss": 1})
    # a text among the scores of parts, and a part without a name
    (tmp_path / "scores.csv").write_text('class,f1,best\n"a\x1b[2J",0.5,north\n,0.25,1\n')
    lines = shown(tmp_path, 120)
    everything = "\n".join(lines)
    assert "[bold]\\u001b[2J" in everything and "a\\nb" in everything
    assert "\x1b" not in everything and "\u202e" not in everything
    assert "test by class" in everything and "north" in everything and "25.00 %" in everything
    assert max(map(len, lines)) <= 120


def test_only_a_long_column_gives_way_in_a_narrow_terminal(tmp_path: Path) -> None:
    text = "a line that is longer than what a terminal of 80 columns has room for"
    row = {"row": 187, "input": text, "target": "negative", "prediction": "positive", "loss": 3.5}
    written(tmp_path, row)
    *_, line, _ = shown(tmp_path, 80)
    assert all(part in line for part in ("187", "negative", "positive", "3.5000", "a line", "…"))
    assert len(line) <= 80


def test_curves_show_title_and_tested_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = [
        {"epoch": 0.0, "step": 9.0, "train/loss": 1.5, "validation/loss": 1.2},
        {"epoch": 1.0, "step": 19.0, "train/loss": 0.9, "validation/loss": 1.0},
    ]
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    learning_curves(history, tmp_path / "x.png", ["loss"], "a $data$ set, max_pool", 9)
    [axes] = drawn[0].axes
    assert drawn[0].get_suptitle() == r"a \$data\$ set, max_pool"
    lines = {str(line.get_label()): line for line in axes.lines}
    assert lines.keys() == {"train", "validation", "tested: epoch 0"}
    assert list(lines["validation"].get_ydata()) == [1.2, 1.0]
    assert lines["tested: epoch 0"].get_xdata() == [9, 9]
