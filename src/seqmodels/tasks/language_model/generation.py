"""Text from a language model, one step at a time from the carried state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from seqmodels.arguments import Natural, NonNegative, checked
from seqmodels.batch import UNKNOWN_ID, SequenceBatch
from seqmodels.data.tokenizer import START_ID
from seqmodels.engine import Task
from seqmodels.tasks.language_model.streams import StreamDataModule


@checked()
def write(
    task: Task,
    data: StreamDataModule,
    prompt: str,
    length: Natural,
    *,
    temperature: NonNegative = 1.0,
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None,
    seed: int = 0,
) -> Iterator[str]:
    """Text that continues the prompt, in pieces, as it is made. A character comes when its last
    byte is there; one that the last token leaves unfinished doesn't come.

    The prompt is read once; after it, each token costs one step of the network.

    Args:
        task: on any device; it is left as it was.
        data: whose tokenizer the task was trained with.
        length: how many tokens to make.
        temperature: divides the logits; 0 takes the likeliest token every time.
        top_p: draws from the likeliest tokens that together hold this probability
            (Holtzman et al. 2020, https://arxiv.org/abs/1904.09751).
        seed: of the draws, which leave the global random state alone.

    Raises:
        UserError: for a prompt most of whose tokens are unknown, or an option that is out of range;
            at once.
    """
    prompt_ids = [START_ID, *data.ids_of(prompt)]
    generator = torch.Generator().manual_seed(seed)

    def choose(logits: Tensor, inputs: Tensor) -> Tensor:
        last_logits = logits[0, -1].float().cpu()
        last_logits[[START_ID, UNKNOWN_ID]] = -torch.inf  # They stand for no text.
        token = draw(last_logits, temperature, top_p, generator)
        return torch.tensor([[token]], device=inputs.device)

    def pieces() -> Iterator[str]:
        # Tokens wait until the characters that they end are whole. Whether a space comes between
        # those that are written and those that wait depends on both.
        written_ids = prompt_ids
        waiting_ids: list[int] = []
        was_training = task.training
        inputs = torch.tensor([prompt_ids], device=task.device)
        batch = SequenceBatch(inputs, torch.tensor([len(prompt_ids)]))
        tokens = task.network.roll_forward(batch, choose)
        try:
            for _ in range(length):
                task.eval()
                with torch.inference_mode():
                    waiting_ids.append(int(next(tokens)))
                task.train(was_training)
                written_text = data.text_of(written_ids)
                whole_text = data.text_of([*written_ids, *waiting_ids])
                piece = whole_text[len(written_text) :]
                has_unfinished_character = piece.endswith("\ufffd")
                if not has_unfinished_character:
                    written_ids, waiting_ids = waiting_ids, []
                    yield piece
        finally:
            task.train(was_training)

    return pieces()


def draw(
    logits: Float[Tensor, " vocabulary"],
    temperature: float,
    top_p: float | None,
    generator: torch.Generator,
) -> int:
    """One token id, drawn from the softmax of the logits as `write` says."""
    if temperature == 0:
        return int(logits.argmax())
    logits = logits / temperature
    probabilities = logits.softmax(dim=-1)
    if top_p is not None and top_p < 1:
        sorted_probabilities, order = probabilities.sort(descending=True)
        # A token goes if those before it hold enough; the likeliest one has none before it.
        before = sorted_probabilities.cumsum(dim=0) - sorted_probabilities
        probabilities = probabilities.index_fill(0, order[before >= top_p], 0.0)
    return int(torch.multinomial(probabilities, 1, generator=generator))
