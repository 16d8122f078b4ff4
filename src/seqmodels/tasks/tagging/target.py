"""What this task predicts: what the rest of the package asks of it."""

from seqmodels.target import TARGETS, TOKENS, Target
from seqmodels.tasks.tagging.baselines import tag_baselines
from seqmodels.tasks.tagging.coloured_tags import ColouredTags

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
