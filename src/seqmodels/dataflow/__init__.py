"""Which tensor does a model read? Traced, audited, drawn."""

from seqmodels.dataflow.auditing import ADVICE, Audit, Finding, as_model, assert_clean, audit
from seqmodels.dataflow.callback import Dataflow
from seqmodels.dataflow.tracing import Trace, trace

__all__ = [
    "ADVICE",
    "Audit",
    "Dataflow",
    "Finding",
    "Trace",
    "as_model",
    "assert_clean",
    "audit",
    "trace",
]
