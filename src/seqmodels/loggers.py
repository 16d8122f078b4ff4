"""TensorBoard, W&B and MLflow: Lightning's loggers, one run for each run folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.loggers import MLFlowLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from matplotlib.image import imread

from seqmodels.errors import refusing
from seqmodels.installation import require


class RunLogger(Logger):
    """A logger that is told where a training starts, and shows the figures of the run."""

    def starts(self, trainer: pl.Trainer) -> None:
        """A training starts, or is resumed, at `trainer.global_step`, in any process."""

    def log_figures(self, figures: Sequence[Path], step: int) -> None:
        """Shows the figures (PNG), each by its file's name; in the first process."""


class TensorBoard(RunLogger, TensorBoardLogger):
    """Events in the run folder itself: `tensorboard --logdir runs` names each run after its folder,
    and hides what it had logged after the checkpoint that it is resumed from."""

    def __init__(self, folder: str) -> None:
        require("tensorboard", "logger=tensorboard", "tensorboard")
        super().__init__(folder, name="", version="", default_hp_metric=False)

    @rank_zero_only
    def starts(self, trainer: pl.Trainer) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        # as `purge_step` of the writer, which Lightning opens before it reads the checkpoint
        session = SessionLog(status=SessionLog.START)
        self.experiment.file_writer.add_event(Event(step=trainer.global_step, session_log=session))

    def log_figures(self, figures: Sequence[Path], step: int) -> None:
        for path in figures:
            self.experiment.add_image(path.stem, imread(path)[..., :3], step, dataformats="HWC")

    @rank_zero_only
    def save(self) -> None:
        self.experiment.flush()  # and no `hparams.yaml` beside config.yaml


class WandB(RunLogger, WandbLogger):
    """A W&B run named after its folder, and continued when it is resumed. `offline` keeps it in
    `wandb/` of the run folder; `options` are more arguments of `wandb.init`."""

    def __init__(self, folder: str, offline: bool = False, **options: Any) -> None:
        require("wandb", "logger=wandb", "wandb")
        import wandb

        # W&B names its own folders in there `run-20260101_120000-9kx2m1aq`, with the id of the run
        known = [path.name.rpartition("-")[2] for path in Path(folder, "wandb").glob("*run-*")]
        # not Lightning's `offline`, which sets WANDB_MODE for all that follows in this process
        options |= {"mode": "offline" if offline else None, "id": known[0] if known else None}
        super().__init__(name=Path(folder).resolve().name, save_dir=folder, **options)
        if not offline:
            with refusing("logger.wandb.offline=false", wandb.errors.UsageError):
                wandb.login()

    def log_figures(self, figures: Sequence[Path], step: int) -> None:
        self.log_image("figures", [str(path) for path in figures], step)

    def finalize(self, status: str) -> None:
        super().finalize(status)
        if status != "success" and self._experiment:  # a success of `fit` or `test` is not the end
            # else the next run of this process would continue this one
            self._experiment.finish(exit_code=int(status == "failed"))


class MLflow(RunLogger, MLFlowLogger):
    """An MLflow run named after its folder. A resumed run becomes another one of this name."""

    def __init__(self, folder: str, tracking_uri: str, **options: Any) -> None:
        require("mlflow", "logger=mlflow", "mlflow")
        if tracking_uri.startswith(file := "sqlite:///"):
            Path(tracking_uri.removeprefix(file)).parent.mkdir(parents=True, exist_ok=True)
        super().__init__(run_name=Path(folder).resolve().name, tracking_uri=tracking_uri, **options)

    def log_figures(self, figures: Sequence[Path], step: int) -> None:
        for path in figures:
            self.experiment.log_artifact(self.run_id, str(path), "figures")
