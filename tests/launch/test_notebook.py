"""Training from a notebook, without a command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from seqmodels import compose, load_run, train
from seqmodels.errors import UserError
from tests.conftest import ROOT
from tests.in_process import WITHOUT_LOCAL

QUICK = ("model.encoder.hidden_size=4", "trainer.max_epochs=1", "trainer=cpu", "baseline=false")
QUICK = (*QUICK, "trainer.enable_progress_bar=false", *WITHOUT_LOCAL)


def test_a_training_leaves_nothing_of_hydra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = compose("model.head=max_pool", *QUICK)
    assert not GlobalHydra.instance().is_initialized() and not [*tmp_path.iterdir()]
    result = train(config)
    assert result["head"] == "max_pool"
    [folder] = (tmp_path / "runs").iterdir()
    assert folder.name == Path(config.folder).name and "_max_pool_" in folder.name
    assert load_run(folder).config["model"]["encoder"]["hidden_size"] == 4
    assert Path(compose("model.head=max_pool", *QUICK).folder).name != folder.name


def test_it_is_what_the_command_line_composes(tmp_path: Path) -> None:
    words = ("model=tagger", "data=python_syntax", "optimizer=sgd", f"folder={tmp_path}", *QUICK)
    config = compose(*words)
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):  # of the notebook's own
        assert config == hydra_compose("train", [*words]) == compose(*words)
        assert GlobalHydra.instance().is_initialized()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("model.hed=x", "model.hed is not a key of the configuration: did you mean model.head?"),
        ("model.dropout=2", "model.dropout=2: set it to a number of at least 0 and less than 1"),
        ("model=tager", "model=tager: choose one of .*; did you mean model=tagger"),
        ("data=text", None),
        ("seed=", "seed"),
    ],
)
def test_a_mistake_is_told(word: str, message: str | None) -> None:
    if message is None:  # is found by `train`, when the data is read
        assert compose(word).data.train is None
        return
    with pytest.raises(UserError, match=message) as caught:
        compose(word)
    assert "\n" not in str(caught.value)
