"""Data modules: `data=<name>` chooses one of them."""

from seqmodels.data.airport_weather import AirportWeather
from seqmodels.data.dates import Dates
from seqmodels.data.inputs import InputEncoder, Series, Tokens, Words
from seqmodels.data.module import SPLITS, DataModule, Split
from seqmodels.data.needle import Needle
from seqmodels.data.pair_module import PairDataModule
from seqmodels.data.pairs import Pairs
from seqmodels.data.python_source import PythonSource
from seqmodels.data.python_syntax import PythonSyntax
from seqmodels.data.reversal import Reversal
from seqmodels.data.sequences import SequenceDataModule
from seqmodels.data.series import UEA
from seqmodels.data.split import Examples
from seqmodels.data.streams import StreamDataModule
from seqmodels.data.surnames import Surnames
from seqmodels.data.tags import TaggedText
from seqmodels.data.targets import Classes, Tags, TargetEncoder, Values
from seqmodels.data.text import Text
from seqmodels.data.text_lm import PlainText
from seqmodels.data.text_targets import TextDecoder, TextTargets
from seqmodels.data.tokenizer import TokenizerOptions
from seqmodels.data.value_windows import Windows

__all__ = [
    "SPLITS",
    "UEA",
    "AirportWeather",
    "Classes",
    "DataModule",
    "Dates",
    "Examples",
    "InputEncoder",
    "Needle",
    "PairDataModule",
    "Pairs",
    "PlainText",
    "PythonSource",
    "PythonSyntax",
    "Reversal",
    "SequenceDataModule",
    "Series",
    "Split",
    "StreamDataModule",
    "Surnames",
    "TaggedText",
    "Tags",
    "TargetEncoder",
    "Text",
    "TextDecoder",
    "TextTargets",
    "TokenizerOptions",
    "Tokens",
    "Values",
    "Windows",
    "Words",
]
