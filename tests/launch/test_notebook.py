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


def test_a_training_leaves_its_folder_and_nothing_of_hydra(
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
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):  # of the notebook's own
        assert config == hydra_compose("train", [*words]) == compose(*words)
        assert GlobalHydra.instance().is_initialized()


def test_a_mistake_is_told_in_one_line_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="^model.hed is not a key .*did you mean model.head") as one:
        compose("model.hed=x")
    assert "\n" not in str(one.value)
    for wrong, message in (("data.name=???", "data.name must be"), ("model.dropout=2",) * 2):
        config = compose(wrong, f"folder={tmp_path / 'run'}", *QUICK)
        with pytest.raises(UserError, match=f"^{message}"):
            train(config)
    assert not (tmp_path / "run").exists()
