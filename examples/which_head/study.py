"""Which head is best, over many data sets? The same command finishes a study that was cut off.

python examples/which_head/study.py sets=my_sets.yaml
python examples/which_head/study.py sets=my_sets.yaml estimate=true
"""

import io
import json
import logging
import math
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import torch
from answers import QUARTERS, WRONG, report
from lightning import Callback

from seqmodels.arguments import Count, Name
from seqmodels.batch import UNKNOWN_ID, SequenceBatch
from seqmodels.errors import UserError, choices
from seqmodels.files import write_text
from seqmodels.launch.command_line import Names, command
from seqmodels.plain_values import read_json, read_yaml
from seqmodels.plugins import import_module
from seqmodels.runs.finished import load_run
from seqmodels.words import as_override

FOLDER = Path(__file__).parent
ROOT = Path(__file__).parents[2]
HEADS = ["bidirectional_concat", "last_hidden", "mean_pool", "max_pool", "concat_pool"]
HEADS += ["attention_pool", "max_attention_pool"]
DATA = {"uea": "FifthOfUEA", "series": "FifthOfSeries", "text": "FifthOfTexts"}
MODULE_OF_MISTAKES = "examples.classic_mistakes"
MODULE_OF_FIFTHS = "examples.studies.fifth"
# The pieces of the study: which head is best, what a wrong one costs, and with less data.
PIECES = ("heads", "wrong", "fifth")
# So many steps are trained to estimate the time of a set; the first run also warms up.
ESTIMATED_STEPS = (10, 20, 60)

Words = Mapping[str, Any]
"""The keys and values of a data set, as on the command line."""


# ---------------------------------------------------------------- the data sets


def read_sets(places: Iterable[str]) -> dict[str, Words]:
    """The words of each set, by its name, of tables and of folders with a file for each set."""
    words_by_set: dict[str, Words] = {}
    for place in map(Path, places):
        files = sorted(place.glob("*.yaml"))
        if files:
            folder = place
            sets = {file.stem: read_yaml(file) for file in files}
        else:
            folder = place.parent
            sets = read_yaml(place)
        for name, words in sets.items():
            words_by_set[name] = {key: _as_path(value, folder) for key, value in words.items()}
    return words_by_set


def _as_path(value: Any, folder: Path) -> Any:
    """A value that names a file of this folder as its path, another one as it is."""
    file = folder / str(value)
    return file.resolve() if file.is_file() else value


def as_words(values: Words) -> list[str]:
    """Keys and values as Hydra reads them; a path with a comma in it is one file, not two runs."""
    words = list[str]()
    for key, value in values.items():
        if isinstance(value, Path):
            words.append(as_override(key, value))
        else:
            words.append(f"{key}={value}")
    return words


def jobs(piece: str, words: Words, heads: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The heads of a piece of the study, and what else it trains them with."""
    if piece == "wrong":
        return [wrong_head for wrong_head, head in WRONG.items() if head in heads], {}
    if piece == "heads":
        return [*heads], {}
    data_of_recipe = "text" if "texts" in words["experiment"] else "uea"
    data_class = DATA[words.get("data", data_of_recipe)]
    return [*heads], {"data._target_": f"{MODULE_OF_FIFTHS}.{data_class}"}


# ---------------------------------------------------------------- train, and look where they read


class Hidden(Callback):
    """Hide a quarter of each series, or text, from a test."""

    def __init__(self, quarter: int) -> None:
        self.quarter = quarter

    def on_test_batch_start(self, trainer: Any, task: Any, batch: SequenceBatch, *_: Any) -> None:
        for row, length in zip(batch.inputs, batch.lengths.tolist(), strict=True):
            start = length * self.quarter // QUARTERS
            stop = length * (self.quarter + 1) // QUARTERS
            row[start:stop] = 0.0 if row.is_floating_point() else UNKNOWN_ID  # 0 is the mean.


def probe(folder: Path) -> None:
    """Test a run again: with each quarter hidden; a wrong one, in batches of other sizes."""
    file = folder / "probe.json"
    if file.is_file():
        return
    logging.disable(logging.WARNING)  # The run's own log has the warnings.
    sys.path.insert(0, str(ROOT))
    import_module(MODULE_OF_MISTAKES, "imports")
    accuracies: dict[str, Any] = {}
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        run = load_run(folder)
        if run.result.head in WRONG:
            batch_sizes = {"one by one": 1, "all in one": run.result.examples["test"]}
            for batches, batch_size in batch_sizes.items():
                metrics = load_run(folder, batch_size=batch_size).evaluate(accelerator="cpu")
                accuracies[batches] = metrics["test/accuracy"]
        else:
            accuracies["hidden"] = []
            for quarter in range(QUARTERS):
                metrics = run.evaluate(accelerator="cpu", callbacks=[Hidden(quarter)])
                accuracies["hidden"].append(metrics["test/accuracy"])
            accuracies["length"] = median(run.data.datasets["test"].lengths.tolist())
    write_text(file, json.dumps(accuracies))


def train_set(
    name: str, words: Words, piece: str, heads: Sequence[str], output: Path, *grid: str
) -> str:
    """Train what is left of a piece on a set, and return a line that says what is done, or what
    failed.

    Args:
        grid: further words with several values each, all of which are combined.
    """
    heads_of_piece, words_of_piece = jobs(piece, words, heads)
    folder = output / piece / name
    log = output / f"{piece}_{name}.log"
    num_runs = len(heads_of_piece)
    for word in grid:
        num_runs *= len(word.split(","))
    if len(completed(folder)) < num_runs:
        process = subprocess.run(
            [
                sys.executable,
                str(ROOT / "scripts" / "train.py"),
                "-m",
                "--config-dir",
                str(FOLDER / "configs"),
                *as_words({**words, **words_of_piece, "hydra.sweep.dir": folder.resolve()}),
                f"model.head={','.join(heads_of_piece)}",
                *grid,
            ],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        log.write_text(process.stdout, encoding="utf-8")
    if len(completed(folder)) < num_runs:
        return f"{piece}, {name}: failed, see {log}"
    if piece != "fifth" and output.name != "estimate":
        for run_folder in completed(folder):
            probe(run_folder)
    return f"{piece}, {name}: {num_runs} runs"


def completed(folder: Path) -> list[Path]:
    """The folders of completed runs."""
    files = sorted(folder.glob("*/result.json"))
    return [file.parent for file in files if read_json(file)["status"] == "completed"]


def seconds_of(name: str, words: Words, heads: Sequence[str], output: Path, seeds: int) -> float:
    """How long a set takes one core, by three short runs of one head."""
    folder = output / "estimate"
    folder.mkdir(exist_ok=True)
    grid = f"trainer.max_steps={','.join(map(str, ESTIMATED_STEPS))}"
    train_set(name, words, "heads", HEADS[:1], folder, grid)
    results = {}
    for run_folder in completed(folder / "heads" / name):
        result = read_json(run_folder / "result.json")
        results[result["config"]["trainer"]["max_steps"]] = result
    if len(results) < len(ESTIMATED_STEPS):
        raise UserError(f"{name} fails: see {folder / f'heads_{name}.log'}")

    _, short_steps, long_steps = ESTIMATED_STEPS
    short_run = results[short_steps]
    long_run = results[long_steps]
    seconds_apart = max(long_run["seconds"]["fit"] - short_run["seconds"]["fit"], 0.0)
    seconds_of_step = seconds_apart / (long_steps - short_steps)
    num_steps = _steps_of_training(words, short_run)
    seconds_of_run = short_run["seconds"]["total"] + seconds_of_step * (num_steps - short_steps)

    num_runs = {}
    for piece in PIECES:
        heads_of_piece, _ = jobs(piece, words, heads)
        num_runs[piece] = seeds * len(heads_of_piece)
    num_tests = QUARTERS * (num_runs["heads"] + num_runs["wrong"])
    seconds_of_tests = num_tests * short_run["seconds"]["test"]
    return sum(num_runs.values()) * seconds_of_run + seconds_of_tests


def _steps_of_training(words: Words, result: Mapping[str, Any]) -> int:
    """How many steps a training takes by its recipe, from the result of a shorter one."""
    recipe = read_yaml(FOLDER / f"configs/experiment/{words['experiment']}.yaml")
    max_steps = recipe["trainer"]["max_steps"]
    max_epochs = result["config"]["trainer"]["max_epochs"]
    if max_epochs <= 0:
        return max_steps
    batch_size = result["config"]["data"]["batch_size"]
    steps_of_epoch = math.ceil(result["examples"]["train"] / batch_size)
    return min(max_steps, max_epochs * steps_of_epoch)


@command
def main(
    *names: str,
    sets: Name | None = None,
    output: Name = "runs/which_head",
    heads: Names = (),
    seeds: Count = 3,
    processes: Count = 2,
    steps: Count | None = None,
    estimate: bool = False,
) -> None:
    """Train what is left of the study on all data sets, or on those you name, and write
    results.md with its pictures.

    Args:
        sets: a table of your own sets, or a folder with a file for each; see sets.yaml.
        output: the folder of all runs.
        heads: null: seven.
        steps: of each training, to try it; null: those of the recipes.
        estimate: only say how long it takes.
    """
    files = [str(FOLDER / "sets.yaml")]
    if sets:
        files.append(sets)
    words_by_set = read_sets(files)
    for name in names:
        if name not in words_by_set:
            raise UserError(f"{name} is no data set: {choices(name, words_by_set)}")
    if names:
        words_by_set = {name: words_by_set[name] for name in names}
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    heads = [*heads] or HEADS
    with ProcessPoolExecutor(processes, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        if estimate:
            futures = [
                pool.submit(seconds_of, name, words, heads, folder, seeds)
                for name, words in words_by_set.items()
            ]
            hours = [future.result() / 3600 for future in futures]
            for name, hours_of_set in zip(words_by_set, hours, strict=True):
                print(f"{name}: {60 * hours_of_set:.0f} min of one core", flush=True)
            print(f"all: {sum(hours):.1f} h of one core; of {processes} cores, an equal part")
            return
        grid = [f"seed={','.join(map(str, range(seeds)))}"]
        if steps:
            grid.append(f"trainer.max_steps={steps}")
        futures = [
            pool.submit(train_set, name, words, piece, heads, folder, *grid)
            for piece in PIECES
            for name, words in words_by_set.items()
        ]
        for future in futures:
            print(future.result(), flush=True)
    write_text(folder / "results.md", "\n".join(report(folder)))
    print(folder / "results.md")


if __name__ == "__main__":
    main()
