"""A text for a sequence."""

import seqmodels.tasks.seq2seq.heads
import seqmodels.tasks.seq2seq.target  # noqa: F401  (registers it)
from seqmodels.tasks.seq2seq.dates import Dates
from seqmodels.tasks.seq2seq.pairs import PairDataModule, Pairs
from seqmodels.tasks.seq2seq.reversal import Reversal
from seqmodels.tasks.seq2seq.task import Seq2Seq
from seqmodels.tasks.seq2seq.text_targets import TextDecoder, TextTargets

__all__ = [
    "Dates",
    "PairDataModule",
    "Pairs",
    "Reversal",
    "Seq2Seq",
    "TextDecoder",
    "TextTargets",
]
