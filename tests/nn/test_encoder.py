"""`RecurrentEncoder` against a cell-by-cell reference, and its two ways against each other."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any
from unittest import mock

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from seqmodels.nn import ragged
from seqmodels.nn.encoder import (
    FEWEST_STEPS,
    FEWEST_STEPS_TO_TRAIN,
    RecurrentEncoder,
    RNNOutput,
)
from tests.reference import run_reference

pytestmark = pytest.mark.filterwarnings(
    "ignore:LSTM with projections is not supported with oneDNN:UserWarning"
)

F, H, P = 4, 6, 3  # features, hidden_size, proj_size
B, T, LENGTHS = 5, 9, [3, 7, 1, 7, 2]  # two steps of padding beyond the longest row

CELLS_AND_PROJECTIONS = [("lstm", 0), ("lstm", P), ("gru", 0), ("rnn", 0)]
cells = pytest.mark.parametrize(("cell", "proj_size"), CELLS_AND_PROJECTIONS)
all_layers = pytest.mark.parametrize("num_layers", [1, 2, 3])
both_directions = pytest.mark.parametrize("bidirectional", [False, True], ids=["one", "two"])
both_packings = pytest.mark.parametrize("packing", ["packed", "padded"])
from_a_state = pytest.mark.parametrize("with_state", [False, True], ids=["zeros", "state"])

LENGTH_MIXES: dict[str, tuple[list[int], int]] = {
    "all equal": ([7] * 5, 7),
    "all equal, extra padding": ([7] * 5, 10),
    "nearly equal": ([8, 7, 8, 8, 7], 8),
    "many rows, wildly ragged": ([1 + 37 * row % 43 for row in range(67)], 45),
    "one row": ([5], 8),
    "rows of one step": ([1, 8, 1, 1, 3], 8),
    "only rows of one step": ([1, 1, 1], 2),
}
mixes = pytest.mark.parametrize("mix", LENGTH_MIXES)


def make_encoder(cell: str = "lstm", num_layers: int = 1, seed: int = 0, **options: Any) -> Any:
    torch.manual_seed(seed)
    return RecurrentEncoder(F, H, num_layers, cell=cell, **options)


@pytest.fixture(
    params=product(CELLS_AND_PROJECTIONS, (False, True), ("packed", "padded")),
    ids=lambda choice: f"{choice[0][0]}-{choice[0][1]}-{'two' if choice[1] else 'one'}-{choice[2]}",
)
def encoder(request: pytest.FixtureRequest) -> Any:
    """Each kind, of two layers."""
    (cell, proj_size), bidirectional, packing = request.param
    return make_encoder(cell, 2, bidirectional=bidirectional, proj_size=proj_size, packing=packing)


def twin(encoder: RecurrentEncoder, packing: str) -> RecurrentEncoder:
    """Another encoder with the same weights, run the other way."""
    rnn = encoder.rnn
    other = RecurrentEncoder(
        rnn.input_size,
        rnn.hidden_size,
        rnn.num_layers,
        cell=encoder.cell,
        bidirectional=rnn.bidirectional,
        dropout=rnn.dropout,
        proj_size=rnn.proj_size,
        packing=packing,
    ).to(rnn.weight_ih_l0.dtype)
    other.load_state_dict(encoder.state_dict())
    return other


def make_inputs(batch: int = B, time: int = T, seed: int = 1) -> Tensor:
    return torch.randn(batch, time, F, generator=torch.Generator().manual_seed(seed))


def make_state(encoder: RecurrentEncoder, batch: int = B) -> tuple[Tensor, ...]:
    """`(h,)`, or for LSTM `(h, c)`, in PyTorch's layout."""
    generator = torch.Generator().manual_seed(2)
    widths = [encoder.output_size, encoder.rnn.hidden_size][: 2 if encoder.cell == "lstm" else 1]
    rows = encoder.num_layers * encoder.num_directions
    dtype = encoder.rnn.weight_ih_l0.dtype
    return tuple(torch.randn(rows, batch, w, generator=generator).to(dtype) for w in widths)


def as_argument(state: Sequence[Tensor] | None) -> Any:
    """How PyTorch wants it: a pair for LSTM, a tensor else."""
    if state is None:
        return None
    return tuple(state) if len(state) == 2 else state[0]


def parts(result: RNNOutput) -> list[Tensor]:
    """`output`, `h_n` and, for LSTM, `c_n`."""
    return [part for part in (result.output, result.h_n, result.c_n) if part is not None]


def assert_same(actual: Any, expected: Any, tolerance: float) -> None:
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def assert_same_to_scale(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    """Differences are measured against the largest element."""
    scale = float(expected.abs().max())
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance * scale)


def weighted_loss(result: RNNOutput) -> Tensor:
    """A number in which every element of output, h_n and c_n has a weight of its own."""
    generator = torch.Generator().manual_seed(3)
    weights = [torch.randn(part.shape, generator=generator) for part in parts(result)]
    products = zip(parts(result), weights, strict=True)
    return torch.stack([(part * weight).sum().double() for part, weight in products]).sum()


@pytest.fixture
def unchecked_types(monkeypatch: pytest.MonkeyPatch) -> None:
    """As users run the package: here, annotations would object before the package itself does."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


# ---------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)], ids=str
)
@from_a_state
@both_packings
@both_directions
@all_layers
@cells
def test_equals_the_reference(
    cell: str,
    proj_size: int,
    num_layers: int,
    bidirectional: bool,
    packing: str,
    with_state: bool,
    dtype: torch.dtype,
    tolerance: float,
) -> None:
    encoder = make_encoder(
        cell, num_layers, bidirectional=bidirectional, proj_size=proj_size, packing=packing
    ).to(dtype)
    inputs = make_inputs().to(dtype)
    state = make_state(encoder) if with_state else None
    with torch.no_grad():
        result = encoder(inputs, torch.tensor(LENGTHS), as_argument(state))
        output, h_n, c_n = run_reference(cell, encoder.rnn.state_dict(), inputs, LENGTHS, state)
    D = 2 if bidirectional else 1  # noqa: N806
    assert result.output.shape == (B, T, D * (proj_size or H))
    assert result.h_n.shape == (num_layers, D, B, proj_size or H)
    assert_same(result.output, output, tolerance)
    assert_same(result.h_n, h_n.unflatten(0, (num_layers, D)), tolerance)
    if c_n is None:
        assert result.c_n is None
    else:
        assert result.c_n.shape == (num_layers, D, B, H)
        assert_same(result.c_n, c_n.unflatten(0, (num_layers, D)), tolerance)
    assert result.lengths.tolist() == LENGTHS


@settings(max_examples=200, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 8), min_size=1, max_size=7),
    extra=st.integers(0, 2),
    cell_and_projection=st.sampled_from(CELLS_AND_PROJECTIONS),
    num_layers=st.integers(1, 2),
    bidirectional=st.booleans(),
    with_state=st.booleans(),
    steps_per_block=st.sampled_from([1, 3, ragged.STEPS_PER_BLOCK]),  # 1: as many blocks as rows
    seed=st.integers(0, 1000),
)
def test_padded_equals_the_reference_at_any_lengths(
    lengths: list[int],
    extra: int,
    cell_and_projection: tuple[str, int],
    num_layers: int,
    bidirectional: bool,
    with_state: bool,
    steps_per_block: int,
    seed: int,
) -> None:
    cell, proj_size = cell_and_projection
    encoder = make_encoder(
        cell, num_layers, seed, bidirectional=bidirectional, proj_size=proj_size, packing="padded"
    ).double()
    inputs = make_inputs(len(lengths), max(lengths) + extra, seed).double()
    state = make_state(encoder, len(lengths)) if with_state else None
    with torch.no_grad(), mock.patch.object(ragged, "STEPS_PER_BLOCK", steps_per_block):
        result = encoder(inputs, torch.tensor(lengths), as_argument(state))
        output, h_n, c_n = run_reference(cell, encoder.rnn.state_dict(), inputs, lengths, state)
    assert_same(result.output, output, 1e-10)
    assert_same(result.h_n.flatten(0, 1), h_n, 1e-10)
    if c_n is not None:
        assert_same(result.c_n.flatten(0, 1), c_n, 1e-10)


@both_packings
@both_directions
@all_layers
@cells
def test_output_and_h_n_hold_the_same_final_states(
    cell: str, proj_size: int, num_layers: int, bidirectional: bool, packing: str
) -> None:
    encoder = make_encoder(
        cell, num_layers, bidirectional=bidirectional, proj_size=proj_size, packing=packing
    )
    lengths = torch.tensor(LENGTHS)
    result = encoder(make_inputs(), lengths)
    width = proj_size or H
    last = result.output[torch.arange(B), lengths - 1]
    assert torch.equal(last[:, :width], result.h_n[-1, 0])
    if bidirectional:
        assert torch.equal(result.output[:, 0, width:], result.h_n[-1, 1])


def test_output_is_exactly_zero_at_padding(encoder: RecurrentEncoder) -> None:
    result = encoder(make_inputs(), torch.tensor(LENGTHS))
    for row, length in zip(result.output, LENGTHS, strict=True):
        assert torch.count_nonzero(row[length:]) == 0
        assert torch.count_nonzero(row[:length]) == row[:length].numel()
    assert result.mask.tolist() == [[step < length for step in range(T)] for length in LENGTHS]


def test_no_lengths_means_full_lengths(encoder: RecurrentEncoder) -> None:
    inputs = make_inputs()
    without, full = encoder(inputs), encoder(inputs, torch.full((B,), T))
    for a, b in zip(parts(without), parts(full), strict=True):
        assert torch.equal(a, b)
    assert without.lengths.tolist() == [T] * B
    output, h_n, _ = run_reference(encoder.cell, encoder.rnn.state_dict(), inputs, [T] * B)
    assert_same(without.output, output, 1e-5)
    assert_same(without.h_n.flatten(0, 1), h_n, 1e-5)


def test_permuted_rows_give_permuted_results(encoder: RecurrentEncoder) -> None:
    inputs, lengths, order = make_inputs(), torch.tensor(LENGTHS), torch.tensor([3, 0, 4, 1, 2])
    state = make_state(encoder)
    result = encoder(inputs, lengths, as_argument(state))
    permuted = encoder(
        inputs[order], lengths[order], as_argument([part[:, order] for part in state])
    )
    assert_same(permuted.output, result.output[order], 1e-6)
    assert_same(permuted.h_n, result.h_n[:, :, order], 1e-6)
    if result.c_n is not None:
        assert_same(permuted.c_n, result.c_n[:, :, order], 1e-6)


@pytest.mark.parametrize("packing", ["auto", "packed", "padded"])
@cells
def test_result_does_not_depend_on_recording_gradients(
    cell: str, proj_size: int, packing: str
) -> None:
    encoder = make_encoder(cell, 2, bidirectional=True, proj_size=proj_size, packing=packing)
    inputs, lengths = make_inputs(), torch.tensor(LENGTHS)
    recorded = encoder(inputs, lengths)
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            plain = encoder(inputs, lengths)
        for a, b in zip(parts(plain), parts(recorded), strict=True):
            assert_same(a, b, 1e-5)


# ---------------------------------------------------------------- padded against packed


def test_blocks_cover_each_row_to_its_end() -> None:
    lengths = sorted(LENGTH_MIXES["many rows, wildly ragged"][0], reverse=True)
    blocks = ragged.time_blocks(torch.tensor(lengths))
    assert len(blocks) > 2
    assert [start for start, _, _ in blocks] == [0, *(stop for _, stop, _ in blocks[:-1])]
    assert blocks[-1][1] == max(lengths)
    for start, stop, rows in blocks:
        assert start < stop
        assert rows == sum(length > start for length in lengths)


def test_rows_of_equal_length_are_one_block() -> None:
    assert ragged.time_blocks(torch.tensor([7] * 50)) == [(0, 7, 50)]


def run_with_gradients(
    encoder: RecurrentEncoder, lengths: list[int], time: int, with_state: bool
) -> tuple[RNNOutput, dict[str, Tensor]]:
    """The result, and the gradient of inputs, initial state and every parameter."""
    inputs = make_inputs(len(lengths), time).to(encoder.rnn.weight_ih_l0.dtype).requires_grad_()
    leaves = {"inputs": inputs, **dict(encoder.rnn.named_parameters())}
    state = None
    if with_state:
        state = [part.requires_grad_() for part in make_state(encoder, len(lengths))]
        leaves |= {f"state {number}": part for number, part in enumerate(state)}
    result = encoder(inputs, torch.tensor(lengths), as_argument(state))
    gradients = torch.autograd.grad(weighted_loss(result), list(leaves.values()))
    return result, dict(zip(leaves, gradients, strict=True))


@from_a_state
@mixes
@both_directions
@all_layers
@cells
def test_padded_agrees_with_packed_in_values_and_gradients(
    cell: str, proj_size: int, num_layers: int, bidirectional: bool, mix: str, with_state: bool
) -> None:
    lengths, time = LENGTH_MIXES[mix]
    packed = make_encoder(
        cell, num_layers, bidirectional=bidirectional, proj_size=proj_size, packing="packed"
    )
    expected, expected_gradients = run_with_gradients(packed, lengths, time, with_state)
    actual, gradients = run_with_gradients(twin(packed, "padded"), lengths, time, with_state)
    for a, b in zip(parts(actual), parts(expected), strict=True):
        assert_same(a, b, 1e-5)
    assert gradients.keys() == expected_gradients.keys()
    for name, gradient in expected_gradients.items():
        assert torch.count_nonzero(gradient) or (
            max(lengths) == 1 and name.startswith("weight_hh") and not with_state
        )
        assert_same_to_scale(gradients[name], gradient, 1e-4)


@both_directions
@cells
def test_padded_gradients_equal_finite_differences(
    cell: str, proj_size: int, bidirectional: bool
) -> None:
    encoder = make_encoder(
        cell, 2, bidirectional=bidirectional, proj_size=proj_size, packing="padded"
    ).double()
    lengths = torch.tensor([2, 4, 1])
    inputs = make_inputs(3, 4).double().requires_grad_()
    state = [part.requires_grad_() for part in make_state(encoder, 3)]

    def run(inputs: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        return tuple(parts(encoder(inputs, lengths, as_argument(state))))

    with mock.patch.object(ragged, "STEPS_PER_BLOCK", 1):
        assert torch.autograd.gradcheck(run, (inputs, *state), fast_mode=True)


def test_a_gru_and_an_rnn_on_a_cpu_are_one_node_for_each_layer() -> None:
    """Not as many as they have steps; where a tracer needs PyTorch's own operators, those."""

    def nodes(cell: str) -> set[str]:
        rnn = make_encoder(cell).double().rnn
        output, _ = ragged.run_padded(rnn, make_inputs().double(), torch.tensor(LENGTHS))
        seen, ahead = set[Any](), [output.grad_fn]
        while ahead:
            node = ahead.pop()
            if node is not None and node not in seen:
                seen.add(node)
                ahead += [below for below, _ in node.next_functions]
        return {node.name() for node in seen}

    for cell in ("gru", "rnn"):
        assert "LayerByHandBackward" in nodes(cell)
        with torch.autograd.forward_ad.dual_level():
            assert "TanhBackward0" in nodes(cell)


@both_directions
@pytest.mark.parametrize("cell", ["gru", "rnn"])
def test_padded_gradients_have_gradients(cell: str, bidirectional: bool) -> None:
    packed = make_encoder(cell, 2, bidirectional=bidirectional, packing="packed").double()
    found = []
    for encoder in (packed, twin(packed, "padded")):
        inputs = make_inputs().double().requires_grad_()
        state = make_state(encoder)[0].requires_grad_()
        leaves = [inputs, state, *encoder.parameters()]
        carried = encoder(inputs, state=state).state  # depends on the weights too
        loss = weighted_loss(encoder(inputs, torch.tensor(LENGTHS), carried))
        first = torch.autograd.grad(loss, leaves, create_graph=True)
        penalty = torch.stack([gradient.square().sum() for gradient in first]).sum()
        second = torch.autograd.grad(penalty, leaves)
        found.append([gradient.detach() for gradient in (*first, *second)])
    for a, b in zip(*found, strict=True):
        assert_same_to_scale(a, b, 1e-10)


@pytest.mark.parametrize("cell", ["gru", "rnn"])
def test_padded_rows_run_under_transforms_of_functions(cell: str) -> None:
    encoder = make_encoder(cell, packing="padded").double()
    inputs, lengths = make_inputs().double(), torch.tensor(LENGTHS)

    def loss(inputs: Tensor) -> Tensor:
        return encoder(inputs, lengths).output.square().sum()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        gradient = torch.func.grad(loss)(inputs)
    (expected,) = torch.autograd.grad(loss(inputs.requires_grad_()), inputs)
    assert_same(gradient, expected, 1e-10)


@pytest.mark.parametrize("scale", [1.0, 30.0, 300.0])
@both_directions
@pytest.mark.parametrize("proj_size", [0, P])
@pytest.mark.parametrize("num_layers", [1, 3])
def test_padded_c_n_is_exact_however_large_the_pre_activations(
    num_layers: int, proj_size: int, bidirectional: bool, scale: float
) -> None:
    encoder = make_encoder(
        "lstm", num_layers, bidirectional=bidirectional, proj_size=proj_size, packing="padded"
    ).double()
    with torch.no_grad():
        for name, parameter in encoder.rnn.named_parameters():
            if not name.startswith("weight_hr"):  # the projection, which comes after the gates
                parameter *= scale
    lengths = [1, 40, 2, 17]  # the short rows keep their cell state through many padded steps
    inputs = 3 * make_inputs(4, 40).double()
    if scale == 300:
        pre_activation = inputs[0, 0] @ encoder.rnn.weight_ih_l0.T
        assert pre_activation.abs().max() > 500
    with torch.no_grad():
        result = encoder(inputs, torch.tensor(lengths))
        _, _, c_n = run_reference("lstm", encoder.rnn.state_dict(), inputs, lengths)
    assert c_n is not None
    assert_same(result.c_n.flatten(0, 1), c_n, 1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_padded_c_n_is_kept_against_biases_that_would_overwrite_it(dtype: torch.dtype) -> None:
    encoder = make_encoder(packing="padded").to(dtype)
    with torch.no_grad():
        encoder.rnn.bias_ih_l0[:H] = 3000.0  # input gate open
        encoder.rnn.bias_ih_l0[H : 2 * H] = -3000.0  # forget gate shut
    lengths, inputs = [1, 40, 2, 17], make_inputs(4, 40).to(dtype)
    with torch.no_grad():
        result = encoder(inputs, torch.tensor(lengths))
        _, _, c_n = run_reference("lstm", encoder.rnn.state_dict(), inputs, lengths)
    assert c_n is not None
    assert_same(result.c_n[0], c_n, 1e-6)


# ---------------------------------------------------------------- padding


@pytest.mark.parametrize("content", [0.0, 1e30, float("nan"), float("inf"), -float("inf")])
def test_content_of_the_padding_changes_nothing(encoder: RecurrentEncoder, content: float) -> None:
    lengths = torch.tensor(LENGTHS)
    random = make_inputs()
    padding = torch.arange(T) >= lengths.unsqueeze(1)
    filled = random.masked_fill(padding.unsqueeze(-1), content)
    results, gradients = [], []
    for inputs in (random, filled):
        inputs.requires_grad_()
        result = encoder(inputs, lengths)
        leaves = [inputs, *encoder.rnn.parameters()]
        gradients.append(torch.autograd.grad(weighted_loss(result), leaves))
        results.append(result)
    for a, b in zip(parts(results[1]), parts(results[0]), strict=True):
        assert_same(a, b, 1e-7)
    for a, b in zip(gradients[1], gradients[0], strict=True):
        assert_same(a, b, 1e-6)


def test_amount_of_padding_changes_nothing(encoder: RecurrentEncoder) -> None:
    lengths, inputs = torch.tensor(LENGTHS), make_inputs()
    longest = max(LENGTHS)
    results, gradients = [], []
    for time in (longest, T):
        result = encoder(inputs[:, :time], lengths)
        assert result.output.shape[1] == time
        loss = result.output.square().sum() + result.h_n.sum()
        gradients.append(torch.autograd.grad(loss, list(encoder.rnn.parameters())))
        results.append(result)
    short, long = results
    assert_same(long.output[:, :longest], short.output, 1e-6)
    for a, b in zip(parts(long)[1:], parts(short)[1:], strict=True):
        assert_same(a, b, 1e-6)
    for a, b in zip(gradients[1], gradients[0], strict=True):
        assert_same(a, b, 1e-6)


def test_gradient_of_inputs_at_padding_is_exactly_zero(encoder: RecurrentEncoder) -> None:
    _, gradients = run_with_gradients(encoder, LENGTHS, T, with_state=True)
    for row, length in zip(gradients["inputs"], LENGTHS, strict=True):
        assert torch.count_nonzero(row[length:]) == 0
        assert torch.count_nonzero(row[:length]) == row[:length].numel()


def test_rows_do_not_see_each_other(encoder: RecurrentEncoder) -> None:
    inputs = make_inputs().requires_grad_()
    result = encoder(inputs, torch.tensor(LENGTHS))
    for row in range(B):
        mine = torch.stack(
            [result.output[row].sum(), *(part[:, :, row].sum() for part in parts(result)[1:])]
        ).sum()
        (gradient,) = torch.autograd.grad(mine, inputs, retain_graph=True)
        others = [other for other in range(B) if other != row]
        assert torch.count_nonzero(gradient[row])
        assert torch.count_nonzero(gradient[others]) == 0


# ---------------------------------------------------------------- the carried state


@both_packings
@all_layers
@cells
def test_feeding_in_chunks_equals_feeding_at_once(
    cell: str, proj_size: int, num_layers: int, packing: str
) -> None:
    encoder = make_encoder(cell, num_layers, proj_size=proj_size, packing=packing)
    inputs, lengths = make_inputs(), torch.tensor([7, 5, 8, 6, 5])
    at_once = encoder(inputs, lengths)
    first = encoder(inputs[:, :3])
    second = encoder(inputs[:, 3:4], state=first.state)
    third = encoder(inputs[:, 4:], lengths - 4, second.state)
    assert_same(torch.cat([first.output, second.output, third.output], 1), at_once.output, 1e-6)
    for a, b in zip(parts(third)[1:], parts(at_once)[1:], strict=True):
        assert_same(a, b, 1e-6)


@both_directions
@all_layers
@cells
def test_state_is_in_the_layout_of_pytorch(
    cell: str, proj_size: int, num_layers: int, bidirectional: bool
) -> None:
    encoder = make_encoder(cell, num_layers, bidirectional=bidirectional, proj_size=proj_size)
    inputs = make_inputs()
    state = encoder(inputs).state
    _, expected = encoder.rnn(inputs)
    for a, b in zip(
        [state] if isinstance(state, Tensor) else state,
        [expected] if isinstance(expected, Tensor) else expected,
        strict=True,
    ):
        assert torch.equal(a, b)
    assert isinstance(state, tuple) == (cell == "lstm")


# ---------------------------------------------------------------- weights, dropout, precision


def test_weights_of_plain_pytorch_load_both_ways(encoder: RecurrentEncoder) -> None:
    kind = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[encoder.cell]
    assert type(encoder.rnn) is kind
    options = {"proj_size": encoder.rnn.proj_size} if encoder.rnn.proj_size else {}
    torch.manual_seed(5)
    plain = kind(F, H, 2, batch_first=True, bidirectional=encoder.bidirectional, **options)
    assert encoder.rnn.state_dict().keys() == plain.state_dict().keys()
    inputs, lengths = make_inputs(), torch.tensor(LENGTHS)

    def check() -> None:
        packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
        expected, final = plain(packed)
        expected, _ = pad_packed_sequence(expected, batch_first=True, total_length=T)
        result = encoder(inputs, lengths)
        assert_same(result.output, expected, 1e-6)
        h_n, *c_n = final if isinstance(final, tuple) else (final,)
        assert_same(result.h_n.flatten(0, 1), h_n, 1e-6)
        for part in c_n:
            assert_same(result.c_n.flatten(0, 1), part, 1e-6)

    encoder.rnn.load_state_dict(plain.state_dict())
    check()
    torch.manual_seed(7)
    encoder.rnn.reset_parameters()
    with pytest.raises(AssertionError):
        check()  # the weights did change
    plain.load_state_dict(encoder.rnn.state_dict())
    check()


def test_dropout_acts_in_training_only(encoder: RecurrentEncoder) -> None:
    encoder.rnn.dropout = 0.5
    inputs, lengths = make_inputs(), torch.tensor(LENGTHS)
    first, second = encoder(inputs, lengths), encoder(inputs, lengths)
    assert not torch.allclose(first.output, second.output)
    encoder.eval()
    first, second = encoder(inputs, lengths), encoder(inputs, lengths)
    assert torch.equal(first.output, second.output)
    output, _, _ = run_reference(encoder.cell, encoder.rnn.state_dict(), inputs, LENGTHS)
    assert_same(first.output, output, 1e-5)


def test_dropout_of_everything_leaves_the_second_layer_without_inputs(
    encoder: RecurrentEncoder,
) -> None:
    encoder.rnn.dropout = 1.0  # which no argument may be
    inputs, lengths = make_inputs(), torch.tensor(LENGTHS)
    result = encoder(inputs, lengths)
    weights = encoder.rnn.state_dict()
    for name in weights:
        if name.startswith("weight_ih_l1"):
            weights[name] = torch.zeros_like(weights[name])
    output, h_n, c_n = run_reference(encoder.cell, weights, inputs, LENGTHS)
    assert_same(result.output, output, 1e-5)  # nothing is dropped after the last layer
    assert_same(result.h_n.flatten(0, 1), h_n, 1e-5)  # nor within a layer, nor from the inputs
    if c_n is not None:
        assert_same(result.c_n.flatten(0, 1), c_n, 1e-5)


@both_packings
def test_dropout_drops_its_share_and_scales_the_rest(packing: str) -> None:
    p, batch, time = 0.25, 40, 30
    encoder = make_encoder("rnn", 2, packing=packing, dropout=p).double()
    with torch.no_grad():  # the second layer passes on what it gets: tanh(x) is x for small x
        for name, parameter in encoder.rnn.named_parameters():
            if name.endswith("_l1"):
                parameter.zero_()
        encoder.rnn.weight_ih_l1.copy_(1e-4 * torch.eye(H))
    inputs = make_inputs(batch, time).double()
    lengths = 1 + torch.arange(batch) % time
    with torch.no_grad():
        kept = encoder(inputs, lengths).output
        everything = encoder.eval()(inputs, lengths)
    ratio = (kept / everything.output)[everything.mask]
    dropped = ratio == 0
    assert_same(ratio[~dropped], torch.full_like(ratio[~dropped], 1 / (1 - p)), 1e-6)
    # a share of p in n draws deviates by sqrt(p (1 - p) / n): five times that is allowed
    assert abs(float(dropped.double().mean()) - p) < 5 * (p * (1 - p) / ratio.numel()) ** 0.5


@from_a_state
@both_packings
@cells
def test_bfloat16_autocast_is_near_float32(
    cell: str, proj_size: int, packing: str, with_state: bool
) -> None:
    encoder = make_encoder(cell, 2, bidirectional=True, proj_size=proj_size, packing=packing)
    lengths, time = LENGTH_MIXES["many rows, wildly ragged"]
    expected, expected_gradients = run_with_gradients(encoder, lengths, time, with_state)
    with torch.autocast("cpu", torch.bfloat16):
        actual, gradients = run_with_gradients(encoder, lengths, time, with_state)
    for a, b in zip(parts(actual), parts(expected), strict=True):
        assert_same(a.float(), b, 0.03)
    for name, gradient in expected_gradients.items():
        assert_same_to_scale(gradients[name].float(), gradient, 0.05)


@pytest.mark.parametrize("recorded", [False, True], ids=["inference", "training"])
@cells
def test_auto_packs_rows_too_short_for_blocks(cell: str, proj_size: int, recorded: bool) -> None:
    """In inference, all rows of a cell that oneDNN lacks."""
    fewest = FEWEST_STEPS_TO_TRAIN if recorded else FEWEST_STEPS
    calls: list[Any] = []
    encoder = make_encoder(cell, proj_size=proj_size)
    encoder.rnn.register_forward_pre_hook(lambda _, arguments: calls.append(arguments[0]))
    for longest in (fewest - 1, fewest):
        with torch.set_grad_enabled(recorded):
            encoder(make_inputs(2, fewest + 1), [longest, 1])
    by_onednn = cell == "lstm" and not proj_size
    assert [type(rows) for rows in calls] == [PackedSequence] * (1 if recorded or by_onednn else 2)


@pytest.mark.parametrize("packing", ["auto", "packed", "padded"])
def test_rows_of_one_length_run_without_their_padding(packing: str) -> None:
    calls: list[Tensor] = []
    encoder = make_encoder("lstm", bidirectional=True, packing=packing)
    encoder.rnn.register_forward_pre_hook(lambda _, arguments: calls.append(arguments[0]))
    inputs = make_inputs()
    inputs[:, 4:] = math.nan
    result = encoder(inputs, [4] * B)
    expected = encoder(inputs[:, :4])
    assert [rows.shape[1] for rows in calls] == [4, 4]
    assert_same(result.output, nn.functional.pad(expected.output, (0, 0, 0, T - 4)), 0.0)
    assert_same(result.c_n, expected.c_n, 0.0)
    with pytest.raises(RuntimeError):
        encoder(inputs, [T + 1] * B)


# ---------------------------------------------------------------- properties and errors


@pytest.mark.parametrize(
    ("options", "directions", "width"),
    [
        ({}, 1, H),
        ({"bidirectional": True}, 2, H),
        ({"bidirectional": True, "proj_size": P}, 2, P),
        ({"cell": "gru", "num_layers": 3}, 1, H),
    ],
)
def test_properties_tell_the_layout(options: dict[str, Any], directions: int, width: int) -> None:
    encoder = make_encoder(**options)
    assert encoder.num_directions == directions
    assert encoder.bidirectional == (directions == 2)
    assert encoder.output_size == width
    assert encoder.num_layers == options.get("num_layers", 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "lstn"}, "encoder.cell=lstn: choose one of gru, lstm, rnn; did you mean lstm?"),
        ({"packing": "best"}, "encoder.packing=best: input should"),
        ({"input_size": 0}, "encoder.input_size=0: input should"),
        ({"hidden_size": 0}, "encoder.hidden_size=0: input should"),
        ({"hidden_size": -6}, "encoder.hidden_size=-6: input should"),
        ({"num_layers": 0}, "encoder.num_layers=0: input should"),
        *(
            (
                {"cell": cell, "proj_size": 3},
                "encoder.proj_size is 3: only cell=lstm has projections",
            )
            for cell in ("gru", "rnn")
        ),
        (
            {"proj_size": 6},
            "encoder.proj_size is 6: it must be 0 (none) or less than hidden_size=6",
        ),
        ({"proj_size": -1}, "encoder.proj_size=-1: input should"),
        (
            {"dropout": 0.5},
            "encoder.dropout is 0.5, but it acts between layers and there is only one: "
            "set encoder.dropout=0 or encoder.num_layers=2",
        ),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_wrong_argument_is_named_with_what_to_change(options: dict[str, Any], message: str) -> None:
    build: Callable[..., RecurrentEncoder] = RecurrentEncoder
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        build(**{"input_size": F, "hidden_size": H, **options})


# ---------------------------------------------------------------- accelerators


@both_directions
@cells
@pytest.mark.parametrize("mix", ["many rows, wildly ragged", "all equal, extra padding"])
def test_the_calls_of_an_accelerator_equal_packing(
    cell: str, proj_size: int, bidirectional: bool, mix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All rows in each call, and no call of more steps than cuDNN takes."""
    monkeypatch.setattr(ragged, "MOST_STEPS", 4)
    monkeypatch.setattr(ragged, "time_blocks", lambda x: ragged.long_calls(int(x[0]), len(x)))
    lengths, time = LENGTH_MIXES[mix]
    options = {"bidirectional": bidirectional, "proj_size": proj_size}
    padded = make_encoder(cell, 2, packing="padded", **options)
    mine, my_gradients = run_with_gradients(padded, lengths, time, with_state=True)
    want, gradients = run_with_gradients(twin(padded, "packed"), lengths, time, with_state=True)
    for a, b in zip(parts(mine), parts(want), strict=True):
        assert_same(a, b, 1e-6)
    for name, gradient in gradients.items():
        assert_same_to_scale(my_gradients[name], gradient, 1e-5)


def test_weights_side_by_side_are_the_same_in_one_piece_of_memory() -> None:
    weights = make_encoder("lstm").rnn.all_weights[0]
    moved = ragged.side_by_side(weights)
    at = moved[0].data_ptr()
    for a, b in zip(moved, weights, strict=True):
        assert a.data_ptr() == at
        assert_same(a, b, 0.0)
        at += a.numel() * a.element_size()
    gradients = torch.autograd.grad(sum(part.square().sum() for part in moved), weights)
    for gradient, weight in zip(gradients, weights, strict=True):
        assert_same(gradient, 2 * weight, 0.0)


@both_directions
@cells
def test_an_accelerator_never_packs(cell: str, proj_size: int, bidirectional: bool) -> None:
    """`meta` stands for one: it refuses what would wait for its values, as packing does."""
    options = {"bidirectional": bidirectional, "proj_size": proj_size}
    encoder = make_encoder(cell, 2, dropout=0.1, **options).to("meta")
    lengths = torch.tensor(LENGTHS)
    result = encoder(make_inputs().to("meta").requires_grad_(), lengths)
    weighted = [part.sum() for part in parts(result)]
    torch.stack(weighted).sum().backward()
    assert {part.device.type for part in parts(result)} == {"meta"}
    with torch.inference_mode():
        encoder(make_inputs().to("meta"), lengths)
