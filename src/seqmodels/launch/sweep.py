"""A sweep: its jobs, each in the folder of its settings, and the comparison at its end."""

from __future__ import annotations

import logging
import multiprocessing
import os
import shlex
import signal
import sys
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from itertools import product
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar, NoReturn

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, read_write

from seqmodels.errors import UserError, one_line
from seqmodels.installation import require
from seqmodels.interruption import SIGNALS, Interrupted, Pruned
from seqmodels.launch.composed import mistake
from seqmodels.launch.hydra_setup import NO_SETTING, as_typed, ignore_launcher_warning, key_of
from seqmodels.launch.readable_errors import readable_errors
from seqmodels.plain_values import flattened
from seqmodels.runs.folder import SETTLED, RunFolder, as_override, failure
from seqmodels.screen import logging_to, visible_line

SWEEP = "SEQMODELS_SWEEP"  # in the environment of the jobs: how many there are, and what varies
GRACE = 60.0  # seconds that jobs in other processes have to save their states
BEFORE = {"train.log", "lock", "figures"}  # what a job may leave that is killed before it begins


def run_job(config: DictConfig, overrides: Sequence[str]) -> None:
    """Train one job of a sweep, resume it, or skip it if it is completed; say in one line how it
    ended.

    What a training prints goes to its `train.log`. An error ends this job only, and is recorded in
    its `result.json`; a signal ends the sweep.
    """
    settings = HydraConfig.get()
    os.chdir(settings.runtime.cwd)  # a cluster's workers start in a folder of their own
    for handler in logging.getLogger().handlers[:]:  # the log has the warnings already
        if type(handler) is logging.StreamHandler:
            logging.getLogger().removeHandler(handler)
    trial, parent = settings.sweeper.get("trial"), os.getppid()
    try:
        ended = _run(config, overrides, trial)
    except (UserError, OSError) as error:  # of the folder, which stays as it is
        ended = f"failed, {one_line(error)}"
    except SystemExit as end:
        if isinstance(end.__cause__, Interrupted) and SweepReport.running:
            SweepReport.running.interrupt(end.__cause__.signum)
        raise
    jobs, *varied = os.environ.get(SWEEP, "?").split()
    number = settings.job.num + 1 if trial is None else f"trial {trial}"
    name = " ".join(word for word in overrides if key_of(word) in varied) or "one setting"
    print(visible_line(f"{number} of {jobs}: {name}: {ended}"), flush=True)
    if not SweepReport.running and os.getppid() != parent:
        os._exit(0)  # the sweep was killed: a worker of joblib would wait for it for ever


def _run(config: DictConfig, overrides: Sequence[str], trial: int | None) -> str:
    folder, plain = RunFolder(Path(config.folder)), OmegaConf.to_container(config, resolve=True)
    resumes, left = folder.holds_run, {path.name for path in folder.path.iterdir()}
    if folder.is_training:
        return "another process trains it"
    if resumes and not _same_settings(folder.read_config(beginning=True), plain):
        raise UserError(f"{folder.path} holds a run with another configuration: choose another")
    if folder.result_if_any().get("status") in ("completed", "pruned"):
        return _summary(folder, config.sweep.metric)
    if not resumes and "result.json" not in left and (others := left - BEFORE):
        raise UserError(f"{folder.path} holds other files, such as {min(others)}: choose another")
    if resumes:
        config = OmegaConf.merge(config, {"resume": str(folder.path)})  # type: ignore[assignment]
    with (
        logging_to(folder.log_file),
        folder.log_file.open("a") as log,
        redirect_stdout(log),
        redirect_stderr(log),
    ):
        try:
            from seqmodels.runs import train

            callbacks = []
            if trial is not None:
                from seqmodels.launch.search import pruning

                callbacks.append(pruning(config.sweep.metric, trial))
            train(config, [] if resumes else overrides, callbacks=callbacks)
        except Pruned:
            pass
        except Exception as error:  # noqa: BLE001 (any error of one job must not stop the others)
            traceback.print_exc()
            result = folder.result_if_any()
            if folder.is_training or result.get("status") == "completed":
                return "another process trains it"  # which began meanwhile
            known = {"head": config.model.head, "seed": config.seed, "config": plain, "metrics": {}}
            folder.path.mkdir(parents=True, exist_ok=True)
            folder.write_result({**known, **result, **failure(error)})
    return _summary(folder, config.sweep.metric)


def _same_settings(own: Any, now: Any) -> bool:
    own, now = flattened(own), flattened(now)
    if now.get(SETTLED) == "auto":
        now[SETTLED] = own.get(SETTLED)
    # but where it lies, and how it was run
    others = ("folder", "resume", *NO_SETTING)
    return all(
        own.get(key) == now.get(key) or key.split(".")[0] in others or key.endswith(".dirpath")
        for key in {**own, **now}
    )


def _summary(folder: RunFolder, metric: str | None) -> str:
    from seqmodels.compare.records import default_metrics

    result: Mapping[str, Any] = folder.read_result()
    if result["status"] != "completed":
        return f"{result['status']}, {result['error']}"
    names = [metric, *default_metrics([result["metric"]])]
    values = (f"{n} {result['metrics'][n]:.4f}" for n in names if n in result["metrics"])
    return f"{next(values, 'no metric')}, {result['seconds']['total']:.1f} s"


@contextmanager
def _not_swallowed() -> Iterator[None]:
    """Exits after an exception in a callback: Hydra would only warn of it, and continue."""
    try:
        with readable_errors():
            yield
    except Exception:  # noqa: BLE001 (a fault of ours)
        traceback.print_exc()
        sys.exit(1)


class SweepReport(Callback):
    """Hydra callback: check a sweep before its first job, and compare its runs after the last.

    A signal ends the whole sweep, after the jobs that train have saved their states.
    """

    running: ClassVar[SweepReport | None] = None  # in the process of the sweep

    def __init__(self) -> None:
        ignore_launcher_warning()  # the jobs compose their configurations again

    def __reduce__(self) -> tuple[type[SweepReport], tuple[()]]:
        return SweepReport, ()  # launchers pickle it

    @_not_swallowed()
    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        _check(config)
        hydra, words = config.hydra, parsed(config)
        for word in words:
            key = key_of(str(word.input_line)).partition(".")[0]
            if key in ("folder", "resume"):
                raise UserError(f"{word.input_line} is for one run: set hydra.sweep.dir instead")
            if key in NO_SETTING and word.is_sweep_override():  # its jobs would share a folder
                raise UserError(f"{word.input_line}: a sweep varies what changes its results")
        self.jobs: int | None = hydra.sweeper.get("n_trials")  # of a search
        if self.jobs is None:
            jobs = [*product(*map(_alternatives, words))]
            self.jobs = len(jobs)
            try:
                check_jobs(config, jobs)
            except HydraException as error:
                GlobalHydra.instance().clear()
                raise mistake(error, sys.argv[1:], "train") from error
        self.folder, self._stdout = Path(hydra.sweep.dir).absolute(), sys.stdout
        with read_write(hydra.overrides):  # jobs may start in another folder
            hydra.overrides.hydra.append(as_override("hydra.sweep.dir", self.folder))
        varied = [key_of(str(word.input_line)) for word in words if word.is_sweep_override()]
        os.environ[SWEEP] = " ".join([str(self.jobs), *varied])
        if (threads := hydra.launcher.get("cpus_per_task")) is not None:
            # submitit starts jobs with this environment, all cores each
            os.environ.setdefault("OMP_NUM_THREADS", str(threads))
        print(visible_line(f"sweep of {self.jobs} jobs: {self.folder}"), flush=True)
        SweepReport.running = self
        for number in SIGNALS:
            signal.signal(number, self.interrupt)

    def interrupt(self, signum: int, _: FrameType | None = None) -> NoReturn:
        """End the jobs in other processes, wait until they have saved their states, and exit."""
        for number in SIGNALS:  # this is the end already
            signal.signal(number, signal.SIG_IGN)
        for worker in multiprocessing.active_children():
            with suppress(ProcessLookupError):
                # not a second Ctrl-C, which would keep them from saving
                os.kill(worker.pid or 0, signal.SIGTERM)
        deadline, locks = time.monotonic() + GRACE, [*self.folder.glob("*/lock")]
        while time.monotonic() < deadline and any(RunFolder(p.parent).is_training for p in locks):
            time.sleep(0.1)
        words = [word for word in sys.argv[1:] if not word.startswith("hydra.sweep.dir=")]
        words.append(as_override("hydra.sweep.dir", self.folder))
        line = f"interrupted by {signal.Signals(signum).name}; finish it with"
        line = f"{line} seqmodels train {shlex.join(words)}"
        print(visible_line(line), file=self._stdout, flush=True)  # a job may have redirected it
        sys.exit(128 + signum)

    @_not_swallowed()
    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Compare the runs; exit with status 1 if any failed."""
        if "n_trials" in config.hydra.sweeper:  # a search has said what it found
            return
        from seqmodels.compare.comparison import compare
        from seqmodels.compare.tables import comparison_table
        from seqmodels.compare.writing import write_comparison
        from seqmodels.screen import Screen

        console, sweep = Screen(), config.sweep
        results = [*self.folder.rglob("result.json")]
        try:
            places = [str(self.folder)]
            comparison = compare(places, sweep.metric, different_data=sweep.different_data)
        except UserError as error:
            print(visible_line(f"error: {error}"), file=sys.stderr)
            sys.exit(1)
        console.print(comparison_table(comparison, console))
        for path in write_comparison(comparison, self.folder):
            console.print(f"{path}", soft_wrap=True)
        sys.stdout.flush()
        unfinished = [run for run in comparison.failed if run.status != "running"]
        if unfinished or len(results) < (self.jobs or 0):
            sys.exit(1)


def parsed(config: DictConfig) -> list[Override]:
    """The words of a sweep, after those of its configuration files; the last of a key counts."""
    hydra = config.hydra
    files = [f"{key}={value}" for key, value in (hydra.sweeper.get("params") or {}).items()]
    parser = OverridesParser.create(GlobalHydra.instance().config_loader())
    words = parser.parse_overrides([*files, *as_typed(hydra.overrides.task)])
    return [*{word.get_key_element(): word for word in words}.values()]


def _alternatives(word: Override) -> list[str]:
    if word.is_interval_sweep():
        raise UserError(f"{word.input_line}: to search an interval, add hparams_search=optuna")
    if not word.is_sweep_override():
        return [str(word.input_line)]
    return [f"{word.get_key_element()}={value}" for value in word.sweep_string_iterator()]


def check_jobs(config: DictConfig, jobs: Iterable[Sequence[str]]) -> None:
    """Check each value of a sweep in one of its jobs, before the first one trains.

    Raises:
        UserError: for the first mistake.
    """
    from seqmodels.runs.keys import check_config  # imports torch, after a word is refused

    checked, loader = set[str](), GlobalHydra.instance().config_loader()
    for job in jobs:
        if not checked.issuperset(job):
            one = loader.load_sweep_config(config, [*job, "folder=job"])
            OmegaConf.set_struct(one, False)
            del one["hydra"]
            check_config(one)
            checked.update(job)


def _check(config: DictConfig) -> None:
    """Check what only a sweep can have wrong."""
    if str(config.trainer.strategy).startswith("ddp"):
        raise UserError(
            "trainer.strategy=ddp starts this command again in every process, and with it the "
            "whole sweep: set trainer.devices=1 for the sweep, or train its jobs one by one"
        )
    name = config.hydra.runtime.choices["hydra/launcher"]
    launcher = config.hydra.launcher._target_.rpartition(".")[0]
    require(launcher, f"hydra/launcher={name}", name.partition("_")[0])
