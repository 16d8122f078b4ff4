"""A sweep: many runs of one command, of which one may fail without the others."""

from __future__ import annotations

import atexit
import importlib
import json
import logging
import math
import os
import shutil
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seqmodels.compare.records import DEFAULT_METRICS
from seqmodels.errors import UserError, one_line
from seqmodels.launch.command_line import explain
from seqmodels.launch.naming import PLAN, without_resume


class SweepReport(Callback):
    """Hydra's: counts the jobs of a sweep before it starts, and compares the runs at its end."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # launchers send it to other processes, which watch nothing

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        try:
            if str(config.trainer.strategy).startswith("ddp"):
                raise UserError(
                    "trainer.strategy=ddp starts this command again in every process, and with it "
                    "the whole sweep: run the sweep with trainer.devices=1, or the jobs one by one"
                )
            _check_launcher(config.hydra)
            folder = Path(config.hydra.sweep.dir)
        except (UserError, OmegaConfBaseException) as error:  # Hydra makes warnings of them
            print(f"error: {explain(error)}", file=sys.stderr)
            sys.exit(2)
        folder.mkdir(parents=True, exist_ok=True)
        overrides = without_resume(config.hydra.overrides.task)
        always = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
        parsed = OverridesParser.create().parse_overrides([*always, *overrides])
        choices = {  # the last override of a key counts
            override.get_key_element().lstrip("+"): len(list(override.sweep_iterator()))
            if override.is_sweep_override()
            else 1
            for override in parsed
        }
        jobs = math.prod(choices.values())
        varied = [key for key, count in choices.items() if count > 1]
        plan = {"overrides": overrides, "jobs": jobs, "varied": varied}
        (folder / PLAN).write_text(json.dumps(plan) + "\n")
        threads = config.hydra.launcher.get("cpus_per_task")
        if threads is not None:  # submitit starts its jobs from here, and divides nothing
            os.environ.setdefault("OMP_NUM_THREADS", str(threads))
        self._watch = Watch(folder, jobs)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        self._watch.stop()
        folder = Path(config.hydra.sweep.dir)
        from rich.console import Console

        from seqmodels.compare.comparison import compare
        from seqmodels.compare.page import write_comparison
        from seqmodels.compare.tables import comparison_table

        console = Console()
        try:
            comparison = compare(
                [str(folder)], config.sweep.metric, different_data=config.sweep.different_data
            )
        except UserError as error:
            console.print(f"error: {error}", soft_wrap=True)
            sys.exit(1)
        console.print(comparison_table(comparison))
        for path in write_comparison(comparison, folder):
            console.print(f"{path}", soft_wrap=True)
        if comparison.failed:
            sys.exit(1)


def _check_launcher(hydra: DictConfig) -> None:
    try:
        importlib.import_module(hydra.launcher._target_.rpartition(".")[0])
    except ImportError as error:
        name = hydra.runtime.choices["hydra/launcher"]
        raise UserError(
            f"hydra/launcher={name} needs what is not installed ({one_line(error)}): "
            f"pip install -e '.[{name.partition('_')[0]}]'"
        ) from error


class Watch:
    """A line for each job that ends, whichever process runs it, and a bar over all of them."""

    def __init__(self, folder: Path, jobs: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

        self._folder = folder
        self._ended: set[Path] = set()
        self._over = threading.Event()
        self._bar = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(file=sys.stdout),  # the jobs turn sys.stdout elsewhere
            refresh_per_second=2,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._bar.add_task("", total=jobs)
        self._bar.console.print(f"sweep of {jobs} jobs: {folder}", soft_wrap=True)
        self._take_over()
        self._bar.start()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        atexit.register(self.stop)

    def stop(self) -> None:
        """Looks a last time, and takes the bar away."""
        if not self._over.is_set():
            self._over.set()
            self._thread.join()
            self._look()
            self._bar.stop()

    def _run(self) -> None:
        while not self._over.wait(0.5):
            self._look()

    def _take_over(self) -> None:
        """Counts what an earlier sweep has completed, and forgets what failed in it."""
        for file in self._folder.glob("*/result.json"):
            status = _result(file).get("status")
            if status == "completed":
                self._ended.add(file)
            elif status == "failed":
                file.unlink()
        if self._ended:
            self._bar.console.print(f"{len(self._ended)} of them are there")
            self._bar.advance(self._task, len(self._ended))

    def _look(self) -> None:
        for file in sorted(set(self._folder.glob("*/result.json")) - self._ended):
            result = _result(file)
            if result.get("status") in ("completed", "failed"):
                self._ended.add(file)
                self._bar.advance(self._task)
                self._bar.console.print(_line(file.parent, result), soft_wrap=True)


def _line(folder: Path, result: Mapping[str, Any]) -> str:
    if result["status"] != "completed":
        return f"{folder.name}: {result['status']}, {result['error']}"
    metric = next((name for name in DEFAULT_METRICS if name in result["metrics"]), None)
    value = f"{metric} {result['metrics'][metric]:.4f}" if metric else "no metric"
    return f"{folder.name}: {value}, {result['seconds']['total']:.1f} s"


def run_job(config: DictConfig, overrides: Sequence[str]) -> None:
    """One job: trained, unless an earlier sweep in this folder has completed it.

    What it prints, warnings too, goes to its `train.log`. An error ends this job alone, and is in
    its `result.json`.
    """
    from seqmodels.files import write_json
    from seqmodels.runs import train

    for handler in list(logging.getLogger().handlers):  # warnings are in the log as well
        if type(handler) is logging.StreamHandler:
            logging.getLogger().removeHandler(handler)
    os.chdir(HydraConfig.get().runtime.cwd)  # a cluster starts its jobs where it was started
    folder = Path(config.folder)
    file = folder / "result.json"
    plain = OmegaConf.to_container(config, resolve=True)
    there = _result(file)
    if there.get("status") != "completed":
        for left in folder.iterdir():  # by a job that was cut off; the log is open, and goes on
            if left.is_dir():
                shutil.rmtree(left)
            elif left.suffix != ".log":
                left.unlink()
        try:
            with (
                (folder / "train.log").open("a") as log,
                redirect_stdout(log),
                redirect_stderr(log),
            ):
                train(config, overrides)
        except Exception as error:  # noqa: BLE001 (whatever it is, the other jobs go on)
            folder.mkdir(parents=True, exist_ok=True)
            if not file.is_file():  # it failed before there was a run
                write_json(
                    file,
                    {
                        "status": "failed",
                        "error": one_line(error),
                        "head": config.model.head,
                        "seed": config.seed,
                        "config": plain,
                        "metrics": {},
                    },
                )
    elif _but_for_folders(there["config"]) != _but_for_folders(plain):
        raise UserError(f"{folder} holds a run of another configuration: sweep into another folder")


def _result(file: Path) -> dict[str, Any]:
    """What a `result.json` holds; nothing where there is none, or its job is just clearing it."""
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError):
        return {}


def _but_for_folders(config: Any) -> Any:
    # how a sweep is run changes none of its runs
    return {
        key: value for key, value in config.items() if key not in ("folder", "sweep", "callbacks")
    }
