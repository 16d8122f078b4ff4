"""Which tensor does a model read? Traced and drawn."""

from seqmodels.dataflow.callback import Dataflow
from seqmodels.dataflow.tracing import Trace, trace

__all__ = ["Dataflow", "Trace", "trace"]
