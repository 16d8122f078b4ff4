"""What a machine can do to a training: disks that fill, errors, kills, bits that flip."""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import resource
import time
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from seqmodels.errors import UserError
from seqmodels.files import write_text, written_whole
from seqmodels.runs import load_run
from seqmodels.runs.checkpoint import CheckpointFiles, read_checkpoint
from seqmodels.runs.folder import read_metrics
from seqmodels.screen import logging_to
from tests.conftest import Script, result_of, run_script
from tests.runs.resumed import OWN, QUICK, Copy, Fail, callback, same_run

# ---------------------------------------------------------------- faults in the second epoch


class FullDisk(Callback):
    """Limits files to fewer bytes than a checkpoint has."""

    def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        if trainer.global_step == 20:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))


def test_a_full_disk_ends_with_one_line_and_leaves_the_last_checkpoint(
    script: Script, tmp_path: Path
) -> None:
    run, limit = tmp_path / "run", resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        done = script("train.py", *QUICK, *callback(FullDisk), "folder=run", status=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    [line] = done.stderr.splitlines()
    assert "cannot be written" in line and result_of(run)["status"] == "failed"
    assert read_checkpoint(run / "checkpoints" / "last.ckpt")["global_step"] == 14
    assert "saved after step 14; resume with seqmodels train resume=run" in done.stdout
    assert not [path for path in run.rglob("*") if path.name.startswith(".")]


@pytest.mark.parametrize(
    ("size", "name"),
    [
        (1_500, "config.yaml"),
        (5_000, "dataflow.svg"),
        (20_000, "checkpoints/best.ckpt"),
        pytest.param(60_000, "figures/steps.png", marks=pytest.mark.pictures),
    ],
)
def test_a_full_disk_names_the_file(script: Script, size: int, name: str) -> None:
    """Here, one that takes files up to a size."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limit[1]))
        done = script("train.py", *OWN, "model.encoder.hidden_size=4", "folder=run", status=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    [line] = done.stderr.splitlines()
    assert f"run/{name} cannot be written" in line and "File too large" in line


def test_another_file_that_cannot_be_read_is_not_the_one_that_is_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="not_there"), written_whole(tmp_path / "a") as file:
        file.write((tmp_path / "not_there").read_bytes())
    with pytest.raises(UserError, match="b/a cannot be written: No such file"):
        write_text(tmp_path / "b" / "a", "text")
    assert [*tmp_path.iterdir()] == []


def test_a_log_on_a_full_disk_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to(Path("/dev/full")):
        logging.getLogger("mine").warning("a line")
    assert capsys.readouterr().err == ""


DROPPING = (*QUICK, "model.dropout=0.2")  # so that random numbers count


@pytest.fixture(scope="module")
def dropping(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing happens to."""
    run = tmp_path_factory.mktemp("dropping") / "whole"
    run_script(run.parent, "train.py", *DROPPING, f"folder={run}")
    return run


@pytest.mark.parametrize(
    ("place", "minutes", "step"),
    [
        ("in a step", 5.0, 28),
        ("as it begins", 5.0, 28),
        ("in a step", 0.0, 33),
        ("between two", 5.0, 28),
    ],
)
def test_after_an_exception_the_last_exact_state_is_resumed(
    script: Script, dropping: Path, tmp_path: Path, place: str, minutes: float, step: int
) -> None:
    own = (*DROPPING, f"callbacks.last.minutes={minutes}")
    fail = callback(Fail, place=place)
    done = script("train.py", *own, *fail, "folder=cut", status=2)
    assert len(done.stderr.splitlines()) == 1
    assert f"failed; saved after step {step}; resume with seqmodels train resume=cut" in done.stdout
    assert result_of(tmp_path / "cut")["status"] == "failed"
    script("train.py", "resume=cut")
    same_run(dropping, tmp_path / "cut")
    rows = read_metrics(tmp_path / "cut" / "metrics.csv")
    assert [row["epoch"] for row in rows if "validation/loss" in row] == [0, 1, 2, 3]


# ---------------------------------------------------------------- checkpoint files


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.ckpt"
    CheckpointFiles().save_checkpoint({"weights": torch.arange(5)}, path)
    before = path.read_bytes()
    monkeypatch.setattr("zipfile.ZipFile.testzip", lambda _: "its first part")
    with pytest.raises(UserError, match=r"last\.ckpt cannot be written \(.*free some space"):
        CheckpointFiles().save_checkpoint({"weights": torch.arange(9)}, path)
    assert path.read_bytes() == before and [f.name for f in tmp_path.iterdir()] == ["last.ckpt"]


def write_for_ever(path: Path) -> None:
    for number in itertools.count(1):
        weights = torch.full((1_000_000,), number)
        content = {"state_dict": {"w": weights}, "hyper_parameters": {}, "number": number}
        CheckpointFiles().save_checkpoint(content, path)


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # it starts at once
def test_a_kill_during_a_write_leaves_a_whole_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", "/dev/shm")  # another file system, where nothing may be renamed to
    path = tmp_path / "last.ckpt"
    for delay in range(6):
        writing = multiprocessing.get_context("fork").Process(target=write_for_ever, args=(path,))
        writing.start()
        while not path.exists() or not path.with_name(".last.ckpt").exists():
            time.sleep(0)
        time.sleep(0.004 * delay)
        writing.kill()
        writing.join()
        content = read_checkpoint(path if path.exists() else path.with_name("previous.ckpt"))
        assert bool((content["state_dict"]["w"] == content["number"]).all())
    names = {file.name for file in tmp_path.iterdir()}
    assert names <= {"last.ckpt", "previous.ckpt", ".last.ckpt"}


def test_every_flipped_bit_is_noticed_that_changes_a_value(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    content = {"state_dict": {"w": torch.arange(5), "b": torch.ones(2)}, "hyper_parameters": {}}
    CheckpointFiles().save_checkpoint(content, path)
    assert torch.load(path, weights_only=True)["state_dict"]["w"].tolist() == [0, 1, 2, 3, 4]
    whole, noticed = path.read_bytes(), []
    for place in range(0, len(whole), 3):  # tensors, names, the zip file's directory, its padding
        flipped = bytearray(whole)
        flipped[place] ^= 1 << (place % 8)
        path.write_bytes(flipped)
        try:
            read = read_checkpoint(path)
        except UserError as error:
            assert "best.ckpt is not a usable checkpoint" in str(error)
            noticed.append(place)
            continue
        assert read["hyper_parameters"] == {} and [*read["state_dict"]] == ["w", "b"]
        assert all(value.equal(content["state_dict"][k]) for k, value in read["state_dict"].items())
    assert len(noticed) > 100


# ---------------------------------------------------------------- the best checkpoint


class Given(Callback):
    """Logs a metric with these values, one a validation."""

    def __init__(self, values: list) -> None:
        self.values = values

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == "fit":
            pl_module.log("validation/given", float(self.values[trainer.current_epoch]))


@pytest.mark.parametrize(
    ("values", "mode", "best"),
    [
        ("0.3,0.1,0.2,0.5", "min", [1]),
        ("nan,0.3,nan,0.5", "max", [3]),
        ("0.2,0.5,0.5,0.5", "max", [1, 2, 3]),  # of these, the one with the smallest loss
    ],
)
def test_best_is_the_best_and_is_what_is_tested(
    script: Script, tmp_path: Path, values: str, mode: str, best: list[int]
) -> None:
    given = callback(Given, values=f"[{values}]")
    choose = ("callbacks.checkpoint.monitor=validation/given", f"callbacks.checkpoint.mode={mode}")
    copied = callback(Copy, to=tmp_path / "resumed", step=34)
    all_rows = "trainer.limit_test_batches=1.0"  # as an evaluation reads them
    script("train.py", *QUICK, all_rows, *given, *choose, *copied, "folder=whole")
    script("train.py", "resume=resumed", *given)
    whole, resumed = (result_of(tmp_path / run)["metrics"] for run in ("whole", "resumed"))
    assert resumed.items() <= whole.items()
    for run in (tmp_path / "whole", tmp_path / "resumed"):
        rows = read_metrics(run / "metrics.csv")
        losses = [row["validation/loss"] for row in rows if "validation/loss" in row]
        expected = min(best, key=losses.__getitem__)
        assert len(best) == 1 or expected > best[0]
        saved = read_checkpoint(run / "checkpoints" / "best.ckpt")
        assert saved["global_step"] == 14 * (1 + expected)
        tested = {k: v for k, v in result_of(run)["metrics"].items() if k.startswith("test/")}
        assert load_run(run).evaluate("test", accelerator="cpu") == tested


def test_a_checkpoint_that_cannot_be_read_is_answered_with_those_beside_it(tmp_path: Path) -> None:
    (tmp_path / "best.ckpt").touch()
    for said in ("no such checkpoint; take .*: best.ckpt$", "not a usable .*: best.ckpt$"):
        with pytest.raises(UserError, match=said):
            read_checkpoint(tmp_path / "last.ckpt")
        (tmp_path / "last.ckpt").write_text("cut")
