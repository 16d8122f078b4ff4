"""Which tensor does a model read? Traced and audited."""

from seqmodels.dataflow.auditing import ADVICE, Audit, Finding, as_model, assert_clean, audit
from seqmodels.dataflow.tracing import Trace, trace

__all__ = ["ADVICE", "Audit", "Finding", "Trace", "as_model", "assert_clean", "audit", "trace"]
