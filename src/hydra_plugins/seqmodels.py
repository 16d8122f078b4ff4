"""What Hydra looks for in this package only. Each program that uses Hydra imports this file, so it
imports nothing slow."""

from typing import Any

from hydra.plugins.sweeper import Sweeper


class OptunaSweeper(Sweeper):
    """`hydra/sweeper=search`: see `seqmodels.launch.search`."""

    def __init__(self, params: Any = None, **settings: Any) -> None:
        self.settings = settings  # `params`, the space, is read from the configuration

    def setup(self, **context: Any) -> None:
        self.context = context

    def sweep(self, arguments: list[str]) -> None:
        from seqmodels.installation import require

        require("optuna", "hydra/sweeper=search", "search")
        from seqmodels.arguments import arguments as takes
        from seqmodels.arguments import validated
        from seqmodels.launch.search import search

        settings = validated(takes(search), self.settings, "hydra.sweeper", self.context)
        search(**settings, **self.context)
