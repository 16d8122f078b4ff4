"""The characters of words: `bidirectional_concat` once more, with a word for a sequence."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqmodels.audit import assert_clean, audit
from seqmodels.batch import SequenceBatch
from seqmodels.data import Words
from seqmodels.data.loading import collate
from seqmodels.nn.embedding import CharacterEncoder, CharacterOptions
from tests.shipped import exported

B, T, H, E = 3, 5, 4, 6
TEXTS = [
    ["a", "abba", "Abc", "cab", "b"],
    ["bbbbbbb", "c"],
    ["ca", "a", "abba"],
]


@pytest.fixture
def batch() -> SequenceBatch:
    return collate(words().encode(TEXTS, "made"))


def words() -> Words:
    encoder = Words(characters=True)
    encoder.fit(TEXTS)
    return encoder


def tagger(noise: float = 0.0) -> Any:
    torch.manual_seed(0)
    data = {"num_inputs": words().num_inputs, "classes": ["x", "y"], **words().own_spec}
    embedding = {"size": E, "character_options": {"hidden_size": H}, "noise": noise}
    return exported("Tagger")(data, {"hidden_size": 8}, embedding=embedding)


def test_each_word_has_the_final_states_of_both_directions(batch: SequenceBatch) -> None:
    torch.manual_seed(0)
    read = CharacterEncoder(7, CharacterOptions(E, H), nn.Identity())
    characters = batch.inputs[..., 1:]
    found = read(characters)
    assert found.shape == (B, T, 2 * H) and read.width == 2 * H
    for row, length in enumerate(batch.lengths.tolist()):
        assert not found[row, length:].any()
        for step in range(length):  # one word alone
            word = characters[row, step]
            word = word[word != 0].unsqueeze(0)
            _, (h_n, _) = read.encoder.rnn(read.embedding(word))  # (D, 1, H)
            torch.testing.assert_close(found[row, step], torch.cat([h_n[0, 0], h_n[1, 0]]))


def test_the_encoder_reads_the_word_and_its_characters_side_by_side(batch: SequenceBatch) -> None:
    made = tagger().eval()
    embedded = made.network.embed(batch)
    assert embedded.shape == (B, T, E + 2 * H) and made.network.encoder.rnn.input_size == E + 2 * H
    torch.testing.assert_close(
        embedded[..., :E], made.network.embedding.words(batch.inputs[..., 0])
    )
    torch.testing.assert_close(
        embedded[..., E:], made.network.embedding.characters(batch.inputs[..., 1:])
    )


def test_hidden_words_keep_their_characters(batch: SequenceBatch) -> None:
    made = tagger(noise=0.999).train()
    embedded = made.network.embed(batch)
    hidden = (embedded[..., :E] == made.network.embedding.words.weight[1]).all(
        dim=-1
    )  # the unknown word's
    assert int((hidden & batch.mask).sum()) > 7
    assert embedded[..., E:].abs().sum(dim=-1)[batch.mask].min() > 0


def test_every_weight_learns(batch: SequenceBatch) -> None:
    made = tagger().train()
    targets = torch.randint(2, (B, T)).where(batch.mask, -100)
    loss = made.score(SequenceBatch(batch.inputs, batch.lengths, targets)).loss
    loss.backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_the_audit_draws_whole_words_and_sees_where_padding_is_read(batch: SequenceBatch) -> None:
    made = tagger()
    assert_clean(made.network, batch.inputs, batch.lengths, "per_step")

    def leaky(inputs: Tensor, lengths: Tensor) -> Tensor:
        return made(SequenceBatch(inputs, torch.full_like(lengths, inputs.shape[1])))

    assert audit(leaky, batch.inputs, batch.lengths, "per_step").names == ["padding_leak"]
