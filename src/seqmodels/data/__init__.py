"""Data modules: what `data=<name>` chooses."""

from seqmodels.data.module import SPLITS, DataModule, SequenceDataModule, Split
from seqmodels.data.needle import Needle
from seqmodels.data.python_source import PythonSource
from seqmodels.data.series import UEA
from seqmodels.data.split import Examples
from seqmodels.data.streams import StreamDataModule
from seqmodels.data.surnames import Surnames
from seqmodels.data.text import Text
from seqmodels.data.text_lm import PlainText

__all__ = [
    "SPLITS",
    "UEA",
    "DataModule",
    "Examples",
    "Needle",
    "PlainText",
    "PythonSource",
    "SequenceDataModule",
    "Split",
    "StreamDataModule",
    "Surnames",
    "Text",
]
