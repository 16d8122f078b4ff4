"""The verdict on a run: a sentence where the numbers say so, and none where they don't."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from seqmodels.runs.table import results_table
from seqmodels.runs.verdict import verdict

MODEL = {"dropout": 0.5, "encoder": {"hidden_size": 64, "dropout": 0.0}, "label_smoothing": 0.1}
TRAINER = {"max_epochs": 10, "max_steps": -1, "limit_test_batches": 1.0, "fast_dev_run": False}


def run(
    validation: float,
    test: float,
    baselines: dict[str, float],
    metric: str = "accuracy",
    **config: Any,
) -> dict[str, Any]:
    return {
        "config": {"model": MODEL, "trainer": TRAINER, **config},
        "metrics": {f"validation/{metric}": validation, f"test/{metric}": test},
        "baselines": {f"test/{metric}": baselines} if baselines else {},
        "examples": {"test": 200},
    }


def curve(
    train: list[float], validation: list[float], metric: str = "accuracy"
) -> list[dict[str, float]]:
    return [
        {"epoch": float(n), "step": 10.0 * n + 9, f"train/{metric}": t, f"validation/{metric}": v}
        for n, (t, v) in enumerate(zip(train, validation))
    ]


RISING, PEAKED = [0.5, 0.55, 0.6, 0.65], [0.6, 0.8, 0.75, 0.7]
TABLE = {
    "nothing to say": (run(0.8, 0.8, {"a": 0.7}), curve([0.6, 0.8, 0.9, 0.9], RISING), []),
    "lost": (
        run(0.65, 0.6, {"a": 0.7, "b": 0.8}),
        curve([0.6, 0.8, 0.9, 0.9], RISING),
        ["The model lost to b: test/accuracy 80.00 %, not 60.00 %."],
    ),
    "lost within chance": (
        run(0.65, 0.78, {"b": 0.8}),
        [],
        [
            "The model lost to b: test/accuracy 80.00 %, not 78.00 %, within chance on 200 "
            "examples (95 %)."
        ],
    ),
    "no less than the baseline": (run(0.65, 0.8, {"b": 0.8}), [], []),
    "lost in bits": (
        run(2.0, 2.1, {"lzma": 2.5, "8-grams": 1.75}, "bits_per_byte"),
        [],
        ["The model lost to 8-grams: test/bits_per_byte 1.7500, not 2.1000."],
    ),
    "underfit: longer": (
        run(0.65, 0.65, {}),
        curve([0.4, 0.5, 0.6, 0.64], RISING),
        [
            "It underfits (train/accuracy 64.00 % with dropout, validation/accuracy 65.00 %): "
            "train longer first, such as trainer.max_epochs=20."
        ],
    ),
    "underfit by steps": (
        run(0.65, 0.65, {}, trainer={**TRAINER, "max_steps": 400}),
        curve([0.4, 0.5, 0.6, 0.64], RISING),
        [
            "It underfits (train/accuracy 64.00 % with dropout, validation/accuracy 65.00 %): "
            "train longer first, such as trainer.max_steps=800."
        ],
    ),
    "underfit, flat, strong dropout": (
        run(0.8, 0.8, {"a": 0.95}),
        curve([0.5, 0.6, 0.6, 0.6], PEAKED),
        [
            "The model lost to a: test/accuracy 95.00 %, not 80.00 %.",
            "It underfits (train/accuracy 60.00 % with dropout, validation/accuracy 80.00 %): "
            "lower model.dropout first, which is 0.5.",
        ],
    ),
    "underfit, flat, no dropout": (
        run(0.8, 0.8, {"a": 0.95}, model={**MODEL, "dropout": 0.0}),
        curve([0.5, 0.6, 0.6, 0.6], PEAKED),
        [
            "The model lost to a: test/accuracy 95.00 %, not 80.00 %.",
            "It underfits (train/accuracy 60.00 %, validation/accuracy 80.00 %): enlarge the model "
            "first, such as model.encoder.hidden_size=128.",
        ],
    ),
    "flat, and no baseline says that better is possible": (
        run(0.8, 0.8, {}),
        curve([0.5, 0.6, 0.6, 0.6], PEAKED),
        [],
    ),
    "solved": (run(0.99, 0.99, {}), curve([0.9, 0.98], [0.95, 0.99]), []),
    "overfit": (
        run(0.8, 0.8, {}, model={**MODEL, "dropout": 0.2}),
        curve([0.7, 0.95, 0.99, 1.0], PEAKED),
        [
            "It overfits (train/accuracy 95.00 % with dropout, validation/accuracy 80.00 % after "
            "49 % of the steps, the best): raise dropout first, such as model.dropout=0.5."
        ],
    ),
    "overfit with dropout": (
        run(0.8, 0.8, {}),
        curve([0.7, 0.95, 0.99, 1.0], PEAKED),
        [
            "It overfits (train/accuracy 95.00 % with dropout, validation/accuracy 80.00 % after "
            "49 % of the steps, the best): make the model smaller first, such as "
            "model.encoder.hidden_size=32."
        ],
    ),
    "a loss with label smoothing": (
        run(0.5, 0.5, {}, "loss"),
        curve([0.9, 0.8, 0.7, 0.6], [0.9, 0.8, 0.7, 0.6], "loss"),
        [],
    ),
    "a loss without": (
        run(0.6, 0.6, {}, "loss", model={**MODEL, "label_smoothing": 0.0, "dropout": 0.0}),
        curve([0.9, 0.8, 0.7, 0.6], [0.9, 0.8, 0.7, 0.6], "loss"),
        [
            "It underfits (train/loss 0.6000, validation/loss 0.6000): train longer first, such as "
            "trainer.max_epochs=20."
        ],
    ),
    "an unknown metric": (
        run(0.1, 0.1, {"a": 0.9}, "mine"),
        curve([0.1, 0.1], [0.1, 0.1], "mine"),
        [],
    ),
    "parts of the splits": (
        run(0.65, 0.6, {"b": 0.8}, trainer={**TRAINER, "limit_test_batches": 1}),
        curve([0.4, 0.5, 0.6, 0.64], RISING),
        [],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLE)
def test_verdicts(case: str) -> None:
    result, history, expected = TABLE[case]
    assert verdict(result, history) == expected


def test_the_training_of_a_validation_within_an_epoch_is_that_of_the_steps_before() -> None:
    rows = [
        {"epoch": 0.0, "step": float(n), "train/accuracy_step": 0.1 + n / 100}
        for n in range(0, 60, 10)
    ]
    rows[2]["validation/accuracy"], rows[5]["validation/accuracy"] = 0.4, 0.6
    [sentence] = verdict(run(0.6, 0.6, {}), rows)
    assert "train/accuracy 50.00 % with dropout" in sentence


def test_the_first_validation_may_be_the_best() -> None:
    rows = [{"epoch": 0.0, "step": 4.0, "train/accuracy_step": 0.9, "validation/accuracy": 0.6}]
    rows.append({"epoch": 0.0, "step": 9.0, "train/accuracy_step": 1.0, "validation/accuracy": 0.5})
    [sentence] = verdict(run(0.6, 0.6, {}), rows)
    assert sentence.startswith("It overfits (train/accuracy 90.00 % with dropout")


def test_a_result_of_an_earlier_version_has_a_table_too() -> None:
    result = {
        "data": "a", "head": "mean_pool", "reads": ["output"], "seconds": {"fit": 1.0},
        "examples_per_second": 5.0, "metrics": {"test/accuracy": 0.5, "validation/loss": 0.25},
        "baselines": {"test/accuracy": {"majority class": 0.25}},
    }  # fmt: skip
    console = Console(width=80)
    with console.capture() as capture:
        console.print(results_table(result))
    assert "majority class" in capture.get() and "25.00 %" in capture.get()
