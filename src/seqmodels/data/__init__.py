"""Data that several tasks share: `data=<name>` chooses it, or the data of one task alone."""

from seqmodels.data.examples import SPLITS, Examples, Split
from seqmodels.data.inputs import InputEncoder
from seqmodels.data.module import DataModule
from seqmodels.data.sequences import SequenceDataModule
from seqmodels.data.series import UEA, SeriesTable
from seqmodels.data.series_inputs import Series
from seqmodels.data.targets import Classes, Tags, TargetEncoder, Values
from seqmodels.data.text import Text
from seqmodels.data.tokenizer import TokenizerOptions
from seqmodels.data.tokens import Tokens, Words

__all__ = [
    "SPLITS",
    "UEA",
    "Classes",
    "DataModule",
    "Examples",
    "InputEncoder",
    "SequenceDataModule",
    "Series",
    "SeriesTable",
    "Split",
    "Tags",
    "TargetEncoder",
    "Text",
    "TokenizerOptions",
    "Tokens",
    "Values",
    "Words",
]
