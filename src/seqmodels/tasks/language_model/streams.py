"""Text for a language model, read as contiguous streams: yours, from files or the HuggingFace hub,
and the source of Python. Each window of the streams is one batch, and continues the one before."""

from __future__ import annotations

import glob
import logging
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from seqmodels.arguments import Count, Name, PositiveFraction, Seed
from seqmodels.batch import PADDING_TARGET, UNKNOWN_ID, Per, SequenceBatch
from seqmodels.cache import cached_value
from seqmodels.data.columns import texts_of
from seqmodels.data.examples import EVALUATED, SPLITS, Examples, Split, repeated
from seqmodels.data.loading import EpochSampler, SequenceLoader, collate
from seqmodels.data.module import DataModule
from seqmodels.data.sources import hub_files, library_files
from seqmodels.data.tables import Tables
from seqmodels.data.tokenizer import START_ID, Level, Tokenizer, TokenizerOptions, VocabularySize
from seqmodels.data.tokens import FORMAT
from seqmodels.errors import UserError
from seqmodels.files import read_lines
from seqmodels.screen import show_progress
from seqmodels.target import Baselines
from seqmodels.tasks.language_model.baselines import compression_baselines
from seqmodels.tasks.language_model.corpus import (
    Texts,
    TokenFile,
    blocks,
    cut_off,
    fingerprint,
    read_text,
    sample,
    size,
    token_file,
)

log = logging.getLogger(__name__)


class StreamDataModule(DataModule):
    """Text for a language model. New data is a subclass with `read`, and one YAML.

    Splits that `read` does not return are cut from the training split: whole files at random or,
    where files are few or large, the end of each.

    Args:
        tokenizer, lowercase, min_count, vocabulary_size: see `TokenizerOptions`; `tokenizer` is
            its `level`. All of them keep whitespace but `space`, which keeps line ends.
        batch_size: streams to read in parallel in training, on each device.
        window: steps after which the gradient is cut (truncated backpropagation through time).
        evaluation_streams: streams to read in parallel in evaluation, over all devices together, so
            that the result does not depend on the number of devices; at least one on each.
        split_seed: the seed of the cut by files.
        validation_fraction, test_fraction: the share to cut off if that split is missing.

    Raises:
        UserError: for a wrong argument.
    """

    per: Per = "step"
    target: str = "next_token"
    # It reads a file that the user names.
    text = staticmethod(read_text)

    def __init__(
        self,
        *,
        tokenizer: Level = "bpe",
        lowercase: bool = TokenizerOptions.lowercase,
        min_count: Count = TokenizerOptions.min_count,
        vocabulary_size: VocabularySize = TokenizerOptions.vocabulary_size,
        batch_size: Count = 32,
        window: Count = 64,
        evaluation_streams: Count = 16,
        split_seed: Seed = 0,
        validation_fraction: PositiveFraction = 0.05,
        test_fraction: PositiveFraction = 0.05,
    ) -> None:
        super().__init__()
        self.options = TokenizerOptions(
            tokenizer, lowercase, min_count, vocabulary_size, keep_whitespace=True
        )
        # A `Tokenizer`, after `setup` or `use_spec`.
        self.tokenizer: Any = None
        self.batch_size = batch_size
        self.window = window
        self.evaluation_streams = evaluation_streams
        self.split_seed = split_seed
        self.fractions = {"test": test_fraction, "validation": validation_fraction}
        self.texts: dict[str, Texts] = {}
        self.tokens: dict[str, TokenFile] = {}

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint({split: self.texts[split] for split in SPLITS})

    @property
    def spec(self) -> dict[str, Any]:
        """What a language model has to know, as plain values.

        `num_inputs`: vocabulary size; `tokenizer`: what `Tokenizer.load` needs.
        """
        return {
            "inputs": "tokens",
            "num_inputs": len(self.tokenizer),
            "tokenizer": self.tokenizer.state(),
        }

    def use_spec(self, spec: Mapping[str, Any]) -> None:
        self.tokenizer = Tokenizer.load(spec["tokenizer"])

    def setup(self, stage: str | None = None) -> None:
        if self.tokens:
            return
        splits: dict[Any, Texts] = dict(self.read())
        for split, fraction in self.fractions.items():
            if split not in splits:
                remaining_texts, texts = cut_off(splits["train"], fraction, self.split_seed)
                splits["train"] = remaining_texts
                splits[split] = texts
        self.texts = {split: splits[split] for split in SPLITS}
        for split, texts in self.texts.items():
            if not size(texts):
                raise UserError(f"the {split} split of {self.title} has no text")
        if self.tokenizer is None:
            self.tokenizer = self._learn_tokenizer(self.texts["train"])
        self.tokens = {
            split: token_file(split, texts, self.tokenizer) for split, texts in self.texts.items()
        }

    def _learn_tokenizer(self, texts: Texts) -> Tokenizer:
        def learn() -> dict[str, Any]:
            with show_progress(f"learning {self.options.level} tokens"):
                return Tokenizer.learn(sample(texts), self.options).state()

        recipe = [FORMAT, fingerprint({"train": texts}), asdict(self.options)]
        state = cached_value("tokenizers", recipe, learn)
        return Tokenizer.load(state)

    @property
    def summary(self) -> Sequence[str]:
        """`train 9,025 tokens of 9,103 bytes, 90.2 % of all, 0.12 % unknown`, for each split."""
        with_line_ends = " with line ends" if self.options.level == "space" else ""
        bytes_in_all = sum(tokens.num_bytes for tokens in self.tokens.values())
        lines = []
        for split, tokens in self.tokens.items():
            percent_of_all = 100 * tokens.num_bytes / bytes_in_all
            percent_unknown = 100 * tokens.num_unknown / max(len(tokens), 1)
            lines.append(
                f"{split} {len(tokens):,} tokens{with_line_ends} of {tokens.num_bytes:,} bytes, "
                f"{percent_of_all:.1f} % of all, {percent_unknown:.2f} % unknown"
            )
        return lines

    def batch_of(self, raw: Sequence[str], source: str = "inputs", first: int = 1) -> SequenceBatch:
        """Returns the tokens of each text after the id that marks the start, as in training.

        At step `t`, the input is the token that the model has to follow with token `t`; at the last
        step, it is the text's last token. Unknown tokens are allowed.
        """
        return self.batch_of_steps(raw, {})

    def batch_of_steps(self, raw: Sequence[str], kept: dict[str, Any]) -> SequenceBatch:
        first_ids = []
        if not kept:  # These are the first steps of the texts.
            first_ids = [START_ID]
        kept["begun"] = True
        rows = []
        for text in raw:
            ids, _ = self.tokenizer.encode([text])
            rows.append(torch.tensor([*first_ids, *ids.tolist()]))
        return collate(rows)

    def read_inputs(self, path: str) -> Iterator[str]:
        """Yields the lines of a file."""
        return read_lines(path)

    @property
    def notes(self) -> Sequence[str]:
        examples_by_split = {}
        for split, texts in self.texts.items():
            files = [text for text in texts if text]
            examples_by_split[split] = Examples(files, files, split)
        return repeated(examples_by_split, "files")

    def ids_of(self, text: str) -> list[int]:
        """Returns the token ids of a prompt; a warning names what is not in the vocabulary.

        Raises:
            UserError: if most of the tokens are not.
        """
        encoded, _ = self.tokenizer.encode([text])
        ids: list[int] = encoded.tolist()
        unknown = set()
        for token, (start, stop) in zip(ids, self.tokenizer.spans(text), strict=True):
            if token == UNKNOWN_ID:
                unknown.add(text[start:stop])
        if unknown:
            names = ", ".join(map(repr, sorted(unknown)))
            verb, pronoun = ("is", "it") if len(unknown) == 1 else ("are", "them")
            if ids.count(UNKNOWN_ID) > len(ids) / 2:
                raise UserError(
                    f"prompt: {names} {verb} not in the vocabulary; remove {pronoun} from the "
                    "prompt"
                )
            log.warning(f"prompt: {names} {verb} not in the vocabulary: read as the unknown token")
        return ids

    def text_of(self, ids: Iterable[int]) -> str:
        """Returns the text that token ids stand for."""
        return self.tokenizer.decode(ids)

    def stream_loader(
        self, tokens: TokenFile, title: str, *, train: bool = False
    ) -> SequenceLoader:
        """Returns windows of the tokens: to train on, or to score every token once.

        Raises:
            UserError: if there are too few tokens.
        """
        rank, world_size = self.process
        if train:
            num_streams = self.batch_size * world_size
            min_steps = self.window
            keys = "data.batch_size or data.window"
        else:
            num_streams = max(self.evaluation_streams, world_size)
            min_steps = 1
            keys = "data.evaluation_streams"
        if len(tokens) < num_streams * min_steps:
            raise UserError(
                f"{title} has {len(tokens)} tokens, too few for {num_streams} streams of "
                f"{min_steps} steps at least: lower {keys}, or give more text"
            )
        dataset = StreamDataset(
            tokens, num_streams, drop_last=train, rank=rank, world_size=world_size
        )
        sampler = WindowSampler(dataset.steps, self.window)
        return SequenceLoader(dataset, sampler, pin_memory=self.pins_memory)

    def train_dataloader(self) -> SequenceLoader:
        title = f"the train split of {self.title}"
        return self.stream_loader(self.tokens["train"], title, train=True)

    def split_loader(self, split: str) -> SequenceLoader:
        return self.stream_loader(self.tokens[split], f"the {split} split of {self.title}")

    def file_loader(self, path: str) -> SequenceLoader:
        texts = [self.text(path)]
        if not size(texts):
            raise UserError(f"{path} is empty")
        tokens = token_file(path, texts, self.tokenizer)
        return self.stream_loader(tokens, path)

    def compute_baselines(self) -> Baselines:
        text_by_split: dict[str, Iterable[str]] = {}
        for split in EVALUATED:
            text_by_split[split] = blocks(self.texts[split])
            if self.options.lowercase:
                text_by_split[split] = map(str.lower, text_by_split[split])
        return compression_baselines(text_by_split)

    @property
    def baseline_recipe(self) -> list[Any]:
        return [self.options.lowercase]


class PlainText(StreamDataModule):
    """Plain text in UTF-8, or the texts of tables, read as one long stream per split. Splits
    without files are cut from `train`.

    Args:
        train, validation, test: a file, a pattern such as `books/**/*.txt`, or a list of them. `*`,
            `?` and `**` are the wildcards of a pattern; brackets are part of a name.
        hub: instead of files, the name of a data set on the HuggingFace hub, or of a folder that
            is organised like one.
        text_column: the column with the texts, to read the files as tables, one text after the
            other: each ends its line, and line ends inside of it stay. None reads files as plain
            text, and the column `text` of a hub data set.
        columns, quoting, encoding, separator: how to read tables; see `Tables`.
        options: `tokenizer`, `batch_size`, `window` and the other arguments of `StreamDataModule`.
    """

    def __init__(
        self,
        train: Name | list[Name] | None = None,
        validation: Name | list[Name] | None = None,
        test: Name | list[Name] | None = None,
        *,
        hub: Name | None = None,
        text_column: Name | None = None,
        columns: list[Name] | None = Tables.columns,
        quoting: bool | None = Tables.quoting,
        encoding: Name = Tables.encoding,
        separator: Name | None = Tables.separator,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.tables = Tables(
            columns=columns, quoting=quoting, encoding=encoding, separator=separator
        )
        self.text_column = text_column
        if hub is not None and text_column is None:
            self.text_column = "text"
        self.files = {"train": train, "validation": validation, "test": test}
        self.hub = hub

    @property
    def title(self) -> str:
        if self.hub is not None:
            return self.hub
        train_files = self.files["train"]
        if isinstance(train_files, str):
            return Path(train_files).name
        return ", ".join(train_files or [])

    def read(self) -> Mapping[Split, Texts]:
        if (self.files["train"] is None) == (self.hub is None):
            raise UserError("give either data.train=<file or glob> or data.hub=<name>")
        splits: dict[Split, Texts] = {}
        if self.hub is not None:
            for split, path in hub_files(self.hub).items():
                splits[split] = [self.text(path)]
            return splits
        for split in SPLITS:
            files = self.files[split]
            if files is not None:
                splits[split] = [self.text(path) for path in _paths_of(files)]
        return splits

    def text(self, path: str) -> memoryview:
        if self.text_column is None:
            return super().text(path)
        table = self.tables.read(path, [self.text_column])
        table.check(self.text_column, "data.text_column")
        texts_by_chunk = map(texts_of, table.table[self.text_column].chunks)
        text = bytearray()
        for row, row_text in enumerate(chain.from_iterable(texts_by_chunk)):
            if not isinstance(row_text, str):
                raise UserError(f"{table.where(row)} has no text; remove the row or fill it")
            text += row_text.removesuffix("\n").encode()
            text += b"\n"
        return memoryview(text)


class PythonSource(StreamDataModule):
    """The modules of the running Python's standard library, without its tests, split by file.

    Args:
        options: `tokenizer`, `batch_size`, `window` and the other arguments of `StreamDataModule`.
    """

    @property
    def title(self) -> str:
        return f"source of Python {platform.python_version()}"

    def read(self) -> Mapping[Split, Texts]:
        texts = [self.text(str(path)) for path in library_files()]
        return {"train": [text for text in texts if len(text)]}


def _paths_of(files: str | list[str]) -> Iterator[str]:
    """Yields the paths of files, which are names or patterns."""
    if isinstance(files, str):
        files = [files]
    for name in files:
        is_pattern = "*" in name or "?" in name
        if Path(name).exists() or not is_pattern:
            yield name
            continue
        pattern = name.replace("[", "[[]")  # Brackets are part of a name.
        matches = glob.glob(pattern, recursive=True)  # noqa: PTH207
        paths = sorted(path for path in matches if Path(path).is_file())
        if not paths:
            raise UserError(f"{name}: no file matches")
        yield from paths


class StreamDataset(Dataset[SequenceBatch]):
    """Tokens cut into contiguous streams of equal length, read in parallel.

    Row `b` of every window belongs to stream `b`. At each step, the target is a token and the input
    is the token before it; before the very first token, the input is the id that marks the start.

    Args:
        tokens: on disk; a window reads only what it needs.
        streams: the number of streams, over all processes.
        drop_last: whether to drop tokens that do not fill a step of all streams; otherwise the
            first streams are one token longer.
        rank, world_size: this process, and the number of processes that share the streams.
    """

    def __init__(
        self,
        tokens: TokenFile,
        streams: int,
        *,
        drop_last: bool,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        min_length, num_longer_streams = divmod(len(tokens), streams)
        lengths = np.full(streams, min_length)  # (streams,)
        if not drop_last:
            lengths[:num_longer_streams] += 1
        ends = lengths.cumsum()
        streams_by_process = np.array_split(np.arange(streams), world_size)
        streams_of_process = streams_by_process[rank]
        self.tokens = tokens
        self.ends = ends[streams_of_process]  # (B,), in tokens of the whole text
        self.lengths = lengths[streams_of_process]  # (B,)
        # Processes agree on the number of steps, as it is that of the longest stream of all.
        self.steps = int(lengths.max())
        self.tokens_per_byte = len(tokens) / tokens.num_bytes
        self.spelling_bits_per_byte = 8 * tokens.unknown_bytes / tokens.num_bytes

    def __len__(self) -> int:
        return self.steps

    def __getitems__(self, windows: list[tuple[int, int]]) -> SequenceBatch:
        """Returns the steps `start..stop` of this process's streams, for a list of one
        `(start, stop)`."""
        [(start, stop)] = windows
        num_steps = stop - start
        # The number of the token before the first target of each row; it also names the row.
        first_tokens = self.ends - self.lengths + start  # (B,)
        # The inputs and, one step later, the targets; after a stream's end its last token repeats.
        token_numbers = first_tokens[:, None] + np.arange(num_steps + 1)
        token_numbers = np.minimum(token_numbers, self.ends[:, None])
        ids = torch.from_numpy(self.tokens.ids[token_numbers].astype(np.int64))  # (B, T + 1)
        lengths = torch.from_numpy(np.minimum(self.lengths - start, num_steps))
        has_ended = torch.arange(num_steps) >= lengths.unsqueeze(1)  # (B, T)
        return SequenceBatch(
            ids[:, :-1].contiguous(),
            lengths,
            ids[:, 1:].masked_fill(has_ended, PADDING_TARGET),
            continues=start > 0,
            rows=torch.from_numpy(first_tokens),
        )


class WindowSampler(EpochSampler[list[tuple[int, int]]]):
    """Cuts steps into consecutive windows `(start, stop)`.

    If a single step is left over, the last window takes it too: the streams of evaluation may
    differ by one step, and a window of one step would have rows without a token.

    Args:
        steps: the length of a stream.
        window: steps in a window.
    """

    def __init__(self, steps: int, window: int) -> None:
        self.steps, self.window = steps, window

    def __len__(self) -> int:
        num_windows = -(-(self.steps - 1) // self.window)  # rounded up
        return max(num_windows, 1)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        starts = range(0, len(self) * self.window, self.window)
        for window in pairwise([*starts, self.steps]):
            yield [window]
