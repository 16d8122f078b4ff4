"""Is any model right? Mistakes with tensors, found by changing its inputs."""

from seqmodels.audit.auditing import ADVICE, Audit, Finding, assert_clean, audit

__all__ = ["ADVICE", "Audit", "Finding", "assert_clean", "audit"]
