"""What the loggers get besides metrics: hyper-parameters, pictures, files, the end of the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

import lightning.pytorch as pl

from seqmodels.dataflow.rendering import write_png
from seqmodels.loggers import RunLogger, Status
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
    """Closes the loggers of a run at its end, with its status."""
    status: Status = "interrupted"
    try:
        yield
        status = "completed"
    except Exception:
        status = "failed"
        raise
    finally:
        for logger in _run_loggers(trainer):
            logger.close(status)


@contextmanager
def without_loggers(trainer: pl.Trainer) -> Iterator[None]:
    """Within: nothing is logged."""
    loggers, trainer.loggers = trainer.loggers, []
    try:
        yield
    finally:
        trainer.loggers = loggers


def log_result(trainer: pl.Trainer, metrics: Mapping[str, float], folder: RunFolder) -> None:
    """Logs the validation of the best checkpoint, as `best_validation/...`, and the run's pictures,
    configuration, overrides and best checkpoint if the logger keeps files.

    Args:
        metrics: of the best checkpoint, `validation/...` among them.
    """
    step = trainer.global_step
    best = {f"best_{n}": v for n, v in metrics.items() if n.startswith("validation/")}
    for logger in trainer.loggers:
        logger.log_metrics(best, step=step)
        logger.save()
    if not (loggers := _run_loggers(trainer)):
        return
    kept = (folder.config_file, folder.overrides_file, folder.checkpoint_file("best"))
    files = [file for file in kept if file.is_file()]
    with TemporaryDirectory() as temporary:
        pictures = sorted(folder.figures.glob("*.png"))
        if folder.dataflow.is_file():
            pictures.append(write_png(folder.dataflow, temporary))
        for logger in loggers:
            logger.log_pictures(pictures, step)
            logger.log_files(files)


def _run_loggers(trainer: pl.Trainer) -> list[RunLogger]:
    """The first process's loggers that show and keep more than numbers."""
    return [each for each in trainer.loggers if isinstance(each, RunLogger) and each.is_open]
