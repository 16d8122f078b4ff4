"""Text as contiguous streams: one window of them is one batch, and the next window goes on."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch.utils.data import Dataset, Sampler

from seqmodels.batch import PADDING_TARGET, SequenceBatch
from seqmodels.data import corpus
from seqmodels.data.corpus import Part, TokenFile, whole
from seqmodels.data.loading import SequenceLoader
from seqmodels.data.module import SPLITS, DataModule, Split
from seqmodels.data.tokenizer import LEVELS, UNKNOWN_ID
from seqmodels.errors import UserError, choices
from seqmodels.files import existing_file

log = logging.getLogger(__name__)


class StreamDataset(Dataset[SequenceBatch]):
    """Tokens cut into `streams` contiguous pieces of equal length, read side by side.

    Row `b` of every window belongs to piece `b`. At each step the input is the token before (for
    the first token of all, the id that stands for the start) and the target is the token.

    Args:
        tokens: on disk; a window reads no more than it needs.
        streams: how many pieces, over all processes.
        drop_last: whether tokens that do not fill a step of all streams are left out; otherwise
            the first pieces are one token longer.
        rank, world_size: which of the pieces this process reads.
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
        row = np.arange(streams)
        starts = row * steps if drop_last else row * steps + np.minimum(row, longer)
        lengths = np.full(streams, steps) + (0 if drop_last else row < longer)
        mine = np.array_split(row, world_size)[rank]
        self.tokens, self.starts, self.lengths = tokens, starts[mine], lengths[mine]
        self.steps = int(lengths.max())  # the same in every process
        self.tokens_per_byte = len(tokens) / tokens.num_bytes
        self.spelling_bits_per_byte = 8 * tokens.unknown_bytes / tokens.num_bytes

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, window: tuple[int, int]) -> SequenceBatch:
        """The steps `start..stop` of all streams of this process."""
        start, stop = window
        steps = np.arange(start, stop + 1)
        last = (self.starts + self.lengths)[:, None]
        index = np.minimum(self.starts[:, None] + steps, last)
        ids = torch.from_numpy(self.tokens.ids[index].astype(np.int64))  # (B, T + 1)
        lengths = torch.from_numpy(np.minimum(self.lengths - start, stop - start))
        inputs, targets = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
        if int(lengths.min()) < stop - start:
            ended = torch.arange(stop - start) >= lengths.unsqueeze(1)
            targets.masked_fill_(ended, PADDING_TARGET)
        return SequenceBatch(inputs, lengths, targets, continues=start > 0)

    def __getitems__(self, windows: list[tuple[int, int]]) -> SequenceBatch:
        [window] = windows
        return self[window]


class WindowSampler(Sampler[list[tuple[int, int]]]):
    """Cuts `steps` steps into windows, in order.

    The last window takes a single step that would be left over, so that no stream ends before it.

    Args:
        window: steps in a window; with `varied`, on average.
        varied: lengths as in AWD-LSTM (https://arxiv.org/abs/1708.02182): normal around `window`
            with a deviation of 5, around half of it one time in twenty; another cut every epoch,
            which depends on nothing but `(seed, epoch)`, and always the same number of windows.
    """

    def __init__(self, steps: int, window: int, *, varied: bool = False, seed: int = 0) -> None:
        self.steps, self.window, self.varied, self.seed = steps, window, varied, seed
        self.epoch = 0
        self.sampler = self  # where Lightning looks for `set_epoch`

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return max(-(-(self.steps - 1) // self.window), 1)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        count = len(self)
        if self.varied:
            random = np.random.default_rng((self.seed, self.epoch))
            mean = np.where(random.random(count) < 0.95, self.window, self.window / 2)
            lengths = np.maximum(random.normal(mean, 5), 5)
            ends = np.round(np.cumsum(lengths) * (self.steps / lengths.sum())).astype(int)
        else:
            ends = np.arange(1, count + 1) * self.window
        ends[-1] = self.steps
        start = 0
        for stop in ends.tolist():
            yield [(start, stop)]
            start = stop


class StreamDataModule(DataModule):
    """Text for a language model. New data is a subclass with `read`, and one YAML.

    Parts that `read` does not return are cut from the training part: whole files where there are
    several, the end of the file where there is one.

    Args:
        tokenizer, lowercase, min_count, vocabulary_size: as in `train_tokenizer`; whitespace is
            always kept.
        encoding: of the files; one in which a line ends with the byte 10.
        batch_size: streams that are read side by side in training, on each device.
        window: steps after which the gradient is cut (truncated backpropagation through time).
        vary_window: as `WindowSampler`'s `varied`.
        evaluation_streams: streams side by side in evaluation, over all devices, so that the
            result does not depend on their number.
        seed: of the windows' lengths.
        split_seed: of the cut by files.
        validation_fraction, test_fraction: how much is cut off, where a part is missing.
    """

    per = "step"
    target = "next_token"

    def __init__(
        self,
        *,
        tokenizer: str = "bpe",
        lowercase: bool = False,
        min_count: int = 1,
        vocabulary_size: int = 30_000,
        encoding: str = "utf-8",
        batch_size: int = 32,
        window: int = 64,
        vary_window: bool = False,
        evaluation_streams: int = 16,
        seed: int = 0,
        split_seed: int = 0,
        validation_fraction: float = 0.05,
        test_fraction: float = 0.05,
    ) -> None:
        super().__init__()
        for name, value in (
            ("batch_size", batch_size),
            ("window", window),
            ("evaluation_streams", evaluation_streams),
        ):
            if value < 1:
                raise UserError(f"data.{name} is {value}: it must be at least 1")
        if tokenizer not in LEVELS:
            raise UserError(f"data.tokenizer is {tokenizer!r}: {choices(tokenizer, LEVELS)}")
        if vary_window and window < 10:
            raise UserError(f"data.window is {window}: it must be at least 10 to vary")
        self.options: dict[str, Any] = {
            "level": tokenizer,
            "lowercase": lowercase,
            "min_count": min_count,
            "vocabulary_size": vocabulary_size,
            "keep_whitespace": True,
        }
        self.tokenizer: Tokenizer | None = None  # until `setup` or `use_spec`
        self.encoding = one_byte_newlines(encoding)
        self.batch_size, self.window, self.vary_window = batch_size, window, vary_window
        self.evaluation_streams = evaluation_streams
        self.seed, self.split_seed = seed, split_seed
        self.fractions = {"test": test_fraction, "validation": validation_fraction}
        self.parts: dict[str, Part] = {}
        self.tokens: dict[str, TokenFile] = {}
        self._fingerprint = ""

    def read(self) -> Mapping[Split, Part]:
        """The parts there are; `train` must be among them."""
        raise NotImplementedError(f"{type(self).__name__} must define read")

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    @property
    def spec(self) -> dict[str, Any]:
        """What a language model must know, in plain values: saved inside the checkpoint.

        `num_inputs`: vocabulary size; `window`: steps in one, as the learning rate is meant;
        `frequent_first`: whether ids go from frequent to rare;
        `tokenizer`: all of it, as JSON.
        """
        return {
            "inputs": "tokens",
            "num_inputs": self.vocabulary.get_vocab_size(),
            "window": self.window,
            "frequent_first": self.options["level"] in ("word", "char"),
            "tokenizer": self.vocabulary.to_str(),
        }

    def use_spec(self, spec: Mapping[str, Any]) -> None:
        self.tokenizer = Tokenizer.from_str(spec["tokenizer"])

    def setup(self, stage: str | None = None) -> None:
        """Finds, cuts and encodes the text, once; what was encoded before is taken as it is.

        Raises:
            UserError: naming the file or the part, and what to do.
        """
        if self.tokens:
            return
        parts = dict(self.read())
        for split, fraction in self.fractions.items():
            if split not in parts:
                parts["train"], parts[split] = cut(  # type: ignore[index]
                    parts["train"], fraction, self.split_seed, split
                )
        self.parts = {split: parts[split] for split in SPLITS}
        for split, part in self.parts.items():
            if not corpus.size(part):
                raise UserError(f"the {split} part of {self.title} is empty: it has no text")
        self._fingerprint = corpus.fingerprint(self.parts)
        self.tokens = self.encode(self.parts, self._fingerprint)
        for split, tokens in self.tokens.items():
            log.info(
                f"data: {split} {len(tokens):,} tokens of {tokens.num_bytes:,} bytes, "
                f"{100 * tokens.unknown / len(tokens):.2f} % unknown"
            )

    def encode(self, parts: Mapping[str, Part], content: str) -> dict[str, TokenFile]:
        """Parts as tokens; the tokenizer learns from `train`, unless it has learned already.

        Raises:
            UserError: for a file that is not text in this encoding.
        """
        encoded = corpus.encode(parts, content, self.options, self.tokenizer, self.encoding)
        self.tokenizer = encoded.tokenizer
        return encoded.parts

    def ids_of(self, text: str, name: str = "prompt") -> list[int]:
        """The token ids of a text.

        Raises:
            UserError: naming what the vocabulary does not know.
        """
        encoding = self.vocabulary.encode(text)
        unknown = sorted(
            {
                text[a:b]
                for i, (a, b) in zip(encoding.ids, encoding.offsets, strict=True)
                if i == UNKNOWN_ID
            }
        )
        if unknown:
            raise UserError(
                f"{name}: the training text had no {', '.join(map(repr, unknown))}: leave it out"
            )
        return list(encoding.ids)

    def text_of(self, ids: Iterable[int]) -> str:
        return self.vocabulary.decode(list(ids))

    @property
    def vocabulary(self) -> Tokenizer:
        """The trained tokenizer."""
        if self.tokenizer is None:
            raise RuntimeError("there is no vocabulary yet: call setup or use_spec")
        return self.tokenizer

    def loader(self, tokens: TokenFile, title: str = "the text") -> SequenceLoader:
        """Windows that score every token of `tokens` once."""
        streams = self.evaluation_streams
        if len(tokens) < streams:
            raise UserError(
                f"{title} has {len(tokens)} tokens, too few for {streams} streams: "
                "set data.evaluation_streams=1, or give more text"
            )
        rank, world_size = self.process
        if streams < world_size:
            raise UserError(
                f"data.evaluation_streams is {streams}, fewer than the {world_size} processes"
            )
        dataset = StreamDataset(tokens, streams, drop_last=False, rank=rank, world_size=world_size)
        return self._loader(dataset, WindowSampler(dataset.steps, self.window))

    def train_dataloader(self) -> SequenceLoader:
        tokens, (rank, world_size) = self.tokens["train"], self.process
        streams = self.batch_size * world_size
        if len(tokens) < streams * self.window:
            raise UserError(
                f"the train part of {self.title} has {len(tokens)} tokens, too few for one window: "
                f"{streams} streams of {self.window} steps need {streams * self.window}; "
                "set data.batch_size or data.window lower, or give more text"
            )
        dataset = StreamDataset(tokens, streams, drop_last=True, rank=rank, world_size=world_size)
        sampler = WindowSampler(dataset.steps, self.window, varied=self.vary_window, seed=self.seed)
        return self._loader(dataset, sampler)

    def split_loader(self, split: str) -> SequenceLoader:
        return self.loader(self.tokens[split], f"the {split} part of {self.title}")

    def file_loader(self, path: str) -> SequenceLoader:
        part = [whole(Path(existing_file(path)))]
        if not corpus.size(part):
            raise UserError(f"{path} is empty")
        tokens = self.encode({"text": part}, corpus.fingerprint({"text": part}))
        return self.loader(tokens["text"], path)

    def val_dataloader(self) -> SequenceLoader:
        return self.split_loader("validation")

    def test_dataloader(self) -> SequenceLoader:
        return self.split_loader("test")

    def _loader(self, dataset: StreamDataset, sampler: WindowSampler) -> SequenceLoader:
        return SequenceLoader(dataset, sampler, pin_memory=self.on_cuda)


def one_byte_newlines(encoding: str) -> str:
    """The encoding, if files in it can be cut at line ends."""
    try:
        if "\n".encode(encoding) == b"\n":
            return encoding
    except LookupError:
        raise UserError(f"data.encoding={encoding}: Python knows no such encoding") from None
    raise UserError(f"data.encoding={encoding}: convert the files to utf-8 first")


def cut(part: Part, fraction: float, seed: int, name: str) -> tuple[Part, Part]:
    """Cuts about `fraction` of the bytes off: whole files at random where there are several, the
    end of the file where there is one. Returns `(what remains, what was cut off)`.

    Raises:
        UserError: if the fraction leaves nothing on one side.
    """
    if not 0 < fraction < 1:
        raise UserError(f"data.{name}_fraction is {fraction}: it must lie between 0 and 1")
    if len(part) == 1:
        remaining, off = part[0].cut(fraction)
        return [remaining], [off]
    wanted, total, chosen = fraction * corpus.size(part), 0, set[int]()
    for index in np.random.default_rng(seed).permutation(len(part)).tolist():
        if total + len(part[index]) <= wanted:
            chosen.add(index)
            total += len(part[index])
    if not total:  # every file is large
        chosen = {min(range(len(part)), key=lambda index: len(part[index]) or float("inf"))}
    return (
        [piece for index, piece in enumerate(part) if index not in chosen],
        [part[index] for index in sorted(chosen)],
    )
