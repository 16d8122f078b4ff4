"""What tests share is what each would get alone, and what is checked of a call is checked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from beartype import beartype
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from jaxtyping import Float
from torch import Tensor

from seqmodels.data.series import rows_of_ts
from tests.type_checks import jaxtyped


def test_a_file_of_a_configuration_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    file, source = tmp_path / "mine.yaml", FileConfigSource("mine", str(tmp_path))
    file.write_text("size: 1\n")
    first = source.load_config("mine")
    first.config.size = 5  # which Hydra may do, and which is nobody else's
    assert source.load_config("mine").config == {"size": 1}
    file.write_text("size: 12\n")
    assert source.load_config("mine").config == {"size": 12}


def test_a_file_of_series_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    file = tmp_path / "mine.ts"
    for label in ("a", "bb"):
        file.write_text(f"@data\n1,2:3,4:{label}\n")
        for _ in range(2):
            [(series, found)] = rows_of_ts(str(file))
            assert found == label and series.tolist() == [[1, 3], [2, 4]]
            series += 1  # which is nobody else's


def checked(function: Callable[..., object]) -> Callable[..., object]:
    return jaxtyped(function, typechecker=beartype)


def adder(number: int) -> Callable[..., object]:
    def add(value: int) -> int:
        return number + value

    return checked(add)


def test_a_function_within_another_is_checked_each_time_that_it_is_made() -> None:
    for number in range(3):
        add = adder(number)
        assert add(5) == number + 5
        with pytest.raises(TypeError):
            add("5")


def test_an_axis_has_one_size_in_a_call() -> None:
    def first(
        one: Float[Tensor, "rows 2"], two: Float[Tensor, "rows 2"], size: int
    ) -> Float[Tensor, "rows 2"]:
        return torch.cat([one, two])[:size]

    call, three, four = checked(first), torch.ones(3, 2), torch.ones(4, 2)
    assert call(three, three, 3).equal(three) and call(four, four, 4).equal(four)
    for arguments in ((three, four, 3), (three, three, 4), (three, three.long(), 3)):
        with pytest.raises(TypeError):
            call(*arguments)
