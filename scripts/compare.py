"""Which setting is better, and how sure: `python scripts/compare.py runs/<sweep>`."""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from seqmodels.launch.command_line import readable_errors, take_positional

PLACES = take_positional()


@readable_errors()
@hydra.main(version_base="1.3", config_path="../configs", config_name="compare")
@readable_errors()
def main(config: DictConfig) -> None:
    from rich.console import Console

    from seqmodels.compare.comparison import compare
    from seqmodels.compare.page import write_comparison
    from seqmodels.compare.tables import comparison_table
    from seqmodels.errors import UserError

    if not PLACES:
        raise UserError("name the folders to compare: python scripts/compare.py runs/<sweep>")
    comparison = compare(PLACES, config.metric, different_data=config.different_data)
    console = Console()
    console.print(comparison_table(comparison))
    first = Path(PLACES[0])
    output = config.output or (first if len(PLACES) == 1 and first.is_dir() else "comparison")
    for path in write_comparison(comparison, Path(output)):
        console.print(f"{path}", soft_wrap=True)


if __name__ == "__main__":
    main()
