"""What a finished run's numbers say: lost to a baseline, underfit or overfit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from seqmodels.engine.metrics import METRICS, find_metric, show, show_with_unit, without_split
from seqmodels.heads import HEADS
from seqmodels.plain_values import flattened
from seqmodels.runs.folder import on_whole_splits

Rows = Sequence[Mapping[str, float]]

JUDGED = ("accuracy", "bits_per_byte", "mase", "r2", "loss")  # the first that a run has
OF_LOSS = ("bits_per_byte", "loss")
HARDER = (  # in training
    "output.label_smoothing",
    "crop",
    "warp",
    "scheduled_sampling",
    "training.adversarial",
    "output.class_weights",
)
DROPOUTS = (
    "embedding.noise",
    "dropout",
    "embedding.dropout",
    "encoder.dropout",
    "encoder.weight_dropout",
)
STRONG = 0.3  # dropout that may be what holds a model back
SOLVED = 0.02  # an error rate below which nothing is to be gained


def verdict(result: Mapping[str, Any], history: Rows, ended_by: Sequence[str] = ()) -> list[str]:
    """A sentence each, where it holds, and what to change first; none for a run on a part of its
    splits, as with `debug`, except the fall of the loss with `trainer.overfit_batches`.

    - *Lost to a baseline*: one is better on the test split. The difference of two accuracies is
      within chance if it is below 1.96 standard deviations, each accuracy taken as a binomial share
      of the test split's examples.
    - *Underfits*: the training's error is at least 0.9 times the best validation's, then and at the
      end, and better is possible: a baseline is better beyond chance, or the best validation was
      in the last tenth of a training that a limit ended.
    - *Overfits*: the training's error is at most half the validation's, and the best validation was
      in the first half of the training.

    The error is one minus a metric of which more is better, or else the metric; of numbers it is
    relative to their deviation in the same split. The splits of a series are different seasons, so
    a forecast's error is divided by that of a naive forecast on the same split; without one, or
    where the training learns only one step ahead, there is no sentence.

    The training's error is logged during the epoch of the validation, with dropout and noise, so
    without them it would be smaller: that only confirms an overfit, and in an underfit that more
    steps may not mend, strong dropout is what to change first. A loss that the training makes
    harder, such as by label smoothing, is not judged.

    Args:
        result: the content of `result.json`; a metric that `METRICS` lacks is skipped.
        history: the rows of `metrics.csv`.
        ended_by: as `seqmodels.runs.endings.ended_by` gives it.
    """
    config = {**flattened(result["config"]), **result.get("decided", {})}
    if config.get("trainer.overfit_batches"):
        losses = [row["train/loss"] for row in history if "train/loss" in row]
        fall = f"train/loss fell from {losses[0]:.4g} to {losses[-1]:.4g}" if losses else ""
        return [f"{fall} on the same batches: it should come close to zero."] if losses else []
    if not on_whole_splits(config):
        return []
    lost, beaten = _lost(result)
    return lost + _fitted(result, config, history, ended_by, beaten=beaten)


def why_above(result: Mapping[str, Any], history: Rows, tested: int | None) -> str:
    """Why the training's loss lies above the validation's, a sentence; empty if it does not, or
    nothing makes this training harder.

    Args:
        result, history: as `verdict` takes them.
        tested: the step of the validation to compare at.
    """
    config = {**flattened(result["config"]), **result.get("decided", {})}
    known = [row for row in history if "validation/loss" in row]
    at = next((n for n, row in enumerate(known) if row["step"] == tested), None)
    if at is None:
        return ""
    since = known[at - 1]["step"] if at else -1.0
    train, validation = (
        _training(history, since, known[at], "train/loss"),
        known[at]["validation/loss"],
    )
    on = dict[str, float]()
    for key in (*HARDER, *DROPOUTS):
        if value := _number(config, f"model.{key}"):
            name = key.rpartition(".")[2].replace("_", " ")
            on.setdefault(name.replace("adversarial", "adversarial moves"), value)
    if train is None or train <= validation or not on:
        return ""
    return (
        f"train/loss {show('loss', train)} lies above validation/loss {show('loss', validation)}, "
        "because it is measured during the epoch, with what the validation is without: "
        f"{', '.join(f'{name} {value:g}' for name, value in on.items())}."
    )


def _lost(result: Mapping[str, Any]) -> tuple[list[str], bool]:
    # the sentence, and whether it is beyond chance
    for name, rows in result["baselines"].items():
        metric, value = find_metric(name), result["metrics"].get(name)
        known = {n: v for n, v in rows.items() if v is not None and math.isfinite(v)}
        if not (name.startswith("test/") and metric and known) or value is None:
            continue
        if metric.higher_is_better is None:
            continue
        best = (max if metric.higher_is_better else min)(known, key=known.__getitem__)
        gain = known[best] - value if metric.higher_is_better else value - known[best]
        if gain > 0 and show(name, known[best]) != show(name, value):  # not by rounding alone
            size = result.get("examples", {}).get("test")
            close = without_split(name) == "accuracy" and size and _chance(value, known[best], size)
            chance = f", within chance on {size:,} examples (95 %)" if close else ""
            numbers = f"{show_with_unit(name, known[best])}, not {show_with_unit(name, value)}"
            return [f"The model lost to {best}: {name} {numbers}{chance}."], not close
    return [], False


def _chance(one: float, other: float, size: int) -> bool:
    deviation = math.sqrt((one * (1 - one) + other * (1 - other)) / size)
    return abs(one - other) < 1.96 * deviation


def _fitted(
    result: Mapping[str, Any],
    config: Mapping[str, Any],
    history: Rows,
    ended_by: Sequence[str],
    *,
    beaten: bool,
) -> list[str]:
    metrics = result["metrics"]
    short = next((n for n in JUDGED if f"validation/{n}" in metrics and find_metric(n)), "")
    name, train_name = f"validation/{short}", f"train/{short}"
    validations = [row for row in history if math.isfinite(row.get(name, math.nan))]
    harder = short in OF_LOSS and any(config.get(f"model.{key}") for key in HARDER)
    scales = _scales(result, short)
    if not short or len(validations) < 2 or harder or scales is None:
        return []

    def training(at: int) -> float | None:
        since = validations[at - 1]["step"] if at else -1.0
        return _training(history, since, validations[at], train_name)

    at = min(range(len(validations)), key=lambda each: _error(short, validations[each][name]))
    best, train, last = validations[at][name], training(at), training(len(validations) - 1)
    if train is None or last is None or not (_error(short, best) > 0 and _error(short, train) >= 0):
        return []
    naive, on_train, on_validation = scales
    whole = _error(short, best) * on_train / on_validation
    ratio, at_end = _error(short, train) / whole, _error(short, last) / whole
    place = validations[at]["step"] / max(validations[-1]["step"], 1.0)
    noise = any(_number(config, f"model.{key}") for key in DROPOUTS)
    numbers = (
        f"{train_name} {show_with_unit(name, train)}{' with dropout' if noise else ''}"
        f"{_of_naive(naive, train, on_train)}{';' if naive else ','} "
        f"{name} {show_with_unit(name, best)}{_of_naive(naive, best, on_validation)}"
    )
    solved = METRICS[short].higher_is_better and 1 - best < SOLVED
    rising = place >= 0.9 and any(key.startswith("trainer.") for key in ended_by)
    if min(ratio, at_end) >= 0.9 and (rising or beaten) and not solved:
        return [f"It underfits ({numbers}): {_against_underfit(config, ended_by, rising=rising)}."]
    if ratio <= 0.5 and place <= 0.5:
        numbers += f" after {100 * place:.0f} % of the steps"
        return [f"It overfits ({numbers}, the best): {_against_overfit(config)}."]
    return []


def _error(short: str, value: float) -> float:
    if short == "r2":  # in deviations of the split
        return math.sqrt(max(1 - value, 0.0))
    return 1 - value if METRICS[short].higher_is_better else value


def _of_naive(naive: str, error: float, scale: float) -> str:
    return f", {error / scale:.2f} times {naive}" if naive else ""


def _scales(result: Mapping[str, Any], short: str) -> tuple[str, float, float] | None:
    # a naive forecast's name, and its errors on training and validation, to divide errors by; an
    # empty name where the splits are alike, None where they cannot be compared
    if short != "mase":
        return "", 1.0, 1.0
    head = HEADS.get(result["head"])
    train, validation = (result["baselines"].get(f"{s}/mase", {}) for s in ("train", "validation"))
    known = [n for n in train if train[n] > 0 and validation.get(n, 0) > 0]
    if not known or (head and head.per == "step"):
        return None
    best = min(known, key=lambda each: validation[each])
    return best, train[best], validation[best]


def _training(history: Rows, since: float, best: Mapping[str, float], name: str) -> float | None:
    # of the epoch that ends with this validation, or of the steps since the one before
    if name in best:
        return best[name]
    rows = [row for row in history if since < row["step"] <= best["step"]]
    steps = [row[f"{name}_step"] for row in rows if f"{name}_step" in row]
    return sum(steps) / len(steps) if steps else None


def _against_underfit(config: Mapping[str, Any], ended_by: Sequence[str], *, rising: bool) -> str:
    if rising:  # the last validations were still getting better
        longer = [f"{key}={2 * config[key]}" for key in ended_by if _number(config, key) > 0]
        if longer and "trainer.max_time" not in ended_by:
            return f"train longer first, such as {' '.join(longer)}"
        return "train longer first, with a larger trainer.max_time"
    strongest = max(DROPOUTS, key=lambda key: _number(config, f"model.{key}"))
    if _number(config, f"model.{strongest}") >= STRONG:
        return f"lower model.{strongest} first, which is {config[f'model.{strongest}']}"
    if "early stopping" in ended_by:
        keys = (k for k in config if k.startswith("callbacks.") and k.endswith(".patience"))
        patience = next((f"{key}, which is {config[key]}" for key in keys), "its patience")
        return f"early stopping ended it: raise {patience}, or change model.optimizer.lr first"
    size = int(_number(config, "model.encoder.hidden_size"))
    such = f", such as model.encoder.hidden_size={2 * size}" if size else ""
    return f"enlarge the model first{such}"


def _against_overfit(config: Mapping[str, Any]) -> str:
    if "model.dropout" in config and _number(config, "model.dropout") < 0.5:
        return "raise dropout first, such as model.dropout=0.5"
    size = int(_number(config, "model.encoder.hidden_size"))
    such = f", such as model.encoder.hidden_size={size // 2}" if size > 1 else ""
    return f"make the model smaller first{such}"


def _number(config: Mapping[str, Any], key: str) -> float:
    value = config.get(key)
    return float(value) if isinstance(value, int | float) else 0.0
