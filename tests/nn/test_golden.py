"""Numbers to check an implementation with: published ones of `nn.LSTM`, step by step, reproduced
through `RecurrentEncoder`, and those of docs/names.md by PyTorch."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
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


NAMES = runpy.run_path(str(ROOT / "docs" / "vectors.py"))
CASES = {case.name: case for case in NAMES["cases"]()}
Network = Callable[..., tuple[Tensor, Any]]  # inputs, lengths, state -> output, final state


def arrays_of(case: str) -> dict[str, Tensor]:
    """What the file holds of a case, by name."""
    arrays = {}
    for key, array in NAMES["vectors"]().items():
        prefix, _, name = key.partition("/")
        if prefix == case:
            arrays[name] = torch.from_numpy(array)
    return arrays


def read_in_steps(
    network: Network, inputs: Tensor, lengths: Tensor, resets: Tensor, state: list[Tensor]
) -> tuple[Tensor, Any]:
    """Reads one step at a time. A state is set to zero where a reset stands before the step, and
    stays where its row has ended."""
    outputs = []
    for step in range(inputs.shape[1]):
        kept = ~resets[:, step].view(-1, 1)
        is_valid = (lengths > step).view(-1, 1)
        before = [part * kept for part in state]
        one_step = torch.ones_like(lengths)
        output, final = network(inputs[:, step : step + 1], one_step, state_of(*before))
        state = [torch.where(is_valid, after, part) for after, part in zip(parts_of(final), state)]
        outputs.append(output[:, 0] * is_valid)
    return torch.stack(outputs, dim=1), state_of(*state)


def assert_gives_the_vectors(case: str, network: Network, weights: dict[str, Tensor]) -> None:
    """That a network gives a case's output, final states and gradients."""
    expected = arrays_of(case)
    inputs = expected["inputs"].clone().requires_grad_()
    starts = {
        name: expected[name].clone().requires_grad_() for name in ("h_0", "c_0") if name in expected
    }
    lengths = expected["lengths"]
    state = [*starts.values()]
    if "resets" in expected:
        output, final = read_in_steps(network, inputs, lengths, expected["resets"], state)
    else:
        output, final = network(inputs, lengths, state_of(*state) if state else None)
    tensors = dict(zip(("output", "h_n", "c_n"), (output, *parts_of(final)), strict=False))
    for name, tensor in tensors.items():
        torch.testing.assert_close(tensor.detach(), expected[name])
    torch.stack([tensor.square().sum() for tensor in tensors.values()]).sum().backward()
    for name, leaf in {"inputs": inputs, **starts, **weights}.items():
        torch.testing.assert_close(leaf.grad, expected[f"grad/{name}"])


@pytest.mark.parametrize("case", CASES)
def test_pytorch_gives_the_vectors(case: str) -> None:
    network = CASES[case].network()
    expected = arrays_of(case)
    network.load_state_dict({name: expected[name] for name in network.state_dict()})

    def packed(inputs: Tensor, lengths: Tensor, state: Any) -> tuple[Tensor, Any]:
        rows = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
        output, final = network(rows, state)
        return pad_packed_sequence(output, batch_first=True)[0], final

    assert_gives_the_vectors(case, packed, dict(network.named_parameters()))


@pytest.mark.parametrize("packing", ["auto", "packed", "padded"])
@pytest.mark.parametrize("case", CASES)
def test_our_encoder_gives_the_vectors(case: str, packing: str) -> None:
    network = CASES[case].network()
    encoder = RecurrentEncoder(
        *(network.input_size, network.hidden_size, network.num_layers),
        cell=CASES[case].cell,
        bidirectional=network.bidirectional,
        proj_size=network.proj_size,
        packing=packing,
    ).double()
    expected = arrays_of(case)
    encoder.rnn.load_state_dict({name: expected[name] for name in encoder.rnn.state_dict()})

    def encode(inputs: Tensor, lengths: Tensor, state: Any) -> tuple[Tensor, Any]:
        states = encoder(inputs, lengths, state)
        return states.output, states.state

    assert_gives_the_vectors(case, encode, dict(encoder.rnn.named_parameters()))


def test_the_vectors_hold_what_found_faults_elsewhere() -> None:
    assert len(CASES) == 60
    assert {case.num_layers for case in CASES.values()} == {1, 2, 3}
    wide = arrays_of("gru_1x1_101rows")
    assert wide["inputs"].shape[0] > 100 and set(wide["lengths"].tolist()) == {1, 2}
    for case in CASES:
        if not case.endswith("_resets"):
            assert "resets" not in arrays_of(case)
            continue
        # Resets stand before a first step, inside a row, and twice in a row; and they count.
        resets = arrays_of(case)["resets"]
        assert resets.sum(dim=1).tolist() == [1, 2, 1] and resets[2, 0] and not resets[:2, 0].any()
        network = CASES[case].network()
        expected = arrays_of(case)
        network.load_state_dict({name: expected[name] for name in network.state_dict()})
        starts = [expected[name] for name in ("h_0", "c_0") if name in expected]
        output, _ = network(expected["inputs"], state_of(*starts))
        is_equal = torch.isclose(output, expected["output"]).all(dim=2)
        assert is_equal[0, :2].all() and is_equal[1, :1].all()
        assert not is_equal[0, 2] and not is_equal[1, 1:].any() and not is_equal[2, 0]
