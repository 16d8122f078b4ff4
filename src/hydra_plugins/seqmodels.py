"""What Hydra looks for in this package only. Each program that uses Hydra imports this file, so it
imports nothing slow."""

from typing import Any

from hydra.plugins.sweeper import Sweeper


class OptunaSweeper(Sweeper):
    """`hydra/sweeper=search`: see `seqmodels.launch.search`."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def setup(self, **context: Any) -> None:
        self.context = context

    def sweep(self, arguments: list[str]) -> None:
        from seqmodels.installation import require

        require("optuna", "hydra/sweeper=search", "search")
        from seqmodels.launch.search import search

        search(self.settings, **self.context)
