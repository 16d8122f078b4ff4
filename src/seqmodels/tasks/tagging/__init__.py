"""One tag for every step of a sequence."""

from seqmodels.target import TARGETS, TOKENS, Target
from seqmodels.tasks.tagging.baselines import tag_baselines
from seqmodels.tasks.tagging.python_syntax import PythonSyntax
from seqmodels.tasks.tagging.tagged_text import TaggedText
from seqmodels.tasks.tagging.tags import ColouredTags, Tags
from seqmodels.tasks.tagging.task import Tagger

__all__ = [
    "PythonSyntax",
    "TaggedText",
    "Tagger",
    "Tags",
]

TARGETS["tag"] = Target(
    what="a tag",
    logits="of the tags",
    size="C",
    unit="tokens",
    choose="model=tagger data=tags",
    metric="accuracy",
    example={**TOKENS, "classes": ["a", "b", "c"]},
    baselines=tag_baselines,
    show=ColouredTags,
)
