"""Find mistakes before the slow imports."""

from __future__ import annotations

from omegaconf import DictConfig

from seqmodels.heads import find_head
from seqmodels.imports import import_modules


def check_head(config: DictConfig) -> None:
    """Raise UserError for an unknown head, unless the model may bring heads of its own.

    `seqmodels.tasks` itself brings none. A task in a module of its own may define the head beside
    it, and that is known only when Lightning has been imported.
    """
    import_modules(config.imports)
    if config.model._target_.rpartition(".")[0] == "seqmodels.tasks":
        find_head(config.model.head)
