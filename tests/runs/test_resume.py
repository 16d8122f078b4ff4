"""A run folder is enough to resume: nothing else is given again, and nothing is lost."""

from __future__ import annotations

import fcntl
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import OmegaConf

from seqmodels import compose
from seqmodels.errors import UserError
from seqmodels.runs import fit, load_run, prepare, train
from seqmodels.runs.checkpoint import CheckpointFiles, check_whole, read_checkpoint
from seqmodels.runs.folder import RunFolder
from seqmodels.runs.lock import is_locked, locked
from seqmodels.runs.metrics_file import read_metrics
from seqmodels.runs.resume import checkpoint_to_resume, find_resume
from seqmodels.runs.training import _load_best
from tests.conftest import Config, Refused, Script, result_of, run_script
from tests.runs.resumed import OWN, content, resumes, same_run, stopped_by


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `whole`, a run, and `cut`, the same run, ended by SIGTERM in its third epoch of
    four; and with copies of both in `copies`."""
    place = tmp_path_factory.mktemp("trained")
    for name, status, stop in (("whole", 0, ()), ("cut", 143, stopped_by(signal.SIGTERM))):
        words = (*OWN, *stop, f"hydra.run.dir={place / name}")
        run_script(place, "train.py", *words, status=status)
        shutil.copytree(place / name, place / "copies" / name)
    return place


def as_it_was(run: Path) -> Path:
    """A run of `trained`, in its own folder, before any test did something to it."""
    shutil.rmtree(run, ignore_errors=True)
    return shutil.copytree(run.parent / "copies" / run.name, run)


@pytest.fixture
def whole(trained: Path) -> Path:
    return as_it_was(trained / "whole")


@pytest.fixture
def cut(trained: Path) -> Path:
    return as_it_was(trained / "cut")


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_saves_the_run_and_says_how_to_resume_it(
    script: Script, tmp_path: Path, number: int, status: int
) -> None:
    done = script(
        "train.py", *OWN, *stopped_by(number), f"hydra.run.dir={tmp_path / 'run'}", status=status
    )
    assert "Traceback" not in done.stderr
    resume = f"saved after step 34; resume with seqmodels train resume={tmp_path / 'run'}"
    assert resume in done.stdout
    assert result_of(tmp_path / "run")["status"] == "interrupted"
    last = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert last["global_step"] == 34  # the step that the signal met was finished


def test_resumed_by_its_folder_alone_it_is_the_uninterrupted_run(
    script: Script, whole: Path, cut: Path
) -> None:
    beginning = {name: (cut / name).read_bytes() for name in ("config.yaml", "overrides.yaml")}
    script("train.py", f"resume={cut}")
    same_run(whole, cut)
    for name, before in beginning.items():
        assert (cut / name).read_bytes() == before
    result = result_of(cut)
    assert (result["head"], result["seed"], len(result["resumed"])) == ("max_pool", 3, 1)


@pytest.mark.parametrize(
    ("step", "validating", "interval"),
    [
        pytest.param(41, False, 1.0, marks=pytest.mark.long),  # the last step of an epoch
        (42, True, 1.0),  # its validation
        pytest.param(56, True, 1.0, marks=pytest.mark.long),  # that of the last epoch
        # the step before a validation inside an epoch
        pytest.param(34, False, 7, marks=pytest.mark.long),
        (35, True, 7),  # that validation
    ],
)
def test_a_signal_is_harmless_wherever_it_comes(
    script: Script, tmp_path: Path, step: int, validating: bool, interval: float
) -> None:
    own = (*OWN, f"trainer.val_check_interval={interval}")
    resumes(script, tmp_path, *own, step=step, validating=validating)


def test_the_same_command_again_resumes_too(script: Script, whole: Path, cut: Path) -> None:
    script("train.py", *(word for word in OWN if word != "trainer=cpu"), f"resume={cut}")
    same_run(whole, cut)


def test_a_run_that_was_killed_before_its_first_checkpoint_starts_again(
    script: Script, whole: Path, cut: Path
) -> None:
    shutil.rmtree(cut / "checkpoints")
    beginning = {name: (cut / name).read_bytes() for name in ("config.yaml", "overrides.yaml")}
    done = script("train.py", f"resume={cut}")
    assert "starts again from the beginning" in done.stdout, done.stderr
    same_run(whole, cut)
    for name, before in beginning.items():
        assert (cut / name).read_bytes() == before


def test_values_of_the_command_line_are_laid_on_top(script: Script, cut: Path) -> None:
    own = ("callbacks.last.minutes=0.001", "tags=[a]")
    done = script("train.py", f"resume={cut}", *own)
    assert "tags: [] -> ['a']" in done.stdout or "tags:" in done.stdout
    assert "callbacks.last.minutes: 5.0 -> 0.001" in done.stdout
    result = result_of(cut)
    assert result["config"]["callbacks"]["last"]["minutes"] == 0.001
    assert result["config"]["tags"] == ["a"]


LONGER = ("trainer.max_epochs=6", "model.optimizer.lr=0.002", "trainer.log_every_n_steps=3")


def configuration(run: Path) -> dict[str, Any]:
    """Without what only a test needs, and where the run lies."""
    config = load_run(run).config
    return {key: config[key] for key in ("model", "data", "trainer", "seed", "baseline")}


@pytest.fixture(scope="module")
def longer(trained: Path) -> Path:
    """`cut`, resumed to train LONGER."""
    run = shutil.copytree(trained / "copies" / "cut", trained / "longer")
    run_script(trained, "train.py", f"resume={run}", *LONGER)
    return run


@pytest.mark.parametrize("end", ["signal", "kill", "kill before the first step"])
def test_what_a_resume_changes_lasts(script: Script, cut: Path, longer: Path, end: str) -> None:
    beginning = (cut / "config.yaml").read_bytes()
    stop = stopped_by(signal.SIGTERM, step=34 if "first step" in end else 50)
    script("train.py", f"resume={cut}", *LONGER, *stop, status=143)
    if "kill" in end:  # which leaves the checkpoint from before the change
        shutil.rmtree(cut / "checkpoints")
        shutil.copytree(cut.parent / "copies" / "cut" / "checkpoints", cut / "checkpoints")
    script("train.py", f"resume={cut}")
    same_run(longer, cut)
    assert (cut / "config.yaml").read_bytes() == beginning
    stretches = OmegaConf.load(cut / "overrides.yaml")
    assert [stretch.step for stretch in stretches] == [0, 34]
    assert list(stretches[1].overrides)[:4] == [f"resume={cut}", *LONGER]
    assert stretches[1].changes["trainer.max_epochs"] == 6
    result = result_of(cut)
    assert result["config"]["model"]["optimizer"]["lr"] == 0.002
    assert configuration(cut) == configuration(longer)
    assert configuration(cut)["trainer"] == result["config"]["trainer"]


def test_the_newest_change_wins(script: Script, cut: Path) -> None:
    stop = stopped_by(signal.SIGTERM, step=40)
    script("train.py", f"resume={cut}", *LONGER, *stop, status=143)
    script("train.py", f"resume={cut}", "trainer.max_epochs=5", "trainer.gradient_clip_val=null")
    assert [each.step for each in OmegaConf.load(cut / "overrides.yaml")] == [0, 34, 41]
    for config in (load_run(cut).config, result_of(cut)["config"]):
        assert config["trainer"]["max_epochs"] == 5 and config["model"]["optimizer"]["lr"] == 0.002
        assert config["trainer"]["gradient_clip_val"] is None


@pytest.mark.parametrize(
    ("beginning", "words", "expected"),
    [
        ([], ["lr=0.002"], {"optimizer.lr": 0.002}),
        (["optimizer=sgd"], ["momentum=0.5"], {"optimizer.momentum": 0.5}),
        ([], ["lr=3e-3", "weight_decay='${seed}'"], {"optimizer.weight_decay": 0}),
    ],
)
def test_words_change_the_run_and_not_the_defaults(
    config: Config, tmp_path: Path, beginning: list[str], words: list[str], expected: dict[str, Any]
) -> None:
    (tmp_path / "run").mkdir()
    OmegaConf.save(config(*beginning), tmp_path / "run" / "config.yaml", resolve=True)
    given = [f"model.optimizer.{word}" for word in words]
    resume = find_resume(config(f"resume={tmp_path / 'run'}"), given)
    assert resume.changes == {f"model.{key}": value for key, value in expected.items()}
    assert all(OmegaConf.select(resume.config, k) == now for k, now in resume.changes.items())
    for (key, now), note in zip(resume.changes.items(), resume.notes, strict=False):
        assert note.startswith(f"{key}: ") and note.endswith(f" -> {now}")


def test_a_key_that_only_the_run_has_is_changed_by_a_word(script: Script, tmp_path: Path) -> None:
    script("train.py", *OWN, "optimizer=sgd", "scheduler=none", "folder=run")
    words = ("trainer.max_epochs=5", "model.optimizer.momentum=0.5")
    done = script("train.py", "resume=run", *words)
    assert "model.optimizer.momentum: 0.9 -> 0.5" in done.stdout
    last = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert last["optimizer_states"][0]["param_groups"][0]["momentum"] == 0.5


def test_a_resume_in_python_takes_its_words_from_train(cut: Path) -> None:
    words = [f"resume={cut}", "trainer.max_epochs=5"]
    with pytest.raises(UserError, match=r"say what to change, if anything: train\(compose"):
        train(compose(*words))
    assert train(compose(*words), words)["config"]["trainer"]["max_epochs"] == 5


def test_the_command_that_is_printed_repeats_what_you_trust(script: Script, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("")
    stop = stopped_by(signal.SIGTERM)
    own = ("imports=[mine]", *stop, "trainer.log_every_n_steps=5")
    done = script("train.py", *OWN, *own, f"folder={tmp_path / 'run'}", status=143)
    words = shlex.split(done.stdout.rpartition("seqmodels train ")[2])
    assert words == [f"resume={tmp_path / 'run'}", "imports=[mine]", stop[1]]
    script("train.py", *words)


def test_a_best_checkpoint_that_lacks_weights_is_one_line(cut: Path) -> None:
    path = cut / "checkpoints" / "best.ckpt"
    saved = read_checkpoint(path)
    task = load_run(cut).task
    del saved["state_dict"]["encoder.rnn.bias_hh_l0"]
    CheckpointFiles().save_checkpoint(saved, path)
    callback = ModelCheckpoint()
    callback.best_model_path = str(path)
    trainer = pl.Trainer(accelerator="cpu", logger=False, callbacks=[callback])
    with pytest.raises(UserError, match=rf"^{path} does not fit this model \(RuntimeError: "):
        _load_best(trainer, task)


@pytest.mark.parametrize("which", ["train", "logged"])
def test_sums_of_a_checkpoint_that_do_not_fit_are_one_line(
    script: Script, cut: Path, which: str
) -> None:
    path = cut / "checkpoints" / "last.ckpt"
    saved = read_checkpoint(path)
    [process] = saved["resume"]
    process["sums"][which]["classes"] = torch.zeros(3, 2, dtype=torch.int64)
    CheckpointFiles().save_checkpoint(saved, path)
    done = script("train.py", f"resume={cut}", "trainer.log_every_n_steps=1", status=2)
    line = done.stderr.splitlines()[-1]  # after a warning of the test's own callback
    assert line.startswith(f"error: {path} cannot be resumed (")


@pytest.mark.parametrize("name", ["exp_avg_sq", "step"])
def test_a_fused_optimizer_writes_to_no_state_of_another_shape(
    script: Script, cut: Path, name: str
) -> None:
    path = cut / "checkpoints" / "last.ckpt"
    saved = read_checkpoint(path)
    [optimizer] = saved["optimizer_states"]
    for group in optimizer["param_groups"]:
        group["fused"] = True
    optimizer["state"][0][name] = torch.zeros(1)
    CheckpointFiles().save_checkpoint(saved, path)
    done = script("train.py", f"resume={cut}", status=2)
    line = done.stderr.splitlines()[-1]  # after a warning of the test's own callback
    assert line.startswith(f"error: {path} cannot be resumed (")
    assert f"{name} of an optimizer is [1] and not [" in line


def test_another_number_of_processes_is_refused(script: Script, cut: Path) -> None:
    path = cut / "checkpoints" / "last.ckpt"
    saved = read_checkpoint(path)
    saved["resume"] *= 2  # as two processes save it
    CheckpointFiles().save_checkpoint(saved, path)
    done = script("train.py", f"resume={cut}", status=2)
    line = done.stderr.splitlines()[-1]  # after a warning of the test's own callback
    assert "a training with 2 processes and this one has 1: keep trainer.devices" in line


def test_a_training_can_not_be_shorter_than_it_is(script: Script, cut: Path) -> None:
    before = content(cut)
    for change, reached in (("trainer.max_epochs=1", 2), ("trainer.max_steps=20", 34)):
        done = script("train.py", f"resume={cut}", change, status=2)
        line = done.stderr.splitlines()[-1]  # after a warning of the test's own callback
        assert f"{change}, and its checkpoint is at {reached}" in line
    assert content(cut) == before


def test_broken_overrides_are_one_line(cut: Path) -> None:
    (cut / "overrides.yaml").write_text("- step: 0\n- changes: 3\n")
    with pytest.raises(UserError, match=r"overrides\.yaml does not hold the overrides of a run"):
        load_run(cut)


def test_a_folder_with_a_run_is_not_overwritten(refused: Refused, cut: Path) -> None:
    before = content(cut)
    line = refused("train.py", *OWN, f"folder={cut}")
    assert line.endswith(
        f"holds a run already: choose another folder, or resume with seqmodels train resume={cut}"
    )
    assert content(cut) == before


def test_a_run_that_failed_before_its_first_checkpoint_is_begun_again(
    script: Script, refused: Refused, tmp_path: Path
) -> None:
    words = (*OWN, "folder=again")
    assert "diverged" in refused("train.py", *words, "model.optimizer.lr=1e30")
    script("train.py", *words)
    [beginning] = OmegaConf.load(tmp_path / "again" / "overrides.yaml")
    assert "model.optimizer.lr=1e30" not in beginning.overrides
    steps = [row["step"] for row in read_metrics(tmp_path / "again" / "metrics.csv")]
    assert steps == sorted(steps)


def test_a_moved_folder_is_resumed_where_it_lies(
    script: Script, whole: Path, cut: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "elsewhere" / "moved"
    moved.parent.mkdir()
    cut.rename(moved)
    script("train.py", f"resume={moved}")
    same_run(whole, moved)
    assert not cut.exists()


def test_a_broken_last_checkpoint_is_replaced_by_the_one_before(
    script: Script, whole: Path, cut: Path
) -> None:
    last, previous = (cut / "checkpoints" / f"{name}.ckpt" for name in ("last", "previous"))
    flipped = bytearray(last.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    last.write_bytes(flipped)
    check_whole(previous)
    with pytest.raises(BadZipFile):
        check_whole(last)
    found = checkpoint_to_resume(RunFolder(cut))
    assert found and found[0] == previous
    done = script("train.py", f"resume={cut}")
    assert "resuming from previous.ckpt" in done.stderr, done.stderr
    same_run(whole, cut)


@pytest.mark.parametrize(
    "change",
    [
        "model.head=mean_pool",
        "seed=4",
        "model.encoder.hidden_size=16",
        "data.batch_size=8",
        "model.optimizer._target_=torch.optim.SGD",
        "baseline=true",
        "folder=elsewhere",
        "model=language_model",
        "trainer=cpu",
        "optimizer=sgd",
        "~model.scheduler",
        "callbacks.early_stopping.patience=3",  # which the run lacks
    ],
)
def test_what_would_make_another_run_is_refused_and_changes_nothing(
    refused: Refused, cut: Path, change: str
) -> None:
    before = content(cut)
    line = refused("train.py", f"resume={cut}", change)
    assert f"resume={cut}: leave out {change}, or start a new run" in line
    assert content(cut) == before


def test_a_finished_run_is_not_touched_unless_it_is_to_train_longer(
    script: Script, refused: Refused, whole: Path
) -> None:
    before = content(whole)
    assert "this run is finished; to train longer, set" in refused("train.py", f"resume={whole}")
    assert content(whole) == before
    longer = script("train.py", f"resume={whole}", "trainer.max_epochs=6")
    assert "trainer.max_epochs: 4 -> 6" in longer.stdout
    rows = read_metrics(whole / "metrics.csv")
    assert [row["epoch"] for row in rows if "validation/loss" in row] == [0, 1, 2, 3, 4, 5]
    last = read_checkpoint(whole / "checkpoints" / "last.ckpt")
    assert last["global_step"] == 84
    end = last["optimizer_states"][0]["param_groups"][0]["lr"] / 0.003
    assert end == pytest.approx(4e-6)  # of a cycle of 84 steps


def test_other_data_are_refused_and_change_nothing(
    script: Script, reviews: Path, tmp_path: Path
) -> None:
    own = ("data=text", f"data.train={reviews}", "data.batch_size=4", *OWN)
    stop = stopped_by(signal.SIGTERM, step=20)
    script("train.py", *own, *stop, f"hydra.run.dir={tmp_path / 'run'}", status=143)
    text = reviews.read_text()
    reviews.write_text(text.replace("good", "?").replace("bad", "good").replace("?", "bad"))
    before = content(tmp_path / "run")
    again = script("train.py", f"resume={tmp_path / 'run'}", status=2)
    assert "the data is not the data that this run was" in again.stderr
    assert content(tmp_path / "run") == before
    reviews.write_text(text)
    script("train.py", f"resume={tmp_path / 'run'}")


def test_a_run_folder_cannot_have_anything_resolved(refused: Refused, cut: Path) -> None:
    file = cut / "config.yaml"
    poison = cut.parent / "poisoned"
    text = file.read_text()
    for value in (
        f"'${{oc.create:{{_target_:pathlib.Path.touch,_args_:[{poison}]}}}}'",
        "'\\${oc.env:HOME}'",
    ):
        file.write_text(text.replace("seed: 3", f"seed: {value}", 1))
        for open_it in (lambda: load_run(cut), lambda: RunFolder(cut).read_config()):
            with pytest.raises(UserError, match=r"config\.yaml holds an interpolation"):
                open_it()
        assert "holds an interpolation" in refused("train.py", f"resume={cut}")
    assert not poison.exists()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("data", {"_target_": "seqmodels.tasks.SequenceClassifier"}, "is not a DataModule"),
        ("data", {"_target_": "lightning.pytorch.callbacks.ModelCheckpoint"}, "is not a DataMod"),
        ("model", {"_target_": "seqmodels.data.UEA", "name": "PLAID"}, "is not a Task"),
        ("data.folder", {"_target_": "torch.nn.Identity"}, "data.folder._target_ of a run folder"),
        ("data._args_", ["x"], "not allowed"),
        (
            "model.scheduler._target_",
            "torch.nn.Identity",
            "model.scheduler._target_=torch.nn.Identity is not",
        ),
        ("model.encoder._target_", "torch.nn.LSTM", "model.encoder._target_ of a run folder"),
    ],
)
def test_a_run_folder_names_a_task_its_data_and_an_optimiser_and_no_more(
    refused: Refused, cut: Path, key: str, value: object, message: str
) -> None:
    config = OmegaConf.load(cut / "config.yaml")
    OmegaConf.update(config, key, value, merge=False, force_add=True)
    OmegaConf.save(config, cut / "config.yaml")
    with pytest.raises(UserError, match=message):
        load_run(cut)
    before = content(cut)
    refused("train.py", f"resume={cut}")
    assert content(cut) == before


# ---------------------------------------------------------------- one process a folder


def test_a_process_that_only_asks_who_trains_keeps_nobody_from_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    with path.open() as asked:  # as `is_locked` does, for a moment
        fcntl.flock(asked, fcntl.LOCK_SH)
        answered = threading.Timer(0.02, fcntl.flock, (asked, fcntl.LOCK_UN))
        answered.start()
        with locked(path):
            assert is_locked(path)
        answered.join()
    assert not is_locked(path)


def test_a_folder_in_which_another_process_trains_is_refused(config: Config) -> None:
    settings = config("baseline=false")
    folder = RunFolder(Path(settings.folder))
    hold = "import sys; from pathlib import Path; from seqmodels.runs.lock import locked\n"
    hold += "with locked(Path(sys.argv[1], 'lock')): print(flush=True); input()"
    other = subprocess.Popen(
        [sys.executable, "-c", hold, str(folder.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert other.stdout and other.stdout.readline()
        before = content(folder.path)
        with pytest.raises(UserError, match=f"process {other.pid} on .* is training in"):
            train(settings)
        assert content(folder.path) == before
    finally:
        other.kill()
        other.communicate()
    assert (folder.path / "lock").exists()  # its process is gone, and so it locks nothing
    assert train(settings)["status"] == "completed"


def test_of_two_commands_with_one_folder_the_slower_one_overwrites_nothing(config: Config) -> None:
    settings = config("baseline=false")
    faster, slower = prepare(settings), prepare(config("baseline=false", "model.head=max_pool"))
    fit(faster)
    before = content(Path(settings.folder))
    with pytest.raises(UserError, match="holds a run already: choose another folder"):
        fit(slower)
    assert content(Path(settings.folder)) == before
    settings.resume, words = settings.folder, ["trainer.max_epochs=3"]
    faster, slower = prepare(settings, words), prepare(settings, words)
    fit(faster, words)
    before = content(Path(settings.folder))
    with pytest.raises(UserError, match="this run is finished"):
        fit(slower, words)
    assert content(Path(settings.folder)) == before


# ---------------------------------------------------------------- checkpoint files


@pytest.mark.parametrize("where", ["while it is written", "before it is whole"])
def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    path = tmp_path / "last.ckpt"
    CheckpointFiles().save_checkpoint({"weights": torch.arange(5)}, path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    if where == "while it is written":
        monkeypatch.setattr("os.fsync", full)
    else:
        monkeypatch.setattr("zipfile.ZipFile.testzip", lambda file: "its first part")
    with pytest.raises(UserError, match=r"last\.ckpt cannot be written \(.*free some space"):
        CheckpointFiles().save_checkpoint({"weights": torch.arange(9)}, path)
    assert path.read_bytes() == before and [f.name for f in tmp_path.iterdir()] == ["last.ckpt"]
