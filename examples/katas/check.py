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
from seqmodels.mistakes import MISTAKES

KATAS = {number: mistake for mistake in MISTAKES.values() for number in mistake.katas}
NUMBERS = sorted(KATAS)
# These read features, and the others tokens; streams read features, too.
READ_FEATURES = (1, 2, 6, 10)
# How the models are audited that don't return one row of scores per sequence.
OPTIONS: dict[int, dict[str, Any]] = {
    5: {"kind": "per_step", "causal": True},
    7: {"kind": "seq2seq", "target_inputs": torch.arange(1, 25).reshape(4, 6)},
    9: {"kind": "per_step", "causal": True},
}


def check(number: int, model: Callable[[], Any] | None = None) -> list[str]:
    """Audits a model, by default the one in the kata's file, and prints what is left to repair."""
    if model is None:
        file = Path(__file__).with_name(f"kata{number:02}.py")
        model = runpy.run_path(str(file))["Model"]
    torch.manual_seed(0)
    features = torch.randn(4, 20, 12)
    tokens = torch.randint(1, 30, (4, 20))
    result: Audit
    if KATAS[number].is_of_a_stream:
        result = audit_stream(model(), features)
    else:
        inputs = features if number in READ_FEATURES else tokens
        result = audit(model(), inputs, [20, 15, 9, 3], **OPTIONS.get(number, {}))
    print(f"kata {number}: {', '.join(result.names) or 'repaired'}")
    for finding in result.findings:
        print(f"  {finding.evidence}")
        print(f"  See it: {MISTAKES[finding.name].check}.")
    return result.names


@command
def main(*katas: str) -> None:
    """Check your repair of a kata, or of all: python examples/katas/check.py 3"""
    unknown = {*katas} - {*map(str, NUMBERS)}
    if unknown:
        raise UserError(f"{min(unknown)} is not a kata: choose one of 1 to {max(NUMBERS)}")
    mistakes_left = [check(int(number)) for number in katas or NUMBERS]
    sys.exit(1 if any(mistakes_left) else 0)


if __name__ == "__main__":
    main()
