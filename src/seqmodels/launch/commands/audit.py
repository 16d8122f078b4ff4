"""Check any model for mistakes with tensors.

python scripts/audit.py target=my_package.module:build_model input.features=12
"""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from seqmodels.launch.command_line import command

if TYPE_CHECKING:
    from seqmodels.audit import Audit


@command("audit")
def main(config: SimpleNamespace) -> None:
    from seqmodels.audit import audit
    from seqmodels.audit.find_model import find_model, random_batch
    from seqmodels.screen import Screen

    model = find_model(config.target)
    padding = config.padding
    inputs, lengths = random_batch(**vars(config.input), seed=config.seed, padding=padding or 0)
    more = {"padding": padding, "seed": config.seed}
    result = audit(model, inputs, lengths, config.kind, config.causal, **more)
    Screen().print(_findings_table(result, config.target))
    sys.exit(1 if result.findings else 0)


def _findings_table(result: Audit, title: str) -> Group:
    """Each finding with its evidence and advice, and what could not be tested."""
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
