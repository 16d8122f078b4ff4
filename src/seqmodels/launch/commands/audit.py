"""Check any model for mistakes with tensors."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal

from seqmodels.arguments import ArgumentsOf, Name, Seed
from seqmodels.launch.command_line import command

if TYPE_CHECKING:
    from rich.console import Group

    from seqmodels.audit import Audit


@command
def main(
    target: Name,
    *,
    input: Annotated[
        dict[str, Any],
        ArgumentsOf("seqmodels.audit.find_model.random_batch", "model", "seed", "padding"),
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
            one.
        input.features: inputs are (B, T, F): the number of features, F (what the first layer takes)
        input.vocabulary: inputs are (B, T) tokens: their number (what the first layer takes).
        input.batch: rows (4).
        input.time: steps (20).
        kind: sequence: logits are (B, ...); per_step: logits are (B, T, ...).
        causal: per_step: check that no logits depend on later steps.
        padding: none: rows of one length; or the value that padding always holds.
        seed: of the random inputs.
    """
    from seqmodels.audit import audit
    from seqmodels.audit.find_model import find_model, random_batch
    from seqmodels.screen import Screen

    model = find_model(target)
    inputs, lengths = random_batch(model, **input or {}, seed=seed, padding=padding)
    result = audit(model, inputs, lengths, kind, causal, padding=padding, seed=seed)
    Screen().print(_findings_table(result, target))
    sys.exit(1 if result.findings else 0)


def _findings_table(result: Audit, title: str) -> Group:
    """Each finding with its evidence and advice, and what could not be tested."""
    from rich.console import Group, RenderableType
    from rich.table import Table
    from rich.text import Text

    parts: list[RenderableType] = [Text(title, style="bold")]
    if result.findings:
        table = Table(show_lines=True)
        table.add_column("finding", no_wrap=True)
        table.add_column("evidence")
        table.add_column("what to do")
        for finding in result.findings:
            style = "red" if finding.severity == "error" else "yellow"
            name = Text(f"{finding.name}\n{finding.severity}", style=style)
            table.add_row(name, finding.evidence, finding.advice)
        parts.append(table)
    else:
        parts.append(Text("nothing found", style="green"))
    parts += [Text(f"not tested: {reason}", style="dim") for reason in result.untested]
    return Group(*parts)
