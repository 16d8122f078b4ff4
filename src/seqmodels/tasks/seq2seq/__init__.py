"""A text for a sequence."""

import seqmodels.tasks.seq2seq.heads  # noqa: F401  (registers them)
from seqmodels.engine.metrics import METRICS, Metric
from seqmodels.target import TARGETS, TOKENS, Target
from seqmodels.tasks.seq2seq.baselines import text_baselines
from seqmodels.tasks.seq2seq.pairs import PairDataModule, Pairs
from seqmodels.tasks.seq2seq.task import Seq2Seq
from seqmodels.tasks.seq2seq.text_targets import TextDecoder, TextTargets

__all__ = [
    "PairDataModule",
    "Pairs",
    "Seq2Seq",
    "TextDecoder",
    "TextTargets",
]

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
