"""Three rows with their logits in PyTorch, by which anybody can check the runtime that serves."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch

from seqmodels.batch import SequenceBatch
from seqmodels.export.graph import example_inputs
from seqmodels.network import Network

LENGTHS = [5, 3, 1]
MOST_LOGITS = 100  # of a row or step, so that the file of a language model stays small


@torch.no_grad()
def reference_rows(network: Network, data: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `inputs`, `lengths` and `logits` of three rows, as JSON has them: of each row or
    step, the first hundred logits at most.

    The rows have different lengths, as far as the network's `window` allows. They are random, and
    so is what stands in their padding, which must not matter. A graph that carries a state gives
    these logits from zeros.

    Args:
        data: what a data module says of its inputs, as `Task` takes it.
    """
    most_steps = network.window or max(LENGTHS)
    lengths = torch.tensor(LENGTHS).clamp(max=most_steps)
    inputs = example_inputs(data, len(lengths), int(lengths.max()))
    network = copy.deepcopy(network).float().eval()  # as the graph computes
    batch = SequenceBatch(inputs, lengths)
    logits = network.read_out(network.encode(batch), batch)
    return {
        "inputs": inputs.tolist(),
        "lengths": lengths.tolist(),
        "logits": logits[..., :MOST_LOGITS].tolist(),
    }
