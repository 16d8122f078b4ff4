"""Data of pairs of texts: read the one, write the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from seqmodels.batch import UNKNOWN_ID, SequenceBatch
from seqmodels.data.inputs import Tokens
from seqmodels.data.pair_batches import PairDataset
from seqmodels.data.pair_files import PairFiles
from seqmodels.data.sequences import SequenceDataModule
from seqmodels.data.split import Examples
from seqmodels.data.text_targets import TextTargets
from seqmodels.data.token_inputs import MOST_TOKENS
from seqmodels.data.tokenizer import Level, TokenizerOptions, VocabularySize
from seqmodels.errors import UserError, shown
from seqmodels.signatures.ranges import Count


class PairDataModule(SequenceDataModule):
    """Sources, each with one target or several: texts, as token ids.

    An example is a source with all its targets, so a cut never puts a source on two sides. To
    train, each of its targets is an example of its own. To evaluate, the loss is that of its first
    one, and a text is right if it is any of them.

    A source symbol that training never saw becomes the unknown token in evaluation. To predict,
    it is an error, because what the network makes of it is noise, unless training had unknown
    tokens too: with `min_count` above 1, or a vocabulary that is full.

    Args:
        source_tokenizer, target_tokenizer: the `level` of each side, as in `TokenizerOptions`. Use
            `space` for symbols that blanks separate already; in targets any white space is then one
            blank.
        shared_vocabulary: one vocabulary for both sides.
        lowercase: sources only.
        min_count, vocabulary_size: of each side, as in `TokenizerOptions`.
        max_length: truncate longer sources to this many tokens; targets stay whole.
        options: `batch_size` and the other arguments of `SequenceDataModule`.

    Raises:
        UserError: for sides that cannot share a vocabulary.
    """

    inputs: Tokens
    targets: TextTargets
    datasets: dict[str, PairDataset]  # type: ignore[assignment]
    files = PairFiles()  # how to read those that are given later

    def __init__(
        self,
        *,
        source_tokenizer: Level = "char",
        target_tokenizer: Level = "char",
        shared_vocabulary: bool = False,
        lowercase: bool = TokenizerOptions.lowercase,
        min_count: Count = TokenizerOptions.min_count,
        vocabulary_size: VocabularySize = TokenizerOptions.vocabulary_size,
        max_length: Count | None = None,
        **options: Any,
    ) -> None:
        limits = (min_count, vocabulary_size)
        source = TokenizerOptions(source_tokenizer, lowercase, *limits)
        target = TokenizerOptions(
            target_tokenizer, False, *limits, keep_whitespace=target_tokenizer == "word"
        )
        if shared_vocabulary:
            if source_tokenizer != target_tokenizer or lowercase:
                raise UserError(
                    "data.shared_vocabulary=true needs the same tokens on both sides: set "
                    f"data.source_tokenizer={target_tokenizer} and data.lowercase=false"
                )
            source = target
        self.max_length = max_length
        super().__init__(
            Tokens(source, max_length=max_length),
            TextTargets(target, shared=shared_vocabulary),
            **options,
        )

    def examples_of(self, pairs: Iterable[tuple[str, Iterable[str]]], source: str) -> Examples:
        """Examples of sources with some of their targets: each source once, with all of them.

        Raises:
            UserError: naming the row of a text that is too long.
        """
        found = dict[str, list[str]]()
        for number, (text, targets) in enumerate(pairs, start=1):
            written = found.setdefault(text, [])
            written += targets
            longest = max(map(len, written if self.max_length else [text, *written]))
            if longest > MOST_TOKENS:
                raise UserError(
                    f"{source}: row {number} has a text of {longest:,} characters, more than "
                    f"{MOST_TOKENS:,}: cut it in pieces"
                )
        return Examples([*found], [*map(tuple, found.values())], source)

    def fit_encoders(self, train: Examples) -> None:
        if not self.targets.shared:
            super().fit_encoders(train)
            return
        self.inputs.fit([*train.inputs, *chain.from_iterable(train.targets)])
        self.targets.tokens.use(self.inputs.tokenizer.to_str(), self.inputs.options)

    def encode(self, examples: Examples) -> PairDataset:
        return PairDataset(
            self.inputs.encode(examples.inputs, examples.source),
            self.targets.encode(examples.targets, examples.source),
            self.targets.references(examples.targets),
            [*map(len, examples.targets)],
        )

    def batch_of(self, raw: Sequence[str], source: str = "inputs", first: int = 1) -> SequenceBatch:
        batch = super().batch_of(raw, source, first)
        options, size = self.inputs.options, self.inputs.num_inputs
        if options.min_count == 1 and size < options.vocabulary_size:
            for row, step in (batch.inputs == UNKNOWN_ID).nonzero()[:1].tolist():
                raise UserError(
                    f"{source}: row {first + row} holds {self._symbol(raw[row], step)}, which "
                    "training never saw: remove it, or train with data.min_count=2, so that "
                    "rare symbols are unknown tokens"
                )
        return batch

    def _symbol(self, text: str, step: int) -> str:
        start, stop = self.inputs.tokenizer.encode(text).offsets[step]
        return f"'{shown(text[start:stop].strip() or text[start:stop])}'"

    def read_file(self, path: str) -> Iterator[tuple[str, tuple[str, ...]]]:
        return self.files.pairs(path)

    def read_inputs(self, path: str) -> Iterator[str]:
        return self.files.sources(path)

    def text_of(self, ids: Iterable[int]) -> str:
        """The text of target ids, up to the first end."""
        return self.targets.decoder(ids)

    @property
    def notes(self) -> Sequence[str]:
        known = set(self.examples["train"].inputs)
        found = list[str]()
        for split in ("validation", "test"):
            sources = self.examples[split].inputs
            if both := len(known.intersection(sources)):
                found.append(
                    f"{both:,} of {len(sources):,} sources of the {split} split are in the "
                    "training split, too"
                )
        return found

    @property
    def baseline_recipe(self) -> list[Any]:
        return [*super().baseline_recipe, self.targets.tokens.options.level]  # what a symbol is

    @property
    def summary(self) -> Sequence[str]:
        sizes = []
        for split, dataset in self.datasets.items():
            size = f"{len(dataset):,}"
            if len(dataset.written) > len(dataset):
                size = f"{len(dataset.written):,} pairs of {size} sources"
            counts = [
                f"{len(rows.ids):,} tokens in {side}, "
                f"{100 * rows.count(UNKNOWN_ID) / max(len(rows.ids), 1):.2f} % unknown"
                for side, rows in (("sources", dataset.sequences), ("targets", dataset.written))
            ]
            if dataset.sequences.truncated:
                counts.append(f"{dataset.sequences.truncated:,} truncated")
            sizes.append(f"{split} {size} ({'; '.join(counts)})")
        return [f"{self.title}: {', '.join(sizes)}"]

    def setup(self, stage: str | None = None) -> None:
        super().setup(stage)
        if not self.targets.longest:
            self.targets.note_longest(self.datasets["train"].written)

    def to_learn_from(self) -> PairDataset:
        return self.datasets["train"].of_every_target()
