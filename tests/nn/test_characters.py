"""The characters of words: `bidirectional_concat` once more, with a word for a sequence."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqmodels.audit import audit
from seqmodels.batch import SequenceBatch
from seqmodels.data import Words
from seqmodels.data.loading import collate
from seqmodels.dataflow.table import tensor_table
from seqmodels.dataflow.tracing import trace
from seqmodels.engine import Task
from seqmodels.errors import UserError
from seqmodels.nn.characters import CharacterEncoder, CharacterOptions, build_characters
from seqmodels.nn.embedding import EmbeddingOptions
from seqmodels.tasks.classification import SequenceClassifier
from tests.shipped import exported

B, T, H, E = 3, 5, 4, 6
TEXTS = [
    ["a", "abba", "Abc", "cab", "b"],
    ["bbbbbbb", "c"],
    ["ca", "a", "abba"],
]


def batch_of_words(characters: bool = True) -> tuple[SequenceBatch, dict[str, Any]]:
    words = Words(characters=characters)
    words.fit(TEXTS)
    data = {"inputs": "tokens", "num_inputs": words.num_inputs, "classes": ["x", "y"]}
    return collate(words.encode(TEXTS, "made")), data | words.own_spec


def reader(cell: str = "lstm") -> CharacterEncoder:
    torch.manual_seed(0)
    return CharacterEncoder(7, cell, CharacterOptions(E, H), nn.Identity())


def task(
    kind: type[Task] | None = None,
    head: str = "every_step",
    embedding: dict[str, Any] | None = None,
    **options: Any,
) -> Task:
    torch.manual_seed(0)
    _, data = batch_of_words()
    characters = {"characters": "lstm", "character_options": {"hidden_size": H}}
    embedding = {"size": E, **characters, **(embedding or {})}
    kind = kind or exported("Tagger")
    return kind(data, {"hidden_size": 8}, head, embedding=embedding, **options)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_each_word_has_the_final_states_of_both_directions(cell: str) -> None:
    batch, _ = batch_of_words()
    read = reader(cell)
    characters = batch.inputs[..., 1:]
    found = read(characters)
    assert found.shape == (B, T, 2 * H) and read.width == 2 * H
    for row, length in enumerate(batch.lengths.tolist()):
        assert not found[row, length:].any()
        for step in range(length):  # one word alone
            word = characters[row, step]
            word = word[word != 0].unsqueeze(0)
            _, final = read.encoder.rnn(read.embedding(word))
            h_n = final[0] if isinstance(final, tuple) else final  # (D, 1, H)
            torch.testing.assert_close(found[row, step], torch.cat([h_n[0, 0], h_n[1, 0]]))


def test_the_encoder_reads_the_word_and_its_characters_side_by_side() -> None:
    made, (batch, _) = task().eval(), batch_of_words()
    embedded = made.embed(batch)
    assert embedded.shape == (B, T, E + 2 * H)
    assert made.encoder.rnn.input_size == E + 2 * H
    torch.testing.assert_close(embedded[..., :E], made.embedding(batch.inputs[..., 0]))
    torch.testing.assert_close(embedded[..., E:], made.characters(batch.inputs[..., 1:]))


def test_unknown_words_differ_by_their_characters() -> None:
    words = Words(characters=True, min_count=2)
    words.fit([["ab", "ab", "ba"]])
    batch = collate(words.encode([["bab", "bbb"]], "made"))
    assert batch.inputs[0, 0, 0] == batch.inputs[0, 1, 0] == 1
    embedded = task().eval().embed(batch)[0]
    assert torch.equal(embedded[0, :E], embedded[1, :E])
    assert not torch.allclose(embedded[0, E:], embedded[1, E:])


def test_hidden_words_keep_their_characters() -> None:
    made, (batch, _) = task(embedding={"noise": 0.999}).train(), batch_of_words()
    embedded = made.embed(batch)
    unknown = made.embedding.weight[1]
    hidden = (embedded[..., :E] == unknown).all(dim=-1) & batch.mask
    assert int(hidden.sum()) > 7
    assert embedded[..., E:].abs().sum(dim=-1)[batch.mask].min() > 0


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"locked_dropout": True, "embedding": {"dropout": 0.5}},
    ],
)
def test_every_weight_learns(options: dict[str, Any]) -> None:
    made, (batch, _) = task(**options).train(), batch_of_words()
    targets = torch.randint(2, (B, T)).where(batch.mask, -100)
    loss, _ = made.loss_and_decision(SequenceBatch(batch.inputs, batch.lengths, targets))
    loss.backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_windows_of_a_classifier_cut_words_with_their_characters() -> None:
    made, (batch, _) = task(SequenceClassifier, "max_pool", window=2).train(), batch_of_words()
    cut = made.cut(batch)
    assert cut.inputs.shape == (B, 2, batch.inputs.shape[2])
    known = {tuple(word) for row in batch.inputs.tolist() for word in row}
    assert {tuple(word) for row in cut.inputs.tolist() for word in row} <= known
    assert made.eval()(batch).shape == (B, 2)


@pytest.mark.parametrize("seed", range(3))
def test_the_audit_draws_whole_words_and_finds_nothing_wrong(seed: int) -> None:
    made, (batch, _) = task(), batch_of_words()
    result = audit(made.as_function(), batch.inputs, batch.lengths, "per_step", seed=seed)
    assert not result.findings and not result.untested


def test_the_audit_sees_that_padding_is_read() -> None:
    made, (batch, _) = task(), batch_of_words()

    def leaky(inputs: Tensor, lengths: Tensor) -> Tensor:
        return made(SequenceBatch(inputs, torch.full_like(lengths, inputs.shape[1])))

    result = audit(leaky, batch.inputs, batch.lengths, "per_step")
    assert [finding.name for finding in result.findings] == ["padding_leak"]


def test_the_table_names_words_with_characters() -> None:
    from rich.console import Console

    made, (batch, _) = task(), batch_of_words()
    console = Console(width=100)
    with console.capture() as shown:
        console.print(tensor_table(made, trace(made, batch), batch))
    [line] = [line for line in shown.get().splitlines() if line.strip().startswith("inputs")]
    assert "(B, T, 1+K)" in line and "(3, 5, 8)" in line and "words, characters" in line


def test_data_and_model_agree_on_characters() -> None:
    without, read = EmbeddingOptions(), EmbeddingOptions(characters="lstm")
    with pytest.raises(UserError, match=r"embedding.characters=lstm .* set data.characters=true"):
        build_characters({}, read, nn.Identity())
    with pytest.raises(UserError, match=r"set model.embedding.characters=lstm, or data.chara"):
        build_characters({"num_characters": 9}, without, nn.Identity())
    assert build_characters({}, without, nn.Identity()) is None
    _, data = batch_of_words(characters=False)
    made = exported("Tagger")(data, {"hidden_size": 8})
    assert made.characters is None and not any("characters" in name for name in made.state_dict())
