"""TensorBoard, W&B and MLflow: Lightning's loggers, one run for each training of a run folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.loggers import MLFlowLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.loggers.logger import Logger
from matplotlib.image import imread

from seqmodels.errors import refusing
from seqmodels.installation import require
from seqmodels.plain_values import flattened

FACTS = ("task", "head", "reads", "parameters", "data", "fingerprint", "seed", "device")


class TensorBoard(TensorBoardLogger):
    """Events in the run folder itself: `tensorboard --logdir runs` names each run after it."""

    def __init__(self, folder: str) -> None:
        require("tensorboard", "logger=tensorboard", "tensorboard")
        super().__init__(folder, name="", version="", default_hp_metric=False)


class WandB(WandbLogger):
    """A W&B run named after its folder, where `offline` keeps it; `options` are its others."""

    def __init__(self, folder: str, offline: bool = False, **options: Any) -> None:
        require("wandb", "logger=wandb", "wandb")
        import wandb

        # Else this run would continue an earlier one of this process.
        wandb.finish()
        name = Path(folder).resolve().name
        super().__init__(name=name, save_dir=folder, offline=offline, **options)
        if not offline:
            with refusing("logger.wandb.offline=false", wandb.errors.UsageError):
                wandb.login()

    def finalize(self, status: str) -> None:
        super().finalize(status)
        # `fit` and `test` are successful before a run ends.
        if status != "success" and self._experiment:
            self._experiment.finish(exit_code=int(status == "failed"))


class MLflow(MLFlowLogger):
    """An MLflow run named after its folder."""

    def __init__(self, folder: str, tracking_uri: str, **options: Any) -> None:
        require("mlflow", "logger=mlflow", "mlflow")
        if tracking_uri.startswith("sqlite:///"):
            database = Path(tracking_uri.removeprefix("sqlite:///"))
            database.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(run_name=Path(folder).resolve().name, tracking_uri=tracking_uri, **options)


def log_hyperparameters(trainer: pl.Trainer, result: Mapping[str, Any]) -> None:
    """Logs the configuration and the facts of a run, of what `result.json` holds so far."""
    facts = {name: result[name] for name in FACTS}
    facts["reads"] = " and ".join(result["reads"])
    for logger in trainer.loggers:
        logger.log_hyperparams({**flattened(result["config"]), **facts})


def log_result(trainer: pl.Trainer, metrics: Mapping[str, float], figures: Sequence[Path]) -> None:
    """Logs the validation of the best checkpoint, as `best_validation/...`, and the run's figures,
    and closes the loggers."""
    step = trainer.global_step
    best_metrics = {
        f"best_{name}": value for name, value in metrics.items() if name.startswith("validation/")
    }
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            # Its table of hyper-parameters needs a metric.
            logger.log_hyperparams(logger.hparams, best_metrics, step)
        else:
            logger.log_metrics(best_metrics, step=step)
        for path in figures:
            _show(logger, path, step)
        logger.finalize("finished")


def _show(logger: Logger, figure: Path, step: int) -> None:
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_image(figure.stem, imread(figure)[..., :3], step, dataformats="HWC")
    elif isinstance(logger, WandbLogger):
        logger.log_image(f"figures/{figure.stem}", [str(figure)], step)
    elif isinstance(logger, MLFlowLogger):
        logger.experiment.log_artifact(logger.run_id, str(figure), "figures")
