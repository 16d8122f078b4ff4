"""A sweep: its jobs, each in the folder of its settings, and the comparison at its end."""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
import shlex
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar, NoReturn

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, ListConfig, OmegaConf, read_write

from seqmodels.errors import UserError, one_line
from seqmodels.installation import require
from seqmodels.interruption import SIGNALS, Interrupted
from seqmodels.launch.command_line import readable_errors
from seqmodels.launch.commands.compare import compare_runs
from seqmodels.launch.composed import (
    as_typed,
    check_defaults_kept,
    ignore_launcher_warnings,
)
from seqmodels.plain_values import NO_SETTING, flattened, resolved
from seqmodels.runs.folder import RunFolder
from seqmodels.runs.result import Result
from seqmodels.screen import logging_to, visible_line
from seqmodels.words import as_override, read_word

# The environment of the jobs says by this name how many there are, and what varies.
SWEEP = "SEQMODELS_SWEEP"
GRACE = 60.0  # seconds that jobs in other processes have to save their states


def multirun(here: Any, name: str, job: Callable[[Any], None], words: Sequence[str]) -> None:
    """Run a sweep by Hydra, and compare its runs. What stops it is a UserError that says how to
    finish it.

    Args:
        here: Hydra, as `hydra_of` gives it.
        name, job, words: of the configuration, the function of a job, and the command line.
    """
    SweepReport.running = None
    try:
        here.multirun(name, job, [*words, "hydra.mode=MULTIRUN"])
    except (UserError, HydraException):  # Hydra composes all jobs before the first.
        raise
    except Exception as error:
        if SweepReport.running is None:
            raise
        # A launcher's job may have been killed.
        advice = SweepReport.running.how_to_finish()
        raise UserError(f"the sweep stopped ({one_line(error)}); {advice}") from error
    # A callback cannot do this: Hydra 1.4 calls its end after an error or a signal, too.
    if SweepReport.running is not None:
        SweepReport.running.compare()


def run_job(config: DictConfig, overrides: Sequence[str]) -> None:
    """Train one job of a sweep, resume it, or skip it if it is completed; say how it ended.

    What a training prints goes to its `train.log`. Its errors end this job only. A signal ends the
    sweep, and so does a folder with another configuration.
    """
    settings = HydraConfig.get()
    os.chdir(settings.runtime.cwd)  # A cluster's workers start in a folder of their own.
    # The log has the warnings already.
    for handler in logging.getLogger().handlers[:]:
        if type(handler) is logging.StreamHandler:
            logging.getLogger().removeHandler(handler)
    try:
        outcome = _run(config, overrides)
    except SystemExit as end:
        if isinstance(end.__cause__, Interrupted) and SweepReport.running:
            SweepReport.running.interrupt(end.__cause__.signum)
        raise
    job_count, *varied_keys = os.environ.get(SWEEP, "?").split()
    number: Any = settings.job.num + 1
    if "n_trials" in settings.sweeper:  # A search names the folder by it.
        number = f"trial {settings.sweep.subdir.removesuffix('_trial')}"
    varied_words = [word for word in overrides if read_word(word).key in varied_keys]
    name = " ".join(varied_words) or "one setting"
    line = visible_line(f"{number} of {job_count}: {name}: {outcome}")
    print(f"{line}\n", end="", flush=True)  # Several writes would mix with other processes'.


def _run(config: DictConfig, overrides: Sequence[str]) -> str:
    """Trains, resumes or skips one job; returns how it ended, in a few words."""
    folder = RunFolder(Path(str(config.folder)))
    plain = resolved(config)
    if folder.is_training:
        return "another process trains it"
    if folder.holds_run:
        try:
            config_before = folder.read_config(stretches=1)
        except UserError as error:  # A damaged folder must not stop the others.
            return f"failed, {error}"
        if _settings(config_before) != _settings(plain):
            raise UserError(f"{folder.path} holds a run with another configuration: choose another")
        config.resume = str(folder.path)
        overrides = []
    with (
        logging_to(folder.log_file),
        folder.log_file.open("a", encoding="utf-8") as log,
        redirect_stdout(log),
        redirect_stderr(log),
    ):
        try:
            from seqmodels.runs import train

            if folder.status != "completed":
                train(config, overrides)
        except Exception as error:  # noqa: BLE001 (any error of one job must not stop the others)
            traceback.print_exc()
            result = folder.result_if_any()
            if result is None:
                result = Result(head=config.model.head, seed=config.seed, config=plain)
            result.fail(error)
            if not (folder.holds_run or folder.is_training):  # Else it is the result of that run.
                folder.write_result(result)
            return f"failed, {result.error}"
    return _outcome(folder.read_result(), config)


def _outcome(result: Result, config: DictConfig) -> str:
    """How a job ended: its metric and seconds, or why it has none."""
    from seqmodels.compare.runs import default_metrics

    if not result.completed:
        return f"{result.status}, {result.error}"
    metric = "no metric"
    for name in (config.sweep.metric, *default_metrics([result.metric])):
        if name in result.metrics:
            metric = f"{name} {result.metrics[name]:.4f}"
            break
    return f"{metric}, {result.seconds['total']:.1f} s"


def _settings(config: Any) -> dict[str, Any]:
    """A run's configuration, but where it lies and how it is run."""
    return {
        key: value
        for key, value in flattened(config).items()
        if not (value is None or key.startswith(NO_SETTING) or key.endswith(".dirpath"))
    }


class SweepReport(Callback):
    """Hydra callback: check a sweep before its first job; `compare` its runs after the last. A
    signal ends the whole sweep, after the jobs that train have saved their states."""

    running: ClassVar[SweepReport | None] = None  # Only the process of the sweep has it.

    def __init__(self) -> None:
        ignore_launcher_warnings()  # The jobs compose their configurations again.

    def __reduce__(self) -> tuple[type[SweepReport], tuple[()]]:
        return SweepReport, ()  # Launchers pickle it.

    @readable_errors(exits=True)  # Hydra would only warn of other errors in a callback.
    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        hydra = config.hydra
        words = parsed(config)
        _check_sweep(config, words)
        swept_words = [word for word in words if word.is_sweep_override()]
        self._is_search = "n_trials" in hydra.sweeper
        self._metric = config.sweep.metric
        if self._is_search:
            job_count = hydra.sweeper.n_trials
        else:
            value_counts = [len(list(word.sweep_string_iterator())) for word in swept_words]
            job_count = math.prod(value_counts)
        _check_values(config, words)
        self.folder = Path(hydra.sweep.dir).absolute()
        self._stdout = sys.stdout
        with read_write(hydra.overrides):  # Jobs may start in another folder.
            hydra.overrides.hydra.append(as_override("hydra.sweep.dir", self.folder))
        varied_keys = [read_word(str(word.input_line)).key for word in swept_words]
        os.environ[SWEEP] = " ".join([str(job_count), *varied_keys])
        threads = hydra.launcher.get("cpus_per_task")
        if threads is not None:
            # Jobs that submitit starts have this environment; else each would take all cores.
            os.environ.setdefault("OMP_NUM_THREADS", str(threads))
        print(visible_line(f"sweep of {job_count} jobs: {self.folder}"), flush=True)
        SweepReport.running = self
        for number in SIGNALS:
            signal.signal(number, self.interrupt)

    def interrupt(self, signum: int, _: FrameType | None = None) -> NoReturn:
        """End the jobs in other processes, wait until they have saved their states, and exit."""
        for number in SIGNALS:  # This is the end already.
            signal.signal(number, signal.SIG_IGN)
        for worker in multiprocessing.active_children():
            with suppress(ProcessLookupError):
                # A second Ctrl-C would keep them from saving.
                os.kill(worker.pid or 0, signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        folders = [RunFolder(lock.parent) for lock in self.folder.glob("*/lock")]
        while time.monotonic() < deadline and any(folder.is_training for folder in folders):
            time.sleep(0.1)
        line = f"interrupted by {signal.Signals(signum).name}; {self.how_to_finish()}"
        # A job may have redirected the standard output.
        print(visible_line(line), file=self._stdout, flush=True)
        sys.exit(128 + signum)

    def how_to_finish(self) -> str:
        """The command that trains the jobs that are left."""
        words = [word for word in sys.argv[1:] if not word.startswith("hydra.sweep.dir=")]
        words.append(as_override("hydra.sweep.dir", self.folder))
        return f"finish it with seqmodels train {shlex.join(words)}"

    @readable_errors(exits=True)  # `hydra_of` would say that other errors are Hydra's.
    def compare(self) -> None:
        """Compare the runs, after the last; exit with status 1 if any failed."""
        if self._is_search:  # It has said which trial is best.
            return
        from seqmodels.compare.fold_predictions import write_fold_predictions

        compare_runs(str(self.folder), metric=self._metric)
        table = write_fold_predictions(self.folder)
        if table:
            print(f"{table}: the predictions of all folds")
        sys.stdout.flush()
        runs = [RunFolder(file.parent) for file in self.folder.rglob("result.json")]
        if any(run.status != "completed" and not run.is_training for run in runs):
            sys.exit(1)


def _check_values(config: DictConfig, words: Sequence[Override]) -> None:
    """Check the configuration of the first job, and then each other value that varies, in place of
    the first one, so that a wrong value is refused before any job trains. Values that are wrong
    only together still fail in their job."""
    # This imports torch, so a wrong word is refused before it.
    from seqmodels.runs.plan import check_keys, plan_of

    loader = GlobalHydra.instance().config_loader()
    for job_words in _jobs_with_each_value(words):
        # The sweeper, which composes all jobs, raises Hydra's errors, too.
        with suppress(HydraException):
            job = loader.load_sweep_config(config, job_words)  # A group may vary.
            check_defaults_kept(job, job_words)
            job = OmegaConf.masked_copy(job, [str(key) for key in job if key != "hydra"])
            plan_of(check_keys(job))


def _jobs_with_each_value(words: Sequence[Override]) -> Iterator[list[str]]:
    """The words of the first job, and of those that differ from it in one value; of an interval to
    search, its ends are values."""
    fixed_words = [str(word.input_line) for word in words if not word.is_sweep_override()]
    sweeping = [word for word in words if word.is_sweep_override()]
    swept_words = [
        [f"{word.get_key_element()}={value}" for value in _values_to_check(word)]
        for word in sweeping
    ]
    for choices, word in zip(swept_words, sweeping, strict=True):
        if not choices:
            raise UserError(f"{word.input_line}: there is no value to train with")
    first_words = [choices[0] for choices in swept_words]
    yield [*fixed_words, *first_words]
    for number, choices in enumerate(swept_words):
        for choice in choices[1:]:
            yield [*fixed_words, *first_words[:number], choice, *first_words[number + 1 :]]


def _values_to_check(word: Override) -> list[str]:
    if not word.is_interval_sweep():
        return [*word.sweep_string_iterator()]
    interval: Any = word.value()
    return [str(interval.start), str(interval.end)]


def _several(devices: Any) -> bool:
    """Whether Lightning would take several of them, and so start a process for each."""
    if devices == "auto":
        import torch  # A sweep of one device needn't wait for it.

        return torch.accelerator.device_count() > 1
    if isinstance(devices, ListConfig):
        return len(devices) > 1
    return str(devices) != "1"


def _check_sweep(config: DictConfig, words: Sequence[Override]) -> None:
    """Check what only a sweep can have wrong."""
    for word in words:
        key = read_word(str(word.input_line)).key
        varies_no_setting = word.is_sweep_override() and key.startswith(NO_SETTING)
        if key in ("folder", "resume") or varies_no_setting:
            raise UserError(
                f"{word.input_line}: each job of a sweep has the folder of its settings, in "
                "hydra.sweep.dir; leave this out"
            )
        if word.is_interval_sweep() and "n_trials" not in config.hydra.sweeper:
            raise UserError(f"{word.input_line}: to search an interval, add hparams_search=optuna")
    devices = config.trainer.devices
    strategy = str(config.trainer.strategy)
    if strategy.startswith("ddp") or _several(devices):
        raise UserError(
            f"trainer.devices={devices} and trainer.strategy={strategy} start this command again "
            "in every process, and with it the whole sweep: set trainer.devices=1 and "
            "trainer.strategy=auto for the sweep, or train its jobs one by one"
        )
    name = config.hydra.runtime.choices["hydra/launcher"]
    launcher = config.hydra.launcher._target_.rpartition(".")[0]
    require(launcher, f"hydra/launcher={name}", name.partition("_")[0])


def parsed(config: DictConfig) -> list[Override]:
    """The words of a sweep, after those of its configuration files; the last of a key counts."""
    hydra = config.hydra
    params_of_files = hydra.sweeper.get("params") or {}
    texts = [f"{key}={value}" for key, value in params_of_files.items()]
    texts += as_typed(hydra.overrides.task)
    parser = OverridesParser.create(GlobalHydra.instance().config_loader())
    words_by_key = {word.get_key_element(): word for word in parser.parse_overrides(texts)}
    return list(words_by_key.values())
