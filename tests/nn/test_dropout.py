"""Dropout of features and of words, and the embedding that it acts on."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from seqmodels.batch import UNKNOWN_ID
from seqmodels.nn.embedding import LARGEST_WEIGHT, LockedDropout, SmallEmbedding, hide_tokens
from seqmodels.nn.encoder import RecurrentEncoder

B, T, H = 3, 11, 16


def test_locked_dropout_drops_the_same_features_at_every_step() -> None:
    torch.manual_seed(0)
    dropped = LockedDropout(0.5)(torch.ones(B, T, 400)) == 0
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))
    assert not torch.equal(dropped[0], dropped[1])  # other features in another row
    whole = LockedDropout(0.5)(torch.ones(30, 40))  # of sequences, without steps
    assert {*whole.unique().tolist()} == {0.0, 2.0}
    for share in (dropped, whole == 0):
        assert share.float().mean() == pytest.approx(0.5, abs=0.05)
    x = torch.randn(B, T, 4)
    assert torch.equal(LockedDropout(0.5).eval()(x), x)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_locked_dropout_between_layers(cell: str) -> None:
    encoder = RecurrentEncoder(4, H, 2, cell=cell, dropout=0.5, locked_dropout=True)
    layers = [RecurrentEncoder(size, H, cell=cell) for size in (4, H)]
    for number, layer in enumerate(layers):
        weights = encoder.rnn.all_weights[number]
        for theirs, ours in zip(layer.rnn.parameters(), weights, strict=True):
            theirs.data = ours.data
    x = torch.randn(B, T, 4)
    torch.manual_seed(5)
    states = encoder(x)
    torch.manual_seed(5)
    mask = F.dropout1d(torch.ones(B, H, T), 0.5).transpose(1, 2)
    first, second = layers
    expected = second(first(x).output * mask)
    torch.testing.assert_close(states.output, expected.output)
    torch.testing.assert_close(states.h_n[-1], expected.h_n[0])
    torch.testing.assert_close(encoder.eval()(x).output, second(first(x).output).output)


def test_hidden_words_read_as_the_unknown_one_but_for_what_marks_padding() -> None:
    torch.manual_seed(0)
    hidden = hide_tokens(torch.arange(50).repeat(B, 1), 0.999, 50)
    assert not hidden[:, 0].any()
    assert (hidden[:, 1:] == UNKNOWN_ID).float().mean() > 0.9


def test_what_an_embedding_has_not_learned_is_small_beside_what_it_has() -> None:
    weight = SmallEmbedding(500, 8).weight
    assert 0.05 < weight.abs().max() <= LARGEST_WEIGHT <= 0.1
