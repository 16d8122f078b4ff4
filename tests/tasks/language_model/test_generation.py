"""Text one step at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from seqmodels.batch import SequenceBatch
from seqmodels.errors import UserError
from seqmodels.runs import load_run, train
from seqmodels.tasks.language_model import LanguageModel, StreamDataModule
from seqmodels.tasks.language_model.generation import draw, write
from tests.conftest import Config
from tests.tasks.language_model.test_language_model import QUICK, V, every_head, model, text, tokens

__all__ = ["text"]  # a fixture
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


def full_pass(task, ids: list[int]) -> torch.Tensor:
    """The logits after the last of the ids, all of them read at once from the start."""
    inputs = torch.tensor([[0, *ids]])
    with torch.no_grad():
        logits = task(SequenceBatch(inputs, torch.tensor([len(ids) + 1])))[0, -1]
    logits[:2] = -torch.inf  # neither padding nor unknown
    return logits


@every_head
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_step_by_step_equals_a_full_pass(
    head: str, cell: str, drawing: Callable[..., None]
) -> None:
    task, prompt = model(head, encoder={"cell": cell}), tokens(1, 6)[0].tolist()
    seen: list[torch.Tensor] = []

    def watched(logits: torch.Tensor, *rest: Any) -> int:
        seen.append(logits.clone())
        return draw(logits, *rest)

    drawing(watched)
    made = generate(task, prompt, 9, seed=3)
    assert len(made) == len(seen) == 9
    for number, logits in enumerate(seen):
        expected = full_pass(task, prompt + made[:number])
        torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)


def test_the_prompt_is_read_once_and_then_one_step_at_a_time() -> None:
    task, lengths = model(), []
    task.encoder.register_forward_pre_hook(lambda _, args: lengths.append(args[0].shape[1]))
    generate(task, [5, 6, 7], 4)
    assert lengths == [4, 1, 1, 1]  # the start and the prompt; then each token
    lengths.clear()
    generate(task, [], 2)
    assert lengths == [1, 1]


def test_temperature_0_takes_the_likeliest() -> None:
    task = model()
    made = generate(task, [4], 8, temperature=0.0, seed=0)
    assert made == generate(task, [4], 8, temperature=0.0, seed=1)
    assert made == generate(task, [4], 8, temperature=1.0, top_k=1, seed=2)
    for number, token in enumerate(made):
        assert token == int(full_pass(task, [4, *made[:number]]).argmax())


def test_draws_follow_the_softmax_at_a_temperature() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0])
    generator = torch.Generator().manual_seed(0)
    drawn = [draw(logits, 0.5, None, None, generator) for _ in range(20_000)]
    counts = torch.bincount(torch.tensor(drawn), minlength=4) / 20_000
    expected = torch.exp(logits / 0.5) / torch.exp(logits / 0.5).sum()
    torch.testing.assert_close(counts, expected, rtol=0, atol=0.01)


@pytest.mark.parametrize(
    ("top_k", "top_p", "kept"),
    [
        (1, None, {2}),
        (3, None, {0, 1, 2}),
        (99, None, {0, 1, 2, 3}),
        (None, 0.5, {2}),  # shares 0.6, 0.3, 0.07, 0.03
        (None, 0.6, {2}),
        (None, 0.61, {1, 2}),
        (None, 0.95, {0, 1, 2}),
        (None, 1.0, {0, 1, 2, 3}),
        (2, 0.95, {1, 2}),
    ],
)
def test_top_k_and_top_p_leave_the_likeliest(
    top_k: int | None, top_p: float | None, kept: set[int]
) -> None:
    logits = torch.tensor([0.07, 0.3, 0.6, 0.03], dtype=torch.float64).log().float()
    if top_p == 0.6:
        logits[2] += 1e-4  # on the safe side of rounding
    generator = torch.Generator().manual_seed(0)
    assert {draw(logits, 1.0, top_k, top_p, generator) for _ in range(1000)} == kept


def test_a_seed_gives_the_same_text_and_touches_nothing() -> None:
    task = model().train()
    torch.manual_seed(7)
    state = torch.get_rng_state()
    first = generate(task, seed=1)
    assert first == generate(task, seed=1) != generate(task, seed=2)
    assert torch.equal(torch.get_rng_state(), state)
    assert task.training and all(2 <= token < V for token in first)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -0.1}, "temperature=-0.1: input should"),
        ({"top_k": 0}, "top_k=0: input should"),
        ({"top_p": 0.0}, "top_p=0.0: input should"),
        ({"top_p": 1.5}, "top_p=1.5: input should"),
        ({"length": -1}, "length=-1: input should"),
    ],
)
def test_wrong_options_are_found_before_the_first_token(options: dict, message: str) -> None:
    data = Letters()
    with pytest.raises(UserError, match=message):
        write(model(), data, "", **{"length": 1, **options})


def test_the_training_goes_on_where_it_was_between_two_pieces() -> None:
    data = Letters()
    task = model().train()
    pieces = write(task, data, "CD", 3)
    for _ in range(2):
        next(pieces)
        assert task.training and not torch.is_inference_mode_enabled()
    task.encoder.register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        next(pieces)
    assert task.training


@pytest.mark.parametrize(
    ("prompt", "made", "pieces"),
    [
        ("é", "é東a".encode(), ["é", "東", "a"]),
        ("", "東".encode()[:2], []),  # the last character is not finished
        ("a", b"\xe6a" + "é".encode(), ["\ufffda", "é"]),  # a byte that begins none
        ("", b"\xff\xff\xff\xff\xff" + "é".encode(), ["\ufffd" * 5 + "é"]),
    ],
)
def test_no_part_of_a_character_is_shown(
    prompt: str, made: bytes, pieces: list[str], drawing: Callable[..., None]
) -> None:
    data = Bytes()
    ids = iter([2 + each for each in made])
    drawing(lambda *_: next(ids))
    task = LanguageModel({"num_inputs": 258}, {"hidden_size": 2})
    assert list(write(task, data, prompt, len(made))) == pieces


def test_a_run_writes_whole_characters(config: Config, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("é東 ü\n" * 400)
    settings = config(
        *QUICK,
        f"data.train={path}",
        "data.tokenizer=byte",
        "model.head=softmax",
        "trainer.max_epochs=15",
        "model.optimizer.lr=0.02",
        "callbacks.sample=null",
    )
    train(settings)
    run = load_run(settings.folder)
    pieces = list(run.generate("é東", 60, accelerator="cpu", temperature=0.0))
    assert "東" in pieces and set("".join(pieces)) <= set("é東 ü\n")
    assert all(len(piece) == 1 for piece in pieces)  # each as soon as its last byte is there
    with pytest.raises(UserError, match="temperature=-1.0"):
        run.generate(temperature=-1.0)
