"""Train, load, evaluate, predict: what the scripts call, and a notebook can."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from seqmodels.data import DataModule, SequenceDataModule
from seqmodels.errors import UserError
from seqmodels.heads import find_head
from seqmodels.imports import import_modules
from seqmodels.instantiate import allowed_class, instantiate
from seqmodels.machine import device_name, find_device, keep_memory, quieten_lightning
from seqmodels.runs.figures import confusion_matrix, learning_curves
from seqmodels.runs.finished import Run, load_run
from seqmodels.runs.folder import discard_if_unused, read_checkpoint, recording, write_inputs
from seqmodels.runs.metrics_file import MetricsFile
from seqmodels.runs.table import results_table
from seqmodels.tasks import SequenceClassifier, TrainingTask
from seqmodels.tasks.base import batches_per_epoch

__all__ = ["Run", "load_run", "train"]


def train(config: DictConfig, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Trains, tests with the best checkpoint, and fills the run folder.

    Args:
        config: as `configs/train.yaml` composes it; `config.folder` is the run folder.
        overrides: what to write to `overrides.yaml`.

    Returns:
        What `result.json` holds.

    Raises:
        UserError: before anything is written, for what can be known by then.
    """
    started = time.perf_counter()
    console = Console(quiet=rank_zero_only.rank != 0)  # type: ignore[attr-defined]
    quieten_lightning()
    keep_memory()
    folder = Path(config.folder)
    try:
        import_modules(config.imports)
        find_head(config.model.head)
        find_device(config.trainer.accelerator)
        allowed = tuple(config.allowed_targets)
        task_class = allowed_class(config.model, allowed)
        _check_data(task_class, allowed_class(config.data, allowed))
        task_class.check(config.model)
        checkpoint = _resumed_checkpoint(config.resume)
        pl.seed_everything(config.seed, workers=True, verbose=False)
        data: DataModule = instantiate(config.data, allowed_targets=allowed)
        data.setup()
        task: TrainingTask = instantiate(config.model, data=data.spec, allowed_targets=allowed)
        task.allowed_targets = allowed
        trainer = _build_trainer(config, folder, allowed)
        task.build_optimizers(trainer, data)  # so that a mistake in them is found now
        _check_validation(trainer, data)
    except BaseException:
        discard_if_unused(folder)
        raise

    device = device_name(trainer)
    result: dict[str, Any] = {
        "task": type(task).__name__,
        "data": data.title,
        "fingerprint": data.fingerprint,
        "head": task.head.name,
        "reads": list(task.head.reads),
        "seed": config.seed,
        "config": OmegaConf.to_container(config, resolve=True),
        "parameters": sum(p.numel() for p in task.parameters()),
        "metrics": {},
        "baselines": {},
        "seconds": {"setup": time.perf_counter() - started},
        f"{task.unit}_per_second": None,
        "device": device,
    }
    write_inputs(folder, config, overrides, device)
    with recording(folder, result):
        console.print(f"{result['parameters']:,} parameters, on {device}, {trainer.precision}")
        if config.baseline and trainer.is_global_zero:
            result["baselines"] = data.baselines()
        clock = time.perf_counter()
        trainer.fit(task, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        fitted = result["seconds"]["fit"] = time.perf_counter() - clock
        result[f"{task.unit}_per_second"] = task.seen * trainer.world_size / fitted

        clock = time.perf_counter()
        best = _best_checkpoint(trainer)
        validated = trainer.validate(
            task, datamodule=data, ckpt_path=best, weights_only=True, verbose=False
        )  # loads the weights, even where it is limited to no batches
        for metrics in (*validated, *trainer.test(task, datamodule=data, verbose=False)):
            result["metrics"] |= metrics
        result["seconds"]["test"] = time.perf_counter() - clock
        figures = folder / "figures"
        if trainer.is_global_zero:
            learning_curves(folder / "metrics.csv", figures / "learning_curves.png", task.curves)
        tested = "test/loss" in result["metrics"]
        if isinstance(task, SequenceClassifier) and isinstance(data, SequenceDataModule) and tested:
            confused = task.test_confusion.compute().cpu().numpy()  # asks the other processes too
            if trainer.is_global_zero:
                confusion_matrix(confused, data.classes, figures / "confusion_matrix.png")
        result["seconds"]["total"] = time.perf_counter() - started
    console.print(results_table(result))
    console.print(f"run folder: {folder}", soft_wrap=True)
    return result


def _check_data(task: type[TrainingTask], data: type[DataModule]) -> None:
    if task.every_step and not data.every_step:
        raise UserError(
            f"{data.__name__} has one label for a sequence, and a language model needs a next "
            "token at every step: set data=python_source or data=text_lm"
        )
    if data.every_step and not task.every_step:
        raise UserError(
            f"{data.__name__} is text without labels, which a classifier cannot learn from: "
            "set model=language_model, or choose other data"
        )


def _build_trainer(config: DictConfig, folder: Path, allowed: tuple[str, ...]) -> pl.Trainer:
    def build(group: Mapping[str, Any] | None) -> list[Any]:
        entries = [entry for entry in (group or {}).values() if entry is not None]
        return [instantiate(entry, allowed_targets=allowed) for entry in entries]

    callbacks = build(config.callbacks)
    if not config.trainer.enable_progress_bar:
        callbacks = [callback for callback in callbacks if not isinstance(callback, ProgressBar)]
    trainer: pl.Trainer = instantiate(
        config.trainer,
        callbacks=callbacks,
        logger=[MetricsFile(str(folder)), *build(config.logger)],
        default_root_dir=folder,
        allowed_targets=allowed,
    )
    # Lightning resumes a finished epoch as an unfinished one if there are max_steps (its issue
    # 19617); it asks this for nothing but where to resume
    trainer.fit_loop._iteration_based_training = _no  # type: ignore[method-assign]
    return trainer


def _no() -> bool:
    return False


def _resumed_checkpoint(resume: str | None) -> Path | None:
    """`resume` is a run folder, which goes on in place, or a checkpoint, which starts a new one."""
    if resume is None:
        return None
    path = Path(resume)
    if path.is_dir():
        path = path / "checkpoints" / "last.ckpt"
    elif path.suffix != ".ckpt":
        raise UserError(f"resume={resume}: no such run folder, and not a .ckpt file")
    read_checkpoint(path)  # a broken one is found before anything else happens
    return path


def _check_validation(trainer: pl.Trainer, data: DataModule) -> None:
    """That there will be one, after which checkpoints are saved, and the best is chosen."""
    every, interval = trainer.check_val_every_n_epoch, trainer.val_check_interval
    if every is not None and isinstance(interval, int):
        batches = batches_per_epoch(trainer, data)
        if interval > batches:
            raise UserError(
                f"trainer.val_check_interval={interval} is more than the {batches} batches of an "
                "epoch: trainer.check_val_every_n_epoch=null counts on over epochs"
            )
    callback = trainer.checkpoint_callback
    if not isinstance(callback, ModelCheckpoint):
        return
    if every is not None and 0 < (trainer.max_epochs or 0) < every:
        raise UserError(
            f"trainer.check_val_every_n_epoch={every} is more than trainer.max_epochs="
            f"{trainer.max_epochs}: without a validation, no checkpoint is saved"
        )
    if trainer.limit_val_batches == 0 and str(callback.monitor).startswith("validation/"):
        raise UserError(
            "trainer.limit_val_batches=0 leaves no validation, by which the best checkpoint is "
            "chosen: set callbacks.checkpoint.monitor=null, with which the last one is tested"
        )


def _best_checkpoint(trainer: pl.Trainer) -> str | None:
    callback = trainer.checkpoint_callback
    if not isinstance(callback, ModelCheckpoint) or not trainer.checkpoint_callbacks:
        return None  # the user took it out of `callbacks`: test what was trained last
    path = callback.best_model_path
    if trainer.fast_dev_run:  # type: ignore[attr-defined]
        return None  # Lightning saves nothing then
    if not Path(path).is_file():  # its atomic save swallows a PermissionError
        raise UserError(f"no checkpoint was saved in {callback.dirpath}: is the folder writable?")
    return path
