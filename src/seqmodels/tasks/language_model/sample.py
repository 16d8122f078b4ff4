"""Let a language model write a sample after each epoch."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from seqmodels.arguments import Natural, NonNegative
from seqmodels.errors import UserError
from seqmodels.tasks.language_model import LanguageModel, StreamDataModule
from seqmodels.tasks.language_model.generation import check_options, write

log = logging.getLogger(__name__)


class SampleText(Callback):
    """Adds a sample to the log and to `samples.txt` in the run folder after each epoch.

    Args:
        prompt, length, temperature: the text to continue, how many tokens of it, how freely.
    """

    def __init__(
        self, prompt: str = "", length: Natural = 200, temperature: NonNegative = 0.8
    ) -> None:
        check_options(length, temperature)
        self.prompt, self.length, self.temperature = prompt, length, temperature
        self._written = 0  # bytes of the file

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._task = cast(LanguageModel, pl_module)
        if self._task.contract.target != "next_token":
            raise UserError("only a language model can write samples: set callbacks.sample=null")
        self._data: StreamDataModule = trainer.datamodule  # type: ignore[attr-defined]
        self._data.ids_of(self.prompt)  # finds unknown words before training

    @rank_zero_only
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        pieces = write(
            self._task, self._data, self.prompt, self.length, temperature=self.temperature
        )
        text = self.prompt + "".join(pieces)
        title = f"after epoch {trainer.current_epoch}"
        log.info(f"{title}:\n{text}")
        with self._file(trainer).open("a", encoding="utf-8") as file:
            file.write(f"--- {title}\n{text}\n\n")
            self._written = file.tell()

    def state_dict(self) -> dict[str, Any]:
        return {"written": self._written}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._written = int(state_dict["written"])

    @rank_zero_only
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leaves out what was written after the checkpoint that is resumed."""
        file = self._file(trainer)
        if file.is_file() and 0 <= self._written < file.stat().st_size:
            os.truncate(file, self._written)

    def _file(self, trainer: pl.Trainer) -> Path:
        return Path(trainer.default_root_dir) / "samples.txt"
