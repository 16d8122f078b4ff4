"""A run whose best validation lies in its first half says which key shortens it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from seqmodels.engine.optimization import OneCycle
from seqmodels.runs.annealing import shorter_training

ONE_CYCLE = {"_target_": f"{OneCycle.__module__}.{OneCycle.__name__}"}
PLATEAU = {"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau"}


def said(
    scores: list[float],
    scheduler: Any = ONE_CYCLE,
    monitor: Any = "validation/mase",
    num_rows: int | None = None,
    **ends: int,
) -> str:
    """Of a training that is validated every 100 steps, in epochs of 250."""
    history: list[dict[str, float]] = []
    for number, score in enumerate(scores):
        step = 100.0 * number + 99
        history.append({"epoch": step // 250, "step": step, "train/loss": 0.0})
        history.append({"epoch": step // 250, "step": step, "validation/mase": score})
    kind = SimpleNamespace(metric="mase")
    task: Any = SimpleNamespace(contract=SimpleNamespace(kind=kind), allowed_targets=())
    callback = SimpleNamespace(monitor=monitor, mode="min")
    trainer = SimpleNamespace(
        checkpoint_callback=callback, **{"max_steps": -1, "max_epochs": -1, **ends}
    )
    return shorter_training(task, trainer, scheduler, history, num_rows)


EARLY = [1.4, 0.9, 1.2, 1.3, 1.1, 1.1, 1.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("ends", "key"),
    [
        ({"max_steps": 1000}, "trainer.max_steps=400"),
        ({"max_epochs": 4}, "trainer.max_epochs=2"),
        ({"max_epochs": 1}, "trainer.max_steps=400"),
        ({"max_epochs": 9, "max_steps": 1000}, "trainer.max_steps=400"),
    ],
)
@pytest.mark.parametrize("monitor", ["validation/mase", None])
def test_the_key_ends_it_after_twice_the_best_step(
    ends: dict[str, int], key: str, monitor: str | None
) -> None:
    sentence = said(EARLY, monitor=monitor, **ends)
    assert sentence.startswith(
        "The best validation (validation/mase 0.9000) was after step 200 of 1,000, before"
    )
    assert sentence.endswith(f": {key}.")


def test_few_rows_say_nothing() -> None:
    assert said(EARLY, max_steps=1000, num_rows=29) == ""
    assert said(EARLY, max_steps=1000, num_rows=30) != ""


@pytest.mark.parametrize(
    ("scores", "scheduler"),
    [
        (EARLY, PLATEAU),  # which doesn't follow the end of the training
        (EARLY, None),
        (EARLY[::-1], ONE_CYCLE),
        ([1.4, 0.9, 1.2, 0.9], ONE_CYCLE),  # as good at the end
        ([0.9, 1.2, 1.4], ONE_CYCLE),  # too few to say
        ([1.4, 0.9, 1.2, 1.3], ONE_CYCLE),  # in the middle
        ([float("nan")] * 9, ONE_CYCLE),
        ([], ONE_CYCLE),
    ],
)
def test_nothing_is_said_of_other_trainings(scores: list[float], scheduler: Any) -> None:
    assert said(scores, scheduler, max_steps=100 * len(scores)) == ""
