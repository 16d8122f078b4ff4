"""Load the run that a command line names."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seqmodels.runs import Run


def named_run(config: SimpleNamespace) -> Run:
    """Import the modules of a command line, and load its run.

    Args:
        config: the values of `RunKeys`; with `batch_size`, if the command takes one.

    Raises:
        UserError: if a module cannot be imported, or the run cannot be loaded.
    """
    from seqmodels.imports import import_modules, trusted
    from seqmodels.runs import load_run

    import_modules(config.imports)
    return load_run(
        config.run,
        config.checkpoint,
        batch_size=getattr(config, "batch_size", None),
        allowed_targets=trusted(config),
    )
