"""Print the tables of what the study has measured: python examples/long_series/print_tables.py"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product
from pathlib import Path
from statistics import fmean, median
from typing import Any

from study import FOLDER, HEADS, LENGTHS, REAL_HEADS, REAL_WAYS, TWO_HEADS, read_results
from ways import WAYS

from seqmodels.arguments import Name
from seqmodels.launch.command_line import command

Result = dict[str, Any]
NOT_RUN = "–"  # noqa: RUF001


def mean_accuracy(results: Iterable[Result]) -> float:
    return fmean(result["accuracy"] for result in results)


def one_accuracy(results: Sequence[Result]) -> str:
    return f"{mean_accuracy(results):.1f}" if results else NOT_RUN


def accuracy_by_place(results: Sequence[Result]) -> str:
    """The accuracy with the needle at each place, `100 / 25`."""
    if not results:
        return NOT_RUN
    accuracies = []
    for place in LENGTHS[results[0]["steps"]].places:
        results_of_place = [result for result in results if result["place"] == place]
        if results_of_place:
            accuracies.append(f"{mean_accuracy(results_of_place):.0f}")
        else:
            accuracies.append(NOT_RUN)
    return " / ".join(accuracies)


def cost(results: Sequence[Result]) -> list[str]:
    """The peak memory in MiB and the processor's seconds of a run: medians."""
    memory = median(result["MiB"] for result in results)
    seconds = median(result["seconds"] for result in results)
    return [f"{memory:.0f}", f"{seconds:.1f}"]


def table(
    first_columns: Sequence[str],
    heads: Sequence[str],
    rows: Iterable[tuple[Sequence[str], Sequence[Result]]],
    show: Callable[[Sequence[Result]], str],
) -> list[str]:
    """A table in Markdown.

    Args:
        first_columns: their titles.
        rows: the first cells of each row, and its results.
        show: makes the cell of a head from its results.
    """
    titles = [*first_columns, *[f"`{head}`" for head in heads], "MiB", "s"]
    num_numbers = len(titles) - len(first_columns)
    lines = [f"| {' | '.join(titles)} |"]
    lines.append(f"|{'---|' * len(first_columns)}{'---:|' * num_numbers}")
    for first_cells, results in rows:
        if not results:
            continue
        accuracies = []
        for head in heads:
            results_of_head = [result for result in results if result["head"] == head]
            accuracies.append(show(results_of_head))
        cells = [*first_cells, *accuracies, *cost(results)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def needle_rows(
    results: Sequence[Result], *, trained_longer: bool
) -> Iterator[tuple[Sequence[str], Sequence[Result]]]:
    """The results for each length and way, trained as all ways are, or for longer."""
    for (steps, length), way in product(LENGTHS.items(), WAYS):
        results_of_row = []
        for result in results:
            is_longer = result["batches"] > length.batches
            if (result["steps"], result["way"], is_longer) == (steps, way, trained_longer):
                results_of_row.append(result)
        yield [f"{steps:,}", WAYS[way]], results_of_row


def real_rows(results: Sequence[Result]) -> Iterator[tuple[Sequence[str], Sequence[Result]]]:
    """The results for each real set and way."""
    names = dict.fromkeys(result["data"] for result in results if result["data"] != "needle")
    for name, way in product(names, REAL_WAYS):
        results_of_row = [
            result for result in results if (result["data"], result["way"]) == (name, way)
        ]
        yield [name, WAYS[way]], results_of_row


def tables(results: Sequence[Result]) -> list[list[str]]:
    """The needle, the same with more steps of training, and the real sets."""
    columns = ["steps", "way"]
    usual_rows = needle_rows(results, trained_longer=False)
    rows_of_more = needle_rows(results, trained_longer=True)
    return [
        table(columns, HEADS, usual_rows, accuracy_by_place),
        table(columns, TWO_HEADS, rows_of_more, one_accuracy),
        table(["set", "way"], REAL_HEADS, real_rows(results), one_accuracy),
    ]


@command
def main(results: Name = str(FOLDER / "results.jsonl")) -> None:
    """Print the tables of the study.

    Args:
        results: the file that study.py has written.
    """
    for lines in tables(read_results(Path(results))):
        print("\n".join(lines), end="\n\n")


if __name__ == "__main__":
    main()
