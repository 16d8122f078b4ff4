"""Draw what a task shows of its test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from seqmodels.files import write_text


class Pictures(Callback):
    """Saves what the task's `pictures` draws of the test split in `figures/` of the run folder."""

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        sums = pl_module.sums["test"].of_all(pl_module.device)  # every process takes part
        if not trainer.is_global_zero:
            return
        dataset: Any = getattr(trainer.test_dataloaders, "dataset", None)
        folder = Path(trainer.default_root_dir, "figures")
        for name, picture in pl_module.pictures(dataset, sums).items():
            folder.mkdir(exist_ok=True)
            if isinstance(picture, str):
                write_text(folder / name, picture)
            else:
                picture.savefig(folder / name, dpi=120)
