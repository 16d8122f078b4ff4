"""What this task predicts: what the rest of the package asks of it."""

from seqmodels.engine.metrics import METRICS, REPLACED, Metric
from seqmodels.target import TARGETS, TOKENS, Target
from seqmodels.tasks.seq2seq.baselines import text_baselines

TARGETS["text"] = Target(
    what="a text",
    logits="of the next token",
    size="V",
    unit="tokens",
    choose="model=seq2seq data=pairs",
    metric="exact_match",
    example={**TOKENS, "num_targets": 100, "start": 0, "end": 0, "shared": False},
    decoder=True,
    baselines=text_baselines,
)
for name in ("exact_match", "bleu", "chrf"):
    METRICS[name] = Metric(higher_is_better=True, unit="%")
METRICS["symbol_error_rate"] = Metric(higher_is_better=False, unit="%")
REPLACED["word_error_rate"] = "exact_match"
