"""A model is found by module or file, and its first layer says what it takes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from torch import nn

from seqmodels.audit.find_model import find_model
from seqmodels.audit.random_inputs import random_batch
from seqmodels.errors import UserError


def test_a_file_is_told_from_others_of_its_name_and_imports_what_is_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    package = tmp_path / "lib" / "package_of_mine"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "parts.py").write_text("part = 7")
    for folder in ("one", "two", package):
        Path(folder).mkdir(exist_ok=True)
        own = "from .parts import part" if folder == package else f"part = {folder!r}"
        Path(folder, "model_of_mine.py").write_text(f"{own}\nmodel = lambda inputs, lengths: part")
    for folder, found in (("two", "two"), ("one", "one"), (package, 7), ("two", "two")):
        assert find_model(f"{folder}/model_of_mine.py:model")(None, None) == found
    with pytest.raises(UserError, match="target=nowhere.py:Model cannot .*ModuleNotFoundError"):
        find_model("nowhere.py:Model")


@pytest.mark.parametrize(
    ("layer", "features"),
    [
        (nn.Sequential(nn.Dropout(), nn.Embedding(9, 4), nn.LSTM(4, 4)), ()),
        (nn.LSTM(5, 3), (5,)),
        (nn.Conv1d(7, 3, 1), (7,)),
    ],
)
def test_the_first_layer_says_what_it_takes(layer: nn.Module, features: tuple[int, ...]) -> None:
    for model in (layer, lambda inputs, lengths: layer(inputs)):
        inputs, lengths = random_batch(model)
        assert inputs.shape == (4, 20, *features) and inputs.is_floating_point() == bool(features)
        assert lengths.tolist() == [20, 15, 10, 5]
    assert random_batch(layer, features=2)[0].shape == (4, 20, 2)
    with pytest.raises(UserError, match="give one of"):
        random_batch(lambda inputs, lengths: inputs)
