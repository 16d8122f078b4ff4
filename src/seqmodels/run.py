"""Train, load, evaluate, predict: what the scripts call, and a notebook can."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from seqmodels.data import SPLITS, SequenceDataModule
from seqmodels.data.loading import SequenceDataset, available
from seqmodels.data.split import Examples
from seqmodels.dataflow.table import save_picture, tensor_table
from seqmodels.errors import UserError, choices, one_line
from seqmodels.heads import find_head
from seqmodels.instantiate import instantiate
from seqmodels.record import (
    discard_if_unused,
    read_checkpoint,
    read_json,
    recording,
    write_inputs,
)
from seqmodels.reports.baseline import baselines
from seqmodels.reports.figures import confusion_matrix, learning_curves
from seqmodels.reports.metrics_file import MetricsFile
from seqmodels.reports.table import results_table
from seqmodels.tasks import SequenceClassifier

log = logging.getLogger(__name__)


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
    _quieten_lightning()
    folder = Path(config.folder)
    try:
        find_head(config.model.head)
        find_device(config.trainer.accelerator)
        checkpoint = _resumed_checkpoint(config.resume)
        pl.seed_everything(config.seed, workers=True, verbose=False)
        allowed = tuple(config.allowed_targets)
        data: SequenceDataModule = instantiate(config.data, allowed_targets=allowed)
        data.setup()
        task: SequenceClassifier = instantiate(
            config.model, data=data.spec, allowed_targets=allowed
        )
        task.allowed_targets = allowed
        table = tensor_table(task, next(iter(data.train_dataloader())))
        trainer = _build_trainer(config, folder, allowed)
        task.build_optimizers(trainer, data)  # so that a mistake in them is found now
    except BaseException:
        discard_if_unused(folder)
        raise

    device = _device_name(trainer)
    result: dict[str, Any] = {
        "task": type(task).__name__,
        "data": data.title,
        "fingerprint": data.fingerprint,
        "head": task.head.name,
        "reads": list(task.head.reads),
        "seed": config.seed,
        "parameters": sum(p.numel() for p in task.parameters()),
        "metrics": {},
        "baselines": {},
        "seconds": {"setup": time.perf_counter() - started},
        "examples_per_second": None,
        "device": device,
    }
    write_inputs(folder, config, overrides, device)
    with recording(folder, result):
        console.print(table)
        save_picture(table, folder / "dataflow.svg")
        console.print(f"{result['parameters']:,} parameters, on {device}")
        if config.baseline and trainer.is_global_zero:
            result["baselines"] = baselines(data)
        clock = time.perf_counter()
        trainer.fit(task, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        fitted = result["seconds"]["fit"] = time.perf_counter() - clock
        result["examples_per_second"] = task.examples_seen * trainer.world_size / fitted

        clock = time.perf_counter()
        best = _best_checkpoint(trainer)
        [validation] = trainer.validate(
            task, datamodule=data, ckpt_path=best, weights_only=True, verbose=False
        )
        [test] = trainer.test(task, datamodule=data, verbose=False)
        result["seconds"]["test"] = time.perf_counter() - clock
        result["metrics"] = {**validation, **test}
        confused = task.test_confusion.compute().cpu().numpy()  # asks the other processes too
        if trainer.is_global_zero:
            figures = folder / "figures"
            learning_curves(folder / "metrics.csv", figures / "learning_curves.png")
            confusion_matrix(confused, data.classes, figures / "confusion_matrix.png")
        result["seconds"]["total"] = time.perf_counter() - started
    console.print(results_table(result))
    console.print(f"run folder: {folder}", soft_wrap=True)
    return result


def find_device(accelerator: str) -> torch.device:
    """The device that `auto`, `cpu`, `gpu`, `cuda` or `mps` means on this machine.

    Raises:
        UserError: if PyTorch finds none of that kind.
    """
    here = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    kinds = {"auto": (here.type,), "cpu": ("cpu",), "gpu": ("cuda", "mps"), "cuda": ("cuda",)}
    kinds["mps"] = ("mps",)
    if accelerator not in kinds:
        raise UserError(f"accelerator={accelerator}: {choices(accelerator, kinds)}")
    if accelerator == "cpu":
        return torch.device("cpu")
    if here.type not in kinds[accelerator]:
        raise UserError(
            f"accelerator={accelerator}: PyTorch finds no such device on this machine; "
            "use auto or cpu"
        )
    return here


def _quieten_lightning() -> None:
    # its hints are for people who configure Lightning by hand, as configs/ has done already
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for hint in (
        "does not have many workers",
        "smaller than the logging interval",
        "LeafSpec",
        "Checkpoint directory .* exists and is not empty",
        "The dirpath has changed",
        "It is recommended to use .*sync_dist",  # torchmetrics has put the processes together
    ):
        warnings.filterwarnings("ignore", f".*{hint}")


def _build_trainer(config: DictConfig, folder: Path, allowed: tuple[str, ...]) -> pl.Trainer:
    def build(group: Mapping[str, Any] | None) -> list[Any]:
        entries = [entry for entry in (group or {}).values() if entry is not None]
        return [instantiate(entry, allowed_targets=allowed) for entry in entries]

    return instantiate(
        config.trainer,
        callbacks=build(config.callbacks),
        logger=[MetricsFile(str(folder)), *build(config.logger)],
        default_root_dir=folder,
        allowed_targets=allowed,
    )


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


def _device_name(trainer: pl.Trainer) -> str:
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return name if trainer.world_size == 1 else f"{trainer.world_size} x {name}"


@dataclass(frozen=True)
class Run:
    """A finished run: its task with trained weights, and its data, ready to encode as in training.

    Nothing is read from the data's own files until `evaluate` asks for a part of them.
    """

    folder: Path
    config: DictConfig
    result: dict[str, Any]
    task: SequenceClassifier
    data: SequenceDataModule

    def evaluate(
        self, split: str = "test", file: str | None = None, accelerator: str = "auto"
    ) -> dict[str, float]:
        """Loss, accuracy and macro-F1 on a part of the run's data, or on a labelled file like it.

        Raises:
            UserError: for an unknown part, or a file that is absent, broken or without labels.
        """
        find_device(accelerator)
        if file is not None:
            split, dataset = "file", self.data.encode(self._labelled(file))
        elif split not in SPLITS:
            raise UserError(f"split={split}: {choices(split, SPLITS)}")
        else:
            self.data.setup()
            if self.result.get("fingerprint") not in (None, self.data.fingerprint):
                log.warning("the data are not those of the training: their fingerprint has changed")
            dataset = self.data.datasets[split]
        trainer = pl.Trainer(
            accelerator=accelerator,
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
        )
        [metrics] = trainer.test(self.task, self.data.loader(dataset), verbose=False)
        return {name.replace("test/", f"{split}/"): value for name, value in metrics.items()}

    def predict(
        self, inputs: Iterable[Any], source: str = "inputs", accelerator: str = "auto"
    ) -> Iterator[dict[str, Any]]:
        """The label and the probability of every class, for each input, in order, as they come.

        Args:
            inputs: raw, as the data module's `read_file` gives them: texts, or series `(T, F)`.
            source: what to call them in an error.

        Raises:
            UserError: for an input that cannot be encoded, naming its number.
        """
        task = self.task.to(find_device(accelerator)).eval()
        classes = task.hparams["data"]["classes"]
        for first, chunk in available(inputs, self.data.batch_size):
            sequences = self.data.preprocessor.encode(chunk, source, first)
            batch = SequenceDataset(sequences, targets=None).__getitems__(list(range(len(chunk))))
            with torch.inference_mode():
                probabilities = task.predict_step(batch.to(task.device))
            for row in probabilities.tolist():
                ranked = dict(zip(classes, row, strict=True))
                yield {"label": max(ranked, key=ranked.__getitem__), "probabilities": ranked}

    def _labelled(self, file: str) -> Examples:
        inputs, labels = [], []
        for number, (raw, label) in enumerate(self.data.read_file(file), start=1):
            if label is None:
                raise UserError(f"{file}: example {number} has no label to compare with")
            inputs.append(raw)
            labels.append(label)
        if not inputs:
            raise UserError(f"{file} is empty")
        return Examples(inputs, labels, file)


def load_run(
    folder: str | Path,
    checkpoint: str = "best",
    *,
    batch_size: int | None = None,
    allowed_targets: Sequence[str] = (),
) -> Run:
    """A finished run from its folder.

    Args:
        checkpoint: `best` or `last`.
        batch_size: another one than in training.
        allowed_targets: as in `instantiate`; the folder's own are not believed.

    Raises:
        UserError: if the folder is none of a run, or its checkpoint is broken.
    """
    _quieten_lightning()
    folder = Path(folder)
    if not (folder / "config.yaml").is_file():
        raise UserError(f"run={folder} is not the folder of a run: it has no config.yaml")
    path = folder / "checkpoints" / f"{checkpoint}.ckpt"
    hyper_parameters = read_checkpoint(path)["hyper_parameters"]
    config = OmegaConf.load(folder / "config.yaml")
    assert isinstance(config, DictConfig)
    if batch_size is not None:
        config.data.batch_size = batch_size
    data: SequenceDataModule = instantiate(config.data, allowed_targets=allowed_targets)
    try:
        task = SequenceClassifier.load_from_checkpoint(path, map_location="cpu", weights_only=True)
    except (RuntimeError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} does not fit this version of the code: {one_line(error)}"
        ) from error
    data.use_spec(hyper_parameters["data"])
    return Run(folder, config, read_json(folder / "result.json"), task.eval(), data)
