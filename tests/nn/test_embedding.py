"""Dropout of features and of words, the embedding that it acts on, and the characters of words:
`bidirectional_concat` once more, with a word for a sequence."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels import compose
from seqmodels.audit import assert_clean, audit
from seqmodels.batch import UNKNOWN_ID, SequenceBatch
from seqmodels.data import Words
from seqmodels.data.loading import collate
from seqmodels.errors import UserError
from seqmodels.nn.embedding import (
    HIGHEST_LEVEL,
    LARGEST_WEIGHT,
    LOWEST_LEVEL,
    CharacterEncoder,
    CharacterOptions,
    EmbeddingOptions,
    Levels,
    LockedDropout,
    SmallEmbedding,
    build_embedding,
    hide_tokens,
)
from seqmodels.nn.encoder import RecurrentEncoder
from seqmodels.runs import prepare
from tests.make import build_task
from tests.shipped import exported

ROWS, STEPS, WIDTH = 3, 11, 16


def test_locked_dropout_drops_the_same_features_at_every_step() -> None:
    torch.manual_seed(0)
    dropped = LockedDropout(0.5)(torch.ones(ROWS, STEPS, 400)) == 0
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))
    assert not torch.equal(dropped[0], dropped[1])  # other features in another row
    whole = LockedDropout(0.5)(torch.ones(30, 40))  # of sequences, without steps
    assert {*whole.unique().tolist()} == {0.0, 2.0}
    for share in (dropped, whole == 0):
        assert share.float().mean() == pytest.approx(0.5, abs=0.05)
    x = torch.randn(ROWS, STEPS, 4)
    assert torch.equal(LockedDropout(0.5).eval()(x), x)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_locked_dropout_between_layers(cell: str) -> None:
    encoder = RecurrentEncoder(4, WIDTH, 2, cell=cell, dropout=0.5, locked_dropout=True)
    layers = [RecurrentEncoder(size, WIDTH, cell=cell) for size in (4, WIDTH)]
    for number, layer in enumerate(layers):
        weights = encoder.rnn.all_weights[number]
        for theirs, ours in zip(layer.rnn.parameters(), weights, strict=True):
            theirs.data = ours.data
    x = torch.randn(ROWS, STEPS, 4)
    torch.manual_seed(5)
    states = encoder(x)
    torch.manual_seed(5)
    mask = F.dropout1d(torch.ones(ROWS, WIDTH, STEPS), 0.5).transpose(1, 2)
    first, second = layers
    expected = second(first(x).output * mask)
    torch.testing.assert_close(states.output, expected.output)
    torch.testing.assert_close(states.h_n[-1], expected.h_n[0])
    torch.testing.assert_close(encoder.eval()(x).output, second(first(x).output).output)


def test_hidden_words_read_as_the_unknown_one_but_for_what_marks_padding() -> None:
    torch.manual_seed(0)
    hidden = hide_tokens(torch.arange(50).repeat(ROWS, 1), 0.999, 50)
    assert not hidden[:, 0].any()
    assert (hidden[:, 1:] == UNKNOWN_ID).float().mean() > 0.9


def test_what_an_embedding_has_not_learned_is_small_beside_what_it_has() -> None:
    weight = SmallEmbedding(500, 8).weight
    assert 0.05 < weight.abs().max() <= LARGEST_WEIGHT <= 0.1


# ---------------------------------------------------------------- levels


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [1, 7, 32])
def test_each_level_is_a_line_from_0_to_1_across_its_interval(
    count: int, dtype: torch.dtype
) -> None:
    borders = np.linspace(LOWEST_LEVEL, HIGHEST_LEVEL, count + 1)
    values = [*borders, *np.random.default_rng(0).normal(scale=2, size=9), -1e30, 1e30, 0, 0]
    features = torch.tensor(values[: len(values) // 2 * 2], dtype=dtype).view(1, -1, 2)
    levels = Levels(count).to(dtype)(features)
    assert levels.dtype == dtype
    expected = [np.interp(features, borders[n : n + 2], [0, 1]) for n in range(count)]
    close = {"rtol": 0, "atol": 1e-5}
    by_feature = levels.unflatten(-1, (2, count)).double().numpy()
    np.testing.assert_allclose(by_feature, np.stack(expected, axis=-1), **close)


def test_levels_stand_before_the_projection_of_features_and_no_token_has_some() -> None:
    features = {"inputs": "features", "num_inputs": 3}
    for size, expected in ((None, 3 * 5), (4, 4)):
        embedding, width = build_embedding(
            features, EmbeddingOptions(size=size, levels=5), nn.Identity()
        )
        assert embedding(torch.randn(ROWS, STEPS, 3)).shape == (ROWS, STEPS, width)
        assert width == expected
    for tokens in ({"num_inputs": 9}, {"num_inputs": 9, "vector_size": 2, "num_trained": 9}):
        with pytest.raises(UserError, match="^model.embedding.levels is 5, but only numbers"):
            build_embedding(tokens, EmbeddingOptions(levels=5), nn.Identity())


@pytest.mark.parametrize(
    ("values", "counts"),
    [
        ([1e9 + n for n in range(0, 20_000, 1000)], (1, 32)),  # such as times
        ([-40.0 - n for n in range(20)], (1, 32)),
        ([1.51 + n / 1000 for n in range(20)], (32,)),
        ([*np.linspace(-0.06, -0.01, 19), 1e6], (32,)),  # large ones beside small ones
        ([*np.linspace(-3, 3, 20)], ()),
        ([0.0] * 19 + [2.0], ()),  # mostly nothing
        ([77.0] * 20, (1, 32)),
        ([0.7] * 20, ()),
        ([0.0, 1.0] * 10, ()),
    ],
)
def test_numbers_that_levels_do_not_tell_apart_are_known(
    values: list[float], counts: tuple[int, ...]
) -> None:
    spread = np.random.default_rng(0).permutation(np.linspace(-2, 2, 20))
    features = torch.tensor(np.stack([spread, values], axis=1), dtype=torch.float32)
    for count in (1, 32):
        expected = [1] if count in counts else []
        assert Levels(count).crowded(features) == expected, count


@pytest.mark.parametrize("stack", [1, 2])
@pytest.mark.parametrize("scale", ["none", "split", "both"])
def test_a_run_names_the_channels_that_levels_do_not_tell_apart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, scale: str, stack: int
) -> None:
    random = np.random.default_rng(0)
    wind, altitude = random.normal(size=480), 1.7e9 + random.random(480)
    frame = pd.DataFrame({"storm": np.arange(480) // 8, "altitude": altitude, "wind": wind})
    frame["label"] = np.where(frame.storm % 2, "a", "b")
    frame.to_csv(tmp_path / "storms.csv", index=False)
    words = (f"data.train={tmp_path}/storms.csv", "data.series=storm", f"folder={tmp_path}/run")
    prepare(
        compose("experiment=series_levels", *words, f"data.scale={scale}", f"data.stack={stack}")
    )
    told = "model.embedding.levels=32 .* nearly all steps of altitude are in one level: set data.sc"
    assert bool(re.search(told, caplog.text)) is (scale == "none")
    assert "wind" not in caplog.text.partition("levels=")[2]


# ---------------------------------------------------------------- characters


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


def tagger_of_characters(noise: float = 0.0) -> Any:
    data = {"num_inputs": words().num_inputs, "classes": ["x", "y"], **words().further_spec}
    embedding = {"size": E, "character_options": {"hidden_size": H}, "noise": noise}
    return build_task(exported("Tagger"), data, hidden_size=8, embedding=embedding).train()


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
    made = tagger_of_characters().eval()
    embedded = made.network.embed(batch)
    assert embedded.shape == (B, T, E + 2 * H) and made.network.encoder.rnn.input_size == E + 2 * H
    torch.testing.assert_close(
        embedded[..., :E], made.network.embedding.words(batch.inputs[..., 0])
    )
    torch.testing.assert_close(
        embedded[..., E:], made.network.embedding.characters(batch.inputs[..., 1:])
    )


def test_hidden_words_keep_their_characters(batch: SequenceBatch) -> None:
    made = tagger_of_characters(noise=0.999).train()
    embedded = made.network.embed(batch)
    hidden = (embedded[..., :E] == made.network.embedding.words.weight[1]).all(
        dim=-1
    )  # the unknown word's
    assert int((hidden & batch.mask).sum()) > 7
    assert embedded[..., E:].abs().sum(dim=-1)[batch.mask].min() > 0


def test_every_weight_learns(batch: SequenceBatch) -> None:
    made = tagger_of_characters().train()
    targets = torch.randint(2, (B, T)).where(batch.mask, -100)
    loss = made.score(SequenceBatch(batch.inputs, batch.lengths, targets)).loss
    loss.backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_the_audit_draws_whole_words_and_sees_where_padding_is_read(batch: SequenceBatch) -> None:
    made = tagger_of_characters()
    assert_clean(made.network, batch.inputs, batch.lengths, "per_step")

    def leaky(inputs: Tensor, lengths: Tensor) -> Tensor:
        return made(SequenceBatch(inputs, torch.full_like(lengths, inputs.shape[1])))

    assert audit(leaky, batch.inputs, batch.lengths, "per_step").names == ["padding_leak"]
