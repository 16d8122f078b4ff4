"""Let a language model write a sample after each epoch."""

from __future__ import annotations

import logging
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from seqmodels.arguments import Natural, NonNegative, checked
from seqmodels.errors import UserError
from seqmodels.tasks.language_model.generation import write

log = logging.getLogger(__name__)


class SampleText(Callback):
    """Logs a sample after each epoch.

    Args:
        prompt, length, temperature: the text to continue, how many tokens of it, how freely.
    """

    @checked()
    def __init__(
        self, prompt: str = "", length: Natural = 200, temperature: NonNegative = 0.8
    ) -> None:
        self.prompt, self.length, self.temperature = prompt, length, temperature

    def on_fit_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if pl_module.contract.target != "next_token":
            raise UserError("only a language model can write samples: set callbacks.sample=null")
        self._data: Any = trainer.datamodule  # type: ignore[attr-defined]
        self._data.ids_of(self.prompt)  # finds unknown words before training

    @rank_zero_only
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        pieces = write(
            pl_module, self._data, self.prompt, self.length, temperature=self.temperature
        )
        log.info(f"after epoch {trainer.current_epoch}:\n{self.prompt}{''.join(pieces)}")
