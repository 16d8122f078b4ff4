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

# How many inputs a batch has.
BATCH_SIZE = 64
# Between the logits of a runtime and those of PyTorch. Both compute in float32.
LARGEST_DIFFERENCE = 1e-4
# The options of an encoder that `encode` takes into account. A model with another option would read
# wrong numbers.
OPTIONS = {
    "tokens": [
        "level",
        "lowercase",
        "min_count",
        "vocabulary_size",
        "keep_whitespace",
        "max_length",
    ],
    "features": ["stack", "missing", "scale"],
}


class Model:
    """An export. Raises ValueError for one that this script cannot serve, and names the reason."""

    def __init__(self, folder: Path) -> None:
        self.description = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        self.graph = onnxruntime.InferenceSession(folder / "model.onnx")
        self.data = self.description["data"]
        encoder = self.data.get("preprocessor", {"kind": None, "options": {}})
        self.kind = encoder["kind"]
        options = {**encoder["options"]}
        tokenizer_options = options.pop("tokenizer", {})
        self.options = {**tokenizer_options, **options}
        refused = self.refused()
        if refused:
            raise ValueError(f"this script cannot serve {', '.join(refused)}")
        self.check_runtime()
        self.fitted = encoder["fitted"]
        self.encode = self.features
        if self.kind == "tokens":
            self.encode = self.tokens
            # The first two ids stand for padding and for unknown tokens.
            self.ids = {token: n for n, token in enumerate(self.fitted["tokens"]) if n > 1}

    def refused(self) -> list[str]:
        """What this script cannot serve of the export."""
        task = self.description["task"]
        level = self.options.get("level", "word")
        scale = self.options.get("scale", "none")
        missing = self.options.get("missing", "error")
        is_served = {
            f"the task {task}": task in ("SequenceClassifier", "Regressor"),
            "predictions of every step": len(self.graph.get_outputs()[0].shape) == 2,
            f"inputs of the kind {self.kind}": self.kind in OPTIONS,
            f"{level} tokens": level in ("word", "space", "char"),
            f"scale={scale}": scale in ("split", "series", "both", "none"),
            f"missing={missing}": missing in ("error", "interpolate", "last", "mark"),
            "tokens that keep whitespace": not self.options.get("keep_whitespace"),
        }
        if self.kind in OPTIONS:
            for name in self.options:
                is_served[name] = name in OPTIONS[self.kind]
        return [name for name, served in is_served.items() if not served]

    def check_runtime(self) -> None:
        """Compares the logits of three rows with those of PyTorch, which lie beside the graph."""
        reference = self.description["reference"]
        dtype = np.int64 if self.kind == "tokens" else np.float32
        inputs = np.array(reference["inputs"], dtype)
        lengths = np.array(reference["lengths"])
        [logits] = self.graph.run(None, {"inputs": inputs, "lengths": lengths})
        wanted_logits = np.array(reference["logits"])
        difference = np.abs(logits[:, : wanted_logits.shape[1]] - wanted_logits).max()
        if not difference < LARGEST_DIFFERENCE:
            raise ValueError(
                f"this runtime computes other logits than PyTorch, by up to {difference:.1g}: use "
                "another version of it, or another one"
            )

    def predict(self, raw: list[Any], first: int = 1) -> list[dict[str, Any]]:
        """A prediction for each text or series; a ValueError counts them from `first`."""
        rows = [self.encode(row, f"input {number}") for number, row in enumerate(raw, first)]
        lengths = np.array([len(row) for row in rows])
        inputs = np.zeros((len(rows), lengths.max(), *rows[0].shape[1:]), rows[0].dtype)
        for padded_row, row in zip(inputs, rows, strict=True):
            padded_row[: len(row)] = row
        [logits] = self.graph.run(None, {"inputs": inputs, "lengths": lengths})
        if np.isnan(logits).any():
            window = self.description["window"]
            raise ValueError(f"one of the inputs is longer than window={window}")
        if "values" in self.data:
            return [self.values(row) for row in logits]
        return [self.classes(row) for row in logits]

    def tokens(self, text: str, where: str) -> np.ndarray:
        """The ids `(T,)` of the tokens of a text."""
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"{where} is not a text, or an empty one")
        if self.options["lowercase"]:
            text = text.lower()
        words = words_of(text, self.options["level"])
        max_length = self.options["max_length"] or len(words)
        return np.array([self.ids.get(word, 1) for word in words[:max_length]])  # 1: unknown

    def features(self, series: Any, where: str) -> np.ndarray:
        """The features `(T, F)` of a series: filled and scaled numbers, a column for each known
        text, marks of gaps; stacked."""
        steps = self.steps(series, where)  # (T, C)
        is_missing = np.isnan(steps)
        categories = self.fitted["categories"]
        has_texts = np.array([texts is not None for texts in categories])  # (C,)
        steps = self.filled(steps, is_missing, has_texts, where)
        columns = self.scaled(steps[:, ~has_texts])
        for channel, texts in zip(steps.T, categories, strict=True):
            if texts is not None:
                columns.append(channel[:, None] == np.arange(len(texts)))
        if self.options["missing"] == "mark":
            columns.append(is_missing[:, self.fitted["marked"]])
        rows = stacked(np.concatenate(columns, axis=1), self.fitted["stacked"])
        if not (np.abs(rows) <= np.finfo(np.float32).max).all():
            raise ValueError(f"{where} has a value too far from those of the training")
        return rows.astype(np.float32)

    def steps(self, series: Any, where: str) -> np.ndarray:
        """The channels of each step `(T, C)`. A text is its number among those known, -1 for
        another one; nan stands where there is none."""
        names = self.fitted["columns"]
        categories = self.fitted["categories"]
        time = self.data.get("elapsed")  # the name of the times of steps
        if time:
            if not isinstance(series, dict) or not isinstance(series.get(time), list):
                raise ValueError(f"{where} has no list {time!r}: the time of each step")
            series = {**series, "elapsed": elapsed(series[time], where)}
        if isinstance(series, dict) and names:
            series = steps_of_channels(series, names, where)
        rows = [None]
        if isinstance(series, list) and series:
            rows = series
        num_channels = len(categories)
        for row in rows:
            if not isinstance(row, list | tuple) or len(row) != num_channels:
                raise ValueError(f"{where} is not a series of {num_channels} channels")
        channels = []
        for channel, texts in zip(zip(*rows, strict=True), categories, strict=True):
            if texts is None:
                channels.append(channel)
            else:
                channels.append([number_of(value, texts) for value in channel])
        try:
            return np.array(channels, float).T.copy()  # None becomes nan.
        except (TypeError, ValueError) as error:
            raise ValueError(f"{where} has a text instead of a number: {error}") from None

    def filled(
        self, steps: np.ndarray, is_missing: np.ndarray, has_texts: np.ndarray, where: str
    ) -> np.ndarray:
        """The steps without gaps, as far as `data.missing` fills them."""
        missing = self.options["missing"]
        if missing == "error" and is_missing.any():
            raise ValueError(f"{where} lacks a value, which data.missing=error refuses")
        if missing == "interpolate":
            if is_missing.all(axis=0)[~has_texts].any():
                raise ValueError(f"{where} has a channel without any value to interpolate from")
            for channel in np.flatnonzero(~has_texts):  # Texts have nothing between them.
                gaps = np.flatnonzero(is_missing[:, channel])
                known_steps = np.flatnonzero(~is_missing[:, channel])
                known_values = steps[known_steps, channel]
                steps[gaps, channel] = np.interp(gaps, known_steps, known_values)
        if missing == "last":
            last_known = np.where(is_missing, 0, np.arange(len(steps))[:, None])
            last_known = np.maximum.accumulate(last_known, axis=0)
            steps = np.take_along_axis(steps, last_known, axis=0)
        return steps

    def scaled(self, numbers: np.ndarray) -> list[np.ndarray]:
        """The numbers `(T, C)` as `data.scale` has them. A gap is 0; without a scale, the mean."""
        mean_of_split = self.fitted["mean"]
        scale = self.options["scale"]
        columns = []
        if scale in ("split", "both"):
            columns.append((numbers - mean_of_split) / self.fitted["deviation"])
        if scale in ("series", "both"):
            mean, deviation = mean_and_deviation(numbers)
            columns.append((numbers - mean) / deviation)
        if scale == "none":
            columns.append(np.where(np.isnan(numbers), mean_of_split, numbers))
        return [np.nan_to_num(column) for column in columns]

    def classes(self, logits: np.ndarray) -> dict[str, Any]:
        """The label, and the probability of each class, for logits `(C,)`."""
        names = self.data["classes"]
        weights = np.exp(logits - logits.max())
        probabilities = (weights / weights.sum()).tolist()
        return {
            "label": names[logits.argmax()],
            "probabilities": dict(zip(names, probabilities, strict=True)),
        }

    def values(self, logits: np.ndarray) -> dict[str, Any]:
        """The values, or their quantiles, in their own units, for logits `(K,)` or `(K * Q,)`."""
        names = self.data["values"]
        mean = np.array(self.data["mean"])[:, None]
        deviation = np.array(self.data["deviation"])[:, None]
        values = np.sort(logits.reshape(len(names), -1)) * deviation + mean  # (K, Q)
        output = self.description["output"] or {}
        levels = output.get("quantiles")
        if levels is None:
            return dict(zip(names, values[:, 0].tolist(), strict=True))
        keys = [f"{level:g}" for level in levels]
        predictions = {}
        for name, quantiles in zip(names, values.tolist(), strict=True):
            predictions[name] = dict(zip(keys, quantiles, strict=True))
        return predictions


def words_of(text: str, level: str) -> list[str]:
    """The tokens of a text at a level of the tokenizer."""
    if level == "char":
        return list(text)
    kind = kind_of
    if level == "space":
        kind = is_no_space
    return ["".join(letters) for is_word, letters in groupby(text, kind) if is_word]


def steps_of_channels(series: dict[str, Any], names: list[str], where: str) -> list[Any]:
    """The channels with these names, side by side at each step."""
    for name in names:
        if name not in series:
            raise ValueError(f"{where} has no {name!r}")
    channels = [series[name] for name in names]
    lengths = {len(channel) for channel in channels if isinstance(channel, list)}
    if len(lengths) != 1:
        raise ValueError(f"{where} has no list for its steps, or some of other lengths")
    [length] = lengths
    columns = []
    for channel in channels:
        column = channel
        if not isinstance(channel, list):
            column = [channel] * length
        columns.append(column)
    return [*zip(*columns, strict=True)]


def stacked(rows: np.ndarray, size: int) -> np.ndarray:
    """Rows with `size` steps side by side; the last step is repeated where some lack."""
    if size <= 1:
        return rows
    num_lacking = -len(rows) % size
    rows = np.concatenate([rows, np.repeat(rows[-1:], num_lacking, axis=0)])
    return rows.reshape(len(rows) // size, -1)


def number_of(value: Any, texts: list[str]) -> float | None:
    """The number of a text among those known, -1 for another one; None for a blank one."""
    text = value.strip() if isinstance(value, str) else json.dumps(value)
    if value is None or not text:
        return None
    return texts.index(text) if text in texts else -1


def elapsed(times: list[Any], where: str) -> list[float]:
    """`log1p` of the time since the step before, in seconds, or as numbers count; 0 at the first
    step. Times are numbers, or texts such as 2013-01-31 06:00."""
    seconds = [seconds_of(time, where) for time in times]
    seconds_between = [later - earlier for earlier, later in pairwise(seconds)]
    if any(duration <= 0 for duration in seconds_between):
        raise ValueError(f"{where} has a time that is not after that of the step before")
    return [0.0, *np.log1p(seconds_between).tolist()]


def seconds_of(time: Any, where: str) -> float:
    """A number as it is, and of any other time the seconds since 1970."""
    if isinstance(time, int | float):
        return time
    try:
        moment = datetime.fromisoformat(time)
    except (TypeError, ValueError):
        raise ValueError(f"{where} has {time!r} as a time: write 2013-01-31 06:00") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp()


def mean_and_deviation(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean and the deviation of each channel, without its gaps; 1 for a constant."""
    with warnings.catch_warnings():
        # A channel may have nothing but gaps.
        warnings.simplefilter("ignore", RuntimeWarning)
        smallest = np.nanmin(numbers, axis=0)
        largest = np.nanmax(np.abs(numbers), axis=0)
        mean = np.nanmean(numbers - smallest, axis=0)
        deviation = np.nanstd(numbers - smallest, axis=0)
    is_float32 = (numbers.astype(np.float32) == numbers) | np.isnan(numbers)
    rounding = np.where(is_float32.all(axis=0), 2.4e-7, 1e-13)
    is_constant = ~(deviation > rounding * largest)
    return smallest + mean, np.where(is_constant, 1.0, deviation)


def kind_of(letter: str) -> int:
    """0: between words; 1: in a word; 2: punctuation."""
    if letter.isspace() and letter not in "\x1c\x1d\x1e\x1f":
        return 0
    category = unicodedata.category(letter)
    if category[0] in "LM" or category in ("Nd", "Nl", "Pc") or letter in "\u200c\u200d":
        return 1
    if letter.isupper() or letter.islower():  # such as a letter in a ring
        return 1
    return 2


def is_no_space(letter: str) -> bool:
    return kind_of(letter) > 0


def parsed(line: str, number: int) -> Any:
    """What a line holds in JSON."""
    try:
        return json.loads(line)
    except ValueError:
        raise ValueError(
            f'input {number} is not JSON, such as "a fine film" in quotes, or '
            f"[[0.5, 1.2], [0.7, 1.3]]: {line.strip():.40}"
        ) from None


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("error: name an export: serve_onnx.py runs/<folder>/export < inputs.jsonl")
    try:
        model = Model(Path(sys.argv[1]))
        for first in count(1, BATCH_SIZE):
            lines = [*islice(sys.stdin, BATCH_SIZE)]
            if not lines:
                return
            inputs = [parsed(line, number) for number, line in enumerate(lines, first)]
            for prediction in model.predict(inputs, first):
                print(json.dumps(prediction, ensure_ascii=False))
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
