"""Text for a language model, read as contiguous streams."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from seqmodels.arguments import Count, Name, PositiveFraction, Seed
from seqmodels.batch import UNKNOWN_ID, Per, SequenceBatch
from seqmodels.data.file_pieces import (
    Piece,
    Pieces,
    cut_off,
    fingerprint,
    same_files,
    size,
    texts,
    whole,
)
from seqmodels.data.loading import SequenceLoader, collate
from seqmodels.data.module import SPLITS, DataModule, check_inputs
from seqmodels.data.tokenizer import (
    START_ID,
    Level,
    TokenizerOptions,
    VocabularySize,
    load_tokenizer,
)
from seqmodels.errors import UserError
from seqmodels.files import text_decoder
from seqmodels.target import Baselines
from seqmodels.tasks.language_model.baselines import compression_baselines
from seqmodels.tasks.language_model.corpus import TokenFile, token_files
from seqmodels.tasks.language_model.stream_windows import StreamDataset, WindowSampler

log = logging.getLogger(__name__)


class StreamDataModule(DataModule):
    """Text for a language model. New data is a subclass with `read`, and one YAML.

    Splits that `read` does not return are cut from the training split: whole files if there are
    several. From one file, the test split is its end, and the validation split is stretches of what
    remains, so that training keeps most of the text next to the test split.

    Args:
        tokenizer, lowercase, min_count, vocabulary_size: see `TokenizerOptions`; `tokenizer` is
            its `level`. All of them keep whitespace but `space`, which keeps line ends.
        encoding: of the files. Its line ends must be the byte 10.
        batch_size: streams to read in parallel in training, on each device.
        window: steps after which the gradient is cut (truncated backpropagation through time).
        evaluation_streams: streams to read in parallel in evaluation, over all devices together, so
            that the result does not depend on the number of devices.
        split_seed: of the cut by files.
        validation_fraction, test_fraction: the share to cut off if that split is missing.
        validation_stretches: the number of places in one file to cut a missing validation split
            from, evenly spread; fewer if the file is short.

    Raises:
        UserError: for an encoding with another line end.
    """

    per: Per = "step"
    target: str = "next_token"

    def __init__(
        self,
        *,
        tokenizer: Level = "bpe",
        lowercase: bool = TokenizerOptions.lowercase,
        min_count: Count = TokenizerOptions.min_count,
        vocabulary_size: VocabularySize = TokenizerOptions.vocabulary_size,
        encoding: Name = "utf-8",
        batch_size: Count = 32,
        window: Count = 64,
        evaluation_streams: Count = 16,
        split_seed: Seed = 0,
        validation_fraction: PositiveFraction = 0.05,
        test_fraction: PositiveFraction = 0.05,
        validation_stretches: Count = 10,
    ) -> None:
        super().__init__()
        self.options = TokenizerOptions(
            tokenizer, lowercase, min_count, vocabulary_size, keep_whitespace=True
        )
        self.tokenizer: Tokenizer | None = None  # until `setup` or `use_spec`
        text_decoder(encoding)
        if "\n".encode(encoding) != b"\n":  # where files are cut
            raise UserError(f"data.encoding={encoding}: convert the files to utf-8 first")
        self.encoding = encoding
        self.batch_size, self.window = batch_size, window
        self.evaluation_streams, self.split_seed = evaluation_streams, split_seed
        self.fractions = {"test": test_fraction, "validation": validation_fraction}
        self.stretches = {"test": 1, "validation": validation_stretches}
        self.texts: dict[str, Pieces] = {}
        self.tokens: dict[str, TokenFile] = {}

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint({split: self.texts[split] for split in SPLITS})

    @property
    def spec(self) -> dict[str, Any]:
        """What a language model has to know, as plain values.

        `num_inputs`: vocabulary size; `window`: the steps in a window that the learning rate is
        meant for; `frequent_first`: whether ids are sorted from frequent to rare; `tokenizer`: the
        trained tokenizer, as JSON.
        """
        return {
            "inputs": "tokens",
            "num_inputs": self.vocabulary.get_vocab_size(),
            "window": self.window,
            "frequent_first": self.options.level in ("word", "space", "char"),
            "tokenizer": self.vocabulary.to_str(),
        }

    def use_spec(self, spec: Mapping[str, Any]) -> None:
        self.tokenizer = load_tokenizer(spec["tokenizer"], self.options)
        check_inputs(self.tokenizer.get_vocab_size(), spec)

    def setup(self, stage: str | None = None) -> None:
        if self.tokens:
            return
        found: dict[Any, Pieces] = dict(self.read())
        cuts = list[str]()
        for split, fraction in self.fractions.items():
            if split not in found:
                before, stretches = found["train"], self.stretches[split]
                found["train"], found[split] = cut_off(before, fraction, self.split_seed, stretches)
                cuts.append(f"{split} ({_where_cut(before, found[split])})")
        if cuts:
            log.info(f"data: cut from train: {', '.join(cuts)}")
        self.texts = {split: found[split] for split in SPLITS}
        for split, pieces in self.texts.items():
            if not size(pieces):
                raise UserError(f"the {split} split of {self.title} has no text")
        self.tokens = self.encode(self.texts, self.fingerprint)
        for line in self.summary:
            log.info(f"data: {line}")

    @property
    def summary(self) -> Sequence[str]:
        """`train 9,025 tokens of 9,103 bytes, 0.12 % unknown`, for each split."""
        ends = " with line ends" if self.options.level == "space" else ""
        return [
            f"{split} {len(tokens):,} tokens{ends} of {tokens.num_bytes:,} bytes, "
            f"{100 * tokens.unknown / max(len(tokens), 1):.2f} % unknown"
            for split, tokens in self.tokens.items()
        ]

    def encode(self, splits: Mapping[str, Pieces], content: str) -> dict[str, TokenFile]:
        """Encodes splits with this fingerprint; trains the tokenizer on `train` if it is not yet.

        Raises:
            UserError: if a file is not text in this encoding.
        """
        self.tokenizer, tokens = token_files(
            splits, content, self.options, self.tokenizer, self.encoding
        )
        return tokens

    def batch_of(self, raw: Sequence[str], source: str = "inputs", first: int = 1) -> SequenceBatch:
        """The tokens of each text after the id that marks the start, as in training.

        At step `t`, the input is the token that the model has to follow with token `t`; at the last
        step, it is the text's last token. Unknown tokens are allowed.
        """
        encodings = self.vocabulary.encode_batch_fast(list(raw))
        return collate([torch.tensor([START_ID, *encoding.ids]) for encoding in encodings])

    def read_inputs(self, path: str) -> Iterator[str]:
        raise UserError(f"{self.title} has no labels to predict: use python scripts/generate.py")

    @property
    def notes(self) -> Sequence[str]:
        return same_files(self.texts)

    def ids_of(self, text: str) -> list[int]:
        """The token ids of a prompt; a warning names what is not in the vocabulary.

        Raises:
            UserError: if that is most of the tokens.
        """
        encoding = self.vocabulary.encode(text)
        tokens = zip(encoding.ids, encoding.offsets, strict=True)
        unknown = {text[start:stop] for token, (start, stop) in tokens if token == UNKNOWN_ID}
        if unknown:
            verb, them = ("is", "it") if len(unknown) == 1 else ("are", "them")
            found = f"prompt: {', '.join(map(repr, sorted(unknown)))} {verb} not in the vocabulary"
            if encoding.ids.count(UNKNOWN_ID) > len(encoding.ids) / 2:
                raise UserError(f"{found}; remove {them} from the prompt")
            log.warning(f"{found}: read as the unknown token")
        return list(encoding.ids)

    def text_of(self, ids: Iterable[int]) -> str:
        """The text that token ids stand for."""
        return self.vocabulary.decode(list(ids))

    @property
    def vocabulary(self) -> Tokenizer:
        """The trained tokenizer."""
        if self.tokenizer is None:
            raise RuntimeError("the vocabulary is unknown: call setup or use_spec")
        return self.tokenizer

    def stream_loader(
        self, tokens: TokenFile, title: str, *, train: bool = False
    ) -> SequenceLoader:
        """Windows of the tokens: to train on, or to score every token once.

        Raises:
            UserError: if there are too few tokens, or fewer streams than processes.
        """
        rank, world_size = self.process
        if train:
            streams = self.batch_size * world_size
            least = streams * self.window
            need = (
                f"one window: {streams} streams of {self.window} steps need {least}; "
                "lower data.batch_size or data.window"
            )
        else:
            least = streams = self.evaluation_streams
            need = f"{streams} streams: set data.evaluation_streams=1"
        if len(tokens) < least:
            raise UserError(
                f"{title} has {len(tokens)} tokens, too few for {need}, or give more text"
            )
        if streams < world_size:
            raise UserError(
                f"data.evaluation_streams is {streams}, fewer than the {world_size} processes"
            )
        dataset = StreamDataset(tokens, streams, drop_last=train, rank=rank, world_size=world_size)
        sampler = WindowSampler(dataset.steps, self.window)
        return SequenceLoader(dataset, sampler, pin_memory=self.on_cuda)

    def train_dataloader(self) -> SequenceLoader:
        title = f"the train split of {self.title}"
        return self.stream_loader(self.tokens["train"], title, train=True)

    def split_loader(self, split: str) -> SequenceLoader:
        return self.stream_loader(self.tokens[split], f"the {split} split of {self.title}")

    def piece(self, path: str) -> Piece:
        """The text of a file that the user names.

        Raises:
            UserError: if there is no such file.
        """
        return whole(Path(path))

    def file_loader(self, path: str) -> SequenceLoader:
        text = {"text": [self.piece(path)]}
        if not size(text["text"]):
            raise UserError(f"{path} is empty")
        return self.stream_loader(self.encode(text, fingerprint(text))["text"], path)

    def compute_baselines(self) -> Baselines:
        normalizer = self.vocabulary.normalizer  # which makes letters small
        normalize = normalizer.normalize_str if normalizer else str
        splits: dict[str, Any] = {
            s: map(normalize, texts(self.texts[s], self.encoding)) for s in SPLITS
        }
        return compression_baselines(splits)

    @property
    def baseline_recipe(self) -> list[Any]:
        return [self.options.lowercase]


def _where_cut(pieces: Pieces, off: Pieces) -> str:
    if len(pieces) > 1:
        return f"{len(off)} of its {len(pieces)} files"
    return "its end" if len(off) == 1 else f"{len(off)} stretches, evenly spread"
