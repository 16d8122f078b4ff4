"""What loggers keep of a run: `metrics.csv` its rows in order, whenever it is saved, resumed or
killed; TensorBoard, W&B and MLflow what they show of two runs of one process: one crashes, one
ends."""

from __future__ import annotations

import io
from collections.abc import Iterator
from errno import ENOSPC
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import Mock

import lightning.pytorch as pl
import pytest
from lightning.pytorch.callbacks import Callback

from seqmodels.callbacks.checkpoints import LastCheckpoint
from seqmodels.errors import UserError
from seqmodels.runs import train
from seqmodels.runs.folder import read_metrics
from seqmodels.runs.metrics_file import MetricsFile
from tests.conftest import Config, result_of, run_script
from tests.runs.resumed import OWN, callback

FIGURES = ["confusion_matrix", "learning_curves", "steps"]


# ---------------------------------------------------------------- metrics.csv


def opened(folder: Path, step: int | None = None, epoch: int = 0) -> MetricsFile:
    """The file of a run, which is resumed at a step."""
    file = MetricsFile(str(folder))
    if step is not None:
        trainer = Mock(pl.Trainer, training=False, global_step=step, current_epoch=epoch)
        file.on_train_start(trainer, Mock(pl.LightningModule))
    return file


@pytest.mark.parametrize("seed", range(3))
def test_metrics_csv_is_its_rows_in_order_whenever_it_is_saved(tmp_path: Path, seed: int) -> None:
    random, file, rows, step = Random(seed), opened(tmp_path), dict[int, dict[str, float]](), 0
    for _ in range(200):
        if random.random() < 0.05:  # a resume replaces what is trained again
            file.save()
            step = random.randint(0, step + 2)
            file = opened(tmp_path, step, epoch=step // 10)
            rows = {at: row for at, row in rows.items() if at < step}
        step += random.choice((0, 0, 1, 2))
        at = step if random.random() < 0.9 else max(0, step - random.randint(0, 4))
        new = {"epoch": at // 10, random.choice("abcdef"): random.random()}
        file.log_metrics(new, step=at)
        rows.setdefault(at, {"step": at}).update(new)
        if random.random() < 0.3:
            file.save()
    file.save()
    assert read_metrics(tmp_path / "metrics.csv") == [rows[at] for at in sorted(rows)]


def test_a_kill_while_metrics_are_written_loses_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    file, path = opened(tmp_path), tmp_path / "metrics.csv"
    for step in (1, 3):
        file.log_metrics({"epoch": 0, "a": 1.0 * step}, step=step)
    file.save()
    before = path.read_bytes()
    file.log_metrics({"epoch": 0, "b": 4.0}, step=3)
    with monkeypatch.context() as within, pytest.raises(KeyboardInterrupt):
        for name in ("os.fsync", "pathlib.Path.replace", "os.replace"):
            within.setattr(name, killed)
        file.save()
    assert path.read_bytes() == before


def test_a_checkpoint_of_an_epoch_is_never_ahead_of_its_metrics(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = LastCheckpoint.on_train_epoch_end

    def killed(*arguments: Any) -> None:  # before Lightning logs the epoch
        save(*arguments)
        raise SystemExit

    monkeypatch.setattr(LastCheckpoint, "on_train_epoch_end", killed)
    with pytest.raises(SystemExit):
        train(config())
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()
    row = read_metrics(tmp_path / "run" / "metrics.csv")[-1]
    assert {"train/loss", "validation/loss"} <= row.keys()


@pytest.mark.parametrize("replaces", [False, True])
def test_a_kill_anywhere_in_the_last_line_loses_it_alone(tmp_path: Path, replaces: bool) -> None:
    file, path = opened(tmp_path), tmp_path / "metrics.csv"
    for step in range(4):
        file.log_metrics({"epoch": 0, "a": 0.5 + step, "b": 7.0}, step=step)
        file.save()
    if replaces:  # a validation adds to the row of the last step
        file.log_metrics({"b": 10.25}, step=3)
        file.save()
    content, rows = path.read_bytes(), read_metrics(path)
    start = content.rindex(b"\n", 0, -1) + 1
    assert content[start:] == (b"0,3,3.5,10.25\n" if replaces else b"0,3,3.5,7.0\n")
    for end in range(start, len(content)):
        path.write_bytes(content[:end])
        assert read_metrics(path) == rows[:-1]
        resumed = opened(tmp_path, step=3)
        resumed.log_metrics({"epoch": 0, "a": 3.5, "b": rows[-1]["b"]}, step=3)
        resumed.save()
        assert path.read_bytes() == content


def test_lines_that_cannot_be_added_are_one_sentence_and_come_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, path = opened(tmp_path), tmp_path / "metrics.csv"
    for step in range(3):
        file.log_metrics({"epoch": 0, "a": 100.0}, step=step)
        file.save()
    before = path.read_bytes()
    file.log_metrics({"a": 2.0}, step=2)
    full = Mock(side_effect=OSError(ENOSPC, "No space"))
    with monkeypatch.context() as within:
        within.setattr(Path, "open", full)
        with pytest.raises(UserError, match=r"metrics\.csv cannot be written: No space$"):
            file.save()
    assert path.read_bytes() == before
    file.save()
    assert path.read_bytes() == before.removesuffix(b"100.0\n") + b"2.0\n"


class Counted(io.BufferedWriter):
    """A file whose written bytes are counted."""

    total = 0

    def write(self, data: Any) -> int:
        Counted.total += len(data)
        return super().write(data)


def written_in(steps: int, folder: Path) -> int:
    """The bytes that a run writes which validates at every tenth step, and saves then."""
    folder.mkdir()
    file, Counted.total = opened(folder, step=0), 0
    for step in range(steps):
        file.log_metrics({"epoch": step // 10, "train/loss": 0.25}, step=step)
        if step % 10 == 9:
            file.save()
            file.log_metrics({"validation/loss": 0.5}, step=step)
            file.save()
            file.log_metrics({"epoch": step // 10, "validation/loss": 0.5}, step=step)
            file.save()
    assert len(read_metrics(file.path)) == steps
    return Counted.total


def test_what_a_run_writes_grows_as_its_rows_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def counted(path: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if mode in ("xb", "r+b"):
            return Counted(io.FileIO(path, mode.replace("b", "")))
        return path_open(path, mode, *arguments, **options)

    path_open = Path.open
    monkeypatch.setattr(Path, "open", counted)
    few, many = (written_in(steps, tmp_path / str(steps)) for steps in (200, 2000))
    assert few > 200 * len("0,0,0.25,\n")
    assert many < 11.5 * few  # the numbers of steps and epochs get longer, too


def test_a_file_that_somebody_removes_or_changes_during_a_run_is_written_again(
    tmp_path: Path,
) -> None:
    file, path = opened(tmp_path), tmp_path / "metrics.csv"
    file.log_metrics({"epoch": 0, "a": 1.0}, step=0)
    file.save()
    for step, remove in enumerate((path.unlink, lambda: path.write_text("mine")), start=1):
        remove()
        file.log_metrics({"epoch": 0, "a": 2.0}, step=step)
        file.save()
        assert [row["step"] for row in read_metrics(path)] == [*range(step + 1)]


# ---------------------------------------------------------------- other loggers


class Stop(Callback):
    """Ends the training of seed 4 in its second epoch of two."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        if self.seed == 4 and trainer.global_step == 19:
            raise RuntimeError("this job fails")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Path]]:
    """The runs of a sweep with all of them, by seed: 4, which fails, then 3."""
    place = tmp_path_factory.mktemp("loggers")
    loggers = ("logger=[tensorboard,wandb,mlflow]", "logger.wandb.offline=true")
    quick = ("seed=4,3", "trainer.max_epochs=2")
    words = (*OWN, *quick, *callback(Stop, seed="${seed}"), "hydra.sweep.dir=runs/mine")
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
