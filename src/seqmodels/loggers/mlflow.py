"""MLflow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import MLFlowLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from seqmodels.loggers.base import RunLogger, Status, read_id, require, write_id

STATUS: Mapping[Status, str] = {
    "completed": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
}
SQLITE = "sqlite:///"


class MLflow(MLFlowLogger, RunLogger):
    """Lightning's logger, for one MLflow run each run folder: named after it, and continued when it
    is resumed.

    Args:
        folder: of the run.
        tracking_uri: where all runs are kept: `sqlite:///<file>`, or the address of a server.
        task_name, tags: kept as MLflow's tags `task_name` and `tags`.
        options: as in `lightning.pytorch.loggers.MLFlowLogger`.
    """

    finalize = RunLogger.finalize

    def __init__(
        self,
        folder: str,
        tracking_uri: str,
        task_name: str | None = None,
        tags: Sequence[str] = (),
        **options: Any,
    ) -> None:
        require("mlflow")
        if tracking_uri.startswith(SQLITE):
            Path(tracking_uri.removeprefix(SQLITE)).parent.mkdir(parents=True, exist_ok=True)
        self.folder = Path(folder)
        name = self.folder.resolve().name
        super().__init__(tracking_uri=tracking_uri, run_name=name, **options)
        self._run_id = self._known_run()
        values = {"task_name": task_name or "", "tags": ", ".join(tags)}
        self._own_tags = {k: v for k, v in values.items() if v or self._run_id is not None}

    def _known_run(self) -> str | None:
        from mlflow.exceptions import MlflowException

        known = read_id(self.folder, "mlflow")
        try:
            return known and self._mlflow_client.get_run(known).info.run_id
        except MlflowException:  # of another tracking server
            return None

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if not self._initialized:
            client = super().experiment
            client.update_run(self._run_id, status="RUNNING")
            for name, value in self._own_tags.items():
                client.set_tag(self._run_id, name, value)
            write_id(self.folder, "mlflow", str(self._run_id))
        return self._mlflow_client

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        # MLflow refuses to change a parameter, as the longer training of a resumed run would
        data = self.experiment.get_run(self.run_id).data
        known, resumed = data.params, data.tags
        super().log_hyperparams({name: params[name] for name in params.keys() - known.keys()})
        for name in known.keys() & params.keys():
            if str(params[name])[:250] != resumed.get(f"resumed.{name}", known[name]):
                self.experiment.set_tag(self.run_id, f"resumed.{name}", str(params[name]))

    @rank_zero_only
    def log_pictures(self, pictures: Iterable[Path], step: int) -> None:
        for path in pictures:
            self.experiment.log_artifact(self.run_id, str(path), "figures")

    @rank_zero_only
    def log_files(self, files: Iterable[Path]) -> None:
        for path in files:
            self.experiment.log_artifact(self.run_id, str(path))

    @rank_zero_only
    def close(self, status: Status) -> None:
        if self._initialized:
            self.experiment.set_terminated(self.run_id, STATUS[status])
