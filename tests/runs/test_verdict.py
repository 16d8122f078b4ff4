"""The verdict on a run: a sentence where the numbers say so, and none where they don't."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import pytest
from lightning.pytorch.demos.boring_classes import BoringModel
from rich.console import Console

from seqmodels.callbacks.early_stopping import EarlyStopping
from seqmodels.runs.endings import ended_by
from seqmodels.runs.report import results_table
from seqmodels.runs.verdict import verdict

MODEL = {
    "dropout": 0.5,
    "encoder": {"hidden_size": 64, "dropout": 0.0},
    "output": {"label_smoothing": 0.1},
}
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
        "head": "last_hidden",
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
    "lost where less is better": (
        run(2.0, 2.1, {"mean": 2.5, "linear": 1.75}, "rmse"),
        [],
        ["The model lost to linear: test/rmse 1.7500, not 2.1000."],
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
        run(0.6, 0.6, {}, "loss", model={**MODEL, "output": {}, "dropout": 0.0}),
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
    by = "trainer.max_steps" if "steps" in case else "trainer.max_epochs"
    assert verdict(result, history, [by]) == expected


STOPPER = {"callbacks": {"stop": {"monitor": "validation/accuracy", "patience": 2}}}
PLAIN = {**MODEL, "dropout": 0.0}
LONG = {**TRAINER, "max_steps": 20_000, "max_time": "00:00:05:00"}
FLAT = curve([0.5, 0.6, 0.6, 0.6], PEAKED)


@pytest.mark.parametrize(
    ("ended_by", "advice"),
    [
        (["trainer.max_epochs"], "train longer first, such as trainer.max_epochs=20"),
        (["trainer.max_steps"], "train longer first, such as trainer.max_steps=40000"),
        (
            ["trainer.max_steps", "trainer.max_epochs"],
            "train longer first, such as trainer.max_steps=40000 trainer.max_epochs=20",
        ),
        (["trainer.max_time"], "train longer first, with a larger trainer.max_time"),
        (["early stopping"], None),  # it stopped by itself
        ([], None),  # something else did
    ],
    ids=str,
)
def test_longer_is_said_only_of_the_limit_that_was_reached(
    ended_by: list[str], advice: str | None
) -> None:
    result = run(0.65, 0.65, {}, model=PLAIN, trainer=LONG, **STOPPER)
    found = verdict(result, curve([0.4, 0.5, 0.6, 0.64], RISING), ended_by)
    numbers = "train/accuracy 64.00 %, validation/accuracy 65.00 %"
    assert found == ([f"It underfits ({numbers}): {advice}."] if advice else [])


class Stop(pl.Callback):
    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        trainer.should_stop = trainer.global_step == 3


class Measured(BoringModel):
    def on_validation_epoch_end(self) -> None:
        self.log("validation/loss", 1.0)


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec")
@pytest.mark.parametrize(
    ("limits", "callbacks", "expected"),
    [
        ({"max_steps": 3, "max_epochs": 9}, [], ["trainer.max_steps"]),
        ({"max_steps": 30, "max_epochs": 2}, [], ["trainer.max_epochs"]),
        ({"max_steps": 4, "max_epochs": 2}, [], ["trainer.max_steps", "trainer.max_epochs"]),
        ({"max_epochs": -1, "max_time": {"milliseconds": 1}}, [], ["trainer.max_time"]),
        ({"max_epochs": 9, "max_time": "00:01:00:00"}, [Stop()], []),
        (
            {"max_epochs": 9, "max_steps": 30},
            [EarlyStopping("validation/loss", patience=1)],
            ["early stopping"],
        ),
        (
            {"max_epochs": 2},
            [EarlyStopping("validation/loss", patience=5)],
            ["trainer.max_epochs"],
        ),
    ],
)
def test_what_ended_a_training(
    limits: dict[str, Any], callbacks: list[pl.Callback], expected: list[str]
) -> None:
    trainer = pl.Trainer(
        accelerator="cpu",
        limit_train_batches=2,
        limit_val_batches=1,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=callbacks,
        **limits,
    )
    trainer.fit(Measured())
    assert ended_by(trainer) == expected


def test_a_training_that_stopped_by_itself_below_a_baseline_names_its_patience() -> None:
    result = run(0.65, 0.5, {"a": 0.9}, model=PLAIN, trainer=LONG, **STOPPER)
    _, sentence = verdict(result, FLAT, ["early stopping"])
    assert sentence.endswith(
        "early stopping ended it: raise callbacks.stop.patience, which is 2, or change "
        "model.optimizer.lr first."
    )


def test_a_model_that_learns_its_training_split_by_heart_does_not_underfit() -> None:
    # the best validation comes before it does so
    result = run(0.6, 0.6, {"a": 0.9})
    assert len(verdict(result, curve([0.5, 0.62, 0.9, 1.0], [0.5, 0.6, 0.55, 0.5]))) == 1


def test_a_baseline_within_chance_does_not_say_that_better_is_possible() -> None:
    [lost] = verdict(run(0.65, 0.78, {"b": 0.8}), FLAT)
    assert "within chance" in lost


@pytest.mark.parametrize("value", [0.8166666626930237, 0.816666])
def test_the_same_result_is_not_a_loss(value: float) -> None:
    # a metric has 32 bits, and a baseline 64
    assert verdict(run(0.8, value, {"majority class": 49 / 60}), []) == []


def test_a_baseline_without_a_number_and_a_metric_without_a_direction_say_nothing() -> None:
    assert verdict(run(0.8, 0.8, {"a": float("nan")}), []) == []
    assert verdict(run(0.8, 0.8, {"a": 0.7}, "coverage"), []) == []


@pytest.mark.parametrize(
    "key", ["output.label_smoothing", "scheduled_sampling", "training.adversarial"]
)
def test_a_loss_that_the_training_makes_harder_is_not_judged(key: str) -> None:
    group, _, option = key.rpartition(".")
    model = {**PLAIN, "output": {}, **({group: {option: 0.1}} if group else {key: 0.1})}
    history = curve([0.9, 0.8, 0.7, 0.6], [0.9, 0.8, 0.7, 0.6], "loss")
    assert verdict(run(0.6, 0.6, {}, "loss", model=model), history, ["trainer.max_epochs"]) == []


@pytest.mark.parametrize("model", [{}, {"encoder": {"hidden_size": 1}, "dropout": 0.5}], ids=str)
def test_advice_names_no_key_that_is_not_there_and_no_size_of_0(model: dict[str, Any]) -> None:
    [overfits] = verdict(run(0.8, 0.8, {}, model=model), curve([0.7, 0.95, 0.99, 1.0], PEAKED))
    assert overfits.endswith(": make the model smaller first.")
    _, underfits = verdict(run(0.8, 0.8, {"a": 0.95}, model={}), FLAT)
    assert underfits.endswith(": enlarge the model first.")


def forecast(
    train: list[float], validation: list[float], naive: tuple[float, float] | None, **more: Any
) -> list[str]:
    """What is said of errors, where those of a naive forecast are (train, validation)."""
    history = curve(train, validation, "mase")
    for row in history:  # that say something else, because the splits are other seasons
        row |= {"train/rmse": 5.0, "validation/rmse": 3.0, "train/r2": 0.1, "validation/r2": 0.9}
    result = run(min(validation), 0.5, {}, "mase", model={**MODEL, "dropout": 0.2})
    result["metrics"] |= {"validation/rmse": 3.0, "validation/r2": 0.9, "validation/loss": 1.0}
    if naive:
        result["baselines"] = {"train/mase": {"n": naive[0]}, "validation/mase": {"n": naive[1]}}
    return verdict({**result, **more}, history, ["trainer.max_epochs"])


def test_a_forecast_is_compared_with_naive_of_the_same_split() -> None:
    # the training is of a hard season: its error is larger, and still a fifth of naive's
    [sentence] = forecast([0.9, 0.8, 0.7, 0.6], [0.5, 0.4, 0.5, 0.6], (4.0, 0.5))
    assert sentence == (
        "It overfits (train/mase 0.8000 with dropout, 0.20 times n; validation/mase 0.4000, 0.80 "
        "times n after 49 % of the steps, the best): raise dropout first, such as "
        "model.dropout=0.5."
    )
    # the training is of an easy season: its error is a third, and as much of naive's
    assert forecast([0.2] * 4, [0.7, 0.6, 0.7, 0.7], (0.25, 0.75)) == []
    [sentence] = forecast([0.4, 0.3, 0.25, 0.2], [0.9, 0.8, 0.7, 0.6], (0.25, 0.75))
    assert sentence.startswith("It underfits (train/mase 0.2000 with dropout, 0.80 times n;")


def test_without_naive_nothing_is_said_of_a_forecast() -> None:
    assert forecast([0.9, 0.8, 0.7, 0.6], [0.5, 0.4, 0.3, 0.2], None) == []
    assert forecast([0.2, 0.1, 0.05, 0.05], [0.5, 0.4, 0.5, 0.6], None) == []


def test_a_recursive_forecast_learns_one_step_ahead_and_is_not_compared() -> None:
    assert forecast([0.1] * 4, [0.5, 0.4, 0.5, 0.6], (1.0, 1.0), head="every_step") == []


def test_numbers_are_compared_with_their_deviation_in_the_same_split() -> None:
    def said(train: list[float], validation: list[float]) -> list[str]:
        result = run(max(validation), 0.5, {}, "r2", model=PLAIN)
        result["metrics"]["validation/rmse"] = 1.0
        history = curve(train, validation, "r2")
        for row in history:  # a validation split that varies four times as much
            row |= {"train/rmse": 1.0, "validation/rmse": 4.0}
        return verdict(result, history, ["trainer.max_epochs"])

    assert said([0.5, 0.5, 0.5, 0.5], [0.45, 0.5, 0.48, 0.47]) == []
    [sentence] = said([0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.3, 0.4])
    assert sentence.startswith("It underfits (train/r2 0.4000, validation/r2 0.4000): train longer")
    [sentence] = said([0.5, 0.95, 0.99, 0.99], [0.4, 0.5, 0.45, 0.4])
    assert sentence.startswith("It overfits (train/r2 0.9500, validation/r2 0.5000 after 49 %")
    assert said([0.97, 0.98, 0.99, 0.99], [0.97, 0.98, 0.985, 0.99]) == []  # solved


def test_the_training_of_a_validation_within_an_epoch_is_that_of_the_steps_before() -> None:
    rows = [
        {"epoch": 0.0, "step": float(n), "train/accuracy_step": 0.1 + n / 100}
        for n in range(0, 60, 10)
    ]
    rows[2]["validation/accuracy"], rows[5]["validation/accuracy"] = 0.4, 0.6
    [sentence] = verdict(run(0.6, 0.6, {}), rows, ["trainer.max_epochs"])
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


def test_a_run_on_a_few_batches_tells_how_far_the_loss_fell() -> None:
    result = run(0.6, 0.6, {"a": 0.9}, trainer={**TRAINER, "overfit_batches": 3})
    [line] = verdict(result, curve([1.25, 0.5, 0.0125], [1.0, 1.0, 1.0], "loss"))
    assert line.startswith("train/loss fell from 1.25 to 0.0125 on the same batches")
    assert verdict(result, []) == []
