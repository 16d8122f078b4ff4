"""What TensorBoard, W&B and MLflow show of two runs of one process: one crashes, one ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import lightning.pytorch as pl
import pytest
from lightning.pytorch.callbacks import Callback

from seqmodels.runs.folder import read_metrics
from tests.conftest import result_of, run_script
from tests.runs.resumed import OWN, callback

FIGURES = ["confusion_matrix", "learning_curves", "steps"]


class Stop(Callback):
    """Ends the training of seed 4 in its third epoch of four."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        if self.seed == 4 and trainer.global_step == 33:
            raise RuntimeError("this job fails")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Path]]:
    """The runs of a sweep with all of them, by seed: 4, which fails, then 3."""
    place = tmp_path_factory.mktemp("loggers")
    loggers = ("logger=[tensorboard,wandb,mlflow]", "logger.wandb.offline=true")
    words = (*OWN, "seed=4,3", *callback(Stop, seed="${seed}"), "hydra.sweep.dir=runs/mine")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("XDG_CACHE_HOME", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
            patch.setenv(name, str(place / name))
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.delenv("WANDB_MODE", raising=False)
        run_script(place, "train.py", "-m", *words, *loggers, status=1)
        patch.chdir(place)
        found = [path.parent for path in place.glob("runs/mine/*/result.json")]
        yield {result_of(run)["seed"]: run for run in found}


def curve(run: Path, name: str) -> dict[int, float]:
    """The values of a metric in metrics.csv, by step."""
    rows = read_metrics(run / "metrics.csv")
    return {int(row["step"]): row[name] for row in rows if name in row}


def best(run: Path) -> dict[str, float]:
    metrics = result_of(run)["metrics"]
    return {name.replace("validation/", "best_validation/"): v for name, v in metrics.items()}


def test_tensorboard_shows_each_step_the_figures_and_the_hyperparameters(
    runs: dict[int, Path],
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = runs[3]
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


def test_wandb_keeps_each_run_of_a_process_in_its_own_folder(runs: dict[int, Path]) -> None:
    for run in runs.values():
        assert len([*run.glob("wandb/offline-run-*/*.wandb")]) == 1


def test_mlflow_keeps_all_runs_in_one_database(runs: dict[int, Path]) -> None:
    from mlflow import MlflowClient

    client = MlflowClient("sqlite:///runs/mlflow.db")
    experiment = client.get_experiment_by_name("seqmodels")
    found = client.search_runs([experiment.experiment_id], order_by=["attribute.start_time"])
    named = [(each.info.run_name, each.info.status) for each in found]
    assert named == [(runs[4].name, "FAILED"), (runs[3].name, "FINISHED")]
    for each, seed in zip(found, (4, 3), strict=True):
        for name in ("train/loss_step", "validation/loss"):
            history = client.get_metric_history(each.info.run_id, name)
            points = {point.step: point.value for point in history}
            assert points == pytest.approx(curve(runs[seed], name))
    ended, expected = found[-1].data, best(runs[3])
    assert {name: ended.metrics[name] for name in expected} == pytest.approx(expected)
    assert ended.params["model.head"] == "max_pool" and ended.params["data"] == "JapaneseVowels"
    shown = {file.path for file in client.list_artifacts(found[-1].info.run_id, "figures")}
    assert shown == {f"figures/{name}.png" for name in FIGURES}
