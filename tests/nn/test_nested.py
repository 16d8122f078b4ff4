"""Rows as a jagged nested tensor, in and out."""

from __future__ import annotations

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from tests.nn.cases import F, made, same

LENGTHS = (5, 2, 7)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("two", [False, True])
def test_a_nested_tensor_is_its_rows_and_comes_back(cell: str, two: bool) -> None:
    torch.manual_seed(0)
    encoder = made(cell, 2, bidirectional=two).double()
    rows = [torch.randn(n, F).double().requires_grad_() for n in LENGTHS]
    nested = torch.nested.as_nested_tensor(rows, layout=torch.jagged)
    found, wanted = encoder(nested), encoder(pad_sequence(rows, batch_first=True), LENGTHS)
    same(found.output, wanted.output)
    same(found.state, wanted.state)
    assert found.nested.offsets().equal(nested.offsets())
    for row, back, length in zip(wanted.output, found.nested.unbind(), LENGTHS, strict=True):
        same(back, row[:length])
    ours = torch.autograd.grad(found.nested.values().square().sum(), rows)
    same(ours, torch.autograd.grad(wanted.output.square().sum(), rows))
    with pytest.raises(ValueError, match="leave lengths out"):
        encoder(nested, LENGTHS)
