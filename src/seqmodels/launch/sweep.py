"""What happens before the first job of a sweep, and after the last."""

from __future__ import annotations

import copy
import multiprocessing
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from seqmodels.errors import UserError
from seqmodels.files import write_json
from seqmodels.installation import require
from seqmodels.interruption import SIGNALS, handling_signals
from seqmodels.launch.hydra_setup import ignore_launcher_warning
from seqmodels.launch.job import PARENT
from seqmodels.launch.plan import (
    PLAN,
    as_typed,
    fresh_runs,
    is_search,
    jobs_here,
    make_plan,
    parsed,
    read_plan,
)
from seqmodels.launch.progress import SweepProgress
from seqmodels.launch.readable_errors import readable_errors
from seqmodels.runs.folder import as_override
from seqmodels.runs.lock import check_unlocked, locked
from seqmodels.screen import visible_line


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
    """Hydra callback: write the plan of a sweep, show its progress, compare its runs at the end.

    A signal ends the whole sweep, after the jobs that train have saved their states.
    """

    def __init__(self) -> None:
        ignore_launcher_warning()  # the jobs compose their configurations again
        self._running = ExitStack()

    def __reduce__(self) -> tuple[type[SweepReport], tuple[()]]:
        return SweepReport, ()  # launchers pickle it; the progress display stays in this process

    @_not_swallowed()
    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check the sweep, lock its folder, write its plan, and start the progress display."""
        _check(config)
        if is_search(config.hydra.sweeper):
            require("optuna", "hydra/sweeper=search", "search")
            from seqmodels.launch.search import check_search  # imports torch

            check_search(config)
        _check_values(config)
        _check_metric(config)
        os.environ[PARENT] = str(os.getpid())
        folder = Path(config.hydra.sweep.dir)
        _check_links(folder)
        self._running.enter_context(locked(folder / "lock", "is running a sweep"))
        for lock in sorted(folder.glob("*/lock")):  # of jobs that outlived their sweep
            check_unlocked(lock, "is training")
        overrides, sweeper = config.hydra.overrides.task, config.hydra.sweeper
        earlier = read_plan(folder, sweeper) if (folder / PLAN).is_file() else None
        plan = make_plan(overrides, sweeper, earlier)
        write_json(folder / PLAN, plan)
        threads = config.hydra.launcher.get("cpus_per_task")
        if threads is not None:  # submitit starts jobs with this environment, all cores each
            os.environ.setdefault("OMP_NUM_THREADS", str(threads))
        self._progress = SweepProgress(folder, jobs_here(plan, sweeper), sweeper.get("metric"))
        self._running.enter_context(handling_signals(self._interrupt))

    @_not_swallowed()
    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Compare the runs. Exits with status 1 if any failed."""
        self._progress.stop()
        with self._running:  # a signal still says how to resume: by comparing
            self._compare(config, Path(config.hydra.sweep.dir))

    def _interrupt(self, signum: int, frame: FrameType | None) -> NoReturn:
        """Handle a signal that comes while no job trains in this process."""
        for number in SIGNALS:  # this is the end already
            signal.signal(number, signal.SIG_IGN)
        for worker in multiprocessing.active_children():
            with suppress(ProcessLookupError):
                # not a second Ctrl-C, which would keep them from saving
                os.kill(worker.pid or 0, signal.SIGTERM)
        self._progress.wait_for_workers()
        words = [word for word in sys.argv[1:] if not word.startswith("sweep.resume=")]
        self._progress.stop(
            f"interrupted by {signal.Signals(signum).name}; resume with "
            + as_started("python scripts/train.py ")
            + shlex.join([*words, as_override("sweep.resume", self._progress.folder)])
        )
        self._running.close()
        sys.exit(128 + signum)

    _interrupt.ends_sweep = True  # type: ignore[attr-defined]  # by which a job knows it

    def _compare(self, config: DictConfig, folder: Path) -> None:
        from seqmodels.compare.comparison import compare
        from seqmodels.compare.page import write_comparison
        from seqmodels.compare.tables import comparison_table
        from seqmodels.screen import Screen

        console = Screen()
        different_data, sweeper = config.sweep.different_data, config.hydra.sweeper
        try:
            if is_search(sweeper):
                from seqmodels.launch.search import Search
                from seqmodels.launch.search_report import compare_with_default, report

                report(search := Search(folder), console)
                if not (runs := [run for run, *_ in fresh_runs(sweeper)]):
                    return
                comparison = compare_with_default(search, runs, different_data=different_data)
            else:
                places, metric = [str(folder)], config.sweep.metric
                comparison = compare(places, metric, different_data=different_data)
        except UserError as error:
            console.print(visible_line(f"error: {error}"), soft_wrap=True)
            sys.exit(1)
        console.print(comparison_table(comparison, console))
        for path in write_comparison(comparison, folder):
            console.print(f"{path}", soft_wrap=True)
        sys.stdout.flush()
        if comparison.failed:
            sys.exit(1)


def _check(config: DictConfig) -> None:
    for key, instead in (("folder", "hydra.sweep.dir"), ("resume", "sweep.resume")):
        if (value := typed(as_typed(config.hydra.overrides.task), key)) is not None:
            raise UserError(f"{key}={value} is for one run: in a sweep, set {instead}={value}")
    if str(config.trainer.strategy).startswith("ddp"):
        raise UserError(
            "trainer.strategy=ddp starts this command again in every process, and with it the "
            "whole sweep: set trainer.devices=1 for the sweep, or train its jobs one by one"
        )
    name = config.hydra.runtime.choices["hydra/launcher"]
    launcher = config.hydra.launcher._target_.rpartition(".")[0]
    require(launcher, f"hydra/launcher={name}", name.partition("_")[0])


def _check_metric(config: DictConfig) -> None:
    """Raise UserError for a `sweep.metric` that no run can be compared by. Whether the task has it,
    each job checks before it trains."""
    if (metric := config.sweep.metric) is None:
        return
    from seqmodels.engine.metrics import more_is_better
    from seqmodels.engine.own_metrics import build_metrics
    from seqmodels.instantiate import allowed_class
    from seqmodels.plugins import import_modules, trusted_classes

    if str(metric).rpartition("/")[0] not in ("validation", "test"):
        raise UserError(f"sweep.metric={metric}: write test/ or validation/ before its name")
    import_modules(config.imports)  # which may add their metrics
    trusted = trusted_classes(config)
    allowed_class(config.model, trusted)
    build_metrics(config.model.get("metrics"), trusted)
    more_is_better(metric)


def _values(override: Override) -> list[Any]:
    """Those that it lists; the ends of an interval."""
    interval: Any = override.value()
    if override.is_interval_sweep():
        return [interval.start, interval.end]
    return [*override.sweep_iterator()]


def _check_links(folder: Path) -> None:
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_symlink():  # its job would clear the folder that it leads to
            raise UserError(f"{path} is a link, which no sweep makes: remove it")


def _check_values(config: DictConfig) -> None:
    """Check each value that the sweep takes. Where it varies a file, such as data=uea,text, the
    jobs do it."""
    overrides = parsed(config.hydra.overrides.task, config.hydra.sweeper)
    varied = [override for override in overrides if override.is_sweep_override()]
    keys = [override.get_key_element().lstrip("+") for override in varied]
    values = [_values(override) for override in varied]
    files = {key: GlobalHydra.instance().config_loader().get_group_options(key) for key in keys}
    for key, possible in zip(keys, values, strict=True):
        wrong = [v for v in possible if files[key] and isinstance(v, str) and v not in files[key]]
        if wrong:
            plain: Any = OmegaConf.to_container(config, resolve=False)
            raise UserError(Suggestions(plain, "train").for_file(key, wrong[0], files[key]))
    if any(files.values()):
        return
    settings = copy.deepcopy(config)
    OmegaConf.set_struct(settings, False)
    del settings["hydra"]
    settings.folder = "job"  # each has its own, later
    for key, possible in zip(keys, values, strict=True):
        OmegaConf.update(settings, key, possible[0] if possible else None)
    task = as_typed(config.hydra.overrides.task)
    check_settings(copy.deepcopy(settings), task, "train")
    for key, possible in zip(keys, values, strict=True):
        for value in possible[1:]:
            changed = copy.deepcopy(settings)
            OmegaConf.update(changed, key, value)
            check_settings(changed, task, "train")
