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

FOLDER, ROOT = Path(__file__).parent, Path(__file__).parents[2]
HEADS = ["bidirectional_concat", "last_hidden", "mean_pool", "max_pool", "concat_pool"]
HEADS += ["attention_pool", "max_attention_pool"]
DATA = {"uea": "FifthOfUEA", "series": "FifthOfSeries", "text": "FifthOfTexts"}
MODULES = "examples.classic_mistakes", "examples.which_head.fifth"
PIECES = "heads", "wrong", "fifth"  # of the study; the questions that they answer, in this order
Words = Mapping[str, Any]  # of a set: key -> value, as on the command line


# ---------------------------------------------------------------- the data sets


def read_sets(places: Iterable[str]) -> dict[str, Words]:
    """Name -> words, of tables and of folders with a file for each set."""
    found: dict[str, Words] = {}
    for place in map(Path, places):
        files = sorted(place.glob("*.yaml"))
        sets = {file.stem: read_yaml(file) for file in files} if files else read_yaml(place)
        for name, words in sets.items():
            here = place if files else place.parent
            found[name] = {key: _found(here, value) for key, value in words.items()}
    return found


def _found(folder: Path, value: Any) -> Any:
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
        return [head for head, right in WRONG.items() if right in heads], {}
    if piece == "heads":
        return [*heads], {}
    usual = "text" if "texts" in words["experiment"] else "uea"
    return [*heads], {"data._target_": f"{MODULES[1]}.{DATA[words.get('data', usual)]}"}


# ---------------------------------------------------------------- train, and look where they read


class Hidden(Callback):
    """Hide a quarter of each series, or text, from a test."""

    def __init__(self, quarter: int) -> None:
        self.quarter = quarter

    def on_test_batch_start(self, trainer: Any, task: Any, batch: SequenceBatch, *_: Any) -> None:
        for row, length in zip(batch.inputs, batch.lengths.tolist(), strict=True):
            first, end = (length * n // QUARTERS for n in (self.quarter, self.quarter + 1))
            row[first:end] = 0.0 if row.is_floating_point() else UNKNOWN_ID  # 0 is the mean


def probe(folder: Path) -> None:
    """Test a run again: with each quarter hidden; a wrong one, in batches of other sizes."""
    file, name = folder / "probe.json", "test/accuracy"
    if file.is_file():
        return
    logging.disable(logging.WARNING)  # its own log has the warnings
    sys.path.insert(0, str(ROOT))
    import_module(MODULES[0], "imports")
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        run = load_run(folder)
        if run.result.head in WRONG:
            sizes = {"one by one": 1, "all in one": run.result.examples["test"]}
            runs = {each: load_run(folder, batch_size=size) for each, size in sizes.items()}
            found: Any = {each: run.evaluate(accelerator="cpu")[name] for each, run in runs.items()}
        else:
            calls = [[Hidden(quarter)] for quarter in range(QUARTERS)]
            tests = [run.evaluate(accelerator="cpu", callbacks=call)[name] for call in calls]
            found = {"hidden": tests, "length": median(run.data.datasets["test"].lengths.tolist())}
    write_text(file, json.dumps(found))


def train_set(
    name: str, words: Words, piece: str, heads: Sequence[str], output: Path, *more: str
) -> str:
    """Train what is left of a piece on a set; the line that says what is done, or what failed."""
    some, own = jobs(piece, words, heads)
    folder, log = output / piece / name, output / f"{piece}_{name}.log"
    given = as_words({**words, **own, "hydra.sweep.dir": folder.resolve()})
    grid = [f"model.head={','.join(some)}", *more]
    script = [sys.executable, str(ROOT / "scripts" / "train.py"), "-m"]
    script += ["--config-dir", str(FOLDER / "configs")]
    count = len(some) * math.prod(len(word.split(",")) for word in more)
    if len(completed(folder)) < count:
        done = subprocess.run(
            [*script, *given, *grid],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        log.write_text(done.stdout, encoding="utf-8")
    if len(completed(folder)) < count:
        return f"{piece}, {name}: failed, see {log}"
    if piece != "fifth" and output.name != "estimate":
        for run in completed(folder):
            probe(run)
    return f"{piece}, {name}: {count} runs"


def completed(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*/result.json"))
    return [file.parent for file in files if read_json(file)["status"] == "completed"]


def seconds_of(name: str, words: Words, heads: Sequence[str], output: Path, seeds: int) -> float:
    """How long a set takes one core, by three short runs of one head."""
    folder, recipe = output / "estimate", f"configs/experiment/{words['experiment']}.yaml"
    folder.mkdir(exist_ok=True)
    lengths = 10, 20, 60  # steps; the first run also warms up
    grid = f"trainer.max_steps={','.join(map(str, lengths))}"
    train_set(name, words, "heads", HEADS[:1], folder, grid)
    results = [read_json(run / "result.json") for run in completed(folder / "heads" / name)]
    found = {result["config"]["trainer"]["max_steps"]: result for result in results}
    if len(found) < len(lengths):
        raise UserError(f"{name} fails: see {folder / f'heads_{name}.log'}")
    _, short, long = (found[steps] for steps in lengths)
    trainer, batch_size = short["config"]["trainer"], short["config"]["data"]["batch_size"]
    steps = read_yaml(FOLDER / recipe)["trainer"]["max_steps"]
    if trainer["max_epochs"] > 0:
        epoch = -(-short["examples"]["train"] // batch_size)
        steps = min(steps, trainer["max_epochs"] * epoch)
    step = max(long["seconds"]["fit"] - short["seconds"]["fit"], 0.0) / (lengths[2] - lengths[1])
    training = short["seconds"]["total"] + step * (steps - lengths[1])
    counts = {piece: seeds * len(jobs(piece, words, heads)[0]) for piece in PIECES}
    tests = QUARTERS * (counts["heads"] + counts["wrong"])
    return sum(counts.values()) * training + tests * short["seconds"]["test"]


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
    known = read_sets([str(FOLDER / "sets.yaml"), *([sets] if sets else [])])
    for name in names:
        if name not in known:
            raise UserError(f"{name} is no data set: {choices(name, known)}")
    chosen = {name: known[name] for name in names or known}
    place, some = Path(output), [*heads] or HEADS
    place.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(processes, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        if estimate:
            each = [pool.submit(seconds_of, n, w, some, place, seeds) for n, w in chosen.items()]
            hours = [future.result() / 3600 for future in each]
            for name, of_set in zip(chosen, hours, strict=True):
                print(f"{name}: {60 * of_set:.0f} min of one core", flush=True)
            print(f"all: {sum(hours):.1f} h of one core; of {processes} cores, an equal part")
            return
        more = [f"seed={','.join(map(str, range(seeds)))}"]
        more += [f"trainer.max_steps={steps}"] if steps else []
        work = [
            pool.submit(train_set, name, words, piece, some, place, *more)
            for piece in PIECES
            for name, words in chosen.items()
        ]
        for future in work:
            print(future.result(), flush=True)
    write_text(place / "results.md", "\n".join(report(place)))
    print(place / "results.md")


if __name__ == "__main__":
    main()
