"""TensorBoard, with one event file for each run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from seqmodels.loggers.base import RunLogger, Status, require
from seqmodels.tasks import Task


class TensorBoard(TensorBoardLogger, RunLogger):
    """Lightning's logger, whose events are in the run folder itself: `tensorboard --logdir runs`
    names each run after its folder.

    A resumed run goes on in the same file, without what was logged after the checkpoint.

    Args:
        folder: of the run.
        options: as in `lightning.pytorch.loggers.TensorBoardLogger`.
    """

    finalize = RunLogger.finalize

    def __init__(self, folder: str, **options: Any) -> None:
        require("tensorboard")
        super().__init__(folder, name="", version="", default_hp_metric=False, **options)
        self.folder = Path(folder)
        self._first_step = 0
        self._earlier: list[Path] = []  # files of a run that is resumed
        self._columns: list[str] = []  # of the table of hyper-parameters

    def starts(self, trainer: pl.Trainer) -> None:
        self._first_step = trainer.global_step
        curves = cast(Task, trainer.lightning_module).curves
        self._columns = [f"{split}/{n}" for split in ("best_validation", "test") for n in curves]

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._experiment is None:  # Lightning opens it before a checkpoint is restored
            self._earlier = sorted(self.folder.glob("events.out.tfevents.*"))
        return super().experiment

    def _continue(self) -> None:
        """Takes the events before the first step of a resumed run into the new file."""
        writer = self.experiment.file_writer.event_writer
        for file in self._earlier:
            for event in _events(file):
                if event.HasField("summary") and event.step < self._first_step:
                    writer.add_event(event)
            file.unlink()
        self._earlier = []

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        self._continue()
        super().log_metrics(metrics, step)

    @rank_zero_only
    def log_hyperparams(self, params: Any, metrics: Any = None, step: int | None = None) -> None:
        from torch.utils.tensorboard.summary import hparams

        self._continue()
        self.hparams.update(params)
        plain = self._sanitize_params(params)
        # Lightning would log a metric to go with them; these come at the end of the run
        for summary in hparams(plain, dict.fromkeys(self._columns, 0.0)):
            self.experiment.file_writer.add_summary(summary)
        self.save()

    @rank_zero_only
    def log_pictures(self, pictures: Iterable[Path], step: int) -> None:
        from matplotlib.image import imread

        for path in pictures:
            image = imread(path)
            self.experiment.add_image(path.stem, image[..., :3], step, dataformats="HWC")

    @rank_zero_only
    def save(self) -> None:
        if self.hparams:  # Lightning asks for it before they are logged, and would write {}
            super().save()
        elif self._experiment is not None:
            self._experiment.flush()

    @rank_zero_only
    def close(self, status: Status) -> None:
        if self._experiment is not None:
            self._experiment.close()


def _events(file: Path) -> Iterable[Any]:
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event

    for raw in RawEventFileLoader(str(file)).Load():  # ends where the file was cut off
        event = Event.FromString(raw)
        if not any(value.tag.startswith("_hparams_/") for value in event.summary.value):
            yield event
