"""Numbers to check an implementation with: published ones of `nn.LSTM`, step by step, reproduced
through `RecurrentEncoder`, and those of docs/names.md by PyTorch."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seqmodels.nn.cell import parts_of, state_of
from seqmodels.nn.encoder import RecurrentEncoder, RNNOutput
from tests.conftest import ROOT

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


# ---------------------------------------------------------------- docs/names.md


MADE = runpy.run_path(str(ROOT / "docs" / "vectors.py"))
KINDS, cases, vectors = (MADE[name] for name in ("KINDS", "cases", "vectors"))


@pytest.mark.parametrize("case", [case[0] for case in cases()])
def test_pytorch_gives_the_vectors(case: str) -> None:
    held = {n.partition("/")[2]: v for n, v in vectors().items() if n.startswith(f"{case}/")}
    kind, sizes, _ = case.replace("_proj", "-proj").split("_")
    layers, directions = map(int, sizes.split("x"))
    make, size = KINDS[kind.replace("-", "_")]
    options = {"proj_size": size} if size else {}
    network = make(2, 3, layers, bidirectional=directions == 2, batch_first=True, **options)
    network = network.double()
    network.load_state_dict({n: torch.from_numpy(held[n]) for n in network.state_dict()})
    inputs = torch.from_numpy(held["inputs"]).requires_grad_()
    packed = pack_padded_sequence(
        inputs, torch.from_numpy(held["lengths"]), batch_first=True, enforce_sorted=False
    )
    start = [torch.from_numpy(held[name]) for name in ("h_0", "c_0") if name in held]
    output, final = network(packed, state_of(*start)) if start else network(packed)
    output, _ = pad_packed_sequence(output, batch_first=True)
    tensors = dict(zip(("output", "h_n", "c_n"), (output, *parts_of(final)), strict=False))
    for name, tensor in tensors.items():
        torch.testing.assert_close(tensor.detach(), torch.from_numpy(held[name]))
    torch.stack([tensor.square().sum() for tensor in tensors.values()]).sum().backward()
    for name, leaf in {"inputs": inputs, **dict(network.named_parameters())}.items():
        torch.testing.assert_close(leaf.grad, torch.from_numpy(held[f"grad/{name}"]))
