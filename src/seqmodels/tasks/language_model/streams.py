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
        split_seed: of the cut by files.
        validation_fraction, test_fraction: the share to cut off if that split is missing.

    Raises:
        UserError: for a wrong argument.
    """

    per: Per = "step"
    target: str = "next_token"
    text = staticmethod(read_text)  # of a file that the user names

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
        self.tokenizer: Any = None  # until `setup` or `use_spec`: a `Tokenizer`
        self.batch_size, self.window = batch_size, window
        self.evaluation_streams, self.split_seed = evaluation_streams, split_seed
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
        found: dict[Any, Texts] = dict(self.read())
        for split, fraction in self.fractions.items():
            if split not in found:
                found["train"], found[split] = cut_off(found["train"], fraction, self.split_seed)
        self.texts = {split: found[split] for split in SPLITS}
        for split, texts in self.texts.items():
            if not size(texts):
                raise UserError(f"the {split} split of {self.title} has no text")
        if self.tokenizer is None:
            self.tokenizer = self._learn(self.texts["train"])
        self.tokens = {s: token_file(s, self.texts[s], self.tokenizer) for s in SPLITS}

    def _learn(self, texts: Texts) -> Tokenizer:
        def learn() -> dict[str, Any]:
            with show_progress(f"learning {self.options.level} tokens"):
                return Tokenizer.learn(sample(texts), self.options).state()

        recipe = [FORMAT, fingerprint({"train": texts}), asdict(self.options)]
        return Tokenizer.load(cached_value("tokenizers", recipe, learn))

    @property
    def summary(self) -> Sequence[str]:
        """`train 9,025 tokens of 9,103 bytes, 90.2 % of all, 0.12 % unknown`, for each split."""
        ends = " with line ends" if self.options.level == "space" else ""
        whole = sum(tokens.num_bytes for tokens in self.tokens.values())
        return [
            f"{split} {len(tokens):,} tokens{ends} of {tokens.num_bytes:,} bytes, "
            f"{100 * tokens.num_bytes / whole:.1f} % of all, "
            f"{100 * tokens.unknown / max(len(tokens), 1):.2f} % unknown"
            for split, tokens in self.tokens.items()
        ]

    def batch_of(self, raw: Sequence[str], source: str = "inputs", first: int = 1) -> SequenceBatch:
        """The tokens of each text after the id that marks the start, as in training.

        At step `t`, the input is the token that the model has to follow with token `t`; at the last
        step, it is the text's last token. Unknown tokens are allowed.
        """
        return self.batch_of_steps(raw, {})

    def batch_of_steps(self, raw: Sequence[str], kept: dict[str, Any]) -> SequenceBatch:
        start = [START_ID] * (not kept)
        kept["begun"] = True
        rows = (self.tokenizer.encode([text])[0].tolist() for text in raw)
        return collate([torch.tensor([*start, *ids]) for ids in rows])

    def read_inputs(self, path: str) -> Iterator[str]:
        """The lines of a file."""
        return read_lines(path)

    @property
    def notes(self) -> Sequence[str]:
        texts = {split: [text for text in own if text] for split, own in self.texts.items()}
        files = {split: Examples(own, own, split) for split, own in texts.items()}
        return repeated(files, "files")

    def ids_of(self, text: str) -> list[int]:
        """The token ids of a prompt; a warning names what is not in the vocabulary.

        Raises:
            UserError: if that is most of the tokens.
        """
        ids: list[int] = self.tokenizer.encode([text])[0].tolist()
        spans = zip(ids, self.tokenizer.spans(text), strict=True)
        unknown = {text[start:stop] for token, (start, stop) in spans if token == UNKNOWN_ID}
        if unknown:
            verb, them = ("is", "it") if len(unknown) == 1 else ("are", "them")
            found = f"prompt: {', '.join(map(repr, sorted(unknown)))} {verb} not in the vocabulary"
            if ids.count(UNKNOWN_ID) > len(ids) / 2:
                raise UserError(f"{found}; remove {them} from the prompt")
            log.warning(f"{found}: read as the unknown token")
        return ids

    def text_of(self, ids: Iterable[int]) -> str:
        """The text that token ids stand for."""
        return self.tokenizer.decode(ids)

    def stream_loader(
        self, tokens: TokenFile, title: str, *, train: bool = False
    ) -> SequenceLoader:
        """Windows of the tokens: to train on, or to score every token once.

        Raises:
            UserError: if there are too few tokens.
        """
        rank, world_size = self.process
        streams, steps = max(self.evaluation_streams, world_size), 1
        keys = "data.evaluation_streams"
        if train:
            streams, steps = self.batch_size * world_size, self.window
            keys = "data.batch_size or data.window"
        if len(tokens) < streams * steps:
            raise UserError(
                f"{title} has {len(tokens)} tokens, too few for {streams} streams of {steps} steps "
                f"at least: lower {keys}, or give more text"
            )
        dataset = StreamDataset(tokens, streams, drop_last=train, rank=rank, world_size=world_size)
        sampler = WindowSampler(dataset.steps, self.window)
        return SequenceLoader(dataset, sampler, pin_memory=self.pins_memory)

    def train_dataloader(self) -> SequenceLoader:
        title = f"the train split of {self.title}"
        return self.stream_loader(self.tokens["train"], title, train=True)

    def split_loader(self, split: str) -> SequenceLoader:
        return self.stream_loader(self.tokens[split], f"the {split} split of {self.title}")

    def file_loader(self, path: str) -> SequenceLoader:
        text = [self.text(path)]
        if not size(text):
            raise UserError(f"{path} is empty")
        return self.stream_loader(token_file(path, text, self.tokenizer), path)

    def compute_baselines(self) -> Baselines:
        lower = str.lower if self.options.lowercase else str
        return compression_baselines({s: map(lower, blocks(self.texts[s])) for s in EVALUATED})

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
        self.text_column = text_column or (None if hub is None else "text")
        self.files, self.hub = {"train": train, "validation": validation, "test": test}, hub

    @property
    def title(self) -> str:
        if self.hub is not None:
            return self.hub
        first = self.files["train"]
        return Path(first).name if isinstance(first, str) else ", ".join(first or [])

    def read(self) -> Mapping[Split, Texts]:
        if (self.files["train"] is None) == (self.hub is None):
            raise UserError("give either data.train=<file or glob> or data.hub=<name>")
        if self.hub is not None:
            return {split: [self.text(path)] for split, path in hub_files(self.hub).items()}
        given = {split: path for split in SPLITS if (path := self.files[split]) is not None}
        return {split: [*map(self.text, _found(path))] for split, path in given.items()}

    def text(self, path: str) -> memoryview:
        if self.text_column is None:
            return super().text(path)
        table, texts = self.tables.read(path, [self.text_column]), bytearray()
        table.check(self.text_column, "data.text_column")
        read = map(texts_of, table.table[self.text_column].chunks)
        for row, text in enumerate(chain.from_iterable(read)):
            if not isinstance(text, str):
                raise UserError(f"{table.where(row)} has no text; remove the row or fill it")
            texts += f"{text.removesuffix(chr(10))}\n".encode()
        return memoryview(texts)


class PythonSource(StreamDataModule):
    """The modules of the running Python's standard library, without its tests, split by file.

    Args:
        options: `tokenizer`, `batch_size`, `window` and the other arguments of `StreamDataModule`.
    """

    @property
    def title(self) -> str:
        return f"source of Python {platform.python_version()}"

    def read(self) -> Mapping[Split, Texts]:
        texts = (self.text(str(path)) for path in library_files())
        return {"train": [text for text in texts if len(text)]}


def _found(names: str | list[str]) -> Iterator[str]:
    for name in [names] if isinstance(names, str) else names:
        if Path(name).exists() or not ("*" in name or "?" in name):
            yield name
            continue
        pattern = name.replace("[", "[[]")  # brackets are part of a name
        found = sorted(path for path in glob.glob(pattern, recursive=True) if Path(path).is_file())  # noqa: PTH207
        if not found:
            raise UserError(f"{name}: no file matches")
        yield from found


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
        steps, longer = divmod(len(tokens), streams)
        lengths = np.full(streams, steps)
        lengths[: 0 if drop_last else longer] += 1
        mine = np.array_split(np.arange(streams), world_size)[rank]
        self.tokens, self.ends, self.lengths = tokens, lengths.cumsum()[mine], lengths[mine]
        self.steps = int(lengths.max())  # of all streams, so that processes agree
        self.tokens_per_byte = len(tokens) / tokens.num_bytes
        self.spelling_bits_per_byte = 8 * tokens.unknown_bytes / tokens.num_bytes

    def __len__(self) -> int:
        return self.steps

    def __getitems__(self, windows: list[tuple[int, int]]) -> SequenceBatch:
        """The steps `start..stop` of this process's streams, for a list of one `(start, stop)`."""
        [(start, stop)] = windows
        first = self.ends - self.lengths + start
        index = np.minimum(first[:, None] + np.arange(stop - start + 1), self.ends[:, None])
        ids = torch.from_numpy(self.tokens.ids[index].astype(np.int64))  # (B, T + 1)
        lengths = torch.from_numpy(np.minimum(self.lengths - start, stop - start))
        ended = torch.arange(stop - start) >= lengths.unsqueeze(1)
        inputs, targets = ids[:, :-1].contiguous(), ids[:, 1:].masked_fill(ended, PADDING_TARGET)
        rows = torch.from_numpy(first)  # by the number of their first token
        return SequenceBatch(inputs, lengths, targets, continues=start > 0, rows=rows)


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
        return max(-(-(self.steps - 1) // self.window), 1)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        cuts = [*range(0, len(self) * self.window, self.window), self.steps]
        return ([window] for window in pairwise(cuts))
