"""Convolutions before the recurrent network see each row as if it stood alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seqmodels.audit import assert_clean
from seqmodels.data.loading import collate
from seqmodels.dataflow.tracing import trace
from seqmodels.errors import UserError
from seqmodels.nn.convolutions import Convolutions
from seqmodels.tasks.classification import SequenceClassifier
from tests.shipped import exported

LENGTHS = [11, 3, 1, 7, 2]
SIZES = [7, 4]
ROWS = [
    torch.randn(length, 4, generator=torch.Generator().manual_seed(length)) for length in LENGTHS
]
DATA = {"inputs": "features", "num_inputs": 4, "classes": ["a", "b", "c"]}
EMBEDDING: dict[str, Any] = {"convolutions": SIZES, "channels": 6}


def layers() -> Convolutions:
    torch.manual_seed(1)
    made = Convolutions(4, 6, SIZES)
    for norm in made.norms:
        nn.init.normal_(norm.bias)  # so that padding is not zero by itself
        norm.running_mean.normal_()
    return made


def spoilt() -> tuple[torch.Tensor, torch.Tensor]:
    """The rows, with padding that spoils whatever reads it, and more of it than they need."""
    batch = collate(ROWS)
    filled = batch.inputs.masked_fill(~batch.mask.unsqueeze(2), 1e6)
    return F.pad(filled, (0, 0, 0, 9), value=-1e6), batch.lengths


def test_a_row_gives_what_it_gives_alone_whatever_the_padding_holds() -> None:
    convolutions = layers().eval()
    found = convolutions(*spoilt())
    for number, row in enumerate(ROWS):
        steps = row.T.unsqueeze(0)
        for size, layer, norm in zip(SIZES, convolutions.convolutions, convolutions.norms):
            padded = F.pad(steps, ((size - 1) // 2, size // 2))
            steps = norm(F.conv1d(padded, layer.weight)).relu()
        assert torch.allclose(found[number, : len(row)], steps[0].T, atol=1e-6)
        assert not found[number, len(row) :].any()


def test_training_normalizes_by_the_valid_steps_alone() -> None:
    batch, made, narrow = collate(ROWS), layers(), layers()
    found = made(*spoilt())[:, : max(LENGTHS)]
    assert torch.allclose(found, narrow(batch.inputs, batch.lengths), atol=1e-6)
    convolved = layers().convolutions[0](F.pad(batch.inputs.transpose(1, 2), (3, 3)))
    steps = torch.cat([row[:, :size].T for row, size in zip(convolved, LENGTHS)])
    expected = layers().norms[0]
    expected(steps)
    assert torch.allclose(made.norms[0].running_mean, expected.running_mean, atol=1e-6)
    assert torch.allclose(made.norms[0].running_var, expected.running_var, atol=1e-6)


def test_gradients_reach_valid_steps_alone() -> None:
    batch = collate(ROWS)
    inputs = batch.inputs.clone().requires_grad_()
    layers()(inputs, batch.lengths).square().sum().backward()
    assert inputs.grad is not None
    assert bool((inputs.grad.abs().sum(2) > 0).eq(batch.mask).all())


def test_a_task_is_clean_and_its_trace_shows_what_the_encoder_reads() -> None:
    encoder = {"hidden_size": 5, "bidirectional": True}
    made = SequenceClassifier(DATA, encoder, "concat_pool", embedding=EMBEDDING).eval()
    batch = collate(ROWS)
    assert_clean(made.network, batch.inputs, batch.lengths)
    shapes = trace(made.network, batch).shapes
    assert [*shapes][:4] == ["inputs", "embedded", "convolved", "output"]
    assert shapes["convolved"] == (5, 11, 6)


def test_a_model_that_predicts_what_comes_next_takes_none() -> None:
    data = {"inputs": "tokens", "num_inputs": 40, "vocabulary": []}
    with pytest.raises(UserError, match="model.embedding.convolutions=null"):
        exported("LanguageModel")(data, {"hidden_size": 5}, embedding=EMBEDDING)
