"""TensorBoard, W&B and MLflow: Lightning's loggers, one run for each run folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import lightning.pytorch as pl
from lightning.pytorch.loggers import MLFlowLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from seqmodels.arguments import Passed
from seqmodels.errors import UserError, one_line
from seqmodels.files import write_json
from seqmodels.installation import require
from seqmodels.plain_values import read_json

Status = Literal["completed", "failed", "interrupted"]


class RunLogger(Logger):
    """A logger that stays open for a whole run: Lightning alone closes it after each of `fit`,
    `validate` and `test`. It is opened when it logs first, because a resume may still be refused.
    """

    folder: Path  # of the run
    is_open = False  # in the first process only

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        experiment = super().experiment  # type: ignore[misc]
        if not self.is_open:
            self.is_open = True
            self.opened(experiment)
        return experiment

    def opened(self, experiment: Any) -> None:
        """The run is open, new or resumed."""

    def starts(self, trainer: pl.Trainer) -> None:
        """A training starts, or is resumed, at `trainer.global_step`, in any process."""

    def log_pictures(self, pictures: Iterable[Path], step: int) -> None:
        """Shows the pictures (PNG) of the run, each by its file's name; in the first process."""

    def log_files(self, files: Iterable[Path]) -> None:
        """Keeps copies of the files; in the first process."""

    def finalize(self, status: str = "success") -> None:
        self.save()

    def close(self, status: Status) -> None:
        """The run has ended; only where the logger is open."""


class TensorBoard(RunLogger, TensorBoardLogger):
    """Events in the run folder itself: `tensorboard --logdir runs` names each run after its folder.
    A resumed run continues its file, without what was logged after the checkpoint.

    Args:
        folder: of the run.
        options: more arguments of `lightning.pytorch.loggers.TensorBoardLogger`.
    """

    def __init__(
        self,
        folder: str,
        **options: Annotated[Any, Passed("save_dir", "name", "version", "default_hp_metric")],
    ) -> None:
        require("tensorboard", "logger=tensorboard", "tensorboard")
        super().__init__(folder, name="", version="", default_hp_metric=False, **options)
        self.folder = Path(folder)
        self._first_step = 0
        self._earlier = sorted(self.folder.glob("events.out.tfevents.*"))  # of a run to resume
        self._columns: list[str] = []  # of the table of hyper-parameters

    def starts(self, trainer: pl.Trainer) -> None:
        self._first_step = trainer.global_step
        curves: Any = trainer.lightning_module.curves
        self._columns = [f"{split}/{n}" for split in ("best_validation", "test") for n in curves]

    def _continue(self) -> None:
        """Takes the events before the first step of a resumed run into the new file: only now,
        because Lightning opens it before a checkpoint is restored."""
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
        plain = {n: v if isinstance(v, str | int | float) else str(v) for n, v in params.items()}
        # Lightning would log a metric to go with them; these come at the end of the run
        for summary in hparams(plain, dict.fromkeys(self._columns, 0.0)):
            self.experiment.file_writer.add_summary(summary)
        self.save()

    def log_pictures(self, pictures: Iterable[Path], step: int) -> None:
        from matplotlib.image import imread

        for path in pictures:
            image = imread(path)
            self.experiment.add_image(path.stem, image[..., :3], step, dataformats="HWC")

    @rank_zero_only
    def save(self) -> None:
        if self.hparams:  # Lightning asks for it before they are logged, and would write {}
            super().save()
        elif self.is_open:
            self.experiment.flush()

    def close(self, status: Status) -> None:
        self.experiment.close()


def _events(file: Path) -> Iterable[Any]:
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event

    for raw in RawEventFileLoader(str(file)).Load():  # ends where the file was cut off
        event = Event.FromString(raw)
        if not any(value.tag.startswith("_hparams_/") for value in event.summary.value):
            yield event


class WandB(RunLogger, WandbLogger):
    """A W&B run named after its folder, and continued when it is resumed.

    Args:
        folder: of the run.
        offline: keep everything in `wandb/` of the run folder; `wandb sync` uploads it later.
        options: more arguments of `wandb.init`.

    Raises:
        UserError: if you are not logged in, unless it is offline.
    """

    def __init__(
        self,
        folder: str,
        offline: bool = False,
        **options: Annotated[Any, Passed("name", "save_dir", "id")],
    ) -> None:
        require("wandb", "logger=wandb", "wandb")
        import wandb

        self.folder = Path(folder)
        name, known = self.folder.resolve().name, _ids(self.folder).get("wandb")
        # not Lightning's `offline`, which sets WANDB_MODE for all that follows in this process
        mode = "offline" if offline else None
        super().__init__(name=name, save_dir=folder, id=known, mode=mode, **options)
        if offline or os.environ.get("WANDB_MODE") in ("offline", "dryrun", "disabled"):
            return
        try:
            wandb.login()
        except wandb.errors.UsageError as error:
            raise UserError(
                f"logger=wandb: {one_line(error)}; or set logger.wandb.offline=true"
            ) from error

    def opened(self, experiment: Any) -> None:
        _remember(self.folder, "wandb", experiment.id)

    def log_pictures(self, pictures: Iterable[Path], step: int) -> None:
        for path in pictures:
            self.log_image(path.stem, [str(path)], step)

    def log_files(self, files: Iterable[Path]) -> None:
        import wandb

        artifact = wandb.Artifact(f"run-{self.experiment.id}", type="model")
        for path in files:
            artifact.add_file(str(path))
        self.experiment.log_artifact(artifact, aliases=["best"])

    def close(self, status: Status) -> None:
        # otherwise the next run of this process would continue this one
        self.experiment.finish(exit_code=0 if status == "completed" else 1)


class MLflow(RunLogger, MLFlowLogger):
    """An MLflow run named after its folder, and continued when it is resumed.

    Args:
        folder: of the run.
        tracking_uri: where all runs are kept: `sqlite:///<file>`, or the address of a server.
        task_name, tags: kept as MLflow's tags `task_name` and `tags`.
        options: more arguments of `lightning.pytorch.loggers.MLFlowLogger`.
    """

    STATUS: Mapping[Status, str] = {
        "completed": "FINISHED",
        "failed": "FAILED",
        "interrupted": "KILLED",
    }

    def __init__(
        self,
        folder: str,
        tracking_uri: str,
        task_name: str | None = None,
        tags: Sequence[str] = (),
        **options: Annotated[Any, Passed("run_name", "run_id")],
    ) -> None:
        require("mlflow", "logger=mlflow", "mlflow")
        if tracking_uri.startswith("sqlite:///"):
            file = Path(tracking_uri.removeprefix("sqlite:///"))
            file.parent.mkdir(parents=True, exist_ok=True)
        self.folder = Path(folder)
        name, known = self.folder.resolve().name, self._known_run(tracking_uri)
        super().__init__(tracking_uri=tracking_uri, run_name=name, run_id=known, **options)
        values = {"task_name": task_name or "", "tags": ", ".join(tags)}
        self._own_tags = {k: v for k, v in values.items() if v or known}

    def _known_run(self, tracking_uri: str) -> str | None:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        known = _ids(self.folder).get("mlflow")
        try:
            return known and MlflowClient(tracking_uri).get_run(known).info.run_id
        except MlflowException:  # of another tracking server
            return None

    def opened(self, experiment: Any) -> None:
        experiment.update_run(self.run_id, status="RUNNING")
        for name, value in self._own_tags.items():
            experiment.set_tag(self.run_id, name, value)
        _remember(self.folder, "mlflow", str(self.run_id))

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        # MLflow refuses to change a parameter, as the longer training of a resumed run would
        data = self.experiment.get_run(self.run_id).data
        known, resumed = data.params, data.tags
        # as texts, because Lightning leaves out an empty list
        super().log_hyperparams({name: str(params[name]) for name in params.keys() - known.keys()})
        for name in known.keys() & params.keys():
            if str(params[name])[:250] != resumed.get(f"resumed.{name}", known[name]):
                self.experiment.set_tag(self.run_id, f"resumed.{name}", str(params[name]))

    def log_pictures(self, pictures: Iterable[Path], step: int) -> None:
        for path in pictures:
            self.experiment.log_artifact(self.run_id, str(path), "figures")

    def log_files(self, files: Iterable[Path]) -> None:
        for path in files:
            self.experiment.log_artifact(self.run_id, str(path))

    def close(self, status: Status) -> None:
        self.experiment.set_terminated(self.run_id, self.STATUS[status])


def _ids(folder: Path) -> dict[str, str]:
    """What loggers call the run of this folder, so that a resumed run goes there too."""
    file = folder / "loggers.json"
    ids: Any = read_json(file) if file.is_file() else {}
    if not isinstance(ids, dict):
        raise UserError(f"{file} does not name the loggers' runs: remove it")
    return {logger: str(name) for logger, name in ids.items()}


def _remember(folder: Path, logger: str, name: str) -> None:
    write_json(folder / "loggers.json", {**_ids(folder), logger: name})
