"""The next token at every step of a text."""

import seqmodels.tasks.language_model.heads
import seqmodels.tasks.language_model.target  # noqa: F401  (registers it)
from seqmodels.tasks.language_model.plain_text import PlainText, PythonSource
from seqmodels.tasks.language_model.streams import StreamDataModule
from seqmodels.tasks.language_model.task import LanguageModel

__all__ = [
    "LanguageModel",
    "PlainText",
    "PythonSource",
    "StreamDataModule",
]
