"""The worst predictions of a test, from its `predictions.csv`."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from heapq import nlargest
from itertools import zip_longest
from pathlib import Path
from typing import Any

MOST = 10
BESIDE = ("row", "series", "time", "input")  # columns that say which row it is

Found = tuple[float, dict[str, Any]]


def worst_rows(file: Path) -> list[dict[str, Any]]:
    """The ten most confident mistakes, the most confident first: by the probability of the wrong
    class or tag, and where there is none, by the loss of the row. Of numbers, the largest losses.
    Nothing of what has no target and prediction to compare."""
    with file.open(newline="", encoding="utf-8") as table:
        found = (each for row in csv.DictReader(table) for each in _mistakes(row))
        return [shown for _, shown in nlargest(MOST, found, key=lambda each: each[0])]


def _mistakes(row: Mapping[str, str]) -> Iterator[Found]:
    if not row.get("loss"):
        return
    loss, name = float(row["loss"]), {k: row[k] for k in BESIDE if row.get(k)}
    if not row.get("prediction"):
        yield from _numbers(row, loss, name)
        return
    target, made, sure = (_cell(row.get(k)) for k in ("target", "prediction", "probability"))
    if isinstance(target, list) and isinstance(made, list):
        columns = (_cell(row.get("tokens")), target, made, sure)
        steps = zip_longest(*(each if isinstance(each, list) else [] for each in columns))
        for step, (token, right, tag, share) in enumerate(steps):
            if right not in (None, tag):
                which = {**name, "step": step, **({"token": token} if token is not None else {})}
                yield _mistake(which, right, tag, share, loss)
    elif not isinstance(target, list):
        right = [row["target"], *(_cell(row.get("other_targets")) or ())]
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
        pair = (_cell(row[f"target.{column}"]), _cell(median))
        several = all(isinstance(each, list) for each in pair)
        for step, (right, made) in enumerate(zip(*pair, strict=True) if several else [pair]):
            if right is not None and made is not None:
                which = {"column": column, **({"step": step} if several else {})}
                errors.append((abs(right - made), {**which, "target": right, "prediction": made}))
    if errors:
        yield loss, {**name, **max(errors, key=lambda each: each[0])[1], "loss": loss}


def _cell(text: str | None) -> Any:
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text
