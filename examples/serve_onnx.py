"""Serve an exported classifier or regressor with numpy and onnxruntime alone.

    python examples/serve_onnx.py runs/<folder>/export < inputs.jsonl

Each line is a text or a series in JSON: "a fine film", or [[0.5, 1.2], [null, 1.3]] for two steps
of two channels, the second of which lacks a value. If channels have names, also {"ax": [0.5, null],
"ay": [1.2, 1.3], "model": "B"}; what is no list is the same at all steps. Prints what `predict.py`
prints for it.
"""

from __future__ import annotations

import json
import sys
import unicodedata
import warnings
from datetime import UTC, datetime
from itertools import count, groupby, islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

AT_ONCE = 64  # inputs in a batch
# what `encode` takes into account: a model with another option would read wrong numbers
TOKENS = "level lowercase min_count vocabulary_size keep_whitespace max_length"
OPTIONS = {"tokens": TOKENS, "features": "stack missing scale"}


class Model:
    """An export. Raises ValueError for one that this script cannot serve, and says what of it."""

    def __init__(self, folder: Path) -> None:
        self.known = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        self.graph = onnxruntime.InferenceSession(folder / "model.onnx")
        self.data, task = self.known["data"], self.known["task"]
        encoder = self.data.get("preprocessor", {"kind": None, "options": {}})
        kind, options = encoder["kind"], {**encoder["options"]}
        self.options = {**options.pop("tokenizer", {}), **options}
        level, scale = self.options.get("level", "word"), self.options.get("scale", "none")
        missing = self.options.get("missing", "error")
        can = {
            f"the task {task}": task in ("SequenceClassifier", "Regressor"),
            "predictions of every step": len(self.graph.get_outputs()[0].shape) == 2,
            f"inputs of the kind {kind}": kind in OPTIONS,
            f"{level} tokens": level in ("word", "space", "char"),
            f"scale={scale}": scale in ("split", "series", "both", "none"),
            f"missing={missing}": missing in ("error", "interpolate", "last", "mark"),
            "tokens that keep whitespace": not self.options.get("keep_whitespace"),
            **{name: name in OPTIONS.get(kind, name).split() for name in self.options},
        }
        if unknown := [what for what, known in can.items() if not known]:
            raise ValueError(f"this script cannot serve {', '.join(unknown)}")
        self.encode = self.tokens if kind == "tokens" else self.features
        fitted = self.fitted = encoder["fitted"]
        if kind == "tokens":  # the first two stand for padding and for unknown ones
            self.ids = {token: n for n, token in enumerate(fitted["tokens"]) if n > 1}

    def predict(self, raw: list[Any], first: int = 1) -> list[dict[str, Any]]:
        """A prediction for each text or series; a ValueError counts them from `first`."""
        rows = [self.encode(given, f"input {number}") for number, given in enumerate(raw, first)]
        lengths = np.array([len(row) for row in rows])
        inputs = np.zeros((len(rows), lengths.max(), *rows[0].shape[1:]), rows[0].dtype)
        for padded, row in zip(inputs, rows, strict=True):
            padded[: len(row)] = row
        [logits] = self.graph.run(None, {"inputs": inputs, "lengths": lengths})
        if np.isnan(logits).any():
            raise ValueError(f"one of the inputs is longer than window={self.known['window']}")
        decide = self.values if "values" in self.data else self.classes
        return [decide(each) for each in logits]

    def tokens(self, text: str, where: str) -> np.ndarray:
        """Token ids `(T,)`."""
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"{where} is not a text, or an empty one")
        if self.options["lowercase"]:
            text = text.lower()
        by = {"word": kind_of, "space": lambda letter: kind_of(letter) > 0}
        words = list(text)
        if kind := by.get(self.options["level"]):
            words = ["".join(run) for between, run in groupby(text, kind) if between]
        most = self.options["max_length"] or len(words)
        return np.array([self.ids.get(word, 1) for word in words[:most]])  # 1: unknown

    def features(self, series: Any, where: str) -> np.ndarray:
        """Steps `(T, F)`: filled and scaled numbers, a column for each known text, marks of gaps;
        stacked."""
        fitted, options = self.fitted, self.options
        steps = self.steps(series, where)
        gaps, texts = np.isnan(steps), [names is not None for names in fitted["categories"]]
        if gaps.any() and options["missing"] == "error":
            raise ValueError(f"{where} lacks a value, which data.missing=error refuses")
        if options["missing"] == "interpolate":  # but not between texts
            if gaps.all(axis=0)[np.logical_not(texts)].any():
                raise ValueError(f"{where} has a channel without any value to interpolate from")
            for channel, gap, of_texts in zip(steps.T, gaps.T, texts, strict=True):
                if not of_texts:
                    there = np.flatnonzero(~gap)
                    channel[gap] = np.interp(np.flatnonzero(gap), there, channel[there])
        if options["missing"] == "last":
            last = np.where(gaps, 0, np.arange(len(steps))[:, None])
            steps = np.take_along_axis(steps, np.maximum.accumulate(last, axis=0), axis=0)
        numbers = steps[:, np.logical_not(texts)]
        by_split = (numbers - fitted["mean"]) / fitted["deviation"]
        mean, deviation = mean_and_deviation(numbers)
        by_series = (numbers - mean) / deviation
        scaled = {"split": [by_split], "series": [by_series], "both": [by_split, by_series]}
        plain = np.where(np.isnan(numbers), fitted["mean"], numbers)
        made = [np.nan_to_num(each) for each in scaled.get(options["scale"], [plain])]
        for channel, names in zip(steps.T, fitted["categories"], strict=True):
            if names is not None:
                made.append(channel[:, None] == np.arange(len(names)))
        if options["missing"] == "mark":
            made.append(gaps[:, fitted["marked"]])
        rows = np.concatenate(made, axis=1)
        if (size := fitted["stacked"]) > 1:
            rows = np.concatenate([rows, np.repeat(rows[-1:], -len(rows) % size, axis=0)])
            rows = rows.reshape(len(rows) // size, -1)
        if not (np.abs(rows) <= np.finfo(np.float32).max).all():
            raise ValueError(f"{where} has a value too far from those of the training")
        return rows.astype(np.float32)

    def steps(self, series: Any, where: str) -> np.ndarray:
        """The channels of each step `(T, C)`: of a text its number among those known, -1 for
        another; nan where there is none."""
        names, categories = self.fitted["columns"], self.fitted["categories"]
        if time := self.data.get("elapsed"):  # the name of the times of steps
            if not isinstance(series, dict) or not isinstance(series.get(time), list):
                raise ValueError(f"{where} has no list {time!r}: the time of each step")
            series = {**series, "elapsed": elapsed(series[time], where)}
        if isinstance(series, dict) and names:
            if lacking := [name for name in names if name not in series]:
                raise ValueError(f"{where} has no {lacking[0]!r}")
            channels = [series[name] for name in names]
            sizes = {len(channel) for channel in channels if isinstance(channel, list)}
            if len(sizes) != 1:
                raise ValueError(f"{where} has no list for its steps, or some of other lengths")
            size = sizes.pop()
            channels = [each if isinstance(each, list) else [each] * size for each in channels]
            series = [*zip(*channels, strict=True)]
        width, rows = len(categories), series if isinstance(series, list) and series else [None]
        if any(not isinstance(row, list | tuple) or len(row) != width for row in rows):
            raise ValueError(f"{where} is not a series of {width} channels")
        channels = [
            step if known is None else [number_of(text, known) for text in step]
            for step, known in zip(zip(*rows, strict=True), categories, strict=True)
        ]
        try:
            return np.array(channels, float).T.copy()  # None becomes nan
        except (TypeError, ValueError) as error:
            raise ValueError(f"{where} has a text instead of a number: {error}") from None

    def classes(self, logits: np.ndarray) -> dict[str, Any]:
        """The label, and the probability of each class, of logits `(C,)`."""
        weights, names = np.exp(logits - logits.max()), self.data["classes"]
        probabilities = dict(zip(names, (weights / weights.sum()).tolist(), strict=True))
        return {"label": names[logits.argmax()], "probabilities": probabilities}

    def values(self, logits: np.ndarray) -> dict[str, Any]:
        """The values, or their quantiles, in their own units, of logits `(K,)` or `(K * Q,)`."""
        names, levels = self.data["values"], (self.known["output"] or {}).get("quantiles")
        mean, deviation = (np.array(self.data[name])[:, None] for name in ("mean", "deviation"))
        made = np.sort(logits.reshape(len(names), -1)) * deviation + mean  # (K, Q)
        if levels is None:
            return dict(zip(names, made[:, 0].tolist(), strict=True))
        keys, rows = [f"{level:g}" for level in levels], zip(names, made.tolist(), strict=True)
        return {name: dict(zip(keys, row, strict=True)) for name, row in rows}


def number_of(value: Any, known: list[str]) -> float | None:
    """Of a text among those known; None for a blank one."""
    text = value.strip() if isinstance(value, str) else json.dumps(value)
    if value is None or not text:
        return None
    return known.index(text) if text in known else -1


def elapsed(times: list[Any], where: str) -> list[float]:
    """`log1p` of the time since the step before, in seconds, or as numbers count; 0 at the first
    step. Times are numbers, or texts such as 2013-01-31 06:00."""
    values = [time if isinstance(time, int | float) else seconds(time, where) for time in times]
    apart = [later - before for before, later in pairwise(values)]
    if any(length <= 0 for length in apart):
        raise ValueError(f"{where} has a time that is not after that of the step before")
    return [0.0, *np.log1p(apart).tolist()]


def seconds(time: Any, where: str) -> float:
    """From 1970 to a time."""
    try:
        moment = datetime.fromisoformat(time)
    except (TypeError, ValueError):
        raise ValueError(f"{where} has {time!r} as a time: write 2013-01-31 06:00") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def mean_and_deviation(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each channel, without its gaps; the deviation of a constant is 1."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a channel that has nothing else
        least, largest = np.nanmin(numbers, axis=0), np.nanmax(np.abs(numbers), axis=0)
        mean, deviation = np.nanmean(numbers - least, axis=0), np.nanstd(numbers - least, axis=0)
    of_float32 = ((numbers.astype(np.float32) == numbers) | np.isnan(numbers)).all(axis=0)
    rounding = np.where(of_float32, 2.4e-7, 1e-13)
    return least + mean, np.where(deviation > rounding * largest, deviation, 1.0)


def kind_of(letter: str) -> int:
    """0: between words; 1: of a word; 2: of punctuation."""
    if letter.isspace() and letter not in "\x1c\x1d\x1e\x1f":
        return 0
    category = unicodedata.category(letter)
    of_word = category[0] in "LM" or category in ("Nd", "Nl", "Pc") or letter in "\u200c\u200d"
    return 1 if of_word or letter.isupper() or letter.islower() else 2  # such as a letter in a ring


def parsed(line: str, number: int) -> Any:
    """What a line says in JSON."""
    try:
        return json.loads(line)
    except ValueError:
        example = 'such as "a fine film" in quotes, or [[0.5, 1.2], [0.7, 1.3]]'
        raise ValueError(f"input {number} is not JSON, {example}: {line.strip():.40}") from None


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("error: name an export: serve_onnx.py runs/<folder>/export < inputs.jsonl")
    try:
        model = Model(Path(sys.argv[1]))
        for first in count(1, AT_ONCE):
            if not (lines := [*islice(sys.stdin, AT_ONCE)]):
                return
            inputs = [parsed(line, number) for number, line in enumerate(lines, first)]
            for prediction in model.predict(inputs, first):
                print(json.dumps(prediction, ensure_ascii=False))
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
