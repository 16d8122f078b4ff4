"""Audit any model: find mistakes with tensors by changing its inputs."""

from seqmodels.audit.auditing import assert_clean, audit, audit_onnx
from seqmodels.audit.findings import Audit, Finding
from seqmodels.audit.streams import assert_stream_clean, audit_stream

__all__ = [
    "Audit",
    "Finding",
    "assert_clean",
    "assert_stream_clean",
    "audit",
    "audit_onnx",
    "audit_stream",
]
