"""What a finished run's numbers say: lost to a baseline, underfit or overfit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from seqmodels.files import flattened
from seqmodels.runs.limits import on_whole_splits
from seqmodels.tasks.metrics import METRICS, show_with_unit, without_split

Rows = Sequence[Mapping[str, float]]

JUDGED = ("accuracy", "bits_per_byte", "rmse", "loss")  # the first that a run has
OF_LOSS = ("bits_per_byte", "loss")  # which label smoothing changes, in training only
DROPOUTS = ("input_noise", "dropout", "embedding_dropout", "encoder.dropout")
STRONG = 0.3  # dropout that may be what holds a model back
SOLVED = 0.02  # an error of a share below which nothing is to be gained


def verdict(result: Mapping[str, Any], history: Rows) -> list[str]:
    """A sentence each, where it holds, and what to change first; none for a run on parts of its
    splits, such as those of `debug`.

    - *Lost to a baseline*: one is better on the test split. The difference of two accuracies is
      within chance if it is below 1.96 standard deviations, each accuracy taken as a binomial share
      of the test split's examples.
    - *Underfits*: the training's error is at least 0.9 times the validation's, and better is
      possible: a baseline is better, or the best validation was in the last tenth of the training.
    - *Overfits*: the training's error is at most half the validation's, and the best validation was
      in the first half of the training.

    The error is one minus a metric of which more is better, or else the metric. That of the
    training is logged during the epoch of the best validation, with dropout and noise, so without
    them it would be smaller: that only confirms an overfit, and in an underfit that more steps may
    not mend, strong dropout is what to change first. A loss with label smoothing is not judged.

    Args:
        result: the content of `result.json`; a metric that `METRICS` lacks is left alone.
        history: the rows of `metrics.csv`.
    """
    config = flattened(result["config"])
    if not on_whole_splits(config):
        return []
    lost = _lost(result)
    return lost + _fitted(result["metrics"], config, history, beaten=bool(lost))


def _lost(result: Mapping[str, Any]) -> list[str]:
    for name, rows in result["baselines"].items():
        metric, value = METRICS.get(without_split(name)), result["metrics"].get(name)
        if not name.startswith("test/") or metric is None or value is None:
            continue
        best = (max if metric.higher_is_better else min)(rows, key=lambda each: rows[each])
        gain = rows[best] - value if metric.higher_is_better else value - rows[best]
        if gain > 0:
            size = result.get("examples", {}).get("test")
            close = without_split(name) == "accuracy" and size and _chance(value, rows[best], size)
            chance = f", within chance on {size:,} examples (95 %)" if close else ""
            numbers = f"{show_with_unit(name, rows[best])}, not {show_with_unit(name, value)}"
            return [f"The model lost to {best}: {name} {numbers}{chance}."]
    return []


def _chance(one: float, other: float, size: int) -> bool:
    deviation = math.sqrt((one * (1 - one) + other * (1 - other)) / size)
    return abs(one - other) < 1.96 * deviation


def _fitted(
    metrics: Mapping[str, float], config: Mapping[str, Any], history: Rows, *, beaten: bool
) -> list[str]:
    short = next((n for n in JUDGED if f"validation/{n}" in metrics and n in METRICS), None)
    name, train_name, metric = f"validation/{short}", f"train/{short}", METRICS.get(str(short))
    validations = [row for row in history if math.isfinite(row.get(name, math.nan))]
    smoothed = short in OF_LOSS and config.get("model.label_smoothing")
    if metric is None or len(validations) < 2 or smoothed:
        return []

    def error(value: float) -> float:
        return 1 - value if metric.higher_is_better else value

    at = min(range(len(validations)), key=lambda index: error(validations[index][name]))
    best = validations[at]
    train = _training(history, validations[at - 1]["step"] if at else -1.0, best, train_name)
    if train is None or not (error(best[name]) > 0 and error(train) >= 0):
        return []
    ratio, place = (
        error(train) / error(best[name]),
        best["step"] / max(validations[-1]["step"], 1.0),
    )
    noisy = any(_number(config, f"model.{key}") for key in DROPOUTS)
    numbers = f"{train_name} {show_with_unit(name, train)}{' with dropout' if noisy else ''}, "
    numbers += f"{name} {show_with_unit(name, best[name])}"
    solved = metric.unit == "%" and error(best[name]) < SOLVED
    if ratio >= 0.9 and (place >= 0.9 or beaten) and not solved:
        return [f"It underfits ({numbers}): {_against_underfit(config, place)}."]
    if ratio <= 0.5 and place <= 0.5:
        numbers += f" after {100 * place:.0f} % of the steps"
        return [f"It overfits ({numbers}, the best): {_against_overfit(config)}."]
    return []


def _training(history: Rows, since: float, best: Mapping[str, float], name: str) -> float | None:
    # of the epoch that ends with the best validation, or of the steps since the one before
    if name in best:
        return best[name]
    rows = [row for row in history if since < row["step"] <= best["step"]]
    steps = [row[f"{name}_step"] for row in rows if f"{name}_step" in row]
    return sum(steps) / len(steps) if steps else None


def _against_underfit(config: Mapping[str, Any], place: float) -> str:
    if place >= 0.9:  # the last validations were still getting better
        if config.get("trainer.max_time"):
            return "train longer first, with a larger trainer.max_time"
        for key in ("trainer.max_steps", "trainer.max_epochs"):
            if _number(config, key) > 0:
                return f"train longer first, such as {key}={2 * config[key]}"
    strongest = max(DROPOUTS, key=lambda key: _number(config, f"model.{key}"))
    if _number(config, f"model.{strongest}") >= STRONG:
        return f"lower model.{strongest} first, which is {config[f'model.{strongest}']}"
    size = int(_number(config, "model.encoder.hidden_size"))
    return f"enlarge the model first, such as model.encoder.hidden_size={2 * size}"


def _against_overfit(config: Mapping[str, Any]) -> str:
    if _number(config, "model.dropout") < 0.5:
        return "raise dropout first, such as model.dropout=0.5"
    size = int(_number(config, "model.encoder.hidden_size"))
    return f"make the model smaller first, such as model.encoder.hidden_size={size // 2}"


def _number(config: Mapping[str, Any], key: str) -> float:
    value = config.get(key)
    return float(value) if isinstance(value, int | float) else 0.0
