"""Text one step at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
import torch

from seqmodels.batch import SequenceBatch
from seqmodels.tasks.language_model import LanguageModel, StreamDataModule
from seqmodels.tasks.language_model.generation import draw, write
from tests.tasks.language_model.test_language_model import V, model, tokens, window

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXY"  # each stands for the token of its place


class Letters(StreamDataModule):
    """Data whose tokens are letters, from C on."""

    def ids_of(self, text: str) -> list[int]:
        return [LETTERS.index(letter) for letter in text]

    def text_of(self, ids: Iterable[int]) -> str:
        return "".join(LETTERS[each] for each in ids if each > 1)


class Bytes(StreamDataModule):
    """Data whose tokens are bytes."""

    def ids_of(self, text: str) -> list[int]:
        return [2 + each for each in text.encode()]

    def text_of(self, ids: Iterable[int]) -> str:
        return bytes(each - 2 for each in ids if each > 1).decode(errors="replace")


def generate(task: Any, prompt: Sequence[int] = (), length: int = 20, **options: Any) -> list[int]:
    """The tokens that continue these."""
    data = Letters()
    return data.ids_of("".join(write(task, data, data.text_of(prompt), length, **options)))


@pytest.fixture
def drawing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., int]], None]:
    """Puts a function in the place of `draw`."""
    return lambda f: monkeypatch.setattr("seqmodels.tasks.language_model.generation.draw", f)


def full_pass(task: LanguageModel, ids: list[int]) -> torch.Tensor:
    """The logits after the last of the ids, all of them read at once from the start."""
    inputs = torch.tensor([[0, *ids]])
    with torch.no_grad():
        logits = task(SequenceBatch(inputs, torch.tensor([len(ids) + 1])))[0, -1]
    logits[:2] = -torch.inf  # neither padding nor unknown
    return logits


@pytest.mark.parametrize("head", ["softmax", "tied_softmax"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_step_by_step_equals_a_full_pass(
    head: str, cell: str, drawing: Callable[..., None]
) -> None:
    task, prompt, lengths = model(head, encoder={"cell": cell}), tokens(1, 6)[0].tolist(), []
    task.network.encoder.register_forward_pre_hook(lambda _, args: lengths.append(args[0].shape[1]))
    seen: list[torch.Tensor] = []

    def watched(logits: torch.Tensor, *rest: Any) -> int:
        seen.append(logits.clone())
        return draw(logits, *rest)

    drawing(watched)
    made = generate(task, prompt, 9, seed=3)
    assert lengths == [8, *[1] * 8]  # the start and the prompt at once; then each token
    for number, logits in enumerate(seen):
        expected = full_pass(task, prompt + made[:number])
        torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)


def test_temperature_0_takes_the_likeliest() -> None:
    task = model()
    made = generate(task, [4], 8, temperature=0.0, seed=0)
    assert made == generate(task, [4], 8, temperature=0.0, seed=1)
    for number, token in enumerate(made):
        assert token == int(full_pass(task, [4, *made[:number]]).argmax())


@pytest.mark.parametrize(
    ("temperature", "top_p", "kept"),
    [
        (0.5, None, [0, 1, 2, 3]),
        (1.0, 0.61, [1, 2]),  # shares 0.6, 0.3, 0.07, 0.03
        (1.0, 0.95, [0, 1, 2]),
    ],
)
def test_draws_follow_the_softmax_of_the_likeliest_at_a_temperature(
    temperature: float, top_p: float | None, kept: list[int]
) -> None:
    logits, generator = torch.tensor([0.07, 0.3, 0.6, 0.03]).log(), torch.Generator().manual_seed(0)
    drawn = [draw(logits, temperature, top_p, generator) for _ in range(5_000)]
    expected = torch.zeros(4).index_fill(0, torch.tensor(kept), 1.0)
    expected *= (logits / temperature).exp()
    counts = torch.bincount(torch.tensor(drawn), minlength=4) / 5_000
    assert set(drawn) == set(kept)
    torch.testing.assert_close(counts, expected / expected.sum(), rtol=0, atol=0.02)


def test_the_likeliest_tokens_are_the_fewest_that_hold_top_p() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = {draw(torch.zeros(4), 1.0, 0.5, generator) for _ in range(200)}
    assert len(drawn) == 2  # of a quarter each


def test_a_seed_gives_the_same_text_and_touches_nothing() -> None:
    task = model().train()
    task.training_step(window(tokens()))
    state, carried = torch.get_rng_state(), [part.clone() for part in task.carried["train"]]
    first = generate(task, seed=1)
    assert first == generate(task, seed=1) != generate(task, seed=2)
    assert all(2 <= token < V for token in first)
    assert torch.equal(torch.get_rng_state(), state)
    assert task.training and all(map(torch.equal, task.carried["train"], carried))


@pytest.mark.parametrize(
    ("prompt", "made", "pieces"),
    [
        ("é", "é東a".encode(), ["é", "東", "a"]),
        ("", "東".encode()[:2], []),  # the last character is not finished
        ("a", b"\xe6a" + "é".encode(), ["\ufffda", "é"]),  # a byte that begins none
    ],
)
def test_no_part_of_a_character_is_shown(
    prompt: str, made: bytes, pieces: list[str], drawing: Callable[..., None]
) -> None:
    ids = iter([2 + each for each in made])
    drawing(lambda *_: next(ids))
    task = LanguageModel({"num_inputs": 258}, {"hidden_size": 2})
    assert list(write(task, Bytes(), prompt, len(made))) == pieces
