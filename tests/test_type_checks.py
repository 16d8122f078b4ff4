"""In every test, a wrong type and a wrong shape are errors."""

from __future__ import annotations

import pytest
import torch
from jaxtyping import TypeCheckError

from seqmodels.launch.composed import key_of
from seqmodels.nn.encoder import RecurrentEncoder


def test_an_argument_of_another_type_is_an_error() -> None:
    with pytest.raises(TypeError, match="word"):
        key_of(7)  # type: ignore[arg-type]


def test_a_tensor_of_another_shape_is_an_error() -> None:
    encoder = RecurrentEncoder(5, 4)
    with pytest.raises(TypeCheckError, match="inputs"):
        encoder(torch.zeros(2, 3), torch.tensor([3, 1]))
    with pytest.raises(TypeCheckError, match="lengths"):  # of another batch
        encoder(torch.zeros(2, 3, 5), torch.tensor([3, 1, 1]))
