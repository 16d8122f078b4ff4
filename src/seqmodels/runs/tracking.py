"""What the loggers get besides metrics: hyper-parameters, figures, the end of the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.loggers import TensorBoardLogger

from seqmodels.loggers import RunLogger
from seqmodels.plain_values import flattened
from seqmodels.runs.folder import RunFolder

FACTS = ("task", "head", "reads", "parameters", "data", "fingerprint", "seed", "device")


def log_hyperparameters(trainer: pl.Trainer, result: Mapping[str, Any]) -> None:
    """Logs the configuration and the facts of a run.

    Args:
        result: what `result.json` holds so far.
    """
    facts = {name: result[name] for name in FACTS}
    facts["reads"] = " and ".join(facts["reads"])
    for logger in trainer.loggers:
        logger.log_hyperparams({**flattened(result["config"]), **facts})


@contextmanager
def open_loggers(trainer: pl.Trainer) -> Iterator[None]:
    """Closes the loggers of a run at its end: Lightning does after each of `fit` and `test`."""
    status = "failed"
    try:
        yield
        status = "finished"
    finally:
        for logger in trainer.loggers:
            logger.finalize(status)


@contextmanager
def without_loggers(trainer: pl.Trainer) -> Iterator[None]:
    """Within: nothing is logged."""
    loggers, trainer.loggers = trainer.loggers, []
    try:
        yield
    finally:
        trainer.loggers = loggers


def log_result(trainer: pl.Trainer, metrics: Mapping[str, float], folder: RunFolder) -> None:
    """Logs the validation of the best checkpoint, as `best_validation/...`, and the run's figures.

    Args:
        metrics: of the best checkpoint, `validation/...` among them.
    """
    step, figures = trainer.global_step, sorted(folder.figures.glob("*.png"))
    best = {f"best_{n}": v for n, v in metrics.items() if n.startswith("validation/")}
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):  # whose table of hyper-parameters needs a metric
            logger.log_hyperparams(logger.hparams, best, step)
        else:
            logger.log_metrics(best, step=step)
        if isinstance(logger, RunLogger):
            logger.log_figures(figures, step)
