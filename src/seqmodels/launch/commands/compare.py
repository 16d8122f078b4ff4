"""Compare runs: which setting is better, and how sure is that?

python scripts/compare.py runs/<sweep> 'runs/2026-*' metric=test/macro_f1
"""

from pathlib import Path
from types import SimpleNamespace

from seqmodels.launch.command_line import command


@command("compare", positional="places")
def main(config: SimpleNamespace) -> None:
    from seqmodels.errors import UserError

    if not config.places:
        raise UserError("name the folders to compare: python scripts/compare.py runs/<sweep>")
    from seqmodels.compare.comparison import compare
    from seqmodels.compare.page import write_comparison
    from seqmodels.compare.tables import comparison_table
    from seqmodels.screen import Screen

    comparison = compare(config.places, config.metric, different_data=config.different_data)
    console = Screen()
    console.print(comparison_table(comparison, console))
    first = Path(config.places[0])
    only_folder = first if len(config.places) == 1 and first.is_dir() else None
    output = Path(config.output or only_folder or "comparison")
    for path in write_comparison(comparison, output):
        console.print(f"{path}", soft_wrap=True)
