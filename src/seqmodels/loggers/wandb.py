"""Weights & Biases."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from seqmodels.errors import UserError, one_line
from seqmodels.loggers.base import RunLogger, Status, read_id, require, write_id

OFFLINE = ("offline", "dryrun", "disabled")  # values of WANDB_MODE


class WandB(WandbLogger, RunLogger):
    """Lightning's logger, for one W&B run each run folder: named after it, and continued when it is
    resumed.

    Args:
        folder: of the run.
        offline: keep everything in `wandb/` of the run folder; `wandb sync` uploads it later.
        options: as in `wandb.init`.

    Raises:
        UserError: if you are not logged in, unless it is offline.
    """

    finalize = RunLogger.finalize

    def __init__(self, folder: str, offline: bool = False, **options: Any) -> None:
        require("wandb")
        import wandb

        self.folder = Path(folder)
        name = self.folder.resolve().name
        # not Lightning's `offline`, which sets WANDB_MODE for all that follows in this process
        mode = "offline" if offline else None
        known = read_id(self.folder, "wandb")
        super().__init__(name=name, save_dir=folder, id=known, mode=mode, **options)
        if offline or os.environ.get("WANDB_MODE") in OFFLINE:
            return
        try:
            wandb.login()
        except wandb.errors.UsageError as error:
            raise UserError(
                f"logger=wandb: {one_line(error)}; or set logger.wandb.offline=true"
            ) from error

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._experiment is None:
            write_id(self.folder, "wandb", super().experiment.id)
        return self._experiment

    @rank_zero_only
    def log_pictures(self, pictures: Iterable[Path], step: int) -> None:
        for path in pictures:
            self.log_image(path.stem, [str(path)], step)

    @rank_zero_only
    def log_files(self, files: Iterable[Path]) -> None:
        import wandb

        artifact = wandb.Artifact(f"run-{self.experiment.id}", type="model")
        for path in files:
            artifact.add_file(str(path))
        self.experiment.log_artifact(artifact, aliases=["best"])

    @rank_zero_only
    def close(self, status: Status) -> None:
        if self._experiment is not None:  # otherwise the next run of this process would go on in it
            self._experiment.finish(exit_code=0 if status == "completed" else 1)
