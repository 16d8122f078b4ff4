"""What TensorBoard, W&B and MLflow show of a run that crashes and is resumed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import lightning.pytorch as pl
import pytest
from lightning.pytorch.callbacks import Callback

from seqmodels.runs.folder import read_metrics
from tests.conftest import result_of, run_script
from tests.runs.resumed import OWN, callback

FIGURES = ["confusion_matrix", "learning_curves"]


class Stop(Callback):
    """Ends the process of training as a crash would, after the checkpoint of step 28."""

    def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        if trainer.global_step == 33:
            raise RuntimeError("the power went out")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run with all of them, which crashed in its third epoch of four, then resumed."""
    place = tmp_path_factory.mktemp("loggers")
    loggers = ("logger=[tensorboard,wandb,mlflow]", "logger.wandb.offline=true")
    own = (*OWN, *callback(Stop), "folder=runs/mine")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("XDG_CACHE_HOME", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
            patch.setenv(name, str(place / name))
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        for status, words in ((1, own), (0, ("resume=runs/mine",))):
            run_script(place, "train.py", *words, *loggers, status=status)
        patch.chdir(place)
        yield place / "runs" / "mine"


def curve(run: Path, name: str) -> dict[int, float]:
    """The values of a metric in metrics.csv, by step."""
    rows = read_metrics(run / "metrics.csv")
    return {int(row["step"]): row[name] for row in rows if name in row}


def best(run: Path) -> dict[str, float]:
    metrics = result_of(run)["metrics"]
    return {name.replace("validation/", "best_validation/"): v for name, v in metrics.items()}


def test_tensorboard_shows_each_step_of_a_resumed_run_once(run: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    files = {*run.glob("**/events.out.tfevents.*")}
    assert {file.parent for file in files} == {run}  # it names a run after the folder of its files
    events = EventAccumulator(str(run), {"images": 0}).Reload()
    for name in ("train/loss_step", "train/loss", "validation/loss", "learning_rate"):
        points = [(point.step, point.value) for point in events.Scalars(name)]
        assert dict(points) == pytest.approx(curve(run, name)) and len(points) == len(dict(points))
    for name, value in best(run).items():
        assert [event.value for event in events.Scalars(name)] == pytest.approx([value])
    assert sorted(events.Tags()["images"]) == FIGURES
    assert "_hparams_/session_start_info" in events.summary_metadata


def test_wandb_continues_the_run_when_it_is_resumed(run: Path) -> None:
    files = [*run.glob("wandb/offline-run-*/*.wandb")]
    assert len(files) == 2 and len({file.stem for file in files}) == 1


def test_mlflow_keeps_all_runs_in_one_database(run: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient("sqlite:///runs/mlflow.db")
    experiment = client.get_experiment_by_name("seqmodels")
    found = client.search_runs([experiment.experiment_id], order_by=["attribute.start_time"])
    named = [(each.info.run_name, each.info.status) for each in found]
    assert named == [("mine", "FAILED"), ("mine", "FINISHED")]  # the rest of it
    for name in ("train/loss_step", "validation/loss"):
        histories = [client.get_metric_history(each.info.run_id, name) for each in found]
        points = {point.step: point.value for history in histories for point in history}
        assert points == pytest.approx(curve(run, name))
    resumed = found[-1].data
    assert {name: resumed.metrics[name] for name in best(run)} == pytest.approx(best(run))
    assert resumed.params["model.head"] == "max_pool" and resumed.params["data"] == "JapaneseVowels"
    shown = {file.path for file in client.list_artifacts(found[-1].info.run_id, "figures")}
    assert shown == {f"figures/{name}.png" for name in FIGURES}
