"""Train: `prepare` a configuration, then `fit` it. What train.py calls, and a notebook can."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, ProgressBar
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from seqmodels.batch import Per
from seqmodels.cache import use_cache
from seqmodels.callbacks.predictions import Predictions
from seqmodels.data import DataModule
from seqmodels.data.sources import as_file
from seqmodels.engine import Task
from seqmodels.engine.class_task import ClassTask
from seqmodels.engine.contract import Contract
from seqmodels.errors import UserError, choices, refusing, unusable
from seqmodels.loggers import log_result
from seqmodels.machine import crowded, device_name, keep_memory
from seqmodels.metrics import METRICS, more_is_better, without_split
from seqmodels.plain_values import resolved
from seqmodels.plugins import import_modules
from seqmodels.runs.annealing import shorter_training
from seqmodels.runs.checkpoint import read_checkpoint
from seqmodels.runs.endings import Recording, new_folder
from seqmodels.runs.environment import environment
from seqmodels.runs.folder import RunFolder, read_metrics
from seqmodels.runs.live import at_newest_step, looks_ahead
from seqmodels.runs.lock import locked
from seqmodels.runs.metrics_file import MetricsFile
from seqmodels.runs.plan import Plan, check_keys, plan_of
from seqmodels.runs.report import learning_curves, results_table, tables_of_test
from seqmodels.runs.result import Result
from seqmodels.runs.resume import Resume, find_resume
from seqmodels.runs.trainer import Trainer, plan_validation, quieten_lightning
from seqmodels.runs.verdict import (
    evidence_of,
    interval_coverage,
    probability_error,
    verdict,
)
from seqmodels.screen import Screen, logging_to
from seqmodels.target import Baselines, find_target, has_target

log = logging.getLogger(__name__)


def train(
    config: DictConfig,
    overrides: Sequence[str] | None = None,
    callbacks: Sequence[Callback] = (),
    data: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Trains, tests with the best checkpoint, and fills the run folder; returns what `result.json`
    holds.

    Args:
        config: as `configs/train.yaml` composes it; `config.folder` is the run folder. If
            `config.resume` is a run folder, that run is resumed with its own configuration.
        overrides: the words that `config` was composed with, for `overrides.yaml`. A resume takes
            what it changes from these: `train(compose(*words), words)`.
        callbacks: called before those of `config`.
        data: rows in memory for keys of `config.data`, such as `{"train": frame}`; `as_file` says
            which. They become files in the cache, which the run's folder names.
    """
    training = prepare(config, overrides, data)
    training.trainer.callbacks[:0] = callbacks  # type: ignore[attr-defined]
    return fit(training, overrides or ())


@dataclass(frozen=True)
class Training:
    """All that a training needs, built and checked; its folder is not begun yet.

    Args:
        resume: what it resumes; None for a new training.
        started: the time, as `time.perf_counter` gives it.
        held: the lock of the folder of a run that is resumed.
    """

    config: DictConfig
    folder: RunFolder
    data: DataModule
    task: Task
    trainer: Trainer
    resume: Resume | None
    started: float
    held: ExitStack


def prepare(
    config: DictConfig,
    overrides: Sequence[str] | None = None,
    rows: Mapping[str, Any] | None = None,
) -> Training:
    """Reads the data and builds task and trainer, cheap checks first. Takes what `train` does;
    `rows` are its `data`. Raises UserError for a mistake. It makes no folder of a new run; what it
    has read or made of rows stays in the cache."""
    started = time.perf_counter()
    config = config.copy()
    for name in rows or ():  # The file of these rows is written after the check.
        OmegaConf.update(config, f"data.{name}", f"data.{name}", force_add=True)
    plain = check_keys(config)
    quieten_lightning()
    use_cache(config.paths.cache)
    paths = {name: as_file(table, f"data.{name}") for name, table in (rows or {}).items()}
    plain["data"] |= paths
    OmegaConf.update(config, "data", paths)
    import_modules(plain["imports"])  # The run to resume may name their classes.
    if config.resume is None:
        # The first process may have begun the run when the others look.
        if not rank_zero_only.rank:  # type: ignore[attr-defined]
            RunFolder(Path(str(config.folder))).check_free()
        return _prepared(config, plan_of(plain), None, started, ExitStack())
    with unusable(f"resume={config.resume}: this run cannot be resumed"), ExitStack() as held:
        if overrides is None:
            raise UserError(
                f"resume={config.resume}: say what to change, if anything: "
                "train(compose(*words), words)"
            )
        folder = RunFolder(Path(config.resume))
        folder.check_links()
        folder.read_config()
        if not rank_zero_only.rank:  # type: ignore[attr-defined]
            held.enter_context(locked(folder.lock))
        resume = find_resume(config, overrides)
        OmegaConf.update(resume.config, "data", paths)
        plan = plan_of(check_keys(resume.config))
        training = _prepared(resume.config, plan, resume, started, held)
        # After an error before this line, the lock is released.
        return replace(training, held=held.pop_all())


def _prepared(
    config: DictConfig, plan: Plan, resume: Resume | None, started: float, held: ExitStack
) -> Training:
    """Builds what the plan holds, for a new training or for one that is resumed."""
    folder = RunFolder(Path(str(config.folder)))
    saved = resume.saved if resume else {}  # The content of the checkpoint.
    pl.seed_everything(config.seed, workers=True, verbose=False)
    data: DataModule = plan.build("data")
    _check_data(plan.task_class, plan.contract, data)
    if saved:  # Then the data is encoded as before, even if its file has changed.
        data.use_spec(saved["hyper_parameters"]["data"])
    data.setup()
    keep_memory()  # What reading has freed goes back to the machine before.
    if saved.get("fingerprint") not in (None, data.fingerprint):
        raise UserError(
            f"resume={config.resume}: the data is not the data that this run was trained on "
            "(fingerprint differs); restore its files, or start a new run"
        )
    trainer = _build_trainer(plan, folder.path, config.trainer.enable_progress_bar)
    task: Task = plan.build("model", data=data.spec)
    task.allowed_targets = plan.allowed_targets
    task.fingerprint = data.fingerprint
    task.build_optimizers(trainer, data)  # A mistake in them is an error now.
    data.looks_ahead = task.network.encoder.bidirectional or task.network.convolutions is not None
    plan_validation(trainer, data)
    if config.model.get("metrics"):
        with torch.random.fork_rng([]):  # The loader draws a number.
            first_batch = next(iter(data.val_dataloader()))
            task.try_metrics(first_batch)
    _check_metric(config.sweep.metric, task, data)
    if not saved:
        task.initialize(data)
    task.changed = resume.replanned if resume else ()
    return Training(config, folder, data, task, trainer, resume, started, held)


def fit(training: Training, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Trains and tests what `prepare` built; returns what `result.json` holds."""
    folder, trainer, resume = training.folder, training.trainer, training.resume
    is_first_process = trainer.is_global_zero
    console = Screen(quiet=not is_first_process)
    result = _beginning(training)
    recording = Recording(folder, result, resume, overrides)
    trainer.callbacks.append(recording)  # type: ignore[attr-defined]
    with training.held as held:
        if is_first_process:
            if not resume:
                held.enter_context(new_folder(folder, recording))
                folder.write_beginning(training.config, overrides, environment(result.device))
            held.enter_context(logging_to(folder.log_file))
        with (
            recording if is_first_process else nullcontext(),
            refusing("trainer", MisconfigurationException),  # Lightning refuses values of it.
            recording.interruptions(trainer, console),
        ):
            _fit(training, result, recording, console)
    profile = trainer.profiler.summary()  # type: ignore[attr-defined]
    if profile:
        console.print(profile, soft_wrap=True)
    console.print(results_table(result))
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    has_predictions = any(isinstance(callback, Predictions) for callback in callbacks)
    if is_first_process and has_predictions:
        for table in tables_of_test(folder.path):
            console.print(table)
    console.print(f"run folder: {folder.path}", soft_wrap=True)
    return result.model_dump(exclude_none=True)


def _fit(training: Training, result: Result, recording: Recording, console: Screen) -> None:
    """Trains and tests, and fills in the result."""
    data, task, trainer = training.data, training.task, training.trainer
    for line in _notes(training):
        console.print(line, soft_wrap=True)
        log.info(line)
    console.print(f"{result.parameters:,} parameters, on {result.device}, {trainer.precision}")
    clock = time.perf_counter()
    checkpoint = training.resume.checkpoint if training.resume else None
    trainer.fit(task, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    # A training that was at its end has had no first batch.
    recording.on_train_batch_start(trainer)
    result.seconds["fit"] = time.perf_counter() - clock
    # They come after the training, because its first step would wait for them.
    baselines = Baselines(scores={})
    if training.config.baseline and trainer.is_global_zero:
        baselines = data.baselines()
        result.baselines = baselines.scores
    speed = task.seen * trainer.world_size / result.seconds["fit"]
    setattr(result, f"{task.contract.kind.unit}_per_second", speed)

    clock = time.perf_counter()
    _test(training, result)
    result.seconds["test"] = time.perf_counter() - clock
    if trainer.is_global_zero:
        _report(training, result, baselines)
    result.seconds["total"] = time.perf_counter() - training.started


def _notes(training: Training) -> list[str]:
    """What to say before a training."""
    data = training.data
    notes = [
        *(training.resume.notes if training.resume else ()),
        *data.notes,
        looks_ahead(training.task, data),
        *data.summary,
        crowded(training.trainer),
    ]
    return [note for note in notes if note]


def _test(training: Training, result: Result) -> None:
    """Tests with the best weights; fills in what was measured."""
    data, task, trainer = training.data, training.task, training.trainer
    result.weights = _load_best(trainer, task)
    # This validation came right before the best checkpoint was saved, with its weights.
    validation = getattr(trainer.checkpoint_callback, "validation", None)
    if validation is None or trainer.overfit_batches:  # type: ignore[attr-defined]
        validation = dict(*trainer.validate(task, datamodule=data, verbose=False))
    if result.whole_splits:
        task.to(trainer.strategy.root_device).eval()
        task.calibrate(data)
        result.calibration = task.calibration
    # A split that is limited to no batches has no evaluation.
    result.metrics = validation | dict(*trainer.test(task, datamodule=data, verbose=False))
    names = sorted({without_split(name) for name in result.metrics} & METRICS.keys())
    directions = {name: METRICS[name].higher_is_better for name in names}
    result.higher_is_better = {
        name: direction for name, direction in directions.items() if direction is not None
    }


def _report(training: Training, result: Result, baselines: Baselines) -> None:
    """Draws the curves, gives the loggers the results, and finds what to say of them."""
    folder, data, task = training.folder, training.data, training.task
    curves = folder.figures / "learning_curves.png"
    title = f"{data.title}, {task.network.head.name}"
    history = read_metrics(folder.metrics_file)
    learning_curves(history, curves, task.curves, title)
    log_result(training.trainer, result.metrics, sorted(folder.figures.glob("*.png")))
    temperature = task.temperature if isinstance(task, ClassTask) else None
    with_probabilities = temperature is not None
    evidence = evidence_of(folder.path, baselines, with_probabilities=with_probabilities)
    result.verdict = [
        *verdict(result, evidence),
        *interval_coverage(result),
        *probability_error(result, temperature, evidence),
    ]
    if result.whole_splits:
        scheduler = training.config.model.get("scheduler")
        sentences = [
            shorter_training(
                task, training.trainer, scheduler, history, result.examples.get("validation")
            ),
            at_newest_step(task, data),
        ]
        result.verdict += [sentence for sentence in sentences if sentence]


def _beginning(training: Training) -> Result:
    """What is known of a run before it starts."""
    task, data, config = training.task, training.data, training.config
    return Result(
        task=type(task).__name__,
        data=data.title,
        fingerprint=data.fingerprint,
        fingerprints={**data.fingerprints},
        head=task.network.head.name,
        reads=[*task.network.head.reads],
        seed=config.seed,
        config=resolved(config),
        parameters=sum(p.numel() for p in task.parameters()),
        metric=task.contract.kind.metric,
        examples=data.split_sizes,
        seconds={"setup": time.perf_counter() - training.started},
        device=device_name(training.trainer),
    )


def _check_data(task: type[Task], contract: Contract, data: DataModule) -> None:
    """Raises UserError if the data hasn't the targets that the task learns."""
    if not data.fits(contract.per, contract.target):
        if has_target(data.target):
            has = f"{find_target(data.target).what} for each {data.per}"
        else:  # The project may have deleted a task.
            has = f"a {data.target} for each {data.per}, which no task here learns"
        learns = f"{contract.kind.what} for each {contract.per}"
        words = _words_that_fit(contract, data)
        raise UserError(
            f"{data.title} has {has}, and {task.__name__} learns {learns}{data.mismatch}: choose "
            f"{' or '.join(words) or 'other data'}"
        )


def _words_that_fit(contract: Contract, data: DataModule) -> list[str]:
    """What to write so that task and data fit: first what keeps the model, then the model for the
    data as it is, then the model for its targets read as others, such as labels as numbers. No
    model of a task that the project has deleted is among them."""

    def model_for(per: Per, target: str) -> str:
        kind = find_target(target)
        model, _, _ = kind.choose.partition(" ")
        return f"{model} {kind.at_each_step}" if per == "step" and kind.at_each_step else model

    same_model, as_it_is, other_model = [], [], []
    for words, per, target in data.other_targets:
        if target == contract.target:
            same_model.append(f"{model_for(per, target)} {words}")
        elif per == data.per and has_target(target):
            other_model.append(f"{model_for(per, target)} {words}")
    if has_target(data.target):
        model = model_for(data.per, data.target)
        if data.target == contract.target and data.per == "sequence":
            model = f"{model} with a head for each sequence"
        as_it_is.append(model)
    choices = [*same_model, *as_it_is, *other_model]
    if not (same_model or data.mismatch):
        choices.append(contract.kind.choose)
    return choices


def _check_metric(metric: str | None, task: Task, data: DataModule) -> None:
    """Makes sure that a sweep's runs will have the metric to compare them by."""
    if metric is None:
        return
    dataset = getattr(data.val_dataloader(), "dataset", None)
    names = {*task.measures, "loss", *task.metrics_of_loss(torch.zeros(()), dataset)}
    names |= {*(task.hparams["metrics"] or ())}
    metrics = {f"{split}/{name}" for split in ("validation", "test") for name in names}
    if metric not in metrics:
        raise UserError(f"sweep.metric={metric}: {choices(metric, metrics)}")
    more_is_better(metric)


def _build_trainer(plan: Plan, folder: Path, shows_progress: bool | None) -> Trainer:
    callbacks = plan.build_group("callbacks")
    if not shows_progress:
        callbacks = [callback for callback in callbacks if not isinstance(callback, ProgressBar)]
    metrics_file = MetricsFile(str(folder))
    return plan.build(
        "trainer",
        callbacks=[metrics_file, *callbacks],
        logger=[metrics_file, *plan.build_group("logger")],
        default_root_dir=folder,
    )


def _load_best(trainer: pl.Trainer, task: Task) -> str:
    """Gives the task the weights of the best checkpoint, in every process. Returns the name of the
    checkpoint whose weights it has now."""
    callback = trainer.checkpoint_callback
    path = callback.best_model_path if isinstance(callback, ModelCheckpoint) else ""
    if not path:
        # None was saved, as without a validation, so that what was trained last is tested.
        return "last"
    saved = read_checkpoint(Path(path))
    with unusable(f"{path} does not fit this model"):  # A stranger's may lack weights.
        task.load_state_dict(saved["state_dict"])
    return "best"
