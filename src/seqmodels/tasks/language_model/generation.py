"""Text from a language model, one step at a time from the carried state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Annotated, Any

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from seqmodels.arguments import Count, Natural, NonNegative, checked
from seqmodels.batch import UNKNOWN_ID
from seqmodels.data.tokenizer import START_ID, Tokenizer
from seqmodels.engine import Task
from seqmodels.tasks.language_model.streams import StreamDataModule

MOST_PARTS = 4  # bytes of a character


def generate(
    task: Task,
    prompt: Sequence[int] = (),
    length: int = 200,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
    first: Sequence[int] | None = None,
) -> Iterator[int]:
    """Token ids that continue the prompt, each as soon as it is drawn.

    The prompt is read once; after it, each token costs one step of the network.

    Args:
        task: on any device; it is left as it was.
        prompt: token ids; empty: the start of a text.
        length: how many tokens to make.
        temperature: divides the logits; 0 takes the likeliest token every time.
        top_k: draws from this many likeliest tokens only.
        top_p: draws from the likeliest tokens that together hold this probability
            (Holtzman et al. 2020, https://arxiv.org/abs/1904.09751).
        seed: of the draws, which leave the global random state alone.
        first: the ids that the first token may have; None: any.

    Raises:
        UserError: if an option is out of range, or options don't fit together.
    """
    check_options(length, temperature, top_k, top_p)
    return _generate(task, [START_ID, *prompt], length, temperature, top_k, top_p, seed, first)


def write(
    task: Task, data: StreamDataModule, prompt: str, length: int, **options: Any
) -> Iterator[str]:
    """Text that continues the prompt, in pieces, as it is made.

    Args:
        data: whose tokenizer the task was trained with.
        options: of `generate`.

    Raises:
        UserError: for a prompt with unknown tokens, or a wrong option.
    """
    ids, first, known = data.ids_of(prompt), None, ""
    by_spaces = data.options.level == "space"
    if not by_spaces:  # else the prompt ends with a whole token
        ids, first = open_end(data.vocabulary, ids)
        known = data.text_of([first[0]]) if first else ""
    made = generate(task, ids, length, first=first, **options)  # finds a wrong option now
    pieces = _decoded(data, ids, made, skip=len(known))
    if by_spaces and prompt[-1:].isspace():  # it has the space before the next token
        return chain((piece.removeprefix(" ") for piece in islice(pieces, 1)), pieces)
    return pieces


def _decoded(
    data: StreamDataModule, ids: Sequence[int], made: Iterator[int], skip: int
) -> Iterator[str]:
    # a token may be a part of a character, and whether a space comes first depends on the token
    # before it: pieces come out when they are whole
    known, waiting = [*ids][-1:], list[int]()
    for token in made:
        waiting.append(token)
        piece = data.text_of([*known, *waiting])[len(data.text_of(known)) :]
        if len(waiting) < MOST_PARTS and piece.endswith("\ufffd"):
            continue
        known, waiting = waiting, []
        yield piece[skip:]
        skip = max(skip - len(piece), 0)
    if waiting:
        yield data.text_of([*known, *waiting])[len(data.text_of(known)) :]


def open_end(vocabulary: Tokenizer, ids: list[int]) -> tuple[list[int], list[int] | None]:
    """A prompt without its last token, and the ids of the tokens that begin like it, itself first.

    A word may continue where the prompt ends: after `def `, the space belongs to the token of the
    name that follows, and the token of a lone space is followed by anything but a name. None where
    no other token begins like the last one.
    """
    if not ids:
        return ids, None
    last, tokens = vocabulary.tokens[ids[-1]], vocabulary.ids
    longer = sorted(i for token, i in tokens.items() if token.startswith(last) and i != ids[-1])
    if not longer or "\ufffd" in vocabulary.decode(ids[-1:]):  # a part of a character
        return ids, None
    return ids[:-1], [ids[-1], *longer]


@checked()
def check_options(
    length: Natural,
    temperature: NonNegative,
    top_k: Count | None = None,
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None,
) -> None:
    """Raises UserError for a value that `generate` does not take."""


def _generate(
    task: Task,
    ids: list[int],
    length: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    seed: int,
    first: Sequence[int] | None,
) -> Iterator[int]:
    generator, was_training = torch.Generator().manual_seed(seed), task.training

    def choose(logits: Tensor, inputs: Tensor) -> Tensor:
        nonlocal first
        logits = logits[0, -1].float().cpu()
        logits[[START_ID, UNKNOWN_ID]] = -torch.inf  # they stand for no text
        if first is not None:
            logits = torch.full_like(logits, -torch.inf).index_copy(
                0, torch.tensor(first), logits[first]
            )
            first = None
        token = draw(logits, temperature, top_k, top_p, generator)
        return torch.tensor([[token]], device=inputs.device)

    inputs, lengths = torch.tensor([ids], device=task.device), torch.tensor([len(ids)])
    tokens = task.roll_forward(inputs, lengths, choose)
    try:
        for _ in range(length):
            task.eval()
            with torch.inference_mode():
                token = int(next(tokens))
            task.train(was_training)
            yield token
    finally:
        task.train(was_training)


def draw(
    logits: Float[Tensor, " vocabulary"],
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    generator: torch.Generator,
) -> int:
    """One token id, drawn from the softmax of the logits as `generate` says."""
    if temperature == 0:
        return int(logits.argmax())
    logits = logits / temperature
    if top_k is not None and top_k < len(logits):
        logits = logits.masked_fill(logits < logits.topk(top_k).values[-1], -torch.inf)
    probabilities = logits.softmax(dim=-1)
    if top_p is not None and top_p < 1:
        ranked, order = probabilities.sort(descending=True)
        beyond = ranked.cumsum(dim=0) - ranked >= top_p  # the likeliest is never among them
        probabilities = probabilities.index_fill(0, order[beyond], 0.0)
    return int(torch.multinomial(probabilities, 1, generator=generator))
