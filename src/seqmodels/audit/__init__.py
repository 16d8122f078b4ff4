"""Audit any model: find mistakes with tensors by changing its inputs."""

from seqmodels.audit.auditing import assert_clean, audit
from seqmodels.audit.findings import ADVICE, Audit, Finding

__all__ = ["ADVICE", "Audit", "Finding", "assert_clean", "audit"]
