"""Dropout that draws one mask for all steps of a sequence."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seqmodels.nn.embedding import LockedDropout
from seqmodels.nn.encoder import RecurrentEncoder
from tests.conftest import Script

B, T, H = 3, 11, 16


def test_locked_dropout_drops_the_same_features_at_every_step() -> None:
    dropped = LockedDropout(0.5)(torch.ones(B, T, 40)) == 0
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))
    assert not torch.equal(dropped[0], dropped[1])  # other features in another row
    assert dropped.float().mean() == pytest.approx(0.5, abs=0.2)
    x = torch.randn(B, T, 4)
    assert torch.equal(LockedDropout(0.5).eval()(x), x)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_locked_dropout_between_layers(cell: str) -> None:
    encoder = RecurrentEncoder(4, H, 2, cell=cell, dropout=0.5, locked_dropout=True)
    x = torch.randn(B, T, 4)
    # with the second layer made to pass its input on, the mask can be seen
    torch.manual_seed(5)
    states = encoder(x)
    first = RecurrentEncoder(4, H, 1, cell=cell)
    first.rnn.load_state_dict(
        {k: v for k, v in encoder.rnn.state_dict().items() if k.endswith("_l0")}
    )
    second = RecurrentEncoder(H, H, 1, cell=cell)
    second.rnn.load_state_dict(
        {k.replace("_l1", "_l0"): v for k, v in encoder.rnn.state_dict().items() if "_l1" in k}
    )
    torch.manual_seed(5)
    mask = F.dropout1d(torch.ones(B, H, T), 0.5).transpose(1, 2)
    expected = second(first(x).output * mask)
    torch.testing.assert_close(states.output, expected.output)
    torch.testing.assert_close(states.h_n[-1], expected.h_n[0])
    plain = nn.LSTM(4, H, 2, batch_first=True) if cell == "lstm" else None
    if plain is not None:  # in evaluation it is PyTorch's own
        plain.load_state_dict(encoder.rnn.state_dict())
        assert torch.equal(encoder.eval()(x).output, plain(x)[0])


def test_locked_dropout_of_whole_sequences_drops_features(script: Script) -> None:
    torch.manual_seed(0)
    dropped = LockedDropout(0.5)(torch.ones(30, 40))
    assert (dropped == 0).float().mean() == pytest.approx(0.5, abs=0.05)
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    script("train.py", "debug=fast", "model.locked_dropout=true", "trainer=cpu")
