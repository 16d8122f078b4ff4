"""Text for a language model, read as contiguous streams."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

import torch

from seqmodels.arguments import Count, PositiveFraction, Seed
from seqmodels.batch import UNKNOWN_ID, Per, SequenceBatch
from seqmodels.cache import cached_value
from seqmodels.data.examples import Examples
from seqmodels.data.loading import SequenceLoader, collate
from seqmodels.data.module import EVALUATED, SPLITS, DataModule
from seqmodels.data.notes import repeated
from seqmodels.data.token_rows import FORMAT
from seqmodels.data.tokenizer import START_ID, Level, Tokenizer, TokenizerOptions, VocabularySize
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
from seqmodels.tasks.language_model.stream_windows import StreamDataset, WindowSampler

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
