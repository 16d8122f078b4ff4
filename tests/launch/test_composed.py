"""What is composed in a notebook, with a file of values for one machine, and of experiments,
recipes and heads."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from seqmodels import compose, load_run, train
from seqmodels.data.sources import library_files
from seqmodels.errors import UserError
from seqmodels.heads import HEADS
from seqmodels.instantiate import instantiate
from seqmodels.launch.composed import VERSION_BASE, for_resume
from seqmodels.runs.folder import RunFolder
from seqmodels.words import as_override
from tests.conftest import ROOT, Config, Script, result_of
from tests.in_process import WITHOUT_LOCAL
from tests.pages import read
from tests.shipped import CLASSIFIER_HEADS, lacks

QUICK = ("model.encoder.hidden_size=4", "trainer.max_epochs=1", "trainer=cpu", "baseline=false")
QUICK = (*QUICK, "trainer.enable_progress_bar=false", *WITHOUT_LOCAL)
TINY = ("data=uea", "data.name=UnitTest", "model.encoder.hidden_size=4")
LOCAL = """\
# @package _global_
defaults:
  - override /trainer: cpu
paths:
  runs: {tmp}/disk, 2/runs
  cache: {tmp}/disk, 2/cache
callbacks:
  dataflow: null
  last:
    minutes: 2.0
"""


def test_a_training_in_a_notebook_leaves_its_folder_and_nothing_of_hydra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = compose("model.head=max_pool", *QUICK)
    assert not GlobalHydra.instance().is_initialized() and not [*tmp_path.iterdir()]
    assert train(config)["head"] == "max_pool"
    [folder] = (tmp_path / "runs").iterdir()
    assert folder.name == Path(config.folder).name and "_max_pool_" in folder.name
    assert load_run(folder).config["model"]["encoder"]["hidden_size"] == 4
    assert Path(compose("model.head=max_pool", *QUICK).folder).name != folder.name


def test_it_is_what_the_command_line_composes(tmp_path: Path) -> None:
    words = ("data=text", "optimizer=sgd", f"folder={tmp_path}", *QUICK)
    config = compose(*words)
    with initialize_config_dir(str(ROOT / "configs"), **VERSION_BASE):  # of the notebook's own
        assert config == hydra_compose("train", [*words]) == compose(*words)
        assert GlobalHydra.instance().is_initialized()


def test_it_searches_a_folder_of_your_own_for_this_once(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("defaults: [classifier]\nhead: max_pool\n")
    assert compose("model=mine", config_dir=str(tmp_path)).model.head == "max_pool"
    with pytest.raises(UserError, match="^model=mine: choose one of classifier"):
        compose("model=mine")
    with pytest.raises(UserError, match="nowhere: no such folder"):
        compose("model=mine", config_dir=str(tmp_path / "nowhere"))


def test_a_local_file_moves_runs_and_caches_and_a_resume_takes_it_for_defaults(
    script: Script, tmp_path: Path
) -> None:
    (tmp_path / "mine" / "local").mkdir(parents=True)
    (tmp_path / "mine" / "local" / "default.yaml").write_text(LOCAL.format(tmp=tmp_path))
    script("train.py", *TINY, "--config-dir", "mine", "trainer.max_epochs=1", "tags=[a]")
    [run] = (tmp_path / "disk, 2" / "runs").iterdir()
    assert (tmp_path / "disk, 2" / "cache" / "seqmodels" / "baselines").is_dir()
    assert not (tmp_path / "runs").exists() and not (tmp_path / "cache" / "seqmodels").exists()
    config = result_of(run)["config"]
    assert config["trainer"]["accelerator"] == "cpu"
    assert config["callbacks"]["last"]["minutes"] == 2.0

    [*_, resume] = shlex.split(RunFolder(run).how_to_resume())
    done = script("train.py", resume, "trainer.max_epochs=2", "tags=[b]")  # without the local file
    changes = {line for line in done.stdout.splitlines() if " -> " in line}
    assert changes == {"trainer.max_epochs: 1 -> 2", "tags: ['a'] -> ['b']"}
    assert result_of(run)["config"]["callbacks"]["last"]["minutes"] == 2.0


@given(word=st.text(st.sampled_from("+~=.ahydr_3 é"), max_size=14))
def test_words_of_a_resume_may_add_keys_within_a_group(word: str) -> None:
    in_group = re.sub(r"^\+*(?=(?!hydra)\w+\.[^=]+=)", "++", word)
    assert for_resume(["resume=runs/mine", word]) == ["resume=runs/mine", in_group]
    assert for_resume([word]) == [word]


def test_a_key_that_a_resume_removes_stays_removed() -> None:
    words = ["resume=runs/mine", "~model.dropout=0.1", "~callbacks.ema"]
    assert for_resume(words) == words


@given(path=st.text(st.sampled_from("""ab/.-_ ,'"\\[]{}$:=é日"""), min_size=1).map(Path))
def test_a_path_is_written_so_that_it_is_read_again(path: Path) -> None:
    override = OverridesParser.create().parse_override(as_override("resume", path))
    assert override.value() == str(path)


@pytest.mark.parametrize("trainer", ["auto", "cpu", "gpu"])
def test_a_model_says_how_long_it_trains_and_a_choice_of_device_does_not(trainer: str) -> None:
    words = ("model=forecaster", "data=windows", "data.file=a.csv", "data.target=y")
    settings = compose(*words, f"trainer={trainer}").trainer
    assert (settings.max_epochs, settings.max_steps) == (-1, 700)
    assert settings.val_check_interval == "auto"


# ---------------------------------------------------------------- what a choice of files would lose

LOST = (
    "leaves out checkpoint, last, progress, predictions, pictures, device_look, ..., which "
    "callbacks="
)
STOPPING = "_target_: seqmodels.callbacks.early_stopping.EarlyStopping"


@pytest.mark.parametrize("word", ["early_stopping", "[ema,early_stopping]", "own"])
def test_callbacks_in_place_of_the_default_ones_are_refused_with_the_word_that_adds_them(
    word: str, tmp_path: Path
) -> None:
    write(tmp_path, callbacks=f"stopping:\n  {STOPPING}\n")
    with pytest.raises(UserError) as error:
        compose(f"callbacks={word}", config_dir=str(tmp_path))
    assert f"callbacks={word} {LOST}default has: write +callbacks={word} to add" in str(error.value)
    added = compose(f"+callbacks={word}", config_dir=str(tmp_path)).callbacks
    assert {*compose().callbacks} < {*added}


def write(folder: Path, **files: str) -> None:
    """`own.yaml` of each group."""
    for group, text in files.items():
        (folder / group).mkdir()
        (folder / group / "own.yaml").write_text(text)


def test_what_is_left_out_by_name_is_left_out() -> None:
    without = compose(
        "callbacks.checkpoint=null", "~callbacks.pictures", "+callbacks=ema"
    ).callbacks
    assert without.checkpoint is None and "pictures" not in without and "ema" in without


def test_no_callbacks_at_all_are_refused_too_and_a_key_of_a_lost_one_says_so() -> None:
    for words in (["callbacks=[]"], ["callbacks=ema", "callbacks.dataflow.refuse=false"]):
        with pytest.raises(UserError, match=f"^{re.escape(words[0])} {LOST}default"):
            compose(*words)


def test_files_of_your_own_that_lose_defaults_are_told_how_to_keep_them(tmp_path: Path) -> None:
    experiment = "# @package _global_\ndefaults:\n  - override /callbacks: [{0}ema]\n"
    write(tmp_path, experiment=experiment.format(""), trainer="_target_: seqmodels.runs.Trainer\n")

    def composed(word: str) -> Any:
        return compose(word, config_dir=str(tmp_path))

    with pytest.raises(UserError, match=r"write `override /callbacks: \[default, ...\]` there"):
        composed("experiment=own")
    with pytest.raises(UserError, match=r"^trainer=own leaves .* `defaults: \[auto, _self_\]`$"):
        composed("trainer=own")
    (tmp_path / "experiment" / "own.yaml").write_text(experiment.format("default, "))
    (tmp_path / "trainer" / "own.yaml").write_text("defaults: [auto, _self_]\nmax_epochs: 3\n")
    assert {"checkpoint", "ema"} < {*composed("experiment=own").callbacks}
    assert composed("trainer=own").trainer.max_epochs == 3
    (tmp_path / "experiment" / "own.yaml").write_text("# @package _global_\ncallbacks: null\n")
    assert composed("experiment=own").callbacks is None  # said by name


MODELS = sorted(path.stem for path in (ROOT / "configs" / "model").glob("*.yaml"))


@pytest.mark.parametrize("model", [name for name in MODELS if name != "task"])  # their base
def test_every_model_is_explained(model: str, script: Script) -> None:
    assert "where it goes" in script("explain.py", f"model={model}").stdout


# ---------------------------------------------------------------- experiments


EXPERIMENTS = sorted(
    path.stem for path in (ROOT / "configs" / "experiment").glob("*.yaml") if not lacks(read(path))
)
DEBUGS = sorted(path.stem for path in (ROOT / "configs" / "debug").glob("*.yaml"))
SMALL = {f"trainer.limit_{split}_batches": 2 for split in ("train", "val", "test")}
SMALL |= {"model.encoder.hidden_size": 4, "trainer.max_epochs": 2, "baseline": False}
LIBRARY = library_files()[:40]
# files of your own that an experiment asks for, by the class that reads them
FILES = {
    "seqmodels.data.Text": ("text,label\n", "a fine film,good\na dull one,bad\n"),
    "seqmodels.data.SeriesTable": (
        "night,eeg,stage,label\n",
        "".join(
            f"{n},{n % 3}.5,wake,{label}\n{n},{n}.5,asleep,{label}\n"
            for n, label in enumerate(["deep", "light"] * 4)
        ),
    ),
    "seqmodels.tasks.tagging.TaggedText": ("", "Ann B-PER\nLee I-PER\nruns O\n\n"),
    "seqmodels.tasks.language_model.PlainText": ("", "the words of a line\n"),
    "seqmodels.tasks.seq2seq.Pairs": ("source,target\n", "abc,cba\nxy,yx\nabx,xba\n"),
    "seqmodels.tasks.forecasting.Windows": ("load\n", "1.0\n2.0\n3.5\n2.5\n0.5\n"),
}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files to learn from, and a cache, so that each is encoded once."""
    folder = tmp_path_factory.mktemp("kept")
    for name, (header, rows) in FILES.items():
        (folder / f"{name}.csv").write_text(header + 1500 * rows)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("number", "experiment"), [*enumerate(EXPERIMENTS)])
def test_every_experiment_trains_with_a_debugging_file(
    number: int, experiment: str, config: Config, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(kept))
    for name, module in sys.modules.items():
        if name.startswith("seqmodels.tasks.") and hasattr(module, "library_files"):
            monkeypatch.setattr(module, "library_files", lambda: LIBRARY)
    debug = DEBUGS[number % len(DEBUGS)]
    own = OmegaConf.load(ROOT / "configs" / "debug" / f"{debug}.yaml")
    words = [f"{key}={value}" for key, value in SMALL.items() if OmegaConf.select(own, key) is None]
    composed = config(f"experiment={experiment}", f"debug={debug}", *words)
    composed.trainer.max_epochs = min(composed.trainer.max_epochs, 2)
    composed.trainer.precision = "32-true"
    file = str(kept / f"{composed.data._target_}.csv")
    if "train" in composed.data and composed.data.train is None:
        composed.data.train = file
        if composed.data._target_.endswith("SeriesTable"):
            composed.data.series, composed.data.inputs = "night", ["eeg"]
            tags = composed.model._target_.endswith("Tagger")
            composed.data.label_column = "stage" if tags else "label"
    if OmegaConf.is_missing(composed.data, "file"):
        composed.data.file, composed.data.target = file, "load"
    if OmegaConf.is_missing(composed.data, "name"):
        regresses = composed.model._target_.endswith("Regressor")
        composed.data.name = "Tecator" if regresses else "UnitTest"
    if "sizes" in composed.data:
        composed.data.sizes = [64, 32, 32]
    assert train(composed)["status"] == "completed"


@pytest.mark.parametrize(
    "recipe", ["text_classification", "char_classification", "series_classification"]
)
@pytest.mark.parametrize("head", CLASSIFIER_HEADS)
def test_any_head_goes_with_any_recipe_in_two_directions_if_it_can(
    head: str, recipe: str, config: Config
) -> None:
    series = recipe.startswith("series")
    settings = config(f"experiment={recipe}", f"model.head={head}", *["data.name=x"] * series)
    kind = "features" if series else "tokens"
    data = {"inputs": kind, "num_inputs": 9, "classes": ["a", "b"]}
    task = instantiate(settings.model, key="model", data=data)
    assert task.network.encoder.bidirectional is (HEADS[head].requires_bidirectional is not False)
