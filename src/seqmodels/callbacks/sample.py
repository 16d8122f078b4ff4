"""What a language model writes, epoch by epoch."""

from __future__ import annotations

import logging
from pathlib import Path

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from seqmodels.data import StreamDataModule
from seqmodels.tasks import LanguageModel
from seqmodels.tasks.generation import check_options, generate

log = logging.getLogger(__name__)


class SampleText(Callback):
    """Writes a sample to the log and to `samples.txt` in the run folder after each epoch.

    Args:
        prompt, length, temperature: as in `generate`.
    """

    def __init__(self, prompt: str = "", length: int = 200, temperature: float = 0.8) -> None:
        check_options(length, temperature)
        self.prompt, self.length, self.temperature = prompt, length, temperature

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(pl_module, LanguageModel) and isinstance(data, StreamDataModule)
        self._data, self._prompt_ids = data, data.ids_of(self.prompt)

    @rank_zero_only
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, LanguageModel)
        ids = generate(pl_module, self._prompt_ids, self.length, temperature=self.temperature)
        text = self.prompt + self._data.text_of(ids)
        title = f"after epoch {trainer.current_epoch + 1}"
        log.info(f"{title}:\n{text}")
        with (Path(trainer.default_root_dir) / "samples.txt").open("a", encoding="utf-8") as file:
            file.write(f"--- {title}\n{text}\n\n")
