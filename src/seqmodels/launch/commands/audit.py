from __future__ import annotations

import sys
from typing import Annotated, Any, Literal

from seqmodels.arguments import ArgumentsOf, Name, Seed
from seqmodels.launch.command_line import command


@command
def main(
    target: Name,
    *,
    input: Annotated[
        dict[str, Any],
        ArgumentsOf("seqmodels.audit.random_inputs.random_batch", "model", "seed", "padding"),
    ]
    | None = None,
    kind: Literal["sequence", "per_step"] = "sequence",
    causal: bool = False,
    padding: float | Literal["none"] | None = None,
    seed: Seed = 0,
) -> None:
    """Check any model for mistakes with tensors.

    python scripts/audit.py target=my_package.module:build_model input.features=12

    Args:
        target: module:name or file.py:name of a model, of its class, or of a function that builds
            one; or a file.onnx, which needs the extra export.
        input.features: inputs are (B, T, F): the number of features, F (what the first layer takes)
        input.vocabulary: inputs are (B, T) tokens: their number (what the first layer takes).
        input.batch: rows (4).
        input.time: steps (20).
        kind: sequence: logits are (B, ...); per_step: logits are (B, T, ...).
        causal: per_step: check that no logits depend on later steps.
        padding: none: rows of one length; or the value that padding always holds.
        seed: of the random inputs.
    """
    from seqmodels.audit.find_model import audit_named
    from seqmodels.screen import Screen

    result, _ = audit_named(target, input, kind=kind, causal=causal, padding=padding, seed=seed)
    screen = Screen()
    for finding in result.findings:
        screen.print(f"{finding.severity}: {finding}")
    if not result.findings:
        screen.print(f"{target}: nothing found")
    for reason in result.untested:
        screen.print(f"not tested: {reason}")
    sys.exit(1 if result.findings else 0)
