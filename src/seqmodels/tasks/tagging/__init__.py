"""One tag for every step of a sequence."""

import seqmodels.tasks.tagging.target  # noqa: F401  (registers it)
from seqmodels.tasks.tagging.python_syntax import PythonSyntax
from seqmodels.tasks.tagging.tagged_text import TaggedText
from seqmodels.tasks.tagging.tags import Tags
from seqmodels.tasks.tagging.task import Tagger

__all__ = [
    "PythonSyntax",
    "TaggedText",
    "Tagger",
    "Tags",
]
