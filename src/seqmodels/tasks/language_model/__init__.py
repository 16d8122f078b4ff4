"""The next token at every step of a text."""

from seqmodels.target import TARGETS, TOKENS, Target
from seqmodels.tasks.language_model.streams import PlainText, PythonSource, StreamDataModule
from seqmodels.tasks.language_model.task import LanguageModel

__all__ = [
    "LanguageModel",
    "PlainText",
    "PythonSource",
    "StreamDataModule",
]

TARGETS["next_token"] = Target(
    what="the next token",
    logits="of the next token",
    size="V",
    unit="tokens",
    choose="model=language_model data=text_lm",
    metric="bits_per_byte",
    example=TOKENS,
    step="p(x{next})",
)
