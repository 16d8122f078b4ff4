"""Every experiment trains with a debugging file, and recipes take any head."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from seqmodels.data.sources import library_files
from seqmodels.heads import HEADS
from seqmodels.instantiate import instantiate
from seqmodels.runs import train
from tests.conftest import ROOT, Config
from tests.pages import read
from tests.shipped import CLASSIFIER_HEADS, lacks

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
        "night,eeg,label\n",
        "".join(f"{n},{n % 3}.5,wake\n{n},{n}.5,asleep\n" for n in range(8)),
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
            composed.data.series = "night"
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
