"""What a run shows at its end: metrics and worst predictions, learning curves, where time went."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from heapq import nlargest
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from seqmodels.engine.metrics import show_with_unit, without_split
from seqmodels.files import write_text
from seqmodels.runs.folder import RunFolder
from seqmodels.screen import Screen, figure_text, visible_line

MOST_PARTS = 10  # of a test, to show the scores of
MOST_MISTAKES = 10
MOST_LINES = 20  # of a profile
BESIDE = ("row", "series", "time", "input")  # columns of `predictions.csv` that say which row it is
# columns of `scores.csv` that hold no score
KINDS = {"class": str, "column": str, "series": str, "step": str, "count": int}
WIDTH = 40  # characters of a cell

Found = tuple[float, dict[str, Any]]


def metrics_table(
    metrics: Mapping[str, float],
    title: str,
    baselines: Mapping[str, Mapping[str, float | None]] | None = None,
) -> Group:
    """A row per metric and a column per split, in the metric's unit; an unknown metric is a plain
    number. Beneath each metric are its baselines.

    Args:
        metrics: value by name, such as `test/accuracy`; shares such as an accuracy from 0 to 1.
        title: printed above the table.
        baselines: metric -> name of the baseline -> value; None: it was left out.
    """
    baselines = baselines or {}
    splits = list(dict.fromkeys(name.rpartition("/")[0] for name in metrics))
    table = Table()
    table.add_column("metric")
    for split in splits:
        table.add_column(split or "value", justify="right", no_wrap=True)
    for short in dict.fromkeys(map(without_split, metrics)):
        names = [f"{split}/{short}".lstrip("/") for split in splits]
        table.add_row(short, *(_cell(name, metrics.get(name)) for name in names))
        rows = [baselines.get(name, {}) for name in names]
        for baseline in dict.fromkeys(baseline for row in rows for baseline in row):
            values = zip(names, (row.get(baseline) for row in rows), strict=True)
            cells = (_cell(name, value) for name, value in values)
            table.add_row(f"  {baseline}", *cells, style="dim")
    return Group(Text(title, style="bold"), table)


def _cell(name: str, value: float | None) -> str:
    return "" if value is None else show_with_unit(name, value)


def results_table(result: Mapping[str, Any]) -> Group:
    """The metrics of a finished run on validation and test, beside simple baselines on the same
    splits, and its verdict.

    Args:
        result: the content of `result.json`.
    """
    [speed] = [name for name in result if name.endswith("_per_second")]
    table = metrics_table(
        result["metrics"],
        f"{result['data']}, {result['head']} reads {' and '.join(result['reads'])}: "
        f"{result['seconds']['fit']:.1f} s{' since its resume' if result.get('resumed') else ''}, "
        f"{result[speed]:,.0f} {speed.partition('_')[0]}/s",
        result["baselines"],
    )
    return Group(table, *map(Text, result["verdict"]))


def tables_of_test(folder: Path, split: str = "test") -> Iterator[RenderableType]:
    """What a test has left in this folder: the scores of its parts, if they are few, and its worst
    predictions.

    Args:
        split: as `file_of` takes it.
    """
    scores, rows = (folder / file_of(name, split) for name in ("scores.csv", "predictions.csv"))
    if scores.is_file():
        with scores.open(newline="", encoding="utf-8") as file:
            parts = [*islice(csv.DictReader(file), MOST_PARTS + 1)]
        if len(parts) <= MOST_PARTS:
            read = [{k: KINDS.get(k, float)(v) for k, v in row.items()} for row in parts]
            yield _rows_table(f"{split} by {next(iter(parts[0]))}", read)
    if rows.is_file() and (worst := worst_rows(rows)):
        what = "most confident mistakes" if "probability" in worst[0] else "largest losses"
        yield _rows_table(f"{split}: {what} (of each row: {rows.name})", worst)


def file_of(name: str, split: str) -> str:
    """`scores.csv` of the test split, `scores_validation.csv` of another."""
    stem, _, suffix = name.rpartition(".")
    return name if split == "test" else f"{stem}_{split}.{suffix}"


def _rows_table(title: str, rows: Sequence[Mapping[str, Any]]) -> Group:
    table, options = Table(), {"no_wrap": True, "overflow": "ellipsis", "max_width": WIDTH}
    for name, value in rows[0].items():
        side = "right" if isinstance(value, int | float) else "left"
        table.add_column(name, justify=side, **options)  # type: ignore[arg-type]
    for row in rows:
        cells = (row.get(name, "") for name in rows[0])
        shown = zip(rows[0], cells, strict=True)
        table.add_row(
            *(_cell(k, v) if isinstance(v, float) else visible_line(str(v)) for k, v in shown)
        )
    return Group(Text(title, style="bold"), table)


def worst_rows(file: Path) -> list[dict[str, Any]]:
    """The ten most confident mistakes, the most confident first: by the probability of the wrong
    class or tag, and where there is none, by the loss of the row. Of numbers, the largest losses.
    Nothing of what has no target and prediction to compare."""
    with file.open(newline="", encoding="utf-8") as table:
        found = (each for row in csv.DictReader(table) for each in _mistakes(row))
        return [shown for _, shown in nlargest(MOST_MISTAKES, found, key=lambda each: each[0])]


def _mistakes(row: Mapping[str, str]) -> Iterator[Found]:
    if not row.get("loss"):
        return
    loss, name = float(row["loss"]), {k: row[k] for k in BESIDE if row.get(k)}
    if not row.get("prediction"):
        yield from _numbers(row, loss, name)
        return
    target, made, sure = (_read(row.get(k)) for k in ("target", "prediction", "probability"))
    if isinstance(target, list) and isinstance(made, list):
        columns = (_read(row.get("tokens")), target, made, sure)
        steps = zip_longest(*(each if isinstance(each, list) else [] for each in columns))
        for step, (token, right, tag, share) in enumerate(steps):
            if right not in (None, tag):
                which = {**name, "step": step, **({"token": token} if token is not None else {})}
                yield _mistake(which, right, tag, share, loss)
    elif not isinstance(target, list):
        right = [row["target"], *(_read(row.get("other_targets")) or ())]
        if row["prediction"] not in right:
            yield _mistake(name, row["target"], row["prediction"], sure, loss)


def _mistake(name: Mapping[str, Any], target: str, made: str, sure: Any, loss: float) -> Found:
    by = {"loss": loss} if sure is None else {"probability": float(sure)}
    return next(iter(by.values())), {**name, "target": target, "prediction": made, **by}


def _numbers(row: Mapping[str, str], loss: float, name: Mapping[str, Any]) -> Iterator[Found]:
    # of a row with several, that with the largest error
    errors = []
    for column in (k.removeprefix("target.") for k in row if k.startswith("target.")):
        median = row.get(f"prediction.{column}", row.get(f"prediction.{column}.0.5"))
        pair = (_read(row[f"target.{column}"]), _read(median))
        several = all(isinstance(each, list) for each in pair)
        for step, (right, made) in enumerate(zip(*pair, strict=True) if several else [pair]):
            if right is not None and made is not None:
                which = {"column": column, **({"step": step} if several else {})}
                errors.append((abs(right - made), {**which, "target": right, "prediction": made}))
    if errors:
        yield loss, {**name, **max(errors, key=lambda each: each[0])[1], "loss": loss}


def _read(text: str | None) -> Any:
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text


def learning_curves(
    history: Sequence[Mapping[str, float]],
    picture: Path,
    metrics: Sequence[str],
    title: str = "",
    tested: int | None = None,
) -> None:
    """Metrics of training, by some steps and by epoch, and of validation; over the steps, so that a
    training of one epoch is a curve too.

    Args:
        history: the rows of `metrics.csv`.
        tested: the step of the validation whose weights were tested.
    """
    figure = Figure(figsize=(5 * len(metrics), 4.4), layout="constrained")
    figure.suptitle(figure_text(title, most=40 * len(metrics)), fontsize="medium")
    for axes, metric in zip(
        figure.subplots(1, len(metrics), squeeze=False)[0], metrics, strict=True
    ):
        for name, label, style in (
            (f"train/{metric}_step", None, {"alpha": 0.35}),
            (f"train/{metric}", "train", {"linestyle": "--", "marker": "."}),
            (f"validation/{metric}", "validation", {"color": "tab:orange", "marker": "."}),
        ):
            points = [(r["step"], r[name]) for r in history if name in r]
            if points:
                colour = {"color": "tab:blue", "markersize": 4, **style}
                axes.plot(*zip(*points, strict=True), label=label, **colour)
        epoch = [int(r["epoch"]) for r in history if r["step"] == tested]
        if epoch:
            label = f"tested: epoch {epoch[-1]}"
            axes.axvline(tested, color="0.5", linestyle=":", label=label)
        axes.set(xlabel="step", ylabel=metric.replace("_", " "))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:  # none where nothing was logged, as in debug=fast
            axes.legend()
    figure.savefig(picture, dpi=120)


@contextmanager
def profile_file(trainer: pl.Trainer, folder: RunFolder, console: Screen) -> Iterator[None]:
    """Writes what `trainer.profiler` reports of training, validation and test to `profile.txt` at
    the end, and prints the beginning of the last report, which holds what takes longest.

    Lightning itself writes a file for each of the three, and its lines of 200 characters wrap on a
    screen.
    """
    profiler: Any = trainer.profiler  # type: ignore[attr-defined]
    describe, reports = profiler.describe, list[str]()

    def keep() -> None:
        if report := profiler.summary():
            reports.append(report)
        describe()

    profiler.describe = keep
    try:
        yield
    finally:
        profiler.describe = describe
        if trainer.is_global_zero and reports:
            write_text(folder.profile, "\n".join(reports))
            _print_profile(reports[-1], console)
            console.print(f"profile: {folder.profile}", soft_wrap=True)


def _print_profile(report: str, console: Screen) -> None:
    lines = report.splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[:1] == "|"]
    if not rows:  # of another profiler than `simple`
        console.print("\n".join(lines[:MOST_LINES]))
        return
    table = Table(title=lines[0])
    for number, name in enumerate(rows[0]):
        table.add_column(name, overflow="fold", justify="right" if number else "left")
    for action, *numbers in rows[1 : MOST_LINES + 1]:
        table.add_row(re.sub(r"{.*?}", "", action), *numbers)  # the options of a checkpoint
    console.print(table)
