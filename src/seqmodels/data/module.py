"""The road that all data takes: read, split, preprocess, batch."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Literal

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from seqmodels.batch import SequenceBatch
from seqmodels.data.inputs import Preprocessor, load_preprocessor
from seqmodels.data.loading import LengthBatchSampler, SequenceDataset, SequenceLoader
from seqmodels.data.split import Examples, cut
from seqmodels.errors import UserError, choices

log = logging.getLogger(__name__)

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


class DataModule(pl.LightningDataModule):
    """What a run asks of any data."""

    per: ClassVar[Literal["sequence", "step"]]
    target: ClassVar[Literal["class", "tag", "value", "next_token", "text"]]
    batch_size: int

    @property
    def title(self) -> str:
        """What to call this data in a table."""
        return type(self).__name__.lower()

    @property
    def spec(self) -> dict[str, Any]:
        """What a task must know of its data, in plain values: saved inside the checkpoint."""
        raise NotImplementedError(f"{type(self).__name__} must define spec")

    def use_spec(self, spec: Mapping[str, Any]) -> None:
        """Encodes with what a finished run has learned, instead of learning it again."""
        raise NotImplementedError(f"{type(self).__name__} must define use_spec")

    @property
    def fingerprint(self) -> str:
        """A hash of every part: equal where data and split are equal."""
        raise NotImplementedError(f"{type(self).__name__} must define fingerprint")

    def split_loader(self, split: str) -> SequenceLoader:
        """Batches of a part, each sample once, to evaluate with."""
        raise NotImplementedError(f"{type(self).__name__} must define split_loader")

    def file_loader(self, path: str) -> SequenceLoader:
        """Likewise of another file of the same form.

        Raises:
            UserError: for a file that is absent, empty, broken or without labels.
        """
        raise NotImplementedError(f"{type(self).__name__} must define file_loader")

    def batch_of(self, raw: Sequence[Any], source: str = "inputs", first: int = 1) -> SequenceBatch:
        """Raw inputs as one batch without targets."""
        raise UserError("a language model has no labels to predict; use generate.py")

    def setup(self, stage: str | None = None) -> None:
        """Reads and encodes, once."""
        raise NotImplementedError(f"{type(self).__name__} must define setup")

    @property
    def process(self) -> tuple[int, int]:
        """This process's rank, and how many processes share the data."""
        trainer = self.trainer
        return (trainer.global_rank, trainer.world_size) if trainer else (0, 1)

    @property
    def on_cuda(self) -> bool:
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"


class SequenceDataModule(DataModule):
    """Labelled sequences in memory. New data is a subclass with `read`, and one YAML.

    Parts that `read` does not return are cut from the training part: stratified, and the same for
    every `seed`, so that runs with different seeds can be compared.

    Args:
        preprocessor: learns from the training part, unless a saved one is given to `use_spec`.
        batch_size: sequences a batch, on each device.
        seed: of the order of the training batches.
        split_seed: of the cut.
        validation_fraction, test_fraction: how much is cut off, where a part is missing.
        pool: how many batches are sorted by length together; 1 gives plain random batches.
        num_workers: processes that make batches; data in memory needs none.
    """

    per = "sequence"
    target = "class"

    def __init__(
        self,
        preprocessor: Preprocessor,
        *,
        batch_size: int = 32,
        seed: int = 0,
        split_seed: int = 0,
        validation_fraction: float = 0.2,
        test_fraction: float = 0.2,
        pool: int = 50,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        for name, value in (("batch_size", batch_size), ("pool", pool)):
            if value < 1:
                raise UserError(f"data.{name} is {value}: it must be at least 1")
        self.preprocessor = preprocessor
        self.batch_size, self.pool, self.num_workers = batch_size, pool, num_workers
        self.seed, self.split_seed = seed, split_seed
        self.validation_fraction, self.test_fraction = validation_fraction, test_fraction
        self.classes: list[str] = []
        self.examples: dict[Split, Examples] = {}
        self.datasets: dict[str, SequenceDataset] = {}
        self._fitted = False

    def read(self) -> Mapping[Split, Examples]:
        """The parts there are; `train` must be among them."""
        raise NotImplementedError(f"{type(self).__name__} must define read")

    def read_file(self, path: str) -> Iterator[tuple[Any, str | None]]:
        """Inputs and labels (None where there are none) of a file of the same form, one by one as
        they come; `-` is standard input.

        Raises:
            UserError: naming the file, the place in it and what to do.
        """
        raise NotImplementedError(f"{type(self).__name__} must define read_file")

    @property
    def spec(self) -> dict[str, Any]:
        """`inputs`: `tokens` or `features`; `num_inputs`: vocabulary size or number of features;
        `classes`: their names in the order of the logits; `preprocessor`: how to encode new inputs.
        """
        return {
            "inputs": self.preprocessor.kind,
            "num_inputs": self.preprocessor.num_inputs,
            "classes": self.classes,
            "preprocessor": self.preprocessor.state(),
        }

    def use_spec(self, spec: Mapping[str, Any]) -> None:
        self.preprocessor = load_preprocessor(spec["preprocessor"])
        self.classes = list(spec["classes"])
        self._fitted = True

    @cached_property
    def fingerprint(self) -> str:
        """A hash of every input and label of every part: equal where data and split are equal."""
        digest = hashlib.sha256()
        for split in SPLITS:
            part = self.examples[split]
            for raw, label in zip(part.inputs, part.labels, strict=True):
                content = raw.tobytes() if isinstance(raw, np.ndarray) else str(raw).encode()
                digest.update(b"%d:" % len(content) + content + label.encode() + b"\0")
            digest.update(b"\1")
        return digest.hexdigest()[:16]

    def setup(self, stage: str | None = None) -> None:
        """Reads, cuts and encodes, once.

        Raises:
            UserError: naming the file, the row and what to do.
        """
        if self.datasets:
            return
        parts = dict(self.read())
        for split, fraction in (
            ("test", self.test_fraction),
            ("validation", self.validation_fraction),
        ):
            if split not in parts:
                parts["train"], parts[split] = cut(  # type: ignore[index]
                    parts["train"], fraction, self.split_seed, split
                )
        for split in SPLITS:
            if not len(parts[split]):
                raise UserError(f"the {split} part is empty: {parts[split].source}")
        self.examples = {split: parts[split] for split in SPLITS}
        if not self._fitted:
            self.classes = sorted(set(self.examples["train"].labels), key=_numbers_first)
            if len(self.classes) < 2:
                raise UserError(
                    f"{self.examples['train'].source}: every label is {self.classes[0]!r}; "
                    "a classifier needs at least two classes"
                )
            self.preprocessor.fit(self.examples["train"].inputs)
            self._fitted = True
        for split in SPLITS:
            self.datasets[split] = self.encode(self.examples[split])
        sizes = ", ".join(f"{split} {len(self.datasets[split])}" for split in SPLITS)
        log.info(f"data: {sizes}; {len(self.classes)} classes")

    def encode(self, examples: Examples) -> SequenceDataset:
        """Labelled examples, ready to batch.

        Raises:
            UserError: for a label that training never saw, or an input that cannot be encoded.
        """
        return SequenceDataset(
            self.preprocessor.encode(examples.inputs, examples.source),
            self._targets(examples.labels, examples.source),
        )

    def _targets(self, labels: Sequence[str], source: str) -> Tensor:
        index = {name: number for number, name in enumerate(self.classes)}
        for number, label in enumerate(labels, start=1):
            if label not in index:
                raise UserError(
                    f"{source}: label {label!r} of example {number} was never seen in training: "
                    f"{choices(label, self.classes)}"
                )
        return torch.tensor([index[label] for label in labels], dtype=torch.int64)

    def batch_of(self, raw: Sequence[Any], source: str = "inputs", first: int = 1) -> SequenceBatch:
        sequences = self.preprocessor.encode(raw, source, first)
        return SequenceDataset(sequences, targets=None).__getitems__(list(range(len(raw))))

    def loader(self, dataset: SequenceDataset, *, shuffle: bool = False) -> SequenceLoader:
        """Batches of similar length; this process's share of them, where there are several."""
        rank, world_size = self.process
        sampler = LengthBatchSampler(
            dataset.lengths,
            self.batch_size,
            shuffle=shuffle,
            seed=self.seed,
            pool=self.pool,
            rank=rank,
            world_size=world_size,
        )
        return SequenceLoader(
            dataset,
            sampler,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=self.on_cuda,
        )

    def train_dataloader(self) -> SequenceLoader:
        # trainer.overfit_batches means the same few batches again and again
        overfit = self.trainer is not None and self.trainer.overfit_batches  # type: ignore[attr-defined]
        return self.loader(self.datasets["train"], shuffle=not overfit)

    def split_loader(self, split: str) -> SequenceLoader:
        return self.loader(self.datasets[split])

    def file_loader(self, path: str) -> SequenceLoader:
        inputs, labels = [], []
        for number, (raw, label) in enumerate(self.read_file(path), start=1):
            if label is None:
                raise UserError(f"{path}: example {number} has no label to compare with")
            inputs.append(raw)
            labels.append(label)
        if not inputs:
            raise UserError(f"{path} is empty")
        return self.loader(self.encode(Examples(inputs, labels, path)))

    def val_dataloader(self) -> SequenceLoader:
        return self.split_loader("validation")

    def test_dataloader(self) -> SequenceLoader:
        return self.split_loader("test")


def _numbers_first(label: str) -> tuple[int, float, str]:
    # classes "1", "2", ... "10" in the order of the numbers
    try:
        return 0, float(label), label
    except ValueError:
        return 1, 0.0, label
