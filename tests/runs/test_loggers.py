"""What TensorBoard, W&B and MLflow hold after a run, read back with their own libraries."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from seqmodels.errors import UserError
from seqmodels.loggers import MLflow, TensorBoard, WandB
from seqmodels.plain_values import flattened
from seqmodels.runs.metrics_file import read_metrics
from tests.conftest import Refused, result_of, run_script
from tests.runs.resumed import Stop

LOGGERS = ("logger=[tensorboard,wandb,mlflow]", "logger.wandb.offline=true")
FIGURES = {"confusion_matrix", "learning_curves"}
STOP = f"{Stop.__module__}.Stop"  # an epoch has 14 steps: at step 29, after the last checkpoint


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run with all three, which crashed in its third epoch of four, then resumed."""
    place = tmp_path_factory.mktemp("loggers")
    own = ("seed=3", "model.encoder.hidden_size=12", "trainer=cpu", "trainer.max_epochs=4")
    own = (
        *own,
        "task_name=my_paper",
        "tags=[wide,a b]",
        "trainer.log_every_n_steps=5",
        "baseline=false",
        "hydra.run.dir=runs/mine",
    )
    with pytest.MonkeyPatch.context() as patch:
        for name in ("XDG_CACHE_HOME", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
            patch.setenv(name, str(place / name))
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        stop = (f"+callbacks.stop={{_target_:{STOP},step:33}}", f"allowed_targets=[{STOP}]")
        for status, words in ((1, (*own, *stop)), (0, (f"resume={place / 'runs' / 'mine'}",))):
            run_script(place, "train.py", *words, *LOGGERS, status=status)
        patch.chdir(place)
        yield place / "runs" / "mine"


def hyperparameters(run: Path) -> dict[str, str]:
    """What every logger should hold, as text."""
    result = result_of(run)
    config = OmegaConf.to_container(OmegaConf.load(run / "config.yaml"))
    stopping = ("callbacks.stop", "allowed_targets", "resume")
    expected = {k: v for k, v in flattened(config).items() if not k.startswith(stopping)}
    for name in ("parameters", "head", "seed", "fingerprint"):
        expected[name] = result[name]
    texts = {name: str(value) for name, value in expected.items()} | {"reads": "h_n"}
    empty = ("[]", "{}")  # which Lightning leaves out
    return {name: value for name, value in texts.items() if value not in empty}


def curve(run: Path, name: str) -> dict[int, float]:
    """The values of a metric in metrics.csv, by step."""
    rows = read_metrics(run / "metrics.csv")
    return {int(row["step"]): row[name] for row in rows if name in row}


def best(run: Path) -> dict[str, float]:
    metrics = result_of(run)["metrics"]
    return {name.replace("validation/", "best_validation/"): v for name, v in metrics.items()}


def test_tensorboard_shows_each_step_of_a_resumed_run_once(run: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.metadata import parse_session_start_info_plugin_data

    files = {*run.glob("**/events.out.tfevents.*")}
    assert {file.parent for file in files} == {run}  # it names a run after the folder of its files
    events = EventAccumulator(str(run), {"images": 0}).Reload()
    for name in ("train/loss_step", "train/loss", "validation/loss", "learning_rate"):
        points = events.Scalars(name)
        assert {p.step: p.value for p in points} == pytest.approx(curve(run, name))
        assert len(points) == len(curve(run, name)) >= 4
    for name, value in best(run).items():
        assert [event.value for event in events.Scalars(name)] == pytest.approx([value])
    assert set(events.Tags()["images"]) == FIGURES
    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    found = parse_session_start_info_plugin_data(content).hparams
    plain = {name: value.WhichOneof("kind") for name, value in found.items()}
    expected = hyperparameters(run)
    assert plain.keys() >= expected.keys()
    assert found["head"].string_value == expected["head"]
    assert found["parameters"].number_value == float(expected["parameters"])


def wandb_records(file: Path) -> Iterator[Any]:
    """The records in W&B's own file, which is a LevelDB log of protocol buffers."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, begun = file.read_bytes(), 7, b""
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:  # a header is never cut by the end of a block
            at += 32768 - at % 32768
            continue
        size, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        begun += content[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # all of a record, or its last part
            yield Record.FromString(begun)
            begun = b""


def test_wandb_continues_the_run_when_it_is_resumed(run: Path) -> None:
    files = sorted(run.glob("wandb/offline-run-*/*.wandb"))
    records = [list(wandb_records(file)) for file in files]
    runs = [next(r.run for r in part if r.HasField("run")) for part in records]
    assert [r.display_name for r in runs] == ["mine", "mine"] and runs[0].run_id == runs[1].run_id
    assert {(r.run_group, tuple(r.tags)) for r in runs} == {("my_paper", ("wide", "a b"))}
    assert [r.exit.exit_code for part in records for r in part if r.HasField("exit")] == [1, 0]
    resumed = records[1]
    config = {
        item.key: json.loads(item.value_json)
        for record in resumed
        if record.HasField("config")
        for item in record.config.update
    }
    assert {name: str(config[name]) for name in hyperparameters(run)} == hyperparameters(run)
    history = [
        {(item.key or "/".join(item.nested_key)): json.loads(item.value_json) for item in items}
        for part in records
        for items in (record.history.item for record in part if record.HasField("history"))
    ]
    for name in ("train/loss_step", "validation/loss"):
        points = {row["trainer/global_step"]: row[name] for row in history if name in row}
        assert points == pytest.approx(curve(run, name))
    last = {name: value for row in history for name, value in row.items()}
    assert {name: last[name] for name in best(run)} == pytest.approx(best(run))
    assert last["figures/count"] == len(FIGURES)


def test_mlflow_keeps_all_runs_in_one_database(run: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient("sqlite:///runs/mlflow.db")
    experiment = client.get_experiment_by_name("seqmodels")
    found = client.search_runs([experiment.experiment_id], order_by=["attribute.start_time"])
    assert [(r.info.run_name, r.info.status) for r in found] == [
        ("mine", "FAILED"),
        ("mine", "FINISHED"),  # the rest of it
    ]
    expected = {name: value[:250] for name, value in hyperparameters(run).items()}
    resumed = found[-1].data
    assert resumed.params.items() >= expected.items()
    for name in ("train/loss_step", "validation/loss"):
        histories = [client.get_metric_history(each.info.run_id, name) for each in found]
        points = {point.step: point.value for history in histories for point in history}
        assert points == pytest.approx(curve(run, name))
    assert {n: resumed.metrics[n] for n in best(run)} == pytest.approx(best(run))
    shown = {file.path for file in client.list_artifacts(found[-1].info.run_id, "figures")}
    assert shown == {f"figures/{name}.png" for name in FIGURES}


@pytest.mark.parametrize("package", ["tensorboard", "wandb", "mlflow"])
def test_a_missing_package_is_one_line(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    build = {
        "tensorboard": lambda: TensorBoard(str(tmp_path)),
        "wandb": lambda: WandB(str(tmp_path)),
        "mlflow": lambda: MLflow(str(tmp_path), "sqlite:///x.db"),
    }[package]
    with pytest.raises(UserError, match=rf"logger={package} needs .*pip install '.*{package}.*'$"):
        build()


def test_a_logger_writes_nothing_before_the_data_is_read(refused: Refused, tmp_path: Path) -> None:
    words = ("data=text", "data.train=nowhere.csv", "folder=mine", "trainer=cpu")
    assert "nowhere.csv: no such file" in refused("train.py", "logger=mlflow", *words)
    assert not list(tmp_path.iterdir())


def test_wandb_without_a_login_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match="logger.wandb.offline=false: .*wandb login"):
        WandB(str(tmp_path))
