"""Show an audit as a table."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from seqmodels.audit.findings import Audit


def findings_table(result: Audit, title: str) -> Group:
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
