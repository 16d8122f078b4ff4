"""What this task predicts: what the rest of the package asks of it."""

from seqmodels.engine.metrics import METRICS, Metric
from seqmodels.target import TARGETS, TOKENS, Target

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
METRICS["bits_per_byte"] = Metric(higher_is_better=False)
