"""Trace which tensor a model reads, and draw it."""

from seqmodels.dataflow.callback import Dataflow
from seqmodels.dataflow.tracing import Trace, trace

__all__ = ["Dataflow", "Trace", "trace"]
