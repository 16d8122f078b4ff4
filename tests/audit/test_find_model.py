"""A model is found by module or file, and its first layer says what it takes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from seqmodels.audit.find_model import find_model, random_batch
from seqmodels.errors import UserError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("model_of_mine", "package_of_mine", "package_of_mine.model_of_mine"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def write(path: Path, text: str) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return f"{path}:model"


def test_files_of_one_name_are_told_apart(folder: Path) -> None:
    for name in ("", "one", "two"):
        write(folder / name / "model_of_mine.py", f"model = lambda inputs, lengths: {name!r}")
    for name in ("two", "one", "two", ""):
        place = Path(name, "model_of_mine.py")
        assert find_model(f"{place}:model")(None, None) == name


def test_a_file_of_a_package_imports_what_is_beside_it(folder: Path) -> None:
    package = folder / "lib" / "package_of_mine"
    package.mkdir(parents=True)
    write(package / "__init__.py", "")
    write(package / "parts.py", "part = 7")
    place = write(
        package / "model_of_mine.py",
        "from .parts import part\nmodel = lambda inputs, lengths: part",
    )
    assert find_model(place)(None, None) == 7


def test_a_file_that_is_not_there(folder: Path) -> None:
    with pytest.raises(UserError, match="target=nowhere.py:Model: ModuleNotFoundError"):
        find_model("nowhere.py:Model")


@pytest.mark.parametrize(
    ("layer", "shape", "dtype"),
    [
        (nn.Sequential(nn.Dropout(), nn.Embedding(9, 4), nn.LSTM(4, 4)), (4, 20), torch.int64),
        (nn.LSTM(5, 3), (4, 20, 5), torch.float32),
        (nn.Linear(6, 3), (4, 20, 6), torch.float32),
        (nn.Conv1d(7, 3, 1), (4, 20, 7), torch.float32),
    ],
)
def test_the_first_layer_says_what_it_takes(layer: nn.Module, shape: Any, dtype: Any) -> None:
    for model in (layer, lambda inputs, lengths: layer(inputs)):
        inputs, lengths = random_batch(model)
        assert inputs.shape == shape and inputs.dtype == dtype
        assert lengths.tolist() == [20, 15, 10, 5]
    assert random_batch(layer, features=2)[0].shape == (4, 20, 2)
    with pytest.raises(UserError, match="give one of"):
        random_batch(lambda inputs, lengths: inputs)
