"""A run folder is enough to resume: nothing else is given again, and nothing is lost."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGTERM, SIGUSR1
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from seqmodels import compose
from seqmodels.errors import UserError
from seqmodels.runs import fit, load_run, prepare, train
from seqmodels.runs.checkpoint import CheckpointFiles, read_checkpoint
from seqmodels.runs.folder import RunFolder, read_metrics
from seqmodels.runs.resume import find_resume
from tests.conftest import Config, Refused, Script, result_of, run_script
from tests.runs.resumed import QUICK, content, same_run, stopped_by

Words = tuple[str, ...]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `copies` of `whole`, a run, and of `cut`, the same run, ended by SIGTERM in its
    third epoch of four."""
    place = tmp_path_factory.mktemp("trained")
    for name, status, stop in (("whole", 0, ()), ("cut", 143, stopped_by(SIGTERM))):
        run_script(place, "train.py", *QUICK, *stop, f"folder={place / name}", status=status)
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


def last_line(script: Script, *words: str) -> str:
    """What a resume is refused with, after a warning of the callback of a test."""
    done = script("train.py", *words, status=2)
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1]


# ---------------------------------------------------------------- signals


@pytest.mark.parametrize(
    ("numbers", "status", "saved"),
    [
        ([SIGINT], 130, 34),  # the step that the signal met was finished
        ([SIGTERM], 143, 34),
        ([SIGHUP], 129, 34),
        ([SIGUSR1], 138, 34),
        ([SIGTERM, SIGTERM], 143, 34),  # as some schedulers send it
        ([SIGINT, SIGINT], 130, 28),  # ends at once
    ],
)
def test_a_signal_saves_the_run_and_says_how_to_resume_it(
    script: Script, tmp_path: Path, numbers: list[int], status: int, saved: int
) -> None:
    (tmp_path / "mine.py").write_text("")
    run, trusted = tmp_path / "run", ("imports=[mine]", "allowed_targets=[tests.]")
    own = (*QUICK, stopped_by(*numbers)[0], *trusted, f"folder={run}")
    done = script("train.py", *own, status=status)
    assert "Traceback" not in done.stderr
    said, _, command = done.stdout.rpartition("; resume with seqmodels train ")
    assert said.endswith(f"saved after step {saved}")
    assert shlex.split(command) == [f"resume={run}", *trusted]
    assert result_of(run)["status"] == "interrupted"
    assert read_checkpoint(run / "checkpoints" / "last.ckpt")["global_step"] == saved


@pytest.mark.parametrize(
    ("step", "validating", "words"),
    [
        (41, False, ""),  # the last step of an epoch
        (56, True, ""),  # the last validation
        (20, True, "trainer.max_steps=20"),  # that of a training that ends within an epoch
        pytest.param(
            34, False, "trainer.val_check_interval=7", marks=pytest.mark.long
        ),  # before a validation inside of an epoch
        (35, True, "trainer.val_check_interval=7"),  # that validation
        (7, False, "trainer.accumulate_grad_batches=3"),  # between two steps of the optimizer
        pytest.param(
            13, False, "trainer.check_val_every_n_epoch=3", marks=pytest.mark.long
        ),  # an epoch's last step, not validated
        pytest.param(20, False, "trainer.check_val_every_n_epoch=3", marks=pytest.mark.long),
        pytest.param(42, True, "trainer.check_val_every_n_epoch=3", marks=pytest.mark.long),
        (27, False, "trainer.val_check_interval=0.3"),  # an epoch's last step, after a validation
    ],
)
def test_a_signal_is_harmless_wherever_it_comes(
    script: Script, trained: Path, tmp_path: Path, step: int, validating: bool, words: str
) -> None:
    own, stop = (*QUICK, *words.split()), stopped_by(SIGTERM, step=step, validating=validating)
    whole = trained / "copies" / "whole"
    if words:
        whole = tmp_path / "whole"
        script("train.py", *own, f"folder={whole}")
    script("train.py", *own, *stop, "folder=cut", status=143)
    script("train.py", "resume=cut")
    same_run(whole, tmp_path / "cut")


# ---------------------------------------------------------------- what a folder is enough for


def flip(run: Path) -> None:
    path = run / "checkpoints" / "last.ckpt"
    bits = bytearray(path.read_bytes())
    bits[len(bits) // 2] ^= 1
    path.write_bytes(bits)


AGAIN = tuple(word for word in QUICK if word != "trainer=cpu")  # which is a group


@pytest.mark.parametrize(
    ("change", "words", "said"),
    [
        (lambda run: None, (), "callbacks.signal is not taken from the run folder"),
        (lambda run: None, AGAIN, "run folder"),
        (lambda run: shutil.rmtree(run / "checkpoints"), (), "starts again from the beginning"),
        (flip, (), "resuming from previous.ckpt"),
    ],
    ids=["its folder alone", "the same words", "no checkpoint", "a flipped bit"],
)
def test_a_resumed_run_is_the_uninterrupted_one_also_where_it_is_moved_to(
    script: Script,
    whole: Path,
    cut: Path,
    tmp_path: Path,
    change: Callable[[Path], None],
    words: Words,
    said: str,
) -> None:
    run = Path(shutil.move(cut, tmp_path / "moved"))
    change(run)
    beginning = {name: (run / name).read_bytes() for name in ("config.yaml", "overrides.yaml")}
    done = script("train.py", f"resume={run}", *words)
    assert said in done.stdout + done.stderr
    same_run(whole, run)
    assert {name: (run / name).read_bytes() for name in beginning} == beginning
    assert not cut.exists()
    result = result_of(run)
    assert (result["head"], result["seed"], len(result["resumed"])) == ("max_pool", 3, 1)


# ---------------------------------------------------------------- what a resume changes

LONGER = ("trainer.max_epochs=6", "model.optimizer.lr=0.002", "trainer.log_every_n_steps=3")


@pytest.fixture(scope="module")
def longer(trained: Path) -> Path:
    """`cut`, resumed to train LONGER."""
    run = shutil.copytree(trained / "copies" / "cut", trained / "longer")
    done = run_script(trained, "train.py", f"resume={run}", *LONGER, "tags=[a]")
    assert "trainer.max_epochs: 4 -> 6" in done.stdout
    return run


@pytest.mark.parametrize(("end", "step"), [("signal", 50), ("kill", 34)])
def test_what_a_resume_changes_lasts(
    script: Script, cut: Path, longer: Path, end: str, step: int
) -> None:
    beginning = (cut / "config.yaml").read_bytes()
    stop = stopped_by(SIGTERM, step=step)
    script("train.py", f"resume={cut}", *LONGER, "tags=[a]", *stop, status=143)
    if end == "kill":  # which leaves the checkpoint from before the change
        shutil.rmtree(cut / "checkpoints")
        shutil.copytree(cut.parent / "copies" / "cut" / "checkpoints", cut / "checkpoints")
    script("train.py", f"resume={cut}")
    same_run(longer, cut)
    assert (cut / "config.yaml").read_bytes() == beginning
    first, second = OmegaConf.load(cut / "overrides.yaml")
    assert (first.step, second.step, second.changes["trainer.max_epochs"]) == (0, 34, 6)
    assert list(second.overrides)[:4] == [f"resume={cut}", *LONGER]
    for config in (load_run(cut).config, result_of(cut)["config"]):
        assert config["model"]["optimizer"]["lr"] == 0.002 and config["tags"] == ["a"]
        assert config["trainer"] == load_run(longer).config["trainer"]


def test_the_newest_change_wins(cut: Path) -> None:
    folder = RunFolder(cut)
    for epochs in (6, 5):
        folder.add_stretch(34, ["x"], {"trainer.max_epochs": epochs})
    assert folder.read_config()["trainer"]["max_epochs"] == 5
    assert folder.read_config(stretches=1)["trainer"]["max_epochs"] == 4


def test_words_change_the_run_and_not_the_defaults(config: Config, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    OmegaConf.save(config("optimizer=sgd"), tmp_path / "run" / "config.yaml", resolve=True)
    words = ["model.optimizer.momentum=0.5"]  # which only the run has
    resume = find_resume(config(f"resume={tmp_path / 'run'}"), words)
    assert resume.changes == {"model.optimizer.momentum": 0.5}
    assert resume.config.model.optimizer.momentum == 0.5
    assert resume.notes[0] == "model.optimizer.momentum: 0.9 -> 0.5"


def test_a_resume_in_python_takes_its_words_from_train(cut: Path) -> None:
    words = [f"resume={cut}", "trainer.max_epochs=5"]
    with pytest.raises(UserError, match=r"say what to change, if anything: train\(compose"):
        train(compose(*words))
    assert train(compose(*words), words)["config"]["trainer"]["max_epochs"] == 5


# ---------------------------------------------------------------- what is refused

OTHER_RUN = (
    *("model.head=mean_pool", "seed=4", "data.batch_size=8", "optimizer=sgd", "~model.scheduler"),
    *("model.optimizer._target_=torch.optim.SGD", "folder=elsewhere"),
)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        *((word, f": leave out {word}, or start a new run") for word in OTHER_RUN),
        ("trainer.max_epochs=1", "trainer.max_epochs=1, and its checkpoint is at 3"),
    ],
)
def test_what_would_make_another_or_a_shorter_run_changes_nothing(
    script: Script, cut: Path, word: str, said: str
) -> None:
    before = content(cut)
    assert said in last_line(script, f"resume={cut}", word)
    assert content(cut) == before


def test_a_finished_run_is_not_touched_unless_it_is_to_train_longer(
    script: Script, refused: Refused, whole: Path
) -> None:
    before = content(whole)
    assert "this run is finished; to train longer, set" in refused("train.py", f"resume={whole}")
    assert "holds a run already: choose another" in refused("train.py", *QUICK, f"folder={whole}")
    assert content(whole) == before
    script("train.py", f"resume={whole}", "trainer.max_epochs=6")
    rows = read_metrics(whole / "metrics.csv")
    assert [row["epoch"] for row in rows if "validation/loss" in row] == [0, 1, 2, 3, 4, 5]


def test_a_run_that_failed_before_its_first_checkpoint_is_begun_again(
    script: Script, refused: Refused, tmp_path: Path
) -> None:
    words = (*QUICK, "folder=again")
    assert "diverged" in refused("train.py", *words, "model.optimizer.lr=1e30")
    script("train.py", *words)
    [beginning] = OmegaConf.load(tmp_path / "again" / "overrides.yaml")
    assert "model.optimizer.lr=1e30" not in beginning.overrides


def test_other_data_are_refused_and_change_nothing(
    script: Script, reviews: Path, tmp_path: Path
) -> None:
    own = ("data=text", f"data.train={reviews}", "data.batch_size=4", *QUICK)
    script("train.py", *own, *stopped_by(SIGTERM, step=20), "folder=run", status=143)
    text = reviews.read_text()
    reviews.write_text(text.replace("good", "?").replace("bad", "good").replace("?", "bad"))
    before = content(tmp_path / "run")
    assert "the data is not the data that this run was" in last_line(script, "resume=run")
    assert content(tmp_path / "run") == before
    reviews.write_text(text)
    script("train.py", "resume=run")


NO_BETTER = "trainer.limit_val_batches=0"  # so that nothing newer is the best


@pytest.mark.parametrize(
    ("name", "spoil", "said"),
    [
        # as two processes save it
        ("last", lambda it: it["resume"].append(it["resume"][0]), "with 2 processes and this one"),
        # beyond whose end a fused optimizer would write
        (
            "last",
            lambda it: it["optimizer_states"][0]["state"][0].update(exp_avg_sq=torch.zeros(1)),
            "exp_avg_sq of an opt",
        ),
        ("best", lambda it: it["state_dict"].popitem(), "best.ckpt does not fit this model ("),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_one_line(
    script: Script, cut: Path, name: str, spoil: Callable[[dict[str, Any]], None], said: str
) -> None:
    path = cut / "checkpoints" / f"{name}.ckpt"
    saved = read_checkpoint(path)
    spoil(saved)
    CheckpointFiles().save_checkpoint(saved, path)
    assert said in last_line(script, f"resume={cut}", NO_BETTER)


# ---------------------------------------------------------------- one process a folder

HOLD = """
import sys; from pathlib import Path; from seqmodels.runs.lock import locked
with locked(Path(sys.argv[1], "lock")): print(flush=True); input()
"""


def test_a_folder_in_which_another_process_trains_is_refused(config: Config) -> None:
    settings = config("baseline=false", "trainer.max_epochs=1")
    folder = RunFolder(Path(settings.folder))
    command, pipe = [sys.executable, "-c", HOLD, str(folder.path)], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as other:
        assert other.stdout and other.stdout.readline()
        before = content(folder.path)
        with pytest.raises(UserError, match=f"process {other.pid} on .* is training in"):
            train(settings)
        assert content(folder.path) == before and folder.is_training
        other.kill()
    assert folder.lock.exists()  # its process is gone, and so it locks nothing
    assert train(settings)["status"] == "completed"


def test_of_two_commands_with_one_folder_the_slower_one_overwrites_nothing(config: Config) -> None:
    settings = config("baseline=false", "trainer.max_epochs=1")
    folder, words = Path(settings.folder), ["trainer.max_epochs=2"]
    faster, slower = prepare(settings), prepare(settings)
    fit(faster)
    before = content(folder)
    with pytest.raises(UserError, match="holds a run already: choose another"):
        fit(slower)
    assert content(folder) == before
    settings.resume = settings.folder
    faster = prepare(settings, words)
    with pytest.raises(UserError, match="is training in this folder"):  # nothing is read before
        prepare(settings, words)
    fit(faster, words)
    with pytest.raises(UserError, match="is finished"):
        prepare(settings, words)


def test_a_folder_that_another_process_has_just_made_is_not_removed(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = prepare(config("baseline=false"))
    folder = training.folder.path

    @contextmanager
    def taken(path: Path) -> Iterator[None]:
        folder.mkdir()
        (folder / "config.yaml").touch()
        raise UserError("another process is training in this folder")
        yield

    monkeypatch.setattr("seqmodels.runs.endings.locked", taken)
    with pytest.raises(UserError, match="another process"):
        fit(training)
    assert (folder / "config.yaml").is_file()


def test_a_resume_that_is_refused_lets_go_of_its_folder(config: Config) -> None:
    settings = config("baseline=false", "trainer.max_epochs=1")
    train(settings)
    settings.resume = settings.folder
    refused = list[BaseException]()
    for words in (["trainer.precision=16-true"], ["trainer.precision=16-true"]):
        with pytest.raises(UserError, match="Adam's second moments") as caught:
            prepare(settings, ["trainer.max_epochs=2", *words])
        refused.append(caught.value)  # whose traceback keeps what it has met
