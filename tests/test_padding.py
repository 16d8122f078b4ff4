"""What anybody may use on padded rows, against PyTorch's packed cells and rows taken one by one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
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

# of a row without padding
ALONE: dict[Callable[..., Tensor], Callable[[Tensor], Tensor]] = {
    last_step: lambda row: row[-1],
    masked_mean: lambda row: row.mean(dim=0),
    masked_max: lambda row: row.amax(dim=0),
    masked_softmax: lambda row: row.softmax(dim=0),
    reverse_by_length: lambda row: row.flip(0),
}


@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    more=st.integers(0, 2),
    shape=st.sampled_from([(), (3,), (3, 2)]),
    as_given=st.sampled_from([list, torch.tensor]),
    seed=st.integers(0, 99),
)
def test_a_row_gives_what_it_gives_alone_and_its_padding_gets_no_gradient(
    lengths: list[int], more: int, shape: tuple[int, ...], as_given: Any, seed: int
) -> None:
    torch.manual_seed(seed)
    rows = torch.randn(len(lengths), max(lengths) + more, *shape)
    valid = torch.stack([torch.arange(rows.shape[1]) < length for length in lengths])
    assert torch.equal(valid_steps(as_given(lengths), rows.shape[1]), valid)
    rows[~valid] = torch.nan  # spoils whatever reads it
    for function, of_a_row in ALONE.items():
        leaf = rows.clone().requires_grad_()
        made = function(leaf, as_given(lengths))
        for row, alone, length in zip(rows, made, lengths, strict=True):
            found = alone[:length] if made.dim() == rows.dim() else alone
            torch.testing.assert_close(found, of_a_row(row[:length]))
            if function is masked_softmax:
                assert not alone[length:].any()
            if function is reverse_by_length:
                assert alone[length:].isnan().all()
                made = made.nan_to_num()
        (made * torch.randn_like(made)).sum().backward()
        assert leaf.grad is not None and not leaf.grad[~valid].any()


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_reversed_row_is_what_the_backward_direction_reads(cell: type[nn.RNNBase]) -> None:
    torch.manual_seed(0)
    lengths, rows = [7, 1, 4, 1], torch.randn(4, 7, 3)
    both, forward = cell(3, 5, bidirectional=True, batch_first=True), cell(3, 5, batch_first=True)
    for name, weights in forward.named_parameters():
        weights.data.copy_(getattr(both, f"{name}_reverse"))
    packed = pack_padded_sequence(rows, torch.tensor(lengths), True, enforce_sorted=False)
    output, final = both(packed)
    output = pad_packed_sequence(output, batch_first=True)[0]
    h_n = final[0] if isinstance(final, tuple) else final
    backward = forward(reverse_by_length(rows, lengths))[0]
    torch.testing.assert_close(last_step(backward, lengths), h_n[1])
    again, there = reverse_by_length(backward, lengths), valid_steps(lengths, 7)
    torch.testing.assert_close(again[there], output[..., 5:][there])
    torch.testing.assert_close(last_step(output[..., :5], lengths), h_n[0])


def test_it_needs_pytorch_alone() -> None:
    code = "import sys, torch; before = {*sys.modules, 'scipy.signal'}; "  # which stands for itself
    code += "import seqmodels.padding; "
    code += "print([m for m in {*sys.modules} - before if not m.startswith('seqmodels')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
