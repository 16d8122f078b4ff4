"""Data modules: what `data=<name>` chooses."""

from seqmodels.data.module import SPLITS, SequenceDataModule, Split
from seqmodels.data.needle import Needle
from seqmodels.data.series import UEA
from seqmodels.data.split import Examples
from seqmodels.data.surnames import Surnames
from seqmodels.data.text import Text

__all__ = [
    "SPLITS",
    "UEA",
    "Examples",
    "Needle",
    "SequenceDataModule",
    "Split",
    "Surnames",
    "Text",
]
