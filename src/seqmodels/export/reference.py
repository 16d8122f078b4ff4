"""Three rows with their logits in PyTorch, by which anybody can check the runtime that serves."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from seqmodels.batch import SequenceBatch
from seqmodels.network import Network

LENGTHS = [5, 3, 1]
MOST_CHARACTERS = 4  # of a word
MOST_LOGITS = 100  # of a row or step, so that the file of a language model stays small


@torch.no_grad()
def reference_rows(network: Network, data: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `inputs`, `lengths` and `logits` of three rows of different lengths, as JSON has
    them: of each row or step, the first hundred logits at most.

    The rows are random, and so is what stands in their padding, which must not matter. A graph that
    carries a state gives these logits from zeros.

    Args:
        data: what a data module says of its inputs, as `Task` takes it.
    """
    most_steps = network.window or max(LENGTHS)
    lengths = torch.tensor(LENGTHS).clamp(max=most_steps)
    inputs = _random_inputs(data, len(lengths), int(lengths.max()))
    network = copy.deepcopy(network).float().eval()  # as the graph computes
    batch = SequenceBatch(inputs, lengths)
    logits = network.read_out(network.encode(batch), batch)
    return {
        "inputs": inputs.tolist(),
        "lengths": lengths.tolist(),
        "logits": logits[..., :MOST_LOGITS].tolist(),
    }


def _random_inputs(data: Mapping[str, Any], rows: int, steps: int) -> Tensor:
    """Inputs as `example_inputs` shapes them, the same every time."""
    generator = torch.Generator().manual_seed(0)
    size = data["num_inputs"]
    if data.get("inputs") == "features":
        return torch.randn(rows, steps, size, generator=generator)
    tokens = torch.randint(size, (rows, steps), generator=generator)
    num_characters = data.get("num_characters")
    if num_characters is None:
        return tokens
    shape = (rows, steps, MOST_CHARACTERS)
    characters = torch.randint(1, num_characters, shape, generator=generator)
    return torch.cat([tokens.unsqueeze(2), characters], dim=2)
