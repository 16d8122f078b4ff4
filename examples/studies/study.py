"""Train what is left of the studies on many data sets, a line of results for each training.

    python examples/studies/study.py heads                    # a study: heads, cells, sizes, ...
    python examples/studies/study.py heads only=[GunPoint]    # on one set
    python examples/studies/study.py cells sets=my_sets.yaml  # on your own, too; see sets.yaml

The same command finishes what was interrupted. `heads.py`, `chosen_by_test.py`, `cells.py` and
`calibration.py` print the tables of what is done.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import redirect_stderr, redirect_stdout
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch
from arms import FIFTH_OF, MODULES, RECIPES, STUDIES, Arm, Kind
from looks import (
    Looks,
    calibration,
    in_other_batches,
    median_length,
    without_quarters,
)

from seqmodels import compose, train
from seqmodels.arguments import Count, Name
from seqmodels.errors import UserError, choices
from seqmodels.launch.command_line import Names, command
from seqmodels.plain_values import read_yaml
from seqmodels.plugins import import_module
from seqmodels.words import as_override

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
# The digits of a number in the results.
DIGITS = 5

Words = Mapping[str, Any]
"""The keys and values of a data set, as on the command line, and its `kind`."""


class Run(NamedTuple):
    """What tells one line of the results from another."""

    set: str
    arm: str
    seed: int


# ---------------------------------------------------------------- the data sets


def read_sets(files: Iterable[Path]) -> dict[str, Words]:
    """The words of each set, by its name. A later table's words replace those of an earlier one."""
    words_by_set: dict[str, Words] = {}
    for file in files:
        for name, words in read_yaml(file).items():
            if words.get("kind") not in RECIPES:
                raise UserError(f"{file}: {name} has kind={words.get('kind')}: series or texts")
            words_by_set[name] = {key: _as_path(value, file.parent) for key, value in words.items()}
    return words_by_set


def _as_path(value: Any, folder: Path) -> Any:
    """A value that names a file of this folder as its path, another one as it is."""
    file = folder / str(value)
    return file.resolve() if file.is_file() else value


def words_of(words_of_set: Words, arm: Arm, seed: int) -> list[str]:
    """The words of a training, as on the command line."""
    kind = words_of_set["kind"]
    words = [*RECIPES[kind], *arm.words, f"seed={seed}", f"imports=[{','.join(MODULES)}]"]
    for key, value in words_of_set.items():
        if isinstance(value, Path):
            words.append(as_override(key, value))  # A comma in it belongs to the path.
        elif str(value).startswith("files/"):
            raise UserError(f"{value} is missing: python examples/studies/fetch.py downloads it")
        elif key != "kind":
            words.append(f"{key}={value}")
    if arm.fifth:
        data = words_of_set.get("data", "text" if kind == "texts" else "uea")
        words.append(f"data._target_=examples.studies.fifth.{FIFTH_OF[data]}")
    return words


# ---------------------------------------------------------------- train


def prepare_process() -> None:
    """One thread, and the modules of the examples, for a process that trains."""
    torch.set_num_threads(1)
    sys.path.insert(0, str(ROOT))
    for module in MODULES:
        import_module(module, "imports")


def train_run(run: Run, words_of_set: Words, arm: Arm, steps: int | None) -> dict[str, Any]:
    """Trains one arm on one set; what a line of the results holds."""
    looks = Looks(takes_best=words_of_set["kind"] == "texts")
    with (
        tempfile.TemporaryDirectory() as folder,
        Path(os.devnull).open("w", encoding="utf-8") as nowhere,
        redirect_stdout(nowhere),
        redirect_stderr(nowhere),
    ):
        words = [*words_of(words_of_set, arm, run.seed), f"folder={folder}/run"]
        if steps:
            words += [f"trainer.max_steps={steps}", "trainer.val_check_interval=1"]
        result = train(compose(*words), words, [looks])
    looks.take_weights()
    found: dict[str, Any] = {
        **run._asdict(),
        "kind": words_of_set["kind"],
        "examples": result["examples"],
        "length": median_length(looks),
        "parameters": result["parameters"],
        "seconds": looks.seconds,
        "test": looks.scores["test_accuracy"][looks.best_place],
        "taken": looks.best_place,
        "steps": looks.steps,
        **looks.scores,
        **calibration(looks),
    }
    if arm.probe == "quarters":
        found["hidden"] = without_quarters(looks)
    elif arm.probe == "batches":
        found |= in_other_batches(looks)
    return _rounded(found)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return value


# ---------------------------------------------------------------- the results


def read_results(file: Path) -> list[dict[str, Any]]:
    """The lines of a file; none, if it is missing."""
    if not file.is_file():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def run_of(result: Mapping[str, Any]) -> Run:
    return Run(result["set"], result["arm"], result["seed"])


def arms_by_kind(studies: Iterable[str]) -> dict[Kind, list[Arm]]:
    """The arms of some studies, each once."""
    arms: dict[Kind, list[Arm]] = {}
    kinds: tuple[Kind, ...] = ("series", "texts")
    for kind in kinds:
        arms_of_kind = {}
        for study in studies:
            arms_of_kind.update({arm.name: arm for arm in STUDIES[study](kind)})
        arms[kind] = [*arms_of_kind.values()]
    return arms


class Job(NamedTuple):
    """A training that a study asks for."""

    run: Run
    words_of_set: Words
    arm: Arm


def some_sets(words_by_set: dict[str, Words], only: Iterable[str]) -> dict[str, Words]:
    """Those that are named; all, if none is."""
    for name in only:
        if name not in words_by_set:
            raise UserError(f"{name} is no data set: {choices(name, words_by_set)}")
    return {name: words_by_set[name] for name in only or words_by_set}


def all_jobs(
    studies: Iterable[str], words_by_set: Mapping[str, Words], seeds: int
) -> Iterator[Job]:
    """One seed of everything comes first, so that tables of all sets are there early."""
    arms = arms_by_kind(studies)
    for seed, (name, words) in product(range(seeds), words_by_set.items()):
        for arm in arms[words["kind"]]:
            yield Job(Run(name, arm.name, seed), words, arm)


def train_all(
    jobs: Iterable[Job], processes: int, steps: int | None
) -> Iterator[tuple[Job, dict[str, Any] | UserError]]:
    """Each training with its line of the results, or why it failed, as soon as it ends."""
    context = get_context("spawn")
    with ProcessPoolExecutor(processes, context, prepare_process) as pool:
        job_of_future = {pool.submit(train_run, *job, steps): job for job in jobs}
        for future in as_completed(job_of_future):
            try:
                yield job_of_future[future], future.result()
            except UserError as error:
                yield job_of_future[future], error


@command
def main(
    *studies: str,
    sets: Names = (),
    only: Names = (),
    output: Name = str(FOLDER / "results.jsonl"),
    seeds: Count = 3,
    processes: Count = 2,
    steps: Count | None = None,
) -> None:
    """Train what is left of the studies, on all data sets; add a line for each training to the
    results.

    Args:
        studies: heads, mistakes, fifth, cells, sizes; none: all.
        sets: tables of further sets, or of files for these; see sets.yaml.
        only: the names of some sets.
        output: the file of the results.
        steps: of each training, to try it; null: those of the recipes.
    """
    for study in studies:
        if study not in STUDIES:
            raise UserError(f"{study}: {choices(study, STUDIES)}")
    words_by_set = some_sets(read_sets([FOLDER / "sets.yaml", *map(Path, sets)]), only)
    file = Path(output)
    completed = {run_of(result) for result in read_results(file)}
    jobs = [
        job for job in all_jobs(studies or STUDIES, words_by_set, seeds) if job.run not in completed
    ]
    if not jobs:
        print(f"{file} has all of these trainings")
    failures = 0
    for number, (job, outcome) in enumerate(train_all(jobs, processes, steps), 1):
        title = f"{number}/{len(jobs)} {job.run.set}, {job.run.arm}, seed {job.run.seed}"
        if isinstance(outcome, UserError):
            failures += 1
            print(f"{title}: {outcome}", flush=True)
            continue
        with file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(outcome) + "\n")
        accuracy, seconds = 100 * outcome["test"], outcome["seconds"]
        print(f"{title}: {accuracy:.1f} %, {seconds:.0f} s", flush=True)
    if failures:
        raise UserError(f"{failures} of {len(jobs)} trainings failed; the others are kept")


if __name__ == "__main__":
    main()
