from __future__ import annotations

from pathlib import Path

from seqmodels.arguments import Name
from seqmodels.errors import UserError
from seqmodels.launch.command_line import command


def compare_runs(*places: str, metric: Name | None = None, output: Name | None = None) -> None:
    """Compare runs: which setting is better, and how sure is that?

    python scripts/compare.py runs/<sweep> 'runs/2026-*' metric=test/macro_f1

    Args:
        metric: such as test/macro_f1; null: that of the kind of target (accuracy, exact match,
            bits per byte, MASE or RMSE), else the loss; docs/sweeps.md says of which split.
        output: the folder to write; null: the compared folder if you name only one, else
            comparison/.
    """
    if not places:
        raise UserError("name the folders to compare: python scripts/compare.py runs/<sweep>")
    from seqmodels.compare.comparison import compare
    from seqmodels.compare.tables import comparison_table
    from seqmodels.compare.writing import write_comparison
    from seqmodels.screen import Screen

    comparison = compare(places, metric)
    console = Screen()
    console.print(comparison_table(comparison, console))
    first = Path(places[0])
    only_folder = first if len(places) == 1 and first.is_dir() else None
    for path in write_comparison(comparison, Path(output or only_folder or "comparison")):
        console.print(f"{path}", soft_wrap=True)


main = command(compare_runs)
