"""What a run shows at its end: metrics, baselines, scores of parts, the largest losses, curves."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from seqmodels.files import write_figure
from seqmodels.metrics import show_with_unit, without_split
from seqmodels.runs.result import Result
from seqmodels.runs.rows_table import RowsTable
from seqmodels.screen import figure_text

# Scores of the parts of a test are shown if there are no more than these.
MOST_PARTS = 20
MOST_ROWS = 10
# Columns of `scores.csv` that hold no score, and what their texts are.
PLAIN_COLUMNS = {**dict.fromkeys(("class", "type", "column"), str), "count": int}


def metrics_table(
    metrics: Mapping[str, float],
    title: str,
    baselines: Mapping[str, Mapping[str, float]] | None = None,
) -> Group:
    """A row per metric and a column per split, in the metric's unit; an unknown metric is a plain
    number. Beneath each metric are its baselines.

    Args:
        metrics: value by name, such as `test/accuracy`; shares such as an accuracy from 0 to 1.
        title: printed above the table.
        baselines: metric -> name of the baseline -> value.
    """

    def cell(name: str, value: float | None) -> str:
        return "" if value is None else show_with_unit(name, value)

    baselines = baselines or {}
    splits = list(dict.fromkeys(name.rpartition("/")[0] for name in metrics))
    table = Table()
    table.add_column("metric")
    for split in splits:
        table.add_column(split or "value", justify="right", no_wrap=True)
    for short in dict.fromkeys(map(without_split, metrics)):
        names = [f"{split}/{short}".lstrip("/") for split in splits]
        cells = [cell(name, metrics.get(name)) for name in names]
        table.add_row(short, *cells)
        scores_by_name = {name: baselines.get(name, {}) for name in names}
        baseline_names: dict[str, None] = {}  # Each once, in their order.
        for scores in scores_by_name.values():
            baseline_names.update(dict.fromkeys(scores))
        for baseline in baseline_names:
            cells = [cell(name, scores.get(baseline)) for name, scores in scores_by_name.items()]
            table.add_row(f"  {baseline}", *cells, style="dim")
    return Group(Text(title, style="bold"), table)


def results_table(result: Result) -> Group:
    """The metrics of a finished run on validation and test, beside simple baselines on the same
    splits, and its verdict."""
    unit, speed = result.speed
    duration = f"{result.seconds['fit']:.1f} s"
    if result.resumed:
        duration += " since its resume"
    title = (
        f"{result.data}, {result.head} reads {' and '.join(result.reads)}: {duration}, "
        f"{speed:,.0f} {unit}/s"
    )
    table = metrics_table(result.metrics, title, result.baselines)
    return Group(table, *map(Text, result.verdict))


def tables_of_test(folder: Path, title: str = "test") -> Iterator[RenderableType]:
    """What a test has left in this folder: the scores of its parts, if they are few, and the rows
    with the largest losses."""
    parts = scores_of_parts(folder)
    if 0 < len(parts) <= MOST_PARTS:
        first_column = next(iter(parts[0]))
        yield RowsTable(f"{title} by {first_column}", [_read_part(part) for part in parts])
    predictions_file = folder / "predictions.csv"
    if not predictions_file.is_file():
        return
    worst = worst_rows(predictions_file)
    if worst:
        name = predictions_file.name
        yield RowsTable(f"{title}: largest losses (of each row: {name})", worst, _groups(worst[0]))


def _groups(row: Iterable[str]) -> list[list[str]]:
    """The columns of a table of losses, the most important ones first: those of the first target,
    what tells rows apart, and then each other target with its predictions."""
    groups_of_targets = list[list[str]]()
    columns_of_row = list[str]()
    predictions = [column for column in row if column.startswith("prediction")]
    for column in row:
        if column.startswith("target"):
            name = column.replace("target", "prediction", 1)
            own = [other for other in predictions if other == name or other.startswith(f"{name}.")]
            groups_of_targets.append([column, *own])
        elif column not in (*predictions, "loss"):
            columns_of_row.append(column)
    first_columns = [*columns_of_row[:1], "loss"]
    for group in groups_of_targets[:1]:
        first_columns += group
    first_columns += columns_of_row[1:]
    return [*([column] for column in first_columns), *groups_of_targets[1:]]


def _read_part(part: Mapping[str, str]) -> dict[str, Any]:
    """A row of `scores.csv`, with its scores as numbers."""
    values = {}
    for column, text in part.items():
        read = PLAIN_COLUMNS.get(column, _number)
        values[column] = read(text)
    return values


def scores_of_parts(folder: Path) -> list[dict[str, str]]:
    """What `scores.csv` has of each part of a test; nothing without one."""
    file = folder / "scores.csv"
    if not file.is_file():
        return []
    with file.open(newline="", encoding="utf-8") as table:
        return [*csv.DictReader(table)]


def _number(text: str) -> float | str:
    """A score as a number. One of a task of your own may be any text, which stays as it is."""
    try:
        return float(text)
    except ValueError:
        return text


def worst_rows(file: Path) -> list[dict[str, Any]]:
    """The ten rows with the largest losses, of those with a prediction: what tells them apart,
    target and prediction, as the file has them. Of forecasts of the same steps, there is only the
    worst one."""
    # Rows are read one after the other, because a file may be larger than memory.
    places = [_Place.of(number, row) for number, row in _predicted_rows(file)]
    chosen_places = list[_Place]()
    for place in sorted(places, key=lambda place: -place.loss):
        if not any(place.overlaps(chosen) for chosen in chosen_places):
            chosen_places.append(place)
        if len(chosen_places) == MOST_ROWS:
            break
    chosen_numbers = {place.number for place in chosen_places}
    rows_by_number = {
        number: row for number, row in _predicted_rows(file) if number in chosen_numbers
    }
    return [_cells_to_show(rows_by_number[place.number]) for place in chosen_places]


class _Place(NamedTuple):
    """Where a row stands in its file, and which steps of which series it forecasts, if any."""

    number: int
    loss: float
    series: str
    first_step: int
    num_steps: int

    @classmethod
    def of(cls, number: int, row: Mapping[str, str]) -> _Place:
        place = cls(number, float(row["loss"]), row.get("series", ""), first_step=0, num_steps=0)
        step = row.get("step", "")
        predictions = [text for name, text in row.items() if name.startswith("prediction")]
        if step.isdecimal() and predictions[0].startswith("["):  # a number for each step
            num_steps = 1 + predictions[0].count(",")
            place = place._replace(first_step=int(step), num_steps=num_steps)
        return place

    def overlaps(self, other: _Place) -> bool:
        """Whether two rows forecast the same step of a series."""
        distance = abs(self.first_step - other.first_step)
        return self.series == other.series and distance < min(self.num_steps, other.num_steps)


def _predicted_rows(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a file that have a loss and a prediction, with their numbers."""
    with file.open(newline="", encoding="utf-8") as table:
        for number, row in enumerate(csv.DictReader(table)):
            if row.get("loss") and _is_predicted(row):
                yield number, row


def _cells_to_show(row: Mapping[str, str]) -> dict[str, Any]:
    """The columns that tell rows apart, which come first, then targets, predictions, the loss."""
    prefixes = ("target", "prediction")
    cells: dict[str, Any] = {}
    for column, text in row.items():
        if column.startswith(prefixes):
            break
        cells[column] = text
    cells |= {column: text for column, text in row.items() if column.startswith(prefixes)}
    cells["loss"] = float(row["loss"])
    return cells


def _is_predicted(row: Mapping[str, str]) -> bool:
    return any(text and column.startswith("prediction") for column, text in row.items())


def learning_curves(
    history: Sequence[Mapping[str, float]],
    picture: Path,
    metrics: Sequence[str],
    title: str = "",
) -> None:
    """Metrics of training, by some steps and by epoch, and of validation; over the steps, so that a
    training of one epoch is a curve too.

    Args:
        history: the rows of `metrics.csv`.
    """
    figure = Figure(figsize=(5 * len(metrics), 4.4), layout="constrained")
    figure.suptitle(figure_text(title, most=40 * len(metrics)), fontsize="medium")
    [row_of_axes] = figure.subplots(1, len(metrics), squeeze=False)
    for axes, metric in zip(row_of_axes, metrics, strict=True):
        for name, label, style in (
            (f"train/{metric}_step", "train, some steps", {"alpha": 0.35}),
            (f"train/{metric}", "train", {"linestyle": "--", "marker": "."}),
            (f"validation/{metric}", "validation", {"color": "tab:orange", "marker": "."}),
        ):
            rows = [row for row in history if name in row]
            if rows:
                steps = [row["step"] for row in rows]
                values = [row[name] for row in rows]
                full_style: Any = {"color": "tab:blue", "markersize": 4, **style}
                axes.plot(steps, values, label=label, **full_style)
        axes.set(xlabel="step", ylabel=metric.replace("_", " "))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
        lines, _ = axes.get_legend_handles_labels()
        if lines:  # There are none where nothing was logged, as in debug=fast.
            axes.legend()
    write_figure(picture, figure, dpi=120)
