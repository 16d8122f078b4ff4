"""What a machine can do to a training: disks that fill, folders that vanish, bits that flip."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from seqmodels.errors import UserError
from seqmodels.runs import load_run
from seqmodels.runs.checkpoint import CheckpointFiles, read_checkpoint
from seqmodels.runs.metrics_file import read_metrics
from tests.conftest import Refused, Script, result_of
from tests.runs.resumed import OWN, resumes, same_run

# ---------------------------------------------------------------- faults in the second epoch


def limit_files(folder: Path) -> None:
    """To fewer bytes than a checkpoint has."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))


def fill(folder: Path) -> None:
    """The disk, but for a little less than a checkpoint."""
    free = shutil.disk_usage(folder).free
    (folder.parent / "filler").write_bytes(b"x" * (free - 20_000))


def forbid_writing(folder: Path) -> None:
    mount("--bind", str(folder), str(folder))
    mount("-o", "remount,ro,bind", str(folder))


def remove(folder: Path) -> None:
    shutil.rmtree(folder)


class Break(Callback):
    """Calls a function of this module with the run folder, at a step."""

    def __init__(self, function: str, step: int = 20) -> None:
        self.function, self.step = function, step

    def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        if trainer.global_step == self.step:
            globals()[self.function](Path(trainer.default_root_dir))


class Fail(Callback):
    """Fails in a step, or between two by the data."""

    def __init__(self, place: str) -> None:
        self.place = place

    def on_before_backward(self, trainer: pl.Trainer, *_: object) -> None:
        if trainer.global_step == 33 and self.place == "in a step":
            raise MemoryError("out of memory")

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        if trainer.global_step == 33 and self.place == "between two":
            trainer.train_dataloader.dataset.sequences = Broken()  # type: ignore[union-attr]


class Broken:
    """Sequences that cannot be read."""

    def __getitem__(self, number: int) -> torch.Tensor:
        torch.rand(3)
        raise OSError("the disk is gone")


def callback(kind: type[Callback], **arguments: object) -> tuple[str, str]:
    name = f"{kind.__module__}.{kind.__name__}"
    entry = ",".join([f"_target_:{name}", *(f"{key}:{v}" for key, v in arguments.items())])
    return f"+callbacks.fault={{{entry}}}", f"allowed_targets=[{name}]"


def mount(*arguments: str) -> None:
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    done = subprocess.run([*as_root, "mount", *arguments], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"this machine lets nobody mount a disk: {done.stderr}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 400 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", f"size=400k,uid={os.getuid()}", "tmpfs", str(folder))
    yield folder
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    subprocess.run([*as_root, "umount", "--recursive", str(folder)], check=True)


@pytest.fixture
def no_limit() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("fault", "status"),
    # a disk that takes nothing keeps the status that a killed run has
    [("limit_files", "failed"), ("fill", "failed"), ("forbid_writing", "interrupted")],
)
def test_what_cannot_be_written_ends_with_one_line_and_leaves_the_last_checkpoint(
    script: Script, disk: Path, no_limit: None, fault: str, status: str
) -> None:
    run = disk / "run"
    breaks = callback(Break, function=fault)
    done = script(
        "train.py", *OWN, *breaks, "callbacks.dataflow=null", f"hydra.run.dir={run}", status=2
    )
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "cannot be written" in done.stderr
    assert read_checkpoint(run / "checkpoints" / "last.ckpt")["global_step"] == 14
    assert result_of(run)["status"] == status
    assert f"saved after step 14; resume with seqmodels train resume={run}" in done.stdout
    assert not [path for path in run.rglob("*") if path.name.startswith(".")]


def test_a_folder_that_is_removed_while_it_is_trained_in_is_one_line(
    refused: Refused, tmp_path: Path
) -> None:
    breaks = callback(Break, function="remove")
    assert "cannot be written" in refused(
        "train.py", *OWN, *breaks, f"hydra.run.dir={tmp_path / 'run'}"
    )
    assert not (tmp_path / "run").exists()


LONG = ("trainer.max_epochs=60", "trainer.max_steps=50")  # it ends in its fourth epoch


@pytest.mark.parametrize(
    ("place", "more", "step"),
    [
        ("in a step", (), 28),
        ("in a step", ("callbacks.last.minutes=0.0", *LONG), 33),
        ("between two", (), 33),
        pytest.param("in a step", LONG, 28, marks=pytest.mark.long),
        pytest.param("between two", LONG, 33, marks=pytest.mark.long),
    ],
)
def test_after_an_exception_the_last_exact_state_is_resumed(
    script: Script, tmp_path: Path, place: str, more: tuple[str, ...], step: int
) -> None:
    own = (*OWN, "model.dropout=0.2", "callbacks.dataflow=null", *more)
    script("train.py", *own, "folder=whole")
    done = script("train.py", *own, *callback(Fail, place=place), "folder=cut", status=2)
    assert len(done.stderr.splitlines()) == 1
    assert f"failed; saved after step {step}; resume with" in done.stdout
    assert "resume=cut" in done.stdout
    assert result_of(tmp_path / "cut")["status"] == "failed"
    script("train.py", "resume=cut")
    same_run(tmp_path / "whole", tmp_path / "cut")
    rows = read_metrics(tmp_path / "cut" / "metrics.csv")
    assert [row["epoch"] for row in rows if "validation/loss" in row] == [0, 1, 2, 3]


def test_accumulated_gradients_are_not_lost(script: Script, tmp_path: Path) -> None:
    own = (*OWN, "trainer.accumulate_grad_batches=3", "callbacks.dataflow=null")
    resumes(script, tmp_path, *own, step=7)


def terminate(folder: Path) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


# ---------------------------------------------------------------- checkpoint files


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


def test_flipped_bits_are_noticed_by_all_who_read_a_checkpoint(
    refused: Refused, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    quick = (*OWN, "callbacks.dataflow=null", f"hydra.run.dir={run}")
    flips = callback(Break, function="flip_best", step=55)
    first_is_best = "callbacks.checkpoint.mode=max"  # so the last epoch does not replace it
    assert "best.ckpt is not a usable" in refused("train.py", *quick, *flips, first_is_best)
    assert result_of(run)["status"] == "failed"
    for name in ("evaluate.py", "predict.py"):
        more = ("input=-",) if name == "predict.py" else ()
        assert "best.ckpt is not a usable" in refused(name, f"run={run}", "accelerator=cpu", *more)


def flip_best(folder: Path) -> None:
    """In the directory of the zip file, at its end."""
    path = folder / "checkpoints" / "best.ckpt"
    flipped = bytearray(path.read_bytes())
    flipped[-200] ^= 1
    path.write_bytes(flipped)


# ---------------------------------------------------------------- the best checkpoint


class Given(Callback):
    """Logs a metric with these values, one a validation."""

    def __init__(self, values: list) -> None:
        self.values = values

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == "fit":
            pl_module.log("validation/given", float(self.values[trainer.current_epoch]))


def trained_by(script: Script, values: list[Any], *more: str, stops: bool) -> None:
    """A run in `run` whose best epoch is chosen by these values, ended and resumed if it stops."""
    given, broken = (f"{Given.__module__}.{name}" for name in ("Given", "Break"))
    own = (
        *OWN,
        "callbacks.dataflow=null",
        f"+callbacks.given={{_target_:{given},values:[{','.join(map(str, values))}]}}",
        "callbacks.checkpoint.monitor=validation/given",
        *(f"callbacks.checkpoint.{option}" for option in more),
        f"allowed_targets=[{given},{broken}]",
    )
    if stops:
        stop = f"+callbacks.stop={{_target_:{broken},function:terminate,step:33}}"
        script("train.py", *own, stop, "folder=run", status=143)
        own = tuple(word for word in own if word != "trainer=cpu")  # a group
    script("train.py", *own, "resume=run" if stops else "folder=run")


@pytest.mark.parametrize(
    ("values", "more", "best", "stops"),
    [
        ([0.3, 0.1, 0.2, 0.5], ["mode=min"], 2, True),
        (["nan", 0.1, 0.5, "nan"], ["mode=max"], 3, False),
        (["nan", 0.3, "nan", 0.5], ["mode=max"], 4, True),
    ],
)
def test_best_is_the_best_and_is_what_is_tested(
    script: Script, tmp_path: Path, values: list[Any], more: list[str], best: int, stops: bool
) -> None:
    run = tmp_path / "run"
    trained_by(script, values, *more, stops=stops)
    assert read_checkpoint(run / "checkpoints" / "best.ckpt")["global_step"] == 14 * best
    tested = load_run(run).evaluate("test", accelerator="cpu")
    metrics = result_of(run)["metrics"]
    assert tested == {k: v for k, v in metrics.items() if k.startswith("test/")}


@pytest.mark.parametrize("stops", [False, True])
def test_of_equally_good_states_the_one_with_the_smaller_loss_is_the_best(
    script: Script, tmp_path: Path, stops: bool
) -> None:
    trained_by(script, [0.2, 0.5, 0.5, 0.5], "mode=max", stops=stops)
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    losses = {row["step"] + 1: row["validation/loss"] for row in rows if "validation/loss" in row}
    tied = {step: loss for step, loss in losses.items() if step > 14}
    saved = read_checkpoint(tmp_path / "run" / "checkpoints" / "best.ckpt")
    assert saved["global_step"] == min(tied, key=tied.__getitem__) != 28
