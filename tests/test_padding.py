"""What anybody may use on padded rows, against PyTorch's packed cells and rows taken one by one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seqmodels.padding import (
    last_step,
    masked_max,
    masked_mean,
    masked_softmax,
    reverse_by_length,
    valid_steps,
)

B, T, F, H = 4, 7, 3, 5
LENGTHS = [7, 1, 4, 1]


@pytest.fixture
def rows() -> Tensor:
    """With padding that spoils whatever reads it."""
    values = torch.randn(B, T, F, generator=torch.Generator().manual_seed(0))
    return values.masked_fill(~valid_steps(LENGTHS, T).unsqueeze(-1), torch.nan)


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("lengths", [LENGTHS, torch.tensor(LENGTHS)], ids=["list", "tensor"])
def test_a_reversed_row_is_what_the_backward_direction_reads(
    cell: type[nn.RNNBase], lengths: list[int] | Tensor, rows: Tensor
) -> None:
    torch.manual_seed(0)
    both, forward = cell(F, H, bidirectional=True, batch_first=True), cell(F, H, batch_first=True)
    for name, weights in forward.named_parameters():
        weights.data.copy_(getattr(both, f"{name}_reverse"))
    packed = pack_padded_sequence(rows, torch.tensor(LENGTHS), True, enforce_sorted=False)
    output, final = both(packed)
    output = pad_packed_sequence(output, batch_first=True)[0]
    h_n = final[0] if isinstance(final, tuple) else final

    read = reverse_by_length(rows, lengths)
    assert torch.equal(read.isnan(), rows.isnan())
    backward = forward(read.nan_to_num())[0]  # padding comes last, so it changes no valid step
    torch.testing.assert_close(last_step(backward, lengths), h_n[1])
    there = valid_steps(lengths, T)
    again = reverse_by_length(backward, lengths)
    torch.testing.assert_close(again[there], output[..., H:][there])
    torch.testing.assert_close(last_step(output[..., :H], lengths), h_n[0])


@pytest.mark.parametrize(
    ("function", "of_a_row"),
    [
        (last_step, lambda row: row[-1]),
        (masked_mean, lambda row: row.mean(dim=0)),
        (masked_max, lambda row: row.amax(dim=0)),
    ],
)
@pytest.mark.parametrize("shape", [(F,), (), (F, 2)], ids=str)
def test_a_row_gives_what_it_gives_alone(
    function: Callable[..., Tensor], of_a_row: Callable[[Tensor], Tensor], shape: tuple[int, ...]
) -> None:
    values = torch.randn(B, T, *shape)
    padding = ~valid_steps(LENGTHS, T).view(B, T, *[1] * len(shape))
    expected = [of_a_row(row[:length]) for row, length in zip(values, LENGTHS)]
    made = function(values.masked_fill(padding, torch.nan), LENGTHS)
    torch.testing.assert_close(made, torch.stack(expected))


def test_weights_sum_to_one_over_valid_steps(rows: Tensor) -> None:
    weights = masked_softmax(rows, LENGTHS)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(B, F))
    assert not weights[rows.isnan()].any()
    torch.testing.assert_close(weights[2, :4], rows[2, :4].softmax(dim=0))


def test_gradients_reach_valid_steps_only(rows: Tensor) -> None:
    values = rows.nan_to_num().requires_grad_()
    functions = (reverse_by_length, masked_mean, masked_max, masked_softmax)
    made = [function(values, LENGTHS) for function in functions]
    made[0] = made[0].masked_fill(rows.isnan(), 0.0)
    sum((each * torch.randn_like(each)).sum() for each in made).backward()
    assert values.grad is not None
    assert not values.grad[rows.isnan()].any() and values.grad[~rows.isnan()].all()


def test_it_needs_pytorch_alone() -> None:
    code = "import sys, torch; before = {*sys.modules}; import seqmodels.padding; "
    code += "print([m for m in {*sys.modules} - before if not m.startswith('seqmodels')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
