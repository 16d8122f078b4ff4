"""Published step-by-step numbers of `nn.LSTM`, reproduced through `RecurrentEncoder`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqmodels.nn.encoder import RecurrentEncoder, RNNOutput

GOLDEN = json.loads((Path(__file__).parent / "golden_lstm.json").read_text())
ROUNDED = 5e-5  # the numbers are published with 4 digits
STEPS, SIZE = 5, 3


def run_recipe(table: dict[str, Any]) -> list[RNNOutput]:
    """Makes the random numbers in the recipe's order, then feeds one step at a time."""
    num_layers, bidirectional = table["num_layers"], table["bidirectional"]
    states = num_layers * (2 if bidirectional else 1)
    torch.manual_seed(table["seed"])
    inputs = [torch.randn(1, SIZE) for _ in range(STEPS)]
    state = torch.randn(states, 1, SIZE), torch.randn(states, 1, SIZE)
    plain = nn.LSTM(SIZE, SIZE, num_layers, bidirectional=bidirectional)
    encoder = RecurrentEncoder(SIZE, SIZE, num_layers, bidirectional=bidirectional)
    encoder.rnn.load_state_dict(plain.state_dict())
    results = []
    for step in inputs:
        result = encoder(step.view(1, 1, SIZE), state=state)
        results.append(result)
        state = result.state
    return results


def assert_rounds_to(actual: Tensor, published: list[float]) -> None:
    expected = torch.tensor(published)
    torch.testing.assert_close(actual.detach().flatten(), expected, rtol=0, atol=ROUNDED)


@pytest.mark.parametrize("name", ["single_layer", "two_layers_bidirectional"])
def test_published_steps_reproduce(name: str) -> None:
    table = GOLDEN[name]
    for step, result in enumerate(run_recipe(table)):
        assert_rounds_to(result.output, table["output"][step])
        assert_rounds_to(result.h_n, table["h_n"][step])
        assert result.c_n is not None
        assert_rounds_to(result.c_n, table["c_n"][step])


def test_published_last_output_and_h_n_reproduce() -> None:
    torch.manual_seed(0)
    plain = nn.LSTM(1, 50, 1)
    inputs = torch.rand(50, 1, 1).transpose(0, 1)  # (T, B, F) -> (B, T, F)
    encoder = RecurrentEncoder(1, 50)
    encoder.rnn.load_state_dict(plain.state_dict())
    result = encoder(inputs)
    published = GOLDEN["depth_one_last_step"]["output"]
    assert_rounds_to(result.output[:, -1], published)
    assert_rounds_to(result.h_n, published)
