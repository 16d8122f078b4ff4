"""Check your repair of a kata, or of all: python examples/katas/check.py 3"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from seqmodels.audit import Audit, audit, audit_stream
from seqmodels.errors import UserError
from seqmodels.launch.command_line import command

NUMBERS = range(1, 14)
READ_FEATURES = (1, 2, 6, 10)  # the others read tokens
STREAMS = (11, 12, 13)  # which read features, too
OPTIONS: dict[int, dict[str, Any]] = {
    5: {"kind": "per_step", "causal": True},
    7: {"kind": "seq2seq", "target_inputs": torch.arange(1, 25).reshape(4, 6)},
    9: {"kind": "per_step", "causal": True},
}
"""How the models that don't return one row of scores per sequence are audited."""
SEE = {
    "padding_leak": "run a short row alone, cut to its own length, and then among longer ones",
    "batch_leak": "reorder the rows of a batch: the logits should be the same, reordered",
    "future_leak": "change inputs[:, 10:]: the logits before step 10 should stay",
    "state_mixup": "read 20 steps at once; then 10, and from the returned state 10 more",
    "random_state": "call the model twice with the same batch: the logits should be the same",
    "row_count": "print logits.shape for a batch of 4",
    "truncated_direction": "change one step in the middle: the backward half should move, too",
    "unread_direction": "look at each weight's .grad after logits.sum().backward()",
    "lost_gradient": "after logits.sum().backward(), its weights have no .grad",
    "stale_state": "change the newest step of a row: all of its forecasts should move",
    "lost_state": "read 20 steps at once; then, after a reset, one by one",
    "kept_state": "read rows, call reset(), and read them again: the logits should be the same",
    "shared_state": "make two streams, and let the second read between two chunks of the first",
    "kept_graph": "call it again and again with gradients on: each call takes more memory",
    "unread_step": "change one valid step after the other: each should move the logits",
}
"""How to see a finding in plain PyTorch."""


def check(number: int, model: Callable[[], Any] | None = None) -> list[str]:
    """Audits a model, by default the one in the kata's file, and prints what is left to repair."""
    if model is None:
        model = runpy.run_path(str(Path(__file__).with_name(f"kata{number:02}.py")))["Model"]
    torch.manual_seed(0)
    features, tokens = torch.randn(4, 20, 12), torch.randint(1, 30, (4, 20))
    inputs = features if number in READ_FEATURES else tokens
    found: Audit
    if number in STREAMS:
        found = audit_stream(model(), features)
    else:
        found = audit(model(), inputs, [20, 15, 9, 3], **OPTIONS.get(number, {}))
    print(f"kata {number}: {', '.join(found.names) or 'repaired'}")
    for finding in found.findings:
        print(f"  {finding.evidence}\n  See it: {SEE[finding.name]}.")
    return found.names


@command
def main(*katas: str) -> None:
    """Check your repair of a kata, or of all: python examples/katas/check.py 3"""
    if wrong := {*katas} - {*map(str, NUMBERS)}:
        raise UserError(f"{min(wrong)} is not a kata: choose one of 1 to {max(NUMBERS)}")
    left = [check(int(each)) for each in (katas or NUMBERS)]
    sys.exit(1 if any(left) else 0)


if __name__ == "__main__":
    main()
