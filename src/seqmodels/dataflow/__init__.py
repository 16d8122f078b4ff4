"""Trace which tensor a model reads, and draw it; attribute predictions to steps."""

from seqmodels.dataflow.attribution import Attributions, attribute
from seqmodels.dataflow.callback import Dataflow
from seqmodels.dataflow.tracing import Trace, trace

__all__ = ["Attributions", "Dataflow", "Trace", "attribute", "trace"]
