"""A stranger's run folder and checkpoint: nothing of them runs, and nothing of yours is lost."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from omegaconf import OmegaConf

from seqmodels import compose
from seqmodels.callbacks.checkpoints import BestCheckpoint
from seqmodels.compare.comparison import compare
from seqmodels.compare.tables import comparison_table
from seqmodels.compare.writing import write_comparison
from seqmodels.data import UEA
from seqmodels.errors import UserError
from seqmodels.instantiate import instantiate
from seqmodels.launch.command_line import readable_errors
from seqmodels.plain_values import change, read_json, read_yaml
from seqmodels.runs import load_run, train
from seqmodels.runs.checkpoint import CheckpointFiles
from seqmodels.runs.folder import RunFolder
from seqmodels.runs.resume import find_resume
from seqmodels.runs.training import prepare
from seqmodels.runs.trust import is_trusted_callback, trusted_config
from seqmodels.screen import Screen, visible
from tests.conftest import result_of

UNSEEN = "\x1b]0;owned\x07\x1b[31m\x9b2J\u202e\r"
MARKUP = "[red]x[/red][link=http://example.org]y[/link][/nothing]:smile:"
CANARY = "a_strangers_module"  # importing it, or running it, is noticed


class Payload:
    """Runs the canary where it is unpickled."""

    def __reduce__(self) -> Any:
        return exec, (f"import {CANARY}",)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a classifier's run folder needs to be loaded, without its data."""
    made = tmp_path_factory.mktemp("trained")
    small = ("model.encoder.hidden_size=4", "trainer.max_epochs=1", "baseline=false")
    train(compose("trainer=cpu", *small, "model.head=attention_pool", f"folder={made / 'whole'}"))
    for file in ("config.yaml", "result.json", "checkpoints/best.ckpt", "checkpoints/last.ckpt"):
        (made / "run" / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(made / "whole" / file, made / "run" / file)
    return made / "run"


@pytest.fixture
def run(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of it, whose stranger's module can be imported, and after a test never was."""
    (tmp_path / f"{CANARY}.py").write_text("class Task: ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield shutil.copytree(trained, tmp_path / "run")
    assert CANARY not in sys.modules and not (tmp_path / CANARY).exists()


@pytest.fixture(scope="module")
def resume() -> Any:
    return compose("resume=?", "trainer=cpu")


def refuse(run: Path, resume: Any, message: str) -> None:
    """Neither a run is loaded from the folder, nor a training resumed."""
    resume.resume = str(run)
    for use in (lambda: load_run(run), lambda: find_resume(resume, ["trainer.max_epochs=9"])):
        with pytest.raises(UserError, match=message):
            use()


# ---------------------------------------------------------------- configurations


@pytest.mark.parametrize(
    "line",
    [
        "x: ${oc.env:HOME}",
        'x: "\\x24{oc.env:HOME}"',
        "x: [[{a: 'b ${seed}'}]]",
        f"x: |\n  ${{oc.create:{{_target_: pathlib.Path.touch, _args_: [{CANARY}]}}}}",
    ],
)
def test_nothing_in_a_run_folder_is_resolved(run: Path, resume: Any, line: str) -> None:
    with (run / "config.yaml").open("a") as file:
        file.write(line + "\n")
    refuse(run, resume, "holds an interpolation")
    kept = instantiate({"_target_": "seqmodels.data.Text", "train": "${oc.env:HOME}"})
    assert kept.paths["train"] == "${oc.env:HOME}"  # not read again after the check either


LINEAR = {"_target_": "torch.nn.Linear"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model._target_", f"{CANARY}.Task"),
        ("model._target_", "seqmodels.data.UEA"),
        ("model.head_options", {"_target_": f"{CANARY}.Task"}),
        ("model.metrics", {"x": LINEAR}),
        ("model.metrics", {"x": {"_target_": "torchmetrics.AUROC", "task": LINEAR}}),
        ("data._target_", "pathlib.Path"),
        ("data._args_", ["x"]),
        ("data.targets", [[LINEAR]]),
        ("trainer.plugins", [{"_target_": "seqmodels.runs.checkpoint.CheckpointFiles"}]),
    ],
)
def test_a_run_folder_names_a_task_its_data_and_an_optimizer_and_no_more(
    run: Path, resume: Any, key: str, value: Any
) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    change(config, {key: value})
    # no folder decides what is trusted
    config |= {"imports": [CANARY], "allowed_targets": [f"{CANARY}.", "torch.", "pathlib."]}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    refuse(run, resume, "is not allowed|is not a ")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model.optimizer._target_", f"{CANARY}.Task"),
        ("model.optimizer.lr", {"_target_": f"{CANARY}.Task"}),
        ("model.scheduler._target_", "torch.optim.SGD"),
    ],
)
def test_an_optimizer_is_refused_by_a_resume_and_left_out_of_a_run_that_is_loaded(
    run: Path, resume: Any, key: str, value: Any
) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    change(config, {key: value})
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert load_run(run).task.hparams["optimizer"] is None
    resume.resume = str(run)
    with pytest.raises(UserError, match="is not allowed|is not a "):
        find_resume(resume, ["trainer.max_epochs=9"])


def test_a_run_folder_decides_nothing_that_is_yours(run: Path, resume: Any) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    strange = {"x": {"_target_": f"{CANARY}.Task"}}
    config |= {"imports": [CANARY], "allowed_targets": [f"{CANARY}."], "logger": strange}
    config["callbacks"] |= strange
    config["paths"] = {"runs": CANARY, "cache": CANARY}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert load_run(run).task.network.head.name == "attention_pool"
    resume.resume = str(run)
    made = find_resume(resume, ["trainer.max_epochs=9"]).config
    assert CANARY not in OmegaConf.to_yaml(made) and made.trainer.max_epochs == 9


@pytest.mark.parametrize("trains", [True, False])
def test_a_trusted_configuration_holds_nothing_that_writes_elsewhere(
    run: Path, trains: bool
) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    strange = {"x": {"_target_": f"{CANARY}.Task"}}
    config |= {"folder": CANARY, "imports": [CANARY], "allowed_targets": [CANARY]}
    config |= {"logger": strange, "paths": {"runs": CANARY, "cache": CANARY}, "resume": CANARY}
    config["callbacks"] |= strange
    config["callbacks"]["checkpoint"]["dirpath"] = CANARY
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    trusted = trusted_config(RunFolder(run), trains=trains)
    assert CANARY not in json.dumps(trusted) and trusted["folder"] == str(run)
    if trains:
        assert trusted["callbacks"]["checkpoint"]["dirpath"] == str(run / "checkpoints")


@pytest.mark.parametrize("name", ["default_root_dir", "logger", "callbacks"])
def test_a_trainer_of_a_run_folder_writes_nowhere_else(run: Path, resume: Any, name: str) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["trainer"][name] = CANARY
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    resume.resume = str(run)
    with pytest.raises(UserError, match=f"trainer.{name} is not an argument"):
        prepare(resume, ["trainer.max_epochs=9"])
    assert load_run(run).task.network.head.name == "attention_pool"


def test_a_run_folder_names_callbacks_of_ours_and_not_what_they_write(run: Path) -> None:
    entry = {"_target_": "seqmodels.callbacks.checkpoints.BestCheckpoint", "dirpath": "x"}
    assert is_trusted_callback("checkpoint", entry)
    with pytest.raises(UserError, match="filename is not an argument of BestCheckpoint"):
        instantiate({**entry, "filename": "../../evil"}, key="callbacks.checkpoint")
    with pytest.raises(UserError, match="is not allowed"):
        is_trusted_callback("x", {"_target_": "seqmodels.callbacks.checkpoints.Path"})
    # what counts is the class, and modules of ours know others
    through = (
        "checkpoints.ModelCheckpoint",
        "checkpoints.pl.callbacks.spike.SpikeDetection",
    )
    others = ("Callback", "BatchSizeFinder", "LearningRateFinder", "OnExceptionCheckpoint")
    for other in (
        f"{CANARY}.Task",
        *(f"seqmodels.callbacks.{name}" for name in through),
        *(f"lightning.pytorch.callbacks.{name}" for name in others),
        *(f"seqmodels.callbacks.checkpoints.pl.callbacks.{name}" for name in others),
    ):
        assert not is_trusted_callback("x", {"_target_": other})
    predictions = {"_target_": "seqmodels.callbacks.predictions.Predictions"}
    assert is_trusted_callback("predictions", predictions)
    for given in ({"folder": "/../../x"}, {"split": "x"}):  # no text, also without a slash
        assert not is_trusted_callback("predictions", {**predictions, **given})


def test_a_run_shows_its_names_as_text(run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps({**result, "data": "\x1b[31mred"}))
    assert "\x1b" not in repr(load_run(run)) and "[31mred" in repr(load_run(run))


@pytest.mark.parametrize("name", ["figures", "checkpoints/last.ckpt", "export", "train.log", "x"])
def test_nothing_is_written_through_a_link(
    run: Path, resume: Any, tmp_path: Path, name: str
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    if (run / name).is_dir():
        shutil.rmtree(run / name)
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(mine)
    resume.resume = str(run)
    with pytest.raises(UserError, match=f"{name} is a link"):
        find_resume(resume, ["trainer.max_epochs=9"])
    with pytest.raises(UserError, match=f"{name} is a link"):
        load_run(run).export()
    assert not [*mine.iterdir()]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.yaml", f"!!python/object/apply:os.system ['touch {CANARY}']"),
        ("config.yaml", f"a: !!python/name:{CANARY}.Task ''"),
        ("config.yaml", "a: ["),
        ("result.json", "[" * 100_000),
    ],
)
def test_files_that_no_run_writes_are_one_line_and_run_nothing(
    run: Path, name: str, text: str
) -> None:
    (run / name).write_text(text)
    with pytest.raises(UserError, match=f"{name} is not "):
        (read_yaml if name == "config.yaml" else read_json)(run / name)


@pytest.mark.parametrize(
    "stretch",
    [
        "{step: 0, changes: {}}",
        "{step: 0, changes: {}, overrides: 7}",
        "{step: 0, changes: [], overrides: []}",
        "{step: x, changes: {}, overrides: []}",
    ],
)
def test_broken_overrides_are_one_line(run: Path, stretch: str) -> None:
    (run / "overrides.yaml").write_text(f"- {stretch}\n")
    folder = RunFolder(run)
    for read in (lambda: folder.words, folder.read_config):
        with pytest.raises(UserError, match="overrides.yaml does not hold the overrides of a run"):
            read()


def test_a_change_of_a_key_that_is_a_number_is_read(run: Path) -> None:
    (run / "overrides.yaml").write_text("- {step: 0, changes: {1: 2}, overrides: [a=b, 3]}\n")
    folder = RunFolder(run)
    assert folder.read_config()["1"] == 2
    assert folder.words == ["a=b", "3"]


def test_values_come_back_as_a_run_has_written_them(tmp_path: Path) -> None:
    texts = ("2020-01-02", "on", "yes", "~", "null", "1e-3", "1_000", "00:00:10:00", "", "- x")
    values = {"texts": [*texts], "floats": [1e-3, 1e20, 0.1]}
    OmegaConf.save(OmegaConf.create(values), tmp_path / "config.yaml")
    assert read_yaml(tmp_path / "config.yaml") == values


# ---------------------------------------------------------------- checkpoints

MORE = "best.ckpt is not a usable checkpoint .it holds more than tensors and plain values"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: {**c, "x": Payload()}, MORE),
        (lambda c: pickle.dumps(Payload()), "best.ckpt is not a usable checkpoint"),
        (lambda c: {**c, "state_dict": {}}, "do not fit this version"),
    ],
)
def test_a_checkpoint_holds_weights_and_plain_values(
    run: Path, spoil: Callable[[dict[str, Any]], Any], message: str
) -> None:
    path = run / "checkpoints" / "best.ckpt"
    made = spoil(torch.load(path, weights_only=True))
    path.write_bytes(made) if isinstance(made, bytes) else torch.save(made, path)
    with pytest.raises(UserError, match=message) as raised:
        load_run(run)
    assert "weights_only" not in str(raised.value)  # advice to run it anyway


def test_a_checkpoint_does_not_say_which_files_to_remove(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    callback = BestCheckpoint(str(tmp_path / "run"), "validation/loss")
    state = {"score": torch.tensor(1.0), "loss": None, "best_model_path": str(tmp_path / "mine")}
    callback.load_state_dict(state)
    [replaced] = {callback.best_model_path, callback.kth_best_model_path, *callback.best_k_models}
    assert replaced == str(tmp_path / "run" / "best.ckpt")
    with pytest.raises(OSError, match="mine"):
        CheckpointFiles().remove_checkpoint(tmp_path / "mine")
    assert (tmp_path / "mine").is_dir()


@pytest.mark.parametrize("name", ["../x", "a/b", "http://x"])
def test_a_data_set_of_the_archive_has_a_name_and_no_address(name: str) -> None:
    with pytest.raises(UserError, match="it must be a name"):
        UEA(name)


# ---------------------------------------------------------------- names are shown as text


def test_a_comparison_shows_names_as_text_and_follows_no_link(
    trained: Path, tmp_path: Path
) -> None:
    sweep, mine = tmp_path / "sweep", tmp_path / "mine"
    mine.write_text("mine")
    for number, head in enumerate((UNSEEN, MARKUP)):
        result = result_of(trained)
        result["head"] = result["config"]["model"]["head"] = head
        (sweep / f"run{number}").mkdir(parents=True)
        (sweep / f"run{number}" / "result.json").write_text(json.dumps(result))
    (sweep / "comparison.md").symlink_to(mine)
    comparison = compare([str(sweep)], "test/accuracy")
    for file in write_comparison(comparison, sweep)[:2]:
        assert visible(file.read_text()) == file.read_text()
    assert mine.read_text() == "mine"
    screen = Screen(file=io.StringIO(), width=2000)
    screen.print(comparison_table(comparison, screen))
    shown = screen.file.getvalue()
    assert visible(shown) == shown and MARKUP in shown


def test_an_error_is_one_visible_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), readable_errors():
        raise UserError(f"{UNSEEN}\nerror: all is fine\x85{MARKUP}")
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and line.rstrip("\n").isprintable() and MARKUP in line
