"""Sequences with targets, in memory: read, cut into splits, encode, batch."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor

from seqmodels.arguments import Count, Folds, Natural, PositiveFraction, Seed
from seqmodels.batch import UNKNOWN_ID, Per, SequenceBatch
from seqmodels.data.examples import (
    SPLITS,
    Examples,
    Split,
    by_split,
    cut_off,
    digest,
    folds_of,
    repeated,
    shared_groups,
    without,
)
from seqmodels.data.inputs import InputEncoder, load_inputs
from seqmodels.data.loading import SequenceDataset, SequenceLoader, collate
from seqmodels.data.module import DataModule
from seqmodels.data.targets import Classes, TargetEncoder, Values, unseen_targets
from seqmodels.data.tokens import TokenRows, Tokens, unknown
from seqmodels.errors import UserError, within_memory
from seqmodels.files import called

# Of fewer examples, an automatic validation split takes one.
FEW_EXAMPLES = 60


class SequenceDataModule(DataModule):
    """Sequences with targets, in memory. New data is a subclass with `read`, and one YAML. Raises a
    `UserError` for a `fold` that is not below `folds`.

    Splits that `read` does not return are cut from the training split. The cut is the same for
    every `seed`, so you can compare runs with different seeds.

    Args:
        inputs: encodes the raw inputs; learns from the training split.
        targets: encodes the raw targets; learns from the training split. None lets the data choose:
            classes, unless a subclass overrides `targets`.
        batch_size: how many sequences a batch has, on each device.
        seed: the seed of the order of the training batches.
        split_seed: the seed of the cut.
        validation_fraction, test_fraction: the share to cut off if that split is missing. `auto`,
            for a training that chooses nothing by its validation: a tenth, but of fewer than
            `FEW_EXAMPLES` one example.
        folds: how many equal parts to cut the data into, in place of a share: the test split is the
            one whose number is `fold`.
        fold: the number of the test split among the folds, counted from 0.
        pool: how many batches to sort by length together; 1 gives plain random batches.
    """

    # The columns that hold more of an example than its input and target, by their role in
    # `Examples.also`.
    roles: Mapping[str, str] = MappingProxyType({})

    def __init__(
        self,
        inputs: InputEncoder,
        targets: TargetEncoder | None = None,
        *,
        batch_size: Count = 32,
        seed: Seed = 0,
        split_seed: Seed = 0,
        validation_fraction: PositiveFraction | Literal["auto"] = 0.2,
        test_fraction: PositiveFraction = 0.2,
        folds: Folds | None = None,
        fold: Natural = 0,
        pool: Count = 50,
    ) -> None:
        super().__init__()
        if fold >= (folds or 1):
            bound = f"below data.folds={folds}" if folds else "0 without data.folds"
            raise UserError(f"data.fold={fold}: it counts from 0, and must be {bound}")
        self.inputs = inputs
        if targets is not None:
            self.targets = targets
        self.batch_size = batch_size
        self.pool = pool
        self.seed = seed
        self.split_seed = split_seed
        self.fractions: dict[Split, float | Literal["auto"]] = {
            "test": test_fraction,
            "validation": validation_fraction,
        }
        self.folds = folds
        self.fold = fold
        self.examples: dict[str, Examples] = {}
        self.datasets: dict[str, SequenceDataset] = {}
        self._fitted = False
        # Notes of reading and encoding, in their order; a dict, so that each is kept once.
        self._notes_of_setup: dict[str, None] = {}

    @cached_property
    def targets(self) -> TargetEncoder:
        """Encodes the raw targets."""
        return Classes()

    @property
    def per(self) -> Per:  # type: ignore[override]
        return self.targets.per

    @property
    def target(self) -> str:  # type: ignore[override]
        return self.targets.target

    def read_file(self, path: str) -> Iterator[tuple[Any, ...]]:
        """Each raw input of a file, as soon as it can be read, with its raw target or None; and, if
        more is known of it, with a dict of what `Examples.also` holds of it. Raises a `UserError`
        if the file cannot be read, or something in it is wrong."""
        raise NotImplementedError(
            f"{type(self).__name__} must define read_file, to read inputs from {path}"
        )

    def examples_of(self, rows: Iterable[tuple[Any, ...]], source: str) -> Examples:
        """Examples of raw inputs with their raw targets, as `read_file` gives them. Raises a
        `UserError` if an example has no target."""
        return Examples.of(rows, source)

    def read_inputs(self, path: str) -> Iterator[Any]:
        return (raw for raw, *_ in self.read_file(path))

    @property
    def notes(self) -> Sequence[str]:
        notes = [self.inputs.note, self.targets.note, *self.doubts, *self._notes_of_setup]
        notes += repeated(self.examples, self._units, self.targets.word)
        notes += shared_groups(self.examples)
        return [note for note in notes if note]

    @property
    def _units(self) -> str:
        """What notes call several inputs."""
        return "series" if self.inputs.kind == "features" else "rows"

    @property
    def vectors(self) -> Tensor | None:
        """Pre-trained vectors `(V, W)` of the tokens, after a `setup` that has read them."""
        return self.inputs.vectors

    @property
    def spec(self) -> dict[str, Any]:
        """What a task has to know, as plain values.

        `inputs`: `tokens` or `features`; `num_inputs`: vocabulary size or number of features; with
        vectors, their width `vector_size`, and `num_trained`: how many tokens training knows (ids
        below it; the others are words that only the vectors have); with characters,
        `num_characters`; `preprocessor`: how to encode new inputs; and the spec of the targets.
        """
        if not self._fitted:
            raise RuntimeError("nothing is learned from the training split yet: call setup first")
        return {
            "inputs": self.inputs.kind,
            "num_inputs": self.inputs.num_inputs,
            **self.inputs.further_spec,
            **self.targets.spec,
            "preprocessor": self.inputs.state(),
        }

    def use_spec(self, spec: Mapping[str, Any]) -> None:
        self.inputs = load_inputs(spec["preprocessor"])
        self.targets.load(spec)
        self._fitted = True

    @cached_property
    def fingerprint(self) -> str:
        columns = list[Sequence[Any]]()
        for split in SPLITS:
            columns += [self.examples[split].inputs, self.examples[split].targets]
        return digest(*columns)

    @cached_property
    def fingerprints(self) -> Mapping[str, str]:
        return {
            split: digest(self.examples[split].inputs, self.examples[split].targets)
            for split in SPLITS
        }

    def _read_splits(self) -> dict[str, Examples]:
        """The examples of each split. Those that `read` does not return are cut from the training
        split."""
        splits = by_split(self.read())
        for examples in splits.values():
            self._check(examples)
        if not self._fitted:
            self.targets.check_training(splits["train"].targets, splits["train"].source)
        splits = self.cut(splits)
        return {split: splits[split] for split in SPLITS}

    def cut(self, splits: dict[Split, Examples]) -> dict[Split, Examples]:
        """These splits, and those that are missing, cut from the training split."""
        if self.folds and "test" in splits:
            raise UserError("data.folds cuts the test split from train: leave data.test out")
        splits = dict(splits)
        for split in self.fractions:
            if split in splits:
                continue
            train = splits["train"]
            strata = self.targets.strata(train.targets)
            if split == "test" and self.folds:
                folds = folds_of(train, self.folds, self.split_seed, strata)
                remaining, cut = without(train, folds[self.fold])
            else:
                fraction = self.fraction_of(split, len(train))
                remaining, cut = cut_off(train, fraction, self.split_seed, split, strata)
            splits["train"] = remaining
            splits[split] = cut
        return splits

    def fraction_of(self, split: Split, count: int) -> float:
        """The share to cut off so many examples for a split. A note says if that is a single
        one."""
        fraction = self.fractions[split]
        if fraction != "auto":
            return fraction
        if count >= FEW_EXAMPLES:
            return 0.1
        self._note(
            f"of {count} {self._units}, the validation split has as few as possible, because each "
            "one counts in training; it says next to nothing, so choose nothing by it "
            "(data.validation_fraction)"
        )
        return 1 / count

    def _check(self, examples: Examples) -> None:
        """Raises a `UserError` if a split has no rows, or targets that are wrong."""
        if not len(examples):
            raise UserError(f"{examples.source} has no rows")
        self.targets.check(examples.targets, examples.source)

    def setup(self, stage: str | None = None) -> None:
        if self.datasets:
            return
        self.examples = self._read_splits()
        if not self._fitted:
            train = self.examples["train"]
            self.targets.fit(train.targets, train.source)
            self.inputs.fit(train.inputs)
            self._fitted = True
        self.datasets = {split: self.encode(examples) for split, examples in self.examples.items()}

    @property
    def summary(self) -> Sequence[str]:
        sizes = list[str]()
        for split, dataset in self.datasets.items():
            size = f"{split} {len(dataset):,}"
            rows = dataset.sequences
            if isinstance(rows, TokenRows):
                percentage = 100 * rows.count(UNKNOWN_ID) / max(len(rows.ids), 1)
                truncated = f", {rows.truncated:,} truncated" if rows.truncated else ""
                size += f" ({len(rows.ids):,} tokens, {percentage:.2f} % unknown{truncated})"
            sizes.append(size)
        return [f"{self.title}: {', '.join(sizes)}"]

    def encode(self, examples: Examples) -> SequenceDataset:
        """Encodes inputs and targets. Raises a `UserError` if an example cannot be encoded."""
        sequences = self._encoded_inputs(examples)
        targets = self.targets.encode(examples.targets, examples.source)
        word = self.targets.word
        self._note(unseen_targets(targets, examples, word, self.targets.names))
        self._note_unknown(sequences, examples.source)
        if not isinstance(targets, Tensor):
            _check_target_counts(sequences, targets, examples.source, word)
        dataset = SequenceDataset(sequences, targets)
        dataset.raw = examples.inputs
        dataset.encoder = self.inputs
        dataset.name_of = self.name_of
        dataset.identities = examples.identities()
        if isinstance(self.targets, Values):
            dataset.targets_as_read = partial(_target_as_read, self.targets, examples.targets)
        if "weight" in examples.also:
            dataset.weights = torch.tensor(examples.also["weight"], dtype=torch.float32)
        return dataset

    def _encoded_inputs(self, examples: Examples) -> Sequence[Tensor]:
        return self.inputs.encode(examples.inputs, examples.source)

    def _note(self, note: str) -> None:
        """Keeps a note of reading or encoding, unless it is empty."""
        if note:
            self._notes_of_setup[note] = None

    def _note_unknown(self, sequences: Sequence[Tensor], source: str) -> None:
        """Keeps a note if many tokens of a file are unknown."""
        if isinstance(sequences, TokenRows):
            self._note(unknown(sequences.count(UNKNOWN_ID), len(sequences.ids), source))

    def name_of(self, raw: Any) -> dict[str, Any]:
        """What a raw input can be recognised by in a table, in plain values."""
        return {**self.inputs.name(raw), **self.describe(raw)}

    def reads_whole_rows(self) -> str:
        return self.inputs.reads_whole_rows()

    @property
    def doubts(self) -> Collection[str]:
        return self.inputs.doubts.values()

    def beginning(self, raw: Any, steps: int) -> Any:
        """The first steps of a raw input."""
        if hasattr(raw, "part"):
            return raw.part(0, steps)
        return raw[:steps]

    def batch_of_steps(self, raw: Sequence[Any], kept: dict[str, Any]) -> SequenceBatch:
        return collate(self.inputs.encode_steps(raw, kept))

    def batch_of(self, raw: Sequence[Any], source: str = "inputs", first: int = 1) -> SequenceBatch:
        return collate(self.inputs.encode(raw, source, first))

    def described(self, raw: Sequence[Any], rows: Sequence[Any]) -> Iterator[dict[str, Any]]:
        for raw_input, row in zip(raw, rows, strict=True):
            yield {**self.describe(raw_input), **row}

    def describe(self, raw: Any) -> dict[str, Any]:
        """The facts of a raw input that belong beside its prediction."""
        return self.inputs.describe(raw)

    @property
    def split_sizes(self) -> dict[str, int]:
        if self.per != "sequence":
            return {}  # The steps of a sequence depend on each other.
        return {split: len(dataset) for split, dataset in self.datasets.items()}

    @property
    def baseline_recipe(self) -> list[Any]:
        if self.per == "step":
            return [self.inputs.arguments, self.looks_ahead]  # The encoding says what a step is.
        if self.inputs.kind == "tokens":
            return list(self.baseline_inputs)
        return []

    @property
    def baseline_inputs(self) -> tuple[str, bool]:
        """What baselines see of a text: `characters` if the model sees them, else `words`; and
        whether they see it in lowercase."""
        if not isinstance(self.inputs, Tokens):
            return "words", False
        options = self.inputs.options
        level = "characters" if options.level in ("char", "byte") else "words"
        return level, options.lowercase

    def file_loader(self, path: str) -> SequenceLoader:
        source = called(path)
        with within_memory(source):
            examples = self.examples_of(self.read_file(path), source)
        self._check(examples)
        # The files that the model has learned from may be gone.
        with suppress(UserError, OSError):
            train = (self.examples or self._read_splits())["train"]
            splits = {"train": train, "evaluated": examples}
            for note in repeated(splits, self._units, self.targets.word):
                self._note(note)
        return self.loader(self.encode(examples))


def _check_target_counts(
    sequences: Sequence[Any], targets: Sequence[Any], source: str, word: str
) -> None:
    """Raises a `UserError` for an example that has not one target for each step.

    Args:
        word: what the error calls a target.
    """
    pairs = zip(sequences, targets, strict=True)
    for number, (steps, targets_of_steps) in enumerate(pairs, start=1):
        if len(steps) != len(targets_of_steps):
            raise UserError(
                f"{source}: example {number} has {len(steps)} steps once encoded and "
                f"{len(targets_of_steps)} {word}s: check data.tokenizer, data.max_length and "
                "data.stack"
            )


def _target_as_read(targets: Values, raw: Sequence[Any], row: int) -> dict[str, Any]:
    """The target of a row as its file writes it."""
    return targets.as_read(raw[row])
