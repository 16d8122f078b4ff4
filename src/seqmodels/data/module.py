"""What a run asks of all data: splits, batches, an encoding to save, baselines."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import lightning.pytorch as pl

from seqmodels.arguments import check_own_init, checked
from seqmodels.batch import Per, SequenceBatch
from seqmodels.cache import cached_value
from seqmodels.data.examples import InputRow, Split
from seqmodels.data.loading import LengthBatchSampler, SequenceLoader
from seqmodels.device import copies_at_once
from seqmodels.machine import unchanged_process
from seqmodels.screen import show_progress
from seqmodels.target import Baselines, find_target

log = logging.getLogger(__name__)

BASELINES = 15  # the version of the baselines in the cache


class DataModule(pl.LightningDataModule):
    """Data for training and evaluation, and the encoding that new inputs need too."""

    per: Per  # whether there is a target for each sequence or for each step
    target: str  # the kind of target, a name in `seqmodels.target.TARGETS`
    datasets: Mapping[str, Any]  # the encoded examples of each split; after `setup`
    batch_size: int
    seed: int  # the seed of the order of the training batches
    pool: int = 50  # how many batches are sorted by length together
    # Why the data has these targets, after `; `: for the error of a task that learns others.
    mismatch: str = ""
    # Further targets that the data may have: the words that configure it so, `per` and `target`.
    other_targets: Sequence[tuple[str, Per, str]] = ()
    looks_ahead: bool = True  # whether baselines at a step read later ones, as the network does
    reads_tables: bool = False  # whether it reads columns of a table, which may be in memory
    guesses: Sequence[str] = ()  # notes on what nobody has said, which a program may warn of
    _logged_doubts: Collection[str] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        check_own_init(cls, "data")

    @checked("data")
    def __init__(self) -> None:  # Lightning's takes any argument
        super().__init__()

    def fits(self, per: Per, target: str) -> bool:
        """Whether a task with such targets can learn from this data."""
        return (per, target) == (self.per, self.target)

    @property
    def title(self) -> str:
        """The name of this data in tables."""
        return type(self).__name__.lower()

    @property
    def notes(self) -> Sequence[str]:
        """Notes for the user on what `setup` has read."""
        return ()

    @property
    def summary(self) -> Sequence[str]:
        """What `setup` has read, in one line or two: the size of each split, and what an encoding
        does not keep."""
        return ()

    @property
    def spec(self) -> dict[str, Any]:
        """What a task has to know about its data, as plain values. Saved in the checkpoint."""
        raise NotImplementedError(f"{type(self).__name__} must define spec")

    def use_spec(self, spec: Mapping[str, Any]) -> None:
        """Encodes with what a finished run has learned instead of learning it again."""
        raise NotImplementedError(f"{type(self).__name__} must define use_spec")

    @property
    def fingerprint(self) -> str:
        """A hash of all splits: equal if and only if the inputs and targets of each are."""
        raise NotImplementedError(f"{type(self).__name__} must define fingerprint")

    @property
    def fingerprints(self) -> Mapping[str, str]:
        """A hash of each split: equal if and only if its inputs and targets are. Empty if not
        known."""
        return {}

    def read(self) -> Mapping[Split, Any]:
        """The splits that exist, raw; `train` must be among them."""
        raise NotImplementedError(f"{type(self).__name__} must define read")

    def setup(self, stage: str | None = None) -> None:
        """Reads, cuts and encodes the data, once. `stage` is Lightning's and ignored. Raises a
        `UserError` if a file cannot be read, or something in a split is wrong."""
        raise NotImplementedError(f"{type(self).__name__} must define setup")

    def loader(self, dataset: Any, *, shuffle: bool = False) -> SequenceLoader:
        """Batches of examples of similar length. Several processes share them.

        Args:
            dataset: the encoded examples, with their `lengths`.
            shuffle: True in training, False to evaluate each example once.
        """
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
        return SequenceLoader(dataset, sampler, pin_memory=self.pins_memory)

    def train_dataloader(self) -> SequenceLoader:
        shuffle = True
        if self.trainer is not None:
            # With trainer.overfit_batches, every epoch must take the same batches.
            shuffle = not self.trainer.overfit_batches  # type: ignore[attr-defined]
        return self.loader(self.to_learn_from(), shuffle=shuffle)

    def to_learn_from(self) -> Any:
        """The training split, one row for each example to learn from."""
        return self.datasets["train"]

    def split_loader(self, split: str) -> SequenceLoader:
        """Batches of a split to evaluate on, each example once."""
        return self.loader(self.datasets[split])

    def file_loader(self, path: str) -> SequenceLoader:
        """Batches of another file to evaluate on, each example once. Raises a `UserError` for a
        file that is missing, empty, broken or without targets."""
        raise NotImplementedError(f"{type(self).__name__} must define file_loader")

    def read_inputs(self, path: str) -> Iterator[Any]:
        """The raw inputs of a file, each as soon as it can be read; `-` is standard input. Raises a
        `UserError` if the file cannot be read, or something in it is wrong."""
        raise NotImplementedError(f"{type(self).__name__} must define read_inputs")

    def read_rows(self, path: str) -> Iterator[InputRow]:
        """The raw inputs as `read_inputs` gives them, each with what its prediction can be joined
        with the file by."""
        return map(InputRow, self.read_inputs(path))

    @property
    def doubts(self) -> Collection[str]:
        """Notes for the user on the inputs that `batch_of` has encoded."""
        return ()

    def warn(self) -> None:
        """Logs the `doubts` that it has not logged yet."""
        new_doubts = [doubt for doubt in self.doubts if doubt not in self._logged_doubts]
        for doubt in new_doubts:
            log.warning(doubt)
        self._logged_doubts = {*self._logged_doubts, *new_doubts}

    def batch_of(self, raw: Sequence[Any], source: str = "inputs", first: int = 1) -> SequenceBatch:
        """A batch of raw inputs, as `read_inputs` gives them, without targets: to predict with.
        Raises a `UserError` if an input cannot be encoded; names it by its number, counted from
        `first`."""
        raise NotImplementedError(f"{type(self).__name__} must define batch_of")

    def feature_name(self, number: int) -> str:
        """What messages call a feature of the inputs, counted from 0."""
        return f"feature {number + 1}"

    def reads_whole_rows(self) -> str:
        """Why a row can't be encoded some steps at a time, and what to set so that it can; empty if
        it can."""
        return ""

    def read_steps(self, path: str) -> Iterator[Any]:
        """The raw steps of one long row, some at a time, each as soon as it can be read."""
        return self.read_inputs(path)

    def batch_of_steps(self, raw: Sequence[Any], kept: dict[str, Any]) -> SequenceBatch:
        """A batch of the next steps of rows, otherwise as `batch_of`.

        Args:
            kept: what the steps before have left in it; empty where rows begin.
        """
        return self.batch_of(raw)

    def described(self, raw: Sequence[Any], rows: Sequence[Any]) -> Iterator[dict[str, Any]]:
        """A prediction for each raw input.

        Args:
            rows: the predictions for the rows of `batch_of(raw)`.
        """
        return map(dict, rows)

    @property
    def split_sizes(self) -> dict[str, int]:
        """The number of examples in each split; empty if targets depend on each other."""
        return {}

    def baselines(self) -> Baselines:
        """What simple baselines do on validation and test.

        They are computed once for each fingerprint and `baseline_recipe`, and cached on disk.
        """

        def compute() -> Baselines:
            started = time.perf_counter()
            with show_progress("simple baselines"), unchanged_process():
                baselines = self.compute_baselines()
            log.info(f"simple baselines took {time.perf_counter() - started:.1f} s")
            return baselines

        recipe = [BASELINES, self.fingerprint, self.target, *self.baseline_recipe]
        return Baselines(*cached_value("baselines", recipe, compute))

    @property
    def baseline_recipe(self) -> list[Any]:
        """What baselines depend on besides the splits and the kind of target, as plain values."""
        return []

    def compute_baselines(self) -> Baselines:
        """What `baselines` caches: by default, the baselines of the kind of target."""
        compute = find_target(self.target).baselines
        return compute(self) if compute else Baselines(scores={})

    @property
    def process(self) -> tuple[int, int]:
        """This process's rank, and the number of processes that share the data."""
        if not self.trainer:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size

    @property
    def pins_memory(self) -> bool:
        """Whether batches go to a device that copies page-locked memory without a wait."""
        if self.trainer is None:
            return False
        return not copies_at_once(self.trainer.strategy.root_device)

    def val_dataloader(self) -> SequenceLoader:
        return self.split_loader("validation")

    def test_dataloader(self) -> SequenceLoader:
        return self.split_loader("test")
