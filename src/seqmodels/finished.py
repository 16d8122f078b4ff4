"""A finished run: evaluate it again, or predict with it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from omegaconf import DictConfig, OmegaConf

from seqmodels.data import SPLITS, SequenceDataModule
from seqmodels.data.loading import SequenceDataset, available
from seqmodels.data.split import Examples
from seqmodels.errors import UserError, choices, one_line
from seqmodels.instantiate import instantiate
from seqmodels.machine import find_device, quieten_lightning
from seqmodels.record import read_checkpoint, read_json
from seqmodels.tasks import SequenceClassifier

log = logging.getLogger(__name__)


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
    quieten_lightning()
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
