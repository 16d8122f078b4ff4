"""`best.ckpt`: the best state by a metric of the validation."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from seqmodels.arguments import Name, OneOf
from seqmodels.engine.metrics import more_is_better
from seqmodels.errors import UserError


class BestCheckpoint(ModelCheckpoint):
    """Lightning's `ModelCheckpoint`, for run folders that may be moved between two trainings.

    Lightning forgets which checkpoint was the best one when its folder has another path, and then
    replaces it with a worse one.

    Of two states that are equally good, as many are by the accuracy on a small split, it keeps the
    one with the smaller loss.

    With `save_top_k` other than 1, the checkpoints are named after their steps, `best-120.ckpt`,
    and `best.ckpt` is the best of them.

    Attributes:
        validations: the metrics of the validation of each checkpoint that was saved right after
            one, by its path; None for one that was not.

    Args:
        monitor: a metric, such as `validation/accuracy`; None saves the last state.
        mode: `min` or `max`; None: what is better by this metric.
        options: more arguments of `lightning.pytorch.callbacks.ModelCheckpoint`.

    Raises:
        UserError: for a metric that `METRICS` lacks, without a `mode`.
    """

    def __init__(
        self,
        monitor: Name | None = "validation/loss",
        mode: Annotated[str, OneOf("min", "max")] | None = None,
        **options: Any,
    ) -> None:
        if mode is None:
            mode = "max" if monitor and more_is_better(monitor) else "min"
        super().__init__(monitor=monitor, mode=mode, **options)
        if not options.keys() & {"every_n_train_steps", "train_time_interval"}:
            self.on_train_batch_end: Any = None  # it would find at each step that nothing is due
        self._loss: Tensor | None = None  # of the best state
        self._validated_at: int | None = None  # step
        self.validations: dict[str, dict[str, float] | None] = {}

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._validated_at = trainer.global_step
        super().on_validation_end(trainer, pl_module)

    def check_monitor_top_k(self, trainer: pl.Trainer, current: Tensor | None = None) -> bool:
        loss = trainer.callback_metrics.get(f"{str(self.monitor).rpartition('/')[0]}/loss")
        saves = super().check_monitor_top_k(trainer, current)
        if not saves and self.save_top_k == 1 and loss is not None and self._loss is not None:
            saves = current is not None and bool(current == self.best_model_score)
            saves = saves and bool(loss < self._loss)
        if saves:
            self._loss = loss
        return saves

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "loss": self._loss}

    def format_checkpoint_name(self, metrics: dict[str, Any], *args: Any, **kwargs: Any) -> str:
        path = Path(super().format_checkpoint_name(metrics, *args, **kwargs))
        if self.save_top_k == 1 or "{" in (self.filename or "{"):
            return str(path)
        return str(path.with_stem(f"{path.stem}-{int(metrics['step'])}"))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        # a resumed state was judged by its validation before it was saved; it has no metric now
        self._last_global_step_saved = trainer.global_step

    def _save_checkpoint(self, trainer: pl.Trainer, filepath: str) -> None:
        super()._save_checkpoint(trainer, filepath)
        measured = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if name.startswith("validation/")
        }
        validated = measured and self._validated_at == trainer.global_step
        self.validations[filepath] = measured if validated else None
        best, here = Path(self.best_model_path), Path(str(self.dirpath)) / "best.ckpt"
        if trainer.is_global_zero and best == Path(filepath) != here:
            partial = here.with_name(f".{here.name}")
            shutil.copyfile(best, partial)
            partial.replace(here)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        moved = dict(state_dict, dirpath=self.dirpath)
        for name in ("best_model_path", "kth_best_model_path", "last_model_path"):
            if moved.get(name):
                moved[name] = self._here(moved[name])
        moved["best_k_models"] = {
            self._here(path): score for path, score in moved.get("best_k_models", {}).items()
        }
        self._loss = moved.pop("loss")
        scores = [
            *moved["best_k_models"].values(),
            moved.get("kth_value"),
            moved["best_model_score"],
            self._loss,
        ]
        if wrong := [s for s in scores if s is not None and not _is_score(s)]:  # compared later
            raise UserError(f"the checkpoint holds a score that is not a number: {wrong[0]!r:.60}")
        super().load_state_dict(moved)

    def _here(self, path: str) -> str:
        name = Path(path).name
        if Path(name).suffix != ".ckpt":  # it is removed when a better one takes its place
            raise UserError(f"the checkpoint names {path} as a checkpoint, which it is not")
        return str(Path(str(self.dirpath)) / name)


def _is_score(value: Any) -> bool:
    return isinstance(value, Tensor) and value.numel() == 1 and value.is_floating_point()
